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


"""Convex solids that stand for a mesh where collisions are checked: one hull, or several parts."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.decimation import decimate
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import Floats
from lift3d_ros.shape import Mesh

#: Corners of a hull, at most: what it leaves out of a bottle is below a hundredth of its size.
HULL_CORNERS = 64

#: Corners of one of several parts, at most.
PART_CORNERS = 32

#: Parts of one object, at most.
MAX_PARTS = 16

#: Faces that are decomposed. The time that it takes grows with them, and walls that a gripper
#: minds are still there.
_FACES = 300

#: A part with less than this share of the volume of all is a sliver that physics trips over.
_SLIVER = 1e-4

#: Collision shapes have no colour of their own.
_GREY = 160

#: To the faces, edges and corners of a cube: the extremes along them are corners of every hull.
_DIRECTIONS = np.array(
    [d for d in itertools.product((-1, 0, 1), repeat=3) if any(d)], dtype=np.float64
)


def convex_hull(mesh: Mesh, max_corners: int = HULL_CORNERS) -> Mesh:
    """
    Return a closed convex mesh about ``mesh``, in its frame, with at most ``max_corners`` corners.

    Where the hull has more, those stay that reach farthest out: each step takes the point that is
    farthest from the hull of those before it, so that what is cut off is small and known to be.
    ``max_corners`` is at least 32.

    Raises ``LiftError(NO_SURFACE)`` for points that span no volume and ``ValueError`` for a bound
    that is too low.
    """
    return hull_of(mesh.vertices, max_corners)


def hull_of(points: Floats, max_corners: int = HULL_CORNERS) -> Mesh:
    """Return the ``convex_hull`` of points (n, 3)."""
    if max_corners < 32:
        raise ValueError(f'a hull of {max_corners} corners is too coarse; allow 32 or more')
    places = np.asarray(points, np.float64)
    corners = places[_qhull(places).vertices]
    if len(corners) > max_corners:
        corners = _farthest(corners, max_corners)
    return _solid(corners)


def convex_parts(mesh: Mesh, max_parts: int = MAX_PARTS) -> list[Mesh]:
    """
    Return closed convex meshes, in the frame of ``mesh``, that together stand for it.

    Approximate convex decomposition by the package coacd (Wei et al., CoACD, 2022), of a
    simplified mesh and with a short search, so that it takes a few seconds at most; the same mesh
    gives the same parts. ``mesh`` is closed; 1 <= ``max_parts`` <= ``MAX_PARTS``.

    Raises ``LiftError``: ``BAD_REQUEST`` without coacd, ``NO_SURFACE`` for points that span no
    volume.
    """
    if max_parts == 1:
        return [convex_hull(mesh)]
    coacd = load_coacd()
    vertices, faces, closed = _thinned(mesh)
    found = coacd.run_coacd(
        coacd.Mesh(vertices, faces),
        threshold=0.06,
        max_convex_hull=max_parts,
        # It cuts closed surfaces alone; of others it makes a closed one first.
        preprocess_mode='off' if closed else 'on',
        preprocess_resolution=20,
        resolution=200,
        mcts_nodes=6,
        mcts_iterations=12,
        mcts_max_depth=2,
        seed=0,
    )
    parts = []
    for corners, _ in found:
        try:
            parts.append(hull_of(corners, PART_CORNERS))
        except LiftError:
            # Flat: there is nothing to collide with.
            continue
    volumes = [part.volume() for part in parts]
    kept = [p for p, v in zip(parts, volumes, strict=True) if v > _SLIVER * sum(volumes)]
    return kept or [convex_hull(mesh)]


def load_coacd() -> Any:
    """Return the module coacd, silenced; raises ``LiftError(BAD_REQUEST)`` where it is missing."""
    try:
        import coacd
    except ImportError as error:
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            f'Convex parts need the package coacd ({error}); install it (pip install coacd), or '
            'do with one hull.',
        ) from error
    coacd.set_log_level('off')
    return coacd


def _thinned(mesh: Mesh) -> tuple[Array, NDArray[np.int32], bool]:
    """Return vertices and faces of a mesh of few faces, and whether it is closed."""
    vertices, faces = mesh.vertices.astype(np.float64), mesh.faces
    # The simplification may tear a mesh; a little less of it often does not.
    for target in (_FACES, 3 * _FACES // 2):
        if len(mesh.faces) <= target:
            break
        vertices, faces = decimate(mesh.vertices, mesh.faces, target, aggressiveness=5.0)
        thin = Mesh(vertices.astype(np.float32), faces, np.zeros((len(vertices), 3), np.uint8))
        if thin.is_watertight() and thin.volume() > 0.0:
            return vertices, faces, True
    return vertices, faces, len(faces) == len(mesh.faces)


def _farthest(points: Array, count: int) -> Array:
    """Return ``count`` of the points, none far from the hull of those that are returned."""
    from scipy.spatial import ConvexHull

    chosen = np.unique((points @ _DIRECTIONS.T).argmax(axis=0))
    hull = ConvexHull(points[chosen], incremental=True)
    while len(chosen) < count:
        outside = (points @ hull.equations[:, :3].T + hull.equations[:, 3]).max(axis=1)
        farthest = int(outside.argmax())
        if farthest in chosen:
            break
        chosen = np.append(chosen, farthest)
        hull.add_points(points[farthest:farthest + 1])
    hull.close()
    return np.asarray(points[chosen])


def _solid(points: Array) -> Mesh:
    """Return the hull of points as a mesh whose faces look outward."""
    hull = _qhull(points)
    faces = hull.simplices.astype(np.int32)
    a, b, c = (points[faces[:, k]] for k in range(3))
    inward = np.einsum('ij,ij->i', np.cross(b - a, c - a), hull.equations[:, :3]) < 0.0
    faces[inward] = faces[inward, ::-1]
    used, renumbered = np.unique(faces, return_inverse=True)
    return Mesh(
        points[used].astype(np.float32),
        renumbered.reshape(-1, 3).astype(np.int32),
        np.full((len(used), 3), _GREY, np.uint8),
    )


def _qhull(points: Array) -> Any:
    from scipy.spatial import ConvexHull
    from scipy.spatial import QhullError

    try:
        return ConvexHull(points)
    except (QhullError, ValueError) as error:
        raise LiftError(
            ErrorCode.NO_SURFACE, 'The surface is flat: it has no hull to collide with.'
        ) from error
