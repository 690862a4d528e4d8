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

"""Conversion of lifted shapes to messages."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import rotate
from lift3d_ros.geometry import transform
from lift3d_ros.geometry.shape import Cloud
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.geometry.shape import Shape
from lift3d_ros.messages.geometry import duration_message
from lift3d_ros.messages.geometry import pose_message
from lift3d_ros.messages.geometry import vector_message
from lift3d_ros.messages.types import MessageTypes
from lift3d_ros.observation.hints import UNKNOWN
from lift3d_ros.segmentation.instances import Instance

#: One point of the clouds: the layout of PCL's PointXYZRGBNormal, 48 bytes with positions and
#: normals aligned to 16, and further fields in its padding, which PCL ignores. ``rgb`` is
#: 0x00rrggbb read as a float; ``curvature`` is not computed and 0.
POINT = np.dtype({
    'names': [
        'x', 'y', 'z', 'normal_x', 'normal_y', 'normal_z', 'rgb', 'curvature', 'confidence',
        'observed',
    ],
    'formats': ['<f4'] * 9 + ['u1'],
    'offsets': [0, 4, 8, 16, 20, 24, 32, 36, 40, 44],
    'itemsize': 48,
})

#: Values of ``datatype`` in ``sensor_msgs/PointField``.
_UINT8, _FLOAT32 = 2, 7


@dataclass(frozen=True)
class Timing:
    """
    Durations before the lift, in seconds.

    - ``image_age``: from the stamp of the image to the start of the work; 0 without a stamp.
    - ``queued``: from the request, or the arrival of the frame, to the start of the work.
    - ``decoding``: from messages to arrays.
    """

    image_age: float = 0.0
    queued: float = 0.0
    decoding: float = 0.0


@dataclass(frozen=True, eq=False)
class Lifted:
    """
    One lifted object in the target frame.

    - ``header``: stamp of the image, and the frame of the pose.
    - ``T_frame_object``: pose of the object in that frame; ``covariance``: (6, 6), likewise.
    - ``cloud``: in the object frame.
    - ``notes``: doubts about the inputs or the shape, a sentence each.
    """

    header: Any
    id: str
    instance: Instance
    shape: Shape
    T_frame_object: Array
    covariance: Array
    cloud: Cloud
    timing: Timing = Timing()
    notes: tuple[str, ...] = ()

    @property
    def is_metric(self) -> bool:
        """Whether the scale of the object is known, as planning requires."""
        return self.shape.scale_source != UNKNOWN


def in_frame(shape: Shape, T_frame_camera: Array | None) -> tuple[Array, Array]:
    """Return the pose of a shape and its covariance (6, 6) in another frame than the camera's."""
    if T_frame_camera is None:
        return shape.T_camera_object, shape.pose_covariance
    R = np.kron(np.eye(2), T_frame_camera[:3, :3])
    return T_frame_camera @ shape.T_camera_object, R @ shape.pose_covariance @ R.T


def object_message(types: MessageTypes, lifted: Lifted, with_mesh: bool = True) -> Any:
    """
    Return a lifted object as ``lift3d_ros/LiftedObject``.

    Without its mesh it has no colours, confidences and cloud.
    """
    shape, mesh = lifted.shape, lifted.shape.mesh
    message = types.make(
        'lift3d_ros/LiftedObject',
        header=lifted.header,
        id=lifted.id,
        class_id=lifted.instance.class_id,
        score=float(lifted.instance.score),
        size=vector_message(types, shape.size),
        scale_source=shape.scale_source,
        scale_stddev=float(shape.scale_stddev),
        elevation_source=shape.elevation_source,
        elevation=float(shape.elevation),
        support=shape.support,
        confidence=shape.overall_confidence,
        pass_probability=math.nan if shape.pass_probability is None else shape.pass_probability,
        method=shape.method,
        compute_time=duration_message(types, shape.seconds.get('total', 0.0)),
        latency=latency_message(types, lifted.timing, shape.seconds),
        notes=list(lifted.notes),
    )
    message.pose.pose = pose_message(types, lifted.T_frame_object)
    message.pose.covariance = lifted.covariance.reshape(36)
    if with_mesh:
        message.mesh = mesh_message(types, mesh)
        message.vertex_colors = colors_message(types, mesh.colors)
        message.vertex_confidence = types.numbers(np.asarray(shape.confidence, np.float32))
        message.vertex_observed = types.numbers(shape.observed)
        message.cloud = cloud_message(
            types, lifted.header, points(lifted.cloud, lifted.T_frame_object)
        )
    return message


