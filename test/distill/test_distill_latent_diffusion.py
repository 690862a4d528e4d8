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
"""Text-conditioned latent diffusion as a prior, its learned tokens, and its adaptation."""

from __future__ import annotations

import sys

from error_helpers import raises_code
import pytest
import text_helpers
import torch

from lift3d_ros.distill.adaptation.imagic import adapt_imagic
from lift3d_ros.distill.adaptation.imagic import ImagicSettings
from lift3d_ros.distill.adaptation.inversion import denoising_loss
from lift3d_ros.distill.adaptation.inversion import InversionSettings
from lift3d_ros.distill.adaptation.inversion import invert
from lift3d_ros.distill.adaptation.lora import adapt_lora
from lift3d_ros.distill.adaptation.lora import LoraSettings
from lift3d_ros.distill.adaptation.lora import read_lora
from lift3d_ros.distill.adaptation.lora import write_lora
from lift3d_ros.distill.cameras import Cameras
from lift3d_ros.distill.guidance.guidance import GuidanceSettings
from lift3d_ros.distill.guidance.guidance import ScoreGuidance
from lift3d_ros.distill.priors.latent_diffusion import LatentDiffusionPrior
from lift3d_ros.distill.priors.latent_diffusion import PromptSettings
from lift3d_ros.errors import ErrorCode
from lift3d_ros.weights.stable_diffusion import load_stable_diffusion

pytestmark = pytest.mark.usefixtures('one_thread')

SIZE = 64
PROMPT = PromptSettings('A high resolution image of a mug')
CAMERAS = Cameras.orbit(
    torch.tensor([10.0, 100.0, -170.0, 0.0, 0.0]), torch.tensor([0.0, 20.0, 0.0, 80.0, -80.0]),
    torch.tensor(1.7, dtype=torch.float64), 49.13)
LEVELS = torch.tensor([300])


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    """Return a small random Stable Diffusion, loaded from its folder."""
    folder = tmp_path_factory.mktemp('sd')
    return load_stable_diffusion(
        text_helpers.write_folder(folder, text_helpers.text_networks()))


def make_prior(model, prompts=PROMPT, scale=3.0):
    return LatentDiffusionPrior(model, prompts, scale, SIZE)


def noise(n=1, seed=0):
    return torch.randn((n, 4, 8, 8), generator=torch.Generator().manual_seed(seed))


def picture(generator=None, count=1):
    """Return a premultiplied RGBA picture of a red disc, shifted at random."""
    shift = torch.zeros(2) if generator is None else torch.rand(2, generator=generator) - 0.5
    at = torch.linspace(-1.0, 1.0, SIZE)
    inside = ((at[:, None] - shift[0]).square() + (at - shift[1]).square() < 0.3).float()
    image = torch.stack([inside, 0.2 * inside, 0.1 * inside, inside])
    return image.expand(count, -1, -1, -1)


def test_the_word_of_the_view_follows_from_the_pose(model):
    prior = make_prior(model)
    states = prior.condition(CAMERAS.poses)
    assert states.shape == (5, 77, 64)
    for row, word in zip(states, ('front', 'side', 'back', 'overhead', 'bottom'), strict=True):
        with torch.no_grad():
            text = f'A high resolution image of a mug, {word} view'
            assert torch.equal(row, prior.encoder.encode([text])[0])
    assert len(torch.unique(states.flatten(1), dim=0)) == 5
    blind = make_prior(model, PromptSettings(PROMPT.prompt, suffix=None))
    assert len(torch.unique(blind.condition(CAMERAS.poses).flatten(1), dim=0)) == 1


def test_prompts_are_tokenised_as_by_the_library(model):
    prior = make_prior(model)
    text = 'A high resolution image of a mug'
    ids = model.tokenizer(
        text, padding='max_length', max_length=77, return_tensors='pt').input_ids
    with torch.no_grad():
        expected = model.text_encoder['text_model'](input_ids=ids).last_hidden_state
        assert torch.equal(prior.encoder.encode([text]), expected)


