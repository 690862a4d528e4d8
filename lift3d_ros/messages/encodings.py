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

"""The encodings of sensor_msgs/image_encodings.hpp: pixel type, channels and conversion to RGB."""

from __future__ import annotations

import re
from typing import NamedTuple

import cv2
import numpy as np

#: Channels and OpenCV conversion to RGB of colour encodings, without the bits at their end.
#: OpenCV names Bayer patterns by the second row, ROS by the first.
_COLORS: dict[str, tuple[int, int | None]] = {
    'mono': (1, cv2.COLOR_GRAY2RGB),
    'rgb': (3, None),
    'bgr': (3, cv2.COLOR_BGR2RGB),
    'rgba': (4, cv2.COLOR_RGBA2RGB),
    'bgra': (4, cv2.COLOR_BGRA2RGB),
    'bayer_rggb': (1, cv2.COLOR_BAYER_BG2RGB),
    'bayer_bggr': (1, cv2.COLOR_BAYER_RG2RGB),
    'bayer_gbrg': (1, cv2.COLOR_BAYER_GR2RGB),
    'bayer_grbg': (1, cv2.COLOR_BAYER_GB2RGB),
}

_YUV = {
    'uyvy': (2, cv2.COLOR_YUV2RGB_UYVY),
    'yuv422': (2, cv2.COLOR_YUV2RGB_UYVY),
    'yuyv': (2, cv2.COLOR_YUV2RGB_YUYV),
    'yuv422_yuy2': (2, cv2.COLOR_YUV2RGB_YUYV),
    'nv12': (1, cv2.COLOR_YUV2RGB_NV12),
    'nv21': (1, cv2.COLOR_YUV2RGB_NV21),
}

#: Encodings with the colour planes, at half resolution, below the luminance.
PLANAR = ('nv12', 'nv21')

_GENERIC = re.compile(r'(8|16|32|64)([USF])(?:C([1-9]\d*))?')
_GENERIC_TYPES = ('8U', '8S', '16U', '16S', '32S', '32F', '64F')


class Encoding(NamedTuple):
    """Type and channels of a pixel; ``to_rgb`` is the OpenCV conversion, None for RGB itself."""

    dtype: np.dtype
    channels: int
    is_color: bool = False
    to_rgb: int | None = None


def read_encoding(name: str) -> Encoding:
    """Return an encoding by its name; raises ``ValueError`` for an unknown one."""
    if name in _YUV:
        channels, to_rgb = _YUV[name]
        return Encoding(np.dtype(np.uint8), channels, True, to_rgb)
    for bits in ('8', '16'):
        if name.endswith(bits) and name.removesuffix(bits) in _COLORS:
            channels, code = _COLORS[name.removesuffix(bits)]
            return Encoding(np.dtype(f'uint{bits}'), channels, True, code)
    match = _GENERIC.fullmatch(name)
    if match is None or match[1] + match[2] not in _GENERIC_TYPES:
        raise ValueError(f'unknown encoding "{name}"')
    kind = {'U': 'u', 'S': 'i', 'F': 'f'}[match[2]]
    dtype, channels = np.dtype(f'{kind}{int(match[1]) // 8}'), int(match[3] or 1)
    if channels == 1 and kind == 'u':
        # A picture with one channel is grey.
        return Encoding(dtype, channels, True, cv2.COLOR_GRAY2RGB)
    return Encoding(dtype, channels)
