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
Closed meshes that stay closed when vertices at one place are merged.

Readers of mesh files merge vertices by position. Where two sheets of a closed mesh touch, the
merged edges have four faces, and the mesh counts as open. Here the sheets are taken apart.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.geometry import Array
from lift3d_ros.geometry import Floats

Faces = NDArray[np.int32]

#: Distance by which touching vertices are moved apart, voxels: far below the error of a surface,
#: and above the rounding of float32 coordinates hundreds of object sizes away from the origin.
SEPARATION_VOXELS = 0.01

#: Rounds of moves. Each moves the vertices that still touch; random directions do not meet again.
ROUNDS = 8


def separate_sheets(
    vertices: Floats, faces: NDArray[np.integer], distance: float
) -> tuple[NDArray[np.float32], Faces] | None:
    """
    Return vertices float32 (n, 3) and faces int32 (m, 3) of a closed mesh whose sheets are apart.

    Every vertex of the result has one fan of faces; no two vertices are within half of
    ``distance`` metres of each other, and no triangle is thinner than that times 0.01. Vertices
    are moved by some ``distance`` at most, and those of several fans are duplicated. None if the
    mesh is not closed.
    """
    points = np.asarray(vertices, np.float32)
    for _ in range(ROUNDS):
        split = _split_fans(faces)
        if split is None:
            return None
        owner, corners, opposite = split
        points = points[owner]
        double = _double_edges(corners, opposite)
        if not len(double):
            break
        points, faces = _divide(points, corners, double)
    else:
        return None
    rng = np.random.default_rng(0)
    for attempt in range(ROUNDS):
        touching = _touching(points, corners, 0.5 * distance)
        if not len(touching):
            return points, corners
        # Inward along the own normal at first: sheets that touch then leave a gap.
        normals = _normals(points, corners, touching)
        random = rng.normal(size=normals.shape)
        random /= np.linalg.norm(random, axis=1, keepdims=True)
        direction = 0.3 * random - normals if attempt == 0 else random
        step = distance * (1.0 + attempt) * rng.uniform(0.7, 1.3, (len(touching), 1))
        points[touching] += (step * direction).astype(np.float32)
    return None


def _split_fans(
    faces: NDArray[np.integer],
) -> tuple[NDArray[np.intp], Faces, NDArray[np.intp]] | None:
    """
    Return the vertex (n,) of each fan of faces, the faces with fans as corners, and neighbours.

    The faces are (m, 3); half-edge 3 i + k runs from corner k of face i to the next one, and its
    neighbour (3 m,) is the half-edge of the face on the other side. Where an edge has more than
    two faces, they are taken in pairs. None if some edge has not as many faces in one sense as in
    the other.
    """
    count = int(faces.max()) + 1
    start = faces.astype(np.int64).ravel()
    end = np.roll(faces, -1, axis=1).astype(np.int64).ravel()
    if (start == end).any():
        return None
    opposite = _opposite(start, end, count)
    if opposite is None:
        return None
    # Corners have the numbers of the half-edges that start there. The next corner around a
    # vertex; after n doublings the least number of 2^n corners of the fan is known.
    following = np.arange(len(start)).reshape(-1, 3)[:, [1, 2, 0]].ravel()
    around, first = following[opposite], np.arange(len(start))
    for _ in range(int(np.bincount(start).max()).bit_length()):
        first = np.minimum(first, first[around])
        around = around[around]
    fans = np.flatnonzero(first == np.arange(len(start)))
    # The vertices keep their order.
    fans = fans[np.argsort(start[fans], kind='stable')]
    number = np.empty(len(start), np.int32)
    number[fans] = np.arange(len(fans), dtype=np.int32)
    return start[fans], number[first].reshape(-1, 3), opposite


