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

"""The coarse volume in canonical space: voxel grids, their projection, volume rendering."""

from __future__ import annotations

from dataclasses import dataclass
import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lift3d_ros.geometry import longest_side
from lift3d_ros.networks.small.coarse_inputs import EXTENT

#: Opacity of the diagonal of a cube of such voxels, from which a voxel is not transparent; and
#: weight of a sample of a ray from which it has a colour.
_MIN_OPACITY, _MIN_WEIGHT = 1e-2, 2e-5


#: Samples of a ray that are found to be in empty space together.
_GROUP = 4


@dataclass(frozen=True, eq=False)
class CoarseVolume:
    """
    The occupancy and colour of the cube of side ``EXTENT`` around the canonical origin.

    Axes are x, y, z.

    - ``density``: (b, 1, n, n, n), logits of the occupancy.
    - ``color``: (b, 3, n, n, n), logits of RGB; ``features``: (b, f, m, m, m).
    - ``sharpness``: (2,), logarithm of the density inside the object, slope at its surface.
    """

    density: Tensor
    color: Tensor
    features: Tensor
    sharpness: Tensor

    def select(self, index: int) -> CoarseVolume:
        """Return the volume of one object, as a batch of one."""
        one = slice(index, index + 1)
        return CoarseVolume(
            self.density[one], self.color[one], self.features[one], self.sharpness
        )

    @property
    def occupancy(self) -> Tensor:
        """Occupancy, a probability, (b, n, n, n)."""
        return self.density[:, 0].float().sigmoid()

    def longest_sides(self) -> list[float]:
        """
        Return the longest side of each object, canonical units, 0 for an empty volume.

        ``geometry.longest_side`` of the voxels whose occupancy is at least one half.
        """
        voxel = EXTENT / self.density.shape[-1]
        sides = []
        for occupied in (self.density[:, 0] >= 0.0).cpu().numpy():
            indices = np.argwhere(occupied).astype(np.float64)
            # Voxel centres span one voxel less than the voxels do.
            side = longest_side(indices, np.array([0.0, 0.0, 1.0])) + 1.0 if len(indices) else 0.0
            sides.append(voxel * side)
        return sides


@dataclass(frozen=True, eq=False)
class Rendered:
    """
    Pictures of a volume, (b, views, channels, height, width).

    - ``color``: RGB in [0, 1] on white; ``alpha``: opacity; ``depth``: mean distance along the
      optical axis, canonical units, 0 for background; ``features``.
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

    ``pixels`` (n, 2), columns and rows, selects some of them.
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

    The samples of a ray are evenly spaced within the cube. On a CPU and without gradients, those
    in empty space are left out, see ``_render_occupied``.
    """
    b, v = poses.shape[:2]
    if b == 1 and jitter is None and rays.device.type == 'cpu' and not torch.is_grad_enabled():
        return _render_occupied(volume, poses[0], rays, samples, with_features)
    n = rays.shape[0]
    origin = poses[:, :, None, :3, 3]
    with torch.autocast(rays.device.type, enabled=False):
        direction = rays @ poses[..., :3, :3].transpose(-1, -2)
    near, far = cube_crossing(origin, direction)
    offset = 0.5 if jitter is None else jitter[..., None]
    steps = (torch.arange(samples, device=rays.device) + offset) / samples
    t = near[..., None] + (far - near)[..., None] * steps
    points = origin[..., None, :] + direction[..., None, :] * t[..., None]
    points = points.reshape(b, -1, 3)
    field = torch.cat([volume.density, volume.color], dim=1).float()
    values = sample_grid(field, points).reshape(b, 4, v, n, samples)
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
        values = sample_grid(volume.features.float(), points).reshape(b, -1, v, n, samples)
        features = (weight[:, None] * values).sum(dim=-1).transpose(1, 2)
    return Rendered(
        color=color.transpose(1, 2),
        alpha=alpha[:, :, None],
        depth=torch.where(alpha > 0.01, depth, 0.0)[:, :, None],
        features=features,
    )


