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
Score distillation: the gradient of a prior at a rendering.

All forms compare latents z with the prior's E[x0 | x_t]. Score distillation sampling (Poole et
al., DreamFusion, 2023) and score Jacobian chaining (Wang et al., 2023) omit the Jacobian of the
network: their gradient is injected at z. The gradients are that of a descent: z moves against
them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lift3d_ros.distill.priors.prior import DiffusionPrior
from lift3d_ros.distill.priors.prior import NoiseSchedule
from lift3d_ros.errors import bad_request

#: Weights w of a timestep: ``dreamfusion`` 1 - ab, ``uniform`` 1, ``fantasia3d``
#: sqrt(ab) (1 - ab).
WEIGHTINGS = ('dreamfusion', 'uniform', 'fantasia3d')


def weight(schedule: NoiseSchedule, timesteps: Tensor, like: Tensor, weighting: str) -> Tensor:
    """
    Return w of timesteps (b,), shaped as ``NoiseSchedule.alpha_bar``.

    Raises ``LiftError(BAD_REQUEST)`` for a weighting that is not of ``WEIGHTINGS``.
    """
    ab = schedule.alpha_bar(timesteps, like)
    if weighting == 'dreamfusion':
        return 1.0 - ab
    if weighting == 'uniform':
        return torch.ones_like(ab)
    if weighting == 'fantasia3d':
        return ab.sqrt() * (1.0 - ab)
    raise bad_request(
        f'There is no weighting "{weighting}"; choose one of {", ".join(WEIGHTINGS)}.')


@torch.no_grad()
def sds_gradient(
    prior: DiffusionPrior,
    latents: Tensor,
    timesteps: Tensor,
    noise: Tensor,
    condition: Any,
    weighting: str = 'dreamfusion',
) -> tuple[Tensor, Tensor]:
    """
    Return w (eps - noise), and the prior's x0, both of the shape of ``latents`` (b, c, h, w).

    eps is the noise that the prior predicts in x_t = sqrt(ab) z + sqrt(1 - ab) noise (DreamFusion,
    equation 3). ``timesteps`` is (b,), ``noise`` standard normal.
    """
    schedule = prior.schedule
    noisy = schedule.add_noise(latents, noise, timesteps)
    clean = prior.predict_x0(noisy, timesteps, condition)
    eps = schedule.epsilon(noisy, clean, timesteps)
    return weight(schedule, timesteps, latents, weighting) * (eps - noise), clean


@torch.no_grad()
def sjc_gradient(
    prior: DiffusionPrior,
    latents: Tensor,
    timesteps: Tensor,
    noise: Tensor,
    condition: Any,
    variance_reduced: bool = True,
) -> tuple[Tensor, Tensor]:
    """
    Return minus the score, and the prior's x0, both of the shape of ``latents`` (b, c, h, w).

    The perturbed latents are y + sigma n, the network sees them divided by sqrt(1 + sigma^2). The
    score is (D - y) / sigma; without ``variance_reduced`` (D - (y + sigma n)) / sigma, which has
    the same mean (Wang et al., 2023; Zero-1-to-3, ``3drec/``).

    Raises ``LiftError(BAD_REQUEST)`` at a level without signal, whose sigma is infinite.
    """
    schedule = prior.schedule
    sigma = schedule.sigma(timesteps, latents)
    if not bool(torch.isfinite(sigma).all()):
        raise bad_request(
            'Score Jacobian chaining has no step at a level without signal; lower the largest '
            'timestep.')
    perturbed = latents + sigma * noise
    noisy = perturbed / (1.0 + sigma.square()).sqrt()
    clean = prior.predict_x0(noisy, timesteps, condition)
    start = latents if variance_reduced else perturbed
    return -(clean - start) / sigma, clean


@torch.no_grad()
def x0_gradient(
    prior: DiffusionPrior,
    latents: Tensor,
    timesteps: Tensor,
    noise: Tensor,
    condition: Any,
    weighting: str = 'uniform',
) -> tuple[Tensor, Tensor]:
    """
    Return w (z - x0), and the prior's x0, both of the shape of ``latents`` (b, c, h, w).

    It is SDS without the factor sqrt(ab / (1 - ab)), which is 0 where there is no signal: a prior
    that is useful only at high noise keeps its weight (Zhu et al., HiFA, 2024).
    """
    noisy = prior.schedule.add_noise(latents, noise, timesteps)
    clean = prior.predict_x0(noisy, timesteps, condition)
    return weight(prior.schedule, timesteps, latents, weighting) * (latents - clean), clean


def injected(latents: Tensor, gradient: Tensor) -> Tensor:
    """
    Return the loss whose gradient at ``latents`` (b, ...) is ``gradient`` / b.

    It is |z - sg(z - gradient)|^2 / (2 b). Published code replaces gradients that are not finite
    by 0; here they stay, so that a diverging run is stopped.
    """
    target = (latents - gradient).detach()
    return 0.5 * (latents - target).square().sum() / len(latents)
