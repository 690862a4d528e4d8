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

"""Tests of the samplers against their formulas and against distributions with a known score."""

import numpy as np
import pytest
import torch
from zero123_helpers import make_scheduler

from lift3d_ros.diffusion.sampling import ddim_timesteps
from lift3d_ros.diffusion.sampling import FAITHFUL
from lift3d_ros.diffusion.sampling import FAST
from lift3d_ros.diffusion.sampling import Sampler
from lift3d_ros.diffusion.sampling import SamplerSettings
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError

#: As the checkpoints have them: the square of a ramp of the roots.
BETAS = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
ALPHA_BAR = np.cumprod(1.0 - BETAS)


def test_75_steps_are_the_published_77():
    grid = ddim_timesteps(75)
    assert len(grid) == 77
    assert grid[:2] == [989, 976]
    assert grid[-2:] == [14, 1]
    assert Sampler(FAITHFUL, make_scheduler()).timesteps == grid


def test_50_steps_are_50():
    assert ddim_timesteps(50) == list(range(981, 0, -20))


@pytest.mark.parametrize('steps', [1, 3, 27, 37, 111, 333, 999, 1000])
def test_every_number_of_steps_stays_within_the_noise_levels(steps):
    grid = ddim_timesteps(steps)
    assert len(grid) >= min(steps, 999)
    assert max(grid) <= 999
    assert grid[-1] == 1


@pytest.mark.parametrize('prediction', ['epsilon', 'v_prediction', 'sample'])
@pytest.mark.parametrize(('steps', 'eta'), [(75, 1.0), (50, 0.0), (20, 0.4)])
def test_ddim_follows_its_formula(steps, eta, prediction):
    rng = np.random.default_rng(1)
    settings = SamplerSettings('ddim', steps=steps, eta=eta)
    sampler = Sampler(settings, make_scheduler(prediction_type=prediction))
    c = 1000 // steps
    grid = np.arange(0, 1000, c) + 1
    x = rng.normal(size=(2, 4, 3, 3))
    latents = torch.tensor(x)
    for i in reversed(range(len(grid))):
        output, z = rng.normal(size=x.shape), rng.normal(size=x.shape)
        now = ALPHA_BAR[grid[i]]
        before = ALPHA_BAR[grid[i - 1]] if i else ALPHA_BAR[0]
        if prediction == 'epsilon':
            x0, eps = (x - np.sqrt(1 - now) * output) / np.sqrt(now), output
        elif prediction == 'sample':
            x0, eps = output, (x - np.sqrt(now) * output) / np.sqrt(1 - now)
        else:
            x0 = np.sqrt(now) * x - np.sqrt(1 - now) * output
            eps = np.sqrt(now) * output + np.sqrt(1 - now) * x
        sigma = eta * np.sqrt((1 - before) / (1 - now) * (1 - now / before))
        x = np.sqrt(before) * x0 + np.sqrt(1 - before - sigma**2) * eps + sigma * z
        latents = sampler.step(torch.tensor(output), int(grid[i]), latents, torch.tensor(z))
        np.testing.assert_allclose(latents.numpy(), x, rtol=1e-3, atol=1e-4)
        x = latents.numpy()


MEANS, SPREAD = np.array([-1.2, -0.3, 0.9]), 0.15


def mixture_epsilon(x, t):
    """Return the exact noise prediction where the data are a mixture of three Gaussians."""
    a = ALPHA_BAR[t]
    variance = a * SPREAD**2 + 1.0 - a
    offset = np.sqrt(a) * MEANS - x[..., None]
    logits = -(offset**2) / (2.0 * variance)
    weight = np.exp(logits - logits.max(-1, keepdims=True))
    weight /= weight.sum(-1, keepdims=True)
    return -np.sqrt(1.0 - a) * (weight * offset / variance).sum(-1)


def sample_mixture(settings):
    """Return 4000 samples, sorted."""
    rng = np.random.default_rng(0)
    sampler = Sampler(settings, make_scheduler())
    latents = torch.tensor(rng.normal(size=(4000, 1, 1, 1)))
    for t in sampler.timesteps:
        noise = torch.tensor(rng.normal(size=latents.shape)) if sampler.needs_noise else None
        prediction = torch.tensor(mixture_epsilon(latents.numpy(), t))
        latents = sampler.step(prediction, t, latents, noise)
    return np.sort(latents.numpy().ravel())


