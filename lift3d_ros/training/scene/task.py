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

"""The loss and the scores of the prior of scenes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch
from torch import nn
from torch import Tensor

from lift3d_ros.networks.small.scene_denoiser import PICTURE
from lift3d_ros.networks.small.scene_denoiser import signal_share
from lift3d_ros.networks.small.scene_denoiser import TIMESTEPS
from lift3d_ros.runtime.precision import fast_autocast
from lift3d_ros.scene.prior.fill import known_channels
from lift3d_ros.scene.prior.inputs import KnownView
from lift3d_ros.training.scene.samples import HIDDEN

#: Weight of a pixel in the loss by its kind: nothing, outside, hidden, measured.
_WEIGHTS = (0.0, 0.3, 1.0, 0.05)

#: Factor of the weight where a plane or an object is known, which the prediction does not replace.
_KNOWN_WEIGHT = 0.15

#: Share of the samples from noise alone, which is how the network is used.
_FROM_NOISE = 0.6

#: Weights of the terms: of colour, of depth, and of the scale of its error.
_COLOR, _DEPTH, _SCALE = 0.5, 2.0, 0.1

#: Relative error of a depth that counts as right.
_TOLERANCE = 0.02


class SceneTask:
    """The loss of the prior of scenes, and its scores in rooms with other objects."""

    def __init__(self, unseen: dict[str, NDArray[Any]], seed: int = 0) -> None:
        """Keep the samples ``unseen`` as ``ScenePool.all_views`` returns them."""
        self._random = torch.Generator().manual_seed(seed)
        self._unseen = as_tensors(unseen)

    def losses(self, model: nn.Module, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        """See ``Task``."""
        del step
        known, pose, truth, kind = (batch[name] for name in ('known', 'pose', 'truth', 'kind'))
        n = len(known)
        timesteps = torch.randint(TIMESTEPS, (n,), generator=self._random)
        alone = torch.rand(n, generator=self._random) < _FROM_NOISE
        timesteps = torch.where(alone, TIMESTEPS - 1, timesteps).to(known.device)
        noise = torch.randn(truth.shape, generator=self._random).to(known.device)
        share = signal_share(timesteps)[:, None, None, None]
        noisy = share.sqrt() * truth + (1.0 - share).sqrt() * noise
        with fast_autocast(known.device):
            result = model(noisy, timesteps, known, pose)
        weight = torch.tensor(_WEIGHTS, device=known.device)[kind.long()]
        weight = torch.where((kind == HIDDEN) & is_known(known), _KNOWN_WEIGHT * weight, weight)
        weight = weight / weight.sum().clamp_min(1.0)
        error = (result.picture - truth).abs()
        depth = error[:, 3]
        likelihood = depth / result.log_scale.exp() + result.log_scale
        return {
            'color': _COLOR * (weight * error[:, :3].mean(dim=1)).sum(),
            'depth': _DEPTH * (weight * depth).sum(),
            'likelihood': _SCALE * (weight * likelihood).sum(),
        }

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """
        Return means over hidden pixels of other rooms where nothing is known.

        Those of the filled input have ``filled_`` before their names.

        ``color``, ``depth``: absolute errors; ``near``: share of depths within 2 %, which is the
        score; ``confident_near``: that of the half with the smallest predicted scale of error.
        """
        device = next(model.parameters()).device
        unseen, results = self._unseen, []
        for at in range(0, len(unseen['pose']), 32):
            part = slice(at, at + 32)
            with torch.no_grad(), fast_autocast(device):
                results.append(model.predict(  # type: ignore[operator]
                    unseen['known'][part].to(device), unseen['pose'][part].to(device), seed=at))
        picture = torch.cat([result.picture for result in results]).float().cpu()
        log_scale = torch.cat([result.log_scale for result in results]).float().cpu()
        hidden = (unseen['kind'] == HIDDEN) & ~is_known(unseen['known'])
        truth, filled = unseen['truth'], unseen['known'][:, :4]
        scores = {}
        for name, given in (('', picture), ('filled_', filled)):
            error = (given - truth).abs()
            near = (given[:, 3] / truth[:, 3].clamp_min(1e-3) - 1.0).abs() < _TOLERANCE
            scores[f'{name}color'] = float(error[:, :3].mean(dim=1)[hidden].mean())
            scores[f'{name}depth'] = float(error[:, 3][hidden].mean())
            scores[f'{name}near'] = float(near[hidden].float().mean())
            if not name:
                order = (log_scale - truth[:, 3].clamp_min(1e-3).log())[hidden].argsort()
                half = order[:len(order) // 2]
                scores['confident_near'] = float(near[hidden][half].float().mean())
        return {'score': scores['near'], **scores}


def is_known(known: Tensor) -> Tensor:
    """Return bool (n, h, w), the pixels of ``known`` (n, KNOWN, h, w) with a known surface."""
    return known[:, PICTURE] > 0.5


def as_tensors(batch: dict[str, NDArray[Any]]) -> dict[str, Tensor]:
    """Return the tensors of a batch of samples."""
    return {name: torch.from_numpy(value) for name, value in as_arrays(batch).items()}


def as_arrays(batch: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """
    Return ``known`` (n, KNOWN, h, w), ``pose`` (n, 19), ``truth`` (n, 4, h, w), and ``kind``.

    ``batch`` has the arrays of ``room_views``.
    """
    inverse, first, last, pose = (
        batch[name].astype(np.float32) for name in ('inverse', 'exit', 'last', 'pose'))
    views = [
        KnownView(
            batch['color'][i], inverse[i], batch['observed'][i], batch['object'][i], first[i],
            last[i], pose[i], np.zeros((0, *inverse.shape[1:]), np.float32))
        for i in range(len(pose))]
    color = batch['true_color'].transpose(0, 3, 1, 2).astype(np.float32) / 127.5 - 1.0
    truth = np.concatenate([color, batch['true_inverse'][:, None].astype(np.float32)], axis=1)
    return {
        'known': np.stack([known_channels(view) for view in views]),
        'pose': pose, 'truth': truth, 'kind': batch['kind'],
    }
