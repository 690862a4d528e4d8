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
Checks whether a camera matrix is plausible for an image of its size.

The checks apply to the full image, before the region of interest is cropped. An impossible matrix
raises an error; an unusual one gives notes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from lift3d_ros.errors import no_camera
from lift3d_ros.errors import size_mismatch
from lift3d_ros.geometry import Camera

#: Full angles of view, degrees, twice the angle of the outermost ray from the optical axis. No
#: pinhole camera is outside the first range: a 400 mm lens on a full-frame sensor has 5 degrees,
#: rectified wide-angle images have up to 140. The second range covers depth cameras (Azure Kinect:
#: 120), phones and machine vision lenses; outside it a note asks to check.
POSSIBLE_FOV_DEG = (4.0, 150.0)
USUAL_FOV_DEG = (10.0, 125.0)

#: Sides of a pixel, the longer over the shorter. Square pixels have 1; wide images that were
#: resized to 4:3, with their matrix, have 1.33; binning along one axis makes 2.
USUAL_PIXEL_ASPECT = 1.4
POSSIBLE_PIXEL_ASPECT = 3.0

#: Offset of the principal point from the middle over the side of the image. Calibrations have up
#: to 0.06; more than this comes from a crop or from a matrix of another resolution.
USUAL_OFFSET = 0.15

#: The same where both axes have it with the same factor of the image's size: a resized image. The
#: factors of calibrated cameras with such an offset differ along x and y.
COMMON_OFFSET = 0.07
COMMON_OFFSET_TOLERANCE = 0.03

#: Difference of the factors along x and y by which the matrix is of another resolution, over
#: their mean: twice the offset that principal points usually have.
COMMON_FACTOR_TOLERANCE = 0.12

#: Largest magnitude of an entry of a camera matrix, pixels. The largest sensors have 2e4 columns.
MAX_ENTRY_PX = 1e6

#: Largest side of an image, pixels.
MAX_SIDE_PX = 1e5


def read_matrix(entries: ArrayLike, what: str) -> np.ndarray:
    """
    Return a plausible camera matrix (3, 3), skew included.

    ``what`` names it in errors. Raises ``LiftError(NO_CAMERA)``.
    """
    try:
        K = np.asarray(entries, np.float64).reshape(3, 3)
    except (TypeError, ValueError, OverflowError) as error:
        raise no_camera(
            f'{what} is not a matrix of 3 x 3 numbers; write it row by row.') from error
    lower = np.abs([K[1, 0], K[2, 0], K[2, 1]]).max()
    advice = 'the camera is not calibrated. Calibrate it, or publish its focal length in pixels'
    for invalid, problem in (
        (not np.isfinite(K).all() or np.abs(K).max() > MAX_ENTRY_PX,
         f'has entries that are not finite or beyond {MAX_ENTRY_PX:.0e} pixels; calibrate the '
         'camera again'),
        (not K[:2].any(), f'is zeros: {advice}'),
        (np.array_equal(K, np.eye(3)), f'is the identity: {advice}'),
        (K[0, 0] <= 0.0 or K[1, 1] <= 0.0,
         f'has the focal lengths {K[0, 0]:g} and {K[1, 1]:g}; both must be positive'),
        # Some drivers leave the last entry 0.
        (lower > 1e-6 * K[0, 0] or (K[2, 2] != 0.0 and abs(K[2, 2] - 1.0) > 1e-6),
         'is not a camera matrix: it must be [fx, s, cx; 0, fy, cy; 0, 0, 1], row by row'),
    ):
        if invalid:
            raise no_camera(f'{what} {problem}.')
    return K


def check_size(width: float, height: float, what: str) -> tuple[int, int]:
    """Return the size of an image in whole pixels; raises ``LiftError(NO_CAMERA)``."""
    if isinstance(width, bool) or isinstance(height, bool):
        raise no_camera(
            f'{what} has a width or height that is not a number; set the size of the image.')
    sides = np.asarray([width, height], np.float64)
    # Comparisons with NaN are false.
    if not ((sides >= 1.0) & (sides <= MAX_SIDE_PX) & (sides == np.rint(sides))).all():
        raise no_camera(
            f'{what} says that the image is {width:.6g} x {height:.6g}; set its size in whole '
            'pixels.')
    return int(width), int(height)


