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

"""Camera frames, and the view of one object in a frame."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lift3d_ros.errors import bad_image
from lift3d_ros.errors import bad_request
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.errors import no_camera
from lift3d_ros.errors import size_mismatch
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import is_rigid
from lift3d_ros.geometry import unit

#: Side of the square input image of the view networks, pixels.
VIEW_SIZE = 256

#: Share of that side that the longer side of the object's bounding box fills (One-2-3-45).
VIEW_FILL = 0.75

#: Beyond the range of depth cameras and rangefinders, metres.
MAX_DEPTH_M = 1e4

#: Distance from the border of the image at which a mask is cut, pixels: resized masks of detectors
#: lose the last pixel.
BORDER_PIXELS = 1

#: Smallest number of mask pixels that define a shape.
MIN_MASK_PIXELS = 64


@dataclass(frozen=True, eq=False)
class Frame:
    """
    One image of a camera, with depth and the direction of gravity if they are known.

    - ``image``: uint8 RGB, shape (height, width, 3).
    - ``camera``: of the same size; the image is free of distortion.
    - ``depth``: float32 metres along z, shape (height, width); 0 or NaN = no reading.
      Negative readings and those beyond ``MAX_DEPTH_M`` become 0.
    - ``gravity``: unit vector that points down, in the optical frame.
    - ``notes``: sentences on what to check about the inputs; they go into ``Shape.notes``.
    """

    image: NDArray[np.uint8]
    camera: Camera
    depth: NDArray[np.float32] | None = None
    gravity: Array | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """
        Check types and sizes.

        Raises ``LiftError``: ``BAD_IMAGE`` for an image or depth of another type,
        ``SIZE_MISMATCH`` if sizes differ, ``NO_CAMERA`` for a gravity without direction.
        """
        if self.image.dtype != np.uint8 or self.image.ndim != 3 or self.image.shape[2] != 3:
            raise bad_image(
                f'The image has type {self.image.dtype} and shape {self.image.shape}; it must be '
                'uint8 RGB, height x width x 3.')
        size = (self.camera.height, self.camera.width)
        if self.image.shape[:2] != size:
            raise size_mismatch(
                f'The image is {self.image.shape[1]} x {self.image.shape[0]}, its camera '
                f'{size[1]} x {size[0]}; use the camera_info of this very image.')
        if self.depth is not None:
            if self.depth.ndim != 2 or self.depth.dtype != np.float32:
                raise bad_image(
                    f'The depth has type {self.depth.dtype} and shape {self.depth.shape}; it must '
                    'be float32 metres, height x width.')
            if self.depth.shape != size:
                raise size_mismatch(
                    f'The depth is {self.depth.shape[1]} x {self.depth.shape[0]}, the image '
                    f'{size[1]} x {size[0]}; register the depth to the image first.')
            # Such values are not readings, and could overflow sums.
            low, high = (
                function.reduce(self.depth, axis=None, initial=0.0)
                for function in (np.fmin, np.fmax))
            if low < 0.0 or high > MAX_DEPTH_M:
                absent = (self.depth < 0.0) | (self.depth > MAX_DEPTH_M)
                depth = np.where(absent, np.float32(0.0), self.depth)
                object.__setattr__(self, 'depth', depth)
        if self.gravity is not None:
            try:
                direction = unit(np.asarray(self.gravity, np.float64).reshape(3))
            except ValueError as error:
                raise no_camera(
                    'The gravity must be a direction [x, y, z] in the optical frame; leave it out '
                    'where it is not known.') from error
            object.__setattr__(self, 'gravity', direction)


@dataclass(frozen=True, eq=False)
class ObjectView:
    """
    One object of a frame.

    - ``frame``, ``mask``: the whole frame, and the pixels of the object, bool (height, width).
    - ``image``: uint8 RGB, shape (VIEW_SIZE, VIEW_SIZE, 3): the object on white, its bounding box
      in the middle and ``VIEW_FILL`` of the side long.
    - ``alpha``: uint8, shape (VIEW_SIZE, VIEW_SIZE), 255 on the object.
    - ``camera``: the camera of that image, in the same optical frame.
    - ``truncated``: the object reaches the border of the frame, so part of it is not visible.
    """

    frame: Frame
    mask: NDArray[np.bool_]
    image: NDArray[np.uint8]
    alpha: NDArray[np.uint8]
    camera: Camera
    truncated: bool

    def window(self, side: int, margin: int) -> tuple[tuple[slice, slice], Camera]:
        """
        Return a window of the frame around the object, and the camera of that window.

        The slices, rows and columns, extend its bounding box by ``margin`` pixels. Their step
        reduces its longer side to at most ``side`` pixels: masks and depths must not be averaged
        across an edge.
        """
        left, top, right, bottom = bounding_box(self.mask)
        stride = -(-max(right - left, bottom - top) // side)
        height, width = self.mask.shape
        rows = slice(max(top - margin, 0), min(bottom + margin, height), stride)
        columns = slice(max(left - margin, 0), min(right + margin, width), stride)
        full = self.frame.camera
        return (rows, columns), Camera(
            len(range(*columns.indices(width))),
            len(range(*rows.indices(height))),
            full.fx / stride,
            full.fy / stride,
            (full.cx - columns.start) / stride,
            (full.cy - rows.start) / stride,
        )

    def longer_side(self) -> int:
        """Return the longer side of the object's bounding box, pixels."""
        left, top, right, bottom = bounding_box(self.mask)
        return max(right - left, bottom - top)

    def elevation(self) -> float | None:
        """
        Return the camera's elevation over the object's horizon in degrees, from gravity.

        The ray through the centre of the image meets the object; its component along gravity is
        the sine of the elevation.
        """
        if self.frame.gravity is None:
            return None
        middle = (VIEW_SIZE - 1) / 2.0
        ray = unit(self.camera.unproject(middle, middle, 1.0))
        return float(np.degrees(np.arcsin(np.clip(ray @ self.frame.gravity, -1.0, 1.0))))


