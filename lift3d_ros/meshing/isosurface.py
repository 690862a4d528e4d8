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

"""Isosurfaces: sample a field, extract its zero level as a closed mesh, decimate the mesh."""

from __future__ import annotations

from collections.abc import Callable
import threading

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import Floats
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.meshing.manifold import separate_sheets
from lift3d_ros.meshing.manifold import SEPARATION_VOXELS

#: A piece is measured if at least this share of the readings is within so many voxels of it.
MIN_PIECE_SHARE, PIECE_DISTANCE_VOXELS = 0.02, 3.0

#: Voxels along the edge of a cell of the coarse grid of ``sample_refined``; 2, since
#: ``_with_midpoints`` halves the cells.
COARSE_VOXELS = 2

#: fast-simplification keeps the mesh that it works on in global variables between its calls.
_DECIMATION_LOCK = threading.Lock()


def sample_refined(
    evaluate: Callable[[Array], NDArray[np.float32]], low: Array, high: Array, voxel: float
) -> NDArray[np.float32]:
    """
    Return a field at ``low + voxel * index``, (nx, ny, nz), clipped to three voxels.

    ``evaluate`` takes points (n, 3) between the corners ``low`` and ``high`` (3,) and returns
    their depth inside the object, (n,). It is evaluated on a grid of twice the voxel, and on the
    fine grid where the surface may be; elsewhere the coarse values are interpolated.
    """
    from scipy import ndimage

    step = COARSE_VOXELS * voxel
    count = np.ceil((high - low) / step).astype(int) + 1
    axes = [np.arange(n) for n in count]
    lattice = np.stack(np.meshgrid(*axes, indexing='ij'), axis=-1)
    coarse = evaluate(low + step * lattice.reshape(-1, 3)).reshape(tuple(count))
    inside = coarse > 0.0
    near = ndimage.maximum_filter(inside, 3) != ndimage.minimum_filter(inside, 3)
    # A thin wall between two coarse samples shows in their distance alone.
    near |= np.abs(coarse) < step
    # The fine grid has the coarse samples and one between each two of them.
    field = np.clip(coarse, -3.0 * voxel, 3.0 * voxel).astype(np.float64)
    for axis in range(3):
        field = _with_midpoints(field, axis)
    at = [np.rint(np.arange(n) / COARSE_VOXELS).astype(int) for n in field.shape]
    values = field.astype(np.float32)
    refined = np.stack(np.nonzero(near[np.ix_(*at)]))
    points = low + step * (refined / COARSE_VOXELS).T
    values[tuple(refined)] = np.clip(evaluate(points), -3.0 * voxel, 3.0 * voxel)
    return values


def _with_midpoints(values: Array, axis: int) -> Array:
    """Return an array with the mean of each two neighbours along an axis between them."""
    values = np.moveaxis(values, axis, 0)
    fine = np.empty((2 * len(values) - 1, *values.shape[1:]))
    fine[::2] = values
    np.add(values[:-1], values[1:], out=fine[1::2])
    fine[1::2] *= 0.5
    return np.moveaxis(fine, 0, axis)


