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

"""Volume rendering of the coarse volume into posed views."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lift3d_ros.geometry import longest_side
from lift3d_ros.networks.small.coarse_inputs import EXTENT


@dataclass(frozen=True, eq=False)
class CoarseVolume:
    """
    What fills a cube of side ``EXTENT`` around the canonical origin, axes x, y, z.

    - ``density``: (b, 1, n, n, n), the logit of a place being inside the object.
    - ``color``: (b, 3, n, n, n), logits of RGB; ``features``: (b, f, m, m, m).
    - ``sharpness``: (2,), logarithm of the density of what is inside and slope of its border.
    """

    density: Tensor
    color: Tensor
    features: Tensor
    sharpness: Tensor

    @property
    def occupancy(self) -> Tensor:
        """Probability of being inside, (b, n, n, n)."""
        return self.density[:, 0].float().sigmoid()

    def longest_sides(self) -> list[float]:
        """
        Return the longest side of each object, canonical units, 0 where there is none.

        It is that of the smallest box along z around all that is as probable as one half,
        ``geometry.longest_side``.
        """
        voxel = EXTENT / self.density.shape[-1]
        found = []
        for solid in (self.density[:, 0] >= 0.0).cpu().numpy():
            at = np.argwhere(solid).astype(np.float64)
            # From the outer side of a voxel to that of another.
            side = longest_side(at, np.array([0.0, 0.0, 1.0])) + 1.0 if len(at) else 0.0
            found.append(voxel * side)
        return found


@dataclass(frozen=True, eq=False)
class Rendered:
    """
    Pictures of a volume, (b, views, channels, height, width).

    - ``color``: RGB in [0, 1] on white; ``alpha``: opacity; ``depth``: mean distance along the
      optical axis of what is seen, canonical units, 0 where nothing is; ``features``.
    """

    color: Tensor
    alpha: Tensor
    depth: Tensor
    features: Tensor | None


def camera_rays(
    size: int, fov: float, device: torch.device, pixels: Tensor | None = None
) -> Tensor:
    """
    Return directions with z = 1 of a square picture's pixels, (n, 3), row by row.

    ``pixels`` (n, 2), columns and rows, chooses some.
    """
    if pixels is None:
        v, u = torch.meshgrid(
            torch.arange(size, device=device), torch.arange(size, device=device), indexing='ij'
        )
        pixels = torch.stack([u, v], dim=-1).reshape(-1, 2)
    half = torch.tan(torch.deg2rad(torch.tensor(fov / 2.0, device=device)))
    xy = ((2.0 * pixels + 1.0) / size - 1.0) * half
    return torch.cat([xy, torch.ones_like(xy[:, :1])], dim=1)


def render(
    volume: CoarseVolume,
    poses: Tensor,
    rays: Tensor,
    samples: int = 64,
    jitter: Tensor | None = None,
    with_features: bool = False,
) -> Rendered:
    """
    Render a volume along ``rays`` of cameras at ``poses``.

    ``poses`` is (b, v, 4, 4), optical frames in canonical coordinates; ``rays`` (n, 3),
    directions with z = 1 in the optical frame. ``jitter`` (b, v, n) in [0, 1) moves the samples
    of each ray along it. Colour, alpha and depth come back as (b, v, c, n).

    The samples are spread evenly over where a ray crosses the cube; a ray beside it has none.
    """
    b, v = poses.shape[:2]
    n = rays.shape[0]
    origin = poses[:, :, None, :3, 3]
    with torch.autocast(rays.device.type, enabled=False):
        direction = rays @ poses[..., :3, :3].transpose(-1, -2)
    near, far = _crossing(origin, direction)
    offset = 0.5 if jitter is None else jitter[..., None]
    steps = (torch.arange(samples, device=rays.device) + offset) / samples
    t = near[..., None] + (far - near)[..., None] * steps
    points = origin[..., None, :] + direction[..., None, :] * t[..., None]
    # grid_sample names the last axis of a volume first.
    grid = (points / (0.5 * EXTENT)).flip(-1).reshape(b, v * n, samples, 1, 3)
    field = torch.cat([volume.density, volume.color], dim=1).float()
    values = functional.grid_sample(
        field, grid, align_corners=False, padding_mode='border'
    ).reshape(b, 4, v, n, samples)
    level, slope = volume.sharpness.float()
    inside = torch.sigmoid(slope * values[:, 0])
    length = (far - near) * direction.norm(dim=-1)
    optical = level.exp() * inside * (length / samples)[..., None]
    through = torch.exp(-torch.cumsum(optical, dim=-1))
    weight = torch.cat([torch.ones_like(through[..., :1]), through[..., :-1]], dim=-1) - through
    alpha = weight.sum(dim=-1)
    color = (weight[:, None] * values[:, 1:].sigmoid()).sum(dim=-1) + (1.0 - alpha[:, None])
    depth = (weight * t).sum(dim=-1) / alpha.clamp_min(1e-3)
    features = None
    if with_features:
        seen = functional.grid_sample(
            volume.features.float(), grid, align_corners=False, padding_mode='border'
        ).reshape(b, -1, v, n, samples)
        features = (weight[:, None] * seen).sum(dim=-1).transpose(1, 2)
    return Rendered(
        color=color.transpose(1, 2),
        alpha=alpha[:, :, None],
        depth=torch.where(alpha > 0.01, depth, 0.0)[:, :, None],
        features=features,
    )


def _crossing(origin: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
    """Return where rays enter and leave the cube, equal where they pass beside it."""
    slow = torch.where(direction.abs() < 1e-6, torch.full_like(direction, 1e-6), direction)
    a, b = (-0.5 * EXTENT - origin) / slow, (0.5 * EXTENT - origin) / slow
    near = torch.minimum(a, b).amax(dim=-1).clamp_min(0.0)
    far = torch.maximum(a, b).amin(dim=-1)
    return near, torch.maximum(far, near)
