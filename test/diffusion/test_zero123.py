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

"""Tests of Zero-1-to-3 with small random weights."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import weights_helpers
from zero123_helpers import IMAGE
from zero123_helpers import LATENT
from zero123_helpers import make_components
from zero123_helpers import make_image
from zero123_helpers import make_unet
from zero123_helpers import WIDTH

from lift3d_ros.diffusion.sampling import ddim_timesteps
from lift3d_ros.diffusion.sampling import SamplerSettings
from lift3d_ros.diffusion.zero123 import Zero123
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import orbit_pose
from lift3d_ros.geometry import stable_zero123_pose
from lift3d_ros.geometry import zero123_pose
from lift3d_ros.geometry import zeronvs_pose
from lift3d_ros.progress import Progress
from lift3d_ros.weights.components import Zero123Components
from lift3d_ros.weights.loading import load_zero123

pytestmark = pytest.mark.usefixtures('one_thread')

QUICK = SamplerSettings('dpm++', steps=3)
NOISY = SamplerSettings('ddim', steps=3, eta=1.0)
RING = zero123_pose([0.0, 72.0, 144.0, 216.0, 288.0], [20.0, -10.0, 40.0, 0.0, 60.0], 0.0, 20.0)


@pytest.fixture(scope='module')
def model():
    return Zero123(make_components())


class Record(torch.nn.Module):
    """Keeps what a network is called with, and may fail for want of memory."""

    def __init__(self, network, largest=None):
        super().__init__()
        self.network = network
        self.calls = []
        self.largest = largest

    @property
    def config(self):
        return self.network.config

    @property
    def dtype(self):
        return next(self.network.parameters()).dtype

    def forward(self, *args, **kwargs):
        rows = args[0] if args else kwargs['pixel_values']
        self.calls.append((args, kwargs))
        if self.largest is not None and len(rows) > self.largest:
            raise RuntimeError('DefaultCPUAllocator: not enough memory')
        return self.network(*args, **kwargs)

    def encode(self, images):
        self.calls.append((images,))
        return self.network.encode(images)

    def decode(self, latents):
        return self.network.decode(latents)


def test_views_have_the_size_of_the_input_and_differ_by_pose_and_input(model):
    poses = zero123_pose([0.0, 90.0], 0.0, 0.0, 0.0)
    views = model.synthesize(make_image(), poses, QUICK, seed=[7, 7])
    assert views.shape == (2, 3, IMAGE, IMAGE)
    assert views.dtype == torch.float32
    assert float(views.abs().max()) <= 1.0
    # The same noise: what differs is the pose.
    assert float((views[0] - views[1]).abs().max()) > 1e-4
    other = model.synthesize(make_image(1), poses, QUICK, seed=[7, 7])
    assert float((views - other).abs().max()) > 1e-4


# What the network is told


def test_the_token_is_the_projection_of_embedding_and_pose():
    parts = make_components()
    model = Zero123(parts)
    condition = model.encode(make_image())
    told = model.conditions(condition, RING)
    assert told.tokens.shape == (5, 1, WIDTH)
    linear = parts.cc_projection.projection
    for i, pose in enumerate(RING):
        row = torch.cat([condition.embedding[0], torch.tensor(pose, dtype=torch.float32)])
        torch.testing.assert_close(told.tokens[i, 0], linear.weight @ row + linear.bias)


def test_the_network_sees_noise_first_then_the_unscaled_latent_of_the_input():
    parts = make_components()
    parts.unet = Record(parts.unet)
    model = Zero123(parts)
    image = make_image()
    mode = parts.vae.encode(image[None]).latent_dist.mode()
    told = model.conditions(model.encode(image), RING[:2])
    latents = torch.randn(2, 4, LATENT, LATENT)
    model.predict(latents, 500, told)
    (sample, times), options = parts.unet.calls[0]
    torch.testing.assert_close(sample, torch.cat([latents, mode.expand(2, -1, -1, -1)], dim=1))
    assert times.tolist() == [500, 500]
    torch.testing.assert_close(options['encoder_hidden_states'], told.tokens)


def test_the_unconditional_branch_is_zeros_after_the_projection_and_no_image():
    parts = make_components()
    parts.unet = Record(parts.unet)
    model = Zero123(parts)
    told = model.conditions(model.encode(make_image()), RING[:2])
    latents = torch.randn(2, 4, LATENT, LATENT)
    model.predict(latents, 300, told, 3.0)
    (sample, _), options = parts.unet.calls[0]
    assert sample.shape == (4, 8, LATENT, LATENT)
    torch.testing.assert_close(sample[2:, :4], latents)
    assert not sample[2:, 4:].any()
    tokens = options['encoder_hidden_states']
    assert not tokens[2:].any()
    # It is not the projection of a zero vector, which keeps the bias and the pose.
    torch.testing.assert_close(tokens[:2], told.tokens)


@pytest.mark.parametrize('scale', [0.0, 0.5, 3.0])
def test_guidance_follows_its_formula(model, scale):
    told = model.conditions(model.encode(make_image()), RING[:3])
    latents = torch.randn(3, 4, LATENT, LATENT)
    nothing = replace(
        told, tokens=torch.zeros_like(told.tokens), latents=torch.zeros_like(told.latents))
    conditional = model.predict(latents, 700, told, 1.0)
    unconditional = model.predict(latents, 700, nothing, 1.0)
    torch.testing.assert_close(
        model.predict(latents, 700, told, scale),
        unconditional + scale * (conditional - unconditional),
        rtol=1e-4,
        atol=1e-5,
    )


def test_each_view_may_be_at_a_timestep_of_its_own(model):
    told = model.conditions(model.encode(make_image()), RING[:2])
    latents = torch.randn(2, 4, LATENT, LATENT)
    both = model.predict(latents, torch.tensor([10, 900]), told, 2.0)
    torch.testing.assert_close(
        both[1:], model.predict(latents, 900, told, 2.0)[1:], rtol=1e-4, atol=1e-5
    )


def test_the_unconditional_branch_costs_nothing_where_there_is_no_guidance():
    parts = make_components()
    parts.unet = Record(parts.unet)
    model = Zero123(parts)

    def rows(**changes):
        parts.unet.calls.clear()
        model.synthesize(make_image(), RING, SamplerSettings('ddim', steps=4, **changes))
        return [len(args[0]) for args, _ in parts.unet.calls]

    assert ddim_timesteps(4) == [751, 501, 251, 1]
    assert rows() == [10, 10, 10, 10]
    assert rows(guidance_scale=1.0) == [5, 5, 5, 5]
    assert rows(guidance_interval=(0.2, 0.7)) == [5, 10, 10, 5]


def test_the_encoders_run_once_for_an_input_whatever_is_made_of_it():
    parts = make_components()
    parts.image_encoder = Record(parts.image_encoder)
    parts.vae = Record(parts.vae)
    model = Zero123(parts, max_batch=2)
    condition = model.encode(make_image())
    first = model.synthesize(condition, RING, QUICK)
    model.synthesize(condition, RING[:2], QUICK)
    assert len(parts.image_encoder.calls) == 1
    assert len(parts.vae.calls) == 1
    assert len(parts.vae.calls[0][0]) == 1
    # And it is the same as from the image.
    assert torch.equal(model.synthesize(make_image(), RING, QUICK), first)


# Seeds and batches


@pytest.mark.parametrize('settings', [QUICK, NOISY])
def test_the_same_seed_gives_the_same_views_and_another_gives_others(model, settings):
    views = model.synthesize(make_image(), RING, settings, seed=3)
    # Nothing depends on the global state, and nothing changes it.
    torch.manual_seed(99)
    state = torch.get_rng_state()
    assert torch.equal(model.synthesize(make_image(), RING, settings, seed=3), views)
    assert torch.equal(torch.get_rng_state(), state)
    other = model.synthesize(make_image(), RING, settings, seed=4)
    assert float((views - other).abs().max()) > 1e-3


@pytest.mark.parametrize('settings', [QUICK, NOISY])
def test_a_view_does_not_depend_on_those_beside_it(model, settings):
    views = model.synthesize(make_image(), RING, settings, seed=5)
    fewer = model.synthesize(make_image(), RING[:2], settings, seed=5)
    torch.testing.assert_close(fewer, views[:2], rtol=0.0, atol=1e-4)


def test_views_have_noises_of_their_own(model):
    poses = zero123_pose([0.0, 0.0], 0.0, 0.0, 0.0)
    views = model.synthesize(make_image(), poses, QUICK, seed=5)
    assert float((views[0] - views[1]).abs().max()) > 1e-3


@pytest.mark.parametrize('settings', [QUICK, NOISY])
@pytest.mark.parametrize('batch', [1, 3, 7])
def test_the_size_of_the_batch_does_not_change_the_views(model, batch, settings):
    views = model.synthesize(make_image(), RING, settings, seed=5)
    small = Zero123(make_components(), max_batch=batch)
    torch.testing.assert_close(
        small.synthesize(make_image(), RING, settings, seed=5), views, rtol=0.0, atol=1e-4
    )


@pytest.mark.parametrize('settings', [QUICK, NOISY])
def test_a_batch_splits_when_memory_ends_and_the_views_stay_the_same(model, settings):
    views = model.synthesize(make_image(), RING, settings, seed=5)
    parts = make_components()
    parts.unet = Record(parts.unet, largest=3)
    tight = Zero123(parts)
    torch.testing.assert_close(
        tight.synthesize(make_image(), RING, settings, seed=5), views, rtol=0.0, atol=1e-4
    )
    sizes = [len(args[0]) for args, _ in parts.unet.calls]
    assert sizes[:3] == [10, 5, 2]
    # It goes on in the size that fits, without failing again.
    assert set(sizes[3:]) == {2}


def test_memory_that_does_not_hold_one_view_is_said():
    parts = make_components()
    parts.unet = Record(parts.unet, largest=0)
    with pytest.raises(LiftError) as error:
        Zero123(parts).synthesize(make_image(), RING, QUICK)
    assert error.value.code is ErrorCode.OUT_OF_MEMORY


def test_500_poses_are_made_in_batches_that_are_bounded():
    parts = make_components()
    parts.unet = Record(parts.unet)
    model = Zero123(parts, max_batch=32)
    poses = zero123_pose(np.linspace(0.0, 360.0, 500), 10.0, 0.0, 10.0)
    views = model.synthesize(make_image(), poses, SamplerSettings('dpm++', steps=1))
    assert views.shape == (500, 3, IMAGE, IMAGE)
    assert max(len(args[0]) for args, _ in parts.unet.calls) == 32
    # The same in a list of 500 as in a list of one.
    alone = model.synthesize(make_image(), poses[:1], SamplerSettings('dpm++', steps=1))
    torch.testing.assert_close(views[:1], alone, rtol=0.0, atol=1e-4)


# Progress and cancellation


def test_progress_rises_step_by_step_within_its_share(model):
    seen = []
    progress = Progress(lambda stage, fraction: seen.append((stage, fraction)))
    model.synthesize(make_image(), RING[:1], QUICK, progress=progress, fractions=(0.2, 0.6))
    assert {stage for stage, _ in seen} == {'views'}
    fractions = [fraction for _, fraction in seen]
    assert fractions == sorted(fractions)
    assert fractions[0] == pytest.approx(0.2)
    assert fractions[-1] == pytest.approx(0.6)
    assert len(set(fractions)) >= QUICK.steps + 1


def test_a_run_can_be_cancelled_between_steps():
    parts = make_components()
    parts.unet = Record(parts.unet)
    model = Zero123(parts)
    progress = Progress(cancelled=lambda: len(parts.unet.calls) >= 2)
    with pytest.raises(LiftError) as error:
        model.synthesize(make_image(), RING, SamplerSettings(steps=10), progress=progress)
    assert error.value.code is ErrorCode.CANCELLED
    assert len(parts.unet.calls) == 2


def test_a_step_over_many_batches_can_be_cancelled_inside():
    parts = make_components()
    parts.unet = Record(parts.unet)
    model = Zero123(parts, max_batch=1)
    progress = Progress(cancelled=lambda: len(parts.unet.calls) >= 3)
    with pytest.raises(LiftError) as error:
        model.synthesize(make_image(), RING, QUICK, progress=progress)
    assert error.value.code is ErrorCode.CANCELLED
    assert len(parts.unet.calls) == 3


def test_a_deadline_in_the_past_ends_the_run(model):
    with pytest.raises(LiftError) as error:
        model.synthesize(make_image(), RING, QUICK, progress=Progress(deadline=0.0))
    assert error.value.code is ErrorCode.TIMEOUT


# Precisions and devices


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_half_precision_comes_near_to_single(model, dtype):
    views = model.synthesize(make_image(), RING[:2], QUICK, seed=5)
    halved = Zero123(make_components(), dtype=dtype)
    rough = halved.synthesize(make_image(), RING[:2], QUICK, seed=5)
    assert rough.dtype == torch.float32
    assert float((rough - views).abs().mean()) < 0.02


@pytest.mark.skipif(not torch.cuda.is_available(), reason='there is no CUDA device')
def test_cuda_makes_the_views_of_the_cpu(model):
    views = model.synthesize(make_image(), RING, NOISY, seed=5)
    fast = Zero123(make_components(), device='cuda').synthesize(make_image(), RING, NOISY, seed=5)
    torch.testing.assert_close(fast, views, rtol=0.0, atol=0.01)


# The family


def test_stable_zero123_and_zeronvs_run_behind_the_same_face():
    stable = Zero123(make_components('stable_zero123'))
    poses = stable_zero123_pose([0.0, 90.0], [40.0, 20.0], 30.0)
    assert stable.synthesize(make_image(), poses, QUICK).shape == (2, 3, IMAGE, IMAGE)
    scene = Zero123(make_components('zeronvs'))
    cameras = np.stack([orbit_pose(a, 10.0, 2.0) for a in (10.0, 20.0, 30.0)])
    poses = zeronvs_pose(cameras, orbit_pose(0.0, 10.0, 2.0), 1.0, 50.0)
    assert scene.synthesize(make_image(), poses, QUICK).shape == (3, 3, IMAGE, IMAGE)


def test_weights_of_another_family_are_refused():
    parts = make_components('zeronvs')
    parts.family = 'zero123'
    with pytest.raises(LiftError, match='19') as error:
        Zero123(parts)
    assert error.value.code is ErrorCode.WEIGHTS_CORRUPT


class Shuffle:
    """A codec without weights: RGBA pixels, four by four, as 64 channels."""

    def encode_condition(self, images):
        return torch.nn.functional.pixel_unshuffle(images[:, :2], 4)

    def encode_target(self, images, generator=None):
        return torch.nn.functional.pixel_unshuffle(images, 4)

    def decode(self, latents):
        return torch.nn.functional.pixel_shuffle(latents, 4)


class Mean(torch.nn.Module):
    """An image encoder that is no CLIP."""

    def embed(self, images):
        return images.mean((2, 3)).repeat(1, WIDTH // 4)


def make_small(**options):
    """Return a model of RGBA pixels with 3 further channels, and the record of its denoiser."""
    torch.manual_seed(0)
    parts = make_components('small', unet=make_unet(32 + 64 + 3, 64), vae=Shuffle())
    parts.image_encoder = Mean()
    parts.unet = Record(parts.unet)
    return Zero123(parts, **options), parts.unet


def test_the_small_model_takes_other_channels_sizes_and_a_rendering_beside_the_condition():
    model, unet = make_small()
    rendering = torch.randn(2, 3, 8, 8)
    image = make_image(channels=4)
    views = model.synthesize(image, RING[:2], QUICK, extra_channels=rendering)
    assert views.shape == (2, 4, IMAGE, IMAGE)
    sample = unet.calls[0][0][0]
    assert sample.shape == (4, 64 + 32 + 3, 8, 8)
    beside = torch.nn.functional.pixel_unshuffle(image[None, :2], 4)
    torch.testing.assert_close(sample[:2, 64:96], beside.expand(2, -1, -1, -1))
    torch.testing.assert_close(sample[:2, 96:], rendering)
    # The unconditional branch keeps the rendering and loses the image.
    torch.testing.assert_close(sample[2:, 96:], rendering)
    assert not sample[2:, 64:96].any()


def test_each_view_keeps_its_own_rendering_when_the_batch_splits():
    model, _ = make_small()
    tight, unet = make_small(max_batch=3)
    rendering = torch.randn(5, 3, 8, 8)
    image = make_image(channels=4)
    views = model.synthesize(image, RING, QUICK, extra_channels=rendering)
    split = tight.synthesize(image, RING, QUICK, extra_channels=rendering)
    torch.testing.assert_close(split, views, rtol=0.0, atol=1e-4)
    assert max(len(args[0]) for args, _ in unet.calls) == 3


@pytest.mark.parametrize('shape', [None, (1, 3, 8, 8), (2, 4, 8, 8), (2, 3, 16, 16)])
def test_a_rendering_of_another_shape_is_refused(shape):
    model, unet = make_small()
    extra = None if shape is None else torch.zeros(shape)
    with pytest.raises(LiftError, match='extra channels') as error:
        model.synthesize(make_image(channels=4), RING[:2], QUICK, extra_channels=extra)
    assert error.value.code is ErrorCode.BAD_REQUEST
    assert not unet.calls


# Bad requests


@pytest.mark.parametrize(
    'poses',
    [
        [[np.nan, 0.0, 1.0, 0.0]],
        [[0.0, 0.0, 1.0]],
        [0.0, 0.0, 1.0, 0.0],
        np.zeros((0, 4)),
        zero123_pose([0.0], 0.0, -1.8, 0.0),
        [['left', 0.0, 1.0, 0.0]],
    ],
)
def test_bad_poses_are_refused_before_anything_is_computed(poses):
    parts = make_components()
    parts.image_encoder = Record(parts.image_encoder)
    with pytest.raises(LiftError) as error:
        Zero123(parts).synthesize(make_image(), poses, QUICK)
    assert error.value.code is ErrorCode.BAD_REQUEST
    assert not parts.image_encoder.calls


@pytest.mark.parametrize(
    'image',
    [
        torch.zeros(1, 3, IMAGE, IMAGE),
        torch.zeros(IMAGE, IMAGE),
        torch.zeros(4, IMAGE, IMAGE),
        torch.zeros(3, IMAGE - 2, IMAGE),
        torch.zeros(3, IMAGE, IMAGE, dtype=torch.uint8),
        torch.full((3, IMAGE, IMAGE), torch.nan),
    ],
)
def test_an_image_of_another_kind_is_refused(model, image):
    with pytest.raises(LiftError) as error:
        model.synthesize(image, RING, QUICK)
    assert error.value.code is ErrorCode.BAD_REQUEST


def test_seeds_must_be_as_many_as_views(model):
    with pytest.raises(LiftError, match='3 seeds') as error:
        model.synthesize(make_image(), RING, QUICK, seed=[1, 2, 3])
    assert error.value.code is ErrorCode.BAD_REQUEST


def test_settings_of_the_model_are_checked():
    with pytest.raises(LiftError, match='max_batch'):
        Zero123(make_components(), max_batch=0)
    parts = make_components()
    parts.family = 'zero321'
    with pytest.raises(LiftError, match='family'):
        Zero123(parts)


def test_numbers_that_run_away_are_an_error_and_no_picture():
    parts = make_components()
    with torch.no_grad():
        parts.unet.conv_out.bias.fill_(torch.inf)
    with pytest.raises(LiftError, match='not finite') as error:
        Zero123(parts).synthesize(make_image(), RING[:1], QUICK)
    assert error.value.code is ErrorCode.INTERNAL


# From a checkpoint to views


@pytest.mark.parametrize('kind', ['ldm', 'A', 'B'])
def test_a_published_format_gives_the_views_of_the_networks_that_it_was_written_from(
    kind, tmp_path
):
    made = weights_helpers.networks()
    if kind == 'ldm':
        state = weights_helpers.ldm_state(made)
        path = weights_helpers.write_ldm(tmp_path / 'model.ckpt', state)
    else:
        path = weights_helpers.write_layout(tmp_path / 'folder', made, kind, suffix='.safetensors')
    image, poses = torch.rand(3, 64, 64) * 2.0 - 1.0, RING[:2]
    views = Zero123(load_zero123(path)).synthesize(image, poses, NOISY, seed=2)
    own = Zero123Components(**made, scheduler=weights_helpers.scheduler(), family='zero123')
    assert torch.equal(Zero123(own).synthesize(image, poses, NOISY, seed=2), views)
