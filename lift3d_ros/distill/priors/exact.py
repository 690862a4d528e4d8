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
Priors whose denoiser is known in closed form.

They prove a guidance or a whole optimisation without weights: its result is known beforehand.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace

import torch
from torch import Tensor

from lift3d_ros.distill.cameras import view_words
from lift3d_ros.distill.priors.prior import NoiseSchedule


def on_white(images: Tensor) -> Tensor:
    """Return RGB (b, 3, h, w) in [-1, 1] of premultiplied RGBA (b, 4, h, w) before white."""
    return 2.0 * (images[:, :3] + 1.0 - images[:, 3:4]) - 1.0


@dataclass(frozen=True, eq=False)
class GaussianPrior:
    """
    The normal distribution N(mean, std^2) in each latent, independent of the camera.

    ``mean`` broadcasts to latents (b, c, h, w). E[x0 | x_t] =
    mean + sqrt(ab) s^2 (x_t - sqrt(ab) mean) / (ab s^2 + 1 - ab).
    """

    mean: Tensor
    std: float
    schedule: NoiseSchedule = field(default_factory=NoiseSchedule.scaled_linear)

    def encode(self, images: Tensor) -> Tensor:
        """Return RGB before white, in [-1, 1]."""
        return on_white(images)

    def condition(self, poses: Tensor) -> None:
        """Return None: there is no condition."""
        del poses

    @torch.no_grad()
    def predict_x0(self, noisy: Tensor, timesteps: Tensor, condition: None = None) -> Tensor:
        """Return the exact posterior mean."""
        ab = self.schedule.alpha_bar(timesteps, noisy)
        mean = self.mean.to(noisy)
        gain = ab.sqrt() * self.std**2 / (ab * self.std**2 + 1.0 - ab)
        return mean + gain * (noisy - ab.sqrt() * mean)


@dataclass(frozen=True, eq=False)
class BankPrior:
    """
    A finite bank of K objects, each drawn with its weight.

    - ``render``: returns RGBA (b, K, 4, h, w) in [0, 1] of all members before cameras (b, 4, 4),
      the colour multiplied by alpha.
    - ``log_weights``: (K,), not normalised; uniform if None.

    E[x0 | x_t] is the mean of the members, weighted by the softmax of
    log_weight - |x_t - sqrt(ab) member|^2 / (2 (1 - ab)).
    """

    render: Callable[[Tensor], Tensor]
    log_weights: Tensor | None = None
    schedule: NoiseSchedule = field(default_factory=NoiseSchedule.scaled_linear)

    def encode(self, images: Tensor) -> Tensor:
        """Return RGB before white, in [-1, 1]."""
        return on_white(images)

    @torch.no_grad()
    def condition(self, poses: Tensor) -> Tensor:
        """Return the latents (b, K, 3, h, w) of the members before these cameras."""
        images = self.render(poses)
        return on_white(images.flatten(0, 1)).unflatten(0, images.shape[:2])

    @torch.no_grad()
    def given(self, image: Tensor, pose: Tensor, std: float) -> BankPrior:
        """
        Return the bank conditioned on a picture, as Zero-1-to-3 is.

        ``image`` (4, h, w) is premultiplied RGBA before the camera ``pose`` (4, 4), with normal
        noise of ``std`` in the latents of each pixel.
        """
        members = self.condition(pose[None])[0]
        squares = (members - self.encode(image[None]).to(members)).square().flatten(1).sum(1)
        likelihood = -0.5 * squares / std**2
        if self.log_weights is not None:
            likelihood = likelihood + self.log_weights.to(likelihood)
        return replace(self, log_weights=likelihood.log_softmax(0))

    def posterior(self, noisy: Tensor, timesteps: Tensor, condition: Tensor) -> Tensor:
        """Return the probabilities (b, K) of the members given noisy latents."""
        ab = self.schedule.alpha_bar(timesteps, condition)
        squares = (noisy[:, None] - ab.sqrt() * condition).square().flatten(2).sum(-1)
        logits = -0.5 * squares / (1.0 - ab.flatten(1))
        if self.log_weights is not None:
            logits = logits + self.log_weights.to(logits)
        return logits.softmax(dim=1)

    @torch.no_grad()
    def predict_x0(self, noisy: Tensor, timesteps: Tensor, condition: Tensor) -> Tensor:
        """Return the exact posterior mean; ``condition`` is that of ``condition``."""
        share = self.posterior(noisy, timesteps, condition)
        return torch.einsum('bk,bkchw->bchw', share, condition)


@dataclass(frozen=True, eq=False)
class TokenBankPrior:
    """
    A bank without poses: a token weights its members, a word stands for one camera.

    It is to ``BankPrior`` what a prior of tokens and words is to Zero-1-to-3.

    - ``bank``: of K members; its own weights have no effect.
    - ``word_poses``: the camera (4, 4) that each word of ``cameras.view_word`` stands for.
    - ``token``: (1, K), logarithms of the weights, not normalised.
    - ``input_word``: of the picture that is inverted.
    """

    bank: BankPrior
    word_poses: Mapping[str, Tensor]
    token: Tensor
    input_word: str = 'front'

    @property
    def schedule(self) -> NoiseSchedule:
        """The noise levels."""
        return self.bank.schedule

    def encode(self, images: Tensor) -> Tensor:
        """Return RGB before white, in [-1, 1]."""
        return self.bank.encode(images)

    def embedding(self, start: str | None = None) -> Tensor:
        """Return the token (1, K) of equal weights; there are no words of objects."""
        del start
        return torch.zeros_like(self.token)

    def condition(self, poses: Tensor) -> Tensor:
        """Return the latents (b, K, 3, h, w) of the members before the cameras of the words."""
        cameras = torch.stack([self.word_poses[word] for word in view_words(poses)])
        return self.bank.condition(cameras)

    @torch.no_grad()
    def predict_x0(self, noisy: Tensor, timesteps: Tensor, condition: Tensor) -> Tensor:
        """Return the exact posterior mean; ``condition`` is that of ``condition``."""
        return self._mean(self.token, noisy, timesteps, condition)

    def predict_with(
        self, embedding: Tensor, noisy: Tensor, timesteps: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Return the posterior mean of another token (1, K); see ``InvertiblePrior``."""
        del generator
        members = self.bank.condition(self.word_poses[self.input_word][None])
        return self._mean(
            embedding, noisy, timesteps, members.to(noisy).expand(len(noisy), -1, -1, -1, -1))

    def _mean(
        self, token: Tensor, noisy: Tensor, timesteps: Tensor, condition: Tensor
    ) -> Tensor:
        weighted = replace(self.bank, log_weights=token[0].log_softmax(0))
        share = weighted.posterior(noisy, timesteps, condition)
        return torch.einsum('bk,bkchw->bchw', share, condition)
