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
The small weights: a coarse network, and a light Zero-1-to-3 model conditioned on its rendering.

On disk they are a folder: ``coarse/`` (a network of this package) in eight bits, ``unet/``,
``image_encoder/``, ``cc_projection/`` and ``scheduler/`` (formats of diffusers and transformers)
in half precision; ``elevation/`` and ``monocular/`` are optional. The codec has no weights: a
latent is a patch of 4 x 4 RGBA pixels.
"""

from __future__ import annotations

from dataclasses import asdict
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import torch
from torch import nn
from torch import Tensor
from torch.nn import functional

from lift3d_ros.diffusion.conditioning import ClipEncoder
from lift3d_ros.diffusion.noise import NoiseLevels
from lift3d_ros.diffusion.render_conditioning import conditioning_channels
from lift3d_ros.diffusion.render_conditioning import LATENT_PIXELS
from lift3d_ros.diffusion.render_conditioning import PATCH
from lift3d_ros.diffusion.render_conditioning import rendered_image
from lift3d_ros.elevation.regressor import ElevationNet
from lift3d_ros.elevation.regressor import read_elevation
from lift3d_ros.networks.small.coarse import CoarseConfig
from lift3d_ros.networks.small.coarse import CoarseNet
from lift3d_ros.networks.small.coarse_inputs import CoarseInputs
from lift3d_ros.networks.small.denoiser import DenoiserConfig
from lift3d_ros.networks.small.denoiser import DenoiserUNet
from lift3d_ros.networks.small.files import corrupt
from lift3d_ros.networks.small.files import missing
from lift3d_ros.networks.small.files import read_network
from lift3d_ros.networks.small.files import write_network
from lift3d_ros.networks.small.image_encoder import ImageEncoder
from lift3d_ros.networks.small.image_encoder import ImageEncoderConfig
from lift3d_ros.networks.small.monocular import MonocularNet
from lift3d_ros.networks.small.monocular import read_monocular
from lift3d_ros.weights.components import PoseProjection
from lift3d_ros.weights.components import Zero123Components
from lift3d_ros.weights.integrity import read_settings

#: Width of the image embedding.
_EMBEDDING = 128

#: Channels of a latent: RGBA of each pixel of a patch.
_LATENT = 4 * PATCH**2


@dataclass(frozen=True, eq=False)
class SmallNetworks:
    """
    The networks of the small view weights.

    ``elevation`` and ``monocular`` are None where the folder lacks them: there is no estimate of
    the elevation then, and no predicted depth for the coarse network.
    """

    coarse: CoarseNet
    components: Zero123Components
    elevation: ElevationNet | None = None
    monocular: MonocularNet | None = None


class PixelCodec:
    """
    Patches of RGBA pixels as latents, without loss.

    Images are (n, 4, h, w) in [-1, 1], latents (n, 64, h / 4, w / 4).
    """

    def encode_condition(self, images: Tensor) -> Tensor:
        """Return the latents of the input picture."""
        return functional.pixel_unshuffle(images, PATCH)

    def encode_target(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return the latents of a target picture."""
        del generator
        return functional.pixel_unshuffle(images, PATCH)

    def decode(self, latents: Tensor) -> Tensor:
        """Return the pictures of latents."""
        return functional.pixel_shuffle(latents, PATCH)


class RgbImageEncoder(nn.Module):
    """A CLIP vision model over the RGB channels of RGBA pictures."""

    def __init__(self, model: ImageEncoder) -> None:
        """Keep the model."""
        super().__init__()
        self.model = model

    def embed(self, images: Tensor) -> Tensor:
        """Return embeddings (n, 128) of pictures (n, 4, h, w) in [-1, 1]."""
        return ClipEncoder(self.model).embed(images[:, :3])


class ResidualUNet(nn.Module):
    """
    A UNet that predicts the residual to the rendered volume.

    The prediction is the clean latent: that of the rendering plus the output of the UNet.
    """

    def __init__(self, unet: DenoiserUNet) -> None:
        """Keep the UNet."""
        super().__init__()
        self.unet = unet

    @property
    def config(self) -> DenoiserConfig:
        """The configuration of the UNet."""
        return self.unet.config

    def forward(
        self, sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor
    ) -> SimpleNamespace:
        """Return ``sample``, the latents (n, 64, 32, 32); arguments as diffusers' UNet has."""
        residual = self.unet(sample, timestep, encoder_hidden_states=encoder_hidden_states).sample
        rendered = rendered_image(sample[:, 2 * _LATENT:])
        return SimpleNamespace(sample=residual + functional.pixel_unshuffle(rendered, PATCH))


