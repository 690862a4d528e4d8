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
The small prior of scenes: a denoiser of colour and depth from a moved camera.

It receives what is known of the view, where it was measured, the free space of the input camera,
and the 6DoF+1 pose vector of ZeroNVS (Sargent et al., 2024). It predicts the clean picture, as
the difference to the known view whose holes are filled from around, and the scale of the error of
its depth. At the last timestep its noisy picture holds nothing, and one step is the answer.
"""

from __future__ import annotations

from dataclasses import asdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffusers import UNet2DModel
import torch
from torch import nn
from torch import Tensor
from torch.nn import functional

from lift3d_ros.geometry.pose_vectors import POSE_DIMS
from lift3d_ros.networks.small.files import read_network
from lift3d_ros.networks.small.files import write_network

#: Channels of a picture: colour in [-1, 1], and inverse depth.
PICTURE = 4

#: Channels of what is known: a filled picture, known, observed, object, and two bounds of depth.
KNOWN = PICTURE + 5

#: Timesteps of the noise; at the last one a picture is noise alone.
TIMESTEPS = 1000

#: Bounds of the scale of the error, as logarithms of inverse depth.
_LOG_SCALE = (-7.0, 0.5)


@dataclass(frozen=True)
class SceneDenoiserConfig:
    """
    The shape of the network.

    - ``patch``: side of the patches of pixels that are the channels of the UNet.
    - ``widths``: channels of its levels, multiples of 16.
    - ``layers``: residual blocks of a level.
    """

    patch: int = 2
    widths: tuple[int, ...] = (32, 64, 112, 144)
    layers: int = 1


@dataclass(frozen=True, eq=False)
class ScenePrediction:
    """
    Predicted views.

    - ``picture``: (n, 4, h, w); ``log_scale``: (n, h, w), the logarithm of the mean absolute error
      of the inverse depth.
    """

    picture: Tensor
    log_scale: Tensor


class SceneDenoiser(nn.Module):
    """The network."""

    def __init__(self, config: SceneDenoiserConfig | None = None) -> None:
        """Make the layers."""
        super().__init__()
        self.config = config = config or SceneDenoiserConfig()
        levels = len(config.widths)
        # The classes of diffusers are untyped.
        unet: Any = UNet2DModel(
            in_channels=(PICTURE + KNOWN) * config.patch**2,
            out_channels=(PICTURE + 1) * config.patch**2,
            block_out_channels=config.widths,
            layers_per_block=config.layers,
            down_block_types=('DownBlock2D',) * (levels - 1) + ('AttnDownBlock2D',),
            up_block_types=('AttnUpBlock2D',) + ('UpBlock2D',) * (levels - 1),
            attention_head_dim=32,
            norm_num_groups=16,
            resnet_time_scale_shift='scale_shift',
            class_embed_type='identity',
        )
        nn.init.zeros_(unet.conv_out.weight)
        nn.init.zeros_(unet.conv_out.bias)
        self.unet: Any = unet
        width = 4 * config.widths[0]
        self.pose = nn.Sequential(
            nn.Linear(POSE_DIMS['zeronvs'], width), nn.SiLU(), nn.Linear(width, width))

    def forward(
        self, noisy: Tensor, timesteps: Tensor, known: Tensor, pose: Tensor
    ) -> ScenePrediction:
        """
        Return the clean pictures.

        ``noisy`` (n, 4, h, w), ``timesteps`` (n,), ``known`` (n, KNOWN, h, w), ``pose`` (n, 19).
        """
        patch = self.config.patch
        pixels = functional.pixel_unshuffle(torch.cat([noisy, known], dim=1), patch)
        result = self.unet(pixels, timesteps, class_labels=self.pose(pose)).sample
        result = functional.pixel_shuffle(result.float(), patch)
        picture = known[:, :PICTURE].float() + result[:, :PICTURE]
        return ScenePrediction(picture, (result[:, PICTURE] - 2.0).clamp(*_LOG_SCALE))

    @torch.no_grad()
    def predict(self, known: Tensor, pose: Tensor, seed: int = 0) -> ScenePrediction:
        """Return the pictures in one step from noise; arguments as ``forward``."""
        generator = torch.Generator().manual_seed(seed)
        n, _, height, width = known.shape
        noise = torch.randn((n, PICTURE, height, width), generator=generator).to(known)
        last = torch.full((n,), TIMESTEPS - 1, device=known.device)
        result: ScenePrediction = self(noise, last, known, pose)
        return result


def signal_share(timesteps: Tensor) -> Tensor:
    """
    Return the variance of the clean picture in a noisy one, (n,), 0 at the last timestep.

    The cosine schedule (Nichol and Dhariwal, 2021) with zero terminal signal.
    """
    return torch.cos(0.5 * torch.pi * (timesteps.float() + 1.0) / TIMESTEPS).square()


def write_scene_denoiser(
    folder: Path, network: SceneDenoiser, dtype: torch.dtype = torch.float16
) -> None:
    """Write the network into a folder."""
    write_network(folder, network, asdict(network.config), dtype)


def read_scene_denoiser(folder: Path, device: torch.device | str = 'cpu') -> SceneDenoiser:
    """
    Return the network of a folder, ready for inference.

    Raises ``LiftError``: ``WEIGHTS_MISSING``, ``WEIGHTS_CORRUPT``.
    """
    return read_network(
        folder, lambda config: SceneDenoiser(SceneDenoiserConfig(**config)), device)
