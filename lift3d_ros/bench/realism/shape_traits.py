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

"""Measures of a shape by which objects of scans are compared with those of real frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lift3d_ros.geometry import Array
from lift3d_ros.geometry.shape import Mesh

#: Points of the surface that are mirrored, and points that they are compared with: these are
#: 1/200 of the size of an object apart.
_POINTS, _NEIGHBOURS = 2000, 30_000


@dataclass(frozen=True)
class ShapeTraits:
    """
    Measures of a shape that, but for the diagonal, do not depend on its size.

    - ``convexity``: volume over that of the convex hull.
    - ``asymmetry``: (3,) in ascending order, of each plane through the hull's centre of mass and
      two of its principal axes: mean distance of the mirrored surface from the surface, over the
      diagonal of the box along the axes. It is below 0.01 where the plane mirrors the shape.
    - ``elongation``: longest side of that box over the second; ``flatness``: the second over the
      shortest.
    - ``diagonal_m``: its diagonal, metres.
    """

    convexity: float
    asymmetry: tuple[float, float, float]
    elongation: float
    flatness: float
    diagonal_m: float


def shape_traits(mesh: Mesh) -> ShapeTraits:
    """Return the measures of a mesh in metres, which may be open."""
    from scipy.spatial import cKDTree
    import trimesh

    vertices = mesh.vertices.astype(np.float64)
    hull: Any = trimesh.convex.convex_hull(vertices)
    centre, axes = hull.center_mass, np.linalg.eigh(hull.moment_inertia)[1]
    # In the axes of the hull, planes between axes mirror one coordinate.
    local = (vertices - centre) @ axes
    sides = np.sort(np.ptp(local, axis=0))[::-1]
    diagonal = float(np.linalg.norm(sides))
    points = _surface(mesh, local, _NEIGHBOURS)
    tree = cKDTree(points)
    errors = []
    for axis in range(3):
        # Of a stratified sample, every n-th point is one as well.
        mirrored = points[:: _NEIGHBOURS // _POINTS].copy()
        mirrored[:, axis] *= -1.0
        errors.append(float(tree.query(mirrored)[0].mean()) / diagonal)
    first, second, third = sorted(errors)
    return ShapeTraits(
        convexity=min(abs(mesh.volume()) / float(hull.volume), 1.0),
        asymmetry=(first, second, third),
        elongation=float(sides[0] / sides[1]),
        flatness=float(sides[1] / sides[2]),
        diagonal_m=diagonal,
    )


def longest_axis(mesh: Mesh) -> Array:
    """Return the direction (3,) of the longest principal axis of the convex hull, unit."""
    import trimesh

    hull: Any = trimesh.convex.convex_hull(mesh.vertices.astype(np.float64))
    # The moment of inertia is least about the longest axis.
    return np.asarray(np.linalg.eigh(hull.moment_inertia)[1][:, 0])


def _surface(mesh: Mesh, vertices: Array, count: int) -> Array:
    """Return points (count, 3) of the faces of a mesh with other vertices."""
    face, weights = mesh.sample(count, np.random.default_rng(0))
    return np.einsum('ijk,ij->ik', vertices[mesh.faces[face]], weights)
