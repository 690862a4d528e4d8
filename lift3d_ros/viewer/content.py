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

"""What the viewer shows: moments with objects, their inputs, and the frame of the page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.geometry import Array
from lift3d_ros.geometry import frame_from_up
from lift3d_ros.geometry import invert
from lift3d_ros.geometry import rigid
from lift3d_ros.geometry import transform
from lift3d_ros.geometry.frame import Frame
from lift3d_ros.geometry.frame import SourceView
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.geometry.shape import Shape

#: Receives the completed fraction of a load, 0 to 1.
Report = Callable[[float], None]


@dataclass(frozen=True, eq=False)
class ViewedObject:
    """
    A mesh of the page.

    - ``mesh``: of an object in its object frame; of a whole scene in the optical frame.
    - ``T_camera_mesh``: pose of the mesh in the optical frame.
    - ``confidence``: float32 (n,), 0 to 1, and ``observed``: bool (n,), at the vertices; None if
      the file format has no place for them.
    - ``report``: entries of the report of ``lift3d lift``.
    - ``is_scene``: a whole scene, which has no grasps and no convex parts.
    """

    name: str
    mesh: Mesh
    T_camera_mesh: Array
    confidence: NDArray[np.float32] | None = None
    observed: NDArray[np.bool_] | None = None
    report: dict[str, Any] = field(default_factory=dict)
    is_scene: bool = False

    @classmethod
    def of_shape(cls, name: str, shape: Shape) -> ViewedObject:
        """Return a shape that was lifted in this process."""
        report = {
            'method': shape.method,
            'scale_source': shape.scale_source,
            'scale_stddev': shape.scale_stddev,
            'elevation_deg': shape.elevation,
            'elevation_source': shape.elevation_source,
            'support': shape.support,
            'confidence': shape.overall_confidence,
            'pass_probability': shape.pass_probability,
            'notes': list(shape.notes),
            'seconds': shape.seconds,
        }
        return cls(
            name, shape.mesh, shape.T_camera_object, shape.confidence, shape.observed, report)

    @property
    def size(self) -> Array:
        """Sides of the bounding box along the axes of the mesh frame, metres."""
        return np.ptp(self.mesh.vertices, axis=0).astype(np.float64)

    @property
    def is_metric(self) -> bool:
        """Whether the scale is known."""
        return self.report.get('scale_source') != 'unknown'


@dataclass(frozen=True, eq=False)
class NovelView:
    """A synthesised view: uint8 RGB (h, w, 3), its pose, vertical field of view in degrees."""

    image: NDArray[np.uint8]
    T_camera_eye: Array
    fov: float


@dataclass(frozen=True, eq=False)
class Inputs:
    """The frame of a moment, the masks of its objects by name, and the source views."""

    frame: Frame
    masks: dict[str, NDArray[np.bool_]]
    source_views: tuple[SourceView, ...] = ()


@dataclass(frozen=True, eq=False)
class Snapshot:
    """
    The objects of a moment.

    - ``problems``: sentences on what failed, with codes.
    - ``T_world_camera``: pose of the camera in a fixed frame with z up; None: no such frame.
    - ``novel_views``: views that the result has.
    """

    objects: list[ViewedObject] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    T_world_camera: Array | None = None
    novel_views: list[NovelView] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Moment:
    """
    An entry of the list, or a time of the slider.

    - ``load``: reads or lifts the objects; raises ``LiftError``.
    - ``inputs``: reads image, masks and source views; None: they are not known. Raises
      ``LiftError``.
    """

    label: str
    load: Callable[[Report], Snapshot]
    inputs: Callable[[], Inputs] | None = None


@dataclass(frozen=True, eq=False)
class Content:
    """
    Everything of one argument of ``lift3d show``.

    - ``is_timeline``: the moments follow each other in time.
    - ``notes``: sentences on the whole, such as lost messages of a bag.
    - ``reload``: reads the list of moments again; None: it cannot change.
    """

    title: str
    moments: list[Moment]
    is_timeline: bool = False
    notes: tuple[str, ...] = ()
    reload: Callable[[], Content] | None = None


def level_camera(objects: list[ViewedObject]) -> Array:
    """
    Return ``T_level_camera``: a z-up frame for objects without a fixed frame.

    Up is the z axis of the first object's frame, x points to the camera. The origin is the middle
    between the objects, on the lowest of them.
    """
    first = objects[0]
    # A whole scene has its upright axis in the report.
    up = np.asarray(first.report.get('up') or first.T_camera_mesh[:3, 2], np.float64)
    middles = [
        transform(each.T_camera_mesh, each.mesh.vertices).mean(axis=0) for each in objects]
    middle = np.mean(middles, axis=0)
    T_level_camera = invert(rigid(frame_from_up(up, -middle), middle))
    T_level_camera[2, 3] -= lowest(objects, T_level_camera)
    return T_level_camera


def lowest(objects: list[ViewedObject], T_world_camera: Array) -> float:
    """Return the height of the lowest point of the objects, without the outliers of a scene."""
    heights = []
    for each in objects:
        z = transform(T_world_camera @ each.T_camera_mesh, each.mesh.vertices)[:, 2]
        heights.append(float(np.quantile(z, 0.02) if each.is_scene else z.min()))
    return min(heights)
