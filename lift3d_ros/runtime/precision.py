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

"""The arithmetic that networks use on a device: bfloat16 where it is fast."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def fast_dtype(device: str) -> torch.dtype:
    """
    Return bfloat16 on a GPU and where the processor has instructions for it, else float32.

    ``device`` is ``cpu`` or ``cuda``. Without such instructions torch emulates bfloat16, many
    times slower than float32.
    """
    import torch

    if device == 'cuda':
        return torch.bfloat16
    supports: Any = torch.cpu
    native = supports._is_avx512_bf16_supported() or supports._is_amx_tile_supported()
    return torch.bfloat16 if native else torch.float32


def fast_autocast(device: torch.device) -> AbstractContextManager[Any]:
    """Return a context in which layers compute in ``fast_dtype`` on ``device``."""
    import torch

    dtype = fast_dtype(device.type)
    return torch.autocast(device.type, dtype, enabled=dtype != torch.float32)
