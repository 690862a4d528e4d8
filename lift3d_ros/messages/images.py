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

"""Images and cameras of the library as messages."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.geometry import Camera
from lift3d_ros.messages.types import MessageTypes

FRAME_ID = 'camera_color_optical_frame'


def image_message(types: MessageTypes, pixels: NDArray[Any], encoding: str) -> Any:
    """Return an image message of pixels in the byte order of this machine."""
    pixels = np.ascontiguousarray(pixels)
    return types.make(
        'sensor_msgs/Image',
        header=types.make('std_msgs/Header', frame_id=FRAME_ID),
        height=pixels.shape[0],
        width=pixels.shape[1],
        encoding=encoding,
        step=pixels.strides[0],
        data=types.numbers(pixels.reshape(-1).view(np.uint8)),
    )


def info_message(types: MessageTypes, camera: Camera) -> Any:
    """Return the camera_info of a camera without distortion."""
    return types.make(
        'sensor_msgs/CameraInfo',
        header=types.make('std_msgs/Header', frame_id=FRAME_ID),
        height=camera.height,
        width=camera.width,
        distortion_model='plumb_bob',
        d=types.numbers(np.zeros(5)),
        k=camera.K.reshape(9),
        r=np.eye(3).reshape(9),
        p=np.hstack([camera.K, np.zeros((3, 1))]).reshape(12),
    )
