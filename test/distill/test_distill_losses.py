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

"""Each loss against a value computed by hand, its gradient against finite differences."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import kendalltau
import torch

from lift3d_ros.distill.losses import rays
from lift3d_ros.distill.losses import reference
from lift3d_ros.distill.losses import smoothness
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError


def T(*values):
    return torch.tensor(values, dtype=torch.float64)


def random(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(shape, generator=generator, dtype=torch.float64)


def units(*shape, seed=0):
    return torch.nn.functional.normalize(random(*shape, 3, seed=seed) - 0.5, dim=-1)


MASK = T(1.0, 1.0, 0.0, 0.0)
COLOR = T([0.5, 0.0, 0.0], [1.0, 1.0, 1.0], [0.3, 0.3, 0.3], [0.0, 0.0, 0.0])
TARGET = T([0.0, 0.0, 0.0], [1.0, 1.0, 0.0], [1.0, 1.0, 1.0], [0.0, 0.0, 0.0])
EDGES = T([0.0, 0.2, 0.5], [0.1, 0.4, 0.6])
ENDS = T([0.2, 0.5, 1.0], [0.4, 0.6, 0.7])
WEIGHTS = T([0.1, 0.6, 0.2], [0.0, 0.0, 0.0])

VALUES = {
    'masked_mse': (lambda: reference.masked_mse(COLOR, TARGET, MASK), (0.25 + 1.0) / 12),
    'masked_l1': (lambda: reference.masked_l1(COLOR, TARGET, MASK), (0.5 + 1.0) / 12),
    'mask_mse': (
        lambda: reference.mask_mse(T(1.0, 0.5, 0.5, 0.0), MASK), (0.25 + 0.25) / 4),
    'outside_mask': (lambda: reference.outside_mask(T(1.0, 0.5, 0.5, 0.1), MASK), 0.3),
    'outside_mask, none': (lambda: reference.outside_mask(T(1.0), T(1.0)), 0.0),
    'depth_l1': (
        lambda: reference.depth_l1(
            T(1.0, 2.0, 3.0, 4.0), T(1.5, math.nan, 1.0, 0.0), T(1.0, 1.0, 0.0, 1.0)), 0.5),
    'depth_l1, no reading': (
        lambda: reference.depth_l1(T(1.0, 2.0), T(0.0, math.nan), T(1.0, 1.0)), 0.0),
    # |m_1 - m_2| = 0.25, |m_1 - m_3| = 0.65, |m_2 - m_3| = 0.4.
    'distortion': (
        lambda: rays.distortion(WEIGHTS, EDGES, ENDS),
        0.5 * (2 * (0.06 * 0.25 + 0.02 * 0.65 + 0.12 * 0.4)
               + (0.01 * 0.2 + 0.36 * 0.3 + 0.04 * 0.5) / 3)),
    'orientation': (
        lambda: rays.orientation(
            T([0.5, 0.2], [0.0, 0.0]),
            T([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]], [[0.0, 0.0, 1.0], [0.0, 0.0, 1.0]]),
            T([0.6, 0.0, 0.8], [0.0, 0.0, 1.0])[:, None], 1), 0.5 * 0.64),
    'binary_entropy': (lambda: rays.binary_entropy(T(0.5, 0.25)), 0.5 * (1.0 + 0.8112781245)),
    'opaque': (
        lambda: rays.opaque(T(0.5, 0.0)),
        0.5 * (math.log(2.0) - 1e-3 * math.log(1e-3) - 0.999 * math.log(0.999))),
    'squared_opacity': (lambda: rays.squared_opacity(T(0.5, 1.0)), 0.625),
    'sparsity': (lambda: rays.sparsity(T(0.0, 1.0)), 0.5 * (0.1 + 1.01**0.5)),
    'emptiness': (
        lambda: rays.emptiness(T([0.0, 0.1])), 0.5 * math.log(2.0)),
    'emptiness, code': (
        lambda: rays.emptiness(T([0.0, 0.1]), form='code'), -0.25 * 0.1 * math.log(2.0)),
    'depth_smoothness': (
        lambda: smoothness.depth_smoothness(T([1.0, 2.0], [1.0, 4.0])),
        0.5 * ((1.0 + 3.0) / 2 + (0.0 + 2.0) / 2)),
    'inverse_depth_smoothness': (
        lambda: smoothness.inverse_depth_smoothness(
            T([[[1.0, 2.0], [1.0, 4.0]]]), T(*[[[0.0, 0.5], [0.0, 0.0]]] * 2)[None]),
        0.5 * (math.exp(-0.5) + 3.0) + 0.5 * (0.0 + 2.0 * math.exp(-0.5))),
    'nearby_views': (
        lambda: smoothness.nearby_views(T(1.0, 2.0), T(1.0, 1.0), T(0.0), T(3.0)), 3.5),
    'normal_difference': (
        lambda: smoothness.normal_difference(
            T([[[0.0, 1.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]], [[1.0, 0.0], [1.0, 1.0]]])),
        2.0 / 6.0 + 2.0 / 6.0),
    'normal_jitter': (
        lambda: smoothness.normal_jitter(T([0.0, 0.0, 1.0]), T([0.0, 1.0, 0.0])), 2.0 / 3.0),
    'total_variation': (
        lambda: smoothness.total_variation(T([[0.0, 1.0], [0.0, 3.0]], [[0.0, 1.0], [0.0, 3.0]])),
        0.0 + (0.0 + 4.0) / 2 + (1.0 + 9.0) / 2),
    'total_variation, absolute': (
        lambda: smoothness.total_variation(
            T([[0.0, 1.0], [0.0, 3.0]], [[0.0, 1.0], [0.0, 3.0]]), 1), 0.0 + 1.0 + 2.0),
}


@pytest.mark.parametrize('name', VALUES)
def test_value_by_hand(name):
    function, expected = VALUES[name]
    assert float(function()) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def ranking(depth):
    return reference.depth_ranking(
        depth, random(30, seed=1), torch.ones(30), 200, torch.Generator().manual_seed(0), 0.1)


GRADIENTS = {
    'masked_mse': (lambda x: reference.masked_mse(x, random(6, 3, seed=1), random(6, seed=2)),
                   random(6, 3)),
    'masked_l1': (lambda x: reference.masked_l1(x, random(6, 3, seed=1), random(6, seed=2)),
                  random(6, 3)),
    'mask_mse': (lambda x: reference.mask_mse(x, random(6, seed=1)), random(6)),
    'outside_mask': (lambda x: reference.outside_mask(x, random(6, seed=1)), random(6)),
    'depth_l1': (
        lambda x: reference.depth_l1(x, random(6, seed=1), torch.ones(6)), random(6)),
    'depth_ranking': (ranking, random(30)),
    'distortion': (lambda x: rays.distortion(x, EDGES, ENDS), random(2, 3)),
    'distortion of distances': (
        lambda x: rays.distortion(WEIGHTS, x, x + 0.1), EDGES.clone()),
    'orientation': (
        lambda x: rays.orientation(random(4, 5), x, units(4, 1, seed=2), 4), units(4, 5, seed=1)),
    'binary_entropy': (rays.binary_entropy, 0.1 + 0.8 * random(6)),
    'opaque': (rays.opaque, 0.1 + 0.8 * random(6)),
    'squared_opacity': (rays.squared_opacity, random(6)),
    'sparsity': (rays.sparsity, random(6)),
    'emptiness': (rays.emptiness, random(3, 4)),
    'emptiness, code': (lambda x: rays.emptiness(x, form='code'), random(3, 4)),
    'depth_smoothness': (smoothness.depth_smoothness, random(2, 4, 5)),
    'inverse_depth_smoothness': (
        lambda x: smoothness.inverse_depth_smoothness(x, random(2, 3, 4, 5, seed=1)),
        random(2, 1, 4, 5)),
    'nearby_views': (
        lambda x: smoothness.nearby_views(x, random(6, seed=1), 2 * x, random(6, seed=2)),
        random(6)),
    'normal_difference': (smoothness.normal_difference, random(1, 3, 4, 5)),
    'normal_jitter': (
        lambda x: smoothness.normal_jitter(x, units(6, seed=2)), units(6, seed=1)),
    'total_variation': (smoothness.total_variation, random(2, 3, 4, 5)),
}


@pytest.mark.parametrize('name', GRADIENTS)
def test_gradient_is_that_of_finite_differences(name):
    function, start = GRADIENTS[name]
    x = start.clone().requires_grad_()
    gradient, = torch.autograd.grad(function(x), x)
    assert float(gradient.abs().max()) > 0.0
    h = 1e-6
    for seed in range(3):
        direction = random(*start.shape, seed=10 + seed) - 0.5
        slope = (function(start + h * direction) - function(start - h * direction)) / (2.0 * h)
        assert float((gradient * direction).sum()) == pytest.approx(
            float(slope), rel=1e-5, abs=1e-8)


def test_blur_of_normals_has_no_gradient():
    normals = random(1, 3, 12, 12).requires_grad_()
    loss = smoothness.normal_blur(normals)
    gradient, = torch.autograd.grad(loss, normals)
    at = np.arange(-4, 5)
    kernel = np.exp(-0.5 * (at / 1.7) ** 2)
    kernel /= kernel.sum()
    padded = np.pad(normals.detach().numpy()[0], ((0, 0), (4, 4), (4, 4)), mode='edge')
    blurred = np.apply_along_axis(np.convolve, 1, padded, kernel, 'valid')
    blurred = np.apply_along_axis(np.convolve, 2, blurred, kernel, 'valid')
    difference = normals.detach() - torch.from_numpy(blurred)[None]
    assert float(loss.detach()) == pytest.approx(float(difference.square().mean()))
    torch.testing.assert_close(gradient, 2.0 * difference / difference.numel())
    assert float(smoothness.normal_blur(torch.ones(1, 3, 12, 12))) == pytest.approx(0.0, abs=1e-12)


def test_weights_of_orientation_have_no_gradient():
    weights = random(4, 5).requires_grad_()
    normals = units(4, 5, seed=1).requires_grad_()
    rays.orientation(weights, normals, units(4, 1, seed=2), 4).backward()
    assert weights.grad is None


def test_distortion_is_the_double_sum():
    weights, starts = random(3, 7), random(3, 7, seed=1).cumsum(1)
    ends = starts + 0.1 * random(3, 7, seed=2)
    middles = 0.5 * (starts + ends)
    pairs = weights[:, :, None] * weights[:, None] * (
        middles[:, :, None] - middles[:, None]).abs()
    expected = (pairs.sum((1, 2)) + (weights**2 * (ends - starts)).sum(1) / 3.0).mean()
    assert float(rays.distortion(weights, starts, ends)) == pytest.approx(float(expected))


def optimised_depth(order, start, steps=400):
    """Descend the ranking alone; return the depth."""
    depth = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([depth], 0.02)
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        optimizer.zero_grad()
        reference.depth_ranking(depth, order, torch.ones(len(order)), 2000, generator).backward()
        optimizer.step()
    return depth.detach()


def test_ranking_by_a_warp_of_the_true_depth_restores_its_order_and_nothing_more():
    truth = 1.0 + random(150)
    order = torch.exp(3.0 * truth) - 7.0
    start = 1.0 + random(150, seed=1)
    assert abs(kendalltau(truth, start).statistic) < 0.2
    depth = optimised_depth(order, start)
    assert kendalltau(truth, depth).statistic > 0.95
    # No scale, no shift, no shape: an order that is right already costs nothing.
    for right in (0.1 * truth + 5.0, truth**3):
        value = reference.depth_ranking(
            right, order, torch.ones(150), 2000, torch.Generator().manual_seed(0))
        assert float(value) == 0.0
    slope, offset = np.polyfit(truth, depth, 1)
    assert not (abs(slope - 1.0) < 0.05 and abs(offset) < 0.05)


def test_ranking_by_the_wrong_order_does_not_restore_it():
    truth = 1.0 + random(150)
    depth = optimised_depth(-truth, 1.0 + random(150, seed=1))
    assert kendalltau(truth, depth).statistic < -0.9


def test_ranking_ignores_background_ties_and_missing_order():
    depth = random(40).requires_grad_()
    order, mask = random(40, seed=1), torch.ones(40)
    mask[:10] = 0.0
    order[10:20] = math.nan
    order[20:30] = 0.5
    reference.depth_ranking(depth, order, mask, 5000, torch.Generator().manual_seed(0)).backward()
    moved = depth.grad != 0.0
    assert not bool(moved[:20].any())
    assert bool(moved[20:].any())
    equal = reference.depth_ranking(
        depth, torch.full((40,), 0.5), mask, 500, torch.Generator().manual_seed(0))
    none = reference.depth_ranking(
        depth, order, torch.zeros(40), 500, torch.Generator().manual_seed(0))
    assert float(equal.detach()) == float(none.detach()) == 0.0


def test_emptiness_of_the_code_rewards_concentration_and_the_paper_emptiness():
    spread, single, empty = T([0.25] * 4), T([1.0, 0.0, 0.0, 0.0]), T([0.0] * 4)
    code = [float(rays.emptiness(w[None], form='code')) for w in (single, spread, empty)]
    assert code[0] < code[1] < code[2] == 0.0
    paper = [float(rays.emptiness(w[None])) for w in (empty, single, spread)]
    assert 0.0 == paper[0] < paper[1] < paper[2]
    with pytest.raises(LiftError) as caught:
        rays.emptiness(spread, form='sjc')
    assert caught.value.code is ErrorCode.BAD_REQUEST
