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


"""Convex collision meshes of a mesh: one hull, or several parts."""

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

#: Largest number of corners of a hull or a part. For a bottle, the simplified hull differs by less
#: than a hundredth of the size.
HULL_CORNERS = 64

#: Largest number of parts of an object.
MAX_PARTS = 16

#: Packages that a decomposition into several parts needs.
PACKAGES = ('manifold3d', 'coacd')

#: Target number of faces of the simplified mesh. The time of the decomposition grows with it;
#: walls that matter to a gripper are preserved.
_TARGET_FACES = 800

#: Increasing tolerances of the simplification, as shares of the diagonal of the mesh.
_TOLERANCES = np.geomspace(0.001, 0.02, 9)

#: Number of points per comparison with the planes of a part; bounds the memory.
_BLOCK = 50_000

#: Smallest share of a part in the total volume; thinner slivers make physics engines unstable.
_MIN_VOLUME_SHARE = 1e-4

#: Grey level of collision meshes.
_GREY = 160

#: Directions to the faces, edges and corners of a cube; the extreme points along them are corners
#: of the hull.
_DIRECTIONS = np.array(
    [d for d in itertools.product((-1, 0, 1), repeat=3) if any(d)], dtype=np.float64
)


def convex_hull(mesh: Mesh, max_corners: int = HULL_CORNERS) -> Mesh:
    """
    Return the closed convex hull of ``mesh``, in its frame, with at most ``max_corners`` corners.

    A hull with more corners is simplified: each step adds the point that is farthest from the hull
    of the previous points. ``max_corners`` is at least 32.

    Raises ``LiftError(NO_SURFACE)`` for points that span no volume and ``ValueError`` for a bound
    that is too low.
    """
    return hull_of(mesh.vertices, max_corners)


def hull_of(points: Floats, max_corners: int = HULL_CORNERS) -> Mesh:
    """Return the ``convex_hull`` of points (n, 3)."""
    if max_corners < 32:
        raise ValueError(f'a hull of {max_corners} corners is too coarse; allow 32 or more')
    coordinates = np.asarray(points, np.float64)
    corners = coordinates[_qhull(coordinates).vertices]
    if len(corners) > max_corners:
        corners = _farthest(corners, max_corners)
    return _hull_mesh(corners)


def convex_parts(mesh: Mesh, max_parts: int = MAX_PARTS) -> list[Mesh]:
    """
    Return closed convex meshes, in the frame of ``mesh``, that together cover it.

    Approximate convex decomposition by the package coacd (Wei et al., CoACD, 2022) of a mesh that
    the package manifold3d has simplified. Vertices of ``mesh`` outside of all parts are added to
    the nearest part, so that the parts cover every wall. The search is as short as good cuts
    allow: bad cuts produce more parts than ``max_parts``, and merging these takes longer than the
    search. The result is deterministic. ``mesh`` is closed; 1 <= ``max_parts`` <= ``MAX_PARTS``.

    Raises ``LiftError``: ``BAD_REQUEST`` without coacd or manifold3d, ``NO_SURFACE`` for points
    that span no volume.
    """
    if max_parts == 1:
        return [convex_hull(mesh)]
    coacd = load_coacd()
    vertices, faces, closed = _simplified(mesh)
    decomposition = coacd.run_coacd(
        coacd.Mesh(vertices, faces),
        threshold=0.06,
        max_convex_hull=max_parts,
        # coacd cuts only closed surfaces; the preprocessing closes an open one.
        preprocess_mode='off' if closed else 'on',
        preprocess_resolution=20,
        resolution=200,
        mcts_nodes=10,
        mcts_iterations=20,
        mcts_max_depth=2,
        seed=0,
    )
    parts = _covering([corners for corners, _ in decomposition], mesh.vertices.astype(np.float64))
    volumes = [part.volume() for part in parts]
    kept = [p for p, v in zip(parts, volumes, strict=True) if v > _MIN_VOLUME_SHARE * sum(volumes)]
    return kept or [convex_hull(mesh)]


def load_coacd() -> Any:
    """Return the module coacd without its log; raises as ``check_packages``."""
    check_packages()
    import coacd

    coacd.set_log_level('off')
    return coacd


