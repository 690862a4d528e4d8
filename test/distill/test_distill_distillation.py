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

"""A radiance field against its input view and a prior: terms, resuming, bad input."""

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
from torch.nn import functional

from lift3d_ros.distill.cameras import Cameras
from lift3d_ros.distill.cameras import CameraSampler
from lift3d_ros.distill.distillation import Distillation
from lift3d_ros.distill.guidance.anchors import anchor_ring
from lift3d_ros.distill.guidance.anchors import make_anchors
from lift3d_ros.distill.guidance.clip import ClipGuidance
from lift3d_ros.distill.guidance.guidance import GuidanceSettings
from lift3d_ros.distill.guidance.guidance import ScoreGuidance
from lift3d_ros.distill.latents import LatentSpace
from lift3d_ros.distill.optimisation import LoopSettings
from lift3d_ros.distill.optimisation import optimise
from lift3d_ros.distill.optimisation import SNAPSHOT_STEPS
from lift3d_ros.distill.optimisation import step_generator
from lift3d_ros.distill.optimizers import OptimizerSettings
from lift3d_ros.distill.priors.exact import GaussianPrior
from lift3d_ros.distill.reference_view import ReferenceView
from lift3d_ros.distill.settings import BACKGROUNDS
from lift3d_ros.distill.settings import DistillationSettings
from lift3d_ros.distill.shading import ShadingSettings
from lift3d_ros.distill.start import FieldSamples
from lift3d_ros.distill.terms import FIELD_TERMS
from lift3d_ros.distill.terms import NORMAL_TERMS
from lift3d_ros.distill.terms import REFERENCE_TERMS
from lift3d_ros.distill.terms import TERMS
from lift3d_ros.distill.terms import VIEW_TERMS
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.fields.density_grid import DensityGrid
from lift3d_ros.fields.radiance_fields import VoxelField
from lift3d_ros.fields.radiance_fields import VoxelFieldSettings
from lift3d_ros.fields.volume_rendering import RenderSettings
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import transform
from lift3d_ros.progress import Progress

pytestmark = pytest.mark.usefixtures('one_thread')

SIZE = 12
CAMERA = Cameras.orbit(
    torch.zeros(1), torch.full((1,), 20.0), torch.tensor(1.7, dtype=torch.float64), FOV)
SAMPLER = CameraSampler((1.7, 1.7), (-20.0, 70.0), fov=(FOV, FOV))
RENDER = RenderSettings(samples=12)
WITH_NORMALS = replace(RENDER, normals='difference', epsilon=0.02)
BANK = make_bank(SIZE)
OPTIMIZER = OptimizerSettings(rate=0.1)
#: Latents of half the brightness, twice as large when they are decoded.
LATENT = LatentSpace(
    lambda latents: functional.interpolate(2.0 * latents[:, :3], scale_factor=2),
    torch.tensor([0.5, 0.5, 0.5, 0.0]))


class MeanColor:
    """The mean colours of the rows of a picture as its embedding."""

    def embed(self, images):
        return images.mean(3).flatten(1) + 1.0


#: Of the term ``clip``.
CLIP = ClipGuidance(MeanColor(), torch.linspace(0.0, 1.0, 3 * SIZE)[None])
START = FieldSamples.of_field(box_grid(MEMBERS[1]), 0.6, 500)


def make_reference(**maps):
    picture = render_boxes(MEMBERS[0], CAMERA.poses, SIZE)[0].permute(1, 2, 0).numpy()
    picture[..., :3] /= np.maximum(picture[..., 3:], 1e-6)
    return ReferenceView.from_image(picture, CAMERA, **maps)


def make_task(
    weights, occupancy=False, channels=3, with_maps=True, prior=BANK, latent=None, **settings
):
    color = 'sigmoid' if channels == 3 else 'none'
    field = VoxelField(VoxelFieldSettings(0.6, 12, channels, color, log_scale=2.0), seed=1)
    with torch.no_grad():
        # Otherwise the grid is constant.
        field.density_grid += 0.1 * torch.randn(
            field.density_grid.shape, generator=torch.Generator().manual_seed(2))
    depth = np.full((SIZE, SIZE), 1.6)
    maps = {'depth': depth, 'order': np.arange(SIZE**2).reshape(SIZE, SIZE)} if with_maps else {}
    reference = make_reference(**maps)
    anchors = make_anchors(
        prior, anchor_ring(2, (0.0,), 1.7, FOV), (3, SIZE, SIZE), torch.Generator())
    proposal = None
    if 'interlevel' in weights:
        proposal = VoxelField(VoxelFieldSettings(0.6, 8, 3, 'sigmoid', log_scale=2.0), seed=3)
    return Distillation(
        field, reference,
        DistillationSettings(
            weights, size=SIZE, **{'cameras': SAMPLER, 'render': RENDER, **settings}),
        ScoreGuidance(prior, clip=CLIP if 'clip' in weights else None), anchors,
        DensityGrid(field, 0.1, 8) if occupancy else None, START, latent, proposal=proposal)


