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
Metrics of surfaces: each in one function.

Points and meshes are in metres in one common frame and are not aligned.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree
from scipy.spatial import ConvexHull
from scipy.spatial.distance import cdist

from lift3d_ros.geometry import Array
from lift3d_ros.geometry import Floats
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.meshing.solid import sample_with_normals

#: Points on each surface. At 10,000 the chamfer distance of a mesh to itself, sampled twice, is
#: 0.4 % of its diagonal: the resolution of the point metrics.
SAMPLES = 10_000

#: Rows of distances that are in memory at once.
_DIAMETER_BLOCK = 1000


def sample_surface(mesh: Mesh, count: int = SAMPLES, seed: int = 0) -> Array:
    """Return ``count`` points (n, 3) spread evenly by area over a mesh."""
    return sample_with_normals(mesh, count, seed)[0]


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


def diameter(mesh: Mesh) -> float:
    """
    Return the largest distance between two vertices of a mesh, metres.

    The diameter of an object as in BOP (Hodan et al., 2018); unlike the diagonal of a box it does
    not depend on the axes.
    """
    # Both ends are corners of the hull; QJ lets a flat mesh have one, too.
    points = mesh.vertices.astype(np.float64)
    points = points[ConvexHull(points, qhull_options='QJ').vertices]
    blocks = np.array_split(points, len(points) // _DIAMETER_BLOCK + 1)
    return max(float(cdist(block, points).max()) for block in blocks)


def normal_consistency(
    predicted: Floats, predicted_normals: Floats, true: Floats, true_normals: Floats
) -> float:
    """
    Return the mean absolute cosine between the normals of nearest points, 0 to 1.

    The mean of both directions' means (Mescheder et al., Occupancy Networks, 2019). Points and
    unit normals are (n, 3) of the prediction and (m, 3) of the truth.
    """
    forth = cKDTree(true).query(predicted)[1]
    back = cKDTree(predicted).query(true)[1]
    accuracy = np.abs(np.einsum('ij,ij->i', predicted_normals, np.asarray(true_normals)[forth]))
    completeness = np.abs(
        np.einsum('ij,ij->i', true_normals, np.asarray(predicted_normals)[back]))
    return 0.5 * float(accuracy.mean() + completeness.mean())


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
