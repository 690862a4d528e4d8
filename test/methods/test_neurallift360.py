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
NeuralLift-360 as a method: an exact prior, the order of depths, its constants, bad input.

The bank of four objects is the prior of the whole loop: its end is known beforehand.
"""

from __future__ import annotations

from dataclasses import replace
import math
from types import SimpleNamespace

from distill_helpers import box_occupancy
from distill_helpers import FOV
from distill_helpers import make_bank
from distill_helpers import MEMBERS
from distill_helpers import render_boxes
import numpy as np
import pytest
from scipy.stats import kendalltau
import torch

from lift3d_ros.diffusion.token_denoiser import TokenDenoiser
from lift3d_ros.diffusion.token_denoiser import TokenDenoiserConfig
from lift3d_ros.diffusion.token_denoiser import write_token_denoiser
from lift3d_ros.distill.cameras import Cameras
from lift3d_ros.distill.cameras import view_words
from lift3d_ros.distill.distillation import Distillation
from lift3d_ros.distill.guidance.clip import PUBLISHED_SCALES
from lift3d_ros.distill.optimisation import optimise
from lift3d_ros.distill.optimisation import step_generator
from lift3d_ros.distill.priors.exact import BankPrior
from lift3d_ros.distill.reference_view import ReferenceView
from lift3d_ros.distill.schedules import Schedule
from lift3d_ros.distill.terms import ray_depth
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.fields.density_grid import DensityGrid
from lift3d_ros.fields.volume_rendering import render
from lift3d_ros.lifter import Lifter
from lift3d_ros.lifter import LiftRequest
from lift3d_ros.methods.distilled import neurallift360_presets as presets
from lift3d_ros.methods.distilled import neurallift360_prior
from lift3d_ros.methods.distilled.neurallift360 import NeuralLift360
from lift3d_ros.methods.distilled.run import distil
from lift3d_ros.networks.small.object_encoder import ObjectEncoder
from lift3d_ros.networks.small.object_encoder import ObjectEncoderConfig
from lift3d_ros.networks.small.object_encoder import write_object_encoder
from lift3d_ros.progress import Progress
from lift3d_ros.synthetic.tabletop import make_scene
from lift3d_ros.synthetic.tabletop import TableSettings

pytestmark = pytest.mark.usefixtures('one_thread')

SIZE = 32
BOUND = 0.6
CAMERA = Cameras.orbit(
    torch.zeros(1), torch.full((1,), 20.0), torch.tensor(1.7, dtype=torch.float64), FOV)


class MeanColor:
    """The mean colours of the columns of a picture as its embedding."""

    def embed(self, images):
        return images.mean(2).flatten(1) + 1.0


def picture_of(member, size=SIZE):
    """Return a member before the input camera as straight RGBA (h, h, 4)."""
    image = render_boxes(MEMBERS[member], CAMERA.poses, size)[0]
    straight = torch.cat([image[:3] / image[3:].clamp_min(1e-6), image[3:]])
    return straight.permute(1, 2, 0).numpy()


def inputs_of(picture, start=None, **maps):
    """Return inputs of a picture by the input camera, without an observation."""
    def view(size):
        assert size == picture.shape[0]
        return ReferenceView.from_image(picture, CAMERA, **maps)

    return SimpleNamespace(
        reference_view=view, reference=view(picture.shape[0]), bound=BOUND, start=start,
        device='cpu', canonical=SimpleNamespace(metric='depth' in maps, elevation=20.0),
        levelled=SimpleNamespace(elevation=SimpleNamespace(source='gravity', stddev=1.0)))


@pytest.fixture(scope='module', autouse=True)
def coarse_voxels():
    """Optimise coarse voxels from few pixels, which takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(presets, 'SMALL', replace(
            presets.SMALL, resolution=32, samples=48, size=SIZE, scratch_steps=200))
        yield


