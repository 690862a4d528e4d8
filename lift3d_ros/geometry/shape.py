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

"""Meshes, clouds, and the shape of an object: the results of the package."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Any
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import transform
from lift3d_ros.runtime.files import write_whole

if TYPE_CHECKING:
    import trimesh

#: Values of ``Shape.support``.
SUPPORTS = STANDING, HELD, UNKNOWN_SUPPORT = 'standing', 'held', 'unknown'

#: File formats of ``Mesh.export``, by suffix.
MESH_FORMATS = ('ply', 'glb', 'obj', 'stl')


@dataclass(frozen=True, eq=False)
class Mesh:
    """
    Triangles with a colour at every vertex.

    - ``vertices``: float32 (n, 3), metres.
    - ``faces``: int32 (m, 3), counter-clockwise seen from outside.
    - ``colors``: uint8 RGB (n, 3).
    """

    vertices: NDArray[np.float32]
    faces: NDArray[np.int32]
    colors: NDArray[np.uint8]

    def transformed(self, T_a_b: Array) -> Mesh:
        """Return the mesh of frame b in frame a."""
        return Mesh(transform(T_a_b, self.vertices).astype(np.float32), self.faces, self.colors)

    def to_trimesh(self) -> trimesh.Trimesh:
        """Return the mesh as trimesh's own type, vertices and faces unchanged."""
        import trimesh

        mesh = trimesh.Trimesh(self.vertices, self.faces, process=False)
        mesh.visual = trimesh.visual.ColorVisuals(mesh, vertex_colors=self.colors)
        return mesh

    def is_watertight(self) -> bool:
        """Return whether every edge joins exactly two faces that run it in opposite senses."""
        if not len(self.faces):
            return False
        edges = self.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2).astype(np.int64)
        count = len(self.vertices)
        forward = np.sort(edges[:, 0] * count + edges[:, 1])
        backward = np.sort(edges[:, 1] * count + edges[:, 0])
        return bool((np.diff(forward) > 0).all() and np.array_equal(forward, backward))

    def volume(self) -> float:
        """Return the enclosed volume in cubic metres; negative where normals point inward."""
        a, b, c = (self.vertices[self.faces[:, k]].astype(np.float64) for k in range(3))
        return float(np.einsum('ij,ij->', a, np.cross(b, c)) / 6.0)

    def area_vectors(self) -> NDArray[np.float64]:
        """Return normals (m, 3) of the faces, as long as twice their areas."""
        a, b, c = (self.vertices[self.faces[:, k]].astype(np.float64) for k in range(3))
        return np.asarray(np.cross(b - a, c - a), np.float64)

    def vertex_normals(self, area: NDArray[np.float64] | None = None) -> NDArray[np.float32]:
        """
        Return unit normals (n, 3), weighted by the faces' areas; zero for a lone vertex.

        ``area`` are the ``area_vectors`` where they are known.
        """
        area = self.area_vectors() if area is None else area
        normals = np.zeros((len(self.vertices), 3))
        for k in range(3):
            for axis in range(3):
                normals[:, axis] += np.bincount(
                    self.faces[:, k], area[:, axis], minlength=len(normals)
                )
        return (normals / np.maximum(_lengths(normals)[:, None], 1e-20)).astype(np.float32)

    def sample(
        self, count: int, rng: np.random.Generator, area: NDArray[np.float64] | None = None
    ) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """
        Sample ``count`` points evenly by area over the surface.

        Returns the face of each (n,) and the weights (n, 3) of that face's corners. ``area`` are
        the ``area_vectors`` where they are known.
        """
        areas = _lengths(self.area_vectors() if area is None else area)
        # Stratified along the cumulative area, so that the density is even.
        steps = (np.arange(count) + rng.random(count)) / count * areas.sum()
        chosen = np.minimum(np.searchsorted(np.cumsum(areas), steps), len(areas) - 1)
        # Uniform on a triangle: Osada et al., Shape Distributions, 2002, equation 1.
        root, other = np.sqrt(rng.random(count)), rng.random(count)
        return chosen, np.stack([1.0 - root, root * (1.0 - other), root * other], axis=1)

    def export(
        self, path: Path, vertex_attributes: dict[str, NDArray[np.float32]] | None = None
    ) -> None:
        """
        Write the mesh; the suffix of ``path`` names the format, one of ``MESH_FORMATS``.

        ``vertex_attributes`` are more numbers per vertex, written to PLY only. The file appears
        under its name only when it is complete. Raises ``ValueError`` for another suffix and
        ``OSError`` if the file cannot be written.
        """
        kind = path.suffix[1:].lower()
        if kind not in MESH_FORMATS:
            raise ValueError(f'{path.name} ends in none of {", ".join(MESH_FORMATS)}')
        mesh = self.to_trimesh()
        if kind == 'ply':
            mesh.vertex_attributes.update(vertex_attributes or {})
        data: Any = mesh.export(file_type=kind)
        write_whole(path, data.encode() if isinstance(data, str) else data)


