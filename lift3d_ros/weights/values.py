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

"""Tensors that a network can be made of: stored numbers, finite, and no more than the file has."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lift3d_ros.weights.messages import corrupt

FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool)

#: No weight of a network is near this. A flipped bit of the exponent makes such numbers.
LARGEST_WEIGHT = 1e30

#: Tensors may share numbers, but not to take much more memory than the file that they are in.
_SHARED_BYTES = 256 * 2**20


def usable_fault(value: Any) -> str | None:
    """Return what is wrong with a value that should be a tensor, None for nothing."""
    if not isinstance(value, Tensor):
        return f'is a {type(value).__name__}, not a tensor'
    if value.layout is not torch.strided or value.is_quantized or value.is_nested:
        return 'is a sparse, quantised or nested tensor, which is not supported'
    if value.device.type != 'cpu':
        return 'is a tensor without data (meta)'
    if value.dtype not in (*FLOATS, *INTEGERS):
        return f'has values of the type {value.dtype}, which is not supported'
    return None


def value_fault(tensor: Tensor) -> str | None:
    """Return what is wrong with the numbers of a usable tensor, None for nothing."""
    if not tensor.is_floating_point() or tensor.numel() == 0:
        return None
    # Not a number is the result wherever it occurs.
    least, largest = torch.aminmax(tensor)
    most = float(torch.maximum(least.abs(), largest.abs()))
    if not most < float('inf'):
        return 'has values that are not finite'
    if most > LARGEST_WEIGHT:
        return f'has values up to {most:.1e}, which is too large for a network'
    return None


def check_values(path: str | os.PathLike[str], tensors: Mapping[str, Tensor]) -> None:
    """Raise ``LiftError`` (WEIGHTS_CORRUPT) unless all numbers of a network can be weights."""
    for name, tensor in tensors.items():
        fault = value_fault(tensor)
        if fault:
            corrupt(path, f'is damaged: {name[:200]} {fault}; get it again')


def check_room(
    path: Path, files: Iterable[Path], parts: Mapping[str, Mapping[str, Tensor]]
) -> None:
    """Raise ``LiftError`` (WEIGHTS_CORRUPT) for tensors that take far more than their files."""
    stored = sum(file.stat().st_size for file in files)
    needed = sum(tensor.numel() * tensor.element_size()
                 for tensors in parts.values() for tensor in tensors.values())
    if needed > stored + _SHARED_BYTES:
        corrupt(
            path, f'has {stored} bytes, but its tensors would take {needed}; it is damaged or '
            'malicious; get it again')
