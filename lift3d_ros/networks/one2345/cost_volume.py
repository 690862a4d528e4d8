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
The cost volume: how well the pictures agree about each place in space.

Each voxel is projected into each picture and samples the features there; the mean tells what the
pictures show, the variance whether they show the same (One-2-3-45,
``reconstruction/models/sparse_sdf_network.py`` and ``ops/back_project.py``). The sums grow picture
by picture, so that the memory does not depend on how many there are.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

#: Added to the number of pictures that see a voxel, so that none divides by zero.
_COUNT_EPS = 1e-5

#: ``faithful`` adds what a picture shows at a voxel's mirror image behind its camera, and up to
#: one pixel beyond its border, without counting it; the published weights were trained on such
#: sums. ``fixed`` leaves it out.
SUMS = ('faithful', 'fixed')


def grid_points(resolution: int, device: torch.device | str = 'cpu') -> Tensor:
    """Return the voxels' places, (resolution^3, 3) from -1 to 1, x slowest and z fastest."""
    axis = torch.arange(resolution, device=device) * (2.0 / (resolution - 1)) - 1.0
    return torch.stack(torch.meshgrid(axis, axis, axis, indexing='ij'), dim=-1).view(-1, 3)


def project(
    points: Tensor, projection: Tensor, size: tuple[int, int], least_depth: float | None = None
) -> tuple[Tensor, Tensor]:
    """
    Project points (n, 3) by ``projection`` (3, 4), intrinsics times extrinsics.

    ``size`` is height and width in pixels. Returns where they are in the picture, (n, 2) x and y
    from -1 at the middle of the first pixel to 1 at that of the last, and their depths (n,).
    Depths from 0 to 0.000001 count as that, and negative ones stay; with ``least_depth`` all below
    count as that. The published code has the former for the volume and the latter for colours.
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


def sample_picture(picture: Tensor, places: Tensor) -> Tensor:
    """Return the bilinear samples (n, c) of a picture (c, h, w) at ``places`` of ``project``."""
    samples = functional.grid_sample(
        picture[None], places[None, None], mode='bilinear', padding_mode='zeros',
        align_corners=True,
    )
    return samples[0, :, 0].T


class CostVolume:
    """Sums over the pictures, one added at a time."""

    def __init__(
        self,
        channels: int,
        resolution: int,
        device: torch.device | str = 'cpu',
        sums: str = SUMS[0],
        chunk: int = 2**17,
    ) -> None:
        """Begin with no picture; ``chunk`` voxels are projected at once, ``sums`` see ``SUMS``."""
        self._points = grid_points(resolution, device)
        self._sum = torch.zeros((channels, len(self._points)), device=device)
        self._squares = torch.zeros_like(self._sum)
        self._count = torch.zeros(len(self._points), device=device)
        self._resolution = resolution
        self._chunk = chunk
        self._masked = sums == 'fixed'
        self._views = 0

    def add(self, features: Tensor, projection: Tensor) -> None:
        """Add one picture's features (channels, h, w), seen by ``projection`` (3, 4)."""
        size = (features.shape[1], features.shape[2])
        for start in range(0, len(self._points), self._chunk):
            part = slice(start, start + self._chunk)
            places, depth = project(self._points[part], projection, size)
            inside = (places.abs() <= 1.0).all(dim=1) & (depth > 0.0)
            samples = sample_picture(features, places).T
            if self._masked:
                samples = samples * inside
            self._sum[:, part] += samples
            self._squares[:, part] += samples.square()
            self._count[part] += inside
        self._views += 1

    def finish(self) -> tuple[Tensor, Tensor]:
        """
        Return variance and mean (2 channels, r, r, r), and which voxels count, bool (r, r, r).

        A voxel counts that two pictures see, or the only one. Of the others all channels are 0.
        The sums are used up.
        """
        active = self._count > min(1, self._views - 1)
        scale = active / (self._count + _COUNT_EPS)
        mean = self._sum.mul_(scale)
        variance = self._squares.mul_(scale).addcmul_(mean, mean, value=-1.0)
        cube = (self._resolution,) * 3
        return torch.cat([variance, mean]).view(-1, *cube), active.view(cube)
