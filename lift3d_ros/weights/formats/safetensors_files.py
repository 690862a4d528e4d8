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
Read and write safetensors: the length of a JSON header, the header, the numbers.

The format has no checksum: only a digest of the file detects changed values. The package
safetensors checks that types, shapes and offsets in the header fit together and cover the file;
the size of the header is bounded here, because the package accepts 100 MB.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
from contextlib import contextmanager
import json
import os
from pathlib import Path
import struct
from typing import Any

import torch
from torch import Tensor

from lift3d_ros.errors import ErrorCode
from lift3d_ros.runtime.files import open_regular
from lift3d_ros.weights.integrity import corrupt
from lift3d_ros.weights.integrity import first_line
from lift3d_ros.weights.tensors import DTYPE_NAMES
from lift3d_ros.weights.tensors import tensor_error
from lift3d_ros.weights.tensors import value_error

#: The header of the largest published network has less than 0.5 MB; JSON of this size takes up
#: to 30 times as much memory while it is read.
_MAX_HEADER_BYTES = 8 * 2**20


def read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """
    Return the shape of each tensor of a file, without reading its numbers.

    Raises ``OSError``, and ``LiftError`` (WEIGHTS_CORRUPT) if header and file size do not match.
    """
    with _opened(path) as content:
        return {name: tuple(content.get_slice(name).get_shape()) for name in content.keys()}


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file, which are mapped from it; raises as ``read_shapes``."""
    with _opened(path) as content:
        tensors = {name: content.get_tensor(name) for name in content.keys()}
    for name, tensor in tensors.items():
        problem = tensor_error(tensor)
        if problem:
            corrupt(path, f'{name[:200]} {problem}')
    return tensors


def write_safetensors(
    path: Path, tensors: Mapping[str, Tensor], dtype: torch.dtype | None = None
) -> None:
    """
    Write tensors one after the other.

    The package's own writer holds all of them in memory at once, and again as bytes; this one
    needs the memory of the largest tensor only. Floating-point tensors become ``dtype``, if given.
    Raises ``LiftError`` (WEIGHTS_CORRUPT) for a value that is not finite before or after the
    conversion.
    """
    types = {name: stored_dtype(tensor, dtype) for name, tensor in tensors.items()}
    # The widest type first keeps each tensor aligned to its own width.
    order = sorted(tensors, key=lambda name: (-types[name].itemsize, name))
    header: dict[str, Any] = {'__metadata__': {'format': 'pt'}}
    offset = 0
    for name in order:
        end = offset + tensors[name].numel() * types[name].itemsize
        header[name] = {
            'dtype': DTYPE_NAMES[types[name]], 'shape': list(tensors[name].shape),
            'data_offsets': [offset, end],
        }
        offset = end
    text = json.dumps(header, separators=(',', ':')).encode()
    text += b' ' * (-len(text) % 8)
    with path.open('wb') as file:
        file.write(struct.pack('<Q', len(text)) + text)
        for name in order:
            value = tensors[name].to(types[name])
            problem = value_error(value)
            if problem:
                corrupt(
                    path, f'cannot be written: {name[:200]} {problem}. If values are too large '
                    f'for {types[name]}, import with --dtype float32 or bfloat16')
            file.write(value.contiguous().reshape(-1).view(torch.uint8).numpy().data)


def stored_dtype(tensor: Tensor, dtype: torch.dtype | None) -> torch.dtype:
    """Return the type in which a tensor is written: ``dtype`` for floats, if given."""
    return dtype if dtype is not None and tensor.is_floating_point() else tensor.dtype


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a file whose header has a plausible size."""
    with open_regular(path, ErrorCode.WEIGHTS_CORRUPT) as file:
        size = os.fstat(file.fileno()).st_size
        start = file.read(8)
    length = struct.unpack('<Q', start)[0] if len(start) == 8 else size
    if length > min(size - 8, _MAX_HEADER_BYTES):
        corrupt(path, f'is cut short or damaged: its header would have {length} bytes; get it '
                'again')
    from safetensors import safe_open
    from safetensors import SafetensorError

    try:
        with safe_open(path, framework='pt') as content:
            yield content
    except (SafetensorError, RuntimeError, ValueError, TypeError) as error:
        corrupt(path, f'is cut short or damaged: {first_line(error)[:300]}; get it again')
