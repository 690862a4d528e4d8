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
A voxel map as an OctoMap file: the octree of OctoMap's binary format (``.bt``).

The format is that of Hornung et al., OctoMap, 2013 (``OcTree::writeBinary``): for each inner node
in depth-first order two bits for each of its eight children, 00 unknown, 01 occupied, 10 free, 11
inner. The tree has 16 levels and is centred on the origin of the map's frame.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.errors import bad_request
from lift3d_ros.runtime.files import write_whole
from lift3d_ros.scene.voxel_map import Occupancy
from lift3d_ros.scene.voxel_map import VoxelMap

#: Levels of the tree: a coordinate has a key of so many bits.
_LEVELS = 16

#: Codes of two bits, the lower one first in the file.
_UNKNOWN, _FREE, _OCCUPIED, _INNER = 0, 1, 2, 3


def write_octomap(path: Path, grid: VoxelMap) -> None:
    """
    Write a map, in the grid's own frame.

    Predicted voxels are occupied. Raises ``LiftError(BAD_REQUEST)`` for a map that reaches beyond
    the range of OctoMap's keys, 32,768 voxels from the origin of its frame.
    """
    body, nodes = octree(grid)
    header = (
        '# Octomap OcTree binary file\n'
        '# (feel free to add / change comments, but leave the first line as it is!)\n#\n'
        f'id OcTree\nsize {nodes}\nres {grid.resolution:.9g}\ndata\n')
    write_whole(path, header.encode() + body)


def octree(grid: VoxelMap) -> tuple[bytes, int]:
    """Return the nodes of the tree in the file's order, and their number."""
    first = np.rint(grid.origin / grid.resolution).astype(np.int64) + 2 ** (_LEVELS - 1)
    if (first < 0).any() or (first + grid.states.shape > 2**_LEVELS).any():
        raise bad_request('The map is too far from its origin for OctoMap; choose larger voxels.')
    known = np.argwhere(grid.states != Occupancy.UNKNOWN)
    if not len(known):
        return b'', 0
    free = grid.states[tuple(known.T)] == Occupancy.FREE
    keys = known + first
    codes = np.where(free, _FREE, _OCCUPIED).astype(np.uint8)
    # From the leaves up: the nodes of each level by their key, and the children of each.
    levels: list[tuple[NDArray[np.int64], NDArray[np.uint8]]] = []
    order = np.argsort(_flat(keys))
    keys, codes = keys[order], codes[order]
    for _ in range(_LEVELS):
        parents, inverse = np.unique(_flat(keys >> 1), return_inverse=True)
        children = np.zeros((len(parents), 8), np.uint8)
        octant = (keys & 1) @ np.array([1, 2, 4])
        children[inverse, octant] = codes
        same = (children == children[:, :1]).all(axis=1)
        uniform = same & (children[:, 0] != _INNER)
        levels.append((parents, children))
        codes = np.where(uniform, children[:, 0], _INNER).astype(np.uint8)
        keys = _unflat(parents)
    return _depth_first(levels)


def _flat(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return one number for each key (n, 3)."""
    return (keys[:, 0] << 2 * _LEVELS) | (keys[:, 1] << _LEVELS) | keys[:, 2]


def _unflat(flat: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the keys (n, 3) of the numbers of ``_flat``."""
    mask = 2**_LEVELS - 1
    return np.stack([flat >> 2 * _LEVELS, (flat >> _LEVELS) & mask, flat & mask], axis=1)


def _depth_first(
    levels: list[tuple[NDArray[np.int64], NDArray[np.uint8]]]
) -> tuple[bytes, int]:
    """Return the bytes and the number of nodes of levels from the leaves' parents to the root."""
    body = bytearray()
    nodes = 1
    # A node is the number of its level and its index there; the root is the last level's.
    stack = [(len(levels) - 1, 0)]
    while stack:
        number, index = stack.pop()
        parents, children = levels[number]
        codes = children[index]
        word = int((codes.astype(np.uint32) << (2 * np.arange(8, dtype=np.uint32))).sum())
        body += word.to_bytes(2, 'little')
        nodes += int((codes != _UNKNOWN).sum())
        inner = np.flatnonzero(codes == _INNER)
        if len(inner):
            child = 2 * _unflat(parents[index:index + 1]) + np.stack(
                [inner & 1, inner >> 1 & 1, inner >> 2], axis=1)
            at = np.searchsorted(levels[number - 1][0], _flat(child))
            stack.extend((number - 1, int(position)) for position in at[::-1])
    return bytes(body), nodes
