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
Metrics of surfaces, volumes and confidence: each in one function.

Points and meshes are in metres in one common frame and are not aligned. Functions of confidence
take, for n vertices, ``confidence`` (n,) from 0 to 1 and ``error`` (n,), the distance to the true
surface in metres.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.spatial import cKDTree

from lift3d_ros.geometry import Array
from lift3d_ros.geometry import Floats
from lift3d_ros.geometry.shape import Mesh

#: Points on each surface. At 10,000 the chamfer distance of a mesh to itself, sampled twice, is
#: 0.4 % of its diagonal: the resolution of the point metrics.
SAMPLES = 10_000

#: Points of the lattice for volumes, along each side of the box around both meshes. A thin side
#: has as many as a long one, so that a plate is measured as finely as a ball.
LATTICE = 48

#: Intervals of confidence in a calibration curve.
BINS = 10

#: A vertex is correct within this share of the true diagonal.
TOLERANCE_SHARE = 0.01

#: Steps of the sparsification, 5 % of the vertices each.
_SPARSIFICATION_STEPS = 20


def _fibonacci_sphere(count: int) -> Array:
    """Return ``count`` directions (n, 3) spread evenly over the sphere, none along an axis."""
    z = 1.0 - 2.0 * (np.arange(count) + 0.5) / count
    turn = np.pi * (1.0 + np.sqrt(5.0)) * (np.arange(count) + 0.37)
    radius = np.sqrt(1.0 - z**2)
    return np.stack([radius * np.cos(turn), radius * np.sin(turn), z], axis=1)


#: Rays of the occupancy test of a scan with holes.
_DIRECTIONS = _fibonacci_sphere(7)


class Solid:
    """A mesh for queries of distance, occupancy and ray hits."""

    def __init__(self, mesh: Mesh) -> None:
        """Build the search structure (Open3D's ``RaycastingScene``)."""
        import open3d as o3d

        self._o3d = o3d
        self._scene = o3d.t.geometry.RaycastingScene()
        self._scene.add_triangles(
            o3d.core.Tensor.from_numpy(np.ascontiguousarray(mesh.vertices, np.float32)),
            o3d.core.Tensor.from_numpy(np.ascontiguousarray(mesh.faces, np.uint32)),
        )
        self._closed = mesh.is_watertight()
        self.low = mesh.vertices.min(axis=0).astype(np.float64)
        self.high = mesh.vertices.max(axis=0).astype(np.float64)

    def distance(self, points: Floats) -> NDArray[np.float32]:
        """Return the distance in metres of points (n, 3) to the nearest place of the surface."""
        return np.asarray(self._scene.compute_distance(self._tensor(points)).numpy())

    def contains(self, points: Floats) -> NDArray[np.bool_]:
        """
        Return which points (..., 3) lie inside.

        A ray from inside leaves a closed mesh through an odd number of faces. Scans with holes
        lose some of these crossings: there the majority of seven rays, spread over all directions,
        decides.
        """
        tensor = self._tensor(points)
        if self._closed:
            # Three rays, for one may run along an edge.
            return np.asarray(self._scene.compute_occupancy(tensor, nsamples=3).numpy() > 0.5)
        odd = np.zeros(np.shape(points)[:-1], np.int32)
        rays = np.empty((*np.shape(points)[:-1], 6), np.float32)
        rays[..., :3] = points
        for direction in _DIRECTIONS:
            rays[..., 3:] = direction
            odd += self._scene.count_intersections(self._tensor(rays)).numpy() % 2
        return odd > len(_DIRECTIONS) // 2

    def cast(self, origins: Floats, directions: Floats) -> tuple[Array, Array]:
        """
        Return where rays first meet the surface, and its normal there.

        ``origins`` and ``directions`` are (n, 3); distances (n,) count lengths of the direction
        and are inf for a miss; normals (n, 3) are unit and those of the faces.
        """
        rays = np.concatenate([origins, directions], axis=1).astype(np.float32)
        hits = self._scene.cast_rays(self._o3d.core.Tensor.from_numpy(rays))
        return (
            hits['t_hit'].numpy().astype(np.float64),
            hits['primitive_normals'].numpy().astype(np.float64),
        )

    def _tensor(self, points: Floats) -> Any:
        return self._o3d.core.Tensor.from_numpy(np.ascontiguousarray(points, np.float32))


