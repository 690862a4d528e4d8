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
Conversion of the messages of a camera to an undistorted frame.

``sensor_msgs/CameraInfo`` describes the full image; region of interest and binning are applied to
it as ``image_geometry`` does. K and D are of the raw image, P of the rectified one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lift3d_ros.cameras import depth_units as depths
from lift3d_ros.cameras.depth_registration import register_depth
from lift3d_ros.cameras.lenses import Lens
from lift3d_ros.cameras.lenses import Maps
from lift3d_ros.cameras.lenses import read_distortion
from lift3d_ros.cameras.lenses import same_camera
from lift3d_ros.cameras.lenses import same_distortion
from lift3d_ros.cameras.lenses import undistort
from lift3d_ros.cameras.plausibility import check_camera
from lift3d_ros.cameras.plausibility import check_size
from lift3d_ros.cameras.plausibility import MAX_ENTRY_PX
from lift3d_ros.cameras.plausibility import read_matrix
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry.frame import Frame
from lift3d_ros.messages.conversions import decode_depth
from lift3d_ros.messages.conversions import decode_image
from lift3d_ros.messages.conversions import fit_depth

#: Advice for depth that is not registered to the image.
REGISTER = (
    'Publish depth that is registered to the image (RealSense: align_depth.enable:=true; others: '
    'depth_image_proc/register)'
)

#: Relative tolerance of equal entries of P and K.
_TOLERANCE = 1e-6

#: Tolerance of the identity transform between depth and image, metres and radians.
_IDENTITY_TOLERANCE = 5e-4


@dataclass(frozen=True, eq=False)
class ImageCamera:
    """
    The camera of an image message.

    - ``camera``: the pinhole camera of the undistorted image.
    - ``maps``: for ``cv2.remap``, from the raw image; None if the image is undistorted.
    - ``lens``: the lens by ``camera_info``.
    - ``notes``: doubts about it, a sentence each.
    """

    camera: Camera
    maps: Maps | None
    lens: Lens
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class DepthSource:
    """
    How a depth image can be registered to the image.

    - ``camera_info``: of the depth, None if unknown.
    - ``extrinsics``: returns ``T_image_depth`` or raises ``LiftError(NO_TRANSFORM)``; None
      if unknown.
    - ``assume_registered``: treat the depth as registered regardless of its header.
    """

    camera_info: Any | None = None
    extrinsics: Callable[[], Array] | None = None
    assume_registered: bool = False


def build_frame(
    image: Any,
    info: Any | None,
    depth: Any | None = None,
    *,
    rectified: bool = True,
    depth_unit: float = 0.001,
    gravity: Array | None = None,
    depth_source: DepthSource | None = None,
) -> Frame:
    """
    Decode and undistort the messages of a camera.

    With ``rectified`` the image is taken as rectified and the camera's matrix is that of P, else
    K and the distortion are those of the raw image, which is undistorted. An image that P cannot
    be of, since P is K beside a distortion, is raw in both cases. Depth of the same camera but
    another size is resized, nearest neighbour; depth of another camera is registered.
    ``gravity`` points down in the optical frame.

    Raises ``LiftError``: ``BAD_IMAGE``, ``NO_CAMERA``, ``SIZE_MISMATCH``, ``NO_TRANSFORM``.
    """
    if info is None:
        raise LiftError(
            ErrorCode.NO_CAMERA, 'There is no camera_info; publish it together with the image.'
        )
    # A camera_info without meaning is refused before the work of decoding.
    read_lens(info, rectified)
    pixels = decode_image(image, (info.width, info.height))
    height, width = pixels.shape[:2]
    image_cam = image_camera(info, rectified, width, height)
    metres, notes = None, image_cam.notes
    if depth is not None:
        metres = decode_depth(depth, depth_unit)
        normalised = depths.normalised_note(metres)
        notes = (*notes, normalised) if normalised else notes
        source = depth_source or DepthSource()
        metres = _depth_of_image(
            metres, image.header.frame_id, depth.header.frame_id, image_cam, source, rectified
        )
    pixels = undistort(pixels, image_cam.maps, smooth=True)
    return Frame(pixels, image_cam.camera, metres, gravity, notes)


def undistort_mask(
    mask: NDArray[Any], info: Any, rectified: bool = False
) -> NDArray[Any]:
    """
    Return a mask of the image, of its size, as it lies in the undistorted one.

    Raises ``LiftError`` as ``image_camera``.
    """
    height, width = mask.shape
    return undistort(mask, image_camera(info, rectified, width, height).maps)


