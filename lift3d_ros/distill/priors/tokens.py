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

"""The small unposed prior: conditioned on the token of the object and the word of the view."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional

from lift3d_ros.diffusion.token_denoiser import as_latents
from lift3d_ros.diffusion.token_denoiser import TokenDenoiser
from lift3d_ros.diffusion.token_denoiser import VIEW_WORDS
from lift3d_ros.diffusion.token_denoiser import word_indices
from lift3d_ros.distill.adaptation.inversion import InversionSettings
from lift3d_ros.distill.cameras import view_words
from lift3d_ros.distill.priors.prior import NoiseSchedule
from lift3d_ros.errors import bad_request
from lift3d_ros.runtime.precision import fast_autocast

#: Inversion in the small prior; tuned on objects of the train split that it was not trained on.
SMALL_INVERSION = InversionSettings(
    steps=50, batch=4, rate=1e-2, decay=0.0, loss='v_prediction', timesteps=(0.3, 0.95))


@dataclass(frozen=True, eq=False)
class TokenCondition:
    """``tokens`` (b, width) and ``words`` (b,), indices of ``VIEW_WORDS``, of the views."""

    tokens: Tensor
    words: Tensor


class TokenPrior:
    """
    The small prior with one object's token.

    It has no pose: cameras of equal words have the same condition. The words count from the input
    camera, which is at azimuth 0 of canonical coordinates.
    """

    def __init__(
        self,
        network: TokenDenoiser,
        token: Tensor | None = None,
        guidance_scale: float = 1.0,
        input_word: str = 'front',
    ) -> None:
        """
        Keep the network.

        - ``token``: (1, width), of the object; the null token by default.
        - ``guidance_scale``: s in x0 = x0_unc + s (x0_cond - x0_unc), where the unconditional
          branch has neither token nor word; 1 is without guidance.
        - ``input_word``: of the picture that is inverted.

        Raises ``LiftError(BAD_REQUEST)`` for a token of another prior and for an unknown word.
        """
        if input_word not in VIEW_WORDS:
            raise bad_request(
                f'There is no view "{input_word}"; choose one of {", ".join(VIEW_WORDS)}.')
        self._network = network
        self._scale = guidance_scale
        self._input_word = input_word
        self.schedule = NoiseSchedule.of_scheduler(network.scheduler())
        self.token = self._checked(self.embedding() if token is None else token)

    @property
    def size(self) -> int:
        """Side of the pictures, pixels."""
        return self._network.config.size

    @property
    def device(self) -> torch.device:
        """The device of the network."""
        return self._network.null.device

    def with_token(self, token: Tensor) -> TokenPrior:
        """Return the same prior with another object's token (1, width)."""
        changed = copy.copy(self)
        changed.token = self._checked(token)
        return changed

    def encode(self, images: Tensor) -> Tensor:
        """
        Return RGBA on white in [-1, 1] of premultiplied RGBA (b, 4, h, w), with gradients.

        The renderings are resized to the pictures of the network.
        """
        size = (self.size, self.size)
        if images.shape[-2:] != size:
            images = functional.interpolate(images, size, mode='bilinear', antialias=True)
        return as_latents(images).to(self.device)

    def decode(self, latents: Tensor) -> Tensor:
        """Return RGB (b, 3, h, w), about [-1, 1], of latents."""
        return latents[:, :3]

    def embedding(self, start: str | None = None) -> Tensor:
        """Return the null token (1, width); there are no words of objects."""
        if start is not None:
            raise bad_request(
                f'The small prior has no word "{start}"; leave the start of its token out.')
        return self._network.null.detach()[None].clone()

    def regressed(self, image: Tensor) -> Tensor:
        """
        Return the token (1, width) that a picture suggests, to start an inversion from.

        ``image`` is premultiplied RGBA (4, h, w) in [0, 1].
        """
        return self._network.regressed(self.encode(image[None])).detach()

    def condition(self, poses: Tensor) -> TokenCondition:
        """Return the conditions of cameras (b, 4, 4)."""
        words = word_indices(view_words(poses)).to(self.device)
        return TokenCondition(self.token.expand(len(poses), -1), words)

    @torch.no_grad()
    def predict_x0(
        self, noisy: Tensor, timesteps: Tensor, condition: TokenCondition
    ) -> Tensor:
        """Return the guided E[x0 | x_t]; see ``DiffusionPrior``."""
        timesteps = timesteps.expand(len(noisy))
        if self._scale == 1.0:
            return self._predict(noisy, timesteps, condition.tokens, condition.words)
        null = self._network.null.expand_as(condition.tokens)
        free, given = self._predict(
            torch.cat([noisy, noisy]), timesteps.repeat(2), torch.cat([null, condition.tokens]),
            torch.cat([torch.full_like(condition.words, len(VIEW_WORDS)), condition.words]),
        ).chunk(2)
        return free + self._scale * (given - free)

    def predict_with(
        self, embedding: Tensor, noisy: Tensor, timesteps: Tensor, generator: torch.Generator
    ) -> Tensor:
        """See ``InvertiblePrior``; the word is that of the input picture."""
        del generator
        words = word_indices([self._input_word]).expand(len(noisy)).to(self.device)
        return self._predict(noisy, timesteps, embedding.expand(len(noisy), -1), words)

    def _predict(self, noisy: Tensor, timesteps: Tensor, tokens: Tensor, words: Tensor) -> Tensor:
        timesteps = timesteps.to(self.device)
        with fast_autocast(self.device):
            velocity = cast(Tensor, self._network(noisy.float(), timesteps, tokens, words))
        return self.schedule.clean(noisy.float(), velocity, timesteps, 'v_prediction').to(noisy)

    def _checked(self, token: Tensor) -> Tensor:
        width = self._network.config.token
        if tuple(token.shape) != (1, width) or not bool(torch.isfinite(token).all()):
            raise bad_request(
                f'The token has the shape {tuple(token.shape)}; this prior takes finite values of '
                f'the shape (1, {width}).')
        return token.detach().float().to(self.device)
