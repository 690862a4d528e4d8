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

"""From the messages of a camera to one frame that is free of distortion."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo
from sensor_msgs.msg import CompressedImage
from sensor_msgs.msg import Image

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.frame import Frame
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import Camera
from lift3d_ros.node.conversions import decode_depth
from lift3d_ros.node.conversions import decode_image
from lift3d_ros.node.conversions import fit_depth


def build_frame(
    image: Image | CompressedImage,
    info: CameraInfo | None,
    depth: Image | CompressedImage | None = None,
    *,
    rectified: bool = True,
    depth_unit: float = 0.001,
    gravity: Array | None = None,
) -> Frame:
    """
    Decode what a camera published into one frame, free of distortion.

    With ``rectified`` the image is taken as rectified and the camera's matrix is that of P, else
    K and the distortion are those of the raw image, which is undistorted. Depth of another size
    is resized, nearest neighbour. ``gravity`` points down in the optical frame.

    Raises ``LiftError``: ``BAD_IMAGE``, ``NO_CAMERA``, ``SIZE_MISMATCH``.
    """
    if info is None:
        raise LiftError(
            ErrorCode.NO_CAMERA, 'There is no camera_info; publish it along with the image.'
        )
    camera = _camera(info, rectified)
    pixels = decode_image(image)
    if pixels.shape[:2] != (camera.height, camera.width):
        raise LiftError(
            ErrorCode.SIZE_MISMATCH,
            f'The image is {pixels.shape[1]} x {pixels.shape[0]}, its camera_info speaks of '
            f'{camera.width} x {camera.height}; publish the camera_info of this very image.',
        )
    metres = None
    if depth is not None:
        metres = decode_depth(depth, depth_unit)
        if metres.shape != pixels.shape[:2]:
            rows, columns = metres.shape
            metres = fit_depth(metres, camera.width, camera.height, f'{columns} x {rows}')
    if not rectified and _is_distorted(info):
        maps = _undistortion(info, camera)
        pixels = cv2.remap(pixels, *maps, cv2.INTER_LINEAR)
        if metres is not None:
            metres = cv2.remap(metres, *maps, cv2.INTER_NEAREST)
    return Frame(pixels, camera, metres, gravity)


def undistort_mask(mask: NDArray[Any], info: CameraInfo) -> NDArray[Any]:
    """Return a mask of the raw image as it lies in the undistorted one, nearest neighbour."""
    if not _is_distorted(info):
        return mask
    return cv2.remap(mask, *_undistortion(info, _camera(info, False)), cv2.INTER_NEAREST)


def _is_distorted(info: CameraInfo) -> bool:
    return any(info.d)


def _undistortion(info: CameraInfo, camera: Camera) -> tuple[NDArray[Any], NDArray[Any]]:
    D = np.asarray(info.d, np.float64)
    size = (camera.width, camera.height)
    try:
        if info.distortion_model in ('equidistant', 'fisheye'):
            return cv2.fisheye.initUndistortRectifyMap(
                camera.K, D[:4], np.eye(3), camera.K, size, cv2.CV_32FC1
            )
        if info.distortion_model in ('plumb_bob', 'rational_polynomial', ''):
            return cv2.initUndistortRectifyMap(
                camera.K, D, np.eye(3), camera.K, size, cv2.CV_32FC1
            )
    except cv2.error as error:
        raise LiftError(
            ErrorCode.NO_CAMERA,
            f'The camera_info has {len(D)} coefficients for "{info.distortion_model}", which '
            'OpenCV refuses; calibrate the camera again.',
        ) from error
    raise LiftError(
        ErrorCode.NO_CAMERA,
        f'The distortion model "{info.distortion_model}" is not known; rectify the image first, '
        'with image_proc.',
    )


def _camera(info: CameraInfo, rectified: bool) -> Camera:
    if info.width < 1 or info.height < 1:
        raise LiftError(
            ErrorCode.NO_CAMERA,
            f'The camera_info says that the image is {info.width} x {info.height}; set its size.',
        )
    K, P = np.reshape(info.k, (3, 3)), np.reshape(info.p, (3, 4))
    # A camera that was never calibrated has zeros; many drivers fill in only K.
    matrix = P[:, :3] if rectified and P[0, 0] != 0.0 else K
    if not matrix[0, 0] or not matrix[1, 1]:
        raise LiftError(
            ErrorCode.NO_CAMERA,
            'The camera_info has a K of zeros: the camera is not calibrated. Calibrate it, or '
            'publish its focal length in pixels.',
        )
    try:
        camera = Camera.from_matrix(info.width, info.height, matrix)
    except ValueError as error:
        raise LiftError(
            ErrorCode.NO_CAMERA, f'The camera_info describes no camera: {error}.'
        ) from error
    # K and P speak of the full sensor; the image is the region of interest, then binned.
    roi, x, y = info.roi, max(1, info.binning_x), max(1, info.binning_y)
    if not (x > 1 or y > 1 or roi.width or roi.height):
        return camera
    width, height = roi.width or info.width, roi.height or info.height
    return camera.crop(
        roi.x_offset - 0.5, roi.y_offset - 0.5, width // x, height // y, 1.0 / x, 1.0 / y
    )
