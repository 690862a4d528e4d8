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
Imagic: a prior learns the one picture of an object, and keeps what its prompt says.

First the hidden states of the prompt descend the denoising loss of the picture, then the denoiser
does; the condition is the line from these states through those of the prompt (Kawar et al.,
Imagic, 2023; NeuralLift-360, ``imagic.py``).
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from lift3d_ros.diffusion.token_denoiser import VIEW_WORDS
from lift3d_ros.distill.adaptation.inversion import Pictures
from lift3d_ros.distill.optimisation import step_generator
from lift3d_ros.distill.priors.latent_diffusion import LatentDiffusionPrior
from lift3d_ros.errors import bad_request
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError


@dataclass(frozen=True)
class ImagicSettings:
    """
    Settings of the adaptation; the defaults are NeuralLift-360's.

    - ``embedding_steps``, ``embedding_rate``: of the hidden states; ``network_steps``,
      ``network_rate``: of the denoiser. Adam at constant rates.
    - ``interpolation``: a in a states_of_prompt + (1 - a) learned_states.
    """

    embedding_steps: int = 500
    embedding_rate: float = 1e-3
    network_steps: int = 1000
    network_rate: float = 2e-6
    interpolation: float = 1.2
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise ``LiftError(BAD_REQUEST)`` for invalid settings."""
        if min(self.embedding_steps, self.network_steps) < 0 or not (
                self.embedding_rate > 0.0 and self.network_rate > 0.0):
            raise bad_request('Steps of the adaptation are counts, and rates positive.')


def adapt_imagic(
    prior: LatentDiffusionPrior,
    pictures: Pictures,
    settings: ImagicSettings | None = None,
    word: str = 'front',
    check: Callable[[], None] = lambda: None,
) -> LatentDiffusionPrior:
    """
    Return a prior that knows the object; ``prior`` stays unchanged.

    ``word`` is that of the view of the picture. ``check`` is called in each step and may raise.

    Raises ``LiftError(BAD_REQUEST)`` if the loss is not finite.
    """
    settings = settings or ImagicSettings()
    states = prior.text[word].float().clone().requires_grad_()
    descend(
        prior, pictures, lambda: states, [states], settings.embedding_steps,
        settings.embedding_rate, settings.seed, check)
    learned = states.detach()
    own = copy.deepcopy(prior.unet)
    dtype = own.dtype
    # Half precision rounds steps of 2e-6 to nothing.
    tuned = prior.adapted(own.float().requires_grad_(True).train())
    descend(
        tuned, pictures, lambda: learned, own.parameters(), settings.network_steps,
        settings.network_rate, settings.seed + 1, check)
    own.to(dtype).eval().requires_grad_(False)
    a = settings.interpolation
    text = {name: a * prior.text[name].float() + (1.0 - a) * learned for name in VIEW_WORDS}
    return tuned.adapted(own, text)


def descend(
    prior: LatentDiffusionPrior,
    pictures: Pictures,
    text: Callable[[], Tensor],
    parameters: Iterable[Tensor],
    steps: int,
    rate: float,
    seed: int,
    check: Callable[[], None],
) -> float:
    """
    Descend the denoising loss of pictures by Adam; return its mean of the last tenth.

    ``text`` returns the hidden states (1, length, width). All noise levels are equally likely.
    """
    optimizer = torch.optim.Adam(parameters, lr=rate)
    losses = []
    for step in range(steps):
        check()
        generator = step_generator(seed, step)
        with torch.no_grad():
            clean = prior.encode(pictures(generator, 1))
        noise = torch.randn(clean.shape, generator=generator).to(clean)
        levels = torch.randint(prior.schedule.timesteps, (len(clean),), generator=generator)
        loss = prior.denoising_loss(
            clean, noise, levels, text().expand(len(clean), -1, -1))
        if not bool(torch.isfinite(loss)):
            raise LiftError(
                ErrorCode.BAD_REQUEST, f'The adaptation diverged at step {step}; lower its rate.')
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    last = losses[-max(1, steps // 10):]
    return sum(last) / len(last) if last else 0.0
