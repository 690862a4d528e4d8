# Copyright 2026 lift3d_ros contributors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.

"""What the tests of radiance fields share: analytic fields, and a scene whose truth is known."""

from __future__ import annotations

import numpy as np
import torch

from lift3d_ros.fields.radiance import RadianceField
from lift3d_ros.fields.rays import box_interval
from lift3d_ros.fields.rays import Rays

#: The scene: a red ball and a blue box that touches it.
BALL_CENTRE, BALL_RADIUS = (-0.15, 0.0, 0.0), 0.3
BOX_LOW, BOX_HIGH = (0.13, -0.2, -0.3), (0.37, 0.2, 0.3)
RED, BLUE = (0.9, 0.2, 0.1), (0.1, 0.3, 0.8)


class Ball(RadianceField):
    """A ball of constant density and colour around the origin."""

    def __init__(self, radius=0.4, density=2.0, color=(0.2, 0.5, 0.8), bound=0.6):
        super().__init__()
        self.bound = bound
        self.radius = radius
        self.value = torch.nn.Parameter(torch.tensor(float(density)))
        self.register_buffer('color', torch.tensor(color))

    def forward(self, points):
        inside = points.norm(dim=1) < self.radius
        return self.value * inside, self.color.to(points).expand(len(points), -1)


class Bump(RadianceField):
    """A density that decreases smoothly from the origin; the colour is the position."""

    def __init__(self, peak=30.0, std=0.2, bound=0.6):
        super().__init__()
        self.bound = bound
        self.std = std
        self.peak = torch.nn.Parameter(torch.tensor(float(peak)))

    def forward(self, points):
        density = self.peak * torch.exp(-0.5 * points.square().sum(1) / self.std**2)
        return density, (points + 1.0) / 2.0


def truth(rays: Rays):
    """Return the mask (n,), colours (n, 3) on white and distances (n,) of the scene."""
    centre = torch.tensor(BALL_CENTRE)
    offset = rays.origins - centre
    b = (offset * rays.directions).sum(1)
    root = b.square() - offset.square().sum(1) + BALL_RADIUS**2
    ball = torch.where(root > 0.0, -b - root.clamp(min=0.0).sqrt(), torch.inf)
    near, far = box_interval(rays, torch.tensor(BOX_LOW), torch.tensor(BOX_HIGH))
    box = torch.where(far > near, near, torch.inf)
    distance = torch.minimum(ball, box)
    mask = torch.isfinite(distance)
    color = torch.where((ball < box)[:, None], torch.tensor(RED), torch.tensor(BLUE))
    return mask, torch.where(mask[:, None], color, torch.ones(3)), distance


def inside_scene(points: np.ndarray) -> np.ndarray:
    """Return which points (n, 3) are in the ball or the box."""
    ball = np.linalg.norm(points - BALL_CENTRE, axis=1) < BALL_RADIUS
    return ball | ((points > BOX_LOW) & (points < BOX_HIGH)).all(axis=1)


def grid_points(bound: float, cells: int) -> np.ndarray:
    """Return the middles (cells^3, 3) of the cells of a cube."""
    axis = ((np.arange(cells) + 0.5) / cells * 2.0 - 1.0) * bound
    return np.stack(np.meshgrid(axis, axis, axis, indexing='ij'), axis=-1).reshape(-1, 3)


def iou(a, b) -> float:
    """Return the intersection over the union of two masks."""
    return float((a & b).sum() / (a | b).sum())
