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

"""A frame and its masks at the size at which a scene is composed."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from lift3d_ros.geometry.frame import Frame


def reduced_frame(frame: Frame, width: int, max_depth: float) -> Frame:
    """Return a frame of at most ``width`` pixels, without readings beyond ``max_depth``."""
    assert frame.depth is not None, 'the frame is checked'
    stride = -(-frame.camera.width // width)
    depth = np.nan_to_num(frame.depth[::stride, ::stride])
    depth = np.where(depth <= max_depth, depth, np.float32(0.0))
    rows, columns = depth.shape
    full = frame.camera
    camera = replace(
        full, width=columns, height=rows, fx=full.fx / stride, fy=full.fy / stride,
        cx=full.cx / stride, cy=full.cy / stride)
    # Colours are averaged around the pixels whose depth is kept.
    blurred = frame.image if stride == 1 else cv2.blur(frame.image, (stride, stride))
    image = np.ascontiguousarray(blurred[::stride, ::stride])
    return Frame(image, camera, depth.astype(np.float32), frame.gravity)


def reduced_mask(mask: NDArray[np.bool_], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return a mask at the size of the layers, with a margin of a pixel for its own errors."""
    stride = -(-mask.shape[1] // shape[1])
    reduced = np.ascontiguousarray(mask[::stride, ::stride]).astype(np.uint8)
    return cv2.dilate(reduced, np.ones((3, 3), np.uint8)).astype(bool)
