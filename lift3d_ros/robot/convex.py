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

from collections.abc import Sequence
import contextlib
import importlib
import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.errors import bad_request
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import Floats
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.meshing.isosurface import decimate

#: Corners of a hull, and of each of several parts, at most: what a hull leaves out of a bottle is
#: below a hundredth of its size.
HULL_CORNERS = 64

#: Parts of one object, at most.
MAX_PARTS = 16

#: What more than one part needs.
PACKAGES = ('manifold3d', 'coacd')

#: Faces that are decomposed, at most where the tolerances allow. The time that it takes grows with
#: them, and walls that a gripper minds are still there.
_FACES = 800

#: Tolerances that a mesh is simplified by until it has few faces, as shares of its diagonal.
_TOLERANCES = np.geomspace(0.001, 0.02, 9)

#: Points that are compared with the planes of a part at a time: it bounds the memory.
_BLOCK = 50_000

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

    Approximate convex decomposition by the package coacd (Wei et al., CoACD, 2022), of a mesh
    that the package manifold3d has simplified. Each vertex of ``mesh`` that the parts then leave
    out goes to the nearest one, so that a planner meets no wall that is not in them. The search
    is short, yet long enough to find good cuts: bad ones make more parts than are asked for,
    whose merging takes longer than the search. The same mesh gives the same parts. ``mesh`` is
    closed; 1 <= ``max_parts`` <= ``MAX_PARTS``.

    Raises ``LiftError``: ``BAD_REQUEST`` without coacd or manifold3d, ``NO_SURFACE`` for points
    that span no volume.
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
        mcts_nodes=10,
        mcts_iterations=20,
        mcts_max_depth=2,
        seed=0,
    )
    parts = _covering([corners for corners, _ in found], mesh.vertices.astype(np.float64))
    volumes = [part.volume() for part in parts]
    kept = [p for p, v in zip(parts, volumes, strict=True) if v > _SLIVER * sum(volumes)]
    return kept or [convex_hull(mesh)]


def load_coacd() -> Any:
    """Return the module coacd, silenced; raises as ``check_packages`` does."""
    check_packages()
    import coacd

    coacd.set_log_level('off')
    return coacd


def check_packages() -> None:
    """Raise ``LiftError(BAD_REQUEST)`` where a package that convex parts need is missing."""
    for name in PACKAGES:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise bad_request(
                f'Convex parts need the package {name} ({error}); install it (pip install '
                f'{name}), or do with one hull.') from error


def _thinned(mesh: Mesh) -> tuple[Array, NDArray[np.int32], bool]:
    """Return vertices and faces of a mesh of few faces, and whether it is closed."""
    import manifold3d

    solid = manifold3d.Manifold(
        manifold3d.Mesh(
            np.ascontiguousarray(mesh.vertices, np.float32),
            np.ascontiguousarray(mesh.faces, np.uint32),
        )
    )
    if solid.status() != manifold3d.Error.NoError or not solid.volume() > 0.0:
        # An open scan. The simplification may tear it further, which is no matter.
        vertices, faces = mesh.vertices.astype(np.float64), mesh.faces
        if len(faces) > _FACES:
            vertices, faces = decimate(vertices, faces, _FACES, aggressiveness=5.0)
        return vertices, faces, False
    # It stays closed, which other simplifications do not keep of thin walls.
    size = float(np.linalg.norm(np.ptp(mesh.vertices, axis=0)))
    for tolerance in _TOLERANCES:
        if solid.num_tri() <= _FACES:
            break
        solid = solid.simplify(tolerance * size)
    thin = solid.to_mesh()
    return (
        np.asarray(thin.vert_properties[:, :3], np.float64),
        np.asarray(thin.tri_verts, np.int32),
        True,
    )


def _covering(parts: Sequence[Floats], vertices: Array) -> list[Mesh]:
    """
    Return hulls of parts (n, 3) that leave out none of the vertices (m, 3) by much.

    Flat parts are left out: there is nothing to collide with.
    """
    solid, beyond = [], []
    for part in parts:
        try:
            planes = _qhull(np.asarray(part, np.float64)).equations
        except LiftError:
            continue
        blocks = np.array_split(vertices, len(vertices) // _BLOCK + 1)
        solid.append(part)
        beyond.append(
            np.concatenate([(b @ planes[:, :3].T + planes[:, 3]).max(axis=1) for b in blocks])
        )
    if not solid:
        return []
    nearest, outside = np.argmin(beyond, axis=0), np.min(beyond, axis=0) > 0.0
    hulls = []
    for index, part in enumerate(solid):
        # Of parts all but flat too few corners may be left for a volume.
        with contextlib.suppress(LiftError):
            hulls.append(hull_of(np.concatenate([part, vertices[outside & (nearest == index)]])))
    return hulls


def _farthest(points: Array, count: int) -> Array:
    """Return ``count`` of the points, none far from the hull of those that are returned."""
    chosen = np.unique((points @ _DIRECTIONS.T).argmax(axis=0))
    while len(chosen) < count:
        # Anew at each step: Qhull gives up on a hull that grows by points nearly in its planes.
        planes = _qhull(points[chosen]).equations
        outside = (points @ planes[:, :3].T + planes[:, 3]).max(axis=1)
        farthest = int(outside.argmax())
        if farthest in chosen:
            break
        chosen = np.append(chosen, farthest)
    return np.asarray(points[chosen])


def _solid(points: Array) -> Mesh:
    """Return the hull of points, all of them its corners, as a mesh whose faces look outward."""
    from scipy.spatial import ConvexHull

    # Joggled, by far less than a float32 tells, for Qhull's triangles of corners that are nearly
    # in one plane may leave gaps.
    hull = ConvexHull(points, qhull_options='QJ')
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
        if _spans_volume(points):
            # Facets nearly in one plane; joggled, Qhull has no trouble with them.
            return ConvexHull(points, qhull_options='QJ')
        raise LiftError(
            ErrorCode.NO_SURFACE, 'The surface is flat: it has no hull to collide '
            'with.') from error


def _spans_volume(points: Array) -> bool:
    if len(points) < 4 or not np.isfinite(points).all():
        return False
    sizes = np.linalg.svd(points - points.mean(axis=0), compute_uv=False)
    return bool(sizes[2] > 1e-9 * sizes[0])