def test_guidance_moves_away_from_the_unconditional_prediction(model):
    prior = make_prior(model, scale=3.0)
    condition = prior.condition(CAMERAS.poses[:1])
    with torch.no_grad():
        given = prior.predict(noise(), LEVELS, condition)
        free = prior.predict(noise(), LEVELS, prior.text['null'])
    guided = free + 3.0 * (given - free)
    expected = prior.schedule.clean(noise(), guided, LEVELS, 'epsilon')
    torch.testing.assert_close(
        prior.predict_x0(noise(), LEVELS, condition), expected, atol=1e-4, rtol=1e-4)
    alone = make_prior(model, scale=1.0).predict_x0(noise(), LEVELS, condition)
    torch.testing.assert_close(
        alone, prior.schedule.clean(noise(), given, LEVELS, 'epsilon'), atol=1e-4, rtol=1e-4)


def test_renderings_are_seen_before_white_with_gradients(model):
    prior = make_prior(model)
    images = torch.rand((1, 4, 24, 24), generator=torch.Generator().manual_seed(0))
    images[:, :3] *= images[:, 3:]
    images.requires_grad_()
    latents = prior.encode(images)
    assert latents.shape == (1, 4, 8, 8)
    latents.sum().backward()
    assert bool((images.grad != 0.0).any(dim=3).all())
    white = torch.cat([images[:, :3] + 1.0 - images[:, 3:], torch.ones(1, 1, 24, 24)], dim=1)
    torch.testing.assert_close(prior.encode(white), latents)
    guidance = ScoreGuidance(prior, GuidanceSettings())
    loss = guidance.loss(
        images, CAMERAS.select(torch.tensor([1])), 0, torch.Generator().manual_seed(0))
    assert torch.isfinite(torch.autograd.grad(loss, images)[0]).all()


def test_a_learned_token_stands_for_its_embedding(model):
    prior = make_prior(model)
    row = prior.encoder.embedding_of('mug')
    learned = make_prior(model, PromptSettings('A high resolution image of a <object>',
                                               tokens={'<object>': row}))
    torch.testing.assert_close(learned.text['side'], prior.text['side'])
    other = learned.with_tokens({'<object>': -row})
    assert not torch.allclose(other.text['side'], learned.text['side'])
    # Two vectors take the places of two words.
    both = torch.cat([prior.encoder.embedding_of('high'), prior.encoder.embedding_of('mug')])
    with torch.no_grad():
        torch.testing.assert_close(
            prior.encoder.encode(['a <two> view'], {'<two>': both}),
            prior.encoder.encode(['a high mug view']))


def test_only_the_learned_token_has_a_gradient(model):
    prior = make_prior(model)
    row = prior.encoder.embedding_of('object').requires_grad_()
    states = prior.encoder.encode(['A <object>, front view'], {'<object>': row})
    prior.denoising_loss(noise(), noise(seed=1), LEVELS, states).backward()
    assert float(row.grad.abs().max()) > 0.0
    assert all(p.grad is None for network in (model.unet, model.text_encoder)
               for p in network.parameters())


@pytest.mark.parametrize(('token', 'width', 'prompt'), [
    ('mug', 64, 'a mug'), ('two words', 64, 'a view'), ('', 64, 'a view'),
    ('<object>', 32, 'a <object>'), ('<object>', 64, 'a <object> ' * 40),
])
def test_tokens_and_prompts_that_do_not_fit_are_refused(token, width, prompt, model):
    with raises_code(ErrorCode.BAD_REQUEST):
        make_prior(model, PromptSettings(prompt, tokens={token: torch.zeros(1, width)}))


def test_inversion_learns_the_token_of_the_picture(model):
    prior = make_prior(model)
    settings = InversionSettings(steps=24, batch=1, rate=0.05)
    found = invert(prior, picture, settings)
    assert found.embedding.shape == (1, 64)
    # The same noise with the token that was learned, and with the one that it started from.
    generator = torch.Generator().manual_seed(3)
    clean, levels = prior.encode(picture(count=8)), torch.arange(8) * 120 + 50
    noise = torch.randn(clean.shape, generator=generator)
    losses = []
    for token in (found.embedding, prior.embedding()):
        with torch.no_grad():
            losses.append(float(denoising_loss(
                prior, token, clean, noise, levels, torch.Generator().manual_seed(4))))
    assert losses[0] < losses[1]
    blank = make_prior(model, PromptSettings('A <object>'))
    known = blank.with_token(found.embedding)
    assert not torch.allclose(known.text['front'], blank.text['front'])


