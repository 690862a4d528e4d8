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

"""Tests of the published size: its parameters and work, without the memory that it needs."""

import pytest
import torch

from lift3d_ros.bench.timing import full_size_views as full_size
from lift3d_ros.bench.timing.harness import main

pytestmark = pytest.mark.usefixtures('one_thread')


def millions(network):
    return sum(p.numel() for p in network.parameters()) / 1e6


@pytest.fixture(scope='module')
def published():
    return full_size.full_size_components(torch.bfloat16, 'meta')


def test_the_networks_have_the_published_sizes(published):
    assert millions(published.unet) == pytest.approx(859.53, abs=0.01)
    assert millions(published.vae) == pytest.approx(83.65, abs=0.01)
    assert millions(published.image_encoder) == pytest.approx(303.97, abs=0.02)
    assert tuple(published.cc_projection.projection.weight.shape) == (768, 772)
    assert published.unet.dtype == torch.bfloat16
    # The default of other code stays what it was.
    assert torch.get_default_dtype() == torch.float32


def test_the_table_is_made_by_one_command(monkeypatch, capsys):
    monkeypatch.setattr(full_size, 'UNET', {
        **full_size.UNET, 'block_out_channels': (32, 32, 64, 64), 'attention_head_dim': 4,
    })
    monkeypatch.setattr(full_size, 'VAE', {
        **full_size.VAE, 'block_out_channels': (8, 8, 8, 8), 'norm_num_groups': 4,
    })
    monkeypatch.setattr(full_size, 'CLIP', {
        **full_size.CLIP, 'hidden_size': 64, 'intermediate_size': 64, 'num_hidden_layers': 1,
        'num_attention_heads': 2,
    })
    monkeypatch.setattr(full_size, 'MATMUL_SIZE', {'cpu': 64})
    options = ['--dtype', 'float32', '--views', '2', '--steps', '2']
    assert main('zero123', options) == 0
    table = dict(line.split('  ', 1) for line in capsys.readouterr().out.splitlines())
    table = {name: value.strip() for name, value in table.items()}
    assert table['precision'] == 'float32'
    assert table['views in a batch'] == '2'
    assert float(table['multiply-adds of a view-step'].removesuffix(' G')) > 0.1
    assert float(table['one view-step, best of 2'].removesuffix(' s')) > 0.0
    assert 0.1 < float(table['peak memory'].removesuffix(' GiB')) < 8.0


def test_a_batch_without_views_is_refused(capsys):
    with pytest.raises(SystemExit):
        main('zero123', ['--views', '0'])
    assert 'at least 1' in capsys.readouterr().err
