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
Lenses: undistort raw images with distortion, skew, region of interest and binning.

Formulas of the distortion models: OpenCV's ``calib3d`` and ``fisheye`` modules, to whose
coefficients ``sensor_msgs/CameraInfo`` refers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike
from numpy.typing import NDArray

from lift3d_ros.errors import no_camera
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import Camera

#: Numbers of coefficients of the models of OpenCV.
RADIAL_COUNTS = (4, 5, 8, 12, 14)
FISHEYE_COUNT = 4

#: Names of these models in sensor_msgs/distortion_models.hpp, and other common names.
RADIAL_MODELS = ('', 'plumb_bob', 'rational_polynomial', 'radtan', 'opencv', 'brown_conrady')
FISHEYE_MODELS = ('equidistant', 'fisheye', 'kannala_brandt', 'opencv_fisheye')

#: Names that drivers use for no distortion.
NO_MODELS = ('none', 'pinhole')

#: Smallest displacement by the distortion, pixels, for which the image is resampled.
MIN_SHIFT_PX = 0.01

#: Smallest share of the pinhole image that the raw image covers; coefficients with less coverage
#: are invalid.
MIN_COVERED_SHARE = 0.3

#: Largest magnitude of a coefficient; those of rational models reach some hundreds.
MAX_COEFFICIENT = 1e5

#: Side of the grid of pixels on which the distortion is checked.
_GRID_PIXELS = 9

