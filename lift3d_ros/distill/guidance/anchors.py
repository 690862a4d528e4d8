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
Regression to anchor views: images of the prior made once at high noise.

A weak denoiser knows something only at high noise. Its clean images from pure noise are the means
of its views; regressing the field to them costs one denoising a view instead of one a step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lift3d_ros.distill.cameras import Cameras
from lift3d_ros.distill.priors.prior import DiffusionPrior
from lift3d_ros.errors import bad_request


@dataclass(frozen=True, eq=False)
class AnchorViews:
    """
    The prior's latents of fixed cameras.

    - ``latents``: (n, c, h, w) in the space of ``DiffusionPrior.encode``.
    - ``cameras``: n of them.
    - ``weights``: (n,), relative confidence of the views.
    - ``prior``: whose latents they are.
    """

    latents: Tensor
    cameras: Cameras
    weights: Tensor
    prior: DiffusionPrior

    def encode(self, images: Tensor) -> Tensor:
        """Return the latents of renderings; see ``DiffusionPrior.encode``."""
        return self.prior.encode(images)

    def loss(self, encoded: Tensor, index: Tensor) -> Tensor:
        """
        Return the weighted mean squared difference to renderings of the anchors ``index`` (b,).

        ``encoded`` (b, c, h, w) are the renderings in the prior's space.
        """
        squares = (encoded - self.latents[index].to(encoded)).square().flatten(1).mean(1)
        return (self.weights[index].to(encoded) * squares).mean()


@torch.no_grad()
def make_anchors(
    prior: DiffusionPrior,
    cameras: Cameras,
    shape: tuple[int, int, int],
    generator: torch.Generator,
    timestep: int | None = None,
    draws: int = 1,
    check: Callable[[], None] = lambda: None,
) -> AnchorViews:
    """
    Return the prior's clean latents at each camera from noise alone.

    ``shape`` is (c, h, w) of the latents, ``timestep`` the noise level, by default the noisiest;
    the result is the mean of ``draws`` draws of the noise. ``check`` is called between the views
    and may raise.

    Raises ``LiftError(BAD_REQUEST)`` for a level that the prior does not have, and for no draw.
    """
    levels = prior.schedule.timesteps
    timestep = levels - 1 if timestep is None else timestep
    if not 0 <= timestep < levels or draws < 1:
        raise bad_request(
            f'Anchors of {draws} draws at the timestep {timestep} are requested; choose at least '
            f'one draw at a timestep below {levels}.')
    level = torch.tensor([timestep])
    views = []
    for index in range(len(cameras)):
        condition = prior.condition(cameras.poses[index:index + 1])
        total = torch.zeros(1, *shape)
        for _ in range(draws):
            check()
            noise = torch.randn((1, *shape), generator=generator)
            total += prior.predict_x0(noise, level, condition).float().cpu()
        views.append(total / draws)
    return AnchorViews(torch.cat(views), cameras, torch.ones(len(cameras)), prior)


def anchor_ring(
    azimuths: int, elevations: tuple[float, ...], radius: float, fov: float
) -> Cameras:
    """
    Return cameras on rings: ``azimuths`` on each, staggered from ring to ring, degrees.

    The first ring starts at azimuth 0, the input camera's.
    """
    turns, heights = [], []
    for ring, elevation in enumerate(elevations):
        step = 360.0 / azimuths
        turns += [step * (index + ring / len(elevations)) for index in range(azimuths)]
        heights += [elevation] * azimuths
    return Cameras.orbit(
        torch.tensor(turns), torch.tensor(heights), torch.full((len(turns),), radius), fov)
