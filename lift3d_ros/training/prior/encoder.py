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

"""The data, loss, scores and run of the training of the small image encoder."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch
from torch import nn
from torch import Tensor
from torch.nn import functional

from lift3d_ros.networks.small.layers import use_channels_last
from lift3d_ros.networks.small.object_encoder import ObjectEncoder
from lift3d_ros.networks.small.object_encoder import ObjectEncoderConfig
from lift3d_ros.networks.small.object_encoder import read_object_encoder
from lift3d_ros.networks.small.object_encoder import write_object_encoder
from lift3d_ros.runtime.precision import fast_autocast
from lift3d_ros.training.loop import LoopSettings
from lift3d_ros.training.loop import train
from lift3d_ros.training.pool import shuffled_indices
from lift3d_ros.training.prior.object_views import object_views
from lift3d_ros.training.prior.object_views import ObjectViews
from lift3d_ros.training.prior.run import split_objects
from lift3d_ros.training.prior.task import latents_of
from lift3d_ros.training.runs import begin_run
from lift3d_ros.training.runs import shortened
from lift3d_ros.training.runs import write_weights

_NAME = 'object_encoder'

#: Temperature of the contrastive loss (Chen et al., SimCLR, 2020).
_TEMPERATURE = 0.1

#: Pairs of views of each object in the scores.
_SCORE_PAIRS = 16


@dataclass(frozen=True)
class EncoderTraining:
    """
    Settings of the training of the image encoder, the entries of a settings file.

    - ``encoder``: of the training loop, whose batch counts objects, each with two views;
      ``network``: of the encoder.
    - ``views``, ``development``, ``threads``, ``seed``: see ``PriorTraining``.
    """

    encoder: LoopSettings = LoopSettings(
        minutes=10.0, batch=96, rate=2e-3, evaluate_every=1.5, anneal=0.7)
    network: ObjectEncoderConfig = ObjectEncoderConfig()
    views: int = 32
    development: int = 48
    threads: int = 0
    seed: int = 0


class EncoderTask:
    """The contrastive loss, and the retrieval of unseen objects."""

    def __init__(self, unseen: ObjectViews, seed: int = 0) -> None:
        """Keep the views of the unseen objects."""
        self._random = torch.Generator().manual_seed(seed)
        self._unseen = torch.stack([latents_of(pictures) for pictures in unseen.pictures])

    def losses(self, model: nn.Module, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        """
        See ``Task``.

        The first and second half of the batch are two views of the same objects; all others are
        negatives (NT-Xent, SimCLR).
        """
        del step
        pictures = _varied(latents_of(batch['pictures']), self._random)
        with fast_autocast(pictures.device):
            embeddings = model(pictures[:, :3]).float()
        n = len(embeddings) // 2
        logits = embeddings @ embeddings.T / _TEMPERATURE
        logits.fill_diagonal_(-torch.inf)
        partners = torch.arange(2 * n, device=logits.device).roll(n)
        return {'contrast': functional.cross_entropy(logits, partners)}

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """
        Return shares of views whose nearest among one view of each object is of their object.

        ``score``: of the encoder; ``blurred``: of query pictures at a quarter of the resolution,
        as clean images of noisy latents are; ``colour``: of mean and standard deviation of the
        colours.
        """
        assert isinstance(model, ObjectEncoder)
        n, v = self._unseen.shape[:2]
        flat = self._unseen.flatten(0, 1)
        device = next(model.parameters()).device
        with torch.no_grad(), fast_autocast(device):
            sharp, soft = (
                torch.cat([model(part[:, :3].to(device)).float().cpu()
                           for part in pictures.split(64)]).reshape(n, v, -1)
                for pictures in (flat, _reduced(flat, 4))
            )
        colour = colour_statistics(flat).reshape(n, v, -1)
        pairs = min(_SCORE_PAIRS, v - 1)
        return {
            'score': retrieval(sharp, sharp, pairs), 'blurred': retrieval(soft, sharp, pairs),
            'colour': retrieval(colour, colour, pairs),
        }


def retrieval(queries: Tensor, gallery: Tensor, pairs: int) -> float:
    """
    Return the share of views whose nearest view of the gallery is of their own object.

    Both are (n, v, e), of v views of n objects. For each of ``pairs`` the queries are one view of
    each object, the gallery the view after.
    """
    n = len(queries)
    right = 0
    for pair in range(pairs):
        distances = torch.cdist(queries[:, pair], gallery[:, pair + 1])
        right += int((distances.argmin(dim=1) == torch.arange(n)).sum())
    return right / (pairs * n)


def colour_statistics(pictures: Tensor) -> Tensor:
    """Return mean and standard deviation (n, 6) of RGBA on white (n, 4, h, w) in [-1, 1]."""
    alpha = 0.5 * (pictures[:, 3:] + 1.0)
    total = alpha.sum(dim=(2, 3)).clamp_min(1e-6)
    mean = (alpha * pictures[:, :3]).sum(dim=(2, 3)) / total
    squares = (alpha * (pictures[:, :3] - mean[..., None, None]).square()).sum(dim=(2, 3)) / total
    return torch.cat([mean, squares.sqrt()], dim=1)


def train_encoder(
    data: Path,
    out: Path,
    settings: EncoderTraining,
    weights: Path,
    *,
    extra: Sequence[Path] = (),
    start: Path | None = None,
    minutes: float | None = None,
    resume: bool = False,
    report: Callable[[str], None] = print,
) -> Path:
    """
    Train the encoder on the objects of ``run.train_prior``; return the folder of weights.

    The result is a copy of the small weights ``weights`` with the encoder; arguments and errors
    are those of ``train_prior``.
    """
    begin_run(out, _NAME, resume, settings.threads, settings.seed)
    network = ObjectEncoder(settings.network)
    if start is not None:
        network = read_object_encoder(start / _NAME).train().requires_grad_(True)
    use_channels_last(network)
    trained, unseen = split_objects([data, *extra], settings.development, settings.seed)
    pictures, others = (
        object_views(
            out / 'views', entries, settings.views, network.config.size, settings.seed, report)
        for entries in (trained, unseen))
    share = 1.0 if minutes is None else minutes / settings.encoder.minutes
    rng = np.random.default_rng(settings.seed)
    report('training the image encoder')
    train(
        network, EncoderTask(others, settings.seed),
        _pairs(pictures, settings.encoder.batch, rng), out / _NAME,
        shortened(settings.encoder, share), resume, report,
    )
    return write_weights(
        out, weights, _NAME, lambda folder: write_object_encoder(folder, network), report)


def _pairs(
    views: ObjectViews, size: int, rng: np.random.Generator
) -> Iterator[dict[str, NDArray[Any]]]:
    """Yield ``pictures`` (2 size, h, w, 4): one view of different objects, then another one."""
    count = views.pictures.shape[1]
    for objects in shuffled_indices(len(views), min(size, len(views)), rng):
        numbers = np.stack([rng.permutation(count)[:2] for _ in objects], axis=1)
        yield {'pictures': np.concatenate([views.pictures[objects, row] for row in numbers])}


def _varied(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Return pictures (n, 4, h, w) on white, moved, scaled, mirrored, lit otherwise, blurred."""
    n, device = len(pictures), pictures.device

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return (low + (high - low) * torch.rand((n, *shape), generator=generator)).to(device)

    scale = torch.exp(uniform(-0.2, 0.2))
    mirror = torch.where(uniform(0.0, 1.0) < 0.5, -1.0, 1.0)
    move = uniform(-0.1, 0.1, 2)
    zero = torch.zeros_like(scale)
    theta = torch.stack([
        torch.stack([mirror * scale, zero, move[:, 0]], dim=1),
        torch.stack([zero, scale, move[:, 1]], dim=1)], dim=1)
    grid = functional.affine_grid(theta, list(pictures.shape), align_corners=False)
    # White and transparent is what surrounds a picture.
    ground = pictures.new_tensor([1.0, 1.0, 1.0, -1.0])[None, :, None, None]
    pictures = ground + functional.grid_sample(
        pictures - ground, grid, padding_mode='zeros', align_corners=False)
    alpha = 0.5 * (pictures[:, 3:] + 1.0)
    gain = uniform(0.85, 1.15, 1, 1, 1) * (1.0 + 0.04 * uniform(-1.0, 1.0, 3, 1, 1))
    bare = 0.5 * (pictures[:, :3] + 1.0) - (1.0 - alpha)
    color = (bare * gain).clamp(0.0, 1.0) + 1.0 - alpha
    pictures = torch.cat([2.0 * color - 1.0, pictures[:, 3:]], dim=1)
    soft = uniform(0.0, 1.0, 1, 1, 1)
    pictures = torch.where(soft < 0.2, _reduced(pictures, 2), pictures)
    pictures = torch.where(soft > 0.8, _reduced(pictures, 4), pictures)
    return pictures


def _reduced(pictures: Tensor, factor: int) -> Tensor:
    """Return pictures at a lower resolution, enlarged again."""
    small = functional.avg_pool2d(pictures, factor)
    return functional.interpolate(small, pictures.shape[-2:], mode='bilinear')
