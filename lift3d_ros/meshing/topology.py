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
The topology of an object from evidence: openings where rays passed, not where a wall is thin.

A wall that is thinner than a voxel, or that nothing measured, is torn in a level set: the object
falls apart or has tunnels. Here the object grows to all that may be occupied, and shrinks again
as long as its topology stays (thinning by simple points; Kong and Rosenfeld, Digital Topology,
1989), first where it is least probable. What remains beside the level set closes its tunnels and
joins its pieces, along the most probable surface, except where a ray was seen to pass.
"""

from __future__ import annotations

from collections.abc import Callable
import itertools

import numpy as np
from numpy.typing import NDArray

Volume = NDArray[np.bool_]
Bits = NDArray[np.uint32]

#: Steps of the order in which space is given up.
ORDER_STEPS = 8

#: Rounds over the space of one step; a round takes a layer of a voxel.
MAX_ROUNDS = 40

# Bit x + 3 y + 9 z of a neighbourhood of 3 x 3 x 3 voxels is the one at (x, y, z).
_AT = np.arange(27)
_ALL = sum(1 << int(bit) for bit in _AT)
_CENTRE = 1 << 13
_OFFSETS = np.stack([_AT % 3, _AT // 3 % 3, _AT // 9], axis=1) - 1
_STEPS = np.abs(_OFFSETS).sum(axis=1)
_FACES = sum(1 << int(bit) for bit in _AT[_STEPS == 1])
_FACES_AND_EDGES = sum(1 << int(bit) for bit in _AT[(_STEPS == 1) | (_STEPS == 2)])
_BELOW = [sum(1 << int(bit) for bit in _AT[_OFFSETS[:, k] < 1]) for k in range(3)]
_ABOVE = [sum(1 << int(bit) for bit in _AT[_OFFSETS[:, k] > -1]) for k in range(3)]

# The neighbours in each octant: three at faces, three at edges, one at a corner.
_OCTANTS = np.array([
    [
        int(np.dot(np.array(where) * sign + 1, (1, 3, 9)))
        for where in (
            (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, 0, 1), (0, 1, 1), (1, 1, 1)
        )
    ]
    for sign in itertools.product((-1, 1), repeat=3)
])


def _euler_of_octants() -> NDArray[np.int64]:
    """
    Return four times the share of an octant in an Euler number, for each set of its neighbours.

    A neighbour at a face belongs to four octants, and one at an edge to two.
    """
    a, b, c, ab, ac, bc, abc = (np.arange(128) >> bit & 1 for bit in range(7))
    edges = ab * a * b, ac * a * c, bc * b * c
    return a + b + c - 2 * sum(edges) + 4 * abc * edges[0] * edges[1] * edges[2]


_EULER_OF_OCTANT = _euler_of_octants()


def euler_number(inside: Volume) -> int:
    """
    Return the Euler number of the surface of voxels that are connected by their faces.

    It is twice the number of pieces, less twice that of tunnels, with two more for each cavity.
    """
    solid = np.pad(inside, 1)
    x = solid[:-1] & solid[1:]
    y = solid[:, :-1] & solid[:, 1:]
    z = solid[:, :, :-1] & solid[:, :, 1:]
    xy, xz, yz = x[:, :-1] & x[:, 1:], x[:, :, :-1] & x[:, :, 1:], y[:, :, :-1] & y[:, :, 1:]
    edges = sum(np.count_nonzero(pairs) for pairs in (x, y, z))
    squares = sum(np.count_nonzero(four) for four in (xy, xz, yz))
    cubes = np.count_nonzero(xy[:, :, :-1] & xy[:, :, 1:])
    return int(2 * (np.count_nonzero(solid) - edges + squares - cubes))


def shrink(grown: Volume, core: Volume, order: NDArray[np.float32]) -> Volume:
    """
    Return ``grown`` without what its topology does not need, (nx, ny, nz).

    ``core``, a part of ``grown``, stays. Other voxels are given up in steps of ``order``, the
    smallest first, from outside. The object is connected by faces, its outside by corners, too.
    Pieces without a voxel of the core vanish.
    """
    from scipy import ndimage

    labels, count = ndimage.label(grown)
    if count > 1:
        has_core = np.zeros(count + 1, bool)
        has_core[np.unique(labels[core])] = True
        has_core[0] = False
        grown = has_core[labels]
    solid = np.pad(grown, 1)
    flat = solid.ravel()
    loose = np.flatnonzero(np.pad(grown & ~core, 1).ravel())
    if not len(loose):
        return grown
    rank = np.pad(order, 1).ravel()[loose]
    edges = np.quantile(rank, np.arange(1, ORDER_STEPS + 1) / ORDER_STEPS)
    step = np.searchsorted(edges, rank).clip(max=ORDER_STEPS - 1)
    _, ny, nz = solid.shape
    strides = np.array([ny * nz, nz, 1])
    offsets = _OFFSETS @ strides
    # Voxels of one parity are not neighbours: they can be given up at once.
    x, y, z = np.unravel_index(loose, solid.shape)
    parity = (x % 2) * 4 + (y % 2) * 2 + z % 2
    # Only voxels beside the outside can go, and only if something near by has changed since they
    # were looked at.
    beside = ~ndimage.binary_erosion(solid, np.ones((3, 3, 3), bool)).ravel()
    changed = np.ones(solid.size, bool)
    for level in range(ORDER_STEPS):
        remaining = [loose[(step <= level) & (parity == number)] for number in range(8)]
        for _ in range(MAX_ROUNDS):
            gone = []
            for at in remaining:
                chosen = at[changed[at] & beside[at]]
                if not len(chosen):
                    continue
                changed[chosen] = False
                simple = chosen[_simple(_neighbourhoods(flat, chosen, offsets))]
                flat[simple] = False
                changed[(simple[:, None] + offsets).ravel()] = True
                gone.append(simple)
            removed = np.concatenate([at[:0], *gone])
            if not len(removed):
                break
            beside[(removed[:, None] + offsets).ravel()] = True
            remaining = [at[flat[at]] for at in remaining]
        step = np.where(flat[loose], step, ORDER_STEPS)
    return solid[1:-1, 1:-1, 1:-1]


def without_strands(kept: Volume, far: Volume) -> Volume:
    """
    Return a result of ``shrink`` without the voxels of curves among ``far``, (nx, ny, nz).

    A curve closes a loop, or joins two pieces; a sheet of voxels closes an opening, and stays.
    """
    solid = np.pad(kept, 1)
    flat = solid.ravel()
    at = np.flatnonzero(np.pad(kept & far, 1).ravel())
    _, ny, nz = solid.shape
    bits = _packed(_neighbourhoods(flat, at, _OFFSETS @ np.array([ny * nz, nz, 1])))
    outside = ~bits & np.uint32(_ALL & ~_CENTRE)
    near = bits & np.uint32(_FACES_AND_EDGES)
    faces = near & np.uint32(_FACES)
    one_outside = _flood(outside, outside, _grow) == outside
    several_inside = (_flood(faces, near, _grow_by_faces) & faces) != faces
    flat[at[one_outside & several_inside]] = False
    return solid[1:-1, 1:-1, 1:-1]


def _neighbourhoods(flat: Volume, at: NDArray[np.intp], offsets: NDArray[np.intp]) -> Volume:
    """Return the neighbourhoods (n, 27) of voxels at indices (n,) of a flat volume."""
    return flat[at[:, None] + offsets]


def _packed(near: Volume) -> Bits:
    """Return neighbourhoods (n, 27) as bits (n,)."""
    return np.packbits(near, axis=1, bitorder='little').view('<u4').ravel().astype(np.uint32)


def _simple(near: Volume) -> Volume:
    """
    Return whether voxels with neighbourhoods (n, 27) can go without a change of topology.

    The voxels at faces, those at edges between two of them and those at corners between three
    are the vertices, edges and triangles of a part of an octahedron. It must be one piece, and so
    must be the rest of the octahedron, which is the outside.
    """
    octants = np.packbits(near[:, _OCTANTS], axis=2, bitorder='little')[..., 0]
    result = _EULER_OF_OCTANT[octants].sum(axis=1) == 4
    # One piece without a hole, or several with as many holes less one.
    at = np.flatnonzero(result)
    sides = _packed(near[at]) & np.uint32(_FACES_AND_EDGES)
    faces = sides & np.uint32(_FACES)
    result[at] = (_flood(faces, sides, _grow_by_faces) & faces) == faces
    return result


def _flood(seeds: Bits, within: Bits, grow: Callable[[Bits], Bits]) -> Bits:
    """Return the part of ``within`` that is connected to the lowest bit of ``seeds``, (n,)."""
    found = seeds & (~seeds + np.uint32(1))
    at = np.arange(len(found))
    while len(at):
        larger = grow(found[at]) & within[at]
        grown = larger != found[at]
        found[at] = larger
        at = at[grown]
    return found


def _grow(bits: Bits) -> Bits:
    """Return neighbourhoods grown by one voxel, across faces, edges and corners."""
    for k, shift in enumerate((1, 3, 9)):
        up = (bits & np.uint32(_BELOW[k])) << np.uint32(shift)
        down = (bits & np.uint32(_ABOVE[k])) >> np.uint32(shift)
        bits = bits | up | down
    return bits


def _grow_by_faces(bits: Bits) -> Bits:
    """Return neighbourhoods grown by one voxel across faces."""
    grown = bits
    for k, shift in enumerate((1, 3, 9)):
        grown = grown | ((bits & np.uint32(_BELOW[k])) << np.uint32(shift))
        grown = grown | ((bits & np.uint32(_ABOVE[k])) >> np.uint32(shift))
    return grown
