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


"""The zero level of a signed distance as a mesh: sample, refine near the surface, extract."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.meshing.isosurface import extract_surface

#: The signed distance (n,), negative inside, at points (n, 3) in [-1, 1].
Distance = Callable[[Tensor], Tensor]

#: Steps of the fine grid in one step of the coarse grid.
_STRIDE = 4

#: Number of points per evaluation.
_BLOCK = 2**18


def bounded(distance: Distance, center: Tensor, radius: float) -> Distance:
    """
    Return a distance restricted to a ball, ``center`` (3,) and ``radius``.

    The distance is evaluated only inside the ball; outside, the result is the distance from the
    ball.
    """

    def inside(points: Tensor) -> Tensor:
        result = (points - center.to(points)).norm(dim=1).sub_(radius).float()
        near = result <= 0.0
        if near.any():
            result[near] = torch.maximum(result[near], distance(points[near]).to(result))
        return result

    return inside


def sample_grid(distance: Distance, resolution: int) -> NDArray[np.float32]:
    """Return the distance at every point of a grid (r, r, r) over [-1, 1]^3, as published."""
    axis = torch.linspace(-1.0, 1.0, resolution)
    field = np.empty((resolution,) * 3, np.float32)
    rows = max(1, _BLOCK // resolution**2)
    for start in range(0, resolution, rows):
        part = axis[start:start + rows]
        grid = torch.stack(torch.meshgrid(part, axis, axis, indexing='ij'), dim=-1)
        field[start:start + rows] = distance(grid.view(-1, 3)).view(grid.shape[:3]).numpy()
    return field


def sample_near_surface(distance: Distance, resolution: int) -> NDArray[np.float32]:
    """
    Return the distance on the same grid, computed only near the surface.

    A grid of every fourth point is computed first. A cube of this grid is refined if its corners
    differ in sign, or if a corner is nearer to the surface than the diagonal of the cube;
    elsewhere the values are interpolated. A point of the surface is within half a diagonal of a
    corner, so no surface is missed if the slope of the field is below 2; that of a distance is 1.
    """
    if (resolution - 1) % _STRIDE:
        raise ValueError(f'the resolution {resolution} is not 1 more than a multiple of {_STRIDE}')
    coarse = sample_grid(distance, (resolution - 1) // _STRIDE + 1)
    diagonal = np.sqrt(3.0) * 2.0 * _STRIDE / (resolution - 1)
    cubes = torch.from_numpy(coarse)[None, None]
    low = -torch.nn.functional.max_pool3d(-cubes, 2, stride=1)
    high = torch.nn.functional.max_pool3d(cubes, 2, stride=1)
    near = (low < diagonal) & (high > -diagonal)
    field = torch.nn.functional.interpolate(
        cubes, size=(resolution,) * 3, mode='trilinear', align_corners=True)[0, 0]
    # The points of the refined cubes, with their upper faces.
    marked = torch.zeros((resolution,) * 3, dtype=torch.bool)
    inner = near[0, 0]
    for axis in range(3):
        inner = inner.repeat_interleave(_STRIDE, dim=axis)
    marked[:-1, :-1, :-1] = inner
    for axis in range(3):
        upper = torch.zeros_like(marked)
        upper.narrow(axis, 1, resolution - 1).copy_(marked.narrow(axis, 0, resolution - 1))
        marked |= upper
    where = marked.nonzero()
    step = 2.0 / (resolution - 1)
    for start in range(0, len(where), _BLOCK):
        part = where[start:start + _BLOCK]
        field[part[:, 0], part[:, 1], part[:, 2]] = distance(part * step - 1.0)
    return field.numpy()


def level_set(
    field: NDArray[np.float32], max_faces: int
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """
    Return vertices (n, 3) in [-1, 1] and faces (m, 3) of the field's zero level, closed.

    ``field`` is the distance on a grid over [-1, 1]^3, negative inside. Only the largest component
    is kept, without inner shells, with at most ``max_faces`` faces.

    Raises ``LiftError(NO_SURFACE)`` if the field is positive everywhere, or if the surface reaches
    the border of the volume, outside of which the field is unknown.
    """
    if not np.isfinite(field).all():
        raise LiftError(
            ErrorCode.NO_SURFACE, 'The signed distance has values that are not finite.')
    voxel = 2.0 / (field.shape[0] - 1)
    vertices, faces = extract_surface(-field, np.full(3, -1.0), voxel, max_faces)
    if np.abs(vertices).max() > 1.0 - voxel:
        raise LiftError(
            ErrorCode.NO_SURFACE,
            'The surface reaches the border of the volume; the views are inconsistent.',
        )
    return vertices, faces


def raw_level_set(
    field: NDArray[np.float32],
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """
    Return the zero level with all its components, as published; it may be open.

    Raises ``LiftError(NO_SURFACE)`` if the field has no change of sign.
    """
    from skimage.measure import marching_cubes

    if not field.min() < 0.0 < field.max():
        raise LiftError(ErrorCode.NO_SURFACE, 'The signed distance has no zero level.')
    vertices, faces, _, _ = marching_cubes(-field, 0.0, gradient_direction='ascent')
    vertices = vertices * (2.0 / (field.shape[0] - 1)) - 1.0
    return vertices.astype(np.float32), faces.astype(np.int32)
