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

"""The Zero-1-to-3 family as a prior."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from view_helpers import random_weights
from zero123_helpers import make_components
from zero123_helpers import make_image

from lift3d_ros.diffusion.models import SmallModel
from lift3d_ros.diffusion.sampling import SamplerSettings
from lift3d_ros.diffusion.zero123 import Zero123
from lift3d_ros.distill.cameras import Cameras
from lift3d_ros.distill.guidance.guidance import GuidanceSettings
from lift3d_ros.distill.guidance.guidance import ScoreGuidance
from lift3d_ros.distill.priors.posed import coarse_channels
from lift3d_ros.distill.priors.posed import PosedPrior
from lift3d_ros.distill.schedules import TimestepRange
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import family_pose
from lift3d_ros.geometry import orbit_pose
from lift3d_ros.geometry import stable_zero123_pose
from lift3d_ros.geometry import ZERO123_FOV
from lift3d_ros.geometry import zero123_pose
from lift3d_ros.geometry import zeronvs_pose
from lift3d_ros.geometry.canonical import canonical_frame
from lift3d_ros.geometry.frame import crop_object
from lift3d_ros.progress import Progress
from lift3d_ros.synthetic.procedural import procedural_object
from lift3d_ros.synthetic.tabletop import make_scene
from lift3d_ros.synthetic.tabletop import TableSettings

pytestmark = pytest.mark.usefixtures('one_thread')

INPUT = orbit_pose(0.0, 20.0, 1.7)
CAMERAS = Cameras.orbit(
    torch.tensor([90.0, -30.0]), torch.tensor([10.0, 50.0]),
    torch.tensor([1.7, 2.0], dtype=torch.float64), ZERO123_FOV)


def make_prior(family='zero123', scale=3.0, same_radius=False, **schedule):
    model = Zero123(make_components(family, **schedule))
    return PosedPrior(model, make_image(), INPUT, scale, same_radius=same_radius)


def noise(shape=(2, 4, 16, 16), seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_pose_vectors_of_the_families():
    poses = CAMERAS.poses.numpy()
    expected = zero123_pose([90.0, -30.0], [10.0, 50.0], [0.0, 0.3], 20.0)
    np.testing.assert_allclose(family_pose('zero123', poses, INPUT), expected, atol=1e-12)
    # A camera on the counter-clockwise side has a positive sine; a higher one a negative polar.
    assert expected[0, 1] == pytest.approx(1.0)
    assert expected[1, 0] < 0.0
    expected[:, 3] = 0.0
    np.testing.assert_allclose(family_pose('small', poses, INPUT), expected, atol=1e-12)
    np.testing.assert_allclose(
        family_pose('stable_zero123', poses, INPUT),
        stable_zero123_pose([90.0, -30.0], [10.0, 50.0], 20.0), atol=1e-12)
    np.testing.assert_allclose(
        family_pose('zeronvs', poses, INPUT, 50.0), zeronvs_pose(poses, INPUT, 1.2, 50.0))
    # Relative to an input that is not at azimuth 0.
    turned = family_pose('zero123', poses, orbit_pose(40.0, 20.0, 1.7))
    np.testing.assert_allclose(
        turned[:, 1:3], zero123_pose([50.0, -70.0], 0.0, 0.0, 0.0)[:, 1:3], atol=1e-12)


@pytest.mark.parametrize('kind', ['epsilon', 'v_prediction', 'sample'])
def test_clean_latents_are_those_of_the_sampler(kind):
    """One step of DDIM from a level ends near the clean latents of that level."""
    prior = make_prior(prediction_type=kind)
    model = prior._model
    poses = zero123_pose([90.0], [10.0], 0.0, 20.0)
    views = model.synthesize(
        make_image(), poses, SamplerSettings('ddim', 1, eta=0.0, guidance_scale=3.0), seed=[5])
    noisy = torch.randn(4, 16, 16, generator=torch.Generator().manual_seed(5))[None]
    camera = Cameras.orbit(torch.tensor([90.0]), torch.tensor([10.0]), torch.tensor(1.7), 49.1)
    # The grid of one step has the timestep 1 alone.
    clean = prior.predict_x0(noisy, torch.tensor([1]), prior.condition(camera.poses))
    ab0, ab1 = (float(prior.schedule.alphas_cumprod[t]) for t in (0, 1))
    eps = (noisy - ab1**0.5 * clean) / (1.0 - ab1) ** 0.5
    # Its step ends at the level 0, which has a little noise left.
    decoded = model.codec.decode(ab0**0.5 * clean + (1.0 - ab0) ** 0.5 * eps)
    torch.testing.assert_close(decoded.clamp(-1.0, 1.0), views, atol=2e-4, rtol=1e-4)


def test_guidance_is_linear_in_its_scale():
    predictions = []
    for scale in (1.0, 2.0, 4.0):
        prior = make_prior(scale=scale)
        condition = prior.condition(CAMERAS.poses)
        predictions.append(prior.predict_x0(noise(), torch.tensor([500, 800]), condition))
    one, two, four = predictions
    torch.testing.assert_close(four - one, 3.0 * (two - one), atol=1e-3, rtol=1e-3)
    assert float((two - one).abs().max()) > 0.0


def test_conditions_depend_on_the_camera_and_its_side():
    prior = make_prior()
    conditions = [
        prior.condition(Cameras.orbit(
            torch.tensor([turn]), torch.tensor([10.0]), torch.tensor(1.7), 49.1).poses).tokens
        for turn in (30.0, -30.0, 390.0)]
    assert not torch.allclose(conditions[0], conditions[1])
    torch.testing.assert_close(conditions[0], conditions[2])


def test_gradients_of_encoding_reach_the_rendering():
    prior = make_prior()
    images = torch.rand((2, 4, 20, 20), generator=torch.Generator().manual_seed(0))
    images.requires_grad_()
    loss = ScoreGuidance(prior, GuidanceSettings(timesteps=TimestepRange.parse(0.1, 0.9))).loss(
        images, CAMERAS, 0, torch.Generator().manual_seed(0))
    loss.backward()
    assert bool(torch.isfinite(images.grad).all())
    assert float(images.grad[:, :3].abs().max()) > 0.0
    assert float(images.grad[:, 3:].abs().max()) > 0.0


def test_transparent_pixels_are_white():
    prior = make_prior()
    images = torch.zeros(1, 4, 32, 32)
    white = torch.ones(1, 4, 32, 32)
    torch.testing.assert_close(prior.encode(images), prior.encode(white))


def test_cameras_beyond_the_range_are_refused_or_counted_at_the_distance_of_the_input():
    far = Cameras.orbit(torch.tensor([90.0]), torch.tensor([10.0]), torch.tensor(3.8), 20.0)
    with pytest.raises(LiftError) as caught:
        make_prior().condition(far.poses)
    assert caught.value.code is ErrorCode.BAD_REQUEST
    near = Cameras.orbit(torch.tensor([90.0]), torch.tensor([10.0]), torch.tensor(1.7), 20.0)
    torch.testing.assert_close(
        make_prior(same_radius=True).condition(far.poses).tokens,
        make_prior().condition(near.poses).tokens)


def test_a_model_of_noise_has_no_clean_latents_without_signal():
    prior = make_prior(rescale_betas_zero_snr=True)
    condition = prior.condition(CAMERAS.poses)
    with pytest.raises(LiftError) as caught:
        prior.predict_x0(noise(), torch.tensor([999, 999]), condition)
    assert caught.value.code is ErrorCode.BAD_REQUEST


def test_published_sizes_of_pose_vectors():
    prior = make_prior('zeronvs')
    clean = prior.predict_x0(
        noise(), torch.tensor([300, 600]), prior.condition(CAMERAS.poses))
    assert clean.shape == (2, 4, 16, 16)
    assert bool(torch.isfinite(clean).all())


def test_small_weights_are_the_prior_of_their_views(tmp_path):
    """At the noisiest level the clean latents are the views of one step."""
    model = SmallModel(random_weights(tmp_path / 'weights'), 'cpu', None)
    scene = make_scene(procedural_object(4, 'mug'), 3, TableSettings(window=1.5, table_cells=8))
    view = crop_object(scene.frame, scene.mask)
    canonical = canonical_frame(view, 20.0)
    volume, inputs, _ = model.volume(view, canonical, True)
    cameras = Cameras.orbit(
        torch.tensor([90.0, -30.0]), torch.tensor([10.0, 50.0]),
        torch.tensor(1.7, dtype=torch.float64), ZERO123_FOV)
    views = model.pictures(
        volume, inputs, cameras.poses.numpy(), 0, False, Progress(), (0.0, 1.0))
    prior = PosedPrior(
        model.denoiser, 2.0 * inputs['picture'][0] - 1.0, inputs['pose'][0].numpy(), 1.0,
        coarse_channels(volume, inputs))
    seeds = [int(np.random.SeedSequence([0, i]).generate_state(1)[0]) for i in range(2)]
    start = torch.stack([
        torch.randn((64, 32, 32), generator=torch.Generator().manual_seed(s)) for s in seeds])
    clean = prior.predict_x0(start, torch.tensor([999]), prior.condition(cameras.poses))
    torch.testing.assert_close(
        0.5 * (model.denoiser.codec.decode(clean).clamp(-1.0, 1.0) + 1.0), views, atol=0.02,
        rtol=0.0)
    # What it returns is in the space of its encoding: pictures on white, with alpha.
    latents = prior.encode(torch.rand(2, 4, 64, 64))
    assert latents.shape == clean.shape