def sample_surface(mesh: Mesh, count: int = SAMPLES, seed: int = 0) -> Array:
    """Return ``count`` points (n, 3) spread evenly by area over a mesh."""
    return sample_with_normals(mesh, count, seed)[0]


def sample_with_normals(mesh: Mesh, count: int, seed: int = 0) -> tuple[Array, Array]:
    """Return points as ``sample_surface`` does, and the unit normals (n, 3) of their faces."""
    chosen, weights = mesh.sample(count, np.random.default_rng(seed))
    corners = mesh.vertices[mesh.faces[chosen]].astype(np.float64)
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    points = np.einsum('ijk,ij->ik', corners, weights)
    return points, normals / np.maximum(length, 1e-20)


def sample_with_colors(mesh: Mesh, count: int = SAMPLES, seed: int = 0) -> tuple[Array, Array]:
    """Return points as ``sample_surface`` does, and their colours (n, 3), 0 to 255."""
    chosen, weights = mesh.sample(count, np.random.default_rng(seed))
    corners, colors = (of[mesh.faces[chosen]] for of in (mesh.vertices, mesh.colors))
    return tuple(
        np.einsum('ijk,ij->ik', each.astype(np.float64), weights) for each in (corners, colors)
    )


@dataclass(frozen=True, eq=False)
class Distances:
    """
    Distances between two sets of surface points, metres.

    ``accuracy`` (n,): from each predicted point to the nearest true one; ``completeness`` (m,):
    from each true point to the nearest predicted one.
    """

    accuracy: Array
    completeness: Array

    def chamfer(self) -> float:
        """Return the mean of both directions' mean distances (Fan et al., 2017, unsquared)."""
        return 0.5 * float(self.accuracy.mean() + self.completeness.mean())

    def f_score(self, threshold: float) -> float:
        """
        Return the harmonic mean of precision and recall (Knapitsch et al., 2017), 0 to 1.

        Precision is the share of predicted points within ``threshold`` metres of the truth,
        recall that of true points within it of the prediction.
        """
        precision = float((self.accuracy < threshold).mean())
        recall = float((self.completeness < threshold).mean())
        return 2.0 * precision * recall / max(precision + recall, 1e-12)


def distances(predicted: Floats, true: Floats, true_tree: cKDTree | None = None) -> Distances:
    """
    Return the distances between predicted (n, 3) and true (m, 3) surface points.

    ``true_tree`` saves building one of the true points. An empty prediction is infinitely far.
    """
    if not len(predicted):
        return Distances(np.array([np.inf]), np.full(len(true), np.inf))
    tree = cKDTree(true) if true_tree is None else true_tree
    return Distances(tree.query(predicted)[0], cKDTree(predicted).query(true)[0])


def diagonal(mesh: Mesh) -> float:
    """Return the diagonal of the mesh's bounding box along its frame's axes, metres."""
    return float(np.linalg.norm(np.ptp(mesh.vertices, axis=0)))


def volume_iou(predicted: Mesh | Solid, true: Mesh | Solid, lattice: int = LATTICE) -> float:
    """
    Return intersection over union of the enclosed volumes, 0 to 1.

    Both are probed at ``lattice`` points along each side of the box around both (the volumetric
    IoU of Mescheder et al., Occupancy Networks, 2019). In a scan that is not closed the majority
    of rays decides, see ``Solid.contains``.
    """
    a = predicted if isinstance(predicted, Solid) else Solid(predicted)
    b = true if isinstance(true, Solid) else Solid(true)
    if (a.low > b.high).any() or (b.low > a.high).any():
        return 0.0
    points = lattice_points(np.minimum(a.low, b.low), np.maximum(a.high, b.high), lattice)
    inside, truth = a.contains(points), b.contains(points)
    return float(np.count_nonzero(inside & truth) / max(np.count_nonzero(inside | truth), 1))


def lattice_points(low: Array, high: Array, count: int = LATTICE) -> Array:
    """Return the middles of ``count`` cells along each side of a box, (count, count, count, 3)."""
    middles = (np.arange(count) + 0.5) / count
    axes = [start + middles * side for start, side in zip(low, high - low, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing='ij'), axis=-1)


def centre_error(predicted: Floats, true: Floats) -> float:
    """
    Return the distance in metres between the middles of two bounding boxes.

    The middle of the box is the origin of ``Shape``'s object frame, hence the position that a
    planner is given. Points are (n, 3) in the true object's frame, whose axes the boxes follow.
    """
    middles = [0.5 * (points.min(axis=0) + points.max(axis=0)) for points in (predicted, true)]
    return float(np.linalg.norm(middles[0] - middles[1]))