def ious_with(prior, member):
    """Return the IoU of the field at the end of the whole loop with each member, at 64^3."""
    inputs = inputs_of(picture_of(member))
    plan = presets.make_plan(presets.PlanSettings(), presets.Guide(prior), inputs, 0)
    field = distil(plan, inputs, 0, 64, Progress()).field
    axis = ((np.arange(64) + 0.5) / 32.0 - 1.0) * BOUND
    points = np.stack(np.meshgrid(axis, axis, axis, indexing='ij'), -1).reshape(-1, 3)
    occupied = torch.from_numpy(field.occupancy(points) > 0.5)
    truths = [box_occupancy(boxes, torch.from_numpy(points)) for boxes in MEMBERS]
    return [float((truth & occupied).sum() / (truth | occupied).sum()) for truth in truths]


def test_the_whole_loop_ends_at_the_member_that_fits():
    ious = ious_with(make_bank(SIZE), 0)
    assert ious[0] > 0.8
    assert max(ious[1:]) < 0.7


def test_azimuths_of_the_wrong_sign_fail():
    assert max(ious_with(make_bank(SIZE, azimuth_sign=-1.0), 0)) < 0.75


def test_wrong_words_of_the_views_fail():
    """A prior for which the front is a side, a side the back or the front, and so on."""
    bank = make_bank(SIZE)
    turned = torch.eye(4, dtype=torch.float64)
    turned[:2, :2] = torch.tensor([[0.0, -1.0], [1.0, 0.0]])

    def rendered(poses):
        wrong = [turned if word in ('front', 'side', 'back') else torch.eye(4).double()
                 for word in view_words(poses)]
        return bank.render(torch.stack(wrong) @ poses.double())

    assert max(ious_with(BankPrior(rendered), 3)) < 0.7


def ball(size, radius=0.35):
    """Return the picture of a ball, and its depth along the optical axis."""
    v, u = (np.mgrid[0:size, 0:size] + 0.5) / size * 2.0 - 1.0
    half = math.tan(math.radians(FOV / 2.0))
    rays = np.stack([half * u, half * v, np.ones_like(u)], -1)
    square = (rays**2).sum(-1)
    root = 1.7**2 - square * (1.7**2 - radius**2)
    hit = root > 0.0
    depth = np.where(hit, (1.7 - np.sqrt(np.maximum(root, 0.0))) / square, 0.0)
    color = np.full((size, size, 3), 0.5)
    return np.dstack([color, hit.astype(np.float64)]), depth


def depths_after(ranking, order):
    """Return true and rendered depths (n,) of the ball's pixels, of a run without a prior."""
    picture, depth = ball(SIZE)
    # A coarse start of another shape, so that the order is not there from the beginning.
    inputs = inputs_of(picture, order=order)
    guide = presets.Guide(make_bank(SIZE))
    plan = presets.make_plan(presets.PlanSettings(ranking=ranking), guide, inputs, 0)
    weights = {name: value for name, value in plan.settings.weights.items()
               if name in ('rgb', 'mask', 'ranking', 'distortion')}
    grid = DensityGrid(plan.field, 2.0 * BOUND / 48)
    optimise(
        Distillation(
            plan.field, plan.reference, replace(plan.settings, weights=weights),
            occupancy=grid),
        replace(plan.loop, steps=120))
    with torch.no_grad():
        rendered = ray_depth(render(
            plan.field, plan.reference.rays, plan.settings.render, grid))
    # Not at the outline, where a pixel is partly of the ball.
    inside = ball(SIZE, 0.32)[0][..., 3].ravel() > 0.5
    along = depth.ravel() / plan.reference.rays.cosines.numpy()
    return along[inside], rendered.numpy()[inside]


def test_a_monotone_warp_of_the_depth_restores_its_order_and_nothing_more():
    depth = ball(SIZE)[1]
    order = np.where(depth > 0.0, np.exp(6.0 * depth), np.nan)
    true, ranked = depths_after(1.0, order)
    assert kendalltau(true, ranked).statistic > 0.95
    # Only the order: the warp has neither the scale nor the offset of the true depth.
    assert np.abs(ranked - true).mean() > 0.01
    _, plain = depths_after(0.0, order)
    assert kendalltau(true, plain).statistic < 0.9


