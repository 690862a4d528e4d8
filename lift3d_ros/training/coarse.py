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

"""The training task of the coarse network: occupancy and rendered views."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch
from torch import nn
from torch import Tensor
from torch.nn import functional

from lift3d_ros.geometry import ZERO123_FOV
from lift3d_ros.networks.small.monocular import MonocularNet
from lift3d_ros.networks.small.monocular import with_predicted_depth
from lift3d_ros.networks.small.volume import camera_rays
from lift3d_ros.networks.small.volume import CoarseVolume
from lift3d_ros.networks.small.volume import render
from lift3d_ros.runtime.precision import fast_autocast

#: Pixels between the rays of a target view; the offset of this grid is random.
_STRIDE = 4


class CoarseTask:
    """The losses of the coarse network, and its scores on ``samples`` of other objects."""

    def __init__(
        self,
        samples: Sequence[dict[str, NDArray[Any]]],
        seed: int = 0,
        monocular: MonocularNet | None = None,
    ) -> None:
        """Keep the evaluation samples, and the network that predicts missing depth."""
        self._samples = list(samples)
        self._monocular = monocular
        self._random = torch.Generator().manual_seed(seed)

    def losses(self, model: nn.Module, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        """See ``Task``."""
        del step
        inputs = self._inputs(batch)
        device = inputs['picture'].device
        with fast_autocast(device):
            volume = model(**inputs)
        occupancy = batch['solid'].to(device).float()
        logit = volume.density[:, 0].float()
        size = batch['targets'].shape[2]
        shift = torch.randint(_STRIDE, (2,), generator=self._random)
        at = torch.arange(0, size, _STRIDE)
        rows, columns = torch.meshgrid(at + shift[0], at + shift[1], indexing='ij')
        pixels = torch.stack([columns, rows], dim=-1).reshape(-1, 2).to(device)
        rays = camera_rays(size, ZERO123_FOV, device, pixels)
        views = torch.randperm(batch['targets'].shape[1], generator=self._random)[:2]
        truth = batch['targets'][:, views][:, :, pixels[:, 1], pixels[:, 0]].float() / 255.0
        truth = truth.permute(0, 1, 3, 2)
        poses = batch['target_poses'][:, views]
        jitter = torch.rand(
            (*poses.shape[:2], len(pixels)), generator=self._random
        ).to(device)
        rendering = render(volume, poses, rays, 48, jitter)
        opacity = rendering.alpha.clamp(1e-4, 1.0 - 1e-4)
        return {
            'occupancy': 4.0 * functional.binary_cross_entropy_with_logits(logit, occupancy),
            'overlap': 1.0 - dice(logit.sigmoid(), occupancy).mean(),
            'reach': 0.5 * extent_loss(logit, occupancy),
            'alpha': functional.binary_cross_entropy(opacity, truth[:, :, 3:]),
            'color': 8.0 * functional.mse_loss(rendering.color, truth[:, :, :3]),
        }

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """
        Return the means over the samples, with and without depth.

        ``iou`` of the occupancy; ``mask`` IoU and ``psnr`` (dB, on white) of views more than 45
        degrees of azimuth from the input.
        """
        scores: dict[str, list[float]] = {}
        for start in range(0, len(self._samples), 8):
            group = self._samples[start:start + 8]
            batch = stack_samples(group, model)
            inputs = self._inputs(batch)
            with fast_autocast(inputs['picture'].device):
                volume = model(**inputs)
            iou = overlap(volume.occupancy > 0.5, batch['solid'].bool())
            mask, psnr = view_scores(volume, batch)
            for index in range(len(group)):
                kind = 'depth' if group[index]['flags'][0] else 'rgb'
                scores.setdefault(f'iou_{kind}', []).append(float(iou[index]))
                scores.setdefault(f'mask_{kind}', []).extend(mask[index])
                scores.setdefault(f'psnr_{kind}', []).extend(psnr[index])
        means = {name: float(np.mean(values)) for name, values in scores.items()}
        parts = [value for name, value in means.items() if name.startswith(('iou', 'mask'))]
        return {'score': float(np.mean(parts)), **means}

    @torch.no_grad()
    def _inputs(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return with_predicted_depth(model_inputs(batch), self._monocular)


def stack_samples(
    samples: Sequence[dict[str, NDArray[Any]]], model: nn.Module
) -> dict[str, Tensor]:
    """Return samples as a batch on the device of the model."""
    device = next(model.parameters()).device
    return {
        name: torch.from_numpy(np.stack([sample[name] for sample in samples])).to(device)
        for name in samples[0]
    }


def model_inputs(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the arguments of ``CoarseNet`` from the arrays of samples."""
    return {
        'picture': batch['picture'].permute(0, 3, 1, 2).float() / 255.0,
        'depth': batch['depth'].float(),
        **{name: batch[name].float() for name in ('focal', 'centre', 'pose', 'flags')},
    }


