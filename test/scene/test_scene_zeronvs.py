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
"""Scenes distilled from published weights: a synthesised checkpoint, and what is refused."""

from __future__ import annotations

from dataclasses import replace

from error_helpers import raises_code
import numpy as np
import pytest
from scene_helpers import make_room
import torch
import weights_helpers

from lift3d_ros.errors import ErrorCode
from lift3d_ros.fields.grid_levels import HashGridSettings
from lift3d_ros.fields.radiance_fields import EncodedField
from lift3d_ros.fields.radiance_fields import ZERONVS_FIELD
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry.pose_vectors import zeronvs_pose
from lift3d_ros.lifter import Lifter
from lift3d_ros.scene.composition import SceneSettings
from lift3d_ros.scene.novel_views import turned_about
from lift3d_ros.scene.radiance import fitting
from lift3d_ros.scene.radiance import published
from lift3d_ros.scene.radiance.scene_field import SceneFrame
from lift3d_ros.scene.radiance.settings import RadianceSettings

pytestmark = pytest.mark.usefixtures('one_thread')

CAMERA = Camera.from_fov(64, 48, 60.0)


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    """Return a checkpoint in the published format, of a small random network."""
    networks = weights_helpers.networks(pose=19)
    path = tmp_path_factory.mktemp('weights') / 'zeronvs.ckpt'
    return str(weights_helpers.write_ldm(path, weights_helpers.ldm_state(networks)))


@pytest.fixture(scope='module')
def room():
    return make_room(CAMERA)


@pytest.fixture(scope='module')
def prior(checkpoint, room):
    scene = SceneFrame.of_middle(1.5, -room.frame.gravity)
    return published.ScenePrior(checkpoint, 'cpu', room.frame, scene)


@pytest.fixture
def tiny(monkeypatch):
    """Reduce the published sizes, and keep the tasks that are made."""
    made = []

    class Task(fitting.SceneTask):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            self.arguments = arguments
            made.append(self)

    render = replace(published.RENDER, samples=6, importance=6)
    for name, value in (
        ('ANCHOR_STEPS', 1), ('VIEWS', 1), ('VIEW_PIXELS', 8), ('GROWN', ()),
        ('REFERENCE_PIXELS', 8), ('RENDER', render), ('KNOWN', replace(published.KNOWN, rays=32)),
        ('published_fields', lambda seed: tuple(
            EncodedField(HashGridSettings(levels=4, log2_entries=8), ZERONVS_FIELD, seed + number)
            for number in range(2))),
    ):
        monkeypatch.setattr(published, name, value)
    monkeypatch.setattr(fitting, 'SceneTask', Task)
    return made


def lift(room, weights, preset, steps=1):
    return Lifter('geometric').lift_scene(room.frame, settings=SceneSettings(
        fill='zeronvs', weights=weights, resolution=0.05,
        radiance=RadianceSettings(preset, steps)))


def test_the_settings_are_the_released_ones(prior):
    settings = prior.settings()
    assert {name: settings.weights[name] for name in (
        'guidance', 'rgb', 'normal_jitter', 'orientation')} == {
            'guidance': 0.1, 'rgb': 1500.0, 'normal_jitter': 8.0, 'orientation': 5.0}
    assert (settings.views, settings.size, settings.growth) == (6, 128, ((2000, 256, 1),))
    render = settings.render
    assert (render.samples, render.importance, render.spacing) == (64, 64, 'disparity')
    assert (render.near, render.far) == (0.5, 1000.0)
    assert settings.cameras.radius == (0.8, 1.8) and settings.cameras.widening == 1000
    guidance = prior.guidance([])
    assert (guidance.settings.form, guidance.settings.delay) == ('sds', 1000.0)
    assert [guidance.settings.timesteps.low(step) for step in (0, 1000)] == [0.75, 0.02]
    assert guidance.probability(0) == 1.0 and guidance.probability(2000) == 0.0
    field, proposal = published.published_fields(0)
    assert field.contracted and proposal.contracted
    assert field.bound == 2.0
    assert (field.encoding_settings.levels, proposal.encoding_settings.levels) == (16, 5)
    assert published.LOOP.steps == 4000 and published.LOOP.optimizer.rate == 5e-3


def test_the_picture_is_the_largest_square_and_the_model_knows_its_lens(room, prior):
    assert prior.picture.shape == (256, 256, 3)
    fov = 2.0 * np.degrees(np.arctan(24.0 / CAMERA.fy))
    assert prior.fov == pytest.approx(fov)
    middle = prior.picture[112:144, 112:144].mean(axis=(0, 1))
    np.testing.assert_allclose(
        middle, room.frame.image[21:27, 29:35].mean(axis=(0, 1)), atol=12.0)


def test_views_are_conditioned_on_metres_over_the_quantile_of_depth(room, prior, monkeypatch):
    seen = []
    denoiser = prior.prior._model
    monkeypatch.setattr(
        denoiser, 'conditions', lambda image, vectors, extra: seen.append(vectors))
    pose = turned_about(1.5, -room.frame.gravity, 28.0)
    scene = SceneFrame.of_middle(1.5, -room.frame.gravity)
    prior.prior.condition(torch.from_numpy(scene.pose(pose))[None])
    scale = float(np.quantile(room.frame.depth[room.frame.depth > 0.0], 0.2))
    np.testing.assert_allclose(
        seen[0][0], zeronvs_pose(pose, np.eye(4), scale, prior.fov), atol=1e-6)


def test_a_checkpoint_distils_a_scene_with_anchors(room, checkpoint, tiny):
    scene = lift(room, checkpoint, None)
    assert scene.field is not None
    (task,) = tiny
    known, distillation = task.arguments[4], task.arguments[7]
    guidance = distillation._guidance
    assert len(guidance.anchors) == 6
    own = guidance.input_pose
    cosines = [
        0.5 * (float(torch.trace(own[:3, :3].T @ anchor.pose[:3, :3])) - 1.0)
        for anchor in guidance.anchors]
    angles = np.degrees(np.arccos(np.clip(cosines, -1.0, 1.0)))
    np.testing.assert_allclose(np.sort(angles), [15, 15, 28, 28, 40, 40], atol=1e-3)
    # The input with its depth, and the pictures of the anchors without.
    assert torch.isfinite(known[0].distance).any()
    assert not torch.isfinite(known[1].distance).any()
    assert len(known[1]) == 6 * published.ANCHOR_PIXELS**2


def test_the_released_configuration_has_neither_anchors_nor_depth(room, checkpoint, tiny):
    scene = lift(room, checkpoint, 'faithful')
    assert scene.field is not None
    (task,) = tiny
    assert task.arguments[4] == []
    assert task.arguments[7]._guidance.anchors == ()


def test_weights_that_know_no_scenes_are_refused(room, tmp_path):
    networks = weights_helpers.networks()
    path = weights_helpers.write_ldm(
        tmp_path / 'zero123.ckpt', weights_helpers.ldm_state(networks))
    with raises_code(ErrorCode.BAD_REQUEST):
        lift(room, str(path), None)