@dataclass(frozen=True, eq=False)
class SourceView:
    """
    Another view of the same object, from a camera whose place is known.

    - ``view``: the object in the other frame.
    - ``T_ref_src``: rigid (4, 4), metres, the optical frame of the other camera in that of
      the first view.
    - ``name``: what errors call it.
    """

    view: ObjectView
    T_ref_src: Array
    name: str = ''

    def __post_init__(self) -> None:
        """Raise ``LiftError(BAD_REQUEST)`` for a pose that is no rigid motion."""
        if not is_rigid(self.T_ref_src):
            raise bad_request(
                'The pose of a source view is not a rigid transform; give the 4 x 4 matrix of a '
                'rotation and a translation in metres, from its optical frame to that of the '
                'first view.')
        object.__setattr__(
            self, 'T_ref_src', np.asarray(self.T_ref_src, np.float64)
        )


def bounding_box(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """
    Return left, top, right, bottom of a mask's pixels, right and bottom exclusive.

    Raises ``LiftError(EMPTY_MASK)`` for a mask without pixels.
    """
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    if not len(columns):
        raise LiftError(
            ErrorCode.EMPTY_MASK,
            'The mask has no pixels; check that the object is in the image.')
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def crop_object(frame: Frame, mask: NDArray[np.bool_]) -> ObjectView:
    """
    Crop the object from the frame.

    ``mask`` is bool, shape (height, width) of the frame. Raises ``LiftError``: ``BAD_IMAGE`` for
    a mask of another type, ``SIZE_MISMATCH``, ``EMPTY_MASK``, ``MASK_TOO_SMALL``.
    """
    left, top, right, bottom = _checked_box(frame, mask)
    # Only the box is processed, so that the cost does not depend on the size of the frame.
    box = np.s_[top:bottom, left:right]
    weight = mask[box].astype(np.float32)
    colour = frame.image[box] * weight[..., None]
    scale = VIEW_FILL * VIEW_SIZE / max(weight.shape)
    rows, columns = (max(1, round(scale * n)) for n in weight.shape)
    # Colours are weighted by the mask before resizing, so that no background bleeds in.
    filter_ = cv2.INTER_AREA if scale < 1.0 else cv2.INTER_LINEAR
    weight = cv2.resize(weight, (columns, rows), interpolation=filter_)[..., None]
    colour = cv2.resize(colour, (columns, rows), interpolation=filter_)
    x, y = (VIEW_SIZE - columns) // 2, (VIEW_SIZE - rows) // 2
    inside = np.s_[y:y + rows, x:x + columns]
    image = np.full((VIEW_SIZE, VIEW_SIZE, 3), 255, np.uint8)
    alpha = np.zeros((VIEW_SIZE, VIEW_SIZE), np.uint8)
    image[inside] = np.rint(colour + 255.0 * (1.0 - weight))
    alpha[inside] = np.rint(255.0 * weight[..., 0])
    scale_x, scale_y = columns / (right - left), rows / (bottom - top)
    height, width = mask.shape
    return ObjectView(
        frame=frame,
        mask=mask,
        image=image,
        alpha=alpha,
        camera=frame.camera.crop(
            left - 0.5 - x / scale_x,
            top - 0.5 - y / scale_y,
            VIEW_SIZE,
            VIEW_SIZE,
            scale_x,
            scale_y,
        ),
        truncated=(
            min(left, top) <= BORDER_PIXELS
            or right >= width - BORDER_PIXELS
            or bottom >= height - BORDER_PIXELS
        ),
    )


def _checked_box(frame: Frame, mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """Return the ``bounding_box`` of a mask; raises ``LiftError`` as ``crop_object``."""
    if mask.dtype != np.bool_ or mask.ndim != 2:
        raise bad_image(
            f'The mask has type {mask.dtype} and shape {mask.shape}; it must be bool, height x '
            'width.')
    if mask.shape != frame.image.shape[:2]:
        raise size_mismatch(
            f'The mask is {mask.shape[1]} x {mask.shape[0]}, the image {frame.camera.width} x '
            f'{frame.camera.height}; scale the mask to the image, nearest neighbour.')
    left, top, right, bottom = bounding_box(mask)
    pixels = int(np.count_nonzero(mask))
    if pixels < MIN_MASK_PIXELS or min(right - left, bottom - top) < 3:
        raise LiftError(
            ErrorCode.MASK_TOO_SMALL, f'The mask has {pixels} pixels in a box of {right - left} x '
            f'{bottom - top}; at least {MIN_MASK_PIXELS} and 3 x 3 are needed. Move closer or use '
            'more resolution.')
    return left, top, right, bottom