def test_a_token_starts_from_one_word(model):
    with raises_code(ErrorCode.BAD_REQUEST):
        make_prior(model).encoder.embedding_of('unheard')


def test_half_precision_predicts_about_the_same(model, tmp_path):
    folder = text_helpers.write_folder(tmp_path, text_helpers.text_networks())
    half = make_prior(load_stable_diffusion(folder, dtype=torch.bfloat16))
    whole = make_prior(model)
    clean = half.predict_x0(noise(), LEVELS, half.condition(CAMERAS.poses[:1]))
    expected = whole.predict_x0(noise(), LEVELS, whole.condition(CAMERAS.poses[:1]))
    assert clean.dtype == torch.float32
    assert float((clean - expected).norm() / expected.norm()) < 0.05
    assert half.encode(picture()).dtype == torch.float32


def loss_of(prior, steps=8):
    """Return the denoising loss of the picture from the front, the mean of many levels."""
    generator = torch.Generator().manual_seed(9)
    total = 0.0
    with torch.no_grad():
        for step in range(steps):
            clean = prior.encode(picture(generator))
            draw = torch.randn(clean.shape, generator=generator)
            level = torch.tensor([(step * 999) // steps])
            total += float(prior.denoising_loss(clean, draw, level, prior.text['front']))
    return total / steps


def test_imagic_learns_the_picture_and_leaves_the_prior(model):
    prior = make_prior(model)
    before = {name: value.clone() for name, value in model.unet.state_dict().items()}
    settings = ImagicSettings(
        embedding_steps=8, embedding_rate=0.02, network_steps=24, network_rate=1e-3,
        interpolation=0.0)
    adapted = adapt_imagic(prior, picture, settings)
    assert loss_of(adapted) < 0.8 * loss_of(prior)
    assert all(torch.equal(value, before[name]) for name, value in model.unet.state_dict().items())
    # On the line between the states that were learned and those of the prompt.
    beyond = adapt_imagic(prior, picture, ImagicSettings(2, 0.02, 0, interpolation=1.5))
    learned = adapt_imagic(prior, picture, ImagicSettings(2, 0.02, 0, interpolation=0.0))
    torch.testing.assert_close(
        beyond.text['back'], 1.5 * prior.text['back'] - 0.5 * learned.text['back'])
    assert torch.equal(beyond.text['null'], prior.text['null'])


def test_a_diverging_adaptation_is_stopped(model):
    with raises_code(ErrorCode.BAD_REQUEST):
        adapt_imagic(make_prior(model), lambda generator, count: picture() * torch.nan,
                     ImagicSettings(2, network_steps=0))
    with raises_code(ErrorCode.BAD_REQUEST):
        ImagicSettings(-1)


def test_lora_without_its_package_is_refused(model, monkeypatch):
    monkeypatch.setitem(sys.modules, 'peft', None)
    with raises_code(ErrorCode.BAD_REQUEST):
        adapt_lora(make_prior(model), picture)


def test_lora_learns_the_picture(model, tmp_path):
    pytest.importorskip('peft', reason='LoRA needs peft')
    prior = make_prior(model)
    settings = LoraSettings(rank=4, steps=24, rate=0.01)
    adapted = adapt_lora(prior, picture, settings)
    assert loss_of(adapted) < loss_of(prior)
    write_lora(tmp_path / 'lora.safetensors', adapted.unet)
    again = prior.adapted(read_lora(tmp_path / 'lora.safetensors', model.unet, settings))
    assert loss_of(again) == pytest.approx(loss_of(adapted), rel=1e-5)
    with raises_code(ErrorCode.WEIGHTS_CORRUPT):
        read_lora(tmp_path / 'lora.safetensors', model.unet, LoraSettings(rank=2))
