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
How far a prediction is from the truth: each measure in one function.

Points and meshes are metres in one common frame. ``diagonal`` is that of the true mesh's bounding
box.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from lift3d_ros.shape import Mesh

#: Points on each surface. At 10,000 the chamfer distance of a mesh to itself, sampled twice, is
#: 0.4 % of its diagonal: the floor of what the point measures can tell.
SAMPLES = 10_000


def sample_surface(mesh: Mesh, count: int = SAMPLES, seed: int = 0) -> NDArray[np.float64]:
    """Return ``count`` points (n, 3) spread evenly by area over a mesh."""
    rng = np.random.default_rng(seed)
    corners = mesh.vertices[mesh.faces].astype(np.float64)
    area = np.linalg.norm(
        np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1
    )
    steps = (np.arange(count) + rng.random(count)) / count * area.sum()
    chosen = np.minimum(np.searchsorted(np.cumsum(area), steps), len(area) - 1)
    root, other = np.sqrt(rng.random((count, 1))), rng.random((count, 1))
    a, b, c = corners[chosen].transpose(1, 0, 2)
    return (1.0 - root) * a + root * (1.0 - other) * b + root * other * c


@dataclass(frozen=True, eq=False)
class Distances:
    """
    Distances between two sets of surface points, metres.

    ``accuracy`` (n,): from each predicted point to the nearest true one; ``completeness`` (m,):
    from each true point to the nearest predicted one.
    """

    accuracy: NDArray[np.float64]
    completeness: NDArray[np.float64]

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


def distances(predicted: NDArray[np.floating], true: NDArray[np.floating]) -> Distances:
    """
    Return the distances between predicted (n, 3) and true (m, 3) surface points.

    An empty prediction is infinitely far.
    """
    if not len(predicted):
        return Distances(np.array([np.inf]), np.full(len(true), np.inf))
    return Distances(
        cKDTree(true).query(predicted)[0], cKDTree(predicted).query(true)[0]
    )


def volume_iou(predicted: Mesh, true: Mesh, resolution: int = 48) -> float:
    """
    Return intersection over union of the enclosed volumes, 0 to 1.

    Counted on a lattice of ``resolution`` points along the longest side of the box around both.
    """
    low = np.minimum(predicted.vertices.min(axis=0), true.vertices.min(axis=0))
    high = np.maximum(predicted.vertices.max(axis=0), true.vertices.max(axis=0))
    step = float((high - low).max()) / resolution
    axes = [np.arange(a + 0.5 * step, b, step) for a, b in zip(low, high, strict=True)]
    points = np.stack(np.meshgrid(*axes, indexing='ij'), axis=-1).astype(np.float32)
    a, b = occupancy(predicted, points), occupancy(true, points)
    return float(np.count_nonzero(a & b) / max(np.count_nonzero(a | b), 1))


def occupancy(mesh: Mesh, points: NDArray[np.float32]) -> NDArray[np.bool_]:
    """
    Return which points (..., 3) lie inside a mesh.

    Scans have small holes: the majority of three rays decides (Open3D's ``compute_occupancy``).
    """
    import open3d as o3d

    scene = o3d.t.geometry.RaycastingScene()
    scene.add_triangles(
        o3d.core.Tensor.from_numpy(np.ascontiguousarray(mesh.vertices, np.float32)),
        o3d.core.Tensor.from_numpy(np.ascontiguousarray(mesh.faces, np.uint32)),
    )
    return scene.compute_occupancy(o3d.core.Tensor.from_numpy(points), nsamples=3).numpy() > 0.5
