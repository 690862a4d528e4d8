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

"""Conversion of lifted scenes to messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.geometry import Array
from lift3d_ros.geometry import invert
from lift3d_ros.geometry import rigid
from lift3d_ros.geometry.shape import Cloud
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.messages.geometry import duration_message
from lift3d_ros.messages.geometry import pose_message
from lift3d_ros.messages.results import cloud_message
from lift3d_ros.messages.results import colors_message
from lift3d_ros.messages.results import latency_message
from lift3d_ros.messages.results import Lifted
from lift3d_ros.messages.results import mesh_message
from lift3d_ros.messages.results import object_message
from lift3d_ros.messages.results import points
from lift3d_ros.messages.results import Timing
from lift3d_ros.messages.types import MessageTypes
from lift3d_ros.scene.scene import Scene

#: Values of ``action`` and ``type`` in ``visualization_msgs/Marker``.
_ADD, _TRIANGLE_LIST = 0, 11


def scene_message(
    types: MessageTypes,
    header: Any,
    scene: Scene,
    T_frame_camera: Array,
    lifted: Sequence[Lifted],
    rows: NDArray[np.void],
    timing: Timing,
    with_mesh: bool = True,
) -> Any:
    """
    Return a scene as ``lift3d_ros/LiftedScene``.

    ``lifted`` are its placed objects in their order; ``rows`` those of ``scene_points``. Without
    its mesh it has no colours, confidences, cloud and voxels.
    """
    surface = scene.surface
    message = types.make(
        'lift3d_ros/LiftedScene',
        header=header,
        planes=[plane_message(types, plane, T_frame_camera) for plane in scene.planes],
        objects=[object_message(types, each, False) for each in lifted],
        scale_source=scene.scale_source,
        compute_time=duration_message(types, scene.seconds.get('total', 0.0)),
        latency=latency_message(types, timing, scene.seconds),
        notes=list(scene.notes),
    )
    if with_mesh:
        message.mesh = mesh_message(types, surface.mesh.transformed(T_frame_camera))
        message.vertex_colors = colors_message(types, surface.mesh.colors)
        message.vertex_confidence = types.numbers(surface.confidence.astype(np.float32))
        message.vertex_observed = types.numbers(surface.observed)
        message.vertex_part = types.numbers(surface.part.astype(np.int32))
        message.cloud = cloud_message(types, header, rows)
        message.voxels = voxels_message(types, scene, T_frame_camera)
    return message


def scene_points(
    scene: Scene, T_frame_camera: Array, count: int, seed: int = 0
) -> NDArray[np.void]:
    """Return up to ``count`` vertices of the surface of a scene in a frame, as rows of POINT."""
    surface, mesh = scene.surface, scene.surface.mesh
    chosen: NDArray[np.intp] = np.arange(len(mesh.vertices))
    if len(chosen) > count:
        chosen = np.sort(np.random.default_rng(seed).permutation(len(chosen))[:count])
    return points(
        Cloud(
            mesh.vertices[chosen], mesh.colors[chosen],
            surface.confidence[chosen].astype(np.float32), surface.observed[chosen],
            mesh.vertex_normals()[chosen]),
        T_frame_camera)


def plane_message(types: MessageTypes, plane: Any, T_frame_camera: Array) -> Any:
    """Return a plane of a scene as ``lift3d_ros/ScenePlane``."""
    normal = T_frame_camera[:3, :3] @ plane.normal
    offset = plane.offset + normal @ T_frame_camera[:3, 3]
    return types.make(
        'lift3d_ros/ScenePlane',
        plane=types.make('shape_msgs/Plane', coef=np.array([*normal, -offset])),
        stddev=float(plane.stddev),
        carries=0 if plane.carries is None else 1 + plane.carries,
    )


def voxels_message(types: MessageTypes, scene: Scene, T_frame_camera: Array) -> Any:
    """Return the voxels of a scene as ``lift3d_ros/SceneVoxels``."""
    grid = scene.voxels
    T = T_frame_camera @ invert(grid.T_grid_camera) @ rigid(np.eye(3), grid.origin)
    x, y, z = grid.states.shape
    return types.make(
        'lift3d_ros/SceneVoxels',
        origin=pose_message(types, T),
        resolution=float(grid.resolution),
        size_x=x,
        size_y=y,
        size_z=z,
        states=types.numbers(grid.states.reshape(-1)),
    )


def scene_marker(types: MessageTypes, header: Any, mesh: Mesh, T_frame_camera: Array) -> Any:
    """Return a mesh of the optical frame as a marker in a frame."""
    corners = mesh.faces.reshape(-1)
    marker = types.make(
        'visualization_msgs/Marker',
        header=header,
        ns='scene',
        id=0,
        type=_TRIANGLE_LIST,
        action=_ADD,
        pose=pose_message(types, T_frame_camera),
        color=types.make('std_msgs/ColorRGBA', r=1.0, g=1.0, b=1.0, a=1.0),
        points=types.sequence('geometry_msgs/Point', mesh.vertices.astype(np.float64)[corners]),
        colors=colors_message(types, mesh.colors[corners]),
    )
    marker.scale.x = marker.scale.y = marker.scale.z = 1.0
    return marker
