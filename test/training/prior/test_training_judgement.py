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


from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from lift3d_ros.diffusion.token_denoiser import read_token_denoiser
from lift3d_ros.diffusion.token_denoiser import TokenDenoiser
from lift3d_ros.diffusion.token_denoiser import TokenDenoiserConfig
from lift3d_ros.distill.adaptation.inversion import InversionSettings
from lift3d_ros.distill.priors.tokens import SMALL_INVERSION
from lift3d_ros.networks.small.object_encoder import read_object_encoder
from lift3d_ros.synthetic.objects import find_objects
from lift3d_ros.synthetic.procedural import procedural_object
from lift3d_ros.training.prior.encoder import EncoderTask
from lift3d_ros.training.prior.judgement import judge
from lift3d_ros.training.prior.judgement import summary
from lift3d_ros.training.prior.judgement import TIMESTEPS
from lift3d_ros.training.prior.object_views import object_views
from lift3d_ros.training.prior.object_views import ObjectViews
from lift3d_ros.weights.store import find

pytestmark = pytest.mark.usefixtures('one_thread')

SETTINGS = InversionSettings(steps=2, batch=2, rate=0.1, loss='v_prediction')


def make_network(seed=0):
    torch.manual_seed(seed)
    network = TokenDenoiser(TokenDenoiserConfig(size=16, widths=(16, 32), token=16, contexts=2))
    torch.nn.init.normal_(network.unet.conv_out.weight, std=0.1)
    return network.eval().requires_grad_(False)


def make_views(words):
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (len(words), len(words[0]), 16, 16, 4), np.uint8)
    pictures[..., 3] = 255
    names = tuple(str(number) for number in range(len(words)))
    return ObjectViews(names, pictures, np.array(words))


def test_other_views_are_denoised_with_every_token_and_objects_without_a_front_are_left_out():
    views = make_views([[0, 1, 2, 0], [1, 1, 2, 3], [3, 0, 1, 4]])
    mean = torch.zeros(4, 16, 16)
    results = judge(make_network(), views, mean, SETTINGS, lambda line: None)
    assert len(results) == 2
    assert set(results[1]) == {'inverted', 'regressed', 'null', 'wrong_word', 'other', 'mean'}
    assert 'other' not in results[0], 'there is no object before'
    # The network's regression is nothing yet.
    assert np.array_equal(results[0]['regressed'], results[0]['null'])
    assert not np.array_equal(results[0]['inverted'], results[0]['null'])
    clean = views.pictures[0, 1:].astype(np.float64) / 127.5 - 1.0
    assert results[0]['mean'] == pytest.approx(np.full(len(TIMESTEPS), (clean**2).mean()))


def test_the_summary_has_means_and_ratios_to_the_null_token():
    def errors(inverted, null):
        return {'inverted': np.full(len(TIMESTEPS), inverted),
                'null': np.full(len(TIMESTEPS), null)}

    table = summary([errors(1.0, 2.0), errors(3.0, 4.0)])
    assert table['inverted']['error'] == [2.0] * len(TIMESTEPS)
    assert table['inverted']['ratio'] == pytest.approx([0.625] * len(TIMESTEPS))
    assert table['inverted']['ratio_se'] == pytest.approx([0.125] * len(TIMESTEPS), abs=1e-4)
    assert table['null']['ratio'] == [1.0] * len(TIMESTEPS)


@pytest.fixture(scope='module')
def rendered(tmp_path_factory):
    """Return views of procedural objects, which no packaged network was trained on."""
    folder = tmp_path_factory.mktemp('objects')
    for number, kind in enumerate(['can', 'block', 'bowl', 'toy']):
        procedural_object(number, kind).export(folder / f'{kind}.ply')
    return object_views(folder / 'views', find_objects(folder), 12, 64)


def test_the_packaged_prior_denoises_better_with_the_token_of_the_object(rendered):
    network = read_token_denoiser(find('small') / 'prior')
    settings = replace(SMALL_INVERSION, steps=1, rate=1e-6)
    table = summary(judge(
        network, rendered.select(range(4), slice(0, 5)), torch.ones(4, 64, 64), settings,
        lambda line: None))
    late = TIMESTEPS.index(900)
    assert max(table['regressed']['ratio'][late:]) < 0.95
    assert max(table['null']['error'][:late]) < 0.5 * table['mean']['error'][0]


def test_the_packaged_encoder_knows_views_of_one_object(rendered):
    encoder = read_object_encoder(find('small') / 'object_encoder')
    scores = EncoderTask(rendered).evaluate(encoder)
    assert scores['score'] > 0.8