def distance_error(predicted: Floats, true: Floats, eye: Floats) -> float:
    """
    Return the relative error of the distance from the camera to the middle of the box.

    Points are (n, 3) in the true object's frame, ``eye`` (3,) is the camera there. An error
    of scale alone moves the object by this share.
    """
    near, far = (
        float(np.linalg.norm(0.5 * (p.min(axis=0) + p.max(axis=0)) - eye))
        for p in (np.asarray(predicted, np.float64), np.asarray(true, np.float64))
    )
    return abs(near / far - 1.0)


def scale_error(predicted: Floats, true: Floats) -> float:
    """
    Return by which share the predicted diagonal is off, 0 = right, 1 = twice as long.

    Diagonals of the bounding boxes along the true object's axes; ``|predicted / true - 1|``.
    """
    sides = [np.linalg.norm(np.ptp(points, axis=0)) for points in (predicted, true)]
    return float(abs(sides[0] / sides[1] - 1.0))


def normalise(points: Floats) -> Array:
    """Return points (n, 3) with their bounding box centred at 0 and its longest side 2 long."""
    if len(points) < 4 or not np.isfinite(points).all():
        raise ValueError('a surface needs four finite points or more to be aligned')
    p = np.asarray(points, np.float64)
    low, high = p.min(axis=0), p.max(axis=0)
    side = float((high - low).max())
    if side <= 0.0:
        raise ValueError('a surface without extent cannot be aligned')
    return (p - 0.5 * (low + high)) * (2.0 / side)


def ause(confidence: Floats, error: Floats) -> float:
    """
    Return the area under the sparsification error curve, 0 for the perfect order.

    The least confident vertices are left out, 5 % at a time; the mean error of the rest, over the
    mean error of all, is compared with that where the worst vertices are left out first, and the
    difference is averaged (Ilg et al., Uncertainty Estimates and Multi-Hypotheses Networks for
    Optical Flow, 2018). Uninformative confidence has about the AUSE of a random order.
    """
    mean = float(np.mean(error))
    if mean <= 0.0:
        return 0.0
    # Vertices of equal confidence are put in a random order.
    ties = np.random.default_rng(0).random(len(error))
    exact = np.asarray(error, np.float64)
    by_confidence = exact[np.lexsort((ties, -np.asarray(confidence)))]
    by_error = np.sort(exact)
    return float(np.mean(_sparsified(by_confidence) - _sparsified(by_error)) / mean)


def rank_correlation(confidence: Floats, error: Floats) -> float | None:
    """
    Return Spearman's rank correlation of confidence with the negative error, -1 to 1.

    1 where a higher confidence always means a smaller error; None where either is the same at all
    vertices, which leaves no order.
    """
    if np.ptp(confidence) == 0.0 or np.ptp(error) == 0.0:
        return None
    return float(stats.spearmanr(confidence, -np.asarray(error)).statistic)


def curve(confidence: Floats, error: Floats, tolerance: float) -> list[list[float]]:
    """
    Return for each of ``BINS`` equal intervals of confidence what lies in it.

    Each entry is [vertices, sum of their confidences, vertices whose error is below
    ``tolerance`` metres], so that curves of many shapes can be added up.
    """
    at = np.minimum((np.asarray(confidence) * BINS).astype(int), BINS - 1)
    right = np.asarray(error) < tolerance
    columns = [np.bincount(at, weights, BINS) for weights in (np.ones(len(at)), confidence, right)]
    return [[float(value) for value in row] for row in np.stack(columns, axis=1)]


def calibration_error(bins: Floats | list[list[float]]) -> float:
    """
    Return the expected calibration error of a curve, 0 to 1.

    Mean over vertices of the difference, in each interval, between the mean confidence and the
    share of correct vertices (Guo et al., On Calibration of Modern Neural Networks, 2017).
    """
    count, confidence, right = np.asarray(bins, np.float64).T
    return float(np.abs(confidence - right).sum() / max(count.sum(), 1.0))


def _sparsified(error: Array) -> Array:
    """Return the mean of the first 100 %, 95 %, ... 5 % of the errors."""
    removed = np.arange(_SPARSIFICATION_STEPS) / _SPARSIFICATION_STEPS
    kept = np.ceil(len(error) * (1.0 - removed)).astype(int)
    return np.cumsum(error)[kept - 1] / kept
