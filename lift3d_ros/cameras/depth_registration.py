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
Registration of depth: from the camera that measured it into the camera of the image.

Each reading of the depth image is projected into the image with a z-buffer at about the resolution
of the depth. Each pixel of the image then samples the depth image again, at the position of this
first estimate, so that surfaces have no steps if the image has more pixels. A pixel whose second
reading differs from the first one has no reading: it is occluded for the depth camera, or on an
outline.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.errors import size_mismatch
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import invert
from lift3d_ros.geometry import is_rigid

#: Largest difference of two depths on one surface, share of the depth: that of neighbouring pixels
#: of a surface at 80 degrees to the ray and 0.3 degrees a pixel.
MAX_SURFACE_STEP = 0.03

#: Depth readings per pixel of the z-buffer along one axis; fewer than one leave gaps.
READINGS_PER_PIXEL = 1.15

#: Largest baseline of two cameras of one device, metres; a larger one is in another unit.
MAX_BASELINE_M = 2.0


def register_depth(
    depth: NDArray[np.float32], depth_camera: Camera, color_camera: Camera, T_color_depth: Array
) -> NDArray[np.float32]:
    """
    Return the depth in the pixels of the image.

    ``depth`` is float32 metres along z of the depth camera, shape (height, width); 0 and NaN are
    not readings. ``T_color_depth`` (4, 4), metres, maps the optical frame of the depth camera into
    that of the image. The result, of the size of ``color_camera``, is in metres along its z, 0
    where there is no reading. Both cameras are without distortion.

    Raises ``LiftError``: ``SIZE_MISMATCH`` for depth of another size than its camera,
    ``NO_TRANSFORM`` for a pose that is not rigid or has a larger baseline than ``MAX_BASELINE_M``.
    """
    if depth.shape != (depth_camera.height, depth_camera.width):
        raise size_mismatch(
            f'The depth is {depth.shape[1]} x {depth.shape[0]}, but its camera is '
            f'{depth_camera.width} x {depth_camera.height}; use the camera_info of the depth.')
    T = np.asarray(T_color_depth, np.float64)
    if not is_rigid(T) or np.linalg.norm(T[:3, 3]) > MAX_BASELINE_M:
        raise LiftError(
            ErrorCode.NO_TRANSFORM, 'The pose of the depth camera is not a rigid transform with a '
            f'translation of less than {MAX_BASELINE_M:g} m; give T_color_depth, 4 x 4, in '
            'metres.')
    depth = np.where(np.isfinite(depth) & (depth > 0.0), depth, np.float32(0.0))
    first = _project_readings(depth, depth_camera, color_camera, T)
    return _sample_depth(depth, first, depth_camera, color_camera, T)


def _project_readings(
    depth: NDArray[np.float32], depth_camera: Camera, color_camera: Camera, T: Array
) -> NDArray[np.float32]:
    """Return the nearest readings at the pixels of the image, at the resolution of the depth."""
    ratio = max(color_camera.fx / depth_camera.fx, color_camera.fy / depth_camera.fy)
    step = max(1.0, READINGS_PER_PIXEL * ratio)
    coarse = color_camera.crop(
        -0.5,
        -0.5,
        int(np.ceil(color_camera.width / step)),
        int(np.ceil(color_camera.height / step)),
        1.0 / step,
        1.0 / step,
    )
    u, v, z = _projected(depth, _mapping(depth_camera, coarse, T.tobytes()))
    seen = (depth > 0.0) & (z > 0.0)
    # Before the conversion to integers: a reading outside the image can be arbitrarily far away.
    seen &= (u > -0.5) & (u < coarse.width - 0.5) & (v > -0.5) & (v < coarse.height - 0.5)
    u, v, z = u[seen], v[seen], z[seen]
    place = (v + np.float32(0.5)).astype(np.int32) * coarse.width
    place += (u + np.float32(0.5)).astype(np.int32)
    nearest = np.full(coarse.width * coarse.height, np.inf, np.float32)
    # Of several readings at one pixel any one is written; nearer ones are written again.
    while len(z):
        nearest[place] = z
        nearer = z < nearest[place]
        place, z = place[nearer], z[nearer]
    buffer: Any = nearest.reshape(coarse.height, coarse.width)
    # A gap gets its nearest neighbour; wrong values are rejected by the second reading.
    filled = cv2.erode(buffer, np.ones((3, 3), np.uint8), borderValue=np.inf)
    buffer = np.where(np.isfinite(buffer), buffer, filled)
    buffer[~np.isfinite(buffer)] = 0.0
    if step == 1.0:
        return buffer
    columns = np.minimum((np.arange(color_camera.width) + 0.5) / step, coarse.width - 1)
    rows = np.minimum((np.arange(color_camera.height) + 0.5) / step, coarse.height - 1)
    return buffer[rows.astype(np.int64)[:, None], columns.astype(np.int64)]


