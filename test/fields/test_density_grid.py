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

"""The density grid marks the empty space of a field."""

from __future__ import annotations

from field_helpers import Ball
from field_helpers import Bump
from field_helpers import grid_points
import pytest
import torch

from lift3d_ros.fields.density_grid import DensityGrid
from lift3d_ros.fields.radiance_fields import EncodedField
from lift3d_ros.fields.radiance_fields import EncodedFieldSettings
from lift3d_ros.fields.radiance_fields import FeatureVoxelSettings


def test_all_is_occupied_at_first():
    grid = DensityGrid(Ball(), 0.02)
    assert grid.share == 1.0
    assert bool(grid.at(torch.tensor([[0.59, 0.0, -0.59]])))


def test_the_ball_is_occupied_and_what_is_far_from_it_is_not():
    ball = Ball(radius=0.3, density=10.0)
    grid = DensityGrid(ball, 0.02)
    grid.fill(ball)
    points = torch.from_numpy(grid_points(0.6, 40)).float()
    distance = points.norm(dim=1)
    occupied = grid.at(points)
    assert bool(occupied[distance < 0.3].all())
    # A cell has the edge 0.0375, and neighbours of occupied cells are occupied.
    assert not bool(occupied[distance > 0.3 + 3 * 0.0375].any())
    low, high = grid.corners
    assert bool((low <= -0.3).all()) and bool((high >= 0.3).all())
    assert float(high.max()) < 0.3 + 3 * 0.0375


def test_an_empty_field_has_no_occupied_cell():
    nothing = Ball(density=0.0)
    grid = DensityGrid(nothing, 0.02)
    grid.refresh(nothing)
    assert grid.share == 0.0
    assert not grid.corners.any()


def test_old_densities_decay_and_new_ones_appear():
    ball = Ball(radius=0.2, density=10.0)
    grid = DensityGrid(ball, 0.02, decay=0.5)
    grid.refresh(ball)
    assert bool(grid.at(torch.zeros(1, 3)))
    with torch.no_grad():
        ball.value.zero_()
    grid.refresh(ball)
    assert float(grid.values.max()) == 5.0
    for _ in range(10):
        grid.refresh(ball)
    assert float(grid.values.max()) < 0.01
    ball.radius = 0.5
    with torch.no_grad():
        ball.value.fill_(10.0)
    grid.refresh(ball)
    assert bool(grid.at(torch.tensor([[0.45, 0.0, 0.0]])))


def test_refreshes_are_due_every_16_steps():
    ball = Ball()
    grid = DensityGrid(ball, 0.02)
    assert [step for step in range(50) if grid.update(ball, step)] == [0, 16, 32, 48]


def test_after_the_warm_up_a_part_of_the_empty_cells_is_explored():
    ball = Ball(radius=0.2, density=10.0)
    grid = DensityGrid(ball, 0.02, resolution=8, warm_up=1)
    generator = torch.Generator().manual_seed(0)
    grid.update(ball, 0, generator)
    before = grid.share
    ball.radius = 0.6
    for step in range(1, 400):
        grid.update(ball, step, generator)
    assert before < 0.5 < 0.7 < grid.share


def test_a_weak_density_is_not_empty():
    weak = Bump(peak=1e-3)
    grid = DensityGrid(weak, 0.02)
    grid.refresh(weak)
    assert 0.0 < grid.share < 1.0


@pytest.mark.parametrize('density', [1e-6, 0.3133, 0.7, 50.0])
def test_a_constant_density_is_occupied(density):
    constant = Ball(radius=2.0, density=density)
    grid = DensityGrid(constant, 0.03)
    grid.refresh(constant)
    assert grid.share == 1.0


def test_the_cells_of_a_contracted_field_reach_far():
    field = EncodedField(
        FeatureVoxelSettings(4, 2), EncodedFieldSettings(contracted=True))
    grid = DensityGrid(field, 0.1)
    grid.refresh(field, torch.Generator().manual_seed(0))
    points = torch.tensor([[0.0, 0.0, 0.0], [3.0, 0.0, 0.0], [0.0, -500.0, 10.0]])
    assert grid.at(points).tolist() == [True, True, True]


def test_the_state_is_in_the_buffers():
    ball = Ball()
    grid, other = DensityGrid(ball, 0.02), DensityGrid(ball, 0.02)
    grid.fill(ball)
    other.load_state_dict(grid.state_dict())
    assert torch.equal(other.occupied, grid.occupied) and torch.equal(other.corners, grid.corners)


def test_a_density_that_is_not_finite_does_not_stay():
    ball = Ball()
    grid = DensityGrid(ball, 0.02)
    with torch.no_grad():
        ball.value.fill_(float('nan'))
    grid.refresh(ball)
    assert bool(torch.isfinite(grid.values).all())


@pytest.mark.parametrize('changes', [
    {'interval': 0.0}, {'resolution': 1}, {'decay': 0.0}, {'every': 0}, {'min_alpha': 1.0},
])
def test_bad_settings(changes):
    with pytest.raises(ValueError):
        DensityGrid(Ball(), **{'interval': 0.1, **changes})
