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

"""What the terms of a distillation compare: known rays, depths, nearby views, growing views."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from lift3d_ros.distill.cameras import Cameras
from lift3d_ros.distill.cameras import CameraSampler
from lift3d_ros.distill.distillation import Distillation
from lift3d_ros.distill.latents import LatentColors
from lift3d_ros.distill.latents import LatentSpace
from lift3d_ros.distill.reference_view import ReferenceView
from lift3d_ros.distill.settings import DistillationSettings
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.fields.radiance_fields import VoxelField
from lift3d_ros.fields.radiance_fields import VoxelFieldSettings
from lift3d_ros.fields.volume_rendering import RenderSettings

pytestmark = pytest.mark.usefixtures('one_thread')

SIZE = 12
CAMERA = Cameras.orbit(
    torch.zeros(1), torch.zeros(1), torch.tensor(1.7, dtype=torch.float64), 49.13)
SAMPLER = CameraSampler((1.7, 1.7), (0.0, 40.0))


def ball(channels=3):
    """Return voxels with an opaque ball of the radius 0.3 in empty space."""
    field = VoxelField(VoxelFieldSettings(0.5, 24, channels, 'none'))
    axis = (torch.arange(24) + 0.5) / 24.0 - 0.5
    radius = torch.stack(torch.meshgrid(axis, axis, axis, indexing='ij')).norm(dim=0)
    with torch.no_grad():
        field.density_grid.copy_(torch.where(radius < 0.3, 200.0, -50.0)[None, None])
    return field


def reference(known=None):
    picture = np.full((SIZE, SIZE, 4), 0.5, np.float32)
    picture[..., 3] = 1.0
    view = ReferenceView.from_image(picture, CAMERA)
    return replace(view, known=known)


def losses(weights, view=None, step=0, **settings):
    task = Distillation(ball(), reference() if view is None else view, DistillationSettings(
        weights, SAMPLER, size=SIZE, render=RenderSettings(samples=32), **settings))
    return {name: float(term.detach()) for name, term in task.losses(
        step, torch.Generator().manual_seed(0), lambda: None).items()}


def test_rays_behind_an_occluder_are_not_compared():
    middle = torch.zeros(SIZE, SIZE, dtype=torch.bool)
    middle[5:7, 5:7] = True
    whole = losses({'mask': 1.0})['mask']
    # The mask is full: only the ball's own pixels fit it.
    assert whole > 0.3
    for rays in (None, 50):
        known = losses({'mask': 1.0}, reference(middle.reshape(-1)), reference_rays=rays)
        assert known['mask'] < 0.01


def test_composited_depth_makes_outlines_steps():
    weights = {'depth_smoothness': 1.0, 'reference_smoothness': 1.0, 'nearby': 1.0}
    surface = losses(weights)
    composited = losses(weights, background_depth=10.0)
    assert surface.keys() == composited.keys() == weights.keys()
    assert composited['reference_smoothness'] > 2.0 * surface['reference_smoothness']
    assert composited['depth_smoothness'] > 2.0 * surface['depth_smoothness']


def test_nearby_views_differ_the_less_the_nearer_they_are():
    differences = [losses({'nearby': 1.0}, nearby=distance)['nearby']
                   for distance in (1e-6, 0.05, 0.3)]
    assert differences == sorted(differences)
    assert differences[2] > 1.5 * differences[0]


def test_views_grow_with_the_steps():
    settings = DistillationSettings({'opacity': 1.0}, SAMPLER, 12, 64, growth=(
        (200, 128, 4), (300, 256, 2)))
    assert [settings.at(step) for step in (0, 199, 200, 299, 300, 900)] == [
        (64, 12), (64, 12), (128, 4), (128, 4), (256, 2), (256, 2)]
    with pytest.raises(LiftError) as caught:
        replace(settings, growth=((200, 0, 4),))
    assert caught.value.code is ErrorCode.BAD_REQUEST


def test_colours_of_latents_follow_the_decoder():
    generator = torch.Generator().manual_seed(1)
    matrix = 0.2 * torch.randn(4, 3, generator=generator)
    space = LatentSpace(
        lambda latents: 2.0 * torch.einsum('bchw,cd->bdhw', latents, matrix) + 0.1,
        torch.zeros(4))
    field = ball(4)
    ring = Cameras.orbit(torch.tensor([0.0, 120.0, 240.0]), torch.zeros(3), torch.full(
        (3,), 1.7, dtype=torch.float64), 49.13)
    to_rgb = LatentColors(field, space, ring, SIZE)()
    latents = torch.randn(50, 4, generator=generator)
    # The decoder has the range -1 to 1, colours 0 to 1.
    expected = latents @ matrix + 0.55
    assert torch.allclose(to_rgb(latents), expected, atol=0.05)


def test_a_field_of_latents_that_shows_nothing_has_grey_colours():
    field = VoxelField(VoxelFieldSettings(0.5, 8, 4, 'none', density_shift=-50.0))
    space = LatentSpace(lambda latents: latents[:, :3], torch.zeros(4))
    to_rgb = LatentColors(field, space, CAMERA, SIZE)()
    assert torch.equal(to_rgb(torch.randn(3, 4)), torch.full((3, 3), 0.5))