def _sample_depth(
    depth: NDArray[np.float32],
    first: NDArray[np.float32],
    depth_camera: Camera,
    color_camera: Camera,
    T: Array,
) -> NDArray[np.float32]:
    """Return the readings of the depth image at the pixels of the image, 0 if inconsistent."""
    back = _mapping(color_camera, depth_camera, invert(T).tobytes())
    kernel = np.ones((3, 3), np.uint8)
    smooth = cv2.dilate(depth, kernel) - cv2.erode(depth, kernel) <= MAX_SURFACE_STEP * depth
    smooth &= depth > 0.0
    guess = first
    for last in (False, True):
        u, v, _ = _projected(guess, back)
        found = cv2.remap(depth, u, v, cv2.INTER_NEAREST)
        if last:
            inside = cv2.remap(smooth.view(np.uint8), u, v, cv2.INTER_NEAREST) > 0
            found = np.where(inside, cv2.remap(depth, u, v, cv2.INTER_LINEAR), found)
        # The z of the point in the frame of the image: the third row of the transform, along the
        # ray of the depth camera through (u, v).
        row = T[2]
        slope_u, slope_v = row[0] / depth_camera.fx, row[1] / depth_camera.fy
        constant = row[2] - slope_u * depth_camera.cx - slope_v * depth_camera.cy
        with np.errstate(invalid='ignore'):
            # Pixels without a first estimate have no position.
            factor = np.float32(slope_u) * u + np.float32(slope_v) * v + np.float32(constant)
            new = np.where(found > 0.0, factor * found + np.float32(row[3]), np.float32(0.0))
        if last:
            new[np.abs(new - guess) > MAX_SURFACE_STEP * guess] = 0.0
        guess = new
    guess[first <= 0.0] = 0.0
    return np.maximum(guess, np.float32(0.0))


Mapping = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], Array]


def _projected(
    z: NDArray[np.float32], mapping: Mapping
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Return columns, rows and depths in the second camera of the pixels of the first, at z."""
    A, B, C, offset = mapping
    a, b, c = offset.astype(np.float32)
    depth = C * z + c
    with np.errstate(divide='ignore', invalid='ignore'):
        inverse = np.float32(1.0) / depth
        return (A * z + a) * inverse, (B * z + b) * inverse, depth


@lru_cache(maxsize=4)
def _mapping(source: Camera, target: Camera, pose: bytes) -> Mapping:
    """
    Return A, B, C of each pixel of ``source`` and an offset (3,).

    The pixel at depth z is at ((A z + a) / (C z + c), (B z + b) / (C z + c)) of ``target``.
    ``pose`` are the bytes of the float64 (4, 4) that maps the frame of the source into the other.
    """
    T: Any = np.frombuffer(pose, np.float64).reshape(4, 4)
    M = target.K @ T[:3, :3] @ np.linalg.inv(source.K)
    u = np.arange(source.width, dtype=np.float64)
    v = np.arange(source.height, dtype=np.float64)[:, None]
    A, B, C = ((row[0] * u + row[1] * v + row[2]).astype(np.float32) for row in M)
    return A, B, C, target.K @ T[:3, 3]
