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

"""Collision geometry with a bound on its vertices, for the planning scenes of robots."""

from __future__ import annotations

import numpy as np

from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.meshing.isosurface import decimate
from lift3d_ros.robot.convex import convex_hull
from lift3d_ros.robot.convex import convex_parts
from lift3d_ros.robot.convex import HULL_CORNERS
from lift3d_ros.robot.convex import hull_of
from lift3d_ros.robot.convex import MAX_PARTS

#: Kinds of collision geometry: the simplified mesh; its convex hull, which fills hollows; convex
#: parts, which keep them and are fast in collision checks, but take a second to compute.
GEOMETRIES = ('mesh', 'hull', 'convex_parts')

#: Smallest bound on the vertices: that of a hull.
MIN_VERTICES = 32

_GREY = 160


def collision_meshes(mesh: Mesh, geometry: str, max_vertices: int) -> list[Mesh]:
    """
    Return the collision geometry of a closed mesh, in its frame.

    ``geometry`` is one of ``GEOMETRIES``. All meshes together have at most ``max_vertices``
    vertices, which is at least ``MIN_VERTICES``. A mesh that cannot be simplified so far is
    replaced by its hull.

    Raises ``ValueError`` for an unknown geometry or a bound that is too low, and what
    ``convex_hull`` and ``convex_parts`` raise.
    """
    if geometry not in GEOMETRIES:
        raise ValueError(f'{geometry} is none of {", ".join(GEOMETRIES)}')
    if max_vertices < MIN_VERTICES:
        raise ValueError(f'{max_vertices} vertices are too few; allow {MIN_VERTICES} or more')
    if geometry == 'mesh':
        return [_simplified(mesh, max_vertices)]
    corners = min(max_vertices, HULL_CORNERS)
    if geometry == 'hull':
        return [convex_hull(mesh, corners)]
    parts = convex_parts(mesh, min(max(max_vertices // MIN_VERTICES, 1), MAX_PARTS))
    each = max(max_vertices // len(parts), MIN_VERTICES)
    return [part if len(part.vertices) <= each else hull_of(part.vertices, each)
            for part in parts]


def _simplified(mesh: Mesh, max_vertices: int) -> Mesh:
    if len(mesh.vertices) <= max_vertices:
        return mesh
    # A closed surface without handles has twice as many faces as vertices, less four.
    points, faces = decimate(mesh.vertices, mesh.faces, 2 * max_vertices - 4)
    vertices = points.astype(np.float32)
    simple = Mesh(vertices, faces, np.full((len(vertices), 3), _GREY, np.uint8))
    if len(vertices) > max_vertices or not simple.is_watertight():
        return convex_hull(mesh, max_vertices)
    return simple
