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

"""
The whole loop from scratch against an exact prior: its end is known beforehand.

The bank has four objects and no condition. The one that fits the input picture must come out, also
on the sides that the picture does not show.
"""

from __future__ import annotations

from dataclasses import replace

from distill_helpers import box_grid
from distill_helpers import box_occupancy
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
from lift3d_ros.distill.guidance.anchors import anchor_ring
from lift3d_ros.distill.guidance.anchors import make_anchors
from lift3d_ros.distill.guidance.guidance import GuidanceSettings
from lift3d_ros.distill.guidance.guidance import ScoreGuidance
from lift3d_ros.distill.optimisation import LoopSettings
from lift3d_ros.distill.optimisation import optimise
from lift3d_ros.distill.optimizers import OptimizerSettings
from lift3d_ros.distill.reference_view import ReferenceView
from lift3d_ros.distill.schedules import TimestepRange
from lift3d_ros.distill.settings import DistillationSettings
from lift3d_ros.distill.start import FieldSamples
from lift3d_ros.distill.start import fit_field
from lift3d_ros.fields.density_grid import DensityGrid
from lift3d_ros.fields.radiance_fields import VoxelField
from lift3d_ros.fields.radiance_fields import VoxelFieldSettings
from lift3d_ros.fields.radiance_occupancy import RadianceOccupancy
from lift3d_ros.fields.volume_rendering import RenderSettings

pytestmark = pytest.mark.usefixtures('one_thread')

SIZE = 32
SAMPLES = 48
BOUND = 0.6
CAMERA = Cameras.orbit(
    torch.zeros(1), torch.full((1,), 20.0), torch.tensor(1.7, dtype=torch.float64), FOV)


def picture_of(member):
    """Return the premultiplied RGBA (4, h, h) of a member before the input camera."""
    return render_boxes(MEMBERS[member], CAMERA.poses, SIZE)[0]


def make_field():
    return VoxelField(VoxelFieldSettings(BOUND, 32, 3, 'sigmoid', log_scale=2.0))


def distilled(
    member, weights, steps, guidance=None, anchors=None, field=None, start=None, rate=0.1
):
    """Return the intersection over union of a distilled field with each member, at 64^3."""
    image = picture_of(member)
    straight = torch.cat([image[:3] / image[3:].clamp_min(1e-6), image[3:]])
    reference = ReferenceView.from_image(straight.permute(1, 2, 0).numpy(), CAMERA)
    field = make_field() if field is None else field
    settings = DistillationSettings(
        {'rgb': 1000.0, 'mask': 1000.0, 'distortion': 30.0, **weights},
        CameraSampler((1.7, 1.7), (-20.0, 70.0), fov=(FOV, FOV), stratified=True),
        views=2, size=SIZE, render=RenderSettings(samples=SAMPLES))
    task = Distillation(
        field, reference, settings, guidance, anchors,
        DensityGrid(field, 2.0 * BOUND / SAMPLES), start)
    optimise(task, LoopSettings(steps, optimizer=OptimizerSettings(rate=rate)))
    return overlaps(field)


def overlaps(field):
    """Return the intersection over union of a field with each member, at 64^3."""
    axis = ((np.arange(64) + 0.5) / 32.0 - 1.0) * BOUND
    points = np.stack(np.meshgrid(axis, axis, axis, indexing='ij'), -1).reshape(-1, 3)
    occupied = torch.from_numpy(RadianceOccupancy(field).occupancy(points) > 0.5)
    truths = [box_occupancy(boxes, torch.from_numpy(points)) for boxes in MEMBERS]
    return [float((truth & occupied).sum() / (truth | occupied).sum()) for truth in truths]


def score_guidance(bank, steps, form='sds'):
    noise = TimestepRange.parse([0, 0.5, 0.02, steps], [0, 0.98, 0.5, steps])
    return ScoreGuidance(bank, GuidanceSettings(form, 'uniform', noise))


@pytest.mark.parametrize('member', [0, pytest.param(3, marks=pytest.mark.slow)])
def test_the_member_that_fits_the_picture_comes_out(member):
    ious = distilled(member, {'guidance': 1.0}, 150, score_guidance(make_bank(SIZE), 150))
    assert ious[member] > 0.8
    assert max(ious[:member] + ious[member + 1:]) < 0.7


def test_azimuths_of_the_wrong_sign_fail():
    mirrored = make_bank(SIZE, azimuth_sign=-1.0)
    ious = distilled(0, {'guidance': 1.0}, 150, score_guidance(mirrored, 150))
    assert max(ious) < 0.7


def test_the_picture_alone_does_not_suffice():
    ious = distilled(0, {}, 100)
    assert max(ious) < 0.7


def test_regression_to_anchors_of_the_bank_given_the_picture():
    bank = make_bank(SIZE).given(picture_of(2), CAMERA.poses[0], 1.0)
    ring = anchor_ring(6, (-10.0, 20.0, 60.0), 1.7, FOV)
    anchors = make_anchors(bank, ring, (3, SIZE, SIZE), torch.Generator().manual_seed(0))
    ious = distilled(2, {'anchors': 1000.0}, 200, anchors=anchors)
    assert ious[2] > 0.8
    # Without the picture the anchors are the mean of the bank, which is none of its members.
    blind = make_anchors(
        replace(bank, log_weights=None), ring, (3, SIZE, SIZE), torch.Generator().manual_seed(0))
    assert float(blind.loss(anchors.latents, torch.arange(len(ring)))) > 0.01


def test_the_input_view_damages_a_start_that_anchoring_keeps():
    source = box_grid(MEMBERS[0])
    samples = FieldSamples.of_field(source, BOUND, 60_000)
    unseen = samples.unseen_from(source, CAMERA.poses[0, :3, 3].numpy())
    ious = []
    for weights, start in (({}, None), ({'start': 1000.0}, unseen)):
        field = make_field()
        fit_field(field, samples, 80, 0.2)
        before = overlaps(field)[0]
        ious.append(distilled(0, weights, 80, field=field, start=start, rate=0.02)[0])
    plain, anchored = ious
    assert before > 0.9
    assert plain < before - 0.03
    assert anchored > before - 0.03
