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

"""Between images and the latents that the denoiser works on."""

from __future__ import annotations

from typing import Any
from typing import Protocol

import torch


class LatentCodec(Protocol):
    """
    What turns images into latents and back; any number of channels, any reduction in size.

    Images are (n, c, height, width) in [-1, 1]. Latents of the condition and of the target have
    the same height and width, for they enter the denoiser side by side.
    """

    def encode_condition(self, images: torch.Tensor) -> torch.Tensor:
        """Return the latents (n, c_condition, h, w) that tell the denoiser what the input is."""

    def encode_target(
        self, images: torch.Tensor, generator: torch.Generator | None = None
    ) -> torch.Tensor:
        """Return the latents (n, c_target, h, w) that the denoiser learns to make."""

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Return the images of target latents."""


class AutoencoderKLCodec:
    """
    A diffusers ``AutoencoderKL``, used as Zero-1-to-3 uses it.

    The condition is the mode of the posterior *without* the scaling factor, the target is
    multiplied by it (Zero-1-to-3, ``ldm/models/diffusion/ddpm.py``).
    """

    def __init__(self, vae: Any) -> None:
        """Keep the autoencoder; its configuration holds the scaling factor."""
        self.vae = vae

    def encode_condition(self, images: torch.Tensor) -> torch.Tensor:
        """Return the mode of the posterior, unscaled."""
        return self.vae.encode(images.to(self.vae.dtype)).latent_dist.mode()

    def encode_target(
        self, images: torch.Tensor, generator: torch.Generator | None = None
    ) -> torch.Tensor:
        """Return a scaled sample of the posterior, or its scaled mode without a generator."""
        posterior = self.vae.encode(images.to(self.vae.dtype)).latent_dist
        latents = posterior.mode() if generator is None else posterior.sample(generator)
        return latents * self.vae.config.scaling_factor

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Return the images of scaled latents; they may leave [-1, 1] a little."""
        unscaled = latents / self.vae.config.scaling_factor
        return self.vae.decode(unscaled.to(self.vae.dtype)).sample


def as_codec(vae: Any) -> LatentCodec:
    """Return what has ``encode_condition`` as it is, and an autoencoder behind its adapter."""
    return vae if hasattr(vae, 'encode_condition') else AutoencoderKLCodec(vae)
