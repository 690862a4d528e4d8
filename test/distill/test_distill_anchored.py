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
"""SDS anchoring: each view is guided by the nearest picture, as its probability says."""

from __future__ import annotations

from dataclasses import replace

from distill_helpers import box_grid
from distill_helpers import FOV
from distill_helpers import make_bank
from distill_helpers import MEMBERS
from distill_helpers import render_boxes
import numpy as np
import pytest
import torch

from lift3d_ros.distill.cameras import Cameras
from lift3d_ros.distill.cameras import CameraSampler
from lift3d_ros.distill.distillation import Distillation
from lift3d_ros.distill.guidance.anchored import Anchor
from lift3d_ros.distill.guidance.anchored import AnchoredGuidance
from lift3d_ros.distill.guidance.anchored import geodesic_angles
from lift3d_ros.distill.guidance.guidance import GuidanceSettings
from lift3d_ros.distill.optimisation import LoopSettings
from lift3d_ros.distill.optimisation import optimise
from lift3d_ros.distill.optimizers import OptimizerSettings
from lift3d_ros.distill.reference_view import ReferenceView
from lift3d_ros.distill.schedules import Schedule
from lift3d_ros.distill.schedules import TimestepRange
from lift3d_ros.distill.settings import DistillationSettings
from lift3d_ros.fields.density_grid import DensityGrid
from lift3d_ros.fields.encodings import TriplaneSettings
from lift3d_ros.fields.radiance_fields import EncodedField
from lift3d_ros.fields.radiance_fields import EncodedFieldSettings
from lift3d_ros.fields.radiance_fields import VoxelField
from lift3d_ros.fields.radiance_fields import VoxelFieldSettings
from lift3d_ros.fields.radiance_occupancy import RadianceOccupancy
from lift3d_ros.fields.volume_rendering import RenderSettings

pytestmark = pytest.mark.usefixtures('one_thread')

SIZE, BOUND = 32, 0.6


def ring(*azimuths):
    """Return cameras at azimuths, degrees."""
    return Cameras.orbit(
        torch.tensor(azimuths, dtype=torch.float64), torch.full((len(azimuths),), 20.0),
        torch.tensor(1.7, dtype=torch.float64), FOV)


def anchored(prior, others, azimuths, probability, **settings):
    """Return guidance by a prior at azimuth 0 and others at azimuths."""
    poses = ring(0.0, *azimuths).poses
    return AnchoredGuidance(
        prior, GuidanceSettings(**settings),
        anchors=tuple(Anchor(other, pose) for other, pose in zip(others, poses[1:], strict=True)),
        input_pose=poses[0], probability=Schedule.parse(probability))


def test_angles_are_those_between_rotations():
    angles = torch.rad2deg(geodesic_angles(ring(0.0, 40.0).poses, ring(0.0, 90.0).poses))
    level = Cameras.orbit(
        torch.tensor([0.0, 40.0]), torch.zeros(2), torch.tensor(1.7), FOV).poses
    np.testing.assert_allclose(torch.rad2deg(geodesic_angles(level, level)),
                               [[0.0, 40.0], [40.0, 0.0]], atol=1e-4)
    assert angles[0, 0] < 1e-3 and angles[1, 1] < angles[0, 1]


def test_a_view_has_the_nearest_picture_early_and_the_input_late():
    bank = make_bank(SIZE)
    guidance = anchored(bank, [bank, bank, bank], (90.0, 180.0, -90.0), [0, 1.0, 0.0, 2000])
    generator = torch.Generator().manual_seed(0)
    views = ring(10.0, 80.0, 170.0, -100.0, 200.0)
    assert guidance.choose(views, 0, generator).tolist() == [0, 1, 2, 3, 2]
    assert guidance.choose(views, 2000, generator).tolist() == [0] * 5
    half = torch.stack([guidance.choose(views, 1000, generator) for _ in range(200)])
    assert 0.4 < (half[:, 1] > 0).float().mean() < 0.6
    assert guidance.without_anchors().choose(views, 0, generator).tolist() == [0] * 5


