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
The denoiser and the image encoder of the small weights compute what diffusers and transformers do.

So does the noise schedule with its solver; the packages are imported for this comparison alone.
"""

from pathlib import Path

import pytest
import torch

from lift3d_ros.diffusion.noise import DpmSolver
from lift3d_ros.diffusion.noise import NoiseLevels
from lift3d_ros.diffusion.noise import PREDICTIONS
from lift3d_ros.diffusion.small import make_components
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.networks.small.denoiser import DenoiserConfig
from lift3d_ros.networks.small.denoiser import DenoiserUNet
from lift3d_ros.networks.small.files import read_network
from lift3d_ros.networks.small.files import write_network
from lift3d_ros.networks.small.image_encoder import ImageEncoder
from lift3d_ros.networks.small.image_encoder import ImageEncoderConfig
from lift3d_ros.weights.store import find

SCHEDULE = {'beta_start': 0.00085, 'beta_end': 0.012, 'beta_schedule': 'scaled_linear'}


@pytest.fixture(scope='module')
def folder() -> Path:
    return find('small')


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
@torch.no_grad()
def test_the_denoiser_is_that_of_diffusers(folder, dtype, one_thread):
    from diffusers import UNet2DConditionModel

    theirs = read_network(folder / 'unet', UNet2DConditionModel.from_config)
    own = read_network(folder / 'unet', lambda c: DenoiserUNet(DenoiserConfig.of(c)))
    draw = torch.Generator().manual_seed(0)
    sample = torch.randn((2, own.config.in_channels, 32, 32), generator=draw).to(dtype)
    tokens = torch.randn((2, 1, 128), generator=draw).to(dtype)
    found = [
        torch.nn.Module.to(network, dtype=dtype)(
            sample, torch.tensor([999, 20]), encoder_hidden_states=tokens).sample
        for network in (theirs, own)]
    assert float(found[0].std()) > 0.01
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_the_image_encoder_is_that_of_transformers(folder, one_thread):
    from transformers import CLIPVisionConfig
    from transformers import CLIPVisionModelWithProjection

    theirs = read_network(
        folder / 'image_encoder',
        lambda c: CLIPVisionModelWithProjection(CLIPVisionConfig.from_dict(c)))
    own = read_network(
        folder / 'image_encoder', lambda c: ImageEncoder(ImageEncoderConfig.of(c)))
    pixels = torch.randn((2, 3, 96, 96), generator=torch.Generator().manual_seed(0))
    expected = theirs(pixel_values=pixels).image_embeds
    assert float(expected.std()) > 0.1
    torch.testing.assert_close(own(pixels).image_embeds, expected, rtol=1e-4, atol=1e-5)


def test_diffusers_and_transformers_read_what_is_written(tmp_path):
    from diffusers import DDIMScheduler
    from diffusers import UNet2DConditionModel
    from transformers import CLIPVisionConfig
    from transformers import CLIPVisionModelWithProjection

    made = make_components(12)
    for part, network, reader in (
        ('unet', made.unet.unet, UNet2DConditionModel.from_config),
        ('image_encoder', made.image_encoder.model,
         lambda c: CLIPVisionModelWithProjection(CLIPVisionConfig.from_dict(c))),
    ):
        write_network(tmp_path / part, network, network.settings(), torch.float32)
        read = read_network(tmp_path / part, reader).state_dict()
        for name, value in network.state_dict().items():
            assert torch.equal(read[name], value), name
    made.scheduler.write(tmp_path)
    levels = DDIMScheduler.from_pretrained(tmp_path).alphas_cumprod
    assert torch.equal(levels, made.scheduler.alphas_cumprod)


@pytest.mark.parametrize('changes', [
    {'up_block_types': ['UpBlock2D', 'UpBlock2D', 'UpBlock2D']}, {'act_fn': 'gelu'},
    {'transformer_layers_per_block': 2}, {'down_block_types': 'x'},
])
def test_another_form_of_the_denoiser_is_refused(folder, tmp_path, changes):
    network = DenoiserUNet(DenoiserConfig(in_channels=8, block_out_channels=(16, 32, 32)))
    write_network(tmp_path, network, {**network.settings(), **changes})
    with pytest.raises(LiftError) as error:
        read_network(tmp_path, lambda c: DenoiserUNet(DenoiserConfig.of(c)))
    assert error.value.code is ErrorCode.WEIGHTS_CORRUPT


@pytest.mark.parametrize('log_snr', [False, True])
@pytest.mark.parametrize('steps', [1, 2, 7, 20])
@pytest.mark.parametrize('ends_in_noise', [False, True])
def test_the_solver_is_that_of_diffusers(ends_in_noise, steps, log_snr):
    from diffusers import DPMSolverMultistepScheduler

    for prediction in PREDICTIONS:
        settings = {
            **SCHEDULE, 'rescale_betas_zero_snr': ends_in_noise, 'prediction_type': prediction}
        theirs = DPMSolverMultistepScheduler(
            **settings, solver_order=2, timestep_spacing='trailing', use_lu_lambdas=log_snr)
        theirs.set_timesteps(steps)
        own = DpmSolver(settings, steps, log_snr)
        assert own.timesteps == theirs.timesteps.tolist()
        draw = torch.Generator().manual_seed(1)
        x = y = torch.randn((1, 4, 4, 4), generator=draw)
        for t in own.timesteps:
            output = torch.randn(x.shape, generator=draw)
            x, y = theirs.step(output, t, x).prev_sample, own.step(output, y)
            torch.testing.assert_close(y, x, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('settings', [
    SCHEDULE, {**SCHEDULE, 'beta_schedule': 'linear'}, {'beta_schedule': 'squaredcos_cap_v2'},
    {**SCHEDULE, 'rescale_betas_zero_snr': True}, {'trained_betas': [0.1, 0.2]},
])
def test_the_noise_levels_are_those_of_diffusers(settings):
    from diffusers import DDIMScheduler

    assert torch.equal(
        NoiseLevels(settings).alphas_cumprod, DDIMScheduler(**settings).alphas_cumprod)


@pytest.mark.parametrize('changes', [
    {'num_train_timesteps': 10**11}, {'num_train_timesteps': -1}, {'beta_start': 'x'},
    {'beta_end': 1e5}, {'beta_schedule': 'x'}, {'trained_betas': 'x'},
    {'prediction_type': 'x'},
])
def test_a_schedule_that_is_none_is_refused(changes):
    with pytest.raises((ValueError, TypeError)):
        NoiseLevels({**SCHEDULE, **changes})
