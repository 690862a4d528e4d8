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

"""Small models of the Zero-1-to-3 family with random weights, made where a test asks for one."""

from __future__ import annotations

from diffusers import AutoencoderKL
from diffusers import DDIMScheduler
from diffusers import UNet2DConditionModel
import torch
from transformers import CLIPVisionConfig
from transformers import CLIPVisionModelWithProjection

from lift3d_ros.geometry import POSE_DIMS
from lift3d_ros.weights.components import PoseProjection
from lift3d_ros.weights.components import Zero123Components

WIDTH = 24          # of the image embedding and the token
IMAGE = 32          # side of the images; the autoencoder halves it once
LATENT = 16


def make_scheduler(**changes):
    """Return the noise schedule of the published models."""
    return DDIMScheduler(**{
        'beta_start': 0.00085, 'beta_end': 0.012, 'beta_schedule': 'scaled_linear',
        'clip_sample': False, 'set_alpha_to_one': False, 'steps_offset': 1, **changes,
    })


def make_unet(in_channels=8, out_channels=4):
    """Return a denoiser of the published kind, two blocks deep."""
    return UNet2DConditionModel(
        sample_size=LATENT,
        in_channels=in_channels,
        out_channels=out_channels,
        block_out_channels=(16, 32),
        layers_per_block=1,
        norm_num_groups=8,
        cross_attention_dim=WIDTH,
        attention_head_dim=4,
        down_block_types=('CrossAttnDownBlock2D', 'DownBlock2D'),
        up_block_types=('UpBlock2D', 'CrossAttnUpBlock2D'),
    )


def make_components(family='zero123', seed=0, unet=None, vae=None, **schedule):
    """Return a whole model whose weights follow from the seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Zero123Components(
            unet=unet or make_unet(),
            vae=vae or AutoencoderKL(
                in_channels=3,
                out_channels=3,
                latent_channels=4,
                block_out_channels=(8, 16),
                norm_num_groups=4,
                down_block_types=('DownEncoderBlock2D',) * 2,
                up_block_types=('UpDecoderBlock2D',) * 2,
                sample_size=IMAGE,
                scaling_factor=0.18215,
            ),
            image_encoder=CLIPVisionModelWithProjection(CLIPVisionConfig(
                hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
                image_size=28, patch_size=14, projection_dim=WIDTH,
            )),
            cc_projection=PoseProjection(WIDTH, POSE_DIMS[family]),
            scheduler=make_scheduler(**schedule),
            family=family,
        )


def make_image(seed=0, channels=3):
    """Return an input image, (channels, IMAGE, IMAGE) in [-1, 1]."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand((channels, IMAGE, IMAGE), generator=generator) * 2.0 - 1.0
