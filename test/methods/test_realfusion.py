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
"""The method realfusion: its published constants, settings, tokens, and what bad input does."""

from __future__ import annotations

from dataclasses import replace
import math
import time

from distill_helpers import FOV
from distill_helpers import MEMBERS
from distill_helpers import render_boxes
from error_helpers import raises_code
import numpy as np
import pytest
import torch
import trimesh

from lift3d_ros.diffusion.token_denoiser import TokenDenoiser
from lift3d_ros.diffusion.token_denoiser import TokenDenoiserConfig
from lift3d_ros.diffusion.token_denoiser import write_token_denoiser
from lift3d_ros.distill.cameras import Cameras
from lift3d_ros.distill.distillation import Distillation
from lift3d_ros.distill.optimisation import step_generator
from lift3d_ros.distill.priors.tokens import TokenPrior
from lift3d_ros.distill.reference_view import ReferenceView
from lift3d_ros.errors import ErrorCode
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.lifter import Lifter
from lift3d_ros.lifter import LiftRequest
from lift3d_ros.methods.distilled import realfusion_presets as presets
from lift3d_ros.methods.distilled import unposed
from lift3d_ros.methods.distilled.realfusion import RealFusion
from lift3d_ros.synthetic.tabletop import make_scene
from lift3d_ros.synthetic.tabletop import TableSettings
from lift3d_ros.weights import store
from lift3d_ros.weights.learned_embeddings import write_learned_embeddings

pytestmark = pytest.mark.usefixtures('one_thread')

TABLE = TableSettings(elevation=(25.0, 45.0), distance=(0.7, 0.7), window=1.6, table_cells=24)
STEPS = 25
CONFIG = TokenDenoiserConfig(size=16, widths=(16, 32), token=16, contexts=2)


@pytest.fixture(scope='module')
def scene():
    mesh = trimesh.creation.box((0.16, 0.05, 0.11)).subdivide_to_size(0.02)
    vertices = np.asarray(mesh.vertices, np.float32)
    vertices[:, 2] -= vertices[:, 2].min()
    colors = np.tile(np.array([60, 90, 190], np.uint8), (len(vertices), 1))
    return make_scene(Mesh(vertices, np.asarray(mesh.faces, np.int32), colors), 1, TABLE)


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    """Return the small weights with a prior of random numbers."""
    folder = tmp_path_factory.mktemp('weights')
    for part in store.find('small').iterdir():
        if part.is_dir() and part.name != 'prior':
            (folder / part.name).symlink_to(part)
    torch.manual_seed(0)
    write_token_denoiser(folder / 'prior', TokenDenoiser(CONFIG))
    return folder


