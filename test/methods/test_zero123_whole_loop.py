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
The whole run of a distilled method against an exact prior: its end is known beforehand.

The bank has four objects. The method must end at the one that fits the input picture, also on the
sides that the picture does not show.
"""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

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
from lift3d_ros.distill.guidance.guidance import GuidanceSettings
from lift3d_ros.distill.guidance.guidance import ScoreGuidance
from lift3d_ros.distill.reference_view import ReferenceView
from lift3d_ros.distill.schedules import TimestepRange
from lift3d_ros.fields.field import Reconstruction
from lift3d_ros.geometry import invert
from lift3d_ros.geometry.canonical import CanonicalFrame
from lift3d_ros.methods.distilled import zero123_presets
from lift3d_ros.methods.distilled.inputs import DistillationInputs
from lift3d_ros.methods.distilled.run import distil
from lift3d_ros.methods.distilled.zero123_presets import make_plan
from lift3d_ros.progress import Progress

pytestmark = pytest.mark.usefixtures('one_thread')

SIZE, BOUND, RADIUS = 32, 0.6, 1.7
CAMERA = Cameras.orbit(
    torch.zeros(1), torch.full((1,), 20.0), torch.tensor(RADIUS, dtype=torch.float64), FOV)


class Bank:
    """A bank in the place of the view model, conditioned on the picture of a member."""

    is_small = True
    model = SimpleNamespace(radius=RADIUS)

    def __init__(self, member, sign=1.0, std=1.0):
        # A mirrored bank is given the picture that it shows itself.
        own = make_bank(SIZE, sign)
        shown = own.render(CAMERA.poses)[0, member]
        self.bank = own.given(shown, CAMERA.poses[0], std)

    def prior(self, inputs, guidance_scale, same_radius=False):
        return Sized(self.bank)

    def views(self, anchors):
        return None


class Sized:
    """A bank whose latents have the size of its pictures whatever is rendered."""

    def __init__(self, bank):
        self.schedule, self.condition = bank.schedule, bank.condition
        self.predict_x0, self._encode = bank.predict_x0, bank.encode

    def encode(self, images):
        return self._encode(torch.nn.functional.interpolate(images, (SIZE, SIZE), mode='area'))


def inputs_of(member, start=None):
    image = render_boxes(MEMBERS[member], CAMERA.poses, SIZE)[0]
    straight = torch.cat([image[:3] / image[3:].clamp_min(1e-6), image[3:]])
    reference = ReferenceView.from_image(straight.permute(1, 2, 0).numpy(), CAMERA)
    pose = CAMERA.poses[0].numpy()
    canonical = CanonicalFrame(invert(pose), 1.0, 20.0, False)
    levelled = SimpleNamespace(
        canonical=canonical, elevation=SimpleNamespace(source='gravity', stddev=1.0))
    if start is not None:
        start = Reconstruction(start, canonical, None, 'gravity', 1.0, 64)
    return DistillationInputs(
        reference, None, levelled, start, pose[None, :3, 3], BOUND, 'cpu')


def overlaps(reconstruction):
    """Return the intersection over union of a result with each member, at 64^3."""
    axis = ((np.arange(64) + 0.5) / 32.0 - 1.0) * BOUND
    points = np.stack(np.meshgrid(axis, axis, axis, indexing='ij'), -1).reshape(-1, 3)
    occupied = torch.from_numpy(reconstruction.field.occupancy(points) > 0.5)
    truths = [box_occupancy(boxes, torch.from_numpy(points)) for boxes in MEMBERS]
    return [float((truth & occupied).sum() / (truth | occupied).sum()) for truth in truths]


@pytest.fixture(autouse=True)
def coarse(monkeypatch):
    """Run the preset small with coarse voxels and few pixels."""
    small = replace(
        zero123_presets.SMALL, resolution=32, samples=48, size=SIZE, views=2, scratch_steps=200)
    monkeypatch.setattr(zero123_presets, 'SMALL', small)


def run(model, inputs, form='regress', steps=None):
    plan = make_plan('small', 'fixed', steps, model, inputs, 0, Progress())
    if form == 'sjc':
        levels = TimestepRange.parse([0, 0.5, 0.02, 150], [0, 0.96, 0.5, 150])
        guidance = ScoreGuidance(
            model.prior(inputs, 1.0), GuidanceSettings('sjc', timesteps=levels))
        weights = {name: weight for name, weight in plan.settings.weights.items()
                   if name != 'anchors'}
        plan = replace(
            plan, settings=replace(plan.settings, weights={**weights, 'guidance': 1.0}),
            guidance=guidance, anchors=None)
    return overlaps(distil(plan, inputs, 0, 64, Progress()))


def test_regression_from_scratch_ends_at_the_member_of_the_picture():
    ious = run(Bank(2), inputs_of(2))
    assert ious[2] > 0.8
    assert max(ious[:2] + ious[3:]) < 0.7


def test_score_jacobian_chaining_from_scratch_ends_there_too():
    ious = run(Bank(0, std=100.0), inputs_of(0), 'sjc')
    assert ious[0] > 0.8
    assert max(ious[1:]) < 0.7


def test_azimuths_of_the_wrong_sign_fail():
    model, inputs = Bank(2, -1.0), inputs_of(2)
    assert max(run(model, inputs, steps=100)) < 0.7


def test_a_right_start_stays():
    ious = run(Bank(0), inputs_of(0, box_grid(MEMBERS[0])), steps=25)
    assert ious[0] > 0.9
