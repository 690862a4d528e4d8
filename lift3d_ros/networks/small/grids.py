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

"""Grids of space: their places, where those lie in pictures, blocks of voxels as channels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from lift3d_ros.networks.small.coarse_inputs import EXTENT


def voxel_grid(size: int, device: torch.device) -> Tensor:
    """Return canonical coordinates of voxel centres, (size, size, size, 3), axes x, y, z."""
    axis = ((torch.arange(size, device=device) + 0.5) / size - 0.5) * EXTENT
    return torch.stack(torch.meshgrid(axis, axis, axis, indexing='ij'), dim=-1)


def space_to_channels(x: Tensor) -> Tensor:
    """Turn each 2 x 2 x 2 block of (b, c, 2n, 2n, 2n) into channels: (b, 8c, n, n, n)."""
    b, c, n = x.shape[0], x.shape[1], x.shape[2] // 2
    x = x.reshape(b, c, n, 2, n, 2, n, 2).permute(0, 1, 3, 5, 7, 2, 4, 6)
    return x.reshape(b, 8 * c, n, n, n)


def channels_to_space(x: Tensor) -> Tensor:
    """Undo ``space_to_channels``."""
    b, c, n = x.shape[0], x.shape[1] // 8, x.shape[2]
    x = x.reshape(b, c, 2, 2, 2, n, n, n).permute(0, 1, 5, 2, 6, 3, 7, 4)
    return x.reshape(b, c, 2 * n, 2 * n, 2 * n)


def to_pixels(
    places: Tensor, focal: Tensor, centre: Tensor, pose: Tensor, size: int
) -> tuple[Tensor, Tensor]:
    """
    Return where places lie in pictures of ``size`` pixels, and their depths.

    ``places`` is (n, 3), or (b, n, 3) where each picture has its own. The coordinates (b, n, 2)
    are those of ``grid_sample`` with ``align_corners=False``; depths have the shape (b, n).
    """
    # Half precision would be off by a voxel.
    with torch.autocast(places.device.type, enabled=False):
        local = (places - pose[:, None, :3, 3]) @ pose[:, :3, :3]
    z = local[..., 2].clamp_min(1e-3)
    uv = local[..., :2] / z[..., None] * focal[:, None] + centre[:, None]
    return (2.0 * uv + 1.0) / size - 1.0, local[..., 2]


def sample_grid(field: Tensor, places: Tensor, extent: float = EXTENT) -> Tensor:
    """
    Return a field (b, c, n, n, n) at places (b, m, 3), (b, c, m), trilinear.

    The grid fills a cube of side ``extent`` around the origin of the places' frame; beyond it the
    field goes on with the value of the border.
    """
    # grid_sample names the last axis of a volume first.
    grid = (places / (0.5 * extent)).flip(-1)[:, :, None, None]
    found = functional.grid_sample(field, grid, align_corners=False, padding_mode='border')
    return found[..., 0, 0]
