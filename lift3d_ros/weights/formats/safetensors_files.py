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
Read safetensors: a length, a header in JSON that says where each tensor is, then the numbers.

The format has no checksum: a value that was changed in such a file is found only by a digest of
the file. The header is checked here before the library maps the file, so that each tensor has the
bytes that its shape needs, and none has those of another.
"""

from __future__ import annotations

from collections.abc import Mapping
import math
import os
from pathlib import Path
import struct
from typing import Any

import torch
from torch import Tensor

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.runtime.files import open_regular
from lift3d_ros.weights.documents import first_line
from lift3d_ros.weights.documents import parse_json
from lift3d_ros.weights.messages import corrupt

#: The types of numbers that networks are stored in, by their names in the header.
DTYPES = {
    'F64': torch.float64, 'F32': torch.float32, 'F16': torch.float16, 'BF16': torch.bfloat16,
    'I64': torch.int64, 'I32': torch.int32, 'I16': torch.int16, 'I8': torch.int8,
    'U8': torch.uint8, 'BOOL': torch.bool,
}

#: The header of the largest published network has less than 0.5 MB; JSON of this size takes up
#: to 30 times as much memory while it is read.
_MOST_HEADER_BYTES = 8 * 2**20
_MOST_DIMENSIONS = 8
_ENTRY = {'dtype', 'shape', 'data_offsets'}


def read_header(path: Path) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
    """
    Return type and shape of each tensor of a file, from its checked header.

    Raises ``OSError``, and ``LiftError`` (WEIGHTS_CORRUPT) for a file whose header and size do
    not fit together.
    """
    with open_regular(path, ErrorCode.WEIGHTS_CORRUPT) as file:
        size = os.fstat(file.fileno()).st_size
        start = file.read(8)
        if len(start) < 8:
            corrupt(path, 'is cut short; get it again')
        length = struct.unpack('<Q', start)[0]
        if length > min(size - 8, _MOST_HEADER_BYTES):
            corrupt(
                path, f'is cut short or damaged: its header would have {length} bytes; get it '
                'again')
        text = file.read(length)
    try:
        header = parse_json(text, path)
    except LiftError as error:
        reason = error.message.partition(': ')[2].rstrip('.')
        corrupt(path, f'has a header that cannot be read: {reason}')
    if not isinstance(header, dict):
        corrupt(path, 'has a header that cannot be read: it is not a dictionary; get it again')
    header.pop('__metadata__', None)
    places = []
    for name, entry in header.items():
        wrong = _fault(entry)
        if wrong:
            corrupt(path, f'has a header that cannot be read: {name[:100]} {wrong}; get it again')
        places.append((*entry['data_offsets'], name))
    end = max((place[1] for place in places), default=0)
    if 8 + length + end != size:
        what = 'is cut short' if size < 8 + length + end else 'has more data than its header says'
        corrupt(
            path, f'{what}: it has {size} bytes and should have {8 + length + end}; get it again')
    last = 0
    for first, end, name in sorted(places):
        if first != last:
            corrupt(
                path, f'is damaged: the data of {name[:100]} does not begin where the data before '
                'it ends; get it again')
        last = end
    return {name: (DTYPES[entry['dtype']], tuple(entry['shape']))
            for name, entry in header.items()}


def read_safetensors(path: Path) -> Mapping[str, Tensor]:
    """Return the tensors of a file, which are mapped from it; raises as ``read_header``."""
    read_header(path)
    from safetensors import safe_open
    from safetensors import SafetensorError

    try:
        with safe_open(path, framework='pt') as content:
            return {name: content.get_tensor(name) for name in content.keys()}
    except (SafetensorError, RuntimeError, ValueError, TypeError) as error:
        corrupt(path, f'is damaged: {first_line(error)}')


def _fault(entry: Any) -> str | None:
    """Return what is wrong with the entry of a tensor, None for nothing."""
    if not isinstance(entry, dict) or entry.keys() != _ENTRY:
        return 'needs exactly the entries dtype, shape and data_offsets'
    dtype, shape, places = entry['dtype'], entry['shape'], entry['data_offsets']
    if not isinstance(dtype, str) or dtype not in DTYPES:
        return (f'has values of the type {str(dtype)[:20]}, which is not supported '
                f'({", ".join(DTYPES)})')
    if not isinstance(shape, list) or len(shape) > _MOST_DIMENSIONS or not all(
            map(_is_count, shape)):
        return 'has an invalid shape'
    if not isinstance(places, list) or len(places) != 2 or not all(map(_is_count, places)):
        return 'has invalid data_offsets'
    if places[1] - places[0] != math.prod(shape) * DTYPES[dtype].itemsize:
        return f'has {places[1] - places[0]} bytes, which does not match its shape'
    return None


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**48
