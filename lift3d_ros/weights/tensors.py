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

"""Checks of tensors: supported types, finite values, no more memory than their files."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lift3d_ros.weights.integrity import corrupt

#: The types that networks are stored in, and their names in safetensors.
DTYPE_NAMES = {
    torch.float64: 'F64', torch.float32: 'F32', torch.float16: 'F16', torch.bfloat16: 'BF16',
    torch.int64: 'I64', torch.int32: 'I32', torch.int16: 'I16', torch.int8: 'I8',
    torch.uint8: 'U8', torch.bool: 'BOOL',
}

#: No weight of a network is near this. A flipped bit of the exponent gives such numbers.
_MAX_WEIGHT = 1e30

#: Memory that tensors may take beyond the size of their files, by sharing numbers.
_MAX_SHARED_BYTES = 256 * 2**20


def tensor_error(value: Any) -> str | None:
    """Return why a value is not a supported tensor, None if it is one."""
    if not isinstance(value, Tensor):
        return f'is a {type(value).__name__}, not a tensor'
    if value.layout is not torch.strided or value.is_quantized or value.is_nested:
        return 'is a sparse, quantised or nested tensor, which is not supported'
    if value.device.type != 'cpu':
        return 'is a tensor without data (meta)'
    if value.dtype not in DTYPE_NAMES:
        return f'has values of the type {value.dtype}, which is not supported'
    return None


def value_error(tensor: Tensor) -> str | None:
    """Return why the numbers of a supported tensor cannot be weights, None if they can."""
    if not tensor.is_floating_point() or tensor.numel() == 0:
        return None
    # aminmax returns NaN if any value is NaN.
    low, high = torch.aminmax(tensor)
    largest = float(torch.maximum(low.abs(), high.abs()))
    if not largest < float('inf'):
        return 'has values that are not finite'
    if largest > _MAX_WEIGHT:
        return f'has values up to {largest:.1e}, which is too large for a network'
    return None


def check_values(path: str | os.PathLike[str], tensors: Mapping[str, Tensor]) -> None:
    """Raise ``LiftError`` (WEIGHTS_CORRUPT) unless all numbers of a network are plausible."""
    for name, tensor in tensors.items():
        problem = value_error(tensor)
        if problem:
            corrupt(path, f'is damaged: {name[:200]} {problem}; get it again')


def check_memory(
    path: Path, files: Iterable[Path], parts: Mapping[str, Mapping[str, Tensor]]
) -> None:
    """Raise ``LiftError`` (WEIGHTS_CORRUPT) for tensors far larger than their files."""
    stored = sum(file.stat().st_size for file in files)
    needed = sum(tensor.numel() * tensor.element_size()
                 for tensors in parts.values() for tensor in tensors.values())
    if needed > stored + _MAX_SHARED_BYTES:
        corrupt(
            path, f'has {stored} bytes, but its tensors would take {needed}; it is damaged or '
            'malicious; get it again')
