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

"""Poses, vectors and durations as messages."""

from __future__ import annotations

from typing import Any

import numpy as np

from lift3d_ros.geometry import Array
from lift3d_ros.messages.types import MessageTypes


def pose_message(types: MessageTypes, T: Array) -> Any:
    """Return a rigid transform as position and quaternion."""
    x, y, z = T[:3, 3].tolist()
    qx, qy, qz, qw = quaternion(T[:3, :3]).tolist()
    return types.make(
        'geometry_msgs/Pose',
        position=types.make('geometry_msgs/Point', x=x, y=y, z=z),
        orientation=types.make('geometry_msgs/Quaternion', x=qx, y=qy, z=qz, w=qw),
    )


def pose_matrix(pose: Any) -> Array:
    """Return the rigid transform of a pose message."""
    T = np.eye(4)
    T[:3, :3] = rotation(pose.orientation)
    T[:3, 3] = pose.position.x, pose.position.y, pose.position.z
    return T


def quaternion(R: Array) -> Array:
    """
    Return x, y, z, w of a 3 x 3 rotation; w is not negative.

    The matrix gives the outer product of the quaternion with itself, times 4. Its row with the
    largest diagonal entry is normalised, which is well conditioned for every rotation.
    """
    K = np.empty((4, 4))
    trace = np.trace(R)
    K[:3, :3] = R + R.T + (1.0 - trace) * np.eye(3)
    K[3, :3] = K[:3, 3] = R[2, 1] - R[1, 2], R[0, 2] - R[2, 0], R[1, 0] - R[0, 1]
    K[3, 3] = 1.0 + trace
    q = K[np.argmax(np.diag(K))]
    q = q / np.linalg.norm(q)
    return -q if q[3] < 0.0 else q


def rotation(message: Any) -> Array:
    """Return the 3 x 3 rotation of a quaternion message; one of zeros is the identity."""
    return rotation_matrix(np.array([message.x, message.y, message.z, message.w]))


def rotation_matrix(q: Array) -> Array:
    """Return the 3 x 3 rotation of a quaternion x, y, z, w; one of zeros is the identity."""
    length = np.linalg.norm(q)
    if length < 1e-9:
        return np.eye(3)
    x, y, z, w = q / length
    return np.array([
        [1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y - z * w), 2.0 * (x * z + y * w)],
        [2.0 * (x * y + z * w), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z - x * w)],
        [2.0 * (x * z - y * w), 2.0 * (y * z + x * w), 1.0 - 2.0 * (x * x + y * y)],
    ])


def vector_message(types: MessageTypes, values: Array) -> Any:
    """Return three numbers as a vector message."""
    x, y, z = values.tolist()
    return types.make('geometry_msgs/Vector3', x=x, y=y, z=z)


def duration_message(types: MessageTypes, seconds: float) -> Any:
    """Return seconds as a duration message, which holds 68 years."""
    bound = 2.0**31 - 1.0
    whole, part = divmod(round(min(max(seconds, -bound), bound) * 1e9), 1_000_000_000)
    return types.make('builtin_interfaces/Duration', sec=whole, nanosec=part)


def seconds(message: Any) -> float:
    """Return a duration message in seconds."""
    return float(message.sec + 1e-9 * message.nanosec)
