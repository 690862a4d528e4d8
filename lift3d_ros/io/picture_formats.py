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
Formats of encoded pictures: recognition, and checks before anything is decoded.

Pillow does not limit the memory and time of damaged or malicious files of these formats in the
way that is needed here: its pixel limit is global to the process, and its decoders of WebP, tiled
TIFF and progressive JPEG allocate or compute more than the size of the image suggests.
"""

from __future__ import annotations

import struct
from typing import Any
import zlib

from PIL import Image
from PIL import UnidentifiedImageError

from lift3d_ros.errors import bad_image
from lift3d_ros.errors import LiftError

#: Largest number of pixels: the working copies of a larger frame would take gigabytes.
MAX_PIXELS = 40_000_000

#: Largest number of scans of a progressive JPEG, and of the pixels of all scans. Encoders write
#: about ten; each is a pass over all pixels, so a small file with many empty ones takes minutes.
MAX_JPEG_SCANS = 100
_MAX_SCANNED_PIXELS = 1_000_000_000

#: The supported formats, for messages.
READABLE = 'PNG, JPEG, WebP, BMP, TIFF, PGM, PPM or PFM'

_EXIF_ORIENTATION = 0x0112

_TIFF_TILE_WIDTH, _TIFF_TILE_LENGTH = 322, 323

#: First bytes of the supported formats, and their names in Pillow.
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

#: First bytes of unsupported formats, and their names.
_UNSUPPORTED = (
    (b'v/1\x01', 'OpenEXR'),
    (b'GIF8', 'GIF'),
    (b'\x93NUMPY', 'NumPy'),
    (b'PK\x03\x04', 'NumPy (.npz) or zip'),
    (b'\x00\x00\x00\x0cjP', 'JPEG 2000'),
    (b'#?RADIANCE', 'Radiance HDR'),
)


def format_of(data: bytes, what: str) -> str:
    """Return Pillow's name of the format of a picture, by its first bytes."""
    if not data:
        raise bad_image(f'{what} is empty; save or send the image again.')
    for first, kind in _SIGNATURES:
        if data.startswith(first):
            return kind
    if data[:4] == b'RIFF' and data[8:12] == b'WEBP':
        return 'WEBP'
    known = [name for first, name in _UNSUPPORTED if data.startswith(first)]
    if data[4:8] == b'ftyp':
        known = ['HEIF or AVIF']
    if known:
        raise bad_image(
            f'{what} is a {known[0]} file, which is not supported; save it as {READABLE}.')
    raise bad_image(f'{what} is not an image; it must be {READABLE}.')


def webp_size(data: bytes, what: str) -> tuple[int, int]:
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
    raise damaged(what, data)


def check_png(data: bytes, what: str) -> None:
    """Refuse a PNG that is truncated or has wrong checksums, which Pillow ignores."""
    view, at = memoryview(data), 8
    while at + 12 <= len(data):
        length = int.from_bytes(view[at:at + 4], 'big')
        name, end = bytes(view[at + 4:at + 8]), at + 8 + length
        # Chunks whose names begin in lower case are optional.
        if name[:1].isupper():
            stored = int.from_bytes(view[end:end + 4], 'big')
            if end + 4 > len(data) or zlib.crc32(view[at + 4:end]) != stored:
                break
        if name == b'IEND':
            return
        at = end + 4
    raise damaged(what, data)


def check_tiff(image: Image.Image, what: str) -> None:
    """Refuse tiles for which the decoder needs more memory than for the image."""
    tags: Any = image.tag_v2  # type: ignore[attr-defined]
    width, height = image.size
    try:
        tile = int(tags.get(_TIFF_TILE_WIDTH, 0)), int(tags.get(_TIFF_TILE_LENGTH, 0))
    except (TypeError, ValueError) as error:
        raise damaged(what, b'', error) from error
    # Tiles at the border can exceed it by less than one tile.
    if tile[0] * tile[1] > max(4 * width * height, 1 << 20):
        raise bad_image(
            f'{what} has {width} x {height} pixels in tiles of {tile[0]} x {tile[1]}; save it '
            'again.')


def check_jpeg(image: Image.Image, data: bytes, what: str) -> None:
    """Refuse a progressive JPEG that takes minutes to decode."""
    scans = data.count(b'\xff\xda')
    pixels = scans * image.size[0] * image.size[1]
    if scans > MAX_JPEG_SCANS or (scans > 1 and pixels > _MAX_SCANNED_PIXELS):
        raise bad_image(f'{what} is a JPEG with {scans} scans; save it as PNG.')


def raw_mode_of(image: Image.Image) -> str:
    """Return Pillow's name of the pixel layout in the file, empty if unknown."""
    for tile in getattr(image, 'tile', []):
        details = tile[3]
        if isinstance(details, tuple):
            details = details[0] if details else ''
        if isinstance(details, str):
            return details
    return ''


def check_size(width: int, height: int, what: str) -> None:
    """Raise ``LiftError(BAD_IMAGE)`` for a picture without pixels or with too many."""
    if width < 1 or height < 1:
        raise bad_image(f'{what} is {width} x {height}; it has no pixels.')
    if width * height > MAX_PIXELS:
        raise too_large(f'{what} is {width} x {height}')


def exif_orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 if there is none."""
    try:
        value = image.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception:
        # Unreadable EXIF data are ignored.
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def tiff_orientation(image: Image.Image) -> int:
    """Return the orientation of a TIFF, which Pillow applies when it loads the pixels."""
    tags: Any = image.tag_v2  # type: ignore[attr-defined]
    found = tags.get(_EXIF_ORIENTATION, 1)
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def too_large(begin: str) -> LiftError:
    """Return the error of a picture with too many pixels."""
    return bad_image(f'{begin}; downscale it to less than {MAX_PIXELS // 1_000_000} megapixels.')


def damaged(what: str, data: bytes, error: Exception | None = None) -> LiftError:
    """Return the error of a picture that cannot be decoded."""
    known = error is not None and not isinstance(error, UnidentifiedImageError) and str(error)
    reason = f' ({error})' if known else ''
    return bad_image(f'{what} is not a complete image file{reason}; save or send it again.')
