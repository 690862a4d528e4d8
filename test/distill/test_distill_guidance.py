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

"""Score distillation against priors with a known denoiser."""

from __future__ import annotations

import pytest
import torch

from lift3d_ros.distill.cameras import Cameras
from lift3d_ros.distill.guidance.anchors import anchor_ring
from lift3d_ros.distill.guidance.anchors import make_anchors
from lift3d_ros.distill.guidance.guidance import GuidanceSettings
from lift3d_ros.distill.guidance.guidance import ScoreGuidance
from lift3d_ros.distill.guidance.score import injected
from lift3d_ros.distill.guidance.score import sds_gradient
from lift3d_ros.distill.guidance.score import sjc_gradient
from lift3d_ros.distill.guidance.score import weight
from lift3d_ros.distill.guidance.score import WEIGHTINGS
from lift3d_ros.distill.guidance.score import x0_gradient
from lift3d_ros.distill.priors.exact import BankPrior
from lift3d_ros.distill.priors.exact import GaussianPrior
from lift3d_ros.distill.priors.prior import NoiseSchedule
from lift3d_ros.distill.schedules import TimestepRange
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError

CAMERA = Cameras.orbit(torch.zeros(1), torch.zeros(1), torch.full((1,), 1.7), 49.1)
FORMS = {'sds': sds_gradient, 'sjc': sjc_gradient, 'x0': x0_gradient}