def image_camera(info: Any, rectified: bool, width: int, height: int) -> ImageCamera:
    """
    Return the camera of an image of that size.

    Raises ``LiftError``: ``NO_CAMERA`` for a camera_info that is of no camera, ``SIZE_MISMATCH``
    for one of another image.
    """
    lens, notes = read_lens(info, rectified)
    if (width, height) not in lens.sizes():
        full = replace(lens, window=None)
        whole = ' x '.join(map(str, lens.sizes()[0]))
        if lens.window is None or (width, height) not in full.sizes():
            raise LiftError(
                ErrorCode.SIZE_MISMATCH, _mismatch(lens, width, height, whole)
            )
        notes = (
            *notes,
            f'The camera_info has a region of interest of {whole}, but the image is the full '
            f'{width} x {height}; the region is ignored. Set roi to zeros.',
        )
        lens = full
    camera = lens.camera(width, height)
    return ImageCamera(camera, _maps(_Key(lens), camera), lens, notes)


def _mismatch(lens: Lens, width: int, height: int, expected: str) -> str:
    x, y = lens.binning
    if (x, y) != (1, 1):
        return (
            f'The image is {width} x {height}; its camera_info has {lens.width} x {lens.height} '
            f'with a binning of {x} x {y}, which makes {expected}. In a camera_info, size and K '
            'refer to the image before binning; set binning_x and binning_y to 0 if the image is '
            'not binned, or if size and K already refer to the binned image.'
        )
    if lens.window is not None:
        return (
            f'The image is {width} x {height}; its camera_info has a region of interest of '
            f'{expected} in {lens.width} x {lens.height}. Publish the camera_info of this image.'
        )
    scale = ''
    if abs(width * lens.height - height * lens.width) <= 2 * max(lens.width, lens.height):
        scale = ' If the image was resized, resize its camera_info, too (use image_proc/resize).'
    return (
        f'The image is {width} x {height}, but its camera_info is for {expected}; publish the '
        f'camera_info of this image.{scale}'
    )


def read_lens(
    info: Any, rectified: bool, what: str = 'The camera_info'
) -> tuple[Lens, tuple[str, ...]]:
    """
    Return the lens of a camera_info, and notes with doubts about it.

    ``what`` names it in messages. Raises ``LiftError``: ``NO_CAMERA``, ``SIZE_MISMATCH``.
    """
    width, height = check_size(info.width, info.height, what)
    matrices = [np.asarray(values, np.float64) for values in (info.k, info.r, info.p)]
    for name, values in zip('KRP', matrices, strict=True):
        if not np.isfinite(values).all() or np.abs(values).max() > MAX_ENTRY_PX:
            raise LiftError(
                ErrorCode.NO_CAMERA,
                f'The {name} of the camera_info has entries that are not finite or beyond '
                f'{MAX_ENTRY_PX:.0e}; calibrate the camera again.',
            )
    K, R = matrices[0].reshape(3, 3), matrices[1].reshape(3, 3)
    P = matrices[2].reshape(3, 4)[:, :3]
    D: Array = np.zeros(0)
    fisheye = False
    distorted = not np.isfinite(info.d).all() or any(info.d)
    # A camera that was never calibrated has zeros or the identity; many drivers fill in only K.
    only_k = P[0, 0] == 0.0 or (np.array_equal(P, np.eye(3)) and not np.array_equal(K, P))
    same = only_k or np.allclose(P, K, rtol=_TOLERANCE, atol=_TOLERANCE * abs(K[0, 0]))
    unturned = not R.any() or np.allclose(R, np.eye(3), atol=1e-9)
    notes: tuple[str, ...] = ()
    raw = not rectified
    if rectified and distorted and same and unturned:
        raw = True
        notes = (
            f'{what} has a distortion and a P equal to K, so the image is treated as raw and is '
            'undistorted; set the parameter rectified to false, or publish the rectified image '
            '(image_proc/rectify).',
        )
    name = 'K' if raw or only_k else 'P'
    matrix = read_matrix(K if name == 'K' else P, f'The {name} of the camera_info')
    if raw and distorted:
        D, fisheye = read_distortion(info.d, info.distortion_model, what)
    elif distorted and not np.isfinite(np.asarray(info.d)).all():
        read_distortion(info.d, info.distortion_model, what)
    lens = Lens(width, height, matrix, D, fisheye, binning=_binning(info))
    window = _window(info, what)
    if window is not None and info.roi.do_rectify and not raw:
        window = _rectified_window(window, info, K, R, P)
    notes = (*notes, *check_camera(lens.full_camera, what))
    return replace(lens, window=window), notes


def _binning(info: Any) -> tuple[int, int]:
    return max(1, int(info.binning_x)), max(1, int(info.binning_y))


def _window(info: Any, what: str) -> tuple[int, int, int, int] | None:
    roi = info.roi
    if not (roi.x_offset or roi.y_offset or roi.width or roi.height):
        return None
    left, top = int(roi.x_offset), int(roi.y_offset)
    width = int(roi.width) or max(0, info.width - left)
    height = int(roi.height) or max(0, info.height - top)
    if left + width > info.width or top + height > info.height or not width or not height:
        raise LiftError(
            ErrorCode.NO_CAMERA,
            f'{what} has a region of interest of {width} x {height} at ({left}, {top}), which '
            f'exceeds the image of {info.width} x {info.height}.',
        )
    if (width, height) == (info.width, info.height):
        return None
    return left, top, width, height