Maps = tuple[NDArray[np.float32], NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class Lens:
    """
    A camera with distortion, region of interest and binning.

    - ``width``, ``height``: of the full image.
    - ``matrix``: (3, 3) pixels, the entry [0, 1] is the skew.
    - ``D``, ``fisheye``: coefficients and kind of the distortion; empty: none.
    - ``window``: left, top, width, height of the region of interest, pixels of the full image.
    - ``binning``: columns and rows that are combined to one pixel of the image.
    """

    width: int
    height: int
    matrix: Array
    D: Array
    fisheye: bool = False
    window: tuple[int, int, int, int] | None = None
    binning: tuple[int, int] = (1, 1)

    @property
    def full_camera(self) -> Camera:
        """The pinhole camera of the full image."""
        K = self.matrix
        return Camera(
            self.width,
            self.height,
            float(K[0, 0]),
            float(K[1, 1]),
            float(K[0, 2]),
            float(K[1, 2]),
        )

    def sizes(self) -> tuple[tuple[int, int], ...]:
        """Return the sizes of the image that region and binning make: rounded down, up."""
        _, _, width, height = self.window or (0, 0, self.width, self.height)
        x, y = self.binning
        return (width // x, height // y), (-(-width // x), -(-height // y))

    def camera(self, width: int, height: int) -> Camera:
        """Return the pinhole camera of the image, of one of ``sizes``."""
        left, top, _, _ = self.window or (0, 0, 0, 0)
        x, y = self.binning
        full = self.full_camera
        if self.window is None and self.binning == (1, 1):
            return full
        return full.crop(left - 0.5, top - 0.5, width, height, 1.0 / x, 1.0 / y)

    def maps(self, camera: Camera) -> Maps | None:
        """
        Return the positions of the pixels of ``camera`` in the raw image, for ``cv2.remap``.

        None if the positions are the same. Raises ``LiftError(NO_CAMERA)`` for coefficients
        that map almost no pixels into the image.
        """
        skew = float(self.matrix[0, 1])
        if not self.D.any() and not skew:
            return None
        columns = np.unique(np.linspace(0, camera.width - 1, _GRID_PIXELS).astype(np.int64))
        rows = np.unique(np.linspace(0, camera.height - 1, _GRID_PIXELS).astype(np.int64))
        u, v = np.meshgrid(columns.astype(np.float64), rows.astype(np.float64))
        sparse = self._distorted(camera.unproject(u, v, 1.0))
        size = (camera.width, camera.height)
        shown = ((sparse > -0.5) & (sparse < np.array(size) - 0.5)).all(axis=-1)
        if not np.isfinite(sparse).all() or shown.mean() < MIN_COVERED_SHARE:
            raise no_camera(
                f'The distortion coefficients {self.D.tolist()} map almost no pixels into the '
                'image; calibrate the camera again.')
        if np.abs(sparse - np.stack([u, v], axis=-1)).max() < MIN_SHIFT_PX:
            return None
        initialise = (
            cv2.fisheye.initUndistortRectifyMap if self.fisheye else cv2.initUndistortRectifyMap
        )
        map_u, map_v = initialise(
            self.matrix, self.D, np.eye(3), camera.K, size, cv2.CV_32FC1
        )
        map_u, map_v = self._in_window(map_u, map_v)
        return np.asarray(map_u, np.float32), np.asarray(map_v, np.float32)

    def _distorted(self, rays: Array) -> Array:
        """Return the pixels (..., 2) of the raw image of rays (..., 3) with z = 1."""
        K = np.array(self.full_camera.K)
        points = rays.reshape(-1, 1, 3)
        if self.fisheye:
            pixels = cv2.fisheye.projectPoints(points, np.zeros(3), np.zeros(3), K, self.D)[0]
        else:
            pixels = cv2.projectPoints(points, np.zeros(3), np.zeros(3), K, self.D)[0]
        u, v = pixels.reshape(-1, 2).T
        return np.stack(self._in_window(u, v), axis=-1).reshape(*rays.shape[:-1], 2)

    def _in_window(self, u: Any, v: Any) -> tuple[Any, Any]:
        """Convert pixels of the full image without skew to those of the raw image."""
        K = self.matrix
        if K[0, 1]:
            # Python floats keep the maps in float32, the only type that cv2.remap accepts.
            u = u + float(K[0, 1] / K[1, 1]) * (v - float(K[1, 2]))
        left, top, _, _ = self.window or (0, 0, 0, 0)
        x, y = self.binning
        if self.window is not None or self.binning != (1, 1):
            u, v = (u + 0.5 - left) / x - 0.5, (v + 0.5 - top) / y - 0.5
        return u, v


def read_distortion(entries: ArrayLike, model: str, what: str) -> tuple[Array, bool]:
    """
    Return the coefficients as OpenCV takes them, and whether they are of a fisheye.

    Coefficients that are all zero mean no distortion. ``what`` names their source in errors.
    Raises ``LiftError(NO_CAMERA)`` for an unknown model, a wrong number of coefficients, and
    coefficients that are not finite.
    """
    try:
        D = np.asarray(entries, np.float64).reshape(-1)
    except (TypeError, ValueError, OverflowError) as error:
        raise no_camera(
            f'The distortion of {what} is not a list of numbers; calibrate the camera '
            'again.') from error
    if not (np.abs(D) <= MAX_COEFFICIENT).all():
        raise no_camera(
            f'The distortion of {what} has coefficients that are not finite or beyond '
            f'{MAX_COEFFICIENT:.0e}; calibrate the camera again.')
    if not D.any():
        return np.zeros(0), False
    name = model.strip().lower()
    if name in FISHEYE_MODELS:
        if len(D) < FISHEYE_COUNT or D[FISHEYE_COUNT:].any():
            raise no_camera(
                f'{what} has {len(D)} coefficients for "{model}", which takes {FISHEYE_COUNT}; '
                'calibrate the camera again.')
        return D[:FISHEYE_COUNT].copy(), True
    if name in RADIAL_MODELS:
        if len(D) not in RADIAL_COUNTS:
            counts = ', '.join(map(str, RADIAL_COUNTS))
            raise no_camera(
                f'{what} has {len(D)} coefficients for "{model}", which takes {counts}; calibrate '
                'the camera again.')
        return D, False
    hint = ' although this model has no distortion' if name in NO_MODELS else ''
    raise no_camera(
        f'{what} has coefficients of the distortion model "{model}"{hint}, which is not '
        'supported; use plumb_bob, rational_polynomial or equidistant, or rectify the image with '
        'image_proc.')


def undistort(pixels: NDArray[Any], maps: Maps | None, smooth: bool = False) -> NDArray[Any]:
    """Return a raw image undistorted, by the nearest neighbour or ``smooth``."""
    if maps is None:
        return pixels
    kind = pixels.dtype
    if kind in (np.int32, np.uint32, np.int64, np.uint64):
        # cv2.remap does not accept these types; a float64 represents 53 bits exactly.
        pixels = pixels.astype(np.float64)
    elif kind in (np.int8, np.bool_):
        pixels = pixels.astype(np.int16)
    found = cv2.remap(pixels, *maps, cv2.INTER_LINEAR if smooth else cv2.INTER_NEAREST)
    return found.astype(kind, copy=False)


def same_camera(first: Camera, second: Camera, tolerance: float = 0.5) -> bool:
    """
    Return whether two cameras project rays to the same positions of images of the same aspect.

    The second one can have another resolution; ``tolerance`` is in pixels of the first.
    """
    scale_x, scale_y = first.width / second.width, first.height / second.height
    if abs(scale_x - scale_y) > 0.02 * max(scale_x, scale_y):
        return False
    resized = second.crop(-0.5, -0.5, first.width, first.height, scale_x, scale_y)
    u, v = np.meshgrid([0.0, first.width - 1.0], [0.0, first.height - 1.0])
    moved_u, moved_v, _ = resized.project(first.unproject(u, v, 1.0))
    # Scaling pixel centres or pixel corners differs by up to half a pixel.
    limit = tolerance * max(1.0, scale_x)
    return bool(max(np.abs(moved_u - u).max(), np.abs(moved_v - v).max()) <= limit)


def same_distortion(first: Lens, second: Lens) -> bool:
    """Return whether two lenses have the same distortion."""
    if first.fisheye != second.fisheye:
        return False
    longest = max(len(first.D), len(second.D))
    A, B = (np.pad(lens.D, (0, longest - len(lens.D))) for lens in (first, second))
    return bool(np.allclose(A, B, rtol=1e-3, atol=1e-4))