def losses(task, step=0, seed=0):
    return task.losses(step, step_generator(seed, step), lambda: None)


@pytest.mark.parametrize('name', TERMS)
def test_every_term_has_a_gradient_of_the_field(name):
    # Views tagged front, for the term clip.
    settings = {'render': WITH_NORMALS, 'views': 2,
                'cameras': replace(SAMPLER, azimuth=(-50.0, 50.0), elevation=(0.0, 50.0))}
    if name == 'interlevel':
        settings['render'] = replace(RENDER, importance=6)
    task = make_task({name: 2.0}, **settings)
    terms = losses(task)
    assert set(terms) == {name}
    terms[name].backward()
    gradients = [p.grad for p in task.module.parameters() if p.grad is not None]
    assert gradients
    assert all(bool(torch.isfinite(g).all()) for g in gradients)
    assert any(float(g.abs().max()) > 0.0 for g in gradients)
    single = losses(make_task({name: 1.0}, **settings))
    assert float(terms[name].detach()) == pytest.approx(2.0 * float(single[name].detach()))


def test_weights_follow_their_schedules_and_cost_nothing_at_zero():
    task = make_task({'rgb': [0, 1.0, 3.0, 10], 'opacity': [0, 0.0, 1.0, 10]})
    start, middle = losses(task, 0), losses(task, 5)
    assert set(start) == {'rgb'}
    assert set(middle) == {'rgb', 'opacity'}
    plain = losses(make_task({'rgb': 1.0}), 5)
    assert float(middle['rgb'].detach()) == pytest.approx(2.0 * float(plain['rgb'].detach()))


def test_names_of_terms_are_distinct():
    assert len(set(TERMS)) == len(TERMS)
    assert set(NORMAL_TERMS) < set(VIEW_TERMS)
    assert not set(REFERENCE_TERMS) & set(VIEW_TERMS)
    assert set(FIELD_TERMS) < set(TERMS)


@pytest.mark.parametrize('background', BACKGROUNDS)
def test_backgrounds_are_what_the_prior_sees(background):
    seen = []

    class Watching(GaussianPrior):
        def encode(self, images):
            seen.append(images.detach())
            return super().encode(images)

    prior = Watching(torch.zeros(1), 1.0)
    task = make_task({'guidance': 1.0}, background=background, views=2, prior=prior)
    with torch.no_grad():
        task._field.density_grid.fill_(-100.0)
    losses(task)
    images = seen[-1]
    alpha, color = images[:, 3], images[:, :3]
    if background == 'alpha':
        assert float(images.abs().max()) == 0.0
        return
    assert bool((alpha == 1.0).all())
    spread = color.flatten(2).std(dim=2)
    if background == 'white':
        assert bool((color == 1.0).all())
    elif background == 'random':
        assert float(spread.max()) < 1e-6
        assert not torch.equal(color[0, :, 0, 0], color[1, :, 0, 0])
    else:
        assert float(spread.min()) > 0.1


def test_a_field_of_latents_is_guided_without_encoding():
    class Latents(GaussianPrior):
        def encode(self, images):
            raise AssertionError('latents are not encoded')

    prior = Latents(torch.zeros(1), 1.0)
    task = make_task({'guidance': 1.0}, channels=4, latent=LATENT, with_maps=False, prior=prior)
    losses(task)['guidance'].backward()
    assert float(task._field.color_grid.grad.abs().max()) > 0.0


def test_a_field_of_latents_is_decoded_for_its_input_view_and_preview():
    task = make_task({'rgb': 1000.0, 'mask': 100.0}, channels=4, latent=LATENT, reference_rays=9)
    reports = []
    optimise(task, LoopSettings(steps=80, optimizer=OPTIMIZER, preview_every=80),
             report=reports.append)
    mask = task._reference.mask[:, None]
    truth = 255.0 * (task._reference.color * mask + 1.0 - mask).reshape(SIZE, SIZE, 3).numpy()
    preview = reports[-1].preview
    assert preview.shape == (SIZE, 2 * SIZE, 3)
    assert np.abs(preview[:, :SIZE] - truth).mean() < 0.4 * np.abs(255.0 - truth).mean()
    # Nothing of the field is the background, which is white.
    with torch.no_grad():
        task._field.density_grid.fill_(-100.0)
    assert bool((task.preview() == 255).all())


