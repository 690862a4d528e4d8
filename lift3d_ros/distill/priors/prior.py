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
The interface of a prior and its noise schedule.

A prior maps noisy latents to the expected clean latents, E[x0 | x_t]. Predictions of the noise or
of the velocity are the same function in other coordinates; the clean form has no singularity at
zero terminal signal-to-noise ratio.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from typing import Protocol

import torch
from torch import Tensor

from lift3d_ros.errors import bad_request


@dataclass(frozen=True, eq=False)
class NoiseSchedule:
    """
    The noise levels of a prior.

    ``alphas_cumprod`` (T,) is the falling product of 1 - beta, float64 in [0, 1). Noisy latents
    are x_t = sqrt(ab) x0 + sqrt(1 - ab) n; the variance-exploding form of the same level is
    x0 + sigma n with sigma = sqrt((1 - ab) / ab).
    """

    alphas_cumprod: Tensor

    def __post_init__(self) -> None:
        """Raise ``LiftError(BAD_REQUEST)`` unless the products fall within [0, 1)."""
        values = self.alphas_cumprod
        if (
            values.ndim != 1 or not len(values) or not values.is_floating_point()
            or not bool(((values >= 0.0) & (values < 1.0)).all())
            or bool((values[1:] > values[:-1]).any())
        ):
            raise bad_request(
                'alphas_cumprod of a prior must be a falling sequence within [0, 1).')

    @classmethod
    def scaled_linear(
        cls, steps: int = 1000, start: float = 0.00085, end: float = 0.012
    ) -> NoiseSchedule:
        """Return the schedule of Stable Diffusion: betas are the square of a linear ramp."""
        betas = torch.linspace(start**0.5, end**0.5, steps, dtype=torch.float64) ** 2
        return cls(torch.cumprod(1.0 - betas, 0))

    @classmethod
    def of_scheduler(cls, scheduler: Any) -> NoiseSchedule:
        """Return the schedule of a diffusers scheduler."""
        return cls(torch.as_tensor(scheduler.alphas_cumprod).double().cpu())

    @property
    def timesteps(self) -> int:
        """Number of noise levels."""
        return len(self.alphas_cumprod)

    def alpha_bar(self, timesteps: Tensor, like: Tensor) -> Tensor:
        """Return ab of timesteps (b,), as (b, 1, ..., 1) of the type and device of ``like``."""
        values = self.alphas_cumprod[timesteps.cpu()]
        return values.to(like).reshape(-1, *[1] * (like.ndim - 1))

    def sigma(self, timesteps: Tensor, like: Tensor) -> Tensor:
        """Return sigma of timesteps (b,), shaped as ``alpha_bar``; infinite where ab is 0."""
        ab = self.alpha_bar(timesteps, like)
        return ((1.0 - ab) / ab).sqrt()

    def add_noise(self, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Return x_t (b, ...) of clean latents and standard normal noise of that shape."""
        ab = self.alpha_bar(timesteps, clean)
        return ab.sqrt() * clean + (1.0 - ab).sqrt() * noise

    def epsilon(self, noisy: Tensor, clean: Tensor, timesteps: Tensor) -> Tensor:
        """Return the noise that makes ``noisy`` of ``clean``, both (b, ...)."""
        ab = self.alpha_bar(timesteps, noisy)
        return (noisy - ab.sqrt() * clean) / (1.0 - ab).sqrt()

    def velocity(self, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Return sqrt(ab) n - sqrt(1 - ab) x0 of latents and noise (b, ...)."""
        ab = self.alpha_bar(timesteps, clean)
        return ab.sqrt() * noise - (1.0 - ab).sqrt() * clean

    def clean(self, noisy: Tensor, prediction: Tensor, timesteps: Tensor, kind: str) -> Tensor:
        """
        Return the clean latents of a network's prediction.

        ``kind`` is the prediction type of diffusers: ``epsilon``, ``v_prediction`` or ``sample``.
        Raises ``LiftError(BAD_REQUEST)`` for another one, and for ``epsilon`` at a level without
        signal, where it defines no clean latents.
        """
        if kind == 'sample':
            return prediction
        ab = self.alpha_bar(timesteps, noisy)
        if kind == 'v_prediction':
            return ab.sqrt() * noisy - (1.0 - ab).sqrt() * prediction
        if kind != 'epsilon':
            raise bad_request(
                f'There is no prediction type "{kind}"; choose epsilon, v_prediction or sample.')
        if bool((ab <= 0.0).any()):
            raise bad_request(
                'A prior that predicts noise has no clean image at a level without signal; lower '
                'the largest timestep.')
        return (noisy - (1.0 - ab).sqrt() * prediction) / ab.sqrt()


class DiffusionPrior(Protocol):
    """A distribution of images, known by its denoiser; conditions are the prior's own values."""

    @property
    def schedule(self) -> NoiseSchedule:
        """The noise levels."""

    def encode(self, images: Tensor) -> Tensor:
        """
        Return latents (b, c, h', w') of renderings, with gradients.

        ``images`` are RGBA (b, 4, h, w) in [0, 1], the colour multiplied by alpha.
        """

    def condition(self, poses: Tensor) -> Any:
        """Return the condition of cameras, ``T_object_camera`` (b, 4, 4) of optical frames."""

    def predict_x0(self, noisy: Tensor, timesteps: Tensor, condition: Any) -> Tensor:
        """
        Return E[x0 | x_t], of the shape of ``noisy`` (b, c, h', w'), without gradients.

        ``timesteps`` (b,) are integers of the schedule.
        """
