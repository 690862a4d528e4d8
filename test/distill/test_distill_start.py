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

"""The start from another field, and its anchoring where the input view did not see."""

from __future__ import annotations

from distill_helpers import box_grid
from distill_helpers import box_occupancy
from distill_helpers import MEMBERS
import numpy as np
import pytest
import torch

from lift3d_ros.distill import start
from lift3d_ros.distill.start import FieldSamples
from lift3d_ros.distill.start import fit_field
from lift3d_ros.distill.start import visible_from
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.fields.grid_levels import HashGridSettings
from lift3d_ros.fields.occupancy_grid import OccupancyGrid
from lift3d_ros.fields.radiance_fields import EncodedField
from lift3d_ros.fields.radiance_fields import EncodedFieldSettings
from lift3d_ros.fields.radiance_fields import VoxelField
from lift3d_ros.fields.radiance_fields import VoxelFieldSettings
from lift3d_ros.fields.radiance_occupancy import RadianceOccupancy

pytestmark = pytest.mark.usefixtures('one_thread')

SOURCE = box_grid(MEMBERS[0])
EYE = np.array([1.7, 0.0, 0.6])

FIELDS = {
    'voxels': (lambda: VoxelField(
        VoxelFieldSettings(0.6, 32, 3, 'sigmoid', log_scale=2.0)), 0.2),
    'hash': (lambda: EncodedField(
        HashGridSettings(levels=6, log2_entries=13, base=8, growth=1.5),
        EncodedFieldSettings(0.6)), 0.01),
}


def test_samples_are_the_field_at_their_points_mostly_near_its_surface():
    samples = FieldSamples.of_field(SOURCE, 0.6, 4000)
    points = samples.points.numpy()
    assert points.shape == (4000, 3)
    assert np.abs(points).max() <= 0.6
    np.testing.assert_allclose(samples.occupancy, SOURCE.occupancy(points), atol=1e-5)
    np.testing.assert_allclose(255.0 * samples.colors, SOURCE.colors(points), atol=0.51)
    steps = 0.08 * np.concatenate([np.eye(3), -np.eye(3)])
    spread = np.stack([SOURCE.occupancy(points + step) for step in steps])
    near = (spread.min(0) < 0.5) & (spread.max(0) > 0.5)
    assert near.mean() > 0.6
    again = FieldSamples.of_field(SOURCE, 0.6, 4000)
    assert torch.equal(samples.points, again.points)


@pytest.mark.parametrize('kind', FIELDS)
def test_a_fitted_field_has_the_shape_and_the_colours(kind):
    make, rate = FIELDS[kind]
    field = make()
    samples = FieldSamples.of_field(SOURCE, 0.6, 40_000)
    fit_field(field, samples, 80, rate)
    points = np.random.default_rng(5).uniform(-0.6, 0.6, (40_000, 3))
    truth = box_occupancy(MEMBERS[0], torch.from_numpy(points)).numpy()
    occupancy = RadianceOccupancy(field)
    found = occupancy.occupancy(points) > 0.5
    assert (truth & found).sum() / (truth | found).sum() > 0.85
    colors = occupancy.colors(points[truth & found])
    error = np.abs(colors.astype(float) - SOURCE.colors(points[truth & found]))
    assert error.mean() < 16.0


def test_the_loss_is_least_at_the_field_itself():
    """A constant field at the occupancy of a constant source costs nothing."""
    field = VoxelField(VoxelFieldSettings(0.6, 4, 4, 'none', density_shift=5.0))
    points = torch.rand(50, 3) - 0.5
    opacity = float(1.0 - torch.exp(-0.1 * field.density(points[:1]).detach()))
    losses = []
    for target in (opacity, opacity - 0.1, opacity + 0.1):
        samples = FieldSamples(points, torch.full((50,), target), None, torch.ones(50))
        losses.append(float(samples.loss(field, torch.arange(50)).detach()))
    assert losses[0] == pytest.approx(0.0, abs=1e-5)
    assert min(losses[1:]) > 0.01
    weighted = FieldSamples(points, torch.full((50,), opacity - 0.1), None, torch.zeros(50))
    assert float(weighted.loss(field, torch.arange(50)).detach()) == 0.0


def test_visible_points_are_those_that_nothing_hides():
    points = np.array([
        [0.5, 0.0, 0.0],       # before the object
        [0.25, 0.2, -0.25],    # on its front
        [-0.5, 0.1, -0.25],    # behind it
        [0.0, 0.2, -0.25],     # in it
        [0.0, -0.55, 0.4],     # beside it
    ])
    assert visible_from(SOURCE, EYE, points).tolist() == [True, True, False, False, True]


def test_seen_points_have_no_weight():
    samples = FieldSamples.of_field(SOURCE, 0.6, 2000)
    unseen = samples.unseen_from(SOURCE, EYE)
    seen = visible_from(SOURCE, EYE, samples.points.numpy().astype(float))
    assert 0.1 < seen.mean() < 0.9
    np.testing.assert_array_equal(unseen.weights.numpy() == 0.0, seen)
    assert torch.equal(unseen.points, samples.points)


def test_a_start_in_parts_is_the_same_and_can_be_cancelled_in_each(monkeypatch):
    monkeypatch.setattr(start, 'PART', 300)
    checks = []
    parts = start.InterruptibleField(SOURCE, lambda: checks.append(1))
    whole, same = (FieldSamples.of_field(source, 0.6, 1000) for source in (SOURCE, parts))
    assert torch.equal(whole.occupancy, same.occupancy)
    assert torch.equal(whole.colors, same.colors)
    assert torch.equal(
        whole.unseen_from(SOURCE, EYE).weights, same.unseen_from(parts, EYE).weights)
    assert parts.bounds(0.5)[0].tolist() == SOURCE.bounds(0.5)[0].tolist()

    def check():
        checks.pop()
        if not checks:
            raise LiftError(ErrorCode.CANCELLED, 'cancelled')

    for count in (2, 20, len(checks)):
        checks[:] = [1] * count
        with pytest.raises(LiftError):
            stopped = start.InterruptibleField(SOURCE, check)
            FieldSamples.of_field(stopped, 0.6, 1000).unseen_from(stopped, EYE)


def test_a_fit_can_be_cancelled():
    def check():
        raise LiftError(ErrorCode.CANCELLED, 'cancelled')

    with pytest.raises(LiftError):
        fit_field(FIELDS['voxels'][0](), FieldSamples.of_field(SOURCE, 0.6, 100), check=check)


def test_an_empty_field_is_no_start():
    empty = OccupancyGrid(np.zeros((4, 4, 4), np.float32), np.zeros(3), 0.1)
    with pytest.raises(LiftError) as caught:
        FieldSamples.of_field(empty, 0.6, 100)
    assert caught.value.code is ErrorCode.NO_SURFACE
