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

"""The model, data, loss and scores of the training of the small unposed prior."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch
from torch import nn
from torch import Tensor
from torch.nn import functional

from lift3d_ros.diffusion.token_denoiser import picture_features
from lift3d_ros.diffusion.token_denoiser import TokenDenoiser
from lift3d_ros.diffusion.token_denoiser import VIEW_WORDS
from lift3d_ros.distill.priors.prior import NoiseSchedule
from lift3d_ros.networks.small.layers import use_channels_last
from lift3d_ros.runtime.precision import fast_autocast
from lift3d_ros.training.pool import shuffled_indices
from lift3d_ros.training.prior.object_views import ObjectViews

#: Shares of the samples whose token and whose word are dropped, independently of each other.
_DROP_TOKEN, _DROP_WORD = 0.15, 0.15

#: Standard deviation of the noise on tokens, over that of the tokens: neighbours of a token are
#: the same object, so that inversion finds more than what it has seen.
_TOKEN_NOISE = 0.1

#: Penalty of the ridge regression from pictures to tokens, over the number of pictures.
_RIDGE = 1e-2

#: Timesteps of the scores: from what decides details to what decides the object.
_SCORE_TIMESTEPS = (300, 550, 750, 900)


class PriorModel(nn.Module):
    """The denoiser and the tokens of the training objects."""

    def __init__(self, network: TokenDenoiser, views: ObjectViews) -> None:
        """Start the tokens with the principal components of the objects' mean views."""
        super().__init__()
        self.network = network
        use_channels_last(network)
        self.objects = nn.Embedding(len(views), network.config.token)
        with torch.no_grad():
            self.objects.weight.copy_(_initial_tokens(views, network.config.token))

    def forward(
        self, noisy: Tensor, timesteps: Tensor, objects: Tensor, words: Tensor, noise: Tensor,
        dropped: Tensor,
    ) -> Tensor:
        """
        Return the velocity of noisy latents; arguments as ``TokenDenoiser`` has.

        ``objects`` (n,) are indices, ``noise`` (n, token) is added to their tokens in units of
        the standard deviation, ``dropped`` (n,) tells which tokens are dropped.
        """
        stddev = self.objects.weight.detach().std(dim=0, correction=0)
        tokens = self.objects(objects) + stddev * noise
        tokens = torch.where(dropped[:, None], self.network.null, tokens)
        velocity: Tensor = self.network(noisy, timesteps, tokens, words)
        return velocity


