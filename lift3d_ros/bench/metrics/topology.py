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
Topology of a mesh: pieces, handles, and whether it is closed for programs that merge vertices.

A mesh *as written* has the vertices of its file. Most programs merge vertices at one place when
they load it, as ``trimesh.load`` does; where two parts touch along an edge, that edge then has
four faces, and the mesh is no longer closed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from lift3d_ros.geometry.shape import Mesh

if TYPE_CHECKING:
    import trimesh


def merged(mesh: Mesh) -> trimesh.Trimesh:
    """Return a mesh as ``trimesh.load`` returns its file: vertices at one place are merged."""
    import trimesh

    return trimesh.Trimesh(mesh.vertices, mesh.faces, process=True)


def pieces(faces: NDArray[np.integer]) -> int:
    """
    Return the number of connected parts of a surface, 0 without faces.

    Faces (m, 3) are connected by shared edges. The wall of an enclosed cavity is a part of its
    own.
    """
    corners = np.arange(3 * len(faces)).reshape(-1, 3)
    same_face = corners[:, [0, 1, 0, 2]].reshape(-1, 2)
    return _components(np.concatenate([same_face, _joined_corners(faces)]), 3 * len(faces))


def genus(faces: NDArray[np.integer]) -> int | None:
    """
    Return the number of handles of a closed surface, the sum over its pieces.

    From the Euler number of each piece, V - E + F = 2 - 2 g (e.g. do Carmo, Differential Geometry
    of Curves and Surfaces, 1976, section 4-5): 0 for a ball, 1 for a torus or a mug with a handle.
    Faces are (m, 3). None for a surface with an edge that is not of two faces.
    """
    if not len(faces) or (_faces_of_edges(faces) != 2).any():
        return None
    # A vertex at which two fans of faces touch is two vertices of the surface.
    vertices = _components(_joined_corners(faces), 3 * len(faces))
    euler = vertices - 3 * len(faces) // 2 + len(faces)
    return pieces(faces) - euler // 2


def nonmanifold_edges(faces: NDArray[np.integer]) -> int:
    """Return how many edges have three or more faces; faces are (m, 3)."""
    return int(np.count_nonzero(_faces_of_edges(faces) > 2))


def _faces_of_edges(faces: NDArray[np.integer]) -> NDArray[np.intp]:
    """Return the number of faces at each edge, (e,)."""
    if not len(faces):
        return np.zeros(0, np.intp)
    edges = np.sort(faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1).astype(np.int64)
    # One number for both vertices is sorted many times faster than rows.
    return np.unique(edges[:, 0] * (int(faces.max()) + 1) + edges[:, 1], return_counts=True)[1]


def _joined_corners(faces: NDArray[np.integer]) -> NDArray[np.intp]:
    """
    Return the corners of faces (m, 3) that meet at an edge, (k, 2) of 3 m.

    Both corners lie at the same vertex, and their faces share an edge there.
    """
    corners = np.arange(3 * len(faces)).reshape(-1, 3)[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    vertices = np.asarray(faces).reshape(-1)
    ordered = np.take_along_axis(corners, np.argsort(vertices[corners], axis=1), axis=1)
    edges = vertices[ordered]
    order = np.lexsort((edges[:, 1], edges[:, 0]))
    ordered, edges = ordered[order], edges[order]
    same = (edges[1:] == edges[:-1]).all(axis=1)
    pairs = np.stack([ordered[:-1][same], ordered[1:][same]], axis=1)
    return pairs.transpose(0, 2, 1).reshape(-1, 2)


def _components(pairs: NDArray[np.intp], count: int) -> int:
    """Return the number of groups of ``count`` things that pairs (k, 2) connect."""
    graph = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), (count, count))
    return int(connected_components(graph, directed=False)[0]) if count else 0