@pytest.fixture(scope='module', autouse=True)
def coarse_voxels():
    """Optimise coarse voxels from few pixels, which takes seconds."""
    small = replace(presets.SMALL, resolution=32, samples=32, size=32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(presets, 'SMALL', small)
        patch.setattr(unposed, 'SMALL_INVERSION', replace(unposed.SMALL_INVERSION, steps=12))
        yield


@pytest.fixture(scope='module')
def method(weights):
    made = RealFusion(str(weights), steps=STEPS, resolution=48)
    made.load()
    return made


def lift(method, scene, **options):
    return Lifter(method, max_faces=6000).lift(
        scene.frame, LiftRequest(scene.mask, seed=0), **options)


@pytest.mark.parametrize('settings', [
    {'steps': 0}, {'preset': 'fast'}, {'init': 'nothing'}, {'preset': 'gpu'}, {'samples': 2},
])
def test_settings_without_a_meaning_are_refused(settings):
    with raises_code(ErrorCode.BAD_REQUEST):
        Lifter('realfusion', **settings)


def test_unknown_tokens_and_defects_are_refused():
    for wrong in ({'tokens': 'word'}, {'defects': 'mended'}):
        with raises_code(ErrorCode.BAD_REQUEST):
            RealFusion(**wrong)


def test_weights_without_a_prior_are_missing(weights, tmp_path):
    (tmp_path / 'coarse').mkdir()
    for name in (str(tmp_path), '/nowhere/sd'):
        with raises_code(ErrorCode.WEIGHTS_MISSING):
            Lifter('realfusion', weights=name).check()
    Lifter('realfusion', weights=str(weights)).check()


def test_the_shape_is_closed_and_metric_and_its_steps_are_reported(method, scene):
    steps, stages = [], []
    shape = lift(method, scene, on_step=steps.append,
                 progress=lambda stage, fraction: stages.append(stage))
    assert shape.method == 'realfusion'
    assert shape.mesh.is_watertight()
    assert shape.scale_source == 'depth'
    assert shape.size.max() == pytest.approx(0.16, abs=0.02)
    assert shape.mask_iou > 0.8
    assert shape.confidence[~shape.observed].max() <= 0.4
    assert [step.step for step in steps] == [STEPS]
    assert 'invert' in stages and stages.index('invert') < stages.index('optimise')


def test_a_learned_token_takes_the_place_of_the_inversion(method, scene, tmp_path):
    right, wrong = tmp_path / 'a.safetensors', tmp_path / 'learned_embeds.bin'
    write_learned_embeddings(right, {'<object>': torch.zeros(CONFIG.token)})
    write_learned_embeddings(wrong, {'<object>': torch.zeros(768)})
    stages = []
    own = replace(method, steps=2, learned_token=str(right))
    lift(own, scene, progress=lambda stage, fraction: stages.append(stage))
    assert 'invert' not in stages
    with raises_code(ErrorCode.BAD_REQUEST):
        lift(replace(own, learned_token=str(wrong)), scene)


def test_without_guidance_it_is_a_control(method, scene):
    prior = method._prior
    plans = {}
    for tokens in ('null', 'none'):
        captured = []
        own = RealFusionProbe(**{**settings_of(method), 'tokens': tokens}, captured=captured)
        own._start, own._prior = method._start, prior
        lift(own, scene)
        plans[tokens], = captured
    assert plans['none'].guidance is None and 'guidance' not in plans['none'].settings.weights
    own_token = plans['null'].guidance.prior.token
    assert torch.equal(own_token, prior.network.null[None])


class RealFusionProbe(RealFusion):
    """Keeps the plan."""

    def __init__(self, *, captured, **settings):
        super().__init__(**settings)
        self.captured = captured

    def plan(self, *arguments):
        self.captured.append(super().plan(*arguments))
        return self.captured[-1]


def settings_of(method):
    return {'weights': method.weights, 'steps': 2, 'resolution': 32}


def test_a_cancelled_inversion_ends_within_half_a_second(method, scene):
    asked, running = [], []

    def cancelled():
        if not asked and running:
            asked.append(time.monotonic())
        return bool(asked)

    def progress(stage, fraction):
        if stage == 'invert':
            running.append(stage)

    with raises_code(ErrorCode.CANCELLED):
        lift(method, scene, progress=progress, cancelled=cancelled)
    assert time.monotonic() - asked[0] < 0.5


# The published constants.


def reference_of(radius=1.7, size=128):
    camera = Cameras.orbit(
        torch.zeros(1), torch.full((1,), 15.0), torch.tensor(radius, dtype=torch.float64), FOV)
    image = render_boxes(MEMBERS[0], camera.poses, size, samples=1)[0]
    straight = torch.cat([image[:3] / image[3:].clamp_min(1e-6), image[3:]])
    return ReferenceView.from_image(straight.permute(1, 2, 0).numpy(), camera)


def make_faithful(defects='faithful', steps=None):
    prior = TokenPrior(TokenDenoiser(CONFIG))
    return presets.faithful_plan(defects, steps, prior, reference_of(), 0.6, 0)


def test_lengths_make_the_input_picture_as_wide_as_the_published_one():
    reference = reference_of(1.7)
    assert presets.half_width(reference) == pytest.approx(math.tan(math.radians(FOV / 2)), rel=.01)
    published = 1.8 * math.tan(math.radians(27.5))
    assert presets.reference_scale(reference) * published == pytest.approx(
        1.7 * math.tan(math.radians(FOV / 2)), rel=0.01)


def test_the_faithful_preset_has_the_published_constants():
    plan = make_faithful()
    factor = presets.reference_scale(plan.reference)
    settings, field = plan.settings, plan.field
    assert settings.weights == {
        'rgb': 5.0, 'mask': 0.5, 'guidance': 1.0, 'normal_blur': 0.5, 'orientation': 1e-2,
        'entropy': 1e-4}
    assert (settings.size, settings.reference_rays, settings.background) == (96, 4096, 'pixels')
    assert settings.shading.start == 1000 and settings.shading.albedo == 0.2
    assert settings.cameras.radius == pytest.approx((factor, 1.5 * factor))
    assert settings.cameras.fov == (40.0, 70.0) and settings.cameras.elevation == (-30.0, 90.0)
    optimizer = plan.loop.optimizer
    assert (plan.loop.steps, optimizer.name, optimizer.rate, optimizer.average) == (
        5000, 'adam', 1e-3, 0.95)
    assert (optimizer.betas, optimizer.eps) == ((0.9, 0.99), 1e-15)
    grid = field.encoding_settings
    assert (grid.levels, grid.features, grid.log2_entries, grid.base) == (16, 2, 16, 16)
    assert grid.growth**15 * 16 == pytest.approx(1536.0)
    assert (grid.storage, grid.rule) == ('tiled', 'gridencoder')
    assert field.settings.encoding_rate == 10.0 and field.settings.density == 'trunc_exp'
    guidance = plan.guidance.settings
    assert (guidance.form, guidance.weighting) == ('sds', 'dreamfusion')
    assert (guidance.timesteps.low(0), guidance.timesteps.high(0)) == (0.02, 0.98)
    assert presets.inversion('faithful', False) is None
    assert make_faithful('fixed').field.encoding_settings.storage == 'hash'


def test_finer_levels_start_after_three_fifths_of_the_steps():
    plan = make_faithful(steps=10)
    settings = replace(
        plan.settings, reference_rays=4, size=4, render=replace(plan.settings.render, samples=4))
    task = Distillation(plan.field, plan.reference, settings, plan.guidance)
    levels = []
    for step in (0, 5, 6, 9):
        task.losses(step, step_generator(0, step), lambda: None)
        levels.append(plan.field.encoding.active_levels)
    assert levels == [8, 8, 16, 16]


@pytest.mark.parametrize('defects', ['fixed', 'faithful'])
def test_cameras_are_replaced_as_meant_or_as_published(defects):
    plan = make_faithful(defects)
    sampler, own = plan.settings.cameras, plan.reference.camera()
    told, near = [], []
    for step in range(10):
        cameras = sampler.draw(1, step, step_generator(0, step))
        told.append(cameras.told is not None)
        near.append(bool((cameras.poses[0, :3, 3] - own.poses[0, :3, 3]).norm() < 0.2))
        if cameras.told is not None:
            torch.testing.assert_close(cameras.told, own.poses)
    if defects == 'fixed':
        assert told == near == [True] + [False] * 9
    else:
        assert told == [False] + [True] * 9 and not all(near)
