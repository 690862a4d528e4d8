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
Encoded pictures into arrays: the one reader of files and of compressed messages.

The header is read first. A picture of more than ``MAX_PIXELS`` is refused before any of its pixels
is decoded, whatever its format, and a damaged one is ``BAD_IMAGE`` whatever its decoder raises.
Pixels come as they are stored: an EXIF orientation is reported and not applied (``turned``).
"""

from __future__ import annotations

from dataclasses import dataclass
import io
from pathlib import Path
import struct
from typing import Any
import zlib

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL import UnidentifiedImageError

from lift3d_ros.errors import bad_image
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.runtime.files import read_regular

#: More pixels than this are refused: the working copies of such a frame would take gigabytes.
MAX_PIXELS = 40_000_000

#: Bytes of a file, at most: MAX_PIXELS of 8 bytes, and a header.
MAX_BYTES = 8 * MAX_PIXELS + 1_000_000

#: Scans of a progressive JPEG, at most, and pixels of all of them. Encoders write about ten; each
#: costs a pass over all pixels, so that a small file with many empty ones would take minutes.
MAX_JPEG_SCANS = 100
_MAX_SCANNED_PIXELS = 1_000_000_000

#: What a picture may be, as errors name it.
READABLE = 'PNG, JPEG, WebP, BMP, TIFF, PGM, PPM or PFM'

_EXIF_ORIENTATION = 0x0112

#: Orientations that another one undoes; the others undo themselves.
_INVERSE_TURNS = {6: 8, 8: 6}

_TIFF_TILE_WIDTH, _TIFF_TILE_LENGTH = 322, 323

#: First bytes of the formats that are read, and Pillow's names for them.
_SIGNATURES = (
    (b'\x89PNG\r\n\x1a\n', 'PNG'),
    (b'\xff\xd8\xff', 'JPEG'),
    (b'BM', 'BMP'),
    (b'II*\x00', 'TIFF'),
    (b'MM\x00*', 'TIFF'),
    (b'P4', 'PPM'),
    (b'P5', 'PPM'),
    (b'P6', 'PPM'),
    (b'Pf', 'PPM'),
)

#: First bytes of formats that are not read, and their names.
_UNREADABLE = (
    (b'v/1\x01', 'OpenEXR'),
    (b'GIF8', 'GIF'),
    (b'\x93NUMPY', 'NumPy'),
    (b'PK\x03\x04', 'NumPy (.npz) or zip'),
    (b'\x00\x00\x00\x0cjP', 'JPEG 2000'),
    (b'#?RADIANCE', 'Radiance HDR'),
)

#: What a grey value of a PNG is multiplied by when few bits become eight.
_FEW_BITS = {'L;2': 85, 'L;4': 17}


@dataclass(frozen=True, eq=False)
class Picture:
    """
    A decoded picture.

    - ``pixels``: as stored, uint8, uint16, int32 or float32 of shape (height, width), or uint8 of
      (height, width, channels): grey and alpha, RGB, or RGBA. Of a palette picture the colours.
    - ``lossy``: the format does not keep values exactly (JPEG, most WebP).
    - ``orientation``: EXIF's, 1 to 8; 1 is as stored.
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
    kind = _kind_of(data, what)
    if kind == 'PNG':
        _check_png(data, what)
    if kind == 'WEBP':
        # Pillow's decoder takes the memory for the pixels when it is opened.
        check_size(*_webp_size(data, what), what)
    # A decoder of hostile bytes may raise anything: struct.error, SyntaxError, KeyError, ...
    try:
        image = Image.open(io.BytesIO(data), formats=[kind])
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large(f'{what}: {error}') from error
    except Exception as error:
        raise _damaged(what, data, error) from error
    check_size(*image.size, what)
    if kind == 'TIFF':
        _check_tiff(image, what)
    elif kind == 'JPEG':
        _check_jpeg(image, data, what)
    try:
        if kind in ('PNG', 'WEBP', 'TIFF') and getattr(image, 'is_animated', False):
            raise bad_image(
                f'{what} holds several images (an animation or pages); save a single image.')
        applied = _tiff_orientation(image) if kind == 'TIFF' else 1
        raw_mode = _raw_mode(image)
        image.load()
        return _picture(image, kind, raw_mode, applied, data)
    except (LiftError, MemoryError):
        raise
    except Exception as error:
        raise _damaged(what, data, error) from error