def make_bank(k=5, c=3, size=4, seed=0):
    """Return a bank of random pictures that does not depend on the camera, and its latents."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand((k, c + 1, size, size), generator=generator, dtype=torch.float64)
    prior = BankPrior(lambda poses: images.expand(len(poses), -1, -1, -1, -1))
    return prior, prior.condition(CAMERA.poses)


@pytest.mark.parametrize('timestep', [100, 500, 900])
def test_mean_gradient_at_a_gaussian_prior_is_the_closed_form(timestep):
    mean, std, z = 0.3, 0.7, -0.9
    prior = GaussianPrior(torch.tensor(mean, dtype=torch.float64), std)
    # Antithetic noise: the mean over the pairs is exact for a linear denoiser.
    noise = torch.randn(20_000, 1, 1, 1, dtype=torch.float64,
                        generator=torch.Generator().manual_seed(1))
    noise = torch.cat([noise, -noise])
    latents = torch.full_like(noise, z)
    timesteps = torch.full((len(noise),), timestep)
    gradient, _ = sds_gradient(prior, latents, timesteps, noise, None, 'uniform')
    ab = float(prior.schedule.alphas_cumprod[timestep])
    expected = (ab * (1 - ab)) ** 0.5 * (z - mean) / (ab * std**2 + 1 - ab)
    assert float(gradient.mean()) == pytest.approx(expected, rel=1e-10)


def test_denoiser_of_the_gaussian_prior_is_the_posterior_mean():
    """Against the mean of clean values whose noisy value falls into one bin."""
    prior = GaussianPrior(torch.tensor(0.3), 0.7)
    generator = torch.Generator().manual_seed(2)
    clean = 0.3 + 0.7 * torch.randn(400_000, 1, 1, 1, generator=generator)
    timesteps = torch.full((len(clean),), 400)
    noisy = prior.schedule.add_noise(
        clean, torch.randn(clean.shape, generator=generator), timesteps)
    chosen = (noisy - 0.5).abs() < 0.05
    predicted = prior.predict_x0(torch.full((1, 1, 1, 1), 0.5), torch.tensor([400]))
    assert float(predicted) == pytest.approx(float(clean[chosen].mean()), abs=0.02)


@pytest.mark.parametrize('timestep', [20, 300, 700, 999])
@pytest.mark.parametrize('kind', ['gaussian', 'bank'])
def test_chaining_is_minus_the_score_of_sds(kind, timestep):
    bank, condition = make_bank()
    prior = bank if kind == 'bank' else GaussianPrior(torch.tensor(0.2, dtype=torch.float64), 0.5)
    generator = torch.Generator().manual_seed(3)
    latents, noise = torch.randn((2, 1, 3, 4, 4), generator=generator, dtype=torch.float64)
    arguments = (latents, torch.tensor([timestep]), noise, condition)
    sds, _ = sds_gradient(prior, *arguments, 'uniform')
    sjc, _ = sjc_gradient(prior, *arguments)
    torch.testing.assert_close(sjc, sds, rtol=0.0, atol=1e-12 * max(1.0, float(sds.abs().max())))


def test_chaining_without_variance_reduction_has_the_same_mean():
    prior = GaussianPrior(torch.tensor(0.2, dtype=torch.float64), 0.5)
    noise = torch.randn(2000, 1, 1, 1, dtype=torch.float64,
                        generator=torch.Generator().manual_seed(4))
    noise = torch.cat([noise, -noise])
    latents, timesteps = torch.full_like(noise, 0.9), torch.full((len(noise),), 500)
    reduced, plain = (
        sjc_gradient(prior, latents, timesteps, noise, None, reduce)[0]
        for reduce in (True, False))
    assert float(plain.mean()) == pytest.approx(float(reduced.mean()), rel=1e-9)
    assert float(plain.var()) > 2.0 * float(reduced.var())


@pytest.mark.parametrize('weighting', WEIGHTINGS)
def test_forms_differ_by_their_weights_only(weighting):
    prior, condition = make_bank()
    schedule, timesteps = prior.schedule, torch.tensor([600])
    latents, noise = torch.randn(
        (2, 1, 3, 4, 4), generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    sds, clean = sds_gradient(prior, latents, timesteps, noise, condition, weighting)
    ab = float(schedule.alphas_cumprod[600])
    w = {'dreamfusion': 1 - ab, 'uniform': 1.0, 'fantasia3d': ab**0.5 * (1 - ab)}[weighting]
    assert float(weight(schedule, timesteps, latents, weighting)) == pytest.approx(w)
    # With the noise that the network would have predicted.
    noisy = ab**0.5 * latents + (1 - ab) ** 0.5 * noise
    eps = (noisy - ab**0.5 * clean) / (1 - ab) ** 0.5
    torch.testing.assert_close(sds, w * (eps - noise), rtol=0.0, atol=1e-12)
    residual, _ = x0_gradient(prior, latents, timesteps, noise, condition, weighting)
    torch.testing.assert_close(sds, residual * (ab / (1 - ab)) ** 0.5, rtol=0.0, atol=1e-12)


def test_denoiser_of_the_bank_is_the_weighted_mean():
    images = torch.tensor([0.0, 1.0], dtype=torch.float64).reshape(1, 2, 1, 1, 1).expand(
        1, 2, 4, 1, 1)
    prior = BankPrior(lambda poses: images, torch.tensor([0.0, 1.0], dtype=torch.float64))
    condition = prior.condition(CAMERA.poses)
    # Member 0 is transparent, so white; member 1 is white itself.
    assert condition.flatten().tolist() == [1.0] * 6
    condition = torch.tensor([-1.0, 0.5]).double().reshape(1, 2, 1, 1, 1)
    ab = float(prior.schedule.alphas_cumprod[700])
    x = 0.2
    logits = torch.tensor([
        -0.5 * (x - ab**0.5 * y) ** 2 / (1 - ab) + log
        for y, log in ((-1.0, 0.0), (0.5, 1.0))])
    expected = float((logits.softmax(0) * torch.tensor([-1.0, 0.5])).sum())
    noisy = torch.full((1, 1, 1, 1), x, dtype=torch.float64)
    assert float(prior.predict_x0(noisy, torch.tensor([700]), condition)) == pytest.approx(
        expected, rel=1e-6)


@pytest.mark.parametrize('form', FORMS)
def test_descent_ends_at_a_member_of_the_bank(form):
    prior, condition = make_bank(size=8)
    members = condition[0]
    guidance = ScoreGuidance(
        prior, GuidanceSettings(form=form, timesteps=TimestepRange.parse(0.02, 0.2)))
    # In the latents of the bank; the rendering itself is the parameter.
    latents = (members[2] + 0.3 * torch.randn(
        members[2].shape, generator=torch.Generator().manual_seed(6)))[None].clone()
    latents.requires_grad_()
    optimizer = torch.optim.Adam([latents], 0.05)
    generator = torch.Generator().manual_seed(7)
    for step in range(100):
        optimizer.zero_grad()
        injected(latents, guidance.gradient(latents.detach(), CAMERA, step, generator)).backward()
        optimizer.step()
    distances = (latents.detach() - members).flatten(1).norm(dim=1)
    assert int(distances.argmin()) == 2
    assert float(distances[2]) < 0.1 * float(distances.sort().values[1])


def test_injected_loss_has_the_gradient():
    latents = torch.randn(3, 2, 4, 4).requires_grad_()
    gradient = torch.randn(3, 2, 4, 4)
    injected(latents, gradient).backward()
    torch.testing.assert_close(latents.grad, gradient / 3.0, atol=1e-6, rtol=1e-5)


def test_a_gradient_that_is_not_finite_stays_so():
    latents = torch.zeros(1, 1, 2, 2).requires_grad_()
    injected(latents, torch.full((1, 1, 2, 2), float('nan'))).backward()
    assert bool(latents.grad.isnan().all())


def test_loss_of_a_rendering_reaches_colour_and_opacity():
    prior, _ = make_bank()
    images = torch.rand((1, 4, 4, 4), dtype=torch.float64).requires_grad_()
    loss = ScoreGuidance(prior).loss(images, CAMERA, 0, torch.Generator().manual_seed(0))
    loss.backward()
    assert bool((images.grad != 0.0).all())


def test_the_same_seed_gives_the_same_gradient():
    prior, condition = make_bank()
    guidance = ScoreGuidance(prior, GuidanceSettings(draws=3))
    latents = condition[:, 0]
    first, second, other = (
        guidance.gradient(latents, CAMERA, 0, torch.Generator().manual_seed(seed))
        for seed in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_anchors_of_a_bank_are_its_mean_at_the_noisiest_level():
    prior, condition = make_bank()
    ring = anchor_ring(4, (0.0, 30.0), 1.7, 49.1)
    assert ring.azimuth.tolist() == [0.0, 90.0, 180.0, 270.0, 45.0, 135.0, 225.0, 315.0]
    anchors = make_anchors(prior, ring, (3, 4, 4), torch.Generator().manual_seed(0), draws=4)
    assert anchors.latents.shape == (8, 3, 4, 4)
    mean = condition[0].mean(0)
    spread = condition[0].std(0).mean()
    assert float((anchors.latents[0] - mean).abs().mean()) < 0.5 * float(spread)
    index = torch.tensor([0, 3])
    assert float(anchors.loss(anchors.latents[index], index)) == 0.0
    assert float(anchors.loss(anchors.latents[index] + 2.0, index)) == pytest.approx(4.0)


def test_anchors_can_be_cancelled_between_views():
    prior, _ = make_bank()
    calls = []

    def check():
        calls.append(1)
        if len(calls) == 3:
            raise LiftError(ErrorCode.CANCELLED, 'cancelled')

    with pytest.raises(LiftError):
        make_anchors(
            prior, anchor_ring(8, (0.0,), 1.7, 49.1), (3, 4, 4), torch.Generator(), check=check)
    assert len(calls) == 3


@pytest.mark.parametrize('make', [
    lambda: GuidanceSettings(form='dds'),
    lambda: GuidanceSettings(weighting='min_snr'),
    lambda: GuidanceSettings(draws=0),
    lambda: make_anchors(make_bank()[0], CAMERA, (3, 4, 4), torch.Generator(), timestep=1000),
    lambda: NoiseSchedule(torch.tensor([0.1, 0.5])),
    lambda: NoiseSchedule(torch.tensor([1.0, 0.5])),
])
def test_invalid_settings_are_refused(make):
    with pytest.raises(LiftError) as caught:
        make()
    assert caught.value.code is ErrorCode.BAD_REQUEST


def test_a_level_without_signal():
    """Zero terminal SNR: the x0 form has a gradient there, SDS is 0, SJC is refused."""
    products = torch.linspace(0.99, 0.0, 10, dtype=torch.float64)
    bank, condition = make_bank()
    prior = BankPrior(bank.render, schedule=NoiseSchedule(products))
    latents = condition[:, 0] + 0.1
    arguments = (prior, latents, torch.tensor([9]), torch.zeros_like(latents), condition)
    assert float(sds_gradient(*arguments)[0].abs().max()) == 0.0
    torch.testing.assert_close(x0_gradient(*arguments)[0], latents - condition.mean(1))
    with pytest.raises(LiftError) as caught:
        sjc_gradient(*arguments)
    assert caught.value.code is ErrorCode.BAD_REQUEST


@pytest.mark.parametrize('kind', ['epsilon', 'v_prediction', 'sample'])
def test_predictions_of_every_kind_give_the_clean_latents(kind):
    schedule = NoiseSchedule.scaled_linear()
    clean, noise = torch.randn((2, 3, 1, 2, 2), dtype=torch.float64)
    timesteps = torch.tensor([0, 500, 999])
    noisy = schedule.add_noise(clean, noise, timesteps)
    ab = schedule.alpha_bar(timesteps, clean)
    prediction = {
        'epsilon': noise, 'sample': clean,
        'v_prediction': ab.sqrt() * noise - (1 - ab).sqrt() * clean,
    }[kind]
    torch.testing.assert_close(
        schedule.clean(noisy, prediction, timesteps, kind), clean, rtol=0.0, atol=1e-10)
    torch.testing.assert_close(
        schedule.epsilon(noisy, clean, timesteps), noise, rtol=0.0, atol=1e-10)


def test_schedule_is_that_of_diffusers():
    from diffusers import DDIMScheduler

    scheduler = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule='scaled_linear')
    torch.testing.assert_close(
        NoiseSchedule.of_scheduler(scheduler).alphas_cumprod,
        NoiseSchedule.scaled_linear().alphas_cumprod, rtol=1e-4, atol=1e-7)


def test_the_view_from_behind_is_late():
    """At step 500 of a delay of 1000 the front is half-way, views beyond 90 degrees at step 0."""
    prior, _ = make_bank()
    seen = []

    class Watching(BankPrior):
        def predict_x0(self, noisy, timesteps, condition):
            seen.append(timesteps.tolist())
            return super().predict_x0(noisy, timesteps, condition)

    cameras = Cameras.orbit(
        torch.tensor([0.0, 45.0, 90.0, 180.0]), torch.zeros(4), torch.tensor(1.7), 49.1)
    noise = TimestepRange.parse([0, 0.9, 0.1, 1000], [0, 0.9, 0.1, 1000])
    guidance = ScoreGuidance(
        Watching(prior.render), GuidanceSettings(timesteps=noise, delay=1000.0))
    latents = prior.condition(cameras.poses)[:, 0]
    guidance.gradient(latents, cameras, 500, torch.Generator())
    assert seen == [[500, 700, 900, 900]]


def test_the_gradient_outside_of_the_object_is_weaker():
    prior, _ = make_bank(size=8)
    images = torch.rand(
        1, 4, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(8))
    images[:, :, :, :3] = 0.0
    gradients = []
    for outside in (1.0, 0.5):
        latents = prior.encode(images).requires_grad_()
        guidance = ScoreGuidance(prior, GuidanceSettings(outside=outside))
        guidance.latent_loss(
            latents, CAMERA, 0, torch.Generator().manual_seed(0), images[:, 3:]).backward()
        gradients.append(latents.grad)
    whole, weaker = gradients
    torch.testing.assert_close(weaker[..., 3:], whole[..., 3:])
    torch.testing.assert_close(weaker[..., :3], 0.5 * whole[..., :3])