class PriorTask:
    """The loss of the prior, and its scores on objects without a token of their own."""

    def __init__(
        self, network: TokenDenoiser, views: ObjectViews, unseen: ObjectViews, seed: int = 0
    ) -> None:
        """Keep the views of ``unseen`` objects, and the features of the training pictures."""
        self._random = torch.Generator().manual_seed(seed)
        self.schedule = NoiseSchedule.of_scheduler(network.scheduler())
        self._features = torch.cat([
            picture_features(latents_of(pictures)) for pictures in views.pictures])
        self._owners = torch.arange(len(views)).repeat_interleave(views.pictures.shape[1])
        self._unseen = unseen

    def losses(self, model: nn.Module, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        """See ``Task``."""
        del step
        clean = latents_of(batch['pictures'])
        n, device = len(clean), clean.device
        timesteps = torch.randint(self.schedule.timesteps, (n,), generator=self._random).to(device)
        noise = torch.randn(clean.shape, generator=self._random).to(device)
        chance = torch.rand((2, n), generator=self._random).to(device)
        words = torch.where(chance[0] < _DROP_WORD, len(VIEW_WORDS), batch['words'])
        tokens = _TOKEN_NOISE * torch.randn(
            (n, self._token_size(model)), generator=self._random).to(device)
        with fast_autocast(device):
            velocity = model(
                self.schedule.add_noise(clean, noise, timesteps), timesteps, batch['objects'],
                words, tokens, chance[1] < _DROP_TOKEN,
            )
        truth = self.schedule.velocity(clean, noise, timesteps)
        return {'velocity': functional.mse_loss(velocity.float(), truth)}

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """
        Return errors of the clean image on unseen objects, mean squares in [-1, 1].

        ``null`` and ``regressed``: of the velocity, with the null token and with the token
        regressed from another view of the object; their mean is minus the score. ``null_T`` and
        ``regressed_T``: of the clean image at a timestep T.
        """
        assert isinstance(model, PriorModel)
        self.finish(model)
        network, device = model.network, model.network.null.device
        views = self._unseen.pictures.shape[1] // 2
        sources = latents_of(self._unseen.pictures[:, :views].reshape(-1, *_shape(self._unseen)))
        clean = latents_of(self._unseen.pictures[:, views:2 * views].reshape(
            -1, *_shape(self._unseen)))
        words = torch.from_numpy(self._unseen.words[:, views:2 * views].reshape(-1))
        tokens = {
            'null': network.null.expand(len(clean), -1),
            'regressed': network.regressed(sources.to(device)),
        }
        scores: dict[str, float] = {}
        for name, token in tokens.items():
            errors = []
            for timestep in _SCORE_TIMESTEPS:
                velocity, x0 = self._errors(network, clean, token, words, timestep)
                scores[f'{name}_{timestep}'] = x0
                errors.append(velocity)
            scores[name] = float(np.mean(errors))
        return {'score': -0.5 * (scores['null'] + scores['regressed']), **scores}

    @torch.no_grad()
    def finish(self, model: PriorModel) -> None:
        """Fit the regression from pictures to tokens, and measure the scale of the tokens."""
        tokens = model.objects.weight.detach().float().cpu()
        features = self._features
        gram = features.T @ features
        gram.diagonal().add_(_RIDGE * len(features))
        weights = torch.linalg.solve(gram, features.T @ tokens[self._owners])
        model.network.regression.copy_(weights.T)
        model.network.scale.copy_(tokens.std(dim=0, correction=0))

    def _errors(
        self, network: TokenDenoiser, clean: Tensor, tokens: Tensor, words: Tensor, timestep: int
    ) -> tuple[float, float]:
        """Return the mean squared errors of the velocity and of the clean image."""
        device = network.null.device
        random = torch.Generator().manual_seed(timestep)
        noise = torch.randn(clean.shape, generator=random)
        sums = torch.zeros(2, dtype=torch.float64)
        for at in range(0, len(clean), 32):
            part = slice(at, at + 32)
            x0, own = clean[part].to(device), noise[part].to(device)
            timesteps = torch.full((len(x0),), timestep, device=device)
            noisy = self.schedule.add_noise(x0, own, timesteps)
            with torch.no_grad(), fast_autocast(device):
                velocity = network(noisy, timesteps, tokens[part], words[part].to(device))
            predicted = self.schedule.clean(noisy, velocity, timesteps, 'v_prediction')
            truth = self.schedule.velocity(x0, own, timesteps)
            sums += torch.stack([
                (velocity - truth).square().sum(), (predicted - x0).square().sum()]).double().cpu()
        velocity_error, error = (sums / clean.numel()).tolist()
        return velocity_error, error

    def _token_size(self, model: nn.Module) -> int:
        return next(m for m in model.modules() if isinstance(m, TokenDenoiser)).config.token


def batches(
    views: ObjectViews, size: int, rng: np.random.Generator
) -> Iterator[dict[str, NDArray[Any]]]:
    """Yield ``pictures`` (size, h, w, 4), ``objects`` and ``words`` (size,), once an epoch."""
    count = views.pictures.shape[1]
    for chosen in shuffled_indices(len(views) * count, size, rng):
        objects, numbers = np.divmod(chosen, count)
        yield {
            'pictures': views.pictures[objects, numbers],
            'objects': objects,
            'words': views.words[objects, numbers],
        }


def latents_of(pictures: NDArray[np.uint8] | Tensor) -> Tensor:
    """Return latents (n, 4, h, w) of uint8 RGBA on white (n, h, w, 4)."""
    return torch.as_tensor(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1.0


def _shape(views: ObjectViews) -> tuple[int, ...]:
    return views.pictures.shape[2:]


def _initial_tokens(views: ObjectViews, size: int) -> Tensor:
    """
    Return tokens (n, size): principal components of the mean views from the four sides.

    Their variances are reduced to the square root, their mean square is 1: objects that look alike
    begin with tokens that are alike.
    """
    means = []
    for pictures, words in zip(views.pictures, views.words, strict=True):
        features = picture_features(latents_of(pictures))[:, :-1]
        sides = [features[torch.from_numpy(words == word)] for word in range(4)]
        means.append(torch.cat([
            side.mean(0) if len(side) else features.mean(0) for side in sides]))
    values = torch.stack(means)
    values = values - values.mean(0)
    u, s, _ = torch.linalg.svd(values, full_matrices=False)
    components = (u * s.sqrt())[:, :size]
    components = components / components.square().mean().sqrt().clamp_min(1e-6)
    return functional.pad(components, (0, size - components.shape[1]))
