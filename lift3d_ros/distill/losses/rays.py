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
Losses of the opacity of rays and of the weights of their samples.

Weights (n, s) are the shares that the samples of n rays contribute to their colours; opacities
(...) are the sums of a ray's weights, in [0, 1].
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from lift3d_ros.errors import bad_request
from lift3d_ros.fields import rays as field_rays

#: Forms of ``emptiness``.
EMPTINESS = ('paper', 'code')


def distortion(weights: Tensor, starts: Tensor, ends: Tensor) -> Tensor:
    """
    Return the mean distortion of rays, which is 0 for all weight in one thin sample.

    ``starts`` and ``ends`` (n, s) are the normalised distances of the samples' ends, rising along
    the ray; see ``fields.rays.distortion``.
    """
    return field_rays.distortion(weights, starts, ends).mean()


def orientation(
    weights: Tensor, normals: Tensor, directions: Tensor, rays: Tensor | int
) -> Tensor:
    """
    Return the penalty of normals that face away from the camera, per ray.

    ``weights`` (...) of samples, ``normals`` (..., 3), unit vectors out of the surface, and
    ``directions`` (..., 3), unit vectors of their rays; ``rays`` is the number of rays that hit
    something. It is sum w max(0, normal . direction)^2 / rays, the weights without gradient
    (Verbin et al., Ref-NeRF, 2022; threestudio, ``systems/zero123.py``).
    """
    away = functional.relu((normals * directions).sum(-1)).square()
    return (weights.detach() * away).sum() / max(1, int(rays))


def binary_entropy(opacity: Tensor) -> Tensor:
    """
    Return the mean binary entropy of opacities, bits (RealFusion, ``nerf/trainer.py``).

    Opacities are clamped to 1e-5 of 0 and 1.
    """
    a = opacity.clamp(1e-5, 1.0 - 1e-5)
    return -(a * a.log2() + (1.0 - a) * (1.0 - a).log2()).mean()


def opaque(opacity: Tensor) -> Tensor:
    """
    Return the binary cross-entropy of opacities with themselves, nats.

    Opacities are clamped to [1e-3, 1 - 1e-3], and both arguments receive gradients (threestudio,
    ``systems/zero123.py``).
    """
    a = opacity.clamp(1e-3, 1.0 - 1e-3)
    return -(a * a.log() + (1.0 - a) * (1.0 - a).log()).mean()


def squared_opacity(opacity: Tensor) -> Tensor:
    """Return the mean squared opacity (NeuralLift-360, ``nerf/utils_neurallift.py``)."""
    return opacity.square().mean()


def sparsity(opacity: Tensor) -> Tensor:
    """Return the mean of sqrt(opacity^2 + 0.01) (threestudio, ``systems/zero123.py``)."""
    return (opacity.square() + 0.01).sqrt().mean()


def emptiness(weights: Tensor, scale: float = 10.0, form: str = 'paper') -> Tensor:
    """
    Return a penalty of weights (n, s) that are spread along their rays.

    ``paper`` is the mean of log(1 + scale w) (Wang et al., score Jacobian chaining, 2023;
    threestudio, ``systems/sjc.py``); ``code`` the mean of -w log(1 + scale w) / 2, which rewards
    weight in few samples and is never positive (Zero-1-to-3, ``3drec/``).

    Raises ``LiftError(BAD_REQUEST)`` for another form.
    """
    if form not in EMPTINESS:
        raise bad_request(f'There is no emptiness "{form}"; choose {" or ".join(EMPTINESS)}.')
    logarithm = torch.log1p(scale * weights)
    return logarithm.mean() if form == 'paper' else (-0.5 * weights * logarithm).mean()
