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
Decode pictures, of files and of compressed messages, to arrays.

The header is read first. A picture of more than ``MAX_PIXELS`` is refused before any pixel is
decoded; a damaged one is ``BAD_IMAGE``, whatever its decoder raises. Pixels are returned as
stored: an EXIF orientation is reported but not applied (see ``turned``).
"""

from __future__ import annotations

from dataclasses import dataclass
import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lift3d_ros.errors import bad_image
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.io.picture_formats import check_jpeg
from lift3d_ros.io.picture_formats import check_png
from lift3d_ros.io.picture_formats import check_size
from lift3d_ros.io.picture_formats import check_tiff
from lift3d_ros.io.picture_formats import damaged
from lift3d_ros.io.picture_formats import exif_orientation
from lift3d_ros.io.picture_formats import format_of
from lift3d_ros.io.picture_formats import MAX_PIXELS
from lift3d_ros.io.picture_formats import raw_mode_of
from lift3d_ros.io.picture_formats import tiff_orientation
from lift3d_ros.io.picture_formats import too_large
from lift3d_ros.io.picture_formats import webp_size
from lift3d_ros.runtime.files import read_regular

#: Largest size of a file, bytes: MAX_PIXELS of 8 bytes, and a header.
MAX_BYTES = 8 * MAX_PIXELS + 1_000_000

#: Orientations with another inverse; the others are their own inverse.
_INVERSE_TURNS = {6: 8, 8: 6}

#: Factors by which Pillow expands grey values of few bits to eight.
_GREY_STEPS = {'L;2': 85, 'L;4': 17}


@dataclass(frozen=True, eq=False)
class Picture:
    """
    A decoded picture.

    - ``pixels``: as stored, uint8, uint16, int32 or float32 of shape (height, width), or uint8 of
      (height, width, channels): grey and alpha, RGB, or RGBA. Of a palette picture the colours.
    - ``lossy``: the format does not keep values exactly (JPEG, most WebP).
    - ``orientation``: of EXIF, 1 to 8; 1 is as stored.
    - ``indices``: uint8 (height, width) of a palette picture; ``palette``: uint8 (n, 3).
    - ``grey_step``: by which the values of a grey picture of 2 or 4 bits were multiplied.
    - ``narrowed``: colours of 16 bits lost their lower 8.
    """

    pixels: NDArray[Any]
    lossy: bool = False
    orientation: int = 1
    indices: NDArray[np.uint8] | None = None
    palette: NDArray[np.uint8] | None = None
    grey_step: int = 1
    narrowed: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, as stored."""
        return self.pixels.shape[1], self.pixels.shape[0]


def read_picture(path: Path) -> Picture:
    """
    Read a picture file.

    Raises ``LiftError(BAD_IMAGE)`` for a file that is missing, no regular file, too large or no
    complete picture.
    """
    return decode_picture(read_bytes(path), str(path))


def read_bytes(path: Path) -> bytes:
    """Return the content of the file of a picture; raises ``LiftError(BAD_IMAGE)``."""
    try:
        return read_regular(path, MAX_BYTES, ErrorCode.BAD_IMAGE)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise bad_image(f'{path} cannot be read: {reason}.') from error


def decode_picture(data: bytes | memoryview, what: str) -> Picture:
    """
    Decode a picture, called ``what`` in errors.

    Raises ``LiftError(BAD_IMAGE)``.
    """
    data = bytes(data)
    kind = format_of(data, what)
    if kind == 'PNG':
        check_png(data, what)
    if kind == 'WEBP':
        # Pillow's decoder allocates the pixels when the file is opened.
        check_size(*webp_size(data, what), what)
    # Decoders of malicious bytes raise any error: struct.error, SyntaxError, KeyError, ...
    try:
        image = Image.open(io.BytesIO(data), formats=[kind])
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise too_large(f'{what}: {error}') from error
    except Exception as error:
        raise damaged(what, data, error) from error
    check_size(*image.size, what)
    if kind == 'TIFF':
        check_tiff(image, what)
    elif kind == 'JPEG':
        check_jpeg(image, data, what)
    try:
        if kind in ('PNG', 'WEBP', 'TIFF') and getattr(image, 'is_animated', False):
            raise bad_image(
                f'{what} holds several images (an animation or pages); save a single image.')
        applied = tiff_orientation(image) if kind == 'TIFF' else 1
        raw_mode = raw_mode_of(image)
        image.load()
        return _picture(image, kind, raw_mode, applied, data)
    except (LiftError, MemoryError):
        raise
    except Exception as error:
        raise damaged(what, data, error) from error


def read_array(path: Path) -> NDArray[Any]:
    """
    Read a NumPy file (.npy) of numbers, shape (height, width).

    The size in its header is checked before anything is copied; objects are never unpickled.
    Raises ``LiftError(BAD_IMAGE)``.
    """
    data = read_bytes(path)
    stream = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(stream)
        reader = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, by_columns, kind = reader(stream)
    except Exception as error:
        raise bad_image(
            f'{path} is not a NumPy file ({type(error).__name__}: {error}).') from error
    if len(shape) == 3 and 1 in (shape[0], shape[2]):
        shape = shape[1:] if shape[0] == 1 else shape[:2]
    if len(shape) != 2 or kind.kind not in 'biuf':
        raise bad_image(
            f'{path} has shape {shape} and type {kind}; it must hold numbers, height x width.')
    check_size(shape[1], shape[0], str(path))
    if len(data) - stream.tell() < shape[0] * shape[1] * kind.itemsize:
        raise bad_image(f'{path} is not a complete file; write it again.')
    values = np.frombuffer(data, kind, shape[0] * shape[1], stream.tell())
    values = values.reshape(shape, order='F' if by_columns else 'C')
    return np.ascontiguousarray(values.astype(kind.newbyteorder('=')))