def check_size(width: int, height: int, what: str) -> None:
    """Raise ``LiftError(BAD_IMAGE)`` for a picture without pixels or with too many."""
    if width < 1 or height < 1:
        raise bad_image(f'{what} is {width} x {height}; it has no pixels.')
    if width * height > MAX_PIXELS:
        raise _too_large(f'{what} is {width} x {height}')


def read_array(path: Path) -> NDArray[Any]:
    """
    Read a NumPy file (.npy) of numbers, shape (height, width).

    Its size is taken from its header before anything is copied; objects are never unpickled.
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
    Return pixels (height, width, ...) as an EXIF orientation says that they are to be shown.

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

    Where the orientation exchanges them the camera's size decides, by being upright or wide: it
    is of the turned picture, or of the stored one, which then stays as it is. Raises
    ``LiftError(BAD_IMAGE)`` for another orientation than as stored, where nothing says of which
    picture camera and mask are.
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

    Grey pictures of more than 8 bits are stretched (``eight_bits``); transparency is left out.
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

    Cameras of 10, 12 and 14 bits put their values into 16 as they are. The range is therefore
    that of the fewest of 8, 10, 12, 14 and 16 bits that 99.9 % of the values fit into. Floats
    are taken from 0 to 1 where they fit, else from 0 to 255.
    """
    if pixels.dtype == np.uint8:
        return pixels
    values = pixels.astype(np.float32)
    values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    # A sample suffices for a range of powers of two.
    few = values.reshape(-1)[::max(1, values.size // 200_000)]
    top = float(np.percentile(few, 99.9)) if few.size else 0.0
    if pixels.dtype.kind == 'f':
        full = 1.0 if top <= 1.0 else 255.0
    else:
        full = next((2.0**bits - 1 for bits in (8, 10, 12, 14, 16) if top < 2**bits), 2.0**31)
    return np.clip(np.rint(values * np.float32(255.0 / full)), 0.0, 255.0).astype(np.uint8)


def _kind_of(data: bytes, what: str) -> str:
    """Return Pillow's name of a format by its first bytes."""
    if not data:
        raise bad_image(f'{what} is empty; save or send the image again.')
    for first, kind in _SIGNATURES:
        if data.startswith(first):
            return kind
    if data[:4] == b'RIFF' and data[8:12] == b'WEBP':
        return 'WEBP'
    known = [name for first, name in _UNREADABLE if data.startswith(first)]
    if data[4:8] == b'ftyp':
        known = ['HEIF or AVIF']
    if known:
        raise bad_image(
            f'{what} is a {known[0]} file, which is not supported; save it as {READABLE}.')
    raise bad_image(f'{what} is not an image; it must be {READABLE}.')


def _webp_size(data: bytes, what: str) -> tuple[int, int]:
    """
    Return width and height of a WebP file from its first chunk (RFC 9649, sections 2.4 to 2.7).

    Raises ``LiftError(BAD_IMAGE)``.
    """
    chunk, body = data[12:16], data[20:30]
    if len(body) == 10:
        if chunk == b'VP8 ':
            width, height = struct.unpack('<HH', body[6:10])
            return width & 0x3FFF, height & 0x3FFF
        if chunk == b'VP8L':
            bits = int.from_bytes(body[1:5], 'little')
            return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
        if chunk == b'VP8X':
            sides = (int.from_bytes(body[at:at + 3], 'little') for at in (4, 7))
            width, height = (1 + side for side in sides)
            return width, height
    raise _damaged(what, data)


def _check_png(data: bytes, what: str) -> None:
    """Refuse a PNG that is cut or has wrong checksums, which Pillow does not look at."""
    view, at = memoryview(data), 8
    while at + 12 <= len(data):
        length = int.from_bytes(view[at:at + 4], 'big')
        name, end = bytes(view[at + 4:at + 8]), at + 8 + length
        # Chunks whose names begin in lower case may be left out.
        if name[:1].isupper():
            stored = int.from_bytes(view[end:end + 4], 'big')
            if end + 4 > len(data) or zlib.crc32(view[at + 4:end]) != stored:
                break
        if name == b'IEND':
            return
        at = end + 4
    raise _damaged(what, data)


def _check_tiff(image: Image.Image, what: str) -> None:
    """Refuse strips and tiles for which the decoder would take more memory than for the image."""
    tags: Any = image.tag_v2  # type: ignore[attr-defined]
    width, height = image.size
    try:
        tile = int(tags.get(_TIFF_TILE_WIDTH, 0)), int(tags.get(_TIFF_TILE_LENGTH, 0))
    except (TypeError, ValueError) as error:
        raise _damaged(what, b'', error) from error
    # Tiles at the border may reach over it, by less than one tile.
    if tile[0] * tile[1] > max(4 * width * height, 1 << 20):
        raise bad_image(
            f'{what} has {width} x {height} pixels in tiles of {tile[0]} x {tile[1]}; save it '
            'again.')


def _check_jpeg(image: Image.Image, data: bytes, what: str) -> None:
    """Refuse a progressive JPEG that would be decoded for minutes."""
    scans = data.count(b'\xff\xda')
    pixels = scans * image.size[0] * image.size[1]
    if scans > MAX_JPEG_SCANS or (scans > 1 and pixels > _MAX_SCANNED_PIXELS):
        raise bad_image(f'{what} is a JPEG with {scans} scans; save it as PNG.')


def _raw_mode(image: Image.Image) -> str:
    """Return how the pixels lie in the file, as Pillow calls it; empty where it does not say."""
    for tile in getattr(image, 'tile', []):
        details = tile[3]
        if isinstance(details, tuple):
            details = details[0] if details else ''
        if isinstance(details, str):
            return details
    return ''


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception:
        # EXIF data of a form that nobody can read say nothing.
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _tiff_orientation(image: Image.Image) -> int:
    """Return the orientation of a TIFF, which Pillow applies as it loads the pixels."""
    tags: Any = image.tag_v2  # type: ignore[attr-defined]
    found = tags.get(_EXIF_ORIENTATION, 1)
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def _picture(
    image: Image.Image, kind: str, raw_mode: str, applied: int, data: bytes
) -> Picture:
    """Return a loaded image in our own form; ``applied`` is the orientation that it has."""
    orientation = applied if applied != 1 else _orientation(image)
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
        # PGM has at most 16 bits, and its largest value means what that of 16 bits does.
        pixels = pixels.astype(np.uint16)
    if applied != 1:
        pixels = turned(pixels, _INVERSE_TURNS.get(applied, applied))
    narrowed = pixels.ndim == 3 and ';16' in raw_mode
    return Picture(
        pixels, lossy, orientation, indices, palette, _FEW_BITS.get(raw_mode, 1), narrowed
    )


def _too_large(begin: str) -> LiftError:
    return bad_image(f'{begin}; downscale it to less than {MAX_PIXELS // 1_000_000} megapixels.')


def _damaged(what: str, data: bytes, error: Exception | None = None) -> LiftError:
    known = error is not None and not isinstance(error, UnidentifiedImageError) and str(error)
    reason = f' ({error})' if known else ''
    return bad_image(f'{what} is not a complete image file{reason}; save or send it again.')