def extract_surface(
    field: NDArray[np.float32],
    origin: Array,
    voxel: float,
    max_faces: int,
    measured: Array | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """
    Return vertices (n, 3) and faces (m, 3) of the zero level of a field, closed.

    ``field`` is (nx, ny, nz), positive inside, sampled at ``origin + voxel * index`` metres.
    Keeps the largest connected piece and those near ``measured`` points (n, 3), fills enclosed
    cavities, and closes the surface at the border of the grid. At most ``max_faces`` faces.

    Raises ``LiftError(NO_SURFACE)`` if no value is positive, or if no closed mesh is possible.
    """
    from scipy import ndimage
    from skimage.measure import marching_cubes

    padded = np.pad(field, 1, constant_values=-voxel)
    inside = padded > 0.0
    labels, count = ndimage.label(inside)
    if count == 0:
        raise LiftError(
            ErrorCode.NO_SURFACE,
            'The mask and the depth leave no occupied space; check that the depth is registered '
            'to the image.',
        )
    kept = [1]
    if count > 1:
        kept = _kept(labels, None if measured is None else (measured - origin) / voxel + 1.0)
        chosen = np.isin(labels, kept)
        padded = np.where(inside & ~chosen, np.float32(-1e-3 * voxel), padded)
        inside = chosen
    # Empty space that is not connected with the padding, whose corner has the first label.
    empty, _ = ndimage.label(~inside)
    cavity = empty > 1
    # A sample exactly on the level would produce triangles without area.
    padded = np.where(cavity | (np.abs(padded) < 1e-4 * voxel), np.float32(1e-3 * voxel), padded)
    padded = np.where(inside | cavity, np.abs(padded), -np.abs(padded))
    while True:
        vertices, faces, _, _ = marching_cubes(padded, 0.0, gradient_direction='ascent')
        vertices = (vertices - 1.0) * voxel + origin
        result = _simplify(
            vertices.astype(np.float32), faces.astype(np.int32), max_faces, len(kept),
            SEPARATION_VOXELS * voxel,
        )
        if result is not None:
            return result
        # Decimation did not keep the mesh closed; a coarser grid has fewer faces.
        steps = [np.arange(0.0, n + 0.4, 1.4) for n in padded.shape]
        coarser = ndimage.map_coordinates(
            padded, np.meshgrid(*steps, indexing='ij'), order=1, cval=-voxel
        )
        if min(padded.shape) < 8 or not (coarser > 0.0).any():
            raise LiftError(
                ErrorCode.NO_SURFACE,
                f'There is no closed surface with {max_faces} faces; increase max_faces.',
            )
        padded = np.pad(coarser, 1, constant_values=-voxel)
        # The new grid's first sample, before padding, is the old one's padded corner.
        origin, voxel = origin - voxel, 1.4 * voxel


def keep_pieces(
    field: NDArray[np.float32], origin: Array, voxel: float, measured: Array | None = None
) -> NDArray[np.float32]:
    """
    Return a field with only its largest piece and those near ``measured`` points (n, 3).

    The field is as in ``extract_surface``; other pieces become just negative.
    """
    from scipy import ndimage

    inside = field > 0.0
    labels, count = ndimage.label(inside)
    if count < 2:
        return field
    kept = _kept(labels, None if measured is None else (measured - origin) / voxel)
    chosen = np.isin(labels, kept)
    return np.where(inside & ~chosen, np.float32(-1e-3 * voxel), field)


def count_pieces(faces: NDArray[np.int32]) -> int:
    """Return the number of connected pieces of a closed mesh of faces (m, 3)."""
    return int(_pieces(faces).max()) + 1


def _kept(labels: NDArray[np.int32], at: Array | None) -> list[int]:
    """Return the labels of the largest piece and of those near readings at indices (n, 3)."""
    from scipy import ndimage

    kept = [1 + int(np.argmax(np.bincount(labels.ravel())[1:]))]
    if at is None or not len(at):
        return kept
    distance, nearest = ndimage.distance_transform_edt(labels == 0, return_indices=True)
    i, j, k = np.rint(at).astype(int).clip(0, np.array(labels.shape) - 1).T
    near = distance[i, j, k] < PIECE_DISTANCE_VOXELS
    piece = labels[tuple(nearest[:, i, j, k])][near]
    share = np.bincount(piece, minlength=labels.max() + 1) / len(at)
    return kept + [label for label in np.flatnonzero(share >= MIN_PIECE_SHARE) if label != kept[0]]


def _simplify(
    vertices: Floats,
    faces: NDArray[np.int32],
    max_faces: int,
    pieces: int,
    separation: float,
) -> tuple[NDArray[np.float32], NDArray[np.int32]] | None:
    """
    Return the largest ``pieces`` of a mesh, with at most ``max_faces`` faces.

    Sheets that touch are moved apart by ``separation`` metres, so that the mesh is closed for
    those who merge its vertices, too. None if it would not stay closed.
    """
    target, source = max_faces, (vertices, faces)
    for _ in range(3):
        vertices, faces = source
        if len(faces) > target:
            vertices, faces = decimate(vertices, faces, target, aggressiveness=4.0)
        separated = separate_sheets(vertices, faces, separation)
        if separated is None:
            return None
        vertices, faces = separated
        # Separation may divide some faces.
        excess = len(faces) - max_faces
        if excess <= 0:
            break
        target -= 2 * excess
        if target < max_faces // 2:
            return None
    else:
        return None
    # Decimation may divide the mesh where it is thin.
    used, renumbered = np.unique(_largest_pieces(faces, pieces), return_inverse=True)
    faces = renumbered.reshape(-1, 3).astype(np.int32)
    mesh = Mesh(vertices[used], faces, np.zeros((len(used), 3), np.uint8))
    return (mesh.vertices, mesh.faces) if mesh.volume() > 0.0 else None


def _largest_pieces(faces: NDArray[np.int32], count: int) -> NDArray[np.int32]:
    """Return the faces of the ``count`` largest pieces of a closed mesh."""
    piece = _pieces(faces)
    largest = np.argsort(-np.bincount(piece), kind='stable')[:count]
    return faces[np.isin(piece, largest)]


def _pieces(faces: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return the number of the connected piece of each face of a closed mesh, (m,)."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    # The faces of a piece share vertices, and no other face has those.
    count = int(faces.max()) + 1
    start, end = faces.ravel(), np.roll(faces, -1, axis=1).ravel()
    links = coo_matrix((np.ones(len(start), np.int8), (start, end)), shape=(count, count))
    piece = connected_components(links, directed=False)[1][faces[:, 0]]
    # Vertices without a face are pieces of no face.
    return np.unique(piece, return_inverse=True)[1].astype(np.int32)


def decimate(
    vertices: Floats,
    faces: NDArray[np.integer],
    target: int,
    aggressiveness: float = 7.0,
) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """
    Return vertices (n, 3) and faces (m, 3) of a mesh with about ``target`` faces.

    Quadric error metrics (Garland and Heckbert, 1997) by the package fast-simplification, which
    may stop short of its target. A lower ``aggressiveness`` takes longer and keeps more of the
    shape. Safe to call from several threads.
    """
    import fast_simplification

    with _DECIMATION_LOCK:
        fewer, triangles = fast_simplification.simplify(
            vertices, faces, target_count=target, agg=aggressiveness
        )
    return np.asarray(fewer, np.float64), np.asarray(triangles, np.int32)
