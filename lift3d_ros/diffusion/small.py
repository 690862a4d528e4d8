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
The small weights: a coarse network and a light model of the Zero-1-to-3 family that goes by it.

On disk they are a folder: ``coarse/`` (this package's own network), ``unet/``, ``image_encoder/``,
``cc_projection/`` and ``scheduler/`` (diffusers' and transformers' formats), in half precision,
the first in eight bits; beside them ``elevation/`` and ``monocular/``, which can be missing.
The codec has no weights: a latent is a patch of 4 x 4 RGBA pixels.
"""

from __future__ import annotations

from dataclasses import asdict
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from diffusers import DDIMScheduler
from diffusers import UNet2DConditionModel
import numpy as np
import torch
from torch import nn
from torch import Tensor
from torch.nn import functional
from transformers import CLIPVisionConfig
from transformers import CLIPVisionModelWithProjection

from lift3d_ros.diffusion.clip import ClipEncoder
from lift3d_ros.diffusion.render_conditioning import guide_channels
from lift3d_ros.diffusion.render_conditioning import guiding_picture
from lift3d_ros.diffusion.render_conditioning import LATENT_PIXELS
from lift3d_ros.diffusion.render_conditioning import PATCH
from lift3d_ros.elevation.regressor import ElevationNet
from lift3d_ros.elevation.regressor import read_elevation
from lift3d_ros.networks.small.coarse import CoarseConfig
from lift3d_ros.networks.small.coarse import CoarseNet
from lift3d_ros.networks.small.coarse_inputs import Observation
from lift3d_ros.networks.small.files import corrupt
from lift3d_ros.networks.small.files import made_as_stored
from lift3d_ros.networks.small.files import missing
from lift3d_ros.networks.small.files import read_config
from lift3d_ros.networks.small.files import read_state
from lift3d_ros.networks.small.files import write_network
from lift3d_ros.networks.small.monocular import MonocularNet
from lift3d_ros.networks.small.monocular import read_monocular
from lift3d_ros.weights.components import PoseProjection
from lift3d_ros.weights.components import Zero123Components
from lift3d_ros.weights.documents import read_settings

_EMBEDDING = 128

#: Channels of a latent: RGBA of each pixel of a patch.
_LATENT = 4 * PATCH**2


@dataclass(frozen=True, eq=False)
class SmallNetworks:
    """
    The networks of the small view weights.

    ``elevation`` and ``monocular`` are None where the folder has no such parts: the elevation is
    not told by the picture then, and the coarse network has to do without a guess at the depth.
    """

    coarse: CoarseNet
    components: Zero123Components
    elevation: ElevationNet | None = None
    monocular: MonocularNet | None = None


class PixelCodec:
    """
    Patches of RGBA pixels as latents; exact both ways.

    Images are (n, 4, h, w) in [-1, 1], latents (n, 64, h / 4, w / 4).
    """

    def encode_condition(self, images: Tensor) -> Tensor:
        """Return the latents of the input picture."""
        return functional.pixel_unshuffle(images, PATCH)

    def encode_target(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return the latents of a picture that is to be made."""
        del generator
        return functional.pixel_unshuffle(images, PATCH)

    def decode(self, latents: Tensor) -> Tensor:
        """Return the pictures of latents."""
        return functional.pixel_shuffle(latents, PATCH)


class ColorEncoder(nn.Module):
    """A CLIP vision model over RGBA pictures, whose alpha it does not look at."""

    def __init__(self, model: CLIPVisionModelWithProjection) -> None:
        """Keep the model."""
        super().__init__()
        self.model = model

    def embed(self, images: Tensor) -> Tensor:
        """Return embeddings (n, 128) of pictures (n, 4, h, w) in [-1, 1]."""
        return ClipEncoder(self.model).embed(images[:, :3])


class GuidedUNet(nn.Module):
    """
    A diffusers UNet that learns by how much the view differs from what guides it.

    What it predicts is the clean latent: that of the guiding picture plus the UNet's own output.
    """

    def __init__(self, unet: UNet2DConditionModel) -> None:
        """Keep the UNet."""
        super().__init__()
        # diffusers' classes have no types that mypy could follow.
        self.unet: Any = unet

    @property
    def config(self) -> Any:
        """The configuration of the UNet."""
        return self.unet.config

    def forward(
        self, sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor
    ) -> SimpleNamespace:
        """Return ``sample``, the latents (n, 64, 32, 32); arguments as diffusers' UNet has."""
        found = self.unet(sample, timestep, encoder_hidden_states=encoder_hidden_states).sample
        guiding = guiding_picture(sample[:, 2 * _LATENT:])
        return SimpleNamespace(sample=found + functional.pixel_unshuffle(guiding, PATCH))


def make_components(features: int) -> Zero123Components:
    """Return the denoiser's parts, not yet trained, for so many features of the volume."""
    unet: Any = UNet2DConditionModel(
        sample_size=LATENT_PIXELS,
        in_channels=2 * _LATENT + guide_channels(features),
        out_channels=_LATENT,
        block_out_channels=(64, 96, 128),
        layers_per_block=1,
        cross_attention_dim=_EMBEDDING,
        attention_head_dim=4,
        down_block_types=('DownBlock2D', 'DownBlock2D', 'CrossAttnDownBlock2D'),
        up_block_types=('CrossAttnUpBlock2D', 'UpBlock2D', 'UpBlock2D'),
        norm_num_groups=16,
    )
    # It begins with the guiding picture as it is.
    nn.init.zeros_(unet.conv_out.weight)
    nn.init.zeros_(unet.conv_out.bias)
    encoder = CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=128, intermediate_size=384, num_hidden_layers=3, num_attention_heads=4,
            image_size=96, patch_size=12, projection_dim=_EMBEDDING,
        )
    )
    scheduler = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule='scaled_linear', clip_sample=False,
        set_alpha_to_one=False, steps_offset=1, prediction_type='sample',
        # Without it the first step would still show the mean colours of what is to be made, and
        # the network learn to read them there (Lin et al., 2024).
        rescale_betas_zero_snr=True,
    )
    return Zero123Components(
        unet=GuidedUNet(unet),
        vae=PixelCodec(),
        image_encoder=ColorEncoder(encoder),
        cc_projection=PoseProjection(_EMBEDDING, 4),
        scheduler=scheduler,
        family='small',
    )


