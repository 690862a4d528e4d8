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

"""The hash grid: its levels and indices are those of the published encoders."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lift3d_ros.fields.grid_levels import grid_levels
from lift3d_ros.fields.grid_levels import growth_to
from lift3d_ros.fields.grid_levels import HashGridSettings
from lift3d_ros.fields.grid_levels import REALFUSION_GRID
from lift3d_ros.fields.grid_levels import THREESTUDIO_GRID
from lift3d_ros.fields.grid_levels import ZERONVS_PROPOSAL_GRID
from lift3d_ros.fields.hash_grid import HashGrid
from lift3d_ros.fields.hash_grid import table_index


def test_levels_of_the_published_grid():
    levels = grid_levels(THREESTUDIO_GRID)
    scales = [
        15, 22.156, 32.513, 47.503, 69.197, 100.594, 146.033, 211.797, 306.974, 444.722, 644.079,
        932.604, 1350.18, 1954.52, 2829.16, 4095.00,
    ]
    np.testing.assert_allclose([level.scale for level in levels], scales, rtol=5e-6, atol=5e-4)
    assert [level.resolution for level in levels] == [
        16, 24, 34, 49, 71, 102, 148, 213, 308, 446, 646, 934, 1352, 1956, 2831, 4096,
    ]
    entries = [level.entries for level in levels]
    assert entries == [4096, 13824, 39304, 117656, 357912] + [524288] * 11
    assert [level.hashed for level in levels] == [False] * 5 + [True] * 11


@pytest.mark.parametrize(('settings', 'count'), [
    (THREESTUDIO_GRID, 6_299_960),
    (HashGridSettings(growth=1.3819128800392342), 6_098_120),
    (HashGridSettings(growth=2.0), 7_114_752),
    (ZERONVS_PROPOSAL_GRID, 383_264),
])
def test_number_of_entries(settings, count):
    last = grid_levels(settings)[-1]
    assert last.offset + last.entries == count


def test_growth_reaches_the_finest_resolution():
    assert growth_to(2048, 16, 16) == pytest.approx(1.3819128800392342, rel=1e-7)
    assert growth_to(16, 16, 1) == 1.0


@pytest.mark.parametrize(('corner', 'entry'), [
    ((0, 0, 0), 0), ((1, 0, 0), 1), ((0, 1, 0), 489905), ((0, 0, 1), 153493),
    ((1, 2, 3), 128476), ((101, 57, 88), 262964), ((4095, 4095, 4095), 352731),
])
@pytest.mark.parametrize('kind', [torch.int32, torch.int64])
def test_hash_vectors(corner, entry, kind):
    level = grid_levels(THREESTUDIO_GRID)[-1]
    index = table_index(torch.tensor(corner, dtype=kind).view(1, 3, 1), [level], False, True)
    assert int(index) - level.offset == entry


def _fused(scale: float, x: float, shift: float) -> np.float32:
    return np.float32(float(np.float32(scale)) * float(np.float32(x)) + shift)


def _entry(settings: HashGridSettings, level, corner: list[int]) -> int:
    """Return the entry of a corner as the C code does, in unsigned numbers of 32 bits."""
    word = 0xFFFFFFFF
    i, j, k = (number & word for number in corner)
    res, size = level.resolution, level.entries
    index = 0
    if settings.rule == 'tinycudann':
        stride = word
        if res <= 1625:
            index, stride = (i + j * res + k * res * res) & word, res**3
    else:
        side = res if settings.rule == 'gridencoder_clamped' else res + 1
        stride = 1
        for number in (i, j, k):
            if stride > size:
                break
            index, stride = (index + number * stride) & word, stride * side
    if settings.storage == 'hash' and size < stride:
        index = i ^ (j * 2654435761 & word) ^ (k * 805459861 & word)
    return level.offset + index % size


def _encode(grid: HashGrid, x: np.ndarray) -> np.ndarray:
    """Return the features of one point, corner by corner."""
    settings = grid.settings
    table = grid.params.detach().numpy().astype(np.float64).reshape(-1, settings.features)
    if settings.rule != 'tinycudann' and not ((x >= 0) & (x <= 1)).all():
        return np.zeros(grid.width)
    result = []
    for level in grid.levels:
        at = [_fused(level.scale, value, level.shift) for value in x]
        if settings.rule == 'gridencoder_clamped':
            at = [np.clip(value, 0, level.resolution - 1) for value in at]
        lower = [math.floor(value) for value in at]
        fraction = np.array([float(a) - b for a, b in zip(at, lower, strict=True)])
        if settings.interpolation == 'smoothstep':
            fraction = fraction**2 * (3 - 2 * fraction)
        total = np.zeros(settings.features)
        for c in range(1 if settings.interpolation == 'nearest' else 8):
            bits = [c >> axis & 1 for axis in range(3)]
            corner = [a + b for a, b in zip(lower, bits, strict=True)]
            sides = [f if b else 1 - f for f, b in zip(fraction, bits, strict=True)]
            weight = float(np.prod(sides))
            if settings.rule == 'gridencoder_clamped':
                corner = [min(number, level.resolution - 1) for number in corner]
            if settings.interpolation == 'nearest':
                weight = 1.0
            total += weight * table[_entry(settings, level, corner)]
        result.append(total)
    return np.concatenate(result)


@pytest.mark.parametrize('settings', [
    HashGridSettings(log2_entries=12, growth=1.6),
    HashGridSettings(log2_entries=12, growth=1.6, interpolation='smoothstep', features=4),
    HashGridSettings(log2_entries=12, growth=1.6, interpolation='nearest', features=1),
    HashGridSettings(storage='tiled', base=12, growth=1.5),
    HashGridSettings(storage='dense', levels=4, growth=1.5),
    HashGridSettings(rule='gridencoder', log2_entries=12, growth=growth_to(1536, 16, 16)),
    HashGridSettings(
        rule='gridencoder', storage='tiled', log2_entries=12, growth=growth_to(1536, 16, 16)),
    HashGridSettings(rule='gridencoder_clamped', log2_entries=12, growth=growth_to(2048, 16, 16)),
], ids=lambda s: f'{s.rule}-{s.storage}-{s.interpolation}')
@pytest.mark.parametrize('outside', [False, True])
def test_features_are_those_of_a_scalar_implementation(settings, outside):
    grid = HashGrid(settings, seed=3, backend='torch')
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 1, (12, 3)).astype(np.float32)
    points[:3] = [[0, 0, 0], [1, 1, 1], [1, 0, 0.5]]
    if outside:
        points[3:6] = [[-0.3, 0.2, 1.4], [-1e-4, 0.5, 0.5], [3.0, 0.1, 0.1]]
    with torch.no_grad():
        found = grid(torch.from_numpy(points)).numpy()
    expected = np.stack([_encode(grid, point) for point in points])
    # Of sums of eight terms, each at most 1e-4.
    np.testing.assert_allclose(found, expected, rtol=0, atol=5e-11)


def test_an_index_at_the_far_border_wraps():
    grid = HashGrid(HashGridSettings(levels=1, features=1, interpolation='nearest'))
    with torch.no_grad():
        grid.params.copy_(torch.arange(4096.0))
    # Grid point 15 of 16 on each axis, and beyond it point 16, whose entry is 4368 mod 4096.
    assert grid(torch.ones(1, 3)).item() == 4095
    assert grid(torch.full((1, 3), 16 / 15 + 1e-4)).item() == 16 * (1 + 16 + 256) % 4096


def test_tiled_levels_of_gridencoder_ignore_z_from_256_on():
    without_z = [level.strides[2] == 0 for level in grid_levels(REALFUSION_GRID)]
    assert without_z == [False] * 10 + [True] * 6


@pytest.mark.parametrize('interpolation', ['linear', 'smoothstep'])
def test_gradients_and_second_derivatives(interpolation):
    settings = HashGridSettings(
        levels=2, features=2, log2_entries=3, base=2, growth=1.5,
        interpolation=interpolation)
    grid = HashGrid(settings, backend='torch').double()
    with torch.no_grad():
        grid.params.mul_(1e4)
    points = torch.rand(2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    points = (0.1 + 0.8 * points).requires_grad_()
    params = grid.params.detach().clone().requires_grad_()

    def encode(x, values):
        return torch.func.functional_call(grid, {'params': values}, (x,))

    assert torch.autograd.gradcheck(encode, (points, params))
    assert torch.autograd.gradgradcheck(encode, (points, params))


def test_inactive_levels_are_zero():
    grid = HashGrid(HashGridSettings(levels=4, log2_entries=10))
    points = torch.rand(5, 3, generator=torch.Generator().manual_seed(0))
    whole = grid(points)
    grid.active_levels = 2
    assert torch.equal(grid(points)[:, :4], whole[:, :4])
    assert not grid(points)[:, 4:].any()


def test_no_points():
    assert HashGrid(HashGridSettings(levels=4, log2_entries=10))(torch.zeros(0, 3)).shape == (0, 8)


def test_the_seed_gives_the_values():
    settings = HashGridSettings(levels=2, log2_entries=8)
    a, b, c = (HashGrid(settings, seed).params for seed in (1, 1, 2))
    assert torch.equal(a, b) and not torch.equal(a, c)
    assert float(a.detach().abs().max()) <= 1e-4


@pytest.mark.parametrize('changes', [
    {'rule': 'nerfstudio'}, {'storage': 'sparse'}, {'interpolation': 'cubic'}, {'features': 3},
    {'levels': 0}, {'log2_entries': 40}, {'base': 1}, {'growth': 0.5}, {'growth': math.nan},
    {'rule': 'gridencoder', 'storage': 'dense'}, {'storage': 'dense', 'growth': 2.0},
])
def test_bad_settings(changes):
    with pytest.raises(ValueError):
        HashGridSettings(**changes)


def test_bad_input():
    settings = HashGridSettings(levels=2, log2_entries=8)
    grid = HashGrid(settings)
    for points in (torch.zeros(3), torch.zeros(4, 2), torch.zeros(4, 3, dtype=torch.int64)):
        with pytest.raises(ValueError):
            grid(points)
    with pytest.raises(ValueError):
        HashGrid(settings, backend='cupy')
    with pytest.raises(ValueError):
        HashGrid(HashGridSettings(rule='gridencoder'), backend='tinycudann')
    # A point that is not finite has arbitrary features, but reads within the table.
    assert grid(torch.tensor([[math.nan, math.inf, -1e30]])).shape == (1, 4)


@pytest.mark.parametrize('storage', ['hash', 'tiled', 'dense'])
@pytest.mark.parametrize('interpolation', ['linear', 'smoothstep'])
def test_parity_with_tinycudann(storage, interpolation):
    pytest.importorskip('tinycudann')
    if not torch.cuda.is_available():
        pytest.skip('no CUDA GPU')
    settings = HashGridSettings(
        levels=8, log2_entries=14, growth=1.4, storage=storage, interpolation=interpolation)
    native = HashGrid(settings, backend='tinycudann').cuda()
    own = HashGrid(settings, backend='torch').cuda()
    points = torch.rand(1000, 3, generator=torch.Generator().manual_seed(0)).cuda()
    results = []
    for grid in (native, own):
        x = points.clone().requires_grad_()
        features = grid(x)
        features.square().sum().backward()
        results.append((features.detach(), grid.params.grad, x.grad))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-9)


def test_the_backend_tinycudann_needs_the_package():
    try:
        import tinycudann  # noqa: F401
    except ImportError:
        with pytest.raises(ModuleNotFoundError):
            HashGrid(HashGridSettings(levels=2), backend='tinycudann')(torch.zeros(1, 3))
