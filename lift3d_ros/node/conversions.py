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

"""Pictures, depth and masks of messages into the arrays of the library."""

from __future__ import annotations

from typing import Any

from builtin_interfaces.msg import Time
import cv2
import numpy as np
from numpy.typing import NDArray
from rosbags.image import ImageError
from rosbags.image.image import convert_color
from rosbags.image.image import to_cvtype
from sensor_msgs.msg import CompressedImage
from sensor_msgs.msg import Image

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.node.selection import Instance

#: More pixels than this are refused: the working copies of such a frame would take gigabytes.
MAX_PIXELS = 40_000_000

#: Encodings of a generic picture that say which colours its channels are.
_ALIASES = {'8UC1': 'mono8', '16UC1': 'mono16'}

#: Encodings with colour at half resolution below the grey picture.
_PLANAR = ('nv12', 'nv21')

#: Between these limits, metres, lies the depth of anything that a camera can grasp at.
_PLAUSIBLE_DEPTH = (0.02, 50.0)


def nanoseconds(stamp: Time) -> int:
    """Return a stamp in nanoseconds."""
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def _raw(message: Image, what: str) -> NDArray[Any]:
    """
    Return the pixels of an image message in place, whatever its row padding.

    Raises ``LiftError(BAD_IMAGE)`` where encoding, size, step and data do not fit each other.
    """
    try:
        bits, _, dtype, channels = to_cvtype(message.encoding)
    except ImageError as error:
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
    rows = height * 3 // 2 if message.encoding in _PLANAR else height
    pixel = bits // 8 * channels
    if step < width * pixel or step % (bits // 8):
        raise LiftError(
            ErrorCode.BAD_IMAGE,
            f'The {what} says step = {step}, but a row of {width} pixels {message.encoding} takes '
            f'{width * pixel} bytes; mend its publisher.',
        )
    # The padding of the last row is left out by some publishers.
    needed = (rows - 1) * step + width * pixel
    if len(message.data) < needed:
        raise LiftError(
            ErrorCode.BAD_IMAGE,
            f'The {what} is truncated: {width} x {height} {message.encoding} with step {step} '
            f'needs {needed} bytes, and {len(message.data)} came.',
        )
    order = '>' if message.is_bigendian else '<'
    kind = np.dtype(dtype).newbyteorder(order)
    shape, strides = (rows, width), (step, pixel)
    if channels > 1:
        shape, strides = (*shape, channels), (*strides, bits // 8)
    pixels = np.ndarray(shape, kind, memoryview(message.data), strides=strides)
    return pixels if kind.isnative else pixels.astype(kind.newbyteorder('='))


def _decompressed(message: CompressedImage, flags: int, what: str) -> NDArray[Any]:
    data = np.frombuffer(message.data, np.uint8)
    pixels = cv2.imdecode(data, flags) if len(data) else None
    if pixels is None:
        raise LiftError(
            ErrorCode.BAD_IMAGE,
            f'The compressed {what} (format "{message.format}", {len(data)} bytes) is not a '
            'complete JPEG or PNG.',
        )
    return pixels


def decode_image(message: Image | CompressedImage) -> NDArray[np.uint8]:
    """
    Return a colour picture as uint8 RGB, shape (height, width, 3).

    An rgb8 image is not copied. Raises ``LiftError(BAD_IMAGE)``.
    """
    if isinstance(message, CompressedImage):
        return cv2.cvtColor(_decompressed(message, cv2.IMREAD_COLOR, 'image'), cv2.COLOR_BGR2RGB)
    pixels = _raw(message, 'image')
    encoding = _ALIASES.get(message.encoding, message.encoding)
    try:
        if to_cvtype(encoding)[1] < 0:
            raise ImageError('it does not say which colours its channels are')
        return convert_color(pixels, encoding, 'rgb8')
    except (ImageError, cv2.error) as error:
        raise LiftError(
            ErrorCode.BAD_IMAGE,
            f'The encoding "{message.encoding}" cannot be read as a colour image ({error}); '
            'publish rgb8 or bgr8.',
        ) from error


def decode_depth(message: Image | CompressedImage, unit: float = 0.001) -> NDArray[np.float32]:
    """
    Return a depth image in metres (REP 118), float32 of shape (height, width).

    A 32FC1 image is in metres and is not copied; a 16UC1 image counts ``unit`` metres; a
    compressed one is a 16 bit PNG, plain or of ``compressedDepth``. 0 and NaN are no reading.
    Raises ``LiftError(BAD_IMAGE)``.
    """
    if isinstance(message, CompressedImage):
        if 'compressedDepth' in message.format:
            return _compressed_depth(message, unit)
        raw = _decompressed(message, cv2.IMREAD_UNCHANGED, 'depth')
        encoding = f'{raw.dtype}'
    else:
        raw, encoding = _raw(message, 'depth'), message.encoding
    if raw.ndim == 2 and raw.dtype == np.float32:
        return raw
    if raw.ndim == 2 and raw.dtype == np.uint16:
        return raw * np.float32(unit)
    raise LiftError(
        ErrorCode.BAD_IMAGE,
        f'The depth has the encoding "{encoding}"; publish 32FC1 in metres or 16UC1 in '
        'millimetres.',
    )


def _compressed_depth(message: CompressedImage, unit: float) -> NDArray[np.float32]:
    # compressed_depth_image_transport: 12 bytes (an enum and two quantisation floats), then PNG.
    # 32FC1 is stored as inverse depth: depth = a / (value - b), value 0 = no reading.
    header = bytes(message.data[:12])
    body = CompressedImage(format=message.format, data=message.data[12:])
    raw = _decompressed(body, cv2.IMREAD_UNCHANGED, 'depth')
    if raw.ndim != 2 or raw.dtype != np.uint16:
        raise LiftError(
            ErrorCode.BAD_IMAGE,
            f'The compressed depth (format "{message.format}") is not a 16 bit PNG; set the '
            "publisher's compressedDepth format to png.",
        )
    if not message.format.startswith('32FC1'):
        return raw * np.float32(unit)
    a, b = np.frombuffer(header, '<f4', offset=4)
    with np.errstate(divide='ignore'):
        return np.where(raw > 0, a / (raw.astype(np.float32) - b), np.float32(0.0))


def decode_mask(message: Image | CompressedImage) -> NDArray[Any]:
    """
    Return a mask or label image, uint8 or uint16 of shape (height, width), 0 = background.

    A colour image is taken as a binary mask: any colour but black is object. Raises
    ``LiftError(BAD_IMAGE)``.
    """
    if isinstance(message, CompressedImage):
        if 'jp' in message.format.lower():
            # JPEG blurs edges and labels: only the brighter half is surely object.
            grey = _decompressed(message, cv2.IMREAD_GRAYSCALE, 'mask')
            return (grey > 127).astype(np.uint8)
        pixels = _decompressed(message, cv2.IMREAD_UNCHANGED, 'mask')
    else:
        if message.encoding in _PLANAR or 'yuv' in message.encoding:
            raise LiftError(
                ErrorCode.BAD_IMAGE,
                f'The mask has the encoding "{message.encoding}"; publish mono8 or 16UC1.',
            )
        pixels = _raw(message, 'mask')
    if pixels.ndim == 3:
        return (pixels[..., :3] > 0).any(axis=2).astype(np.uint8)
    if pixels.dtype in (np.uint8, np.uint16):
        return pixels
    if pixels.dtype in (np.int8, np.int16, np.int32):
        # Segmenters write -1 for pixels without a label.
        return np.maximum(pixels, 0).astype(np.uint16)
    raise LiftError(
        ErrorCode.BAD_IMAGE,
        f'The mask has the type {pixels.dtype}; publish mono8 or 16UC1, 0 = background.',
    )


def fit_mask(mask: NDArray[Any], width: int, height: int) -> NDArray[Any]:
    """
    Return a mask or label image at the size of the image, nearest neighbour.

    Raises ``LiftError(SIZE_MISMATCH)`` where the shapes differ, so that it cannot be the mask of
    this image.
    """
    rows, columns = mask.shape
    if (rows, columns) == (height, width):
        return mask
    # Rounding to whole pixels may change the shape by one pixel of the smaller picture.
    if abs(columns / width - rows / height) > 1.0 / min(width, height, columns, rows) + 1e-9:
        raise LiftError(
            ErrorCode.SIZE_MISMATCH,
            f'The mask is {columns} x {rows}, the image {width} x {height}: another aspect ratio, '
            'so one of them is cropped. Publish the mask of the whole image.',
        )
    return cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)


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

    Raises ``LiftError(BAD_IMAGE)`` where the median of an object is no distance of a thing
    before a camera; depth without any reading is left to the method.
    """
    left, top, right, bottom = instance.box
    box = np.s_[top:bottom, left:right]
    values = depth[box][instance.mask[box]]
    values = values[np.isfinite(values) & (values > 0.0)]
    if not len(values):
        return
    median = float(np.median(values))
    low, high = _PLAUSIBLE_DEPTH
    if not low <= median <= high:
        raise LiftError(
            ErrorCode.BAD_IMAGE,
            f'The depth of the object is {median:.4g} m, which no camera measures: the unit is '
            'wrong. 32FC1 counts metres and 16UC1 millimetres; see the parameter depth_unit.',
        )