def array_message(
    types: MessageTypes,
    header: Any,
    objects: Sequence[Lifted],
    failures: Sequence[tuple[str, LiftError]],
    with_mesh: bool = True,
) -> Any:
    """Return the objects and failures of an image as ``lift3d_ros/LiftedObjectArray``."""
    return types.make(
        'lift3d_ros/LiftedObjectArray',
        header=header,
        objects=[object_message(types, lifted, with_mesh) for lifted in objects],
        success=not failures,
        failures=[failure_message(types, name, error) for name, error in failures],
    )


def failure_message(types: MessageTypes, name: str, error: LiftError) -> Any:
    """Return the failure of the object ``name``; an empty name stands for the whole frame."""
    return types.make(
        'lift3d_ros/LiftFailure', id=name, error_code=error.code.value, message=error.message
    )


def latency_message(
    types: MessageTypes, timing: Timing, seconds: Mapping[str, float]
) -> Any:
    """Return the latency of a result; ``seconds`` are by stage, and ``total``."""
    stages = [name for name in seconds if name != 'total']
    return types.make(
        'lift3d_ros/Latency',
        image_age=duration_message(types, timing.image_age),
        queued=duration_message(types, timing.queued),
        decoding=duration_message(types, timing.decoding),
        stages=stages,
        stage_seconds=types.numbers(np.array([seconds[name] for name in stages], np.float32)),
    )


def mesh_message(types: MessageTypes, mesh: Mesh) -> Any:
    """Return the triangles of a mesh."""
    return types.make(
        'shape_msgs/Mesh',
        triangles=types.sequence('shape_msgs/MeshTriangle', mesh.faces.astype(np.uint32)),
        vertices=types.sequence('geometry_msgs/Point', mesh.vertices.astype(np.float64)),
    )


def colors_message(types: MessageTypes, colors: NDArray[np.uint8]) -> Any:
    """Return opaque colours for uint8 RGB (n, 3)."""
    rgba = np.ones((len(colors), 4), np.float32)
    rgba[:, :3] = colors * np.float32(1.0 / 255.0)
    return types.sequence('std_msgs/ColorRGBA', rgba)


def mesh_from_message(message: Any) -> Mesh:
    """Return the mesh of a lifted object in its own frame."""
    vertices = [(v.x, v.y, v.z) for v in message.mesh.vertices]
    colors = [(c.r, c.g, c.b) for c in message.vertex_colors]
    return Mesh(
        np.array(vertices, np.float32).reshape(-1, 3),
        np.array([t.vertex_indices for t in message.mesh.triangles], np.int32).reshape(-1, 3),
        np.rint(255.0 * np.array(colors).reshape(-1, 3)).astype(np.uint8),
    )


def points(cloud: Cloud, T_frame_object: Array) -> NDArray[np.void]:
    """Return a cloud in another frame as rows of ``POINT``."""
    rows = np.zeros(len(cloud.points), POINT)
    place = transform(T_frame_object, cloud.points).astype(np.float32)
    normals = rotate(T_frame_object, cloud.normals).astype(np.float32)
    for axis, name in enumerate('xyz'):
        rows[name], rows[f'normal_{name}'] = place[:, axis], normals[:, axis]
    red, green, blue = cloud.colors.astype(np.uint32).T
    rows['rgb'] = (red << 16 | green << 8 | blue).view(np.float32)
    rows['confidence'] = cloud.confidence
    rows['observed'] = cloud.observed
    return rows


def points_of_all(objects: Sequence[Lifted]) -> NDArray[np.void]:
    """Return the clouds of objects in the frame of their poses as rows of ``POINT``."""
    parts = [points(each.cloud, each.T_frame_object) for each in objects]
    # Not np.concatenate, which leaves out the padding of the layout.
    rows = np.zeros(sum(map(len, parts)), POINT)
    start = 0
    for part in parts:
        rows[start:start + len(part)] = part
        start += len(part)
    return rows


def cloud_message(types: MessageTypes, header: Any, rows: NDArray[np.void]) -> Any:
    """Return rows of ``POINT`` as an unordered cloud."""
    assert POINT.names is not None and POINT.fields is not None
    fields = [
        types.make(
            'sensor_msgs/PointField',
            name=name,
            offset=POINT.fields[name][1],
            datatype=_UINT8 if name == 'observed' else _FLOAT32,
            count=1,
        )
        for name in POINT.names
    ]
    return types.make(
        'sensor_msgs/PointCloud2',
        header=header,
        height=1,
        width=len(rows),
        fields=fields,
        is_bigendian=False,
        point_step=POINT.itemsize,
        row_step=POINT.itemsize * len(rows),
        data=types.numbers(np.frombuffer(rows.tobytes(), np.uint8)),
        is_dense=True,
    )
