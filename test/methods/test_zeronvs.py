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
"""The method zeronvs: the constants of the publication, the packaged weights, bad settings."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import replace

from diffusers import AutoencoderKL
import numpy as np
import pytest
import torch
import trimesh
from zero123_helpers import make_components

from lift3d_ros.diffusion.models import PublishedModel
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import family_pose
from lift3d_ros.geometry import orbit_pose
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.lifter import Lifter
from lift3d_ros.lifter import LiftRequest
from lift3d_ros.methods.distilled import zeronvs_presets
from lift3d_ros.methods.distilled.posed import ViewModel
from lift3d_ros.methods.distilled.zeronvs import ZeroNVS
from lift3d_ros.synthetic.tabletop import make_scene
from lift3d_ros.synthetic.tabletop import TableSettings

pytestmark = pytest.mark.usefixtures('one_thread')

TABLE = TableSettings(elevation=(25.0, 45.0), distance=(0.7, 0.7), window=1.6, table_cells=24)


@pytest.fixture(scope='module')
def scene():
    mesh = trimesh.creation.box((0.16, 0.05, 0.11)).subdivide_to_size(0.02)
    vertices = np.asarray(mesh.vertices, np.float32)
    vertices[:, 2] -= vertices[:, 2].min()
    colors = np.tile(np.array([60, 90, 190], np.uint8), (len(vertices), 1))
    return make_scene(Mesh(vertices, np.asarray(mesh.faces, np.int32), colors), 1, TABLE)


def lift(method, scene, **options):
    return Lifter(method, max_faces=6000).lift(
        scene.frame, LiftRequest(scene.mask, seed=0), **options)


@dataclass
class Synthesised(ZeroNVS):
    """The method with a small random network of the published architecture; keeps its plan."""

    def check_prior(self):
        """Accept the network."""

    def start_weights(self):
        """Return the packaged weights."""
        return 'small'

    def load_prior(self, start):
        """Return the network, whose autoencoder reduces pictures by 8 as the published one."""
        codec = AutoencoderKL(
            latent_channels=4, block_out_channels=(4, 4, 4, 4), norm_num_groups=2,
            down_block_types=('DownEncoderBlock2D',) * 4,
            up_block_types=('UpDecoderBlock2D',) * 4, sample_size=256)
        return ViewModel(
            PublishedModel(make_components('zeronvs', vae=codec), 'cpu', torch.float32, None))

    def plan(self, prior, inputs, seed, progress):
        """Return the plan with fewer pixels and samples."""
        made = super().plan(prior, inputs, seed, progress)
        self.made, self.inputs = made, inputs
        return replace(
            made, reference=inputs.reference_view(16), fit_steps=5, settings=replace(
                made.settings, views=1, size=8, growth=(), render=replace(
                    made.settings.render, samples=8, importance=8)))


@pytest.fixture(scope='module')
def published(scene):
    """Return the method of the preset faithful with one anchor, after a lift."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zeronvs_presets, 'ANCHOR_STEPS', 2)
        made = Synthesised(preset='faithful', steps=2, resolution=48, anchors=2)
        made.load()
        shape = lift(made, scene)
    return made, shape


@pytest.mark.parametrize('settings', [
    {'steps': 0}, {'preset': 'large'}, {'preset': 'fast'}, {'init': 'nothing'},
    {'preset': 'gpu'}, {'anchors': -1}, {'anchors': 1000}, {'scale': 0.0},
])
def test_settings_without_a_meaning_are_refused(settings):
    with pytest.raises(LiftError) as caught:
        ZeroNVS(**settings)
    assert caught.value.code is ErrorCode.BAD_REQUEST


def test_missing_weights_are_found_before_anything_is_loaded():
    with pytest.raises(LiftError) as caught:
        Lifter('zeronvs', weights='/nowhere/zeronvs.ckpt').check()
    assert caught.value.code is ErrorCode.WEIGHTS_MISSING