def check_camera(camera: Camera, what: str = 'The camera') -> tuple[str, ...]:
    """
    Return notes on what is unusual about the camera of a full image.

    ``what`` names its source at the start of sentences. Raises ``LiftError``: ``NO_CAMERA`` for an
    impossible matrix, ``SIZE_MISMATCH`` for one for another image size.
    """
    focal = np.array([camera.fx, camera.fy])
    principal = np.array([camera.cx, camera.cy])
    size = np.array([camera.width, camera.height], np.float64)
    # 1 where the principal point is in the middle, 0.5 for the matrix of half the resolution.
    factors = (2.0 * principal + 1.0) / size
    _check_resolution(factors, camera, what)
    fov = np.array(check_fov(camera, what))
    aspect = float(focal.max() / focal.min())
    if aspect > POSSIBLE_PIXEL_ASPECT:
        raise no_camera(
            f'{what} has the focal lengths {focal[0]:g} and {focal[1]:g}, which differ by a '
            f'factor of {aspect:.1f}; calibrate the camera again.')
    notes = []
    angles = f'{fov[0]:.1f} x {fov[1]:.1f} degrees'
    low, high = USUAL_FOV_DEG
    if fov.max() < low or fov.max() > high:
        notes.append(
            f'{what} has a field of view of {angles}, which is unusual; check that its focal '
            'lengths are in pixels of this image.'
        )
    if aspect > USUAL_PIXEL_ASPECT:
        notes.append(
            f'{what} has focal lengths that differ by a factor of {aspect:.2f}; check that the '
            'image was not resized without its camera matrix.'
        )
    offsets = np.abs(factors - 1.0) / 2.0
    mean = float(factors.mean())
    if (
        offsets.max() <= USUAL_OFFSET
        and offsets.min() > COMMON_OFFSET
        and abs(factors[0] - factors[1]) < COMMON_OFFSET_TOLERANCE * mean
    ):
        notes.append(
            f'{what} has its principal point at ({camera.cx:.0f}, {camera.cy:.0f}), the centre of '
            f'an image of {mean * size[0]:.0f} x {mean * size[1]:.0f}, but the image is '
            f'{camera.width} x {camera.height}; check that the camera matrix is for this '
            'resolution.'
        )
    if offsets.max() > USUAL_OFFSET:
        notes.append(
            f'{what} has its principal point at ({camera.cx:.0f}, {camera.cy:.0f}) in an image of '
            f'{camera.width} x {camera.height}, {100.0 * offsets.max():.0f} % from the centre (it '
            f'is the centre of {factors[0] * size[0]:.0f} x {factors[1] * size[1]:.0f}); check '
            'that the camera matrix belongs to this image, unless the image is a crop.'
        )
    return tuple(notes)


def check_fov(camera: Camera, what: str = 'The camera') -> tuple[float, float]:
    """
    Return the full angles of view along x and y, degrees; of a crop, those of the image it is of.

    Raises ``LiftError(NO_CAMERA)`` if they are impossible for a pinhole camera.
    """
    focal = np.array([camera.fx, camera.fy])
    principal = np.array([camera.cx, camera.cy])
    size = np.array([camera.width, camera.height], np.float64)
    reach = np.maximum(principal + 0.5, size - 0.5 - principal)
    across, down = (float(fov) for fov in 2.0 * np.degrees(np.arctan2(reach, focal)))
    low, high = POSSIBLE_FOV_DEG
    if not low <= max(across, down) <= high:
        raise no_camera(
            f'{what} has the focal lengths {camera.fx:g} and {camera.fy:g} for {camera.width} x '
            f'{camera.height} pixels: a field of view of {across:.1f} x {down:.1f} degrees, which '
            'is impossible for a pinhole camera. Give focal lengths in pixels of this image.')
    return across, down


def _check_resolution(factors: np.ndarray, camera: Camera, what: str) -> None:
    """Refuse a principal point in a corner, or at the centre of an image of another size."""
    mean = float(factors.mean())
    size = f'{camera.width} x {camera.height}'
    common = abs(factors[0] - factors[1]) <= COMMON_FACTOR_TOLERANCE * abs(mean)
    if mean > 0.1 and common and abs(mean - 1.0) > 2.0 * USUAL_OFFSET:
        raise size_mismatch(
            f'{what} has a matrix for another resolution: its principal point ({camera.cx:.0f}, '
            f'{camera.cy:.0f}) is the centre of an image of about {mean * camera.width:.0f} x '
            f'{mean * camera.height:.0f}, but the image is {size}. Scale the focal lengths and '
            'the principal point by the same factor as the image.')
    offset = np.abs(factors - 1.0)
    if ((offset > 0.9) & (offset < 1.1)).all():
        raise no_camera(
            f'{what} has its principal point at {camera.cx:.0f} and {camera.cy:.0f}, in a corner '
            f'of the image of {size}; calibrate the camera, or set cx and cy to the centre of the '
            'image.')
