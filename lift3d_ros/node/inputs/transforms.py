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

"""Transforms of the robot by tf2, if it is installed."""

from __future__ import annotations

import importlib.util
import threading
from typing import Any

from builtin_interfaces.msg import Time as TimeMsg
import numpy as np
from rclpy.duration import Duration
from rclpy.time import Time

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import invert
from lift3d_ros.geometry import rigid
from lift3d_ros.geometry import rotate
from lift3d_ros.messages.geometry import rotation
from lift3d_ros.node.executors.listener import Listener

MISSING = (
    'target_frame and gravity_frame need tf2_ros, which is not installed; install '
    'ros-$ROS_DISTRO-tf2-ros, or leave both empty to get results in the optical frame.'
)


#: Seconds to wait for the first transforms after the subscription.
_DISCOVERY_S = 2.0


def is_available() -> bool:
    """Return whether tf2_ros is installed."""
    return importlib.util.find_spec('tf2_ros') is not None


class Transforms:
    """Listens to the transforms of the robot."""

    def __init__(self, listener: Listener, lazy: bool = False) -> None:
        """
        Subscribe to /tf and /tf_static, in the thread of ``listener``.

        Raises ``LiftError(NO_TRANSFORM)`` without tf2_ros. With ``lazy`` it subscribes at the
        first lookup, since the messages on /tf cost CPU time.
        """
        try:
            import tf2_ros
        except ImportError as error:
            raise LiftError(ErrorCode.NO_TRANSFORM, MISSING) from error
        self._tf2_ros = tf2_ros
        self._listener = listener
        # Without a node it has no service tf2_frames, and its timeouts use system time.
        self._buffer = tf2_ros.Buffer()
        self._subscriber: Any = None
        self._lock = threading.Lock()
        if not lazy:
            self._listen()

    def _listen(self) -> bool:
        """Subscribe; return False if already subscribed."""
        with self._lock:
            if self._subscriber is not None:
                return False
            self._subscriber = self._tf2_ros.TransformListener(
                self._buffer, self._listener, spin_thread=False
            )
            return True

    def lookup(self, target: str, source: str, stamp: TimeMsg, timeout: float) -> Array:
        """
        Return ``T_target_source`` at a stamp; waits up to ``timeout`` seconds for it.

        Raises ``LiftError(NO_TRANSFORM)``, which lists the known frames.
        """
        if not source:
            raise LiftError(
                ErrorCode.NO_TRANSFORM,
                f'The image has an empty frame_id, so it cannot be transformed to "{target}"; set '
                'the frame_id of the camera driver.',
            )
        if self._listen():
            timeout = max(timeout, _DISCOVERY_S)
        try:
            found = self._buffer.lookup_transform(
                target, source, Time.from_msg(stamp), Duration(seconds=timeout)
            )
        except self._tf2_ros.TransformException as error:
            raise LiftError(
                ErrorCode.NO_TRANSFORM,
                f'There is no transform from "{source}" to "{target}" at '
                f'{stamp.sec}.{stamp.nanosec:09d}: {str(error).rstrip(". ")}. The tree has: '
                f'{self._frames()}.',
            ) from error
        t = found.transform.translation
        return rigid(rotation(found.transform.rotation), (t.x, t.y, t.z))

    def gravity(self, frame: str, source: str, stamp: TimeMsg, timeout: float) -> Array:
        """Return the unit vector that points down in ``source``, for a frame whose z is up."""
        T = self.lookup(frame, source, stamp, timeout)
        return rotate(invert(T), np.array([0.0, 0.0, -1.0]))

    def _frames(self) -> str:
        lines = self._buffer.all_frames_as_string().strip().splitlines()
        return '; '.join(line.strip().rstrip('.') for line in lines) or 'no frames at all'
