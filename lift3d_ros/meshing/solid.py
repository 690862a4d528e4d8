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


"""A mesh as a solid: distance, occupancy and ray hits; points on its surface with normals."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.geometry import Array
from lift3d_ros.geometry import Floats
from lift3d_ros.geometry.shape import Mesh


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


def sample_with_normals(mesh: Mesh, count: int, seed: int = 0) -> tuple[Array, Array]:
    """Return ``count`` points (n, 3) spread evenly by area, and their unit normals."""
    chosen, weights = mesh.sample(count, np.random.default_rng(seed))
    corners = mesh.vertices[mesh.faces[chosen]].astype(np.float64)
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    points = np.einsum('ijk,ij->ik', corners, weights)
    return points, normals / np.maximum(length, 1e-20)