def test_the_faithful_preset_has_the_published_constants(published):
    method, shape = published
    plan, settings = method.made, method.made.settings
    assert shape.mesh.is_watertight()
    assert plan.loop.optimizer.rate == 5e-3 and plan.loop.optimizer.betas == (0.9, 0.99)
    assert {name: settings.weights[name] for name in (
        'guidance', 'rgb', 'normal_jitter', 'orientation')} == {
            'guidance': 0.1, 'rgb': 1500.0, 'normal_jitter': 8.0, 'orientation': 5.0}
    assert 'mask' not in settings.weights
    assert (settings.views, settings.size, settings.growth) == (6, 128, ((2000, 256, 1),))
    assert (settings.render.samples, settings.render.importance) == (64, 64)
    assert settings.render.spacing == 'disparity' and settings.background == 'random'
    distance = float(np.linalg.norm(method.inputs.eyes[0]))
    assert settings.render.near == pytest.approx(0.5 * distance)
    assert settings.cameras.radius == pytest.approx((0.8 * distance, 1.8 * distance))
    assert settings.cameras.elevation == (5.0, 80.0) and settings.cameras.widening == 1000
    guidance = plan.guidance.settings
    assert (guidance.form, guidance.delay) == ('sds', 1000.0)
    assert [guidance.timesteps.low(step) for step in (0, 1000)] == [0.75, 0.02]
    assert [guidance.timesteps.high(step) for step in (1000, 2500)] == [0.98, 0.025]
    assert plan.field.contracted and plan.proposal.contracted
    assert plan.field.encoding_settings.levels == 16
    assert plan.proposal.encoding_settings.levels == 5


def test_anchors_are_evenly_around_the_object_at_the_height_of_the_input(published):
    method, _ = published
    guidance = method.made.guidance
    assert len(guidance.anchors) == 2
    eyes = [anchor.pose[:3, 3].numpy() for anchor in guidance.anchors]
    azimuths = [float(np.degrees(np.arctan2(y, x))) % 360.0 for x, y, _ in eyes]
    assert azimuths == pytest.approx([120.0, 240.0])
    assert eyes[0][2] == pytest.approx(float(guidance.input_pose[2, 3]))


@pytest.mark.slow
def test_the_released_configuration_has_no_anchors(scene):
    method = Synthesised(preset='faithful', steps=1, resolution=48)
    method.load()
    lift(method, scene)
    assert method.made.guidance.anchors == ()


def test_the_scale_is_a_quantile_of_the_measured_depth(published):
    method, _ = published
    depth = method.inputs.reference.depth
    scale = zeronvs_presets.scene_scale(method.inputs)
    readings = depth[depth > 0.0]
    assert float((readings <= scale).float().mean()) == pytest.approx(0.2, abs=0.02)
    blind = replace(method.inputs, reference=replace(method.inputs.reference, depth=None))
    assert zeronvs_presets.scene_scale(blind) is None


def test_poses_do_not_change_when_the_scene_and_its_scale_grow():
    own, target = orbit_pose(0.0, 20.0, 1.5), orbit_pose(70.0, 40.0, 1.9)[None]
    once = family_pose('zeronvs', target, own, scale=1.1)
    for pose in (own, target[0]):
        pose[:3, 3] *= 3.0
    np.testing.assert_allclose(family_pose('zeronvs', target, own, scale=3.3), once)
    assert once.shape == (1, 19)


def test_the_packaged_weights_give_a_closed_metric_shape(scene, monkeypatch):
    monkeypatch.setattr(zeronvs_presets, 'SMALL_ANCHORS', 2)
    steps = []
    method = ZeroNVS(steps=25, resolution=48)
    shape = lift(method, scene, on_step=steps.append)
    assert shape.mesh.is_watertight() and shape.scale_source == 'depth'
    assert shape.size.max() == pytest.approx(0.16, abs=0.02)
    assert shape.mask_iou > 0.85
    assert shape.pass_probability is None
    assert [step.step for step in steps] == [25]
