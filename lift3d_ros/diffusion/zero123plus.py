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
Zero123++: one image of an object in, six views around it out, as the tiles of a single picture.

The six views share one denoising (Shi et al. 2023), so that they agree with each other. The input
image is seen in two ways: its noisy latent passes through the network first, and each
self-attention of the target attends to what it met there (reference attention); and its global
CLIP embedding is added to the tokens of the empty text.

Written from the published description and constants. Without the published weights these are
unproven: that the whole gives the published pictures; whether the unconditional tokens are the
empty text alone, as here; and the field of view of v1.1.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from diffusers.models.attention_processor import AttnProcessor2_0
import torch

from lift3d_ros.diffusion.clip import as_image_encoder
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.progress import Progress

#: Tiles of the picture, rows and columns; the published tile is 320 x 320.
ROWS, COLUMNS = 3, 2


@dataclass(frozen=True)
class SixViews:
    """
    Where the six cameras stand, tile by tile, row by row.

    - ``azimuths``: degrees relative to the input.
    - ``elevations``: degrees, absolute, whatever the elevation of the input.
    - ``fov``: degrees, None where it was not published.
    """

    azimuths: tuple[float, ...]
    elevations: tuple[float, ...]
    fov: float | None


_AZIMUTHS = (30.0, 90.0, 150.0, 210.0, 270.0, 330.0)
VIEWS_V11 = SixViews(_AZIMUTHS, (30.0, -20.0) * 3, None)
VIEWS_V12 = SixViews(_AZIMUTHS, (20.0, -10.0) * 3, 30.0)

#: The grey behind the objects, of 255.
BACKGROUND = 127

#: As published.
GUIDANCE_SCALE, STEPS = 4.0, 28