@pytest.mark.parametrize(('probability', 'expected'), [(1.0, 2), (0.0, 0)])
def test_the_loop_ends_at_what_the_anchors_show(probability, expected):
    # The input's prior knows the first object alone, the anchors' another one with the same front.
    picture = render_boxes(MEMBERS[expected], ring(0.0).poses, SIZE)[0]
    straight = torch.cat([picture[:3] / picture[3:].clamp_min(1e-6), picture[3:]])
    reference = ReferenceView.from_image(straight.permute(1, 2, 0).numpy(), ring(0.0))
    first, other = (make_bank(SIZE, members=[MEMBERS[member]]) for member in (0, 2))
    azimuths = (0.0, 60.0, 120.0, 180.0, -120.0, -60.0)
    guidance = anchored(
        first, [other] * 6, azimuths, probability, weighting='uniform',
        timesteps=TimestepRange.parse([0, 0.5, 0.02, 120], [0, 0.98, 0.5, 120]))
    field = VoxelField(VoxelFieldSettings(BOUND, 32, 3, 'sigmoid', log_scale=2.0))
    task = Distillation(
        field, reference,
        DistillationSettings(
            {'guidance': 1.0, 'rgb': 1000.0, 'mask': 1000.0, 'distortion': 30.0},
            CameraSampler((1.7, 1.7), (-20.0, 70.0), fov=(FOV, FOV), stratified=True), 2, SIZE,
            RenderSettings(samples=48)),
        guidance, occupancy=DensityGrid(field, 2.0 * BOUND / 48))
    optimise(task, LoopSettings(120, optimizer=OptimizerSettings(rate=0.1)))
    found = RadianceOccupancy(field)
    axis = (np.arange(32) + 0.5) * 2.0 * BOUND / 32 - BOUND
    points = np.stack(np.meshgrid(axis, axis, axis, indexing='ij'), -1).reshape(-1, 3)
    solid = found.occupancy(points) > 0.5
    overlaps = []
    for member in (0, 2):
        truth = box_grid(MEMBERS[member]).occupancy(points) > 0.5
        overlaps.append((solid & truth).sum() / (solid | truth).sum())
    assert overlaps[expected // 2] > 0.75
    assert overlaps[1 - expected // 2] < overlaps[expected // 2] - 0.1


def test_a_proposal_field_learns_where_the_field_is():
    thin = EncodedFieldSettings(
        bound=BOUND, contracted=True, hidden=1, width=16, density_bias=-2.0)
    field = EncodedField(TriplaneSettings(24, 4), replace(thin, hidden=2))
    picture = render_boxes(MEMBERS[0], ring(0.0).poses, 16)[0]
    straight = torch.cat([picture[:3] / picture[3:].clamp_min(1e-6), picture[3:]])
    reference = ReferenceView.from_image(straight.permute(1, 2, 0).numpy(), ring(0.0))
    settings = DistillationSettings(
        {'rgb': 100.0, 'mask': 100.0, 'interlevel': 10.0},
        CameraSampler((1.7, 1.7), (20.0, 20.0), azimuth=(0.0, 0.0)), 1, 16,
        RenderSettings(samples=24, importance=24, near=0.5, far=20.0, spacing='disparity'))

    def run(proposal, steps, rate):
        return optimise(
            Distillation(field, reference, settings, proposal=proposal),
            LoopSettings(steps, optimizer=OptimizerSettings(rate=rate, eps=1e-8))).losses

    proposal, fresh = (EncodedField(TriplaneSettings(16, 4), thin, seed) for seed in (1, 2))
    before = run(proposal, 1, 0.01)
    run(proposal, 80, 0.01)
    after = run(proposal, 1, 1e-9)
    assert after['rgb'] < 0.5 * before['rgb']
    assert after['interlevel'] < 0.5 * run(fresh, 1, 1e-9)['interlevel']
