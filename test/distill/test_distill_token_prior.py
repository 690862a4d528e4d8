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

from error_helpers import raises_code
import pytest
import torch

from lift3d_ros.diffusion.token_denoiser import as_latents
from lift3d_ros.diffusion.token_denoiser import read_token_denoiser
from lift3d_ros.diffusion.token_denoiser import TokenDenoiser
from lift3d_ros.diffusion.token_denoiser import TokenDenoiserConfig
from lift3d_ros.diffusion.token_denoiser import VIEW_WORDS
from lift3d_ros.diffusion.token_denoiser import word_indices
from lift3d_ros.diffusion.token_denoiser import write_token_denoiser
from lift3d_ros.distill.adaptation.inversion import InversionSettings
from lift3d_ros.distill.adaptation.inversion import invert
from lift3d_ros.distill.adaptation.picture_augmentation import AugmentedPicture
from lift3d_ros.distill.cameras import Cameras
from lift3d_ros.distill.cameras import view_word
from lift3d_ros.distill.guidance.guidance import ScoreGuidance
from lift3d_ros.distill.priors.tokens import TokenPrior
from lift3d_ros.errors import ErrorCode
from lift3d_ros.runtime.precision import fast_autocast

pytestmark = pytest.mark.usefixtures('one_thread')

CAMERAS = Cameras.orbit(
    torch.tensor([0.0, 100.0, -170.0, 10.0, 0.0]), torch.tensor([10.0, 0.0, 20.0, 75.0, -80.0]),
    torch.full((5,), 1.7), 49.1)


def make_network():
    torch.manual_seed(0)
    network = TokenDenoiser(TokenDenoiserConfig(size=16, widths=(16, 32), token=16, contexts=2))
    for parameter in (network.null, network.unet.conv_out.weight):
        torch.nn.init.normal_(parameter, std=0.5)
    return network.eval().requires_grad_(False)


def noisy_latents(count=5, seed=1):
    return torch.randn(count, 4, 16, 16, generator=torch.Generator().manual_seed(seed))


def test_words_are_those_of_the_cameras():
    assert set(VIEW_WORDS) == {
        view_word(float(a), float(e)) for a in range(-180, 181, 30) for e in range(-90, 91, 10)}
    condition = TokenPrior(make_network()).condition(CAMERAS.poses)
    assert [VIEW_WORDS[word] for word in condition.words] == [
        'front', 'side', 'back', 'overhead', 'bottom']


def test_the_clean_image_is_that_of_the_velocity():
    network = make_network()
    prior = TokenPrior(network)
    noisy, timesteps = noisy_latents(), torch.tensor([0, 200, 500, 900, 999])
    condition = prior.condition(CAMERAS.poses)
    clean = prior.predict_x0(noisy, timesteps, condition)
    ab = prior.schedule.alphas_cumprod[timesteps].float().reshape(-1, 1, 1, 1)
    with fast_autocast(prior.device):
        velocity = network(noisy, timesteps, condition.tokens, condition.words)
    assert torch.allclose(clean, ab.sqrt() * noisy - (1 - ab).sqrt() * velocity, atol=1e-4)
    assert not clean.requires_grad


def test_guidance_goes_beyond_the_prediction_away_from_that_without_a_condition():
    network = make_network()
    noisy, timesteps = noisy_latents(), torch.full((5,), 700)
    token = torch.ones(1, 16)
    priors = [TokenPrior(network, token, scale) for scale in (0.0, 1.0, 3.0)]
    condition = priors[0].condition(CAMERAS.poses)
    free, given, guided = (prior.predict_x0(noisy, timesteps, condition) for prior in priors)
    assert torch.allclose(guided, free + 3.0 * (given - free), atol=0.05)
    unconditional = TokenPrior(network)
    without = unconditional._predict(
        noisy, timesteps, network.null.expand(5, -1), word_indices([None]).expand(5))
    assert torch.allclose(free, without, atol=0.02)


def test_renderings_are_resized_and_on_white():
    prior = TokenPrior(make_network())
    latents = prior.encode(torch.zeros(2, 4, 40, 40))
    assert latents.shape == (2, 4, 16, 16)
    assert torch.equal(latents[:, :3], torch.ones(2, 3, 16, 16))
    assert torch.equal(latents[:, 3:], -torch.ones(2, 1, 16, 16))
    images = torch.rand(2, 4, 16, 16)
    assert torch.equal(prior.encode(images), as_latents(images))
    leaf = images.requires_grad_()
    prior.encode(leaf).sum().backward()
    assert leaf.grad is not None and float(leaf.grad.abs().sum()) > 0.0


def test_inversion_lowers_the_loss_of_the_picture_and_leaves_the_network():
    network = make_network()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    prior = TokenPrior(network)
    image = torch.zeros(4, 32, 32)
    image[0, 8:24, 8:24], image[3, 8:24, 8:24] = 1.0, 1.0
    settings = InversionSettings(steps=20, batch=4, rate=0.02, decay=0.0, loss='v_prediction')
    found = invert(prior, AugmentedPicture(image, prior.size), settings)
    assert found.embedding.shape == (1, 16) and found.losses.shape == (20,)
    assert float(found.losses[-5:].mean()) < float(found.losses[:5].mean())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    changed = prior.with_token(found.embedding)
    assert torch.equal(changed.token, found.embedding)
    assert torch.equal(prior.token, network.null[None])


def test_the_prior_guides_renderings():
    prior = TokenPrior(make_network(), guidance_scale=2.0)
    images = torch.full((5, 4, 24, 24), 0.5, requires_grad=True)
    loss = ScoreGuidance(prior).loss(images, CAMERAS, 0, torch.Generator().manual_seed(0))
    loss.backward()
    assert images.grad is not None and bool(images.grad.isfinite().all())


def test_a_written_network_is_the_same_when_read(tmp_path):
    network = make_network()
    network.scale.fill_(0.5)
    network.regression.normal_(generator=torch.Generator().manual_seed(0))
    write_token_denoiser(tmp_path, network, torch.float32)
    read = read_token_denoiser(tmp_path)
    assert read.config == network.config
    assert all(
        torch.equal(value, read.state_dict()[name])
        for name, value in network.state_dict().items())
    picture = torch.rand(4, 16, 16)
    assert torch.equal(TokenPrior(read).regressed(picture), TokenPrior(network).regressed(picture))


@pytest.mark.parametrize('token', [
    torch.zeros(16), torch.zeros(2, 16), torch.zeros(1, 17), torch.full((1, 16), torch.nan)])
def test_tokens_of_another_prior_are_refused(token):
    with raises_code(ErrorCode.BAD_REQUEST):
        TokenPrior(make_network(), token)
    with raises_code(ErrorCode.BAD_REQUEST):
        TokenPrior(make_network()).with_token(token)


def test_words_that_there_are_not_are_refused():
    with raises_code(ErrorCode.BAD_REQUEST):
        TokenPrior(make_network(), input_word='above')
    with raises_code(ErrorCode.BAD_REQUEST):
        TokenPrior(make_network()).embedding('mug')


def test_a_network_that_is_missing_is_refused(tmp_path):
    with raises_code(ErrorCode.WEIGHTS_MISSING):
        read_token_denoiser(tmp_path)
