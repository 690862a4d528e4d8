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
A small unposed diffusion model of objects, conditioned on a token and on the word of the view.

It takes the place of a text-to-image model where a method needs one (RealFusion, NeuralLift-360):
a token stands for an object, as a word of the prompt does there, and can be inverted from one
picture. Latents are RGBA pictures (n, 4, 64, 64) in [-1, 1], the colour on white.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffusers import DDIMScheduler
from diffusers import UNet2DConditionModel
import torch
from torch import nn
from torch import Tensor
from torch.nn import functional

from lift3d_ros.networks.small.files import read_network
from lift3d_ros.networks.small.files import write_network

#: The words of views, as ``distill.cameras.view_word`` has them.
VIEW_WORDS = ('front', 'side', 'back', 'overhead', 'bottom')

#: Cells along a side of a picture from whose means a token is regressed.
_CELLS = 8


@dataclass(frozen=True)
class TokenDenoiserConfig:
    """
    The shape of the network.

    - ``size``: side of the pictures, pixels; ``patch``: side of the patches of pixels that are
      the channels of the UNet, in both axes.
    - ``widths``: channels of the UNet's levels, multiples of 16; the last two attend to the
      tokens, or the last of a single one.
    - ``token``: numbers of a token; ``contexts``: vectors that the UNet attends to for a token.
    - ``schedule``: of diffusers' ``beta_schedule``.
    """

    size: int = 64
    patch: int = 2
    widths: tuple[int, ...] = (48, 64, 96, 160)
    token: int = 128
    contexts: int = 4
    schedule: str = 'squaredcos_cap_v2'


class TokenDenoiser(nn.Module):
    """
    The network; it predicts the velocity.

    - ``null``: (token,), the token of no object; ``scale``: (token,), standard deviation of the
      tokens of the training objects.
    - ``regression``: (token, features + 1), the linear map from a picture to the token of its
      object that was fitted to the training objects; see ``regressed``.
    """

    def __init__(self, config: TokenDenoiserConfig | None = None) -> None:
        """Make the layers."""
        super().__init__()
        self.config = config = config or TokenDenoiserConfig()
        channels, levels = 4 * config.patch**2, len(config.widths)
        attending = [level >= levels - 2 and (level > 0 or levels == 1) for level in range(levels)]
        # The classes of diffusers are untyped.
        unet: Any = UNet2DConditionModel(
            sample_size=config.size // config.patch,
            in_channels=channels,
            out_channels=channels,
            block_out_channels=config.widths,
            layers_per_block=1,
            down_block_types=tuple(
                'CrossAttnDownBlock2D' if on else 'DownBlock2D' for on in attending),
            up_block_types=tuple(
                'CrossAttnUpBlock2D' if on else 'UpBlock2D' for on in reversed(attending)),
            cross_attention_dim=config.token,
            attention_head_dim=32,
            norm_num_groups=16,
            # Attention alone passes little of so few tokens; every layer is modulated by them.
            class_embed_type='projection',
            projection_class_embeddings_input_dim=2 * config.token,
            resnet_time_scale_shift='scale_shift',
        )
        nn.init.zeros_(unet.conv_out.weight)
        nn.init.zeros_(unet.conv_out.bias)
        self.unet: Any = unet
        self.null = nn.Parameter(torch.zeros(config.token))
        self.expand = nn.Linear(config.token, config.contexts * config.token)
        # The last row is that of no word.
        self.words = nn.Embedding(len(VIEW_WORDS) + 1, config.token)
        self.register_buffer('scale', torch.ones(config.token))
        self.register_buffer('regression', torch.zeros(config.token, 4 * _CELLS**2 + 1))
        self.scale: Tensor
        self.regression: Tensor

    def forward(self, noisy: Tensor, timesteps: Tensor, tokens: Tensor, words: Tensor) -> Tensor:
        """
        Return the velocity sqrt(ab) n - sqrt(1 - ab) x0, of the shape of ``noisy``, float32.

        ``noisy`` (n, 4, size, size), ``timesteps`` (n,), ``tokens`` (n, token), ``words`` (n,)
        indices of ``VIEW_WORDS``, or their number for no word.
        """
        tokens = tokens.expand(len(noisy), -1)
        word = self.words(words)
        contexts = self.expand(tokens).unflatten(1, (self.config.contexts, self.config.token))
        pixels = functional.pixel_unshuffle(noisy, self.config.patch)
        velocity = self.unet(
            pixels, timesteps,
            encoder_hidden_states=torch.cat([contexts, word[:, None]], dim=1),
            class_labels=torch.cat([tokens, word], dim=1),
        ).sample
        return functional.pixel_shuffle(velocity.float(), self.config.patch)

    def regressed(self, latents: Tensor) -> Tensor:
        """Return the tokens (n, token) that the pictures (n, 4, size, size) suggest."""
        return picture_features(latents) @ self.regression.to(latents).T

    def scheduler(self) -> Any:
        """Return the noise schedule as a diffusers scheduler."""
        return DDIMScheduler(
            beta_schedule=self.config.schedule, prediction_type='v_prediction',
            clip_sample=False, set_alpha_to_one=False,
        )


def picture_features(latents: Tensor) -> Tensor:
    """Return the means of 8 x 8 cells of pictures (n, 4, h, w), and 1: (n, 257)."""
    means = functional.adaptive_avg_pool2d(latents, _CELLS).flatten(1)
    return functional.pad(means, (0, 1), value=1.0)


def word_indices(words: Sequence[str | None]) -> Tensor:
    """Return the indices (n,) of words; None is that of no word."""
    return torch.tensor([
        len(VIEW_WORDS) if word is None else VIEW_WORDS.index(word) for word in words])


def as_latents(images: Tensor) -> Tensor:
    """Return latents of RGBA (n, 4, h, w) in [0, 1], the colour multiplied by alpha."""
    alpha = images[:, 3:]
    return 2.0 * torch.cat([images[:, :3] + 1.0 - alpha, alpha], dim=1) - 1.0


def write_token_denoiser(
    folder: Path, network: TokenDenoiser, dtype: torch.dtype = torch.float16
) -> None:
    """Write the network into a folder."""
    write_network(folder, network, asdict(network.config), dtype)


def read_token_denoiser(folder: Path, device: torch.device | str = 'cpu') -> TokenDenoiser:
    """
    Return the network of a folder, ready for inference.

    Raises ``LiftError``: ``WEIGHTS_MISSING``, ``WEIGHTS_CORRUPT``.
    """
    return read_network(
        folder, lambda config: TokenDenoiser(TokenDenoiserConfig(**config)), device)
