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

"""The messages of one instant, from topics or from a request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sensor_msgs.msg import CameraInfo
from sensor_msgs.msg import CompressedImage
from sensor_msgs.msg import Image
from std_msgs.msg import Header

#: Topic and field with the CameraInfo of depth that is not registered to the image.
DEPTH_CAMERA_INFO = 'depth_camera_info'


@dataclass(frozen=True, eq=False)
class SyncedMessages:
    """
    The messages of one instant, not decoded yet.

    ``depth_camera_info`` is of depth that may not be registered to the image.
    """

    image: Image | CompressedImage
    camera_info: CameraInfo | None
    depth: Image | CompressedImage | None = None
    mask: Image | CompressedImage | None = None
    detections: Any = None
    depth_camera_info: CameraInfo | None = None

    @property
    def header(self) -> Header:
        """Stamp and frame of the image."""
        return self.image.header


def stamp_text(observation: SyncedMessages) -> str:
    """Return the stamp of an observation as errors name it."""
    stamp = observation.header.stamp
    return f'{stamp.sec}.{stamp.nanosec:09d}'


def request_mask(request: Any) -> Image | None:
    """Return the mask that a request carries, None where it has no data."""
    return request.mask if len(request.mask.data) else None


def request_messages(request: Any) -> SyncedMessages | None:
    """Return the frame that a request carries, None where its image has no data."""
    if not len(request.image.data):
        return None
    depth = request.depth
    return SyncedMessages(
        request.image,
        filled(request.camera_info),
        depth if len(depth.data) else None,
        request_mask(request),
        # Requests for views have no such field.
        depth_camera_info=filled(getattr(request, DEPTH_CAMERA_INFO, None)),
    )


def filled(info: CameraInfo | None) -> CameraInfo | None:
    """Return a camera_info that says something, None for an empty one."""
    return info if info is not None and (info.width or any(info.k)) else None