@dataclass(frozen=True, eq=False)
class Cloud:
    """
    Points on the surface of a shape.

    - ``points``: float32 (n, 3), metres; ``colors``: uint8 RGB (n, 3).
    - ``confidence``: float32 (n,), 0 to 1; ``observed``: bool (n,).
    - ``normals``: float32 (n, 3), unit, outward.
    """

    points: NDArray[np.float32]
    colors: NDArray[np.uint8]
    confidence: NDArray[np.float32]
    observed: NDArray[np.bool_]
    normals: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Shape:
    """
    A whole object: a closed, coloured, metric mesh with its pose and its uncertainty.

    - ``mesh``: in the object frame: origin at the centre of its bounding box, z up, metres.
    - ``T_camera_object``: pose of that frame in the optical frame of the camera.
    - ``pose_covariance``: (6, 6), of x, y, z (metres) and rotations about x, y, z (radians), in
      the optical frame.
    - ``confidence``: float32 (n,), at each vertex, 0 to 1: of its position.
    - ``observed``: bool (n,), whether the camera measured the surface at the vertex.
    - ``scale_source``: ``depth``, ``plane``, ``known_size``, ``views`` or ``unknown``;
      ``scale_stddev`` is relative.
    - ``elevation_source``: ``gravity``, ``plane``, ``estimated`` or ``assumed``; ``elevation`` is
      that of the camera over the object's horizon in degrees.
    - ``support``: whether the object stands on the plane around it, one of ``SUPPORTS``;
      ``held``: it is held above the plane, hangs, or stands on something else.
    - ``method``: its name; ``seconds``: of each stage and in ``total``.
    - ``mask_iou``: intersection over union of its silhouette and the mask, None if it was not
      computed; ``notes``: sentences on what to check.
    - ``length_over_depth``: the object's longest side over the depth of its centre, as a network
      predicts it independently of the mesh; None without such a prediction.
    - ``pass_probability``: probability that its F-score passes a threshold
      (``placement.success_probability``); None if not calibrated for the method.
    """

    mesh: Mesh
    T_camera_object: Array
    pose_covariance: Array
    confidence: NDArray[np.float32]
    observed: NDArray[np.bool_]
    scale_source: str
    scale_stddev: float
    elevation: float
    elevation_source: str
    method: str
    seconds: dict[str, float] = field(default_factory=dict)
    mask_iou: float | None = None
    notes: tuple[str, ...] = ()
    length_over_depth: float | None = None
    pass_probability: float | None = None
    support: str = UNKNOWN_SUPPORT

    def __post_init__(self) -> None:
        """
        Raise ``LiftError(NO_SURFACE)`` for a mesh that a planner cannot use.

        Such a mesh is empty, open, inside out or not finite.
        """
        if not np.isfinite(self.mesh.vertices).all() or not self.mesh.is_watertight():
            raise LiftError(ErrorCode.NO_SURFACE, 'No closed surface came out of the observation.')
        if self.mesh.volume() <= 0.0:
            raise LiftError(ErrorCode.NO_SURFACE, 'The surface encloses no volume.')

    @property
    def size(self) -> Array:
        """Length, width and height along the axes of the object frame, metres."""
        vertices = self.mesh.vertices
        return (vertices.max(axis=0) - vertices.min(axis=0)).astype(np.float64)

    @property
    def overall_confidence(self) -> float:
        """Mean confidence over the surface, 0 to 1."""
        a, b, c = (self.confidence[self.mesh.faces[:, k]] for k in range(3))
        areas = _lengths(self.mesh.area_vectors())
        return float(np.average((a + b + c) / np.float32(3.0), weights=areas))

    def mesh_in_camera(self) -> Mesh:
        """Return the mesh in the optical frame of the camera."""
        return self.mesh.transformed(self.T_camera_object)

    def cloud(self, count: int, seed: int = 0) -> Cloud:
        """Return ``count`` points sampled evenly by area, in the object frame."""
        area = self.mesh.area_vectors()
        chosen, weights = self.mesh.sample(count, np.random.default_rng(seed), area)
        corner = self.mesh.faces[chosen]
        places = self.mesh.vertices[corner].astype(np.float64)
        blend = np.einsum('ijk,ij->ik', self.mesh.colors[corner].astype(np.float64), weights)
        smooth = np.einsum('ijk,ij->ik', self.mesh.vertex_normals(area)[corner], weights)
        # Opposite normals at the corners of a sliver cancel out; use the face normal.
        flat = np.cross(places[:, 1] - places[:, 0], places[:, 2] - places[:, 0])
        normals = np.where(_lengths(smooth)[:, None] > 0.1, smooth, flat)
        normals /= np.maximum(_lengths(normals)[:, None], 1e-20)
        return Cloud(
            np.einsum('ijk,ij->ik', places, weights).astype(np.float32),
            np.rint(blend).astype(np.uint8),
            np.einsum('ij,ij->i', self.confidence[corner], weights).astype(np.float32),
            np.einsum('ij,ij->i', self.observed[corner].astype(np.float64), weights) > 0.5,
            normals.astype(np.float32),
        )


def _lengths(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the lengths of vectors (n, 3), (n,): as np.linalg.norm, in a third of the time."""
    x, y, z = vectors.T
    return np.sqrt(x * x + y * y + z * z)