def _opposite(
    start: NDArray[np.int64], end: NDArray[np.int64], count: int
) -> NDArray[np.intp] | None:
    """Return the neighbours (n,) of half-edges of ``count`` vertices; None if one has none."""
    opposite = np.empty(len(start), np.intp)
    edge = np.minimum(start, end) * count + np.maximum(start, end)
    key = 2 * edge + (start > end)
    order = np.argsort(key)
    pairs = order[: len(order) // 2 * 2].reshape(-1, 2)
    if np.array_equal(key[pairs[:, 0]] + 1, key[pairs[:, 1]]) and not (key[pairs[:, 0]] % 2).any():
        # Every edge has two faces.
        opposite[pairs] = pairs[:, ::-1]
        return opposite if pairs.size == len(order) else None
    forward, backward = start * count + end, end * count + start
    order, other = np.argsort(forward, kind='stable'), np.argsort(backward, kind='stable')
    if not np.array_equal(forward[order], backward[other]):
        return None
    opposite[order] = other
    return opposite


def _double_edges(faces: Faces, opposite: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return pairs (k, 2) of half-edges, each in faces of its own, that repeat another edge."""
    start = faces.astype(np.int64).ravel()
    end = np.roll(faces, -1, axis=1).astype(np.int64).ravel()
    first = np.flatnonzero(start < end)
    key = start[first] * (int(faces.max()) + 1) + end[first]
    if (np.diff(np.sort(key)) > 0).all():
        return np.zeros((0, 2), np.intp)
    order = np.argsort(key, kind='stable')
    repeated = first[order[1:][np.diff(key[order]) == 0]]
    chosen, used = [], set[int]()
    for edge in repeated.tolist():
        pair = edge, int(opposite[edge])
        beside = {half // 3 for half in pair}
        if len(beside) == 2 and not beside & used:
            used |= beside
            chosen.append(pair)
    return np.array(chosen, np.intp).reshape(-1, 2)


def _divide(
    points: NDArray[np.float32], faces: Faces, pairs: NDArray[np.intp]
) -> tuple[NDArray[np.float32], Faces]:
    """Return a mesh with a vertex in the middle of the edges of half-edge pairs (k, 2)."""
    middle = len(points) + np.arange(len(pairs), dtype=np.int32)
    following = np.roll(faces, -1, axis=1)
    ends = faces.ravel()[pairs[:, 0]], following.ravel()[pairs[:, 0]]
    points = np.concatenate([points, 0.5 * (points[ends[0]] + points[ends[1]])])
    changed, added = faces.copy(), []
    for half in pairs.T:
        face, corner = half // 3, half % 3
        second = faces[face].copy()
        rows = np.arange(len(face))
        second[rows, corner] = middle
        changed[face, (corner + 1) % 3] = middle
        added.append(second)
    return points, np.concatenate([changed, *added])


def _touching(points: NDArray[np.float32], faces: Faces, distance: float) -> NDArray[np.intp]:
    """Return the vertices closer than ``distance`` to another one, and those of flat faces."""
    # Candidates are near each other along one line; few are, as the distance is tiny.
    along = points @ np.array([0.48, 0.62, 0.62], np.float32)
    order = np.argsort(along)
    along, sorted_points = along[order], points[order]
    near: list[NDArray[np.intp]] = []
    for shift in range(1, len(points)):
        left = np.flatnonzero(along[shift:] - along[:-shift] < distance)
        if not len(left):
            break
        apart = np.linalg.norm(sorted_points[left + shift] - sorted_points[left], axis=1)
        left = left[apart < distance]
        near += [order[left], order[left + shift]]
    a, b, c = (points[faces[:, k]].astype(np.float64) for k in range(3))
    sides = b - a, c - b, a - c
    longest = np.maximum.reduce([np.einsum('ij,ij->i', side, side) for side in sides])
    area = np.cross(sides[0], sides[2])
    flat = np.einsum('ij,ij->i', area, area) < (0.02 * distance) ** 2 * longest
    return np.unique(np.concatenate([*near, faces[flat].ravel().astype(np.intp)]))


def _normals(points: NDArray[np.float32], faces: Faces, chosen: NDArray[np.intp]) -> Array:
    """Return unit normals (k, 3) of the chosen vertices; zero for those of flat faces."""
    near = np.isin(faces, chosen).any(axis=1)
    part = faces[near]
    a, b, c = (points[part[:, k]].astype(np.float64) for k in range(3))
    area = np.cross(b - a, c - a)
    normals = np.zeros((len(points), 3))
    for k in range(3):
        np.add.at(normals, part[:, k], area)
    found = normals[chosen]
    return np.asarray(found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-20))
