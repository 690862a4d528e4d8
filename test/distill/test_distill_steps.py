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

"""What a step of a distillation renders: the input view, random views, or both."""

from __future__ import annotations

from dataclasses import replace

from distill_helpers import FOV
from distill_helpers import MEMBERS
from distill_helpers import render_boxes
import numpy as np
import pytest
import torch

from lift3d_ros.distill.cameras import Cameras
from lift3d_ros.distill.cameras import CameraSampler
from lift3d_ros.distill.distillation import Distillation
from lift3d_ros.distill.guidance.clip import ClipGuidance
from lift3d_ros.distill.guidance.guidance import ScoreGuidance
from lift3d_ros.distill.optimisation import step_generator
from lift3d_ros.distill.priors.exact import GaussianPrior
from lift3d_ros.distill.reference_view import ReferenceView
from lift3d_ros.distill.settings import DistillationSettings
from lift3d_ros.distill.shading import ShadingSettings
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.fields.heads import DirectionBackground
from lift3d_ros.fields.radiance_fields import VoxelField
from lift3d_ros.fields.radiance_fields import VoxelFieldSettings
from lift3d_ros.fields.volume_rendering import RenderSettings

pytestmark = pytest.mark.usefixtures('one_thread')

SIZE = 12
CAMERA = Cameras.orbit(
    torch.zeros(1), torch.full((1,), 20.0), torch.tensor(1.7, dtype=torch.float64), FOV)
SETTINGS = DistillationSettings(
    {'rgb': 1.0, 'opacity': 1.0, 'guidance': 1.0},
    CameraSampler((1.7, 1.7), (-20.0, 50.0), fov=(FOV, FOV)), size=SIZE,
    render=RenderSettings(samples=12, normals='difference', epsilon=0.02))


class Watching(GaussianPrior):
    """A prior that keeps the pictures that it encodes."""

    seen = []

    def encode(self, images):
        Watching.seen.append(images.detach())
        return super().encode(images)


class MeanColor:
    """The mean colours of the rows of a picture as its embedding."""

    def embed(self, images):
        return images.mean(3).flatten(1) + 1.0


PRIOR = Watching(torch.zeros(1), 1.0)
CLIP = ClipGuidance(MeanColor(), torch.linspace(0.0, 1.0, 3 * SIZE)[None], scale=100.0)


def make_task(guidance=None, backdrop=None, **changes):
    picture = render_boxes(MEMBERS[0], CAMERA.poses, SIZE)[0].permute(1, 2, 0).numpy()
    picture[..., :3] /= np.maximum(picture[..., 3:], 1e-6)
    return Distillation(
        VoxelField(VoxelFieldSettings(0.6, 12, 3, 'sigmoid', log_scale=2.0), seed=1),
        ReferenceView.from_image(picture, CAMERA), replace(SETTINGS, **changes),
        guidance or ScoreGuidance(PRIOR), backdrop=backdrop)


def losses(task, step=0, seed=0):
    return task.losses(step, step_generator(seed, step), lambda: None)


def values(task):
    return {name: float(term.detach()) for name, term in losses(task).items()}


def test_steps_of_the_input_view_alternate_with_random_views_by_their_share():
    task = make_task(reference_share=[50, 1.0, 0.25, 51])
    kinds = [set(losses(task, step)) for step in range(250)]
    assert all(kind == {'rgb', 'opacity'} for kind in kinds[:51])
    assert {'opacity', 'guidance'} in kinds[51:]
    share = sum('rgb' in kind for kind in kinds[51:]) / 199
    assert share == pytest.approx(0.25, abs=0.09)
    assert all(set(losses(make_task(), step)) == {'rgb', 'opacity', 'guidance'}
               for step in range(3))


def test_the_input_view_may_be_guided_in_its_steps():
    task = make_task(reference_share=1.0, reference_guided=True)
    Watching.seen.clear()
    assert set(values(task)) == {'rgb', 'opacity', 'guidance'}
    (seen,) = Watching.seen
    assert seen.shape == (1, 4, SIZE, SIZE)
    camera = task._reference.camera()
    assert [float(camera.azimuth), float(camera.elevation), float(camera.radius)] == (
        pytest.approx([0.0, 20.0, 1.7], abs=1e-4))
    torch.testing.assert_close(camera.poses, CAMERA.poses, atol=1e-5, rtol=0.0)


