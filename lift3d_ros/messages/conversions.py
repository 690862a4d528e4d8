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
Conversion of image, depth and mask messages to arrays.

A message is ``sensor_msgs/Image`` or ``sensor_msgs/CompressedImage``, of rclpy or rosbags.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lift3d_ros.cameras import depth_units as depths
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.io import masks
from lift3d_ros.io import pictures
from lift3d_ros.io.masks import MaskPixels
from lift3d_ros.io.picture_formats import MAX_PIXELS
from lift3d_ros.io.rvl import decode_rvl
from lift3d_ros.messages.encodings import PLANAR
from lift3d_ros.messages.encodings import read_encoding
from lift3d_ros.segmentation.instances import Instance

#: Substrings of encodings that are invalid for masks.
_NO_MASKS = (*PLANAR, 'yuv', 'uyvy', 'yuyv', 'bayer')

#: Encodings whose first channel is red; in others with three or four channels it is blue.
_RED_FIRST = ('rgb8', 'rgba8', 'rgb16', 'rgba16')

_PNG = b'\x89PNG'

#: Bytes before the picture of a compressedDepth message: an enum and two floats.
_DEPTH_HEADER = 12


def nanoseconds(stamp: Any) -> int:
    """Return a stamp in nanoseconds."""
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def is_compressed(message: Any) -> bool:
    """Return whether an image message is a ``CompressedImage``."""
    return hasattr(message, 'format')


def _raw(message: Any, what: str) -> NDArray[Any]:
    """
    Return the pixels of an image message, without a copy and without the row padding.

    Raises ``LiftError(BAD_IMAGE)`` if encoding, size, step and data contradict each other.
    """
    try:
        dtype, channels = read_encoding(message.encoding)[:2]
    except ValueError as error:
        raise LiftError(
            ErrorCode.BAD_IMAGE,
            f'The {what} has the unknown encoding "{message.encoding}"; publish one of '
            'sensor_msgs/image_encodings.hpp, such as rgb8, bgr8, mono8, 16UC1 or 32FC1.',
        ) from error
    height, width, step = message.height, message.width, message.step
    if not height or not width:
        raise LiftError(
            ErrorCode.BAD_IMAGE, f'The {what} is {width} x {height}; it has no pixels.'
        )
    if height * width > MAX_PIXELS:
        raise LiftError(
            ErrorCode.BAD_IMAGE,
            f'The {what} is {width} x {height}; scale it below {MAX_PIXELS // 1_000_000} '
            'megapixels first.',
        )
    rows = height * 3 // 2 if message.encoding in PLANAR else height
    pixel = dtype.itemsize * channels
    if step < width * pixel or step % dtype.itemsize:
        raise LiftError(
            ErrorCode.BAD_IMAGE,
            f'The {what} has step = {step}, but a row of {width} pixels {message.encoding} takes '
            f'{width * pixel} bytes; correct its publisher.',
        )
    # Some publishers omit the padding of the last row.
    needed = (rows - 1) * step + width * pixel
    if len(message.data) < needed:
        raise LiftError(
            ErrorCode.BAD_IMAGE,
            f'The {what} is truncated: {width} x {height} {message.encoding} with step {step} '
            f'needs {needed} bytes, but {len(message.data)} were received.',
        )
    kind = dtype.newbyteorder('>' if message.is_bigendian else '<')
    shape: tuple[int, ...] = rows, width
    strides: tuple[int, ...] = step, pixel
    if channels > 1:
        shape, strides = (*shape, channels), (*strides, dtype.itemsize)
    pixels: NDArray[Any] = np.ndarray(shape, kind, memoryview(message.data), strides=strides)
    return pixels if kind.isnative else pixels.astype(kind.newbyteorder('='))


def _name(message: Any, what: str) -> str:
    return f'The compressed {what} (format "{message.format}", {len(message.data)} bytes)'


def decode_image(
    message: Any, size: tuple[int, int] | None = None
) -> NDArray[np.uint8]:
    """
    Return a colour picture as uint8 RGB, shape (height, width, 3).

    An rgb8 image is not copied; 16-bit values are scaled by their used bits. A compressed picture
    is rotated by its EXIF orientation if the ``size`` (width, height) of the camera requires it.
    Raises ``LiftError(BAD_IMAGE)``.
    """
    if is_compressed(message):
        name = _name(message, 'image')
        picture = pictures.decode_picture(message.data, name)
        orientation = pictures.orientation_for(picture, size or picture.size, name)
        return pictures.turned(pictures.rgb(picture), orientation)
    pixels = _raw(message, 'image')
    encoding = read_encoding(message.encoding)
    if pixels.dtype == np.uint16:
        pixels = pictures.eight_bits(pixels)
    try:
        if not encoding.is_color or pixels.dtype != np.uint8:
            raise ValueError('it does not specify the colours of its channels')
        return pixels if encoding.to_rgb is None else cv2.cvtColor(pixels, encoding.to_rgb)
    except (ValueError, cv2.error) as error:
        raise LiftError(
            ErrorCode.BAD_IMAGE,
            f'The encoding "{message.encoding}" cannot be read as a colour image ({error}); '
            'publish rgb8 or bgr8.',
        ) from error


