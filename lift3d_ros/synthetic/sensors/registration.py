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

"""Depth in the pixels of the image, as drivers compute it, with the error of their calibration."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from lift3d_ros.geometry import Array
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import transform


def align_depth(
    depth: NDArray[np.float32],
    depth_camera: Camera,
    color_camera: Camera,
    T_color_depth: Array,
    shift_px: tuple[float, float] = (0.0, 0.0),
) -> NDArray[np.float32]:
    """
    Return the depth in the pixels of the image, float32 metres, 0 where there is no reading.

    Each reading fills the pixels that its own pixel covers, the nearest reading wins; background
    that the depth camera does not see stays empty (librealsense, ``align``). ``shift_px`` is the
    error, in pixels of the image to the right and downwards.
    """
    ratio = max(color_camera.fx / depth_camera.fx, color_camera.fy / depth_camera.fy)
    # Points per reading along an axis, so that neighbouring readings leave no gap.
    fine = int(np.ceil(1.15 * ratio))
    v, u = np.nonzero((depth > 0.0) & np.isfinite(depth))
    z = depth[v, u]
    offsets = (np.arange(fine) + 0.5) / fine - 0.5
    buffer = np.full((color_camera.height, color_camera.width), np.inf, np.float32)
    for du in offsets:
        for dv in offsets:
            points = transform(T_color_depth, depth_camera.unproject(u + du, v + dv, z))
            _splat(buffer, *color_camera.project(points), shift_px)
    # Rounding leaves single empty pixels between the readings of one surface.
    kernel = np.ones((3, 3), np.uint8)
    closed = cv2.erode(cv2.dilate(np.where(np.isfinite(buffer), buffer, 0.0), kernel), kernel)
    gaps = ~np.isfinite(buffer)
    around = cv2.blur((~gaps).astype(np.float32), (3, 3)) > 0.7
    buffer[gaps] = np.where(around, closed, 0.0)[gaps]
    return buffer


def _splat(
    buffer: NDArray[np.float32], u: Array, v: Array, z: Array, shift_px: tuple[float, float]
) -> None:
    """Write points into a z-buffer (height, width), inf where it is empty."""
    height, width = buffer.shape
    with np.errstate(invalid='ignore'):
        column, row = np.rint(u + shift_px[0]), np.rint(v + shift_px[1])
        seen = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    place = row[seen].astype(np.intp) * width + column[seen].astype(np.intp)
    depth, flat = z[seen].astype(np.float32), buffer.reshape(-1)
    # Of several readings at one pixel any one is written; nearer ones are written again.
    while len(depth):
        nearer = depth < flat[place]
        place, depth = place[nearer], depth[nearer]
        flat[place] = depth