def turned(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """
    Return pixels (height, width, ...) rotated by an EXIF orientation.

    Orientations 5 to 8 exchange height and width (EXIF 2.3, tag 0x0112).
    """
    turns = {
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: a.swapaxes(0, 1)[:, ::-1],
        7: lambda a: a.swapaxes(0, 1)[::-1, ::-1],
        8: lambda a: a.swapaxes(0, 1)[::-1],
    }
    return np.ascontiguousarray(turns[orientation](pixels)) if orientation in turns else pixels


def orientation_for(picture: Picture, size: tuple[int, int], what: str) -> int:
    """
    Return the orientation to apply to a picture whose camera has a width and height.

    If the orientation exchanges them, the camera's size determines whether it describes the
    rotated or the stored picture; the stored picture is not rotated then. Raises
    ``LiftError(BAD_IMAGE)`` for another orientation, for which this is ambiguous.
    """
    if picture.orientation == 1:
        return 1
    width, height = picture.size
    if picture.orientation >= 5 and width != height and size[0] != size[1]:
        return picture.orientation if (size[0] < size[1]) == (height < width) else 1
    raise bad_image(
        f'{what} has EXIF orientation {picture.orientation}, and it is unclear whether camera and '
        'mask refer to the rotated image; rotate the pixels themselves and remove the EXIF '
        'orientation.')


def rgb(picture: Picture) -> NDArray[np.uint8]:
    """
    Return a picture as uint8 RGB, shape (height, width, 3), as stored.

    Grey pictures of more than 8 bits are scaled (``eight_bits``); transparency is dropped.
    """
    pixels = picture.pixels
    if pixels.ndim == 2:
        pixels = eight_bits(pixels)[..., None]
    if pixels.shape[2] < 3:
        pixels = np.repeat(pixels[..., :1], 3, axis=2)
    return np.ascontiguousarray(pixels[..., :3])


def eight_bits(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """
    Return values of a picture, shape (height, width, ...), as uint8.

    Cameras of 10, 12 and 14 bits store their values in 16 bits without scaling. The range is
    therefore that of the smallest of 8, 10, 12, 14 and 16 bits that holds 99.9 % of the values.
    Floats range from 0 to 1 if they fit, else from 0 to 255.
    """
    if pixels.dtype == np.uint8:
        return pixels
    values = pixels.astype(np.float32)
    values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    # A subset suffices to choose among powers of two.
    few = values.reshape(-1)[::max(1, values.size // 200_000)]
    top = float(np.percentile(few, 99.9)) if few.size else 0.0
    if pixels.dtype.kind == 'f':
        full = 1.0 if top <= 1.0 else 255.0
    else:
        full = next((2.0**bits - 1 for bits in (8, 10, 12, 14, 16) if top < 2**bits), 2.0**31)
    return np.clip(np.rint(values * np.float32(255.0 / full)), 0.0, 255.0).astype(np.uint8)


def _picture(
    image: Image.Image, kind: str, raw_mode: str, applied: int, data: bytes
) -> Picture:
    """Return the picture of a loaded image, to which an orientation was ``applied``."""
    orientation = applied if applied != 1 else exif_orientation(image)
    lossy = kind == 'JPEG' or (kind == 'WEBP' and b'VP8 ' in data[:4096])
    palette = indices = None
    if image.mode in ('P', 'PA'):
        indices = np.asarray(image.getchannel(0) if image.mode == 'PA' else image)
        colours = (image.getpalette('RGB') or [])[:768]
        palette = np.zeros((256, 3), np.uint8)
        palette.reshape(-1)[:len(colours)] = colours
        see_through = image.mode == 'PA' or 'transparency' in image.info
        image = image.convert('RGBA' if see_through else 'RGB')
    elif 'transparency' in image.info and image.mode in ('L', 'RGB'):
        image = image.convert('LA' if image.mode == 'L' else 'RGBA')
    elif image.mode not in ('1', 'L', 'LA', 'RGB', 'RGBA', 'I', 'F') and (
        not image.mode.startswith('I;16')
    ):
        image = image.convert('RGB')
    pixels: NDArray[Any] = np.asarray(image)
    if pixels.dtype == np.bool_:
        pixels = pixels.astype(np.uint8)
    pixels = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder('='))
    if kind == 'PPM' and pixels.dtype == np.int32:
        # PGM has at most 16 bits; its largest value is that of 16 bits.
        pixels = pixels.astype(np.uint16)
    if applied != 1:
        pixels = turned(pixels, _INVERSE_TURNS.get(applied, applied))
    narrowed = pixels.ndim == 3 and ';16' in raw_mode
    return Picture(
        pixels, lossy, orientation, indices, palette, _GREY_STEPS.get(raw_mode, 1), narrowed
    )
