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

"""What a predictor returns, and the truth that it is compared with."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field
from functools import cached_property
from typing import Any
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from lift3d_ros.bench import metrics
from lift3d_ros.bench.grasps.physics import PhysicsTrial
from lift3d_ros.bench.grasps.trial import GraspTrial
from lift3d_ros.bench.metrics import coverage
from lift3d_ros.bench.metrics import topology
from lift3d_ros.bench.metrics.color_error import lit_colors
from lift3d_ros.bench.metrics.color_error import visible_from
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import invert
from lift3d_ros.geometry import rotate
from lift3d_ros.geometry import transform
from lift3d_ros.geometry.frame import Frame
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.geometry.shape import Shape
from lift3d_ros.meshing.render import Light
from lift3d_ros.robot.grasps import Jaw


@dataclass(frozen=True, eq=False)
class Prediction:
    """
    The predicted object, in the optical frame, metres.

    - ``mesh``: the closed surface, or None for a predictor that returns points.
    - ``points``: (n, 3) where there is no mesh.
    - ``confidence``: (n,) at the mesh's vertices, 0 to 1, or None.
    - ``seconds``: by stage, with ``total``; ``notes``: further values for the report.
    """

    mesh: Mesh | None = None
    points: Array | None = None
    confidence: NDArray[np.float32] | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_shape(cls, shape: Shape, seconds: dict[str, float]) -> Prediction:
        """Return the prediction of a method of the package."""
        stddev = float(np.sqrt(np.trace(shape.pose_covariance[:3, :3])))
        return cls(
            mesh=shape.mesh_in_camera(),
            confidence=shape.confidence,
            seconds=seconds,
            notes={
                'size_mm': [round(1000.0 * float(side), 1) for side in shape.size],
                'scale_source': shape.scale_source,
                'scale_stddev': shape.scale_stddev,
                'centre_stddev_mm': 1000.0 * stddev,
                'mask_iou': shape.mask_iou,
                'elevation_deg': shape.elevation,
                'elevation_source': shape.elevation_source,
                'confidence': shape.overall_confidence,
            },
        )


class Predictor(Protocol):
    """A method or a baseline."""

    def predict(
        self, frame: Frame, mask: NDArray[np.bool_], seed: int, **inputs: Any
    ) -> Prediction:
        """
        Return the object under ``mask``, bool (height, width), or raise ``LiftError``.

        ``inputs`` are the other inputs of the scene, which a predictor may ignore: ``scale``
        (``ScaleHints`` or None), ``further`` (views of other cameras) and ``truth`` (``Truth`` or
        None, for the ablation with true views).
        """


@dataclass(frozen=True, eq=False)
class Truth:
    """
    The scan and its pose, with search structures that are built once.

    ``mesh`` is in its own frame, z up; ``T_camera_object`` is the pose of that frame. ``light`` is
    that of the scene, in the frame of the mesh; None where it is unknown. ``closed`` is whether
    the mesh is said to enclose a volume; None where nothing is said.
    """

    mesh: Mesh
    T_camera_object: Array
    light: Light | None = None
    closed: bool | None = None

    @cached_property
    def points(self) -> Array:
        """Points (n, 3) on the surface, object frame."""
        return metrics.sample_surface(self.mesh, seed=1)

    @cached_property
    def normals(self) -> Array:
        """Unit normals (n, 3) at ``points``, object frame."""
        return metrics.sample_with_normals(self.mesh, len(self.points), seed=1)[1]

    @cached_property
    def thickness(self) -> Array:
        """Thickness of the object below ``points``, metres (n,)."""
        return coverage.thickness(self.solid, self.points, self.normals)

    @cached_property
    def area(self) -> float:
        """Area of the surface, square metres."""
        return float(self.mesh.to_trimesh().area)

    @cached_property
    def genus(self) -> int | None:
        """Number of handles; None for a mesh that is not closed."""
        return None if self.closed is False else topology.genus(topology.merged(self.mesh).faces)

    @cached_property
    def diameter(self) -> float:
        """Largest distance between two points of the mesh, metres."""
        return metrics.diameter(self.mesh)

    @cached_property
    def visible(self) -> NDArray[np.bool_]:
        """Which of ``points`` are visible to the camera, (n,)."""
        return visible_from(self.camera_centre, self.points, self.solid)

    @cached_property
    def colors(self) -> Array | None:
        """Colours (n, 3) of ``points`` in the light, 0 to 255; None without a light."""
        return None if self.light is None else lit_colors(self.mesh, self.light, seed=1)

    @cached_property
    def tree(self) -> cKDTree:
        """Search tree of ``points``."""
        return cKDTree(self.points)

    @cached_property
    def solid(self) -> metrics.Solid:
        """The mesh for queries of distance and occupancy."""
        return metrics.Solid(self.mesh)

    @cached_property
    def trial(self) -> GraspTrial:
        """The object on its table."""
        return GraspTrial(self.mesh, Jaw())

    @cached_property
    def physics(self) -> PhysicsTrial:
        """The object on its table, in simulated physics."""
        return PhysicsTrial(self.mesh, Jaw())

    @cached_property
    def diagonal(self) -> float:
        """Diagonal of the bounding box, metres."""
        return metrics.diagonal(self.mesh)

    def silhouette(self, camera: Camera) -> NDArray[np.bool_]:
        """Return the pixels of the whole object, occluded ones included, bool (height, width)."""
        u, v, _ = camera.project(transform(self.T_camera_object, self.mesh.vertices))
        left, right = np.clip([np.nanmin(u) - 1.0, np.nanmax(u) + 2.0], 0, camera.width)
        top, bottom = np.clip([np.nanmin(v) - 1.0, np.nanmax(v) + 2.0], 0, camera.height)
        window = np.s_[int(top):int(bottom), int(left):int(right)]
        rays = camera.rays()[window]
        seen = np.zeros((camera.height, camera.width), bool)
        if rays.size:
            T_object_camera = invert(self.T_camera_object)
            directions = rotate(T_object_camera, rays.reshape(-1, 3))
            origins = np.broadcast_to(T_object_camera[:3, 3], directions.shape)
            hits, _ = self.solid.cast(origins, directions)
            seen[window] = np.isfinite(hits).reshape(rays.shape[:2])
        return seen

    @property
    def camera_centre(self) -> Array:
        """Position of the camera (3,), object frame."""
        return invert(self.T_camera_object)[:3, 3]
