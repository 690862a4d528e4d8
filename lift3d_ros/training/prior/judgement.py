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
What the unposed prior knows of objects that it was not trained on.

    python -m lift3d_ros.training.prior.judgement --data DIR --extra DIR --views DIR --weights DIR

A picture of the front of an object is inverted; its other views, with noise, are denoised with the
inverted token and with others.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from collections.abc import Sequence
import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lift3d_ros.diffusion.token_denoiser import read_token_denoiser
from lift3d_ros.diffusion.token_denoiser import TokenDenoiser
from lift3d_ros.diffusion.token_denoiser import VIEW_WORDS
from lift3d_ros.distill.adaptation.inversion import InversionSettings
from lift3d_ros.distill.adaptation.inversion import invert
from lift3d_ros.distill.adaptation.picture_augmentation import AugmentedPicture
from lift3d_ros.distill.priors.tokens import SMALL_INVERSION
from lift3d_ros.distill.priors.tokens import TokenCondition
from lift3d_ros.distill.priors.tokens import TokenPrior
from lift3d_ros.synthetic.objects import ObjectEntry
from lift3d_ros.training.prior.object_views import object_views
from lift3d_ros.training.prior.object_views import ObjectViews
from lift3d_ros.training.prior.run import PriorTraining
from lift3d_ros.training.prior.run import split_objects
from lift3d_ros.training.prior.task import latents_of

#: Noise levels at which the views are denoised.
TIMESTEPS = (300, 500, 650, 800, 900, 950)

#: Views of an object that are denoised, beside the one that is inverted.
_OTHER_VIEWS = 6

#: The word that each word is confused with, to see whether words matter.
_WRONG = {'front': 'overhead', 'side': 'overhead', 'back': 'overhead', 'overhead': 'side',
          'bottom': 'side'}

#: Errors (timesteps,) by the name of what denoised.
Errors = dict[str, np.ndarray]


def judge(
    network: TokenDenoiser,
    unseen: ObjectViews,
    mean_image: Tensor,
    settings: InversionSettings = SMALL_INVERSION,
    report: Callable[[str], None] = print,
) -> list[Errors]:
    """
    Return the errors of the clean image of each object with a view of its front.

    Mean squares in [-1, 1] over the other views: of the ``inverted`` token, of the one
    ``regressed`` from the picture, of the ``null`` token, of the inverted token of the ``other``
    object before, of the inverted token with a ``wrong_word``; and of ``mean``, the mean image
    (4, h, w) of the training objects without regard to the noisy one.
    """
    results: list[Errors] = []
    before: Tensor | None = None
    for number in range(len(unseen)):
        fronts = np.flatnonzero(unseen.words[number] == VIEW_WORDS.index('front'))
        if not len(fronts):
            continue
        image = _premultiplied(latents_of(unseen.pictures[number, fronts[:1]])[0])
        prior = TokenPrior(network)
        start = prior.regressed(image)
        inverted = invert(
            prior, AugmentedPicture(image, prior.size), settings, start).embedding
        others = np.delete(np.arange(unseen.words.shape[1]), fronts[0])[:_OTHER_VIEWS]
        clean = latents_of(unseen.pictures[number, others])
        words = torch.from_numpy(unseen.words[number, others])
        wrong = torch.tensor([VIEW_WORDS.index(_WRONG[VIEW_WORDS[word]]) for word in words])
        cases = {
            'inverted': (inverted, words), 'regressed': (start, words),
            'null': (prior.embedding(), words), 'wrong_word': (inverted, wrong),
        }
        if before is not None:
            cases['other'] = (before, words)
        errors = {
            name: np.array([_error(prior, clean, *case, timestep) for timestep in TIMESTEPS])
            for name, case in cases.items()
        }
        mean = float((clean - mean_image).square().mean())
        errors['mean'] = np.full(len(TIMESTEPS), mean)
        results.append(errors)
        before = inverted
        report(f'{unseen.names[number]}: ' + ' '.join(
            f'{ratio:.3f}' for ratio in errors['inverted'] / errors['null']))
    return results


def summary(results: Sequence[Errors]) -> dict[str, dict[str, list[float]]]:
    """
    Return means over the objects and their comparison with the null token.

    By the name of what denoised: ``error``, and ``ratio`` of the error to that with the null token
    and its standard error ``ratio_se``, the mean over the objects; lists by ``TIMESTEPS``.
    """
    table = {}
    for name in results[-1]:
        own = [errors for errors in results if name in errors]
        ratios = np.array([errors[name] / errors['null'] for errors in own])
        spread = ratios.std(axis=0, ddof=1) if len(own) > 1 else np.full(len(TIMESTEPS), np.nan)
        table[name] = {
            'error': np.mean([errors[name] for errors in own], axis=0).round(5).tolist(),
            'ratio': ratios.mean(axis=0).round(4).tolist(),
            'ratio_se': (spread / np.sqrt(len(own))).round(4).tolist(),
        }
    return table


def _error(
    prior: TokenPrior, clean: Tensor, token: Tensor, words: Tensor, timestep: int
) -> float:
    generator = torch.Generator().manual_seed(timestep)
    noise = torch.randn(clean.shape, generator=generator)
    timesteps = torch.full((len(clean),), timestep)
    noisy = prior.schedule.add_noise(clean, noise, timesteps)
    condition = TokenCondition(token.expand(len(clean), -1), words)
    return float((prior.predict_x0(noisy, timesteps, condition) - clean).square().mean())


def _premultiplied(latents: Tensor) -> Tensor:
    """Return premultiplied RGBA (4, h, w) in [0, 1] of latents (4, h, w)."""
    values = 0.5 * (latents + 1.0)
    alpha = values[3:]
    return torch.cat([(values[:3] - (1.0 - alpha)).clamp(0.0, 1.0), alpha])


def main(words: Sequence[str] | None = None) -> None:
    """Judge the prior of weights on the objects that chose its checkpoint; print JSON."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument('--data', type=Path, required=True)
    parser.add_argument('--extra', type=Path, action='append', default=[])
    parser.add_argument('--views', type=Path, required=True, help='folder of rendered views')
    parser.add_argument('--weights', type=Path, required=True, help='weights with a prior')
    parser.add_argument('--objects', type=int, default=24)
    parser.add_argument('--steps', type=int, default=SMALL_INVERSION.steps)
    options = parser.parse_args(words)
    network = read_token_denoiser(options.weights / 'prior')
    settings = PriorTraining()
    trained, unseen = split_objects(
        [options.data, *options.extra], settings.development, settings.seed)

    def views(objects: Sequence[ObjectEntry]) -> ObjectViews:
        return object_views(
            options.views, objects, settings.views, network.config.size, settings.seed)

    some = views(trained[::8])
    mean_image = torch.stack([latents_of(pictures).mean(0) for pictures in some.pictures]).mean(0)
    inversion = InversionSettings(**{**vars(SMALL_INVERSION), 'steps': options.steps})
    results = judge(network, views(unseen[:options.objects]), mean_image, inversion)
    print(json.dumps({'timesteps': TIMESTEPS, 'objects': len(results), **summary(results)}))


if __name__ == '__main__':
    main()
