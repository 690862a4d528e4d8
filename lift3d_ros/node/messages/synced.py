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

    ``depth_camera_info`` is set if the depth may not be registered to the image.
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

    @property
    def stamp(self) -> str:
        """The stamp of the image in seconds, for messages."""
        stamp = self.header.stamp
        return f'{stamp.sec}.{stamp.nanosec:09d}'


def request_messages(request: Any) -> SyncedMessages | None:
    """Return the frame that a request contains, None if its image has no data."""
    if not len(request.image.data):
        return None
    return SyncedMessages(
        request.image,
        nonempty(request.camera_info),
        nonempty(request.depth),
        nonempty(request.mask),
        # Requests for views have no such field.
        depth_camera_info=nonempty(getattr(request, DEPTH_CAMERA_INFO, None)),
    )


def nonempty(message: Image | CameraInfo | None) -> Image | CameraInfo | None:
    """Return an image or camera_info of a request, None if its fields are not set."""
    if message is None:
        return None
    if isinstance(message, CameraInfo):
        return message if message.width or any(message.k) else None
    return message if len(message.data) else None