def test_the_faithful_preset_has_the_published_constants():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(presets, 'PUBLISHED_SIZE', SIZE)
        plan = presets.make_plan(
            presets.PlanSettings('faithful', 'faithful'),
            presets.Guide(make_bank(SIZE), MeanColor(), latent_scale=0.18215, is_small=False),
            inputs_of(picture_of(0), order=np.ones((SIZE, SIZE))), 0)
    settings, factor = plan.settings, plan.field.bound
    # The object fills three quarters of its view here and there.
    assert factor == pytest.approx(1.0 / 0.75 / (0.8 * math.tan(math.radians(30.0))))
    assert plan.loop.steps == 10_000
    optimizer = plan.loop.optimizer
    assert (optimizer.name, optimizer.rate, optimizer.betas) == ('adamw', 1e-3, (0.9, 0.99))
    cameras = settings.cameras
    np.testing.assert_allclose(np.array(cameras.radius) / factor, (0.4, 1.0))
    assert (cameras.fov, cameras.sphere, cameras.near_input) == ((40.0, 70.0), 0.5, 0.05)
    assert cameras.start_elevation == pytest.approx(20.0, abs=1e-3)
    assert (settings.render.samples, settings.render.importance) == (64, 64)
    shading = settings.shading
    assert (shading.start, shading.albedo, shading.textureless) == (400, 0.25, 0.375)
    assert (settings.background_share, settings.shaded_size) == (0.75, 100)

    def weight(name, step):
        return Schedule.parse(settings.weights[name])(step)

    assert [weight(name, 5000) for name in (
        'rgb_l1', 'outside', 'distortion', 'opacity', 'clip', 'guidance', 'orientation',
    )] == [40.0, 1.0, 0.1, 1e-3, 1.0, 1.0, 10.0]
    assert weight('ranking', 0) == pytest.approx(10.0 / factor)
    assert [weight('guidance', step) for step in (50, 99, 100)] == [0.0, 0.0, 1.0]
    assert weight('orientation', 1550) == pytest.approx(5.0, abs=0.2)
    share = Schedule.parse(settings.reference_share)
    assert [share(step) for step in (0, 99, 100, 5000)] == pytest.approx([1.0, 1.0, 0.1, 0.02])
    guidance = plan.guidance
    assert (guidance.settings.form, guidance.settings.weighting, guidance.settings.outside) == (
        'sds', 'dreamfusion', 0.5)
    assert guidance.clip.scale == PUBLISHED_SCALES and guidance.clip.sign == 'faithful'
    assert guidance.clip.latent_scale == 0.18215
    field = plan.field
    assert (field.settings.width, field.settings.activation, field.settings.residual) == (
        96, 'silu', True)
    assert (field.encoding_settings.levels, field.encoding_settings.log2_entries) == (16, 19)
    assert field.encoding_settings.rule == 'gridencoder'
    # The blob: five at the middle, whose density is per published length.
    raw = field.settings.blob(torch.zeros(1, 3)) + field.settings.density_bias
    assert float(raw.exp()) == pytest.approx(math.exp(5.0) / factor, rel=1e-5)


def test_faithful_steps_run_before_and_after_the_warm_up():
    with pytest.MonkeyPatch.context() as patch:
        for name in ('PUBLISHED_SIZE', 'PUBLISHED_SHADED_SIZE'):
            patch.setattr(presets, name, 12)
        plan = presets.make_plan(
            presets.PlanSettings('faithful', steps=200),
            presets.Guide(make_bank(12), MeanColor(), is_small=False),
            inputs_of(picture_of(0, 12), order=np.random.default_rng(0).random((12, 12))), 0)
    task = Distillation(
        plan.field, plan.reference, plan.settings, plan.guidance,
        occupancy=DensityGrid(plan.field, 0.1), backdrop=plan.backdrop)
    seen = set()
    for step in (0, 1, 20, 21, 22, 60):
        terms = task.losses(step, step_generator(0, step), lambda: None)
        assert all(bool(torch.isfinite(term)) for term in terms.values())
        assert ('guidance' in terms) == (step > 1)
        seen |= set(terms)
    assert seen >= {'rgb_l1', 'ranking', 'outside', 'distortion', 'opacity', 'guidance',
                    'inverse_depth_smoothness', 'orientation'}


