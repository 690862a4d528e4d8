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
Free, occupied and unknown space around a frame, in a grid of cubic voxels.

A voxel is free only if the rays of all pixels that it covers passed through it: what no ray
crossed stays unknown. Predicted surfaces occupy voxels, and never free any.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.errors import bad_request
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import Floats
from lift3d_ros.geometry import invert
from lift3d_ros.geometry import transform
from lift3d_ros.scene.planes import depth_tolerance

#: Bound of the number of voxels.
MAX_VOXELS = 8_000_000

#: Pixels a voxel may cover at most; a voxel nearer to the camera stays unknown.
_MAX_COVERED = 64

#: Points of a surface in a voxel that it crosses, along a side.
_PER_SIDE = 2.0

#: Steps along the side of a triangle at most; larger ones lie far away, seen at a grazing angle.
_MAX_STEPS = 64


class Occupancy(IntEnum):
    """State of a voxel; ``PREDICTED`` is occupied by a surface that was not measured."""

    UNKNOWN = 0
    FREE = 1
    OCCUPIED = 2
    PREDICTED = 3


@dataclass(frozen=True, eq=False)
class VoxelMap:
    """
    A grid of voxels, whose axes are those of its own frame.

    - ``states``: uint8 (nx, ny, nz), values of ``Occupancy``.
    - ``origin``: (3,), the outer corner of voxel (0, 0, 0) in the grid's frame, metres.
    - ``resolution``: side of a voxel, metres.
    - ``T_grid_camera``: (4, 4), the optical frame in that of the grid, whose z is up where gravity
      or a plane that carries objects is known.
    """

    states: NDArray[np.uint8]
    origin: Array
    resolution: float
    T_grid_camera: Array

    def centres(self) -> Array:
        """Return the centres of all voxels in the grid's frame, (nx, ny, nz, 3) metres."""
        axes = [
            start + self.resolution * (np.arange(count) + 0.5)
            for start, count in zip(self.origin, self.states.shape, strict=True)
        ]
        return np.stack(np.meshgrid(*axes, indexing='ij'), axis=-1)

    def index(self, points: Floats) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
        """Return the voxels (n, 3) of points (n, 3) of the grid's frame, and which are inside."""
        voxels = np.floor((np.asarray(points) - self.origin) / self.resolution).astype(np.intp)
        inside = np.all((voxels >= 0) & (voxels < self.states.shape), axis=1)
        return voxels, np.asarray(inside)

    def at(self, points: Floats) -> NDArray[np.uint8]:
        """Return the states at points (n, 3) of the optical frame; outside ``UNKNOWN``."""
        voxels, inside = self.index(transform(self.T_grid_camera, points))
        states = np.full(len(voxels), Occupancy.UNKNOWN, np.uint8)
        states[inside] = self.states[tuple(voxels[inside].T)]
        return states

    def share(self, state: Occupancy) -> float:
        """Return the share of the voxels in a state, 0 to 1."""
        return float((self.states == state).mean())


def bounds(points: Floats, T_grid_camera: Array) -> tuple[Array, Array]:
    """
    Return the least and the largest coordinates (3,) of a map in its own frame, metres.

    It contains the camera and the points (n, 3) of the optical frame, save the outermost 0.5 % at
    each side.
    """
    local = transform(T_grid_camera, np.asarray(points))
    low, high = np.percentile(local, [0.5, 99.5], axis=0)
    eye = np.asarray(T_grid_camera)[:3, 3]
    return np.minimum(low, eye), np.maximum(high, eye)


def empty_map(
    points: Floats, T_grid_camera: Array, resolution: float, limit: int = MAX_VOXELS
) -> VoxelMap:
    """
    Return a map of unknown voxels within the ``bounds`` of points (n, 3) of the optical frame.

    Raises ``LiftError(BAD_REQUEST)`` for a resolution at which it has more than ``limit`` voxels,
    and for one that is not positive.
    """
    if not 0.0 < resolution < np.inf:
        raise bad_request(f'The resolution is {resolution} m; choose a positive one.')
    low, high = bounds(points, T_grid_camera)
    origin, shape = _extent(low, high, resolution)
    if np.prod(shape.astype(np.float64)) > limit:
        least = fitting_resolution(low, high, resolution, limit)
        raise bad_request(
            f'A map of {shape[0]} x {shape[1]} x {shape[2]} voxels exceeds the limit of '
            f'{limit}; choose a resolution of at least {least:.3f} m.')
    return VoxelMap(np.zeros(tuple(shape), np.uint8), origin, resolution, T_grid_camera)


def fitting_resolution(low: Array, high: Array, resolution: float, limit: int) -> float:
    """Return the finest resolution from ``resolution`` on with at most ``limit`` voxels."""
    while True:
        count = np.prod(_extent(low, high, resolution)[1].astype(np.float64))
        if count <= limit:
            return resolution
        # The margin of the map shrinks more slowly than its voxels grow.
        resolution *= max(1.01, float((count / limit) ** (1.0 / 3.0)))


