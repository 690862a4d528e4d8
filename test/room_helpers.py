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
"""Analytic rooms of planes and spheres in the canonical coordinates of a scene."""

from __future__ import annotations

import numpy as np
import torch

from lift3d_ros.distill.cameras import Cameras
from lift3d_ros.distill.cameras import pixel_rays
from lift3d_ros.distill.priors.exact import BankPrior
from lift3d_ros.fields.rays import Rays
from lift3d_ros.scene.radiance.rays import KnownRays

FOV = 60.0

#: Planes: normal, offset, colour. The walls are outside of the cube that is not contracted.
PLANES = (
    ((0.0, 0.0, 1.0), -0.4, (0.7, 0.6, 0.4)),
    ((0.0, 0.0, -1.0), -1.6, (0.9, 0.9, 0.9)),
    ((1.0, 0.0, 0.0), -1.5, (0.5, 0.6, 0.8)),
    ((-1.0, 0.0, 0.0), -3.0, (0.6, 0.6, 0.6)),
    ((0.0, 1.0, 0.0), -1.6, (0.4, 0.7, 0.5)),
    ((0.0, -1.0, 0.0), -1.6, (0.8, 0.5, 0.5)),
)

#: Spheres: centre, radius, colour.
SPHERES = (
    ((0.05, 0.1, -0.15), 0.25, (0.9, 0.2, 0.1)),
    ((-0.3, -0.35, -0.2), 0.2, (0.1, 0.3, 0.9)),
)


def trace(origins, directions, spheres=SPHERES, planes=PLANES):
    """Return the colours (n, 3) and the distances (n,) of rays (n, 3)."""
    nearest = torch.full(origins.shape[:1], torch.inf)
    color = torch.zeros(len(origins), 3)
    for normal, offset, rgb in planes:
        along = directions @ torch.tensor(normal)
        distance = (offset - origins @ torch.tensor(normal)) / along
        hit = (along < -1e-6) & (distance > 1e-3) & (distance < nearest)
        points = origins + distance.nan_to_num(posinf=0.0, neginf=0.0)[:, None] * directions
        # Smooth patterns, which a picture of some pixels can show.
        shade = 0.85 + 0.15 * torch.sin(4.0 * points).prod(dim=1)
        nearest = torch.where(hit, distance, nearest)
        color = torch.where(hit[:, None], shade[:, None] * torch.tensor(rgb), color)
    for centre, radius, rgb in spheres:
        offset = origins - torch.tensor(centre)
        b = (offset * directions).sum(1)
        root = b.square() - offset.square().sum(1) + radius**2
        distance = -b - root.clamp_min(0.0).sqrt()
        hit = (root > 0.0) & (distance > 1e-3) & (distance < nearest)
        normals = (offset + distance[:, None] * directions) / radius
        shade = 0.75 + 0.25 * normals[:, 2]
        nearest = torch.where(hit, distance, nearest)
        color = torch.where(hit[:, None], shade[:, None] * torch.tensor(rgb), color)
    return color, nearest


def cameras(azimuths, elevation=20.0, radius=1.0):
    """Return cameras that look at the middle of the room."""
    turns = torch.as_tensor(azimuths, dtype=torch.float64)
    return Cameras.orbit(
        turns, torch.as_tensor(elevation, dtype=torch.float64).expand(len(turns)),
        torch.tensor(radius, dtype=torch.float64), FOV)


def pictures(views, size, **room):
    """Return RGBA (n, 4, size, size) of a room, opaque, and the distances (n, size, size)."""
    origins, directions = (part.reshape(-1, 3) for part in pixel_rays(views, size))
    color, distance = trace(origins, directions, **room)
    shape = (len(views), size, size)
    rgb = color.reshape(*shape, 3).permute(0, 3, 1, 2)
    return torch.cat([rgb, torch.ones(len(views), 1, size, size)], 1), distance.reshape(shape)


def known_rays(views, size, with_depth=True, **room):
    """Return the rays of views of a room."""
    origins, directions = (part.reshape(-1, 3) for part in pixel_rays(views, size))
    color, distance = trace(origins, directions, **room)
    if not with_depth:
        distance = torch.full_like(distance, torch.nan)
    return KnownRays(Rays(origins, directions), color, distance, torch.ones(len(origins)))


def bank_of_rooms(rooms, size):
    """Return the exact prior of rooms, dictionaries of arguments of ``trace``."""

    def render(poses):
        fov = torch.full((len(poses),), FOV, dtype=torch.float64)
        zeros = torch.zeros(len(poses), dtype=torch.float64)
        seen = Cameras(poses.double().cpu(), fov, zeros, zeros, zeros)
        return torch.stack([pictures(seen, size, **room)[0] for room in rooms], dim=1)

    return BankPrior(render)


def psnr(a, b):
    """Return the PSNR in dB of values in [0, 1]."""
    return float(-10.0 * np.log10(np.mean((np.asarray(a) - np.asarray(b))**2)))
