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

"""The type of detections as an input."""

from __future__ import annotations

from typing import Any

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError


def detection_type() -> Any:
    """Return vision_msgs/Detection2DArray; raises ``LiftError(BAD_REQUEST)`` without it."""
    try:
        from vision_msgs.msg import Detection2DArray
    except ImportError as error:
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            'mask_source "detections" needs vision_msgs, which is not installed; install '
            'ros-$ROS_DISTRO-vision-msgs, or use a mask.',
        ) from error
    return Detection2DArray
