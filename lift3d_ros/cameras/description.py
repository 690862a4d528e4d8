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
The camera in a camera.json, and its optional depth camera.

``width``, ``height``, ``K`` (3 x 3, row by row) are of the image; with ``D`` and
``distortion_model`` (as in ``sensor_msgs/CameraInfo``), or a skew in K, the image is raw and is
undistorted as it is read, with its mask and depth. ``depth_camera`` has the same entries for depth
that is not registered to the image, and ``T_color_depth`` (4 x 4, metres), its optical frame in
that of the image; left out, both are the same frame.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.cameras.depth_registration import register_depth
from lift3d_ros.cameras.lenses import Lens
from lift3d_ros.cameras.lenses import Maps
from lift3d_ros.cameras.lenses import read_distortion
from lift3d_ros.cameras.lenses import undistort
from lift3d_ros.cameras.plausibility import check_camera
from lift3d_ros.cameras.plausibility import check_size
from lift3d_ros.cameras.plausibility import read_matrix
from lift3d_ros.errors import no_camera
from lift3d_ros.errors import size_mismatch
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import is_rigid


@dataclass(frozen=True, eq=False)
class DescribedCamera:
    """
    A camera as described in camera.json.

    - ``camera``: the pinhole camera of the undistorted image.
    - ``maps``: for ``cv2.remap``, from the raw image; None without distortion.
    - ``notes``: sentences on unusual values.
    - ``depth``, ``T_color_depth``: the camera of unregistered depth and its pose; None without.
    """

    camera: Camera
    maps: Maps | None
    notes: tuple[str, ...] = ()
    depth: DescribedCamera | None = None
    T_color_depth: Array | None = None

    def undistorted_image(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the undistorted image (height, width, 3)."""
        return undistort(image, self.maps, smooth=True)

    def undistorted_mask(self, mask: NDArray[Any]) -> NDArray[Any]:
        """Return a mask or label image of the raw image, undistorted."""
        if mask.shape != (self.camera.height, self.camera.width):
            return mask
        return undistort(mask, self.maps)

    def registered_depth(self, depth: NDArray[np.float32]) -> NDArray[np.float32]:
        """
        Return depth in the pixels of the undistorted image; raises ``LiftError(SIZE_MISMATCH)``.

        Without a depth camera the depth is of the pixels of the raw image.
        """
        own = self.depth
        if own is None:
            fits = depth.shape == (self.camera.height, self.camera.width)
            return undistort(depth, self.maps) if fits else depth
        if depth.shape != (own.camera.height, own.camera.width):
            raise size_mismatch(
                f'The depth is {depth.shape[1]} x {depth.shape[0]}, but depth_camera is '
                f'{own.camera.width} x {own.camera.height}; correct width, height and K of '
                'depth_camera.')
        T = np.eye(4) if self.T_color_depth is None else self.T_color_depth
        return register_depth(undistort(depth, own.maps), own.camera, self.camera, T)


def read_camera(entries: Mapping[str, Any], source: str) -> DescribedCamera:
    """
    Return the camera that entries describe; ``source`` names them in messages.

    Raises ``LiftError``: ``NO_CAMERA`` for entries that do not describe a camera,
    ``SIZE_MISMATCH`` for a matrix for another image size.
    """
    color = _read_single(entries, source)
    inner = entries.get('depth_camera')
    if inner is None:
        return color
    if not isinstance(inner, Mapping):
        raise no_camera(
            f'The depth_camera in {source} is not a JSON object with "width", "height" and "K".')
    try:
        T = np.asarray(inner.get('T_color_depth', np.eye(4)), np.float64)
    except (TypeError, ValueError, OverflowError):
        T = np.zeros((0, 0))
    if not is_rigid(T):
        raise no_camera(
            f'T_color_depth in {source} is not a rigid transform; give the 4 x 4 matrix of a '
            'rotation and a translation in metres, from the frame of the depth to that of the '
            'image.')
    depth = _read_single(inner, f'The depth_camera in {source}')
    return DescribedCamera(color.camera, color.maps, (*color.notes, *depth.notes), depth, T)


def _read_single(entries: Mapping[str, Any], source: str) -> DescribedCamera:
    missing = [name for name in ('width', 'height', 'K') if entries.get(name) is None]
    if missing:
        raise no_camera(
            f'{source} does not describe a camera: it has no "{missing[0]}"; it must hold '
            '"width", "height" and "K" as a 3 x 3 list.')
    try:
        width, height = check_size(entries['width'], entries['height'], source)
    except (TypeError, ValueError, OverflowError) as error:
        raise no_camera(
            f'{source} has a width or height that is not a number; set the size of the '
            'image.') from error
    matrix = read_matrix(entries['K'], f'K of {source}')
    D = entries.get('D')
    model = entries.get('distortion_model') or ''
    coefficients, fisheye = read_distortion([] if D is None else D, str(model), source)
    lens = Lens(width, height, matrix, coefficients, fisheye)
    camera = lens.full_camera
    notes = check_camera(camera, source)
    return DescribedCamera(camera, lens.maps(camera), notes)