def _rectified_window(
    window: tuple[int, int, int, int], info: Any, K: Array, R: Array, P: Array
) -> tuple[int, int, int, int]:
    """Return the part of the rectified image that a region of the raw one fills."""
    left, top, width, height = window
    D, fisheye = read_distortion(info.d, info.distortion_model, 'The camera_info')
    across, down = left + np.array([0.0, width]), top + np.array([0.0, height])
    corners = np.array([[[x, y]] for x in across for y in down])
    if not R.any():
        R = np.eye(3)
    if fisheye:
        found = cv2.fisheye.undistortPoints(corners, K, D, R=R, P=P)
    else:
        found = cv2.undistortPoints(corners, K, D if len(D) else np.zeros(5), R=R, P=P)
    x, y = np.sort(found[:, 0, 0]), np.sort(found[:, 0, 1])
    # The largest upright box inside, as in image_geometry.
    first = max(0, int(np.ceil(x[1]))), max(0, int(np.ceil(y[1])))
    last = min(info.width, int(np.floor(x[2]))), min(info.height, int(np.floor(y[2])))
    if last[0] <= first[0] or last[1] <= first[1]:
        return window
    return first[0], first[1], last[0] - first[0], last[1] - first[1]


@dataclass(frozen=True)
class _Key:
    """A hashable lens, for a cache."""

    lens: Lens = field(compare=False)
    values: tuple[Any, ...] = ()

    def __post_init__(self) -> None:
        lens = self.lens
        values = (
            lens.width,
            lens.height,
            lens.matrix.tobytes(),
            lens.D.tobytes(),
            lens.fisheye,
            lens.window,
            lens.binning,
        )
        object.__setattr__(self, 'values', values)


@lru_cache(maxsize=4)
def _maps(key: _Key, camera: Camera) -> Maps | None:
    # Image and mask, and all frames of a camera, have the same maps.
    return key.lens.maps(camera)


# --- depth --------------------------------------------------------------------------------------


def _depth_of_image(
    depth: NDArray[np.float32],
    image_frame: str,
    depth_frame: str,
    image_cam: ImageCamera,
    source: DepthSource,
    rectified: bool,
) -> NDArray[np.float32]:
    """Return the depth in the pixels of the undistorted image; raises ``LiftError``."""
    camera = image_cam.camera
    # tf1 wrote frames with a leading slash; an empty frame is that of the image.
    here, there = image_frame.lstrip('/'), depth_frame.lstrip('/')
    same_frame = here == there or not here or not there
    own = None
    if not source.assume_registered and source.camera_info is not None:
        own = _own_camera(source.camera_info, depth, rectified)
    elif not source.assume_registered and not same_frame:
        raise LiftError(
            ErrorCode.SIZE_MISMATCH,
            f'The depth is in the frame "{there}" and the image in "{here}": it is not registered '
            f'to the image. {REGISTER}, or publish its CameraInfo on depth_camera_info; set the '
            'parameter depth_registration to assume_registered if it is registered despite its '
            'frame.',
        )
    if own is not None:
        T = np.eye(4) if same_frame else _extrinsics(source, here, there)
        apart = np.abs(T - np.eye(4)).max() > _IDENTITY_TOLERANCE
        alike = same_camera(camera, own.camera) and same_distortion(image_cam.lens, own.lens)
        if apart or not alike:
            depth = undistort(depth, own.maps)
            return register_depth(depth, own.camera, camera, T)
    if depth.shape != (camera.height, camera.width):
        rows, columns = depth.shape
        depth = fit_depth(depth, camera.width, camera.height, f'{columns} x {rows}')
    return undistort(depth, image_cam.maps)


def _own_camera(info: Any, depth: NDArray[Any], rectified: bool) -> ImageCamera:
    """Return the camera of a depth image; raises ``LiftError``, which names depth_camera_info."""
    height, width = depth.shape
    try:
        return image_camera(info, rectified, width, height)
    except LiftError as error:
        raise LiftError(
            error.code,
            f'In depth_camera_info: {error.message}',
        ) from error


def _extrinsics(source: DepthSource, image_frame: str, depth_frame: str) -> Array:
    if source.extrinsics is None:
        raise LiftError(
            ErrorCode.NO_TRANSFORM,
            f'The depth is in the frame "{depth_frame}" and the image in "{image_frame}", and the '
            'transform between them is unknown: registration needs tf2_ros and an active node. '
            f'{REGISTER}, or set the parameter depth_registration to assume_registered if it is '
            'registered despite its frame.',
        )
    return source.extrinsics()