def test_random_rays_of_the_input_view_have_the_mean_of_all():
    weights = {'rgb': 1.0, 'mask': 1.0}
    whole = losses(make_task(weights))
    parts = [losses(make_task(weights, reference_rays=50), step) for step in range(40)]
    for name, value in whole.items():
        mean = np.mean([float(part[name].detach()) for part in parts])
        assert mean == pytest.approx(float(value.detach()), rel=0.1)


def test_depth_of_the_input_view_is_along_the_optical_axis():
    """A plane before the camera has one depth on the axis and longer rays beside it."""
    reference = make_reference(depth=np.full((SIZE, SIZE), 1.5))
    points = reference.rays.origins + reference.rays.directions * reference.depth[:, None]
    camera = Camera.from_fov(SIZE, SIZE, FOV)
    expected = transform(CAMERA.poses[0], camera.rays().reshape(-1, 3) * 1.5)
    np.testing.assert_allclose(points, expected, atol=1e-5)
    assert torch.equal(reference.order, reference.depth)
    missing = make_reference(depth=np.zeros((SIZE, SIZE)))
    assert bool(missing.depth.isnan().all())


def run_settings(steps=24, **changes):
    return LoopSettings(steps=steps, optimizer=OPTIMIZER, **changes)


def full_task():
    """Return a task with everything that is random or has a state."""
    return make_task(
        {'rgb': 1.0, 'ranking': 0.1, 'guidance': 0.01, 'anchors': 1.0, 'normal_jitter': 0.01,
         'distortion': 0.1},
        occupancy=True, reference_rays=60, background='pixels')


def test_a_resumed_field_equals_an_uninterrupted_one(tmp_path):
    whole = full_task()
    optimise(whole, run_settings(), identity=whole.identity('bank'))
    path = tmp_path / 'run.safetensors'
    calls = []
    progress = Progress(cancelled=lambda: calls.append(1) or len(calls) > 61)
    with pytest.raises(LiftError) as caught:
        task = full_task()
        optimise(task, run_settings(), identity=task.identity('bank'), progress=progress,
                 checkpoint=path)
    assert caught.value.code is ErrorCode.CANCELLED
    second = full_task()
    optimise(second, run_settings(), identity=second.identity('bank'), checkpoint=path,
             resume=True)
    own, other = whole.module.state_dict(), second.module.state_dict()
    assert 'occupancy.occupied' in own
    for name in own:
        assert torch.equal(own[name], other[name]), name


def test_identity_depends_on_picture_settings_field_and_prior():
    plain = make_task({'rgb': 1.0})
    digests = {
        plain.identity(), plain.identity('small'), make_task({'rgb': 2.0}).identity(),
        make_task({'rgb': 1.0}, with_maps=False).identity(),
        make_task({'rgb': 1.0}, channels=4, latent=LATENT).identity(),
    }
    assert len(digests) == 5
    assert make_task({'rgb': 1.0}).identity() == plain.identity()


def test_the_checkpoint_of_another_object_is_refused(tmp_path):
    path = tmp_path / 'run.safetensors'
    first, second = make_task({'rgb': 1.0}), make_task({'rgb': 1.0}, with_maps=False)
    optimise(first, run_settings(2), identity=first.identity(), checkpoint=path)
    with pytest.raises(LiftError) as caught:
        optimise(second, run_settings(4), identity=second.identity(), checkpoint=path, resume=True)
    assert caught.value.code is ErrorCode.BAD_REQUEST


def test_a_prior_that_is_not_finite_ends_the_run_with_the_field_before():
    class Broken(GaussianPrior):
        def predict_x0(self, noisy, timesteps, condition=None):
            return torch.full_like(noisy, float('nan'))

    prior = Broken(torch.zeros(1), 1.0)
    # The prior acts after step 30.
    task = make_task({'rgb': 1.0, 'guidance': [30, 0.0, 1.0, 40]})
    task._guidance = ScoreGuidance(prior)
    result = optimise(task, run_settings(60))
    assert (result.stopped, result.steps, len(result.notes)) == ('diverged', SNAPSHOT_STEPS, 1)
    expected = make_task({'rgb': 1.0})
    optimise(expected, run_settings(SNAPSHOT_STEPS))
    assert torch.equal(task._field.density_grid, expected._field.density_grid)


def test_the_preview_shows_the_field_from_the_input_and_from_the_side():
    reports = []
    task = make_task({'rgb': 100.0, 'mask': 100.0})
    optimise(task, run_settings(40, preview_every=40), report=reports.append)
    picture = reports[-1].preview
    assert picture.shape == (SIZE, 2 * SIZE, 3)
    truth = 255.0 * (task._reference.color * task._reference.mask[:, None]
                     + 1.0 - task._reference.mask[:, None]).reshape(SIZE, SIZE, 3).numpy()
    error = np.abs(picture[:, :SIZE] - truth).mean()
    assert error < 0.4 * np.abs(255.0 - truth).mean()


