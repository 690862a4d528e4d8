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
Close the openings of a level set that no ray was seen to pass, and join its torn pieces.

See ``meshing.topology`` for the principle. It works on a grid of every second voxel first, and on
the voxels themselves only where narrower openings remain.
"""

from __future__ import annotations

from collections.abc import Callable
import itertools

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.geometry import Array
from lift3d_ros.meshing.topology import euler_number
from lift3d_ros.meshing.topology import shrink
from lift3d_ros.meshing.topology import without_strands

#: Smallest occupancy of space that may belong to a wall, and the distance from the level set up
#: to which any space may, in cells of the coarse grid.
MIN_OCCUPANCY, REACH_CELLS = 0.02, 6.0

#: Distance from the level set beyond which nothing but a wall may be added, cells.
STRAND_CELLS = 2.0

#: Half the width of the openings that are closed on the voxels themselves.
NARROW_VOXELS = 2

#: Standard deviation of the filter that smooths added walls, voxels.
WALL_BLUR_VOXELS = 1.2

#: Weight of the distance from the level set, in cells, against the occupancy.
DISTANCE_WEIGHT = 0.01

Values = NDArray[np.float32]
Volume = NDArray[np.bool_]

#: Return, at points (n, 3), the probability of being inside; and whether a ray crossed the point
#: in front of a reading by more than a margin in metres.
Occupancy = Callable[[Array], Values]
Free = Callable[[Array, float], Volume]


def close_openings(
    values: Values, low: Array, voxel: float, occupancy: Occupancy, free: Free
) -> Values:
    """
    Return a field, positive inside, whose openings and gaps are those that rays passed.

    ``values`` (nx, ny, nz), with odd sides, are at ``low + voxel * index``, metres.
    ``occupancy`` and ``free`` take points of the same frame.
    """
    from scipy import ndimage

    inside = _without_cavities(values > 0.0)
    defects = _defects(inside)
    if defects == 0:
        return values
    core = ndimage.maximum_filter(inside, 3)[::2, ::2, ::2]
    walls = _walls(core, low, 2.0 * voxel, occupancy, free)
    if walls.any():
        values = _with_walls(values, core, walls, voxel)
        inside = _without_cavities(values > 0.0)
        defects = _defects(inside)
        if defects == 0:
            return values
    # Openings of less than a cell.
    grown = inside | ndimage.binary_dilation(_between(inside))
    index = np.argwhere(grown & ~inside)
    # The readings beside a narrow opening are not exact to its width.
    crossed = free(low + voxel * index, (NARROW_VOXELS + 1.0) * voxel)
    grown[tuple(index[crossed].T)] = False
    narrow = _needed(grown, inside, defects, values, grown) & ~inside
    return np.where(narrow, np.float32(0.5 * voxel), values)


def _walls(core: Volume, low: Array, cell: float, occupancy: Occupancy, free: Free) -> Volume:
    """Return the cells that close the openings of a ``core`` of cells from ``low`` on, metres."""
    from scipy import ndimage

    defects = _defects(core)
    if defects == 0:
        return np.zeros_like(core)
    points = low + cell * np.stack(
        np.meshgrid(*(np.arange(n) for n in core.shape), indexing='ij'), axis=-1
    ).reshape(-1, 3)
    probable = occupancy(points).reshape(core.shape)
    distance = ndimage.distance_transform_edt(~core).astype(np.float32)
    candidate = (probable >= MIN_OCCUPANCY) | (distance <= REACH_CELLS)
    grown = core.copy()
    at = np.flatnonzero(candidate & ~core)
    grown.ravel()[at] = ~free(points[at], 0.5 * cell)
    # Evidence is noisy: what is thinner than two cells is no part of an object.
    grown = core | ndimage.binary_opening(grown, np.ones((2, 2, 2), bool))
    order = probable - np.float32(DISTANCE_WEIGHT) * distance
    return _needed(grown, core, defects, order, distance > STRAND_CELLS) & ~core


def _needed(
    grown: Volume, core: Volume, defects: int, order: NDArray[np.float32], far: Volume
) -> Volume:
    """
    Return the core with the walls that close its ``defects``, the core if there are none.

    Strands ``far`` from the core close no opening: the evidence for a loop there is noise. So it
    is for strands anywhere if they add more openings than walls close.
    """
    kept = shrink(grown, core, order)
    for strands in (far, np.ones_like(core)):
        kept = shrink(without_strands(kept, strands & ~core), core, order)
        if _defects(kept) < defects:
            return kept
    return core


def _defects(inside: Volume) -> int:
    """Return the number of tunnels, plus twice that of pieces beside the first one."""
    from scipy import ndimage

    _, pieces = ndimage.label(inside)
    return int(2 * (pieces - 1) + pieces - euler_number(inside) // 2)


def _between(inside: Volume) -> Volume:
    """Return the voxels with occupied ones near by on two opposite sides."""
    reach = NARROW_VOXELS + 1
    padded = np.pad(inside, reach)

    def shifted(step: tuple[int, ...]) -> Volume:
        part = tuple(
            slice(reach + k, reach + k + n) for k, n in zip(step, inside.shape, strict=True)
        )
        return padded[part]

    found = np.zeros_like(inside)
    directions = [d for d in itertools.product((-1, 0, 1), repeat=3) if d > (0, 0, 0)]
    for direction in directions:
        sides = []
        for sign in (-1, 1):
            side = np.zeros_like(inside)
            for n in range(1, reach + 1):
                side |= shifted(tuple(sign * n * k for k in direction))
            sides.append(side)
        found |= sides[0] & sides[1]
    return found & ~inside


def _with_walls(values: Values, core: Volume, walls: Volume, voxel: float) -> Values:
    """Return a field with coarse cells beside the core as walls."""
    from scipy import ndimage

    box = ndimage.find_objects(walls.astype(np.uint8))[0]
    part = tuple(
        slice(max(side.start - 2, 0), min(side.stop + 2, n))
        for side, n in zip(box, core.shape, strict=True)
    )
    fine = tuple(slice(2 * side.start, 2 * side.stop - 1) for side in part)
    near = ndimage.binary_dilation(walls[part], np.ones((3, 3, 3), bool))
    solid = np.where(near, (core | walls)[part], False).astype(np.float32)
    grid = np.meshgrid(*(0.5 * np.arange(2 * n - 1) for n in solid.shape), indexing='ij')
    dense = ndimage.map_coordinates(solid, grid, order=1, mode='nearest')
    wall = ndimage.map_coordinates(
        near.astype(np.float32), grid, order=1, mode='nearest'
    )
    added = np.where(wall > 0.6, np.float32(voxel) * (2.4 * dense - 0.8), -np.inf)
    local = np.maximum(values[fine], added.astype(np.float32)).clip(-voxel, voxel)
    # The steps between cells are not those of the object.
    smooth = ndimage.gaussian_filter(local, WALL_BLUR_VOXELS, mode='nearest')
    share = np.clip(2.0 * wall, 0.0, 1.0)
    result = values.copy()
    result[fine] = local + share * (smooth - local)
    return result


def _without_cavities(inside: Volume) -> Volume:
    """Return the volume with its enclosed cavities filled."""
    from scipy import ndimage

    labels, count = ndimage.label(np.pad(~inside, 1, constant_values=True))
    if count == 1:
        return inside
    return np.asarray(labels[1:-1, 1:-1, 1:-1] != labels[0, 0, 0])