def make_components(features: int) -> Zero123Components:
    """Return the untrained denoiser for a volume of ``features`` channels."""
    unet = DenoiserUNet(DenoiserConfig(
        sample_size=LATENT_PIXELS,
        in_channels=2 * _LATENT + conditioning_channels(features),
        out_channels=_LATENT,
        cross_attention_dim=_EMBEDDING,
    ))
    # The untrained prediction is the rendering.
    nn.init.zeros_(unet.conv_out.weight)
    nn.init.zeros_(cast(Tensor, unet.conv_out.bias))
    encoder = ImageEncoder(ImageEncoderConfig(projection_dim=_EMBEDDING))
    # Otherwise the noisiest latents still show the mean colours of the target, and the network
    # learns to read them there (Lin et al., 2024): ``rescale_betas_zero_snr``.
    scheduler = NoiseLevels({
        'beta_start': 0.00085, 'beta_end': 0.012, 'beta_schedule': 'scaled_linear',
        'clip_sample': False, 'set_alpha_to_one': False, 'steps_offset': 1,
        'prediction_type': 'sample', 'rescale_betas_zero_snr': True,
    })
    return Zero123Components(
        unet=ResidualUNet(unet),
        vae=PixelCodec(),
        image_encoder=RgbImageEncoder(encoder),
        cc_projection=PoseProjection(_EMBEDDING, 4),
        scheduler=scheduler,
        family='small',
    )


def tensors(inputs: CoarseInputs, device: torch.device | str) -> dict[str, Tensor]:
    """Return the arguments of ``CoarseNet`` for one view, as a batch of one."""
    arrays = {name: torch.from_numpy(value)[None] for name, value in vars(inputs).items()}
    arrays['picture'] = arrays['picture'].permute(0, 3, 1, 2).contiguous().float() / 255.0
    return {name: value.to(device) for name, value in arrays.items()}


def write_small(
    folder: Path,
    coarse: CoarseNet,
    components: Zero123Components,
    dtype: torch.dtype = torch.float16,
) -> None:
    """
    Write the small weights into a folder.

    In half precision the coarse network, half of all parameters, is stored in eight bits.
    """
    write_network(
        folder / 'coarse', coarse, asdict(coarse.config),
        torch.int8 if dtype == torch.float16 else dtype,
    )
    projection = components.cc_projection
    write_network(
        folder / 'cc_projection', projection,
        {'embedding_dim': projection.embedding_dim, 'pose_dim': projection.pose_dim}, dtype,
    )
    for name, network in (
        ('unet', components.unet.unet), ('image_encoder', components.image_encoder.model),
    ):
        write_network(folder / name, network, network.settings(), dtype)
    components.scheduler.write(folder / 'scheduler')


def read_small(folder: Path, device: torch.device | str = 'cpu') -> SmallNetworks:
    """
    Return the networks of a folder in float32.

    Raises ``LiftError``: ``WEIGHTS_MISSING``, ``WEIGHTS_CORRUPT``.
    """
    coarse = read_network(
        folder / 'coarse', lambda config: CoarseNet(CoarseConfig(**config)), device)
    projection = read_network(
        folder / 'cc_projection', lambda config: PoseProjection(**config), device)
    unet = read_network(
        folder / 'unet', lambda config: DenoiserUNet(DenoiserConfig.of(config)), device)
    vision = read_network(
        folder / 'image_encoder',
        lambda config: ImageEncoder(ImageEncoderConfig.of(config)), device)
    try:
        scheduler = NoiseLevels(read_settings(folder / 'scheduler' / 'scheduler_config.json'))
    except FileNotFoundError as error:
        raise missing(folder / 'scheduler') from error
    except (ArithmeticError, AttributeError, LookupError, OSError, RuntimeError, TypeError,
            ValueError) as error:
        raise corrupt(folder, error) from error
    elevation, monocular = folder / 'elevation', folder / 'monocular'
    return SmallNetworks(
        coarse,
        Zero123Components(
            ResidualUNet(unet), PixelCodec(), RgbImageEncoder(vision), projection, scheduler,
            'small',
        ),
        read_elevation(elevation, device) if elevation.is_dir() else None,
        read_monocular(monocular, device) if monocular.is_dir() else None,
    )