def _extent(low: Array, high: Array, resolution: float) -> tuple[Array, NDArray[np.intp]]:
    """Return the origin (3,) and the numbers of voxels (3,) of a map with its margin."""
    origin = np.floor((low - 2.0 * resolution) / resolution) * resolution
    return origin, np.ceil((high + 2.0 * resolution - origin) / resolution).astype(np.intp)


def carve(grid: VoxelMap, depth: NDArray[np.float32], camera: Camera) -> None:
    """
    Mark voxels as free that every ray through them passed before its reading.

    ``depth`` (height, width) metres, 0 = no reading: its ray frees nothing. ``camera`` is in the
    optical frame of the map.
    """
    least = _minimum_pyramid(depth)
    height, width = depth.shape
    centres = transform(invert(grid.T_grid_camera), grid.centres().reshape(-1, 3))
    radius = 0.5 * np.sqrt(3.0) * grid.resolution
    z = centres[:, 2]
    u, v, _ = camera.project(centres)
    near = np.maximum(z - radius, 1e-6)
    # Pixels that the sphere around the voxel can reach, also where it is seen at an angle.
    slant = np.sqrt(1.0 + np.square(centres[:, :2] / np.maximum(z, 1e-6)[:, None]).sum(axis=1))
    cover = max(camera.fx, camera.fy) * radius * slant / near + 0.5
    with np.errstate(invalid='ignore'):
        usable = (z > radius) & (cover < _MAX_COVERED) & (u - cover >= 0.0) & (v - cover >= 0.0)
        usable &= (u + cover <= width - 1) & (v + cover <= height - 1)
    chosen = np.flatnonzero(usable)
    level = np.ceil(np.log2(np.maximum(cover[chosen], 1.0))).astype(np.intp)
    column = np.rint(u[chosen]).astype(np.intp)
    row = np.rint(v[chosen]).astype(np.intp)
    wall = least[level, row, column]
    passed = wall - depth_tolerance(wall) > z[chosen] + radius
    states = grid.states.reshape(-1)
    states[chosen[passed & (wall > 0.0)]] = Occupancy.FREE


def occupy(grid: VoxelMap, points: Floats, state: Occupancy) -> None:
    """
    Mark the voxels of surface points (n, 3) of the optical frame.

    ``OCCUPIED`` overrides every state, ``PREDICTED`` only ``UNKNOWN``: a prediction where a ray
    passed is wrong.
    """
    voxels, inside = grid.index(transform(grid.T_grid_camera, points))
    at = tuple(voxels[inside].T)
    if state is Occupancy.OCCUPIED:
        grid.states[at] = state
    else:
        present = grid.states[at]
        grid.states[at] = np.where(present == Occupancy.UNKNOWN, np.uint8(state), present)


def surface_points(vertices: Floats, faces: NDArray[np.integer], step: float) -> Array:
    """
    Return points (n, 3) on triangles no farther from each other than about ``step`` metres.

    They are dense enough for every voxel of that side which the surface crosses widely.
    """
    corners = np.asarray(vertices, np.float64)[faces]
    sides = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).max(axis=1)
    counts = np.ceil(_PER_SIDE * sides / step).astype(int)
    parts = [corners[counts <= 1].mean(axis=1)]
    for count in np.unique(counts[counts > 1]):
        weights = _barycentric(int(min(count, _MAX_STEPS)))
        parts.append(np.einsum('kj,njd->nkd', weights, corners[counts == count]).reshape(-1, 3))
    return np.concatenate(parts)


def _barycentric(count: int) -> Array:
    """Return an even grid of weights (k, 3) with ``count`` steps along a side."""
    i, j = np.meshgrid(np.arange(count + 1), np.arange(count + 1), indexing='ij')
    inside = i + j <= count
    a, b = i[inside] / count, j[inside] / count
    return np.stack([a, b, 1.0 - a - b], axis=1)


def _minimum_pyramid(depth: NDArray[np.float32]) -> NDArray[np.float32]:
    """
    Return the least depth within 2^k pixels of each, float32 (levels, height, width).

    A missing reading is the nearest possible one.
    """
    levels = []
    level = depth
    for power in range(int(np.log2(_MAX_COVERED)) + 1):
        # The windows of half the size at both sides and in the middle cover the larger one.
        shift = max(2**power // 2, 1)
        for axis in (0, 1):
            width = [(shift, shift) if axis == other else (0, 0) for other in (0, 1)]
            padded = np.pad(level, width, mode='edge')
            count = level.shape[axis]
            parts = [
                np.take(padded, np.arange(start, start + count), axis=axis)
                for start in (0, shift, 2 * shift)
            ]
            level = np.minimum(np.minimum(parts[0], parts[1]), parts[2])
        levels.append(level)
    return np.stack(levels)
