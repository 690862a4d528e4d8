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
The cost volume: mean and variance of the pictures' features at each voxel.

Each voxel is projected into each picture and samples its features (One-2-3-45,
``reconstruction/models/sparse_sdf_network.py`` and ``ops/back_project.py``). Pictures are added
one by one, so that the memory does not depend on their number.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

#: Added to the number of pictures that see a voxel, against division by zero.
_COUNT_EPS = 1e-5

#: ``faithful`` also adds, without counting them, the samples of voxels behind the camera and up to
#: one pixel beyond the border; the published weights are trained on such sums. ``fixed`` omits
#: them.
SUMS = ('faithful', 'fixed')


def grid_points(resolution: int, device: torch.device | str = 'cpu') -> Tensor:
    """Return the voxel centres, (resolution^3, 3) from -1 to 1, x slowest and z fastest."""
    axis = torch.arange(resolution, device=device) * (2.0 / (resolution - 1)) - 1.0
    return torch.stack(torch.meshgrid(axis, axis, axis, indexing='ij'), dim=-1).view(-1, 3)


def project(
    points: Tensor, projection: Tensor, size: tuple[int, int], least_depth: float | None = None
) -> tuple[Tensor, Tensor]:
    """
    Project points (n, 3) by ``projection`` (3, 4), intrinsics times extrinsics.

    ``size`` is height and width in pixels. Returns image coordinates (n, 2), x and y from -1 at
    the centre of the first pixel to 1 at that of the last, and depths (n,). Depths from 0 to 1e-6
    are 1e-6, negative ones unchanged; with ``least_depth`` it is the least depth. The published
    code has the former for the volume and the latter for colours.
    """
    image = points @ projection[:, :3].T + projection[:, 3]
    depth = image[:, 2]
    if least_depth is None:
        depth = torch.where((depth >= 0.0) & (depth < 1e-6), 1e-6, depth)
    else:
        depth = depth.clamp(min=least_depth)
    height, width = size
    span = torch.tensor([width - 1, height - 1], dtype=points.dtype, device=points.device)
    return 2.0 * (image[:, :2] / depth[:, None]) / span - 1.0, depth


def sample_picture(picture: Tensor, image_points: Tensor) -> Tensor:
    """Return bilinear samples (n, c) of a picture (c, h, w) at ``image_points`` (n, 2)."""
    samples = functional.grid_sample(
        picture[None], image_points[None, None], mode='bilinear', padding_mode='zeros',
        align_corners=True,
    )
    return samples[0, :, 0].T


class CostVolume:
    """Sums over the pictures, added one by one."""

    def __init__(
        self,
        channels: int,
        resolution: int,
        device: torch.device | str = 'cpu',
        sums: str = SUMS[0],
        chunk: int = 2**17,
    ) -> None:
        """Start empty; ``chunk`` voxels are projected at once, ``sums`` is one of ``SUMS``."""
        self._points = grid_points(resolution, device)
        self._sum = torch.zeros((channels, len(self._points)), device=device)
        self._squares = torch.zeros_like(self._sum)
        self._count = torch.zeros(len(self._points), device=device)
        self._resolution = resolution
        self._chunk = chunk
        self._masked = sums == 'fixed'
        self._views = 0

    def add(self, features: Tensor, projection: Tensor) -> None:
        """Add the features (channels, h, w) of a picture with ``projection`` (3, 4)."""
        size = (features.shape[1], features.shape[2])
        for start in range(0, len(self._points), self._chunk):
            part = slice(start, start + self._chunk)
            image_points, depth = project(self._points[part], projection, size)
            inside = (image_points.abs() <= 1.0).all(dim=1) & (depth > 0.0)
            samples = sample_picture(features, image_points).T
            if self._masked:
                samples = samples * inside
            self._sum[:, part] += samples
            self._squares[:, part] += samples.square()
            self._count[part] += inside
        self._views += 1

    def finish(self) -> tuple[Tensor, Tensor]:
        """
        Return variance and mean (2 channels, r, r, r), and the active voxels, bool (r, r, r).

        A voxel is active if two pictures see it, or the only one; the others are 0. The sums are
        overwritten.
        """
        active = self._count > min(1, self._views - 1)
        scale = active / (self._count + _COUNT_EPS)
        mean = self._sum.mul_(scale)
        variance = self._squares.mul_(scale).addcmul_(mean, mean, value=-1.0)
        cube = (self._resolution,) * 3
        return torch.cat([variance, mean]).view(-1, *cube), active.view(cube)