def tensors(observation: Observation, device: torch.device | str) -> dict[str, Tensor]:
    """Return the arguments of ``CoarseNet`` for one view, each with a batch of one."""
    picture = np.ascontiguousarray(observation.picture.transpose(2, 0, 1))
    found = {
        'picture': torch.from_numpy(picture).float() / 255.0,
        'depth': torch.from_numpy(observation.depth),
        'focal': torch.from_numpy(observation.focal),
        'centre': torch.from_numpy(observation.centre),
        'pose': torch.from_numpy(observation.pose),
        'flags': torch.from_numpy(observation.flags),
    }
    return {name: value[None].to(device) for name, value in found.items()}


def write_small(
    folder: Path,
    coarse: CoarseNet,
    components: Zero123Components,
    dtype: torch.dtype = torch.float16,
) -> None:
    """
    Write the small weights into a folder.

    Where they are in half precision the coarse network, which is half of them, is in eight bits.
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
        config = {**network.config} if name == 'unet' else network.config.to_diff_dict()
        if '_use_default_values' in config:
            # diffusers lists them in the order of a set, which is another in each process.
            config['_use_default_values'] = sorted(config['_use_default_values'])
        write_network(folder / name, network, config, dtype)
    components.scheduler.save_pretrained(folder / 'scheduler')


def read_small(folder: Path, device: torch.device | str = 'cpu') -> SmallNetworks:
    """
    Return the networks of a folder in float32.

    Raises ``LiftError``: ``WEIGHTS_MISSING`` where a part is not there, ``WEIGHTS_CORRUPT`` where
    it does not fit.
    """
    settings = {name: read_config(folder / name)
                for name in ('coarse', 'cc_projection', 'unet', 'image_encoder')}
    coarse = made_as_stored(
        folder / 'coarse', lambda: CoarseNet(CoarseConfig(**settings['coarse'])))
    projection = made_as_stored(
        folder / 'cc_projection', lambda: PoseProjection(**settings['cc_projection']))
    unet: Any = made_as_stored(
        folder / 'unet', lambda: UNet2DConditionModel.from_config(settings['unet']))
    vision = made_as_stored(
        folder / 'image_encoder', lambda: CLIPVisionModelWithProjection(
            CLIPVisionConfig.from_dict(settings['image_encoder'])))
    try:
        scheduler = DDIMScheduler.from_config(
            read_settings(folder / 'scheduler' / 'scheduler_config.json'))
    except FileNotFoundError as error:
        raise missing(folder / 'scheduler') from error
    except (ArithmeticError, AttributeError, LookupError, OSError, RuntimeError, TypeError,
            ValueError) as error:
        raise corrupt(folder, error) from error
    for name, network in (
        ('coarse', coarse), ('cc_projection', projection), ('unet', unet),
        ('image_encoder', vision),
    ):
        read_state(folder / name, network)
        network.eval().requires_grad_(False).to(device)
    elevation, monocular = folder / 'elevation', folder / 'monocular'
    return SmallNetworks(
        coarse,
        Zero123Components(
            GuidedUNet(unet), PixelCodec(), ColorEncoder(vision), projection, scheduler, 'small'
        ),
        read_elevation(elevation, device) if elevation.is_dir() else None,
        read_monocular(monocular, device) if monocular.is_dir() else None,
    )