def split_tiles(picture: torch.Tensor) -> torch.Tensor:
    """
    Return the six views (6, c, h, w) of a picture (c, 3 h, 2 w), row by row.

    Raises ``LiftError(BAD_REQUEST)`` for a picture that six tiles do not fill.
    """
    if picture.ndim != 3 or picture.shape[1] % ROWS or picture.shape[2] % COLUMNS:
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            f'A picture of the shape {tuple(picture.shape)} has no {ROWS} x {COLUMNS} tiles; '
            'give (channels, height, width), as 3 x 960 x 640.',
        )
    c, height, width = picture.shape
    tiles = picture.view(c, ROWS, height // ROWS, COLUMNS, width // COLUMNS)
    return tiles.permute(1, 3, 0, 2, 4).reshape(-1, c, height // ROWS, width // COLUMNS)


def join_tiles(views: torch.Tensor) -> torch.Tensor:
    """Return the picture (c, 3 h, 2 w) of six views (6, c, h, w); undoes ``split_tiles``."""
    _, c, h, w = views.shape
    tiles = views.view(ROWS, COLUMNS, c, h, w).permute(2, 0, 3, 1, 4)
    return tiles.reshape(c, ROWS * h, COLUMNS * w)


def scale_latents(latents: torch.Tensor) -> torch.Tensor:
    """Return target latents as the denoiser has them."""
    return (latents - 0.22) * 0.75


def unscale_latents(latents: torch.Tensor) -> torch.Tensor:
    """Undo ``scale_latents``."""
    return latents / 0.75 + 0.22


def scale_image(image: torch.Tensor) -> torch.Tensor:
    """Return a target image in [-1, 1] as the autoencoder has it."""
    return image * 0.5 / 0.8


def unscale_image(image: torch.Tensor) -> torch.Tensor:
    """Undo ``scale_image``."""
    return image / 0.5 * 0.8


class ReferenceAttention:
    """
    A self-attention that keeps what it sees of the reference, and attends to it for the target.

    It stands before the attention that diffusers computes. While ``record`` is set, the states
    that keys and values are made of are kept; else those kept are put behind the target's own.
    """

    def __init__(self) -> None:
        """Begin without a reference, as plain self-attention."""
        self.record = False
        self.kept: torch.Tensor | None = None
        self._attention = AttnProcessor2_0()

    def __call__(
        self,
        attn: Any,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        **options: Any,
    ) -> torch.Tensor:
        """Attend; ``hidden_states`` is (n, tokens, channels)."""
        seen = hidden_states
        if self.record:
            self.kept = hidden_states
        elif self.kept is not None:
            seen = torch.cat([hidden_states, self.kept], dim=1)
        return self._attention(attn, hidden_states, seen, attention_mask, **options)


@contextmanager
def reference_attention(unet: Any) -> Iterator[list[ReferenceAttention]]:
    """Give every self-attention of a diffusers UNet a reference, and put back what was there."""
    before = unet.attn_processors
    references = {
        name: ReferenceAttention() for name in before if name.endswith('attn1.processor')
    }
    unet.set_attn_processor({**before, **references})
    try:
        yield list(references.values())
    finally:
        unet.set_attn_processor(before)


@dataclass
class Zero123PlusComponents:
    """
    The parts of a Zero123++ model, as diffusers and transformers load them.

    - ``unet``, ``vae``: of Stable Diffusion 2; ``vision_encoder``: CLIP ViT-H with projection.
    - ``scheduler``: ``EulerAncestralDiscreteScheduler``, v-prediction, trailing spacing.
    - ``empty_text``: (1, tokens, width), the text encoder's output for the empty prompt; it never
      changes, so that neither tokenizer nor text encoder is needed.
    - ``ramping_coefficients``: (tokens,), how much of the image embedding each token gets.
    """

    unet: Any
    vae: Any
    vision_encoder: Any
    scheduler: Any
    empty_text: torch.Tensor
    ramping_coefficients: torch.Tensor


@torch.no_grad()
def synthesize_six(
    components: Zero123PlusComponents,
    image: torch.Tensor,
    *,
    steps: int = STEPS,
    guidance_scale: float = GUIDANCE_SCALE,
    seed: int = 0,
    tile: int = 320,
    progress: Progress | None = None,
) -> torch.Tensor:
    """
    Return the six views, float32 (6, 3, tile, tile) in [-1, 1]; cameras as ``VIEWS_V12`` says.

    ``image`` is (3, s, s) in [-1, 1], the object on grey (``BACKGROUND``). The networks run where
    they are and in the precision that they have. Raises ``LiftError``: ``BAD_REQUEST`` for an
    image of another shape, ``CANCELLED``, ``TIMEOUT``.
    """
    progress = progress or Progress()
    if image.ndim != 3 or image.shape[0] != 3 or not torch.isfinite(image).all():
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            f'The input image has the shape {tuple(image.shape)}; it must be (3, height, width), '
            'finite numbers in [-1, 1].',
        )
    unet, vae = components.unet, components.vae
    parameter = next(unet.parameters())
    device, dtype = parameter.device, parameter.dtype
    generator = torch.Generator().manual_seed(seed)

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator).to(device, dtype)

    # The unconditional branch comes first: the latent of a zero image, and the empty text alone.
    pictures = torch.stack([torch.zeros_like(image), image]).to(device, dtype)
    posterior = vae.encode(pictures).latent_dist
    reference = posterior.mean + posterior.std * noise(*posterior.mean.shape)
    embedding = as_image_encoder(components.vision_encoder).embed(image[None].to(device))
    ramp = components.ramping_coefficients.to(device, dtype).view(1, -1, 1)
    empty = components.empty_text.to(device, dtype)
    tokens = torch.cat([empty, empty + embedding[:, None].to(dtype) * ramp])

    scheduler = type(components.scheduler).from_config(components.scheduler.config)
    scheduler.set_timesteps(steps, device=device)
    # Each level of the autoencoder but the last halves the picture.
    reduction = 2 ** (len(vae.config.block_out_channels) - 1)
    height, width = ROWS * tile // reduction, COLUMNS * tile // reduction
    latents = noise(1, unet.config.out_channels, height, width) * scheduler.init_noise_sigma
    with reference_attention(unet) as references:
        for i, timestep in enumerate(scheduler.timesteps):
            progress.check('views', 0.9 * i / len(scheduler.timesteps))
            # The reference is as noisy as the target; both rows have the same noise.
            fresh = noise(1, *reference.shape[1:]).expand_as(reference)
            noisy = scheduler.add_noise(reference, fresh, timestep[None])
            for attention in references:
                attention.record = True
            unet(
                scheduler.scale_model_input(noisy, timestep),
                timestep,
                encoder_hidden_states=tokens,
            )
            for attention in references:
                attention.record = False
            rows = scheduler.scale_model_input(latents.expand(2, -1, -1, -1), timestep)
            prediction = unet(rows, timestep, encoder_hidden_states=tokens).sample
            without, with_ = prediction.float().chunk(2)
            guided = without + guidance_scale * (with_ - without)
            latents = scheduler.step(
                guided, timestep, latents.float(), generator=generator
            ).prev_sample.to(dtype)
    progress.check('views', 0.9)
    decoded = vae.decode(unscale_latents(latents) / vae.config.scaling_factor).sample
    picture = unscale_image(decoded.float()).clamp(-1.0, 1.0).cpu()
    progress.check('views', 1.0)
    return split_tiles(picture[0])
