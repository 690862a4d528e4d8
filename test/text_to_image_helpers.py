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

"""A text-to-image pipeline of a few thousand numbers, which paints one picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from text_helpers import write_tokenizer

#: Side of the picture, pixels.
SIDE = 64

#: The box of the painted object: left, top, right, bottom.
BOX = (18, 14, 48, 54)


def picture() -> np.ndarray:
    """Return what the pipeline paints, uint8 RGB: a dark red object on white."""
    left, top, right, bottom = BOX
    image = np.full((SIDE, SIDE, 3), 255, np.uint8)
    image[top:bottom, left:right] = 150, 30, 40
    return image


def write_pipeline(folder: Path) -> Path:
    """
    Write a ``StableDiffusionPipeline``; return its folder.

    Its network answers every noise and text by the same latents, and its decoder is fitted to
    turn these into ``picture``.
    """
    from diffusers import AutoencoderKL
    from diffusers import DDIMScheduler
    from diffusers import StableDiffusionPipeline
    from diffusers import UNet2DConditionModel
    import torch
    from transformers import CLIPTextConfig
    from transformers import CLIPTextModel
    from transformers import CLIPTokenizer

    count = write_tokenizer(folder / 'words')
    with torch.random.fork_rng():
        torch.manual_seed(0)
        text = CLIPTextModel(CLIPTextConfig(
            vocab_size=count, hidden_size=8, intermediate_size=8, num_hidden_layers=1,
            num_attention_heads=1, max_position_embeddings=77,
            bos_token_id=count - 2, eos_token_id=count - 1))
        unet = UNet2DConditionModel(
            sample_size=SIDE // 4, block_out_channels=(8, 8), layers_per_block=1,
            down_block_types=('DownBlock2D', 'CrossAttnDownBlock2D'),
            up_block_types=('CrossAttnUpBlock2D', 'UpBlock2D'),
            cross_attention_dim=8, attention_head_dim=2, norm_num_groups=4)
        torch.nn.init.zeros_(unet.conv_out.weight)
        torch.nn.init.ones_(unet.conv_out.bias)
        vae = AutoencoderKL(
            block_out_channels=(16, 16, 16), layers_per_block=1, norm_num_groups=4,
            down_block_types=('DownEncoderBlock2D',) * 3,
            up_block_types=('UpDecoderBlock2D',) * 3, sample_size=SIDE)
        _fit(vae)
    # The network predicts the latents themselves, so that each step returns its answer.
    scheduler = DDIMScheduler(
        prediction_type='sample', clip_sample=False, set_alpha_to_one=True, steps_offset=1)
    StableDiffusionPipeline(
        vae=vae, text_encoder=text, tokenizer=CLIPTokenizer.from_pretrained(
            folder / 'words', model_max_length=77),
        unet=unet, scheduler=scheduler, safety_checker=None, feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder, safe_serialization=True)
    return folder


def _fit(vae) -> None:
    """Fit the decoder to the picture, from latents of ones: places differ by their padding."""
    import torch

    target = torch.from_numpy(picture()).permute(2, 0, 1)[None].float() / 127.5 - 1.0
    latents = torch.ones(1, 4, SIDE // 4, SIDE // 4) / vae.config.scaling_factor
    weights = [*vae.decoder.parameters(), *vae.post_quant_conv.parameters()]
    optimizer = torch.optim.Adam(weights, lr=5e-3)
    for _ in range(250):
        loss = torch.nn.functional.mse_loss(vae.decode(latents).sample, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
