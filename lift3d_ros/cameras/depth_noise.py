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

"""
The standard deviation of depth readings, estimated from the frame itself.

The noise of disparity is constant, that of depth grows with the square of the distance (Keselman
et al., Intel RealSense Stereoscopic Depth Cameras, 2017). Its constant is the median deviation
of the readings from local planes; a plane is linear in inverse depth over the image.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

#: Side of the window of a local plane, pixels.
PLANE_WINDOW = 9

#: Smallest step of the depth between two surfaces, share of the depth.
MIN_STEP = 0.02

#: Complete windows that the constant of the noise is estimated from, and its value with fewer:
#: inverse metres, 2 mm at 1 m, as a stereo camera of the RealSense class has.
MIN_WINDOWS, DEFAULT_DISPARITY_STDDEV = 50, 0.002

#: Range of the constant of the noise, inverse metres: 0.3 mm to 15 mm at 1 m.
DISPARITY_STDDEV_RANGE = (0.0003, 0.015)

#: Largest local noise, over that of the frame: larger deviations are the shape of the surface.
MAX_LOCAL_RATIO = 3.0

#: Standard deviation of the pixel that a reading belongs to; matching compares windows of pixels.
PIXEL_STDDEV = 0.2

#: Brightness 0..255 beyond which a surface is too dark or saturated, and the factor of its noise.
DARK, SATURATED, REFLECTANCE_FACTOR = 20.0, 250.0, 2.0


def depth_stddev(
    readings: NDArray[np.float32], image: NDArray[np.uint8]
) -> NDArray[np.float32]:
    """
    Return the standard deviation along z of readings, float32 metres; inf without a reading.

    ``readings`` is float32 metres, 0 = none; ``image`` is uint8 RGB of the same height and width.
    """
    valid = readings > 0.0
    inverse = np.where(valid, 1.0 / np.where(valid, readings, 1.0), 0.0).astype(np.float32)
    full = _smooth_windows(readings, valid)
    variance, slope_u, slope_v = _local_planes(inverse)
    # Rounding makes that of exact planes negative.
    variance = np.maximum(variance, 0.0)
    if np.count_nonzero(full) < MIN_WINDOWS:
        stddev = DEFAULT_DISPARITY_STDDEV
    else:
        stddev = float(np.clip(np.sqrt(np.median(variance[full])), *DISPARITY_STDDEV_RANGE))
    # Where the window is complete, the deviation from its plane is the local noise.
    # Sums of a moving window may fall just below zero.
    local = cv2.blur(np.where(full, variance, np.float32(stddev**2)), (5, 5))
    local = np.clip(np.sqrt(np.maximum(local, 0.0)), stddev, MAX_LOCAL_RATIO * stddev)
    slope = np.where(full, slope_u**2 + slope_v**2, np.float32(0.0))
    squared = local**2 + np.float32(PIXEL_STDDEV**2) * slope
    channels = cv2.split(image)
    weak = np.maximum.reduce(channels) < DARK
    weak |= np.minimum.reduce(channels) > SATURATED
    factor = np.where(weak, np.float32(REFLECTANCE_FACTOR), np.float32(1.0))
    # d(1/z) = dz / z^2
    return np.where(
        valid, factor * readings**2 * np.sqrt(squared), np.float32(np.inf)
    ).astype(np.float32)


def _smooth_windows(
    readings: NDArray[np.float32], valid: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Return the pixels whose window is full of readings of one surface without a step."""
    kernel = np.ones((3, 3), np.uint8)
    step = cv2.dilate(readings, kernel) - cv2.erode(readings, kernel) > MIN_STEP * readings
    good = (valid & ~step).astype(np.uint8)
    window = np.ones((PLANE_WINDOW, PLANE_WINDOW), np.uint8)
    return cv2.erode(good, window, borderType=cv2.BORDER_CONSTANT, borderValue=0).astype(bool)


def _local_planes(
    values: NDArray[np.float32],
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """
    Return variance about, and slopes u and v of, the plane fitted to each complete window.

    Least squares over a square window: the coordinates are centred and uncorrelated, so that mean
    and slopes are independent linear filters.
    """
    half = PLANE_WINDOW // 2
    count = PLANE_WINDOW**2
    offsets = np.arange(-half, half + 1, dtype=np.float64)
    ones = np.ones(PLANE_WINDOW)
    spread = PLANE_WINDOW * float((offsets**2).sum())
    # Variances are differences of squares; float32 about a nonzero mean would not hold them.
    values = values.astype(np.float64)
    mean = cv2.blur(values, (PLANE_WINDOW, PLANE_WINDOW))
    square = cv2.blur(values**2, (PLANE_WINDOW, PLANE_WINDOW))
    slope_u = cv2.sepFilter2D(values, cv2.CV_64F, offsets / spread, ones)
    slope_v = cv2.sepFilter2D(values, cv2.CV_64F, ones, offsets / spread)
    explained = mean**2 + (slope_u**2 + slope_v**2) * spread / count
    variance = np.maximum(square - explained, 0.0) * count / (count - 3)
    return variance.astype(np.float32), slope_u.astype(np.float32), slope_v.astype(np.float32)
