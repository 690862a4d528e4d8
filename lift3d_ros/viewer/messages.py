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

"""Messages of results as snapshots."""

from __future__ import annotations

from typing import Any

import numpy as np

from lift3d_ros.geometry import Array
from lift3d_ros.geometry import rigid
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.viewer.content import Snapshot
from lift3d_ros.viewer.content import ViewedObject


def snapshot_of_message(message: Any) -> Snapshot:
    """
    Return the objects of a ``LiftedObjectArray``, of rosbags or rclpy.

    The message does not have the pose of the camera; its frame takes the place of the optical one.
    """
    frame = message.header.frame_id
    objects = [_object(each) for each in message.objects]
    problems = [
        f'{each.id or "image"}: {each.error_code}: {each.message}' for each in message.failures]
    # Frames of cameras end so by the convention of REP 103; in others z points up.
    world = None if frame.endswith('optical_frame') else np.eye(4)
    return Snapshot(objects, problems, world)


def _object(message: Any) -> ViewedObject:
    vertices = _rows(message.mesh.vertices, 'xyz')
    faces = np.array([each.vertex_indices for each in message.mesh.triangles], np.int32)
    colors = np.rint(255.0 * _rows(message.vertex_colors, 'rgb'))
    compute = message.compute_time
    report = {
        'method': message.method,
        'scale_source': message.scale_source,
        'scale_stddev': float(message.scale_stddev),
        'elevation_deg': float(message.elevation),
        'elevation_source': message.elevation_source,
        'support': message.support,
        'confidence': float(message.confidence),
        'pass_probability': float(message.pass_probability),
        'notes': list(message.notes),
        'seconds': {'total': compute.sec + 1e-9 * compute.nanosec},
    }
    return ViewedObject(
        message.id,
        Mesh(vertices.astype(np.float32), faces.reshape(-1, 3), colors.astype(np.uint8)),
        _pose(message.pose.pose),
        np.asarray(message.vertex_confidence, np.float32),
        np.asarray(message.vertex_observed, bool),
        report,
    )


def _rows(messages: Any, fields: str) -> Array:
    return np.array(
        [[getattr(each, name) for name in fields] for each in messages], np.float64
    ).reshape(-1, len(fields))


def _pose(pose: Any) -> Array:
    """Return the matrix of a pose; a quaternion is x, y, z, w (REP 103)."""
    from scipy.spatial.transform import Rotation

    q, p = pose.orientation, pose.position
    return rigid(Rotation.from_quat([q.x, q.y, q.z, q.w]).as_matrix(), [p.x, p.y, p.z])
