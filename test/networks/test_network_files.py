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

"""Networks as folders: in half precision, and in eight bits."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.torch import load_file
from safetensors.torch import save_file
import torch
from torch import nn
from view_helpers import random_weights

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.networks.small.coarse import CoarseNet
from lift3d_ros.networks.small.files import MODEL
from lift3d_ros.networks.small.files import read_state
from lift3d_ros.networks.small.files import write_network


def network() -> nn.Module:
    """Return one with rows of very different sizes, one of nothing, and a count."""
    torch.manual_seed(0)
    made = nn.Sequential(nn.Conv2d(64, 96, 3), nn.BatchNorm2d(96), nn.Linear(96, 48))
    with torch.no_grad():
        made[0].weight *= torch.logspace(-6, 2, 96)[:, None, None, None]
        made[2].weight[7] = 0.0
        made[1].num_batches_tracked += 12
    return made


def test_eight_bits_are_near_in_every_row(tmp_path):
    given, found = network(), network()
    nn.init.zeros_(found[0].weight)
    write_network(tmp_path, given, {}, torch.int8)
    read_state(tmp_path, found)
    for index in (0, 2):
        true, read = given[index].weight.flatten(1), found[index].weight.flatten(1)
        step = true.abs().amax(dim=1) / 127.0
        assert bool(((read - true).abs().amax(dim=1) <= 0.51 * step).all())
        assert read.dtype == torch.float32
        # What is not a matrix is in half precision.
        assert torch.equal(found[index].bias, given[index].bias.half().float())
    assert not found[2].weight[7].any()
    assert int(found[1].num_batches_tracked) == 12


def test_eight_bits_take_half_the_room_of_half_precision(tmp_path):
    sizes = []
    for dtype in (torch.float16, torch.int8):
        write_network(tmp_path / str(dtype), network(), {}, dtype)
        sizes.append((tmp_path / str(dtype) / MODEL).stat().st_size)
    assert 0.5 < sizes[1] / sizes[0] < 0.6


def test_what_is_written_again_is_the_same(tmp_path):
    first, again = network(), network()
    write_network(tmp_path / 'a', first, {}, torch.int8)
    read_state(tmp_path / 'a', again)
    write_network(tmp_path / 'b', again, {}, torch.int8)
    a, b = (load_file(tmp_path / name / MODEL) for name in 'ab')
    for name, value in a.items():
        # The scale comes from the largest of a row, which is 127 of it.
        assert np.allclose(b[name].float(), value.float(), rtol=1e-6)


def test_eight_bits_without_their_scale_are_refused(tmp_path):
    write_network(tmp_path, network(), {}, torch.int8)
    state = load_file(tmp_path / MODEL)
    save_file({k: v for k, v in state.items() if k != '0.weight.scale'}, tmp_path / MODEL)
    with pytest.raises(LiftError) as refused:
        read_state(tmp_path, network())
    assert refused.value.code is ErrorCode.WEIGHTS_CORRUPT


def test_the_coarse_network_is_in_eight_bits_among_the_small_weights(tmp_path):
    random_weights(tmp_path)
    count = sum(value.numel() for value in CoarseNet().parameters())
    assert (tmp_path / 'coarse' / MODEL).stat().st_size < 1.05 * count