def view_scores(
    volume: CoarseVolume, batch: dict[str, Tensor]
) -> tuple[list[list[float]], list[list[float]]]:
    """Return the ``far_view_scores`` of each sample of views rendered from the volume."""
    size = batch['targets'].shape[2] // 2
    truth = batch['targets'].float().reshape(*batch['targets'].shape[:2], size, 2, size, 2, 4)
    truth = (truth.mean(dim=(3, 5)) / 255.0).permute(0, 1, 4, 2, 3)
    rendering = render(
        volume, batch['target_poses'], camera_rays(size, ZERO123_FOV, truth.device), 64
    )
    views = torch.cat([rendering.color.clamp(0.0, 1.0), rendering.alpha], dim=2)
    scores = [
        far_view_scores(*arrays)
        for arrays in zip(views.reshape(truth.shape), truth, batch['target_poses'], strict=True)
    ]
    return [masks for masks, _ in scores], [psnr for _, psnr in scores]


def far_view_scores(
    views: Tensor, truth: Tensor, poses: Tensor
) -> tuple[list[float], list[float]]:
    """
    Return mask IoU and PSNR (dB) of the views beyond 45 degrees of azimuth from the input.

    ``views`` and ``truth`` are RGBA (v, 4, h, w) in [0, 1] on white, ``poses`` (v, 4, 4).
    """
    far = torch.atan2(poses[:, 1, 3], poses[:, 0, 3]).abs() > np.pi / 4.0
    iou = overlap(views[far, 3] > 0.5, truth[far, 3] > 0.5)
    error = (views[far, :3] - truth[far, :3]).square().mean(dim=(1, 2, 3))
    return iou.tolist(), (-10.0 * error.clamp_min(1e-6).log10()).tolist()


def overlap(a: Tensor, b: Tensor) -> Tensor:
    """Return the intersection over union of bool tensors (n, ...), shape (n,)."""
    a, b = a.flatten(1), b.flatten(1)
    return (a & b).sum(1) / (a | b).sum(1).clamp_min(1)


def dice(probability: Tensor, truth: Tensor) -> Tensor:
    """Return the soft overlap (Dice coefficient) of volumes (n, ...), shape (n,)."""
    p, t = probability.flatten(1), truth.flatten(1)
    return (2.0 * (p * t).sum(1) + 1.0) / (p.sum(1) + t.sum(1) + 1.0)


def extent_loss(logit: Tensor, truth: Tensor) -> Tensor:
    """
    Return the cross entropy of the extent of volumes (b, n, n, n) along each axis, a scalar.

    The probability that a slice is occupied is the maximum over its blocks of 2 x 2 x 2 voxels.
    The end of an elongated object is few voxels, to which other losses are insensitive, but it
    decides the size: with an uncertain position no single voxel is probable.
    """
    coarse = functional.avg_pool3d(logit[:, None], 2)[:, 0]
    true = (functional.avg_pool3d(truth[:, None], 2)[:, 0] > 0.5).float()
    across = ((2, 3), (1, 3), (1, 2))
    return torch.stack([
        functional.binary_cross_entropy_with_logits(coarse.amax(dim=axes), true.amax(dim=axes))
        for axes in across
    ]).mean()
