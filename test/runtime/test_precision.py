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

"""Networks compute in bfloat16 only where a device has instructions for it."""

from __future__ import annotations

import pytest
import torch

from lift3d_ros.runtime.precision import fast_autocast
from lift3d_ros.runtime.precision import fast_dtype


@pytest.fixture(params=[True, False])
def native(request, monkeypatch) -> bool:
    """Return whether the processor claims to have instructions for bfloat16."""
    monkeypatch.setattr(torch.cpu, '_is_avx512_bf16_supported', lambda: request.param)
    monkeypatch.setattr(torch.cpu, '_is_amx_tile_supported', lambda: False)
    return request.param


def test_a_processor_without_instructions_for_bfloat16_computes_in_float32(native):
    expected = torch.bfloat16 if native else torch.float32
    assert fast_dtype('cpu') == expected
    layer = torch.nn.Linear(3, 2)
    with fast_autocast(torch.device('cpu')):
        assert layer(torch.ones(1, 3)).dtype == expected
    assert layer(torch.ones(1, 3)).dtype == torch.float32


def test_a_gpu_computes_in_bfloat16(native):
    assert fast_dtype('cuda') == torch.bfloat16
