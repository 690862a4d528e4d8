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

"""From a sampled signed field to a closed mesh."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import Floats
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.meshing.decimation import decimate

#: A piece of its own is measured if at least this share of the readings lie at it, each within so
#: many voxels.
_OWN_SHARE, _AT_PIECE = 0.02, 3.0


def extract_surface(
    field: NDArray[np.float32],
    origin: Array,
    voxel: float,
    max_faces: int,
    measured: Array | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """
    Return vertices (n, 3) and faces (m, 3) of the zero level of a field, closed.

    ``field`` is (nx, ny, nz), positive inside, sampled at ``origin + voxel * index`` metres. Only
    the largest connected piece is kept, and those at which a camera ``measured`` points (n, 3);
    cavities without a way out are filled, and the surface is closed where the solid reaches the
    border. At most ``max_faces`` faces.

    Raises ``LiftError(NO_SURFACE)`` where nothing is positive, or no closed mesh can be made.
    """
    from scipy import ndimage
    from skimage.measure import marching_cubes

    solid = np.pad(field, 1, constant_values=-voxel)
    inside = solid > 0.0
    labels, count = ndimage.label(inside)
    if count == 0:
        raise LiftError(
            ErrorCode.NO_SURFACE, 'The observations leave no solid; are mask and depth aligned?'
        )
    kept = [1]
    if count > 1:
        kept = _kept(labels, None if measured is None else (measured - origin) / voxel + 1.0)
        chosen = np.isin(labels, kept)
        solid = np.where(inside & ~chosen, np.float32(-1e-3 * voxel), solid)
        inside = chosen
    cavity = ndimage.binary_fill_holes(inside) & ~inside
    # A corner exactly on the level makes triangles without area.
    solid = np.where(cavity | (np.abs(solid) < 1e-4 * voxel), np.float32(1e-3 * voxel), solid)
    solid = np.where(inside | cavity, np.abs(solid), -np.abs(solid))
    while True:
        vertices, faces, _, _ = marching_cubes(solid, 0.0, gradient_direction='ascent')
        vertices = (vertices - 1.0) * voxel + origin
        result = _simplify(
            vertices.astype(np.float32), faces.astype(np.int32), max_faces, len(kept)
        )
        if result is not None:
            return result
        if min(solid.shape) < 8:
            raise LiftError(
                ErrorCode.NO_SURFACE, f'No closed surface can be made of {max_faces} faces.'
            )
        # Simplification could not keep the mesh closed: a coarser grid has fewer faces.
        steps = [np.arange(0.0, n + 0.4, 1.4) for n in solid.shape]
        solid = ndimage.map_coordinates(
            solid, np.meshgrid(*steps, indexing='ij'), order=1, cval=-voxel
        )
        solid = np.pad(solid, 1, constant_values=-voxel)
        # The new grid's first sample, before padding, is the old one's padded corner.
        origin, voxel = origin - voxel, 1.4 * voxel


def count_pieces(faces: NDArray[np.int32]) -> int:
    """Return how many parts a closed mesh of faces (m, 3) has that do not touch."""
    return int(_pieces(faces).max()) + 1


def _kept(labels: NDArray[np.int32], at: Array | None) -> list[int]:
    """Return the labels of the largest piece and of those with readings, at indices (n, 3)."""
    from scipy import ndimage

    kept = [1 + int(np.argmax(np.bincount(labels.ravel())[1:]))]
    if at is None or not len(at):
        return kept
    distance, nearest = ndimage.distance_transform_edt(labels == 0, return_indices=True)
    i, j, k = np.rint(at).astype(int).clip(0, np.array(labels.shape) - 1).T
    near = distance[i, j, k] < _AT_PIECE
    found = labels[tuple(nearest[:, i, j, k])][near]
    share = np.bincount(found, minlength=labels.max() + 1) / len(at)
    return kept + [label for label in np.flatnonzero(share >= _OWN_SHARE) if label != kept[0]]


def _simplify(
    vertices: Floats, faces: NDArray[np.int32], max_faces: int, pieces: int
) -> tuple[NDArray[np.float32], NDArray[np.int32]] | None:
    """
    Return the largest ``pieces`` of a mesh, with at most ``max_faces`` faces.

    None where it would not stay closed.
    """
    blank = np.zeros((len(vertices), 3), np.uint8)
    if len(faces) > max_faces:
        vertices, faces = decimate(vertices, faces, max_faces, aggressiveness=4.0)
        blank = np.zeros((len(vertices), 3), np.uint8)
        if len(faces) > max_faces:
            return None
    mesh = Mesh(vertices.astype(np.float32), faces.astype(np.int32), blank)
    if not mesh.is_watertight():
        return None
    # Where it was thin, simplification may have parted it.
    used, renumbered = np.unique(_largest_pieces(mesh.faces, pieces), return_inverse=True)
    mesh = Mesh(mesh.vertices[used], renumbered.reshape(-1, 3).astype(np.int32), blank[used])
    return (mesh.vertices, mesh.faces) if mesh.volume() > 0.0 else None


def _largest_pieces(faces: NDArray[np.int32], count: int) -> NDArray[np.int32]:
    """Return the faces of so many of the largest pieces of a closed mesh."""
    piece = _pieces(faces)
    largest = np.argsort(-np.bincount(piece), kind='stable')[:count]
    return faces[np.isin(piece, largest)]


def _pieces(faces: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return the number (m,) of the piece of a closed mesh, joined over edges, of each face."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    edges = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    # Every edge has two faces: equal ones are neighbours when sorted.
    owners = np.lexsort(edges.T).reshape(-1, 2) // 3
    links = coo_matrix((np.ones(len(owners)), owners.T), shape=(len(faces), len(faces)))
    return connected_components(links, directed=False)[1]