def _render_occupied(
    volume: CoarseVolume, poses: Tensor, rays: Tensor, samples: int, with_features: bool
) -> Rendered:
    """
    Render one volume as ``render`` does, from the samples that can contribute.

    Most of the cube is empty. Density is sampled near voxels that are not transparent, colour and
    features where a sample has a weight.
    """
    v, n = len(poses), len(rays)
    level, slope = volume.sharpness.float()
    density = volume.density.float()
    origin = poses[:, None, :3, 3].expand(v, n, 3).reshape(-1, 3)
    direction = (rays @ poses[:, :3, :3].transpose(-1, -2)).reshape(-1, 3)
    near, far = cube_crossing(origin, direction)
    steps = (torch.arange(samples) + 0.5) / samples
    occupied = _near_opaque(density, level, slope)
    # Rays that cross the cube, then those that cross a voxel.
    hit = (far > near).nonzero()[:, 0]
    t = near[hit, None] + (far - near)[hit, None] * steps
    crossed = _crossed(occupied, origin[hit], direction[hit], t)
    some = crossed.any(dim=1).nonzero()[:, 0]
    hit, t, crossed = hit[some], t[some], crossed[some]
    origin, direction = origin[hit], direction[hit]

    def points(sample: Tensor) -> Tensor:
        """Return the points (1, m, 3) of samples, numbered ray by ray."""
        ray = sample // samples
        along = direction.index_select(0, ray) * t.reshape(-1).index_select(0, sample)[:, None]
        return (origin.index_select(0, ray) + along)[None]

    sample = crossed.reshape(-1).nonzero()[:, 0]
    inside = torch.zeros(t.numel())
    inside[sample] = torch.sigmoid(slope * sample_grid(density, points(sample))[0, 0])
    length = (far - near)[hit] * direction.norm(dim=-1)
    optical = level.exp() * inside.reshape(t.shape) * (length / samples)[:, None]
    through = torch.exp(-torch.cumsum(optical, dim=-1))
    weight = torch.cat([torch.ones_like(through[:, :1]), through[:, :-1]], dim=-1) - through
    sample = (weight > _MIN_WEIGHT).reshape(-1).nonzero()[:, 0]
    chosen, heavy = points(sample), weight.reshape(-1)[sample]
    target = hit[sample // samples]

    def total(values: Tensor) -> Tensor:
        """Return the sum of values (c, m) of the chosen samples along each ray, (1, v, c, n)."""
        sums = torch.zeros((v * n, len(values)))
        sums.index_add_(0, target, (heavy * values).T.contiguous())
        return sums.reshape(1, v, n, -1).transpose(2, 3)

    alpha, depth = torch.zeros(v * n), torch.zeros(v * n)
    alpha[hit] = weight.sum(dim=-1)
    depth[hit] = (weight * t).sum(dim=-1) / alpha[hit].clamp_min(1e-3)
    opacity = alpha.reshape(1, v, 1, n)
    color = total(sample_grid(volume.color.float(), chosen)[0].sigmoid())
    return Rendered(
        color=color + (1.0 - opacity),
        alpha=opacity,
        depth=torch.where(alpha > 0.01, depth, 0.0).reshape(1, v, 1, n),
        features=total(sample_grid(volume.features.float(), chosen)[0]) if with_features else None,
    )


def _near_opaque(density: Tensor, level: Tensor, slope: Tensor) -> Tensor:
    """
    Return whether a voxel of a density (1, 1, n, n, n) or a neighbour is opaque, (n, n, n).

    Interpolation within other voxels reads transparent ones only.
    """
    opacity = level.exp() * torch.sigmoid(slope * density[0, 0]) * (3.0**0.5 * EXTENT)
    return _dilated(opacity > _MIN_OPACITY, 1)


def _dilated(cells: Tensor, reach: int) -> Tensor:
    """Return cells (n, n, n) and those at most ``reach`` cells from them along each axis."""
    for axis in range(3):
        wide = cells.clone()
        for shift in range(1, min(reach, cells.shape[axis] - 1) + 1):
            count = cells.shape[axis] - shift
            wide.narrow(axis, shift, count).logical_or_(cells.narrow(axis, 0, count))
            wide.narrow(axis, 0, count).logical_or_(cells.narrow(axis, shift, count))
        cells = wide
    return cells


def _crossed(cells: Tensor, origin: Tensor, direction: Tensor, t: Tensor) -> Tensor:
    """
    Return whether evenly spaced samples ``t`` (r, s) of rays are in cells (n, n, n), (r, s).

    Only groups of samples whose middle is near such a cell are looked at one by one.
    """
    rays, samples = t.shape
    if not rays or samples % _GROUP:
        return _cells(cells, origin, direction, t)
    grouped = t.reshape(rays, -1, _GROUP)
    first, last = grouped[..., 0], grouped[..., -1]
    half = 0.5 * float(((last - first)[:, 0] * direction.norm(dim=-1)).max())
    wide = _dilated(cells, math.ceil(half * len(cells) / EXTENT + 0.01))
    group = _cells(wide, origin, direction, 0.5 * (first + last)).reshape(-1).nonzero()[:, 0]
    ray = group // grouped.shape[1]
    crossed = torch.zeros((first.numel(), _GROUP), dtype=torch.bool)
    crossed[group] = _cells(
        cells, origin.index_select(0, ray), direction.index_select(0, ray),
        grouped.reshape(-1, _GROUP).index_select(0, group))
    return crossed.reshape(t.shape)


def _cells(cells: Tensor, origin: Tensor, direction: Tensor, t: Tensor) -> Tensor:
    """Return the values of the cells (n, n, n) of the cube at samples ``t`` of rays, (r, s)."""
    n = cells.shape[-1]
    flat = torch.zeros_like(t, dtype=torch.int32)
    for axis in range(3):
        start = (origin[:, axis, None] + 0.5 * EXTENT) * (n / EXTENT)
        at = torch.addcmul(start, direction[:, axis, None] * (n / EXTENT), t)
        flat = flat.mul_(n).add_(at.clamp_(0.0, n - 1.0).to(torch.int32))
    return cells.reshape(-1).index_select(0, flat.reshape(-1)).reshape(t.shape)


def cube_crossing(origin: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
    """
    Return the ray parameters at which rays enter and leave the cube of ``EXTENT``.

    They are equal for a ray that misses the cube.
    """
    slow = torch.where(direction.abs() < 1e-6, torch.full_like(direction, 1e-6), direction)
    a, b = (-0.5 * EXTENT - origin) / slow, (0.5 * EXTENT - origin) / slow
    near = torch.minimum(a, b).amax(dim=-1).clamp_min(0.0)
    far = torch.maximum(a, b).amin(dim=-1)
    return near, torch.maximum(far, near)


def voxel_grid(size: int, device: torch.device) -> Tensor:
    """Return canonical coordinates of voxel centres, (size, size, size, 3), axes x, y, z."""
    axis = ((torch.arange(size, device=device) + 0.5) / size - 0.5) * EXTENT
    return torch.stack(torch.meshgrid(axis, axis, axis, indexing='ij'), dim=-1)


def project_to_grid(
    points: Tensor, focal: Tensor, centre: Tensor, pose: Tensor, size: int
) -> tuple[Tensor, Tensor]:
    """
    Return the image coordinates and the depths of points in pictures of ``size`` pixels.

    ``points`` is (n, 3) or (b, n, 3). The coordinates (b, n, 2) are those of ``grid_sample`` with
    ``align_corners=False``; depths are (b, n).
    """
    # In half precision the coordinates would be off by a voxel.
    with torch.autocast(points.device.type, enabled=False):
        local = (points - pose[:, None, :3, 3]) @ pose[:, :3, :3]
    z = local[..., 2].clamp_min(1e-3)
    uv = local[..., :2] / z[..., None] * focal[:, None] + centre[:, None]
    return (2.0 * uv + 1.0) / size - 1.0, local[..., 2]


def sample_grid(field: Tensor, points: Tensor) -> Tensor:
    """
    Return a field (b, c, n, n, n) at points (b, m, 3), (b, c, m), trilinear.

    The grid fills the cube of side ``EXTENT`` around the origin; points outside of it take the
    value of its border.
    """
    # grid_sample takes the coordinate along the last axis of a volume first.
    grid = (points / (0.5 * EXTENT)).flip(-1)[:, :, None, None]
    values = functional.grid_sample(field, grid, align_corners=False, padding_mode='border')
    return values[..., 0, 0]
