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
Proofs without weights: exact priors of rooms, true anchors, and an analytic room.

Their ends are known beforehand.
"""

from __future__ import annotations

from dataclasses import replace
import sys

import numpy as np
import pytest
from room_helpers import bank_of_rooms
from room_helpers import cameras
from room_helpers import FOV
from room_helpers import known_rays
from room_helpers import pictures
from room_helpers import PLANES
from room_helpers import psnr
from room_helpers import SPHERES
from room_helpers import trace
import torch

from lift3d_ros.distill.cameras import CameraSampler
from lift3d_ros.distill.cameras import pixel_rays
from lift3d_ros.distill.distillation import Distillation
from lift3d_ros.distill.guidance.anchored import Anchor
from lift3d_ros.distill.guidance.anchored import AnchoredGuidance
from lift3d_ros.distill.guidance.guidance import GuidanceSettings
from lift3d_ros.distill.optimisation import optimise
from lift3d_ros.distill.reference_view import ReferenceView
from lift3d_ros.distill.schedules import Schedule
from lift3d_ros.distill.schedules import TimestepRange
from lift3d_ros.distill.settings import DistillationSettings
from lift3d_ros.fields.rays import Rays
from lift3d_ros.fields.volume_rendering import render
from lift3d_ros.fields.volume_rendering import RenderSettings
from lift3d_ros.geometry import Camera
from lift3d_ros.scene.radiance import small
from lift3d_ros.scene.radiance.scene_field import SceneField
from lift3d_ros.scene.radiance.scene_field import SceneFrame
from lift3d_ros.scene.radiance.task import SceneTask

pytestmark = pytest.mark.usefixtures('one_thread')

SIZE = 24
RENDER = RenderSettings(samples=24, importance=16, near=0.1, far=20.0, spacing='disparity')
INPUT = cameras([0.0])

#: Rooms with one front: what the input shows of the right half is the same, and the wall on the
#: left, which it does not show, goes with the colour of the small sphere.
ROOMS = tuple(
    {'spheres': (SPHERES[0], (*SPHERES[1][:2], ball)),
     'planes': (*PLANES[:5], (*PLANES[5][:2], wall))}
    for ball, wall in (
        ((0.1, 0.3, 0.9), (0.9, 0.3, 0.2)), ((0.1, 0.8, 0.2), (0.2, 0.3, 0.9)),
        ((0.9, 0.8, 0.1), (0.9, 0.9, 0.9))))


def fitted(known, steps, rate=0.01, distillation=None, resolution=48, rays=512, fields=None):
    """Return the fields of a room after some steps."""
    field, proposal = fields or small.small_fields(0, resolution, 6)
    scene = SceneField(
        field, SceneFrame.of_middle(1.0, np.array([0.0, -1.0, 0.0])), RENDER, proposal)
    task = SceneTask(
        field, proposal, RENDER, replace(small.REGRESSION, rays=rays), known, scene,
        Camera.from_fov(SIZE, SIZE, FOV), distillation)
    optimise(task, replace(
        small.LOOP, steps=steps, optimizer=replace(small.LOOP.optimizer, rate=rate)))
    return field, proposal


@torch.no_grad()
def seen(fields, views, size=SIZE):
    """Return the colours (n, 3) of a field before views."""
    origins, directions = (part.reshape(-1, 3) for part in pixel_rays(views, size))
    parts = [
        render(fields[0], Rays(origins[at:at + 4096], directions[at:at + 4096]), RENDER,
               proposal=fields[1]).color
        for at in range(0, len(origins), 4096)]
    return torch.cat(parts).clamp(0.0, 1.0)


def true(views, room, size=SIZE):
    """Return the colours (n, 3) of a room before views."""
    origins, directions = (part.reshape(-1, 3) for part in pixel_rays(views, size))
    return trace(origins, directions, **room)[0]


def guided(prior, steps, anchors=(), probability=0.0):
    """Return fields distilled from a prior, beside the regression to the input of room 1."""
    fields = small.small_fields(0, 48, 6)
    guidance = AnchoredGuidance(
        prior, GuidanceSettings(
            'sds', 'uniform',
            TimestepRange.parse([0, 0.5, 0.02, steps], [0, 0.98, 0.3, steps]), delay=0.2 * steps),
        anchors=tuple(anchors), input_pose=INPUT.poses[0],
        probability=Schedule.parse(probability))
    picture = pictures(INPUT, SIZE, **ROOMS[1])[0][0]
    reference = ReferenceView.from_image(picture.permute(1, 2, 0).numpy(), INPUT)
    sampler = CameraSampler(
        (1.0, 1.0), (10.0, 35.0), azimuth=(-50.0, 50.0), fov=(FOV, FOV), stratified=True)
    task = Distillation(
        fields[0], reference, DistillationSettings(
            {'guidance': 0.01, 'interlevel': 0.2}, sampler, 2, SIZE, RENDER,
            background='pixels'),
        guidance, proposal=fields[1])
    return fitted(
        [known_rays(INPUT, SIZE, **ROOMS[1])], steps, distillation=task, fields=fields)


SIDES = cameras([-40.0, -25.0, 25.0, 40.0])


def test_the_loop_ends_at_the_room_of_the_bank_that_fits_the_input():
    bank = bank_of_rooms(ROOMS, SIZE)
    found = seen(guided(bank, 150), SIDES)
    quality = [psnr(found, true(SIDES, room)) for room in ROOMS]
    assert quality[1] > 18.0
    assert quality[1] > max(quality[0], quality[2]) + 2.0


def test_without_a_prior_the_room_does_not_follow_from_the_input():
    alone = seen(fitted([known_rays(INPUT, SIZE, **ROOMS[1])], 100), SIDES)
    assert psnr(alone, true(SIDES, ROOMS[1])) < 18.0


@pytest.mark.parametrize(('probability', 'expected'), [
    (1.0, 1), pytest.param(0.0, 0, marks=pytest.mark.slow)])
def test_anchors_with_true_views_lead_to_their_room(probability, expected):
    wrong, right = (bank_of_rooms([ROOMS[member]], SIZE) for member in (0, 1))
    turns = [-40.0, -15.0, 0.0, 15.0, 40.0]
    anchors = [Anchor(right, pose) for pose in cameras(turns).poses]
    found = seen(guided(wrong, 120, anchors, probability), SIDES)
    quality = [psnr(found, true(SIDES, ROOMS[member])) for member in (0, 1)]
    assert quality[expected] > quality[1 - expected] + 2.0


def test_regression_to_true_anchors_reaches_them():
    views = cameras([15.0, -15.0, 28.0, -28.0, 40.0, -40.0])
    fields = fitted(
        [known_rays(INPUT, 48, **ROOMS[0]), known_rays(views, 32, **ROOMS[0])], 120)
    assert psnr(seen(fields, views), true(views, ROOMS[0])) > 24.0


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_an_analytic_room_is_rendered_to_thirty_decibels_from_forty_views(monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], 'RENDER', small.RENDER)
    generator = torch.Generator().manual_seed(3)
    turns = 100.0 * torch.rand(40, generator=generator, dtype=torch.float64) - 50.0
    heights = 5.0 + 40.0 * torch.rand(40, generator=generator, dtype=torch.float64)
    fields = fitted(
        [known_rays(cameras(turns, heights), 96)], 800, rate=0.005, resolution=96, rays=768)
    held_out = cameras([-33.0, 7.0, 41.0], 24.0)
    assert psnr(seen(fields, held_out, 96), true(held_out, {}, 96)) > 30.0