def test_losses_without_a_source_are_left_out():
    inputs = inputs_of(picture_of(0))
    plain = presets.make_plan(presets.PlanSettings(), presets.Guide(make_bank(SIZE)), inputs, 0)
    assert 'clip' not in plain.settings.weights and plain.guidance.clip is None
    assert plain.reference.order is None
    guided = presets.make_plan(
        presets.PlanSettings(ranking=0.5), presets.Guide(make_bank(SIZE), MeanColor()), inputs, 0,
        torch.from_numpy(ball(64)[1]))
    assert guided.guidance.clip.sign == 'fixed' and 'clip' in guided.settings.weights
    assert guided.settings.weights['ranking'] == 0.5 * plain.settings.weights['ranking']
    order = guided.reference.order
    assert int(torch.isfinite(order).sum()) == pytest.approx(
        (ball(SIZE)[1] > 0.0).sum(), rel=0.05)
    without = presets.make_plan(
        presets.PlanSettings(ranking=0.0), presets.Guide(make_bank(SIZE)), inputs, 0)
    assert 'ranking' not in without.settings.weights


@pytest.fixture(scope='module')
def weights(tmp_path_factory, learned_weights):
    """Return untrained small weights with a prior."""
    import shutil

    folder = tmp_path_factory.mktemp('neurallift') / 'weights'
    shutil.copytree(learned_weights, folder)
    write_token_denoiser(folder / 'prior', TokenDenoiser(TokenDenoiserConfig(
        size=16, widths=(16, 32), token=16, contexts=2)))
    write_object_encoder(folder / 'object_encoder', ObjectEncoder(ObjectEncoderConfig(
        size=16, widths=(8, 16), embedding=8)))
    return folder


@pytest.mark.parametrize('depth', [True, False])
def test_the_method_lifts_an_object_with_and_without_depth(weights, depth):
    from bench_helpers import box

    scene = make_scene(box((0.16, 0.05, 0.1)), 2, TableSettings(window=1.6, table_cells=24))
    frame = scene.frame if depth else replace(scene.frame, depth=None)
    method = NeuralLift360(str(weights), steps=3, resolution=40)
    with pytest.MonkeyPatch.context() as patch:
        short = replace(neurallift360_prior.SMALL_INVERSION, steps=2)
        patch.setattr(neurallift360_prior, 'SMALL_INVERSION', short)
        shape = Lifter(method).lift(frame, LiftRequest(scene.mask, seed=0))
    assert shape.method == 'neurallift360'
    assert len(shape.mesh.faces) and shape.mesh.is_watertight()


@pytest.mark.parametrize('make', [
    lambda: NeuralLift360(adaptation='dreambooth'),
    lambda: NeuralLift360(adaptation='imagic'),
    lambda: NeuralLift360(ranking=-1.0),
    lambda: NeuralLift360(ranking=float('nan')),
    lambda: NeuralLift360(preset='huge'),
    lambda: NeuralLift360(preset='gpu'),
    lambda: NeuralLift360(steps=0),
    lambda: NeuralLift360(defects='repaired'),
])
def test_bad_settings_are_refused(make):
    with pytest.raises(LiftError) as caught:
        make()
    assert caught.value.code is ErrorCode.BAD_REQUEST


def test_weights_without_a_prior_are_missing(learned_weights):
    with pytest.raises(LiftError) as caught:
        NeuralLift360(str(learned_weights)).check()
    assert caught.value.code is ErrorCode.WEIGHTS_MISSING
