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

"""
Encodings of positions and directions, and the contraction of unbounded scenes.

All take coordinates of the unit cube [0, 1]^3 unless stated otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch import Tensor
from torch.nn import functional

from lift3d_ros.fields.radiance import check_points


def contract(points: Tensor) -> Tensor:
    """
    Return points (n, 3) contracted into the ball of radius 2 (mip-NeRF 360, eq. 10).

    The unit ball stays as it is; a point at distance d > 1 moves to 2 - 1 / d.
    """
    length = points.norm(dim=1, keepdim=True)
    outside = length.clamp(min=1.0)
    return torch.where(length <= 1.0, points, (2.0 - 1.0 / outside) * (points / outside))


def uncontract(points: Tensor) -> Tensor:
    """Return the points (n, 3) that ``contract`` maps to points of the open ball of radius 2."""
    length = points.norm(dim=1, keepdim=True)
    outside = length.clamp(min=1.0)
    moved = points / outside / (2.0 - outside).clamp(min=1e-6)
    return torch.where(length <= 1.0, points, moved)


def frequencies(values: Tensor, count: int) -> Tensor:
    """
    Return values (n, d) with their sines and cosines at ``count`` octaves, (n, d + 2 d count).

    The octaves are 1, 2, 4, ... radians per unit, as in RealFusion and NeuralLift-360 (NeRF and
    tinycudann include a factor of pi).
    """
    scaled = values[:, None, :] * 2.0 ** torch.arange(
        count, dtype=values.dtype, device=values.device
    )[:, None]
    waves = torch.stack([scaled.sin(), scaled.cos()], dim=2)
    return torch.cat([values, waves.flatten(1)], dim=1)


@dataclass(frozen=True)
class TriplaneSettings:
    """Three planes of ``resolution`` squared with ``features`` each."""

    resolution: int = 64
    features: int = 8

    def __post_init__(self) -> None:
        """Raise ``ValueError`` for sizes out of range."""
        if not (2 <= self.resolution <= 4096 and 1 <= self.features <= 256):
            raise ValueError(f'no planes of {self.resolution} squared with {self.features}')


@dataclass(frozen=True)
class FeatureVoxelSettings:
    """A grid of ``resolution`` cubed with ``features``."""

    resolution: int = 48
    features: int = 8

    def __post_init__(self) -> None:
        """Raise ``ValueError`` for sizes out of range."""
        if not (2 <= self.resolution <= 512 and 1 <= self.features <= 256):
            raise ValueError(f'no grid of {self.resolution} cubed with {self.features}')


class Triplane(nn.Module):
    """Features on three orthogonal planes, multiplied (Fridovich-Keil et al. 2023)."""

    def __init__(self, settings: TriplaneSettings, seed: int = 0) -> None:
        """Make planes with initial values around 1, so that no product vanishes."""
        super().__init__()
        self.width = settings.features
        shape = (3, settings.features, settings.resolution, settings.resolution)
        values = torch.rand(shape, generator=torch.Generator().manual_seed(seed))
        self.planes = nn.Parameter(0.75 + 0.5 * values)

    def forward(self, points: Tensor) -> Tensor:
        """Return the features (n, width) of points (n, 3) in the unit cube."""
        check_points(points)
        at = 2.0 * points - 1.0
        pairs = torch.stack([at[:, [0, 1]], at[:, [1, 2]], at[:, [2, 0]]])
        values = functional.grid_sample(
            self.planes, pairs[:, None], padding_mode='border', align_corners=True
        )
        return (values[0] * values[1] * values[2])[:, 0].T


class FeatureVoxels(nn.Module):
    """Features on a dense grid, trilinear between its points."""

    def __init__(self, settings: FeatureVoxelSettings, seed: int = 0) -> None:
        """Make a grid with small initial values."""
        super().__init__()
        self.width = settings.features
        shape = (1, settings.features, *[settings.resolution] * 3)
        values = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
        self.grid = nn.Parameter(0.1 * values)

    def forward(self, points: Tensor) -> Tensor:
        """Return the features (n, width) of points (n, 3) in the unit cube."""
        check_points(points)
        return trilinear(self.grid, 2.0 * points - 1.0)


def trilinear(grid: Tensor, points: Tensor, align_corners: bool = True) -> Tensor:
    """
    Return the values (n, c) of a grid (1, c, z, y, x) at points (n, 3) of the cube [-1, 1]^3.

    Without ``align_corners`` the values lie in the middles of voxels.
    """
    values = functional.grid_sample(
        grid, points[None, None, None], padding_mode='border', align_corners=align_corners
    )
    return values.view(grid.shape[1], -1).T
