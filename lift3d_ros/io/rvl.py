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
RVL, the lossless coding of depth images in ``compressedDepth`` messages.

After A. Wilson, Fast Lossless Depth Image Compression, ISS 2017: the pixels, row by row, are
alternating runs of zeros and of readings. Each number is split into groups of 3 bits, the lowest
first, each in a nibble whose highest bit is set if another group follows. The nibbles fill 32-bit
words from the top. A run is stored as its length, and a reading as the difference d to the
previous reading: 2 d for d >= 0 and -2 d - 1 for d < 0.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.errors import bad_image
from lift3d_ros.errors import LiftError
from lift3d_ros.io.picture_formats import check_size

#: Largest number of nibbles of a number: 18 bits of a difference of 16 bit values, or the length
#: of a run.
_MAX_NIBBLES = 10


def decode_rvl(data: bytes | memoryview, what: str) -> NDArray[np.uint16]:
    """
    Return the image, uint16 (rows, columns), of a stream that begins with its columns and rows.

    Both are 32 bit little-endian integers, as ``compressed_depth_image_transport`` writes them.
    ``what`` names the image in errors. Raises ``LiftError(BAD_IMAGE)``.
    """
    if len(data) < 8:
        raise _damaged(what)
    columns, rows = (int(side) for side in np.frombuffer(data, '<u4', 2))
    check_size(columns, rows, what)
    values = _numbers(data, what)
    total, place, at = columns * rows, 0, 0
    starts, lengths, firsts = [], [], []
    numbers = values.tolist()
    try:
        while place < total:
            place += numbers[at]
            count = numbers[at + 1]
            at += 2
            if count:
                starts.append(place)
                lengths.append(count)
                firsts.append(at)
                at += count
                place += count
    except IndexError:
        raise _damaged(what) from None
    if place > total or at > len(numbers):
        raise _damaged(what)
    image = np.zeros(total, np.uint16)
    if starts:
        length = np.array(lengths)
        # Offset of each reading in its run, for all runs at once.
        within = np.arange(length.sum()) - np.repeat(np.cumsum(length) - length, length)
        coded = values[np.repeat(firsts, length) + within]
        readings = np.cumsum((coded >> 1) ^ -(coded & 1))
        if readings.min() < 0 or readings.max() > 65535:
            raise _damaged(what)
        image[np.repeat(starts, length) + within] = readings
    return image.reshape(rows, columns)


def _numbers(data: bytes | memoryview, what: str) -> NDArray[np.int64]:
    """Return the numbers that a stream is made of."""
    words = np.frombuffer(data, np.uint8, (len(data) - 8) // 4 * 4, 8).reshape(-1, 4)
    if not len(words):
        raise _damaged(what)
    # Little-endian words, the highest nibble first.
    pairs = words[:, ::-1].reshape(-1)
    nibbles = np.empty(2 * len(pairs), np.uint8)
    nibbles[0::2], nibbles[1::2] = pairs >> 4, pairs & 15
    ends = np.flatnonzero(nibbles < 8)
    if not len(ends):
        raise _damaged(what)
    begins = np.concatenate([[0], ends[:-1] + 1])
    length = ends - begins + 1
    if length.max() > _MAX_NIBBLES:
        raise _damaged(what)
    values = np.zeros(len(ends), np.int64)
    for group in range(int(length.max())):
        has = length > group
        values[has] |= (nibbles[begins[has] + group].astype(np.int64) & 7) << (3 * group)
    return values


def _damaged(what: str) -> LiftError:
    return bad_image(
        f"{what} is not a complete RVL stream; send it again, or set the publisher's "
        'compressedDepth format to png.')