def test_terms_have_other_weights_in_steps_of_the_input_view():
    plain = values(make_task(reference_share=1.0))
    more = values(make_task(reference_share=1.0, reference_factors={'opacity': 10.0}))
    assert more['opacity'] == pytest.approx(10.0 * plain['opacity'])
    assert more['rgb'] == plain['rgb']
    views = values(make_task(reference_share=0.0, reference_factors={'opacity': 10.0}))
    assert views['opacity'] < 5.0 * plain['opacity']


def test_a_term_above_its_threshold_is_boosted():
    value = values(make_task())['opacity']
    above = values(make_task(boosts={'opacity': (0.5 * value, 10.0)}))
    below = values(make_task(boosts={'opacity': (2.0 * value, 10.0)}))
    assert above['opacity'] == pytest.approx(10.0 * value)
    assert below['opacity'] == pytest.approx(value)


def test_the_learned_background_has_its_share_and_learns():
    backdrop = DirectionBackground(3, 4, 32)
    task = make_task(backdrop=backdrop, background='random', background_share=0.0)
    assert task.parameter_groups(0.1)[-1]['params'] == list(backdrop.parameters())
    losses(task)['guidance'].backward()
    assert any(float(p.grad.abs().max()) > 0.0 for p in backdrop.parameters())
    assert any(name.startswith('backdrop') for name in task.module.state_dict())
    # Without one it is white: the corners of an opaque view of an empty field.
    for background, corner in (('random', 1.0), ('white', 1.0)):
        losses(make_task(background=background, background_share=0.0))
        picture = Watching.seen[-1]
        assert float(picture[0, 3].min()) == 1.0
        assert float(picture[0, :3, 0, 0].min()) == pytest.approx(corner, abs=1e-3)
    losses(make_task(background='random'))
    assert float(Watching.seen[-1][0, :3, 0, 0].min()) < 0.99


def test_shaded_views_may_be_smaller():
    task = make_task(shading=ShadingSettings(1, 0.0, 0.5), shaded_size=8)
    for step, size in ((0, SIZE), (1, 8)):
        losses(task, step)
        assert Watching.seen[-1].shape[-1] == size


def test_textureless_views_have_no_clip_guidance():
    camera = Cameras.orbit(torch.zeros(1), torch.zeros(1), torch.ones(1), FOV)
    latents = torch.rand(1, 3, SIZE, SIZE)

    def gradient(clip, textureless):
        return ScoreGuidance(PRIOR, clip=clip).gradient(
            latents, camera, 0, torch.Generator().manual_seed(0), textureless)

    assert torch.equal(gradient(CLIP, True), gradient(None, False))
    assert not torch.equal(gradient(CLIP, False), gradient(None, False))
    # The same within a step.
    weights = {'guidance': 1.0, 'clip': 1.0}
    sampler = replace(SETTINGS.cameras, azimuth=(-50.0, 50.0))
    guidances = (ScoreGuidance(PRIOR, clip=CLIP), ScoreGuidance(PRIOR))
    for textureless, terms in ((1.0, {'guidance'}), (0.0, {'guidance', 'clip'})):
        guided = values(make_task(
            guidances[0], weights=weights, shading=ShadingSettings(0, 0.0, textureless),
            cameras=sampler))
        plain = values(make_task(
            guidances[1], weights={'guidance': 1.0}, cameras=sampler,
            shading=ShadingSettings(0, 0.0, textureless)))
        assert set(guided) == terms
        assert (guided['guidance'] == plain['guidance']) == bool(textureless)


@pytest.mark.parametrize(('azimuth', 'seen'), [((-50.0, 50.0), True), ((90.0, 270.0), False)])
def test_the_clip_image_loss_is_that_of_views_tagged_front(azimuth, seen):
    guidance = ScoreGuidance(PRIOR, clip=CLIP)
    sampler = replace(SETTINGS.cameras, azimuth=azimuth)
    term = values(make_task(guidance, weights={'clip': 1.0}, cameras=sampler))['clip']
    assert (term > 0.0) == seen


@pytest.mark.parametrize('make', [
    lambda: make_task(weights={'clip': 1.0}),
    lambda: make_task(reference_share=0.5, reference_rays=10),
    lambda: make_task(reference_share=[1.0, 2.0]),
    lambda: make_task(reference_factors={'lpips': 2.0}),
    lambda: make_task(boosts={'lpips': (1.0, 2.0)}),
    lambda: make_task(background_share=1.5),
    lambda: make_task(shaded_size=0, shading=ShadingSettings()),
])
def test_bad_settings_are_refused(make):
    with pytest.raises(LiftError) as caught:
        make()
    assert caught.value.code is ErrorCode.BAD_REQUEST
