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

"""The priors of NeuralLift-360: small or Stable Diffusion, adapted to a picture, and CLIP."""

from __future__ import annotations

import importlib.util
from types import SimpleNamespace

from distill_helpers import FOV
from distill_helpers import MEMBERS
from distill_helpers import render_boxes
import pytest
import text_helpers
import torch

from lift3d_ros.diffusion.token_denoiser import TokenDenoiser
from lift3d_ros.diffusion.token_denoiser import TokenDenoiserConfig
from lift3d_ros.diffusion.token_denoiser import write_token_denoiser
from lift3d_ros.distill.cameras import Cameras
from lift3d_ros.distill.reference_view import ReferenceView
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.methods.distilled.neurallift360 import NeuralLift360
from lift3d_ros.methods.distilled.neurallift360_prior import Adaptation
from lift3d_ros.methods.distilled.neurallift360_prior import adapted_prior
from lift3d_ros.methods.distilled.neurallift360_prior import load_unposed
from lift3d_ros.networks.small.object_encoder import ObjectEncoder
from lift3d_ros.networks.small.object_encoder import write_object_encoder

pytestmark = pytest.mark.usefixtures('one_thread')

CAMERA = Cameras.orbit(
    torch.zeros(1), torch.full((1,), 20.0), torch.tensor(1.7, dtype=torch.float64), FOV)
HAS_PEFT = importlib.util.find_spec('peft') is not None


def view(size):
    image = render_boxes(MEMBERS[0], CAMERA.poses, size)[0]
    straight = torch.cat([image[:3] / image[3:].clamp_min(1e-6), image[3:]])
    return ReferenceView.from_image(straight.permute(1, 2, 0).numpy(), CAMERA)


INPUTS = SimpleNamespace(reference_view=view, canonical=SimpleNamespace(elevation=20.0))


@pytest.fixture(scope='module')
def published(tmp_path_factory):
    """Return a small random Stable Diffusion of 64 pixels."""
    folder = text_helpers.write_folder(
        tmp_path_factory.mktemp('sd') / 'sd', text_helpers.text_networks())
    model = load_unposed(str(folder), '', 'cpu')
    model.network.vae.register_to_config(sample_size=64)
    return folder, model


@pytest.fixture(scope='module')
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp('small')
    (folder / 'coarse').mkdir()
    torch.manual_seed(0)
    network = TokenDenoiser(TokenDenoiserConfig(
        size=16, widths=(16, 32), token=16, contexts=2))
    # Untrained it would predict 0 for every token.
    torch.nn.init.normal_(network.unet.conv_out.weight)
    write_token_denoiser(folder / 'prior', network)
    return folder


def predicted(prior):
    """Return the prior's clean latents of a fixed noise at the input camera."""
    shape = prior.encode(torch.zeros(1, 4, 32, 32)).shape
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    return prior.predict_x0(noise, torch.tensor([500]), prior.condition(CAMERA.poses))


@pytest.mark.parametrize('kind', ['token', 'imagic', 'none', pytest.param(
    'lora', marks=pytest.mark.skipif(not HAS_PEFT, reason='needs peft'))])
def test_stable_diffusion_is_adapted_in_each_way(published, kind):
    _, model = published
    assert not model.is_small and model.encoder is None
    adaptation = Adaptation(kind, '' if kind == 'token' else 'a mug', 3.0, 2)
    first = adapted_prior(model, INPUTS, adaptation, 0)
    again, other = (adapted_prior(model, INPUTS, adaptation, seed) for seed in (0, 1))
    assert torch.equal(predicted(first), predicted(again))
    # Only an adaptation has a seed.
    assert torch.equal(predicted(first), predicted(other)) == (kind == 'none')


@pytest.mark.skipif(HAS_PEFT, reason='peft is installed')
def test_lora_needs_peft(published):
    with pytest.raises(LiftError) as caught:
        adapted_prior(published[1], INPUTS, Adaptation('lora', steps=1), 0)
    assert caught.value.code is ErrorCode.BAD_REQUEST


def test_the_small_prior_learns_a_token_alone(small):
    model = load_unposed(str(small), '', 'cpu')
    assert model.is_small and model.encoder is None
    learned = adapted_prior(model, INPUTS, Adaptation(steps=2), 0)
    null = adapted_prior(model, INPUTS, Adaptation('none'), 0)
    assert not torch.equal(learned.token, null.token)
    with pytest.raises(LiftError) as caught:
        adapted_prior(model, INPUTS, Adaptation('imagic'), 0)
    assert caught.value.code is ErrorCode.BAD_REQUEST
    write_object_encoder(small / 'object_encoder', ObjectEncoder())
    assert load_unposed(str(small), '', 'cpu').encoder.embed(torch.ones(2, 4, 8, 8)).shape[0] == 2


def test_an_adaptation_can_be_cancelled(small):
    def cancel():
        raise LiftError(ErrorCode.CANCELLED, 'cancelled')

    with pytest.raises(LiftError) as caught:
        adapted_prior(
            load_unposed(str(small), '', 'cpu'), INPUTS, Adaptation(steps=2), 0, cancel)
    assert caught.value.code is ErrorCode.CANCELLED


def test_the_start_has_small_weights_beside_stable_diffusion(published, small):
    folder, _ = published
    assert NeuralLift360(str(folder)).start_weights() == 'small'
    assert NeuralLift360(str(small)).start_weights() == str(small)
