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

"""CLIP guidance: both signs, its magnitude, and the weight of the object's box."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from lift3d_ros.distill.guidance.clip import ClipGuidance
from lift3d_ros.distill.guidance.clip import inside_weight
from lift3d_ros.distill.guidance.clip import spherical_distance
from lift3d_ros.distill.guidance.guidance import GuidanceSettings
from lift3d_ros.distill.guidance.guidance import ScoreGuidance
from lift3d_ros.distill.priors.exact import GaussianPrior
from lift3d_ros.distill.schedules import TimestepRange
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError


class RandomEncoder:
    """A fixed non-linear encoder of pictures (b, 3, 8, 8)."""

    def __init__(self):
        generator = torch.Generator().manual_seed(0)
        self.first = torch.randn((3 * 64, 32), generator=generator, dtype=torch.float64) / 8.0
        self.second = torch.randn((32, 16), generator=generator, dtype=torch.float64)

    def embed(self, images):
        return functional.silu(images.flatten(1).double() @ self.first) @ self.second


ENCODER = RandomEncoder()


def picture(seed):
    return torch.rand((1, 3, 8, 8), generator=torch.Generator().manual_seed(seed),
                      dtype=torch.float64) * 2.0 - 1.0


def make_guidance(sign='fixed', **settings):
    return ClipGuidance(ENCODER, ENCODER.embed(picture(1)), sign=sign, **settings)


def test_distance_is_half_the_squared_angle():
    angle = 0.7
    a = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    b = 3.0 * torch.tensor([[math.cos(angle), math.sin(angle)]], dtype=torch.float64)
    assert float(spherical_distance(a, b)) == pytest.approx(0.5 * angle**2)
    same = a.clone().requires_grad_()
    spherical_distance(same, a).sum().backward()
    assert float(same.grad.abs().max()) == 0.0


@pytest.mark.parametrize(('sign', 'falls'), [('fixed', True), ('faithful', False)])
def test_distance_falls_with_the_descending_sign_and_rises_with_the_published_one(sign, falls):
    guidance = make_guidance(sign)
    image = picture(2)
    distances = [float(guidance.distance(image))]
    for _ in range(20):
        image = image - 0.02 * guidance.gradient(image)
        distances.append(float(guidance.distance(image)))
    steps = torch.tensor(distances).diff()
    assert bool((steps < 0.0).all() if falls else (steps > 0.0).all())


@pytest.mark.parametrize(('sign', 'falls'), [('fixed', True), ('faithful', False)])
def test_signs_act_within_score_distillation(sign, falls):
    """The prior's clean images are at the rendering, so that the distance alone moves it."""
    prior = GaussianPrior(torch.zeros(1, dtype=torch.float64), 100.0)
    settings = GuidanceSettings(weighting='uniform', timesteps=TimestepRange.parse(0.05, 0.06))
    guidance = ScoreGuidance(prior, settings, make_guidance(sign, scale=2.0))
    from lift3d_ros.distill.cameras import Cameras

    camera = Cameras.orbit(torch.zeros(1), torch.zeros(1), torch.ones(1), 49.1)
    image, generator = picture(2), torch.Generator().manual_seed(0)
    before = float(guidance.clip.distance(image))
    for step in range(20):
        image = image - 0.25 * guidance.gradient(image, camera, step, generator)
    assert (float(guidance.clip.distance(image)) < before) == falls


def test_gradient_is_the_derivative_times_the_scales():
    guidance = make_guidance(scale=100.0, latent_scale=0.18215)
    image, direction, h = picture(2), picture(3), 1e-6
    plain = make_guidance()
    slope = (plain.distance(image + h * direction) - plain.distance(image - h * direction)) / 2 / h
    assert float((guidance.gradient(image) * direction).sum()) == pytest.approx(
        100.0 * 0.18215 * float(slope), rel=1e-5)


def test_loss_of_a_rendering_is_always_descended():
    for sign in ('fixed', 'faithful'):
        image = picture(2).requires_grad_()
        guidance = make_guidance(sign)
        guidance.loss(image).backward()
        moved = image.detach() - 0.5 * image.grad
        assert float(guidance.distance(moved)) < float(guidance.distance(image.detach()))


def test_an_unknown_sign_is_refused():
    with pytest.raises(LiftError) as caught:
        make_guidance('published')
    assert caught.value.code is ErrorCode.BAD_REQUEST


def test_weight_is_one_in_the_box_of_the_object_and_less_outside():
    opacity = torch.zeros(2, 1, 16, 16)
    opacity[0, 0, 4, 6] = opacity[0, 0, 10, 12] = 0.2
    weights = inside_weight(opacity, (8, 8))
    expected = torch.full((8, 8), 0.5)
    expected[2:6, 3:7] = 1.0
    assert torch.equal(weights[0, 0], expected)
    assert bool((weights[1] == 1.0).all())


def test_scales_follow_the_words_of_the_views():
    images = picture(2).expand(3, -1, -1, -1)
    plain = make_guidance().gradient(images)
    scaled = make_guidance(scale={'front': 4.0, 'side': 2.0, 'back': 1.0}).gradient(
        images, ['back', 'front', 'side'])
    factors = torch.tensor([1.0, 4.0, 2.0], dtype=torch.float64).reshape(3, 1, 1, 1)
    torch.testing.assert_close(scaled, factors * plain)
