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
Textual inversion: the token of an object from one picture.

The token descends the denoising loss of variations of the picture while the network stays as it
is (Gal et al., An Image is Worth One Word, 2023). RealFusion guides with the result
(``textual-inversion/main.py``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from lift3d_ros.distill.optimisation import step_generator
from lift3d_ros.distill.priors.prior import NoiseSchedule
from lift3d_ros.errors import bad_request
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError

#: Draws ``count`` variations of the picture, premultiplied RGBA (count, 4, h, w) in [0, 1], as
#: ``picture_augmentation.AugmentedPicture`` does.
Pictures = Callable[[torch.Generator, int], Tensor]

LOSSES = ('epsilon', 'v_prediction', 'sample')


class InvertiblePrior(Protocol):
    """A prior whose condition has an embedding that can be learned."""

    @property
    def schedule(self) -> NoiseSchedule:
        """The noise levels."""

    def encode(self, images: Tensor) -> Tensor:
        """Return latents of premultiplied RGBA; see ``DiffusionPrior``."""

    def embedding(self, start: str | None = None) -> Tensor:
        """
        Return an embedding (n, width) to start from, float32.

        ``start`` is a word of the prior's vocabulary; None is the null token.
        """

    def predict_with(
        self, embedding: Tensor, noisy: Tensor, timesteps: Tensor, generator: torch.Generator
    ) -> Tensor:
        """
        Return E[x0 | x_t] without guidance, with gradients by ``embedding`` (n, width).

        ``noisy`` (b, c, h, w), ``timesteps`` (b,). ``generator`` is for what the prior varies in
        its condition, such as templates of prompts.
        """


@dataclass(frozen=True)
class InversionSettings:
    """
    Settings of the inversion; the defaults are RealFusion's.

    - ``steps``, ``batch``: published as batch 1 and accumulation 4; ``rate``: of AdamW, constant,
      multiplied by ``batch``; ``decay``: of weights.
    - ``loss``: the error whose square is descended, by diffusers' prediction type: ``epsilon``
      (the noise), ``v_prediction`` or ``sample`` (the clean latents).
    - ``timesteps``: range of the noise levels, shares of their number.
    - ``start``: see ``InvertiblePrior.embedding``; ``seed``: of noise and variations.
    """

    steps: int = 3000
    batch: int = 4
    rate: float = 5e-4
    decay: float = 0.01
    loss: str = 'epsilon'
    timesteps: tuple[float, float] = (0.0, 1.0)
    start: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise ``LiftError(BAD_REQUEST)`` for invalid settings."""
        low, high = self.timesteps
        if self.steps < 1 or self.batch < 1 or not self.rate > 0.0 or not self.decay >= 0.0:
            raise bad_request(
                f'An inversion of {self.steps} steps of {self.batch} pictures at the rate '
                f'{self.rate} is requested; steps, batch and rate must be more than 0.')
        if not 0.0 <= low < high <= 1.0:
            raise bad_request(
                f'The timesteps of the inversion are {low} to {high}; give two rising shares.')
        if self.loss not in LOSSES:
            raise bad_request(
                f'There is no loss "{self.loss}"; choose one of {", ".join(LOSSES)}.')


@dataclass(frozen=True, eq=False)
class Inversion:
    """``embedding`` (n, width), the learned one, and the ``losses`` (steps,) on the way."""

    embedding: Tensor
    losses: Tensor


def invert(
    prior: InvertiblePrior,
    pictures: Pictures,
    settings: InversionSettings | None = None,
    start: Tensor | None = None,
    check: Callable[[], None] = lambda: None,
) -> Inversion:
    """
    Return the embedding with which the prior denoises the pictures best.

    ``start`` (n, width) takes the place of ``settings.start``. ``check`` is called in each step
    and may raise, to cancel.

    Raises ``LiftError(BAD_REQUEST)`` for a start of another width, and if the loss is not finite.
    """
    settings = settings or InversionSettings()
    first = prior.embedding(settings.start)
    if start is not None:
        if start.ndim != 2 or start.shape[1] != first.shape[1]:
            raise bad_request(
                f'The embedding to start from has the shape {tuple(start.shape)}; this prior '
                f'takes (n, {first.shape[1]}).')
        first = start
    embedding = first.detach().float().clone().requires_grad_()
    optimizer = torch.optim.AdamW(
        [embedding], lr=settings.rate * settings.batch, weight_decay=settings.decay)
    levels = prior.schedule.timesteps
    low, high = (round(share * levels) for share in settings.timesteps)
    losses = []
    for step in range(settings.steps):
        check()
        generator = step_generator(settings.seed, step)
        with torch.no_grad():
            clean = prior.encode(pictures(generator, settings.batch))
        timesteps = torch.randint(low, max(high, low + 1), (len(clean),), generator=generator)
        noise = torch.randn(clean.shape, generator=generator).to(clean)
        with torch.enable_grad():
            loss = denoising_loss(
                prior, embedding, clean, noise, timesteps, generator, settings.loss)
        if not bool(torch.isfinite(loss)):
            raise LiftError(
                ErrorCode.BAD_REQUEST,
                f'The inversion diverged at step {step}; lower its rate.')
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return Inversion(embedding.detach(), torch.stack(losses).float().cpu())


def denoising_loss(
    prior: InvertiblePrior,
    embedding: Tensor,
    clean: Tensor,
    noise: Tensor,
    timesteps: Tensor,
    generator: torch.Generator,
    kind: str = 'epsilon',
) -> Tensor:
    """
    Return the mean squared error of the prediction, with gradients by ``embedding`` (n, width).

    ``clean`` and ``noise`` (b, c, h, w), ``timesteps`` (b,). The error of the clean latents is
    that of the noise times sqrt((1 - ab) / ab), and that of the velocity times sqrt(1 - ab).
    """
    schedule = prior.schedule
    noisy = schedule.add_noise(clean, noise, timesteps)
    error = prior.predict_with(embedding, noisy, timesteps, generator) - clean
    ab = schedule.alpha_bar(timesteps, clean)
    if kind == 'epsilon':
        error = error * (ab / (1.0 - ab)).sqrt()
    elif kind == 'v_prediction':
        error = error / (1.0 - ab).sqrt()
    return error.square().mean()
