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

"""The forms of guidance behind one function: a loss on renderings before known cameras."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field

import torch
from torch import Tensor

from lift3d_ros.distill.cameras import Cameras
from lift3d_ros.distill.cameras import view_word
from lift3d_ros.distill.guidance.clip import ClipGuidance
from lift3d_ros.distill.guidance.clip import inside_weight
from lift3d_ros.distill.guidance.score import injected
from lift3d_ros.distill.guidance.score import sds_gradient
from lift3d_ros.distill.guidance.score import sjc_gradient
from lift3d_ros.distill.guidance.score import weight
from lift3d_ros.distill.guidance.score import WEIGHTINGS
from lift3d_ros.distill.guidance.score import x0_gradient
from lift3d_ros.distill.priors.exact import on_white
from lift3d_ros.distill.priors.prior import DiffusionPrior
from lift3d_ros.distill.schedules import anisotropic_step
from lift3d_ros.distill.schedules import DREAMFUSION
from lift3d_ros.distill.schedules import TimestepRange
from lift3d_ros.errors import bad_request

#: The forms that denoise in each step; ``regress`` is ``guidance.anchors``.
FORMS = ('sds', 'sjc', 'x0')


@dataclass(frozen=True)
class GuidanceSettings:
    """
    Settings of score distillation.

    - ``form``: ``sds``, ``sjc`` or ``x0``; ``weighting``: one of ``score.WEIGHTINGS``, without
      effect on ``sjc``.
    - ``timesteps``: the range to draw from.
    - ``draws``: of the noise for each rendering; their gradients are averaged.
    - ``variance_reduced``: see ``score.sjc_gradient``.
    - ``delay``: steps by which the view from behind is late in ``timesteps``, see
      ``schedules.anisotropic_step``.
    - ``outside``: factor of the gradient outside of the box of what is opaque, see
      ``clip.inside_weight``.
    """

    form: str = 'sds'
    weighting: str = 'dreamfusion'
    timesteps: TimestepRange = DREAMFUSION
    draws: int = 1
    variance_reduced: bool = True
    delay: float = 0.0
    outside: float = 1.0

    def __post_init__(self) -> None:
        """Raise ``LiftError(BAD_REQUEST)`` for invalid settings."""
        if self.form not in FORMS:
            raise bad_request(
                f'There is no guidance "{self.form}"; choose one of {", ".join(FORMS)}.')
        if self.weighting not in WEIGHTINGS:
            raise bad_request(
                f'There is no weighting "{self.weighting}"; choose one of '
                f'{", ".join(WEIGHTINGS)}.')
        if self.draws < 1:
            raise bad_request(f'{self.draws} draws of the noise are requested; choose at least 1.')


@dataclass(frozen=True, eq=False)
class ScoreGuidance:
    """A prior and the form in which it guides; ``clip`` adds CLIP guidance to its clean images."""

    prior: DiffusionPrior
    settings: GuidanceSettings = field(default_factory=GuidanceSettings)
    clip: ClipGuidance | None = None

    def loss(
        self,
        images: Tensor,
        cameras: Cameras,
        step: float,
        generator: torch.Generator,
        opacity: Tensor | None = None,
        textureless: bool = False,
    ) -> Tensor:
        """
        Return the loss of renderings before ``cameras``.

        ``images`` are RGBA (b, 4, h, w) in [0, 1], the colour multiplied by alpha; ``opacity``
        (b, 1, h, w) is that of the field if ``images`` are opaque. Renderings that are
        ``textureless`` have no CLIP guidance (NeuralLift-360). Only the gradient has a meaning.
        ``generator`` is on the CPU.
        """
        opacity = images[:, 3:] if opacity is None else opacity
        return self.latent_loss(
            self.prior.encode(images), cameras, step, generator, opacity, textureless)

    def clip_loss(self, images: Tensor, cameras: Cameras) -> Tensor:
        """
        Return the mean CLIP distance to the input picture of the views tagged front, 0 without.

        ``images`` are as for ``loss``; the encoder sees RGB on white.
        """
        assert self.clip is not None, 'the caller has CLIP guidance'
        front = torch.tensor([word == 'front' for word in _words(cameras)])
        if not bool(front.any()):
            return 0.0 * images.sum()
        return self.clip.loss(on_white(images[front.to(images.device)]))

    def latent_loss(
        self,
        latents: Tensor,
        cameras: Cameras,
        step: float,
        generator: torch.Generator,
        opacity: Tensor | None = None,
        textureless: bool = False,
    ) -> Tensor:
        """Return the loss of latents (b, c, h, w), such as the rendering of a latent field."""
        gradient = self.gradient(latents.detach(), cameras, step, generator, textureless)
        if self.settings.outside != 1.0 and opacity is not None:
            height, width = latents.shape[2:]
            gradient = gradient * inside_weight(opacity, (height, width), self.settings.outside)
        return injected(latents, gradient)

    @torch.no_grad()
    def gradient(
        self,
        latents: Tensor,
        cameras: Cameras,
        step: float,
        generator: torch.Generator,
        textureless: bool = False,
    ) -> Tensor:
        """Return the gradient at latents (b, c, h, w), which are moved against it."""
        settings, schedule = self.settings, self.prior.schedule
        condition = self.prior.condition(
            cameras.poses if cameras.told is None else cameras.told)
        words = _words(cameras)
        total = torch.zeros_like(latents)
        for _ in range(settings.draws):
            timesteps = self._timesteps(cameras, step, generator)
            noise = torch.randn(
                latents.shape, generator=generator, dtype=latents.dtype).to(latents.device)
            gradient, clean = self._score(latents, timesteps, noise, condition)
            if self.clip is not None and not textureless:
                factor = torch.ones_like(gradient[:, :1, :1, :1])
                if settings.form != 'sjc':
                    factor = weight(schedule, timesteps, latents, settings.weighting)
                gradient = gradient + factor * self.clip.gradient(clean, words)
            total += gradient
        return total / settings.draws

    def _timesteps(self, cameras: Cameras, step: float, generator: torch.Generator) -> Tensor:
        settings, levels = self.settings, self.prior.schedule.timesteps
        if not settings.delay:
            return settings.timesteps.draw(len(cameras), step, levels, generator)
        steps = anisotropic_step(step, cameras.azimuth, settings.delay)
        return torch.cat([
            settings.timesteps.draw(1, float(own), levels, generator) for own in steps])

    def _score(
        self, latents: Tensor, timesteps: Tensor, noise: Tensor, condition: object
    ) -> tuple[Tensor, Tensor]:
        settings = self.settings
        if settings.form == 'sjc':
            return sjc_gradient(
                self.prior, latents, timesteps, noise, condition, settings.variance_reduced)
        function = sds_gradient if settings.form == 'sds' else x0_gradient
        return function(
            self.prior, latents, timesteps, noise, condition, settings.weighting)


def _words(cameras: Cameras) -> list[str]:
    """Return the word of each view."""
    return [
        view_word(float(azimuth), float(elevation))
        for azimuth, elevation in zip(cameras.azimuth, cameras.elevation, strict=True)
    ]