def decode_depth(message: Any, unit: float = 0.001) -> NDArray[np.float32]:
    """
    Return a depth image in metres (REP 118), float32 of shape (height, width).

    A 32FC1 image is in metres and is not copied; a 16UC1 image counts ``unit`` metres; a
    compressed one is a picture of 16 bits, or PNG or RVL of ``compressedDepth``. 0 and NaN are no
    reading; nor is the largest value of a type, or that of a sensor. Raises
    ``LiftError(BAD_IMAGE)``.
    """
    if is_compressed(message):
        if 'compressedDepth' in message.format:
            return _compressed_depth(message, unit)
        raw = pictures.decode_picture(message.data, _name(message, 'depth')).pixels
    else:
        raw = _raw(message, 'depth')
    return depths.metres(raw, unit, 'The depth')


def _compressed_depth(message: Any, unit: float) -> NDArray[np.float32]:
    # compressed_depth_image_transport: 12 bytes (an enum and two quantisation floats), then PNG
    # or RVL. 32FC1 is stored as inverse depth: depth = a / (value - b), value 0 = no reading.
    data, name = memoryview(message.data).cast('B'), _name(message, 'depth')
    # Some publishers omit the header.
    start = 0 if bytes(data[:4]) == _PNG else _DEPTH_HEADER
    header, body = bytes(data[:start]), data[start:]
    if bytes(body[:4]) != _PNG and 'rvl' in message.format.lower():
        raw: NDArray[Any] = decode_rvl(body, name)
    else:
        raw = pictures.decode_picture(body, name).pixels
    if raw.ndim != 2 or raw.dtype != np.uint16:
        raise LiftError(
            ErrorCode.BAD_IMAGE,
            f"{name} does not hold a 16-bit image; set the publisher's compressedDepth format to "
            'png or rvl.',
        )
    if not message.format.startswith('32FC1'):
        return depths.metres(raw, unit, 'The depth')
    a, b = np.frombuffer(header, '<f4', offset=4) if header else (np.nan, np.nan)
    if not (np.isfinite(a) and np.isfinite(b) and a > 0.0):
        raise LiftError(
            ErrorCode.BAD_IMAGE,
            f'{name} has the quantisation parameters {a} and {b}, which are invalid; publish it '
            'with compressed_depth_image_transport.',
        )
    with np.errstate(divide='ignore', invalid='ignore', over='ignore'):
        values = np.float32(a) / (raw.astype(np.float32) - np.float32(b))
    return depths.metres(np.where((raw > 0) & (values > 0.0), values, 0.0), unit, 'The depth')


def mask_pixels(message: Any) -> MaskPixels:
    """Return the raw pixels of a mask; raises ``LiftError(BAD_IMAGE)``."""
    if is_compressed(message):
        name = _name(message, 'mask')
        return MaskPixels.of_picture(pictures.decode_picture(message.data, name))
    pixels = _raw(message, 'mask')
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    if (
        any(part in message.encoding for part in _NO_MASKS)
        or channels > 4
        or (channels > 1 and pixels.dtype not in (np.uint8, np.uint16))
    ):
        raise LiftError(
            ErrorCode.BAD_IMAGE,
            f'The mask has the encoding "{message.encoding}"; publish mono8 or 16UC1.',
        )
    if channels > 2 and message.encoding not in _RED_FIRST:
        pixels = pixels[..., [2, 1, 0, 3][:channels]]
    return MaskPixels(pixels)


def decode_mask(message: Any) -> NDArray[Any]:
    """
    Return a label image of integers, shape (height, width), 0 = background.

    See ``io.masks.read_labels``. Raises ``LiftError(BAD_IMAGE)``.
    """
    return masks.read_labels(mask_pixels(message))


def fit_mask(mask: NDArray[Any], width: int, height: int) -> NDArray[Any]:
    """
    Return a mask or label image at the size of the image, nearest neighbour.

    Raises ``LiftError(SIZE_MISMATCH)`` if the aspect ratios differ.
    """
    rows, columns = mask.shape
    if (rows, columns) == (height, width):
        return mask
    # Rounding may change the aspect ratio by one pixel of the smaller picture.
    if abs(columns / width - rows / height) > 1.0 / min(width, height, columns, rows) + 1e-9:
        raise LiftError(
            ErrorCode.SIZE_MISMATCH,
            f'The mask is {columns} x {rows}, the image {width} x {height}: another aspect ratio, '
            'so one of them is cropped. Publish the mask of the whole image.',
        )
    return masks.fit_nearest(mask, width, height)


def fit_depth(
    depth: NDArray[np.float32], width: int, height: int, size: str
) -> NDArray[np.float32]:
    """Return the depth at the size of the image, nearest neighbour; ``size`` is for the error."""
    try:
        return fit_mask(depth, width, height)
    except LiftError as error:
        raise LiftError(
            ErrorCode.SIZE_MISMATCH,
            f'The depth is {size}, the image {width} x {height}: it is not registered to the '
            'image. Use the aligned depth topic of the camera, or depth_image_proc/register.',
        ) from error


def check_depth_unit(depth: NDArray[np.float32], instance: Instance) -> None:
    """
    Refuse depth in the wrong unit.

    Raises ``LiftError(BAD_IMAGE)`` if the median depth of an object is implausible; depth without
    readings is up to the method.
    """
    left, top, right, bottom = instance.box
    box = np.s_[top:bottom, left:right]
    depths.check_depth_of_object(depth[box], instance.mask[box])