def check_packages() -> None:
    """Raise ``LiftError(BAD_REQUEST)`` if a package for convex parts is missing."""
    for name in PACKAGES:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise bad_request(
                f'Convex parts need the package {name} ({error}); install it (pip install '
                f'{name}), or use a single hull.') from error


def _simplified(mesh: Mesh) -> tuple[Array, NDArray[np.int32], bool]:
    """Return vertices and faces of a simplified mesh, and whether it is closed."""
    import manifold3d

    manifold = manifold3d.Manifold(
        manifold3d.Mesh(
            np.ascontiguousarray(mesh.vertices, np.float32),
            np.ascontiguousarray(mesh.faces, np.uint32),
        )
    )
    if manifold.status() != manifold3d.Error.NoError or not manifold.volume() > 0.0:
        # An open scan: the simplification does not have to preserve its topology.
        vertices, faces = mesh.vertices.astype(np.float64), mesh.faces
        if len(faces) > _TARGET_FACES:
            vertices, faces = decimate(vertices, faces, _TARGET_FACES, aggressiveness=5.0)
        return vertices, faces, False
    # Unlike other simplifications, that of manifold3d keeps thin walls closed.
    size = float(np.linalg.norm(np.ptp(mesh.vertices, axis=0)))
    for tolerance in _TOLERANCES:
        if manifold.num_tri() <= _TARGET_FACES:
            break
        manifold = manifold.simplify(tolerance * size)
    simplified = manifold.to_mesh()
    return (
        np.asarray(simplified.vert_properties[:, :3], np.float64),
        np.asarray(simplified.tri_verts, np.int32),
        True,
    )


def _covering(parts: Sequence[Floats], vertices: Array) -> list[Mesh]:
    """
    Return the hulls of parts (n, 3), extended to cover the vertices (m, 3).

    Flat parts are omitted, because they have no volume.
    """
    kept, distances = [], []
    for part in parts:
        try:
            planes = _qhull(np.asarray(part, np.float64)).equations
        except LiftError:
            continue
        blocks = np.array_split(vertices, len(vertices) // _BLOCK + 1)
        kept.append(part)
        distances.append(
            np.concatenate([(b @ planes[:, :3].T + planes[:, 3]).max(axis=1) for b in blocks])
        )
    if not kept:
        return []
    nearest, outside = np.argmin(distances, axis=0), np.min(distances, axis=0) > 0.0
    hulls = []
    for index, part in enumerate(kept):
        # A nearly flat part may have too few corners for a volume.
        with contextlib.suppress(LiftError):
            hulls.append(hull_of(np.concatenate([part, vertices[outside & (nearest == index)]])))
    return hulls


def _farthest(points: Array, count: int) -> Array:
    """Return ``count`` of the points whose hull approximates that of all points."""
    chosen = np.unique((points @ _DIRECTIONS.T).argmax(axis=0))
    while len(chosen) < count:
        # Not incremental: Qhull fails if it adds points nearly in the planes of the hull.
        planes = _qhull(points[chosen]).equations
        outside = (points @ planes[:, :3].T + planes[:, 3]).max(axis=1)
        farthest = int(outside.argmax())
        if farthest in chosen:
            break
        chosen = np.append(chosen, farthest)
    return np.asarray(points[chosen])


def _hull_mesh(points: Array) -> Mesh:
    """Return the hull of its corners (n, 3) as a mesh with outward normals."""
    from scipy.spatial import ConvexHull

    # Joggled by less than the precision of float32, because Qhull's triangulation of nearly
    # coplanar corners may have gaps.
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
            # Nearly coplanar facets; joggling avoids the error of Qhull.
            return ConvexHull(points, qhull_options='QJ')
        raise LiftError(
            ErrorCode.NO_SURFACE, 'The surface is flat and has no convex hull; check the mask '
            'and the depth.') from error


def _spans_volume(points: Array) -> bool:
    if len(points) < 4 or not np.isfinite(points).all():
        return False
    sizes = np.linalg.svd(points - points.mean(axis=0), compute_uv=False)
    return bool(sizes[2] > 1e-9 * sizes[0])