def mixture_error(settings):
    """Return the distance of the samples from the data, the first Wasserstein distance."""
    rng = np.random.default_rng(9)
    data = np.sort(rng.choice(MEANS, 4000) + SPREAD * rng.normal(size=4000))
    return np.abs(sample_mixture(settings) - data).mean()


def test_the_faithful_sampler_draws_from_the_data():
    assert mixture_error(FAITHFUL) < 0.05


def test_the_fast_sampler_draws_from_the_data_in_few_steps():
    assert len(Sampler(FAST, make_scheduler()).timesteps) == 12
    error = mixture_error(FAST)
    assert error < 0.05
    assert error < 0.6 * mixture_error(SamplerSettings('ddim', steps=12))
    assert error < 0.6 * mixture_error(SamplerSettings(steps=12, spacing='uniform'))


def test_the_solver_understands_what_the_network_predicts():
    # The same knowledge of the data, told as noise, as the image and as velocity.
    ends = []
    for prediction in ('epsilon', 'sample', 'v_prediction'):
        sampler = Sampler(SamplerSettings(steps=8), make_scheduler(prediction_type=prediction))
        x = torch.linspace(-2.0, 2.0, 9, dtype=torch.float64).view(9, 1, 1, 1)
        for t in sampler.timesteps:
            a = ALPHA_BAR[t]
            eps = torch.tensor(mixture_epsilon(x.numpy(), t))
            x0 = (x - np.sqrt(1 - a) * eps) / np.sqrt(a)
            v = np.sqrt(a) * eps - np.sqrt(1 - a) * x0
            x = sampler.step({'epsilon': eps, 'sample': x0, 'v_prediction': v}[prediction], t, x)
        ends.append(x.double())
    torch.testing.assert_close(ends[1], ends[0], rtol=0.0, atol=0.01)
    torch.testing.assert_close(ends[2], ends[0], rtol=0.0, atol=0.01)


def test_two_runs_share_no_state():
    scheduler = make_scheduler()
    before = dict(scheduler.config)
    first, second = Sampler(FAST, scheduler), Sampler(FAST, scheduler)
    x = torch.ones(1, 1, 1, 1)
    for t in first.timesteps:
        x = first.step(torch.full_like(x, 0.1), t, x)
    y = torch.ones(1, 1, 1, 1)
    for t in second.timesteps:
        y = second.step(torch.full_like(y, 0.1), t, y)
    assert torch.equal(x, y)
    assert dict(scheduler.config) == before
    assert scheduler.num_inference_steps is None


def test_guidance_acts_in_its_interval_alone():
    settings = SamplerSettings(guidance_scale=2.0, guidance_interval=(0.2, 0.8))
    sampler = Sampler(settings, make_scheduler())
    assert [sampler.guided(t) for t in (999, 801, 800, 200, 199, 0)] == [
        False, False, True, True, False, False,
    ]
    assert not Sampler(SamplerSettings(guidance_scale=1.0), make_scheduler()).guided(500)


@pytest.mark.parametrize(
    'changes',
    [
        {'solver': 'euler'},
        {'steps': 0},
        {'steps': 1001},
        {'spacing': 'odd'},
        {'eta': -0.1, 'solver': 'ddim'},
        {'eta': float('nan'), 'solver': 'ddim'},
        {'eta': 1.0},
        {'guidance_scale': float('nan')},
        {'guidance_scale': -1.0},
        {'guidance_interval': (0.8, 0.2)},
        {'guidance_interval': (0.0, 1.5)},
    ],
)
def test_settings_that_no_sampler_can_follow_are_refused(changes):
    with pytest.raises(LiftError) as error:
        SamplerSettings(**changes)
    assert error.value.code is ErrorCode.BAD_REQUEST


def test_more_steps_than_noise_levels_are_refused():
    with pytest.raises(LiftError, match='noise levels'):
        Sampler(SamplerSettings(steps=50), make_scheduler(num_train_timesteps=20))