def picture(**changes):
    values = {'shape': (8, 8, 4), 'alpha': 1.0, 'value': 0.5, **changes}
    image = np.full(values['shape'], values['value'])
    image[..., -1] = values['alpha']
    return image


@pytest.mark.parametrize('make', [
    lambda: ReferenceView.from_image(picture(shape=(8, 8, 3)), CAMERA),
    lambda: ReferenceView.from_image(picture(shape=(8, 9, 4)), CAMERA),
    lambda: ReferenceView.from_image(picture(alpha=0.0), CAMERA),
    lambda: ReferenceView.from_image(picture(value=np.nan), CAMERA),
    lambda: ReferenceView.from_image(picture(), CAMERA, depth=np.ones((4, 4))),
])
def test_bad_pictures_are_refused(make):
    with pytest.raises(LiftError) as caught:
        make()
    assert caught.value.code is ErrorCode.BAD_IMAGE


def test_shading_has_its_shares_after_its_start():
    shading = ShadingSettings(start=100, albedo=0.2, textureless=0.3, ambient=0.1)
    kinds = {None: 0, True: 0, False: 0}
    for step in range(100, 4100):
        drawn = shading.draw(step, CAMERA, step_generator(0, step))
        kinds[drawn and drawn.textureless] += 1
        if drawn:
            assert float(drawn.light.norm()) == pytest.approx(1.0)
    assert [kinds[k] / 4000 for k in (None, True, False)] == pytest.approx(
        [0.2, 0.3, 0.5], abs=0.03)
    assert all(shading.draw(step, CAMERA, step_generator(0, step)) is None for step in range(100))


def test_a_textureless_view_is_grey():
    seen = []

    class Watching(GaussianPrior):
        def encode(self, images):
            seen.append(images.detach())
            return super().encode(images)

    prior = Watching(torch.zeros(1), 1.0)
    for textureless in (0.0, 1.0):
        losses(make_task(
            {'guidance': 1.0}, prior=prior, render=WITH_NORMALS,
            shading=ShadingSettings(0, 0.0, textureless)))
    colored, grey = (float(images[:, :3].std(dim=1).max()) for images in seen[-2:])
    assert grey < 1e-6 < colored


@pytest.mark.parametrize('make', [
    lambda: make_task({'rgb': 1.0}, shading=ShadingSettings()),
    lambda: make_task({'rgb': 1.0}, shading=ShadingSettings(), render=WITH_NORMALS, views=2),
    lambda: ShadingSettings(albedo=0.7, textureless=0.7),
    lambda: make_task({'lpips': 1.0}),
    lambda: make_task({'orientation': 1.0}),
    lambda: make_task({'depth': 1.0}, with_maps=False),
    lambda: make_task({'ranking': 1.0}, with_maps=False),
    lambda: Distillation(
        VoxelField(VoxelFieldSettings(0.6, 4, 3)), make_reference(),
        DistillationSettings({'start': 1.0}, SAMPLER)),
    lambda: make_task({'rgb': [1.0, 2.0]}),
    lambda: make_task({'rgb_l1': 1.0}, channels=4, latent=LATENT),
    lambda: make_task({'clip': 1.0}, channels=4, latent=LATENT),
    lambda: make_task({'rgb': 1.0}, views=0),
    lambda: make_task({'rgb': 1.0}, reference_rays=0),
    lambda: make_task({'rgb': 1.0}, background='grey'),
    lambda: Distillation(
        VoxelField(VoxelFieldSettings(0.6, 4, 3)), make_reference(),
        DistillationSettings({'guidance': 1.0}, SAMPLER)),
])
def test_bad_settings_are_refused(make):
    with pytest.raises(LiftError) as caught:
        make()
    assert caught.value.code is ErrorCode.BAD_REQUEST


def test_guidance_settings_reach_the_prior():
    """A narrow Gaussian at one colour pulls the random views to it."""
    prior = GaussianPrior(torch.tensor([1.0, -1.0, -1.0]).reshape(1, 3, 1, 1), 0.01)
    task = make_task({'guidance': 1.0}, prior=prior)
    task._guidance = ScoreGuidance(prior, GuidanceSettings('x0'))
    optimise(task, LoopSettings(steps=80, optimizer=OptimizerSettings(rate=0.3)))
    with torch.no_grad():
        picture = task._render(CAMERA, SIZE, None).images[0, :, SIZE // 2, SIZE // 2]
    assert picture.tolist() == pytest.approx([1.0, 0.0, 0.0, 1.0], abs=0.15)
