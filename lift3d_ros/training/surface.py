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
What the small surface network learns: the solid, from views like those that it will be given.

The published lesson (Liu et al., One-2-3-45, 2023, section 3.2): a network that shall live with
what a view model makes up must learn from just that. So the synthesised views are the small view
model's own. True renders stand for further frames of a camera, and now and then in the place of
synthesised ones, so that the network does not learn to ignore views: a better view model's, or
given ones, may show what the coarse volume does not tell.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch
from torch import nn
from torch import Tensor
from torch.nn import functional

from lift3d_ros.diffusion.models import SmallModel
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import orbit_pose
from lift3d_ros.geometry import ZERO123_FOV
from lift3d_ros.networks.small.coarse_inputs import EXTENT
from lift3d_ros.networks.small.surface_network import object_box
from lift3d_ros.networks.small.surface_network import posed_sources
from lift3d_ros.networks.small.surface_network import Sources
from lift3d_ros.networks.small.surface_network import SurfaceField
from lift3d_ros.networks.small.volume import camera_rays
from lift3d_ros.networks.small.volume import CoarseVolume
from lift3d_ros.networks.small.volume import render
from lift3d_ros.networks.small.volume import sample_grid
from lift3d_ros.networks.small.volume import voxel_grid
from lift3d_ros.progress import Progress
from lift3d_ros.training.coarse import dice
from lift3d_ros.training.coarse import extent_loss
from lift3d_ros.training.coarse import model_inputs
from lift3d_ros.training.coarse import overlap
from lift3d_ros.training.coarse import stack_samples

#: Shares of steps: with synthesised views; with true ones in their place, from which the network
#: learns to follow views that show more than the coarse volume told; with true ones as further
#: frames of a camera. The rest has the input alone.
_WITH_MADE = 0.5
_TRUE_AS_MADE = 0.18
_WITH_TRUE = 0.16

#: How many synthesised views a step has.
_MADE = (2, 6)

#: Every sixth pixel of a target picture, from an offset that is drawn at each step.
_STRIDE = 6


class SurfaceTask:
    """The losses of the surface network over ``model``, and its scores on ``samples``."""

    def __init__(
        self, model: SmallModel, samples: Sequence[dict[str, NDArray[Any]]], seed: int = 0
    ) -> None:
        """Keep the view model and the samples of the evaluation."""
        self._model = model
        self._samples = list(samples)
        self._random = np.random.default_rng(seed)

    def losses(self, model: nn.Module, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        """See ``Task``."""
        inputs = model_inputs(batch)
        volume = self._model.coarse_volume(inputs)
        draw = self._random.random()
        made = None
        further: NDArray[np.intp] = np.arange(0)
        if draw < _WITH_MADE:
            made = self._made(volume, inputs, self._poses(len(batch['picture'])), step)
        elif draw < _WITH_MADE + _TRUE_AS_MADE:
            made = _true(batch, self._some(batch))
        elif draw < _WITH_MADE + _TRUE_AS_MADE + _WITH_TRUE:
            further = self._some(batch)
        field, truth = _fields(model, batch, volume, made, further)
        logit = field.logit[:, 0]
        size = batch['targets'].shape[2]
        at = torch.arange(0, size - _STRIDE, _STRIDE)
        rows, columns = torch.meshgrid(
            at + int(self._random.integers(_STRIDE)), at + int(self._random.integers(_STRIDE)),
            indexing='ij',
        )
        pixels = torch.stack([columns, rows], dim=-1).reshape(-1, 2).to(logit.device)
        rays = camera_rays(size, ZERO123_FOV, logit.device, pixels)
        solid, inside = field.as_volume(volume.sharpness, batch['target_poses'][:, :2])
        seen = render(solid, inside, rays, 48)
        true = batch['targets'][:, :2][:, :, pixels[:, 1], pixels[:, 0]].float() / 255.0
        true = true.permute(0, 1, 3, 2)
        opacity = seen.alpha.clamp(1e-4, 1.0 - 1e-4)
        return {
            'occupancy': 4.0 * functional.binary_cross_entropy_with_logits(logit, truth),
            'overlap': 1.0 - dice(logit.sigmoid(), truth).mean(),
            'reach': 0.5 * extent_loss(logit, truth),
            'alpha': 0.5 * functional.binary_cross_entropy(opacity, true[:, :, 3:]),
            'color': 8.0 * functional.mse_loss(seen.color, true[:, :, :3]),
        }

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """
        Return the mean IoU of the solids, with and without depth.

        From the input alone, with four synthesised views, with true ones in their place and with
        all true views as further frames.
        """
        found: dict[str, list[float]] = {}
        for start in range(0, len(self._samples), 8):
            group = self._samples[start:start + 8]
            batch = stack_samples(group, model)
            b, count = batch['targets'].shape[:2]
            inputs = model_inputs(batch)
            volume = self._model.coarse_volume(inputs)
            ring = np.stack([orbit_pose(a, 25.0, self._model.radius) for a in (45, 135, 225, 315)])
            every = np.arange(count)
            none = every[:0]
            for name, made, further in (
                ('iou', None, none),
                ('made', self._made(volume, inputs, np.repeat(ring[None], b, axis=0), 0), none),
                ('true_made', _true(batch, every), none),
                ('true', None, every),
            ):
                field, truth = _fields(model, batch, volume, made, further)
                scores = overlap(field.logit[:, 0] > 0.0, truth > 0.5)
                for index in range(b):
                    kind = 'depth' if group[index]['flags'][0] else 'rgb'
                    found.setdefault(f'{name}_{kind}', []).append(float(scores[index]))
        means = {name: float(np.mean(values)) for name, values in found.items()}
        own = [value for name, value in means.items() if name.startswith(('iou', 'made'))]
        return {'score': float(np.mean(own)), **means}

    def _some(self, batch: dict[str, Tensor]) -> NDArray[np.intp]:
        """Return some of the indices of the target views."""
        count = batch['targets'].shape[1]
        return self._random.permutation(count)[: self._random.integers(1, count + 1)]

    def _poses(self, count: int) -> Array:
        """Return cameras all around for each of so many objects, (count, n, 4, 4)."""
        views = int(self._random.integers(*_MADE, endpoint=True))
        poses = []
        for _ in range(count):
            first = self._random.uniform(0.0, 360.0)
            turns = first + np.arange(views) * 360.0 / views
            heights = self._random.uniform(0.0, 50.0, views)
            poses.append([
                orbit_pose(turn, height, self._model.radius)
                for turn, height in zip(turns, heights, strict=True)
            ])
        return np.array(poses)

    def _made(
        self, volume: CoarseVolume, inputs: dict[str, Tensor], poses: Array, seed: int
    ) -> Sources:
        pictures = []
        for index in range(len(poses)):
            one = {name: value[index:index + 1] for name, value in inputs.items()}
            pictures.append(self._model.pictures(
                volume.select(index), one, poses[index], seed, False, Progress()
            ))
        return posed_sources(
            # The denoiser gives its pictures to the CPU.
            torch.stack(pictures).clamp(0.0, 1.0).to(volume.density.device),
            torch.from_numpy(np.ascontiguousarray(poses)).float(),
        )


def _fields(
    model: nn.Module,
    batch: dict[str, Tensor],
    volume: CoarseVolume,
    made: Sources | None,
    further: NDArray[np.intp],
) -> tuple[SurfaceField, Tensor]:
    """
    Return the fields and the true occupancy (b, n, n, n) in their boxes.

    ``made`` are views in the place of synthesised ones, ``further`` says which targets are seen,
    too.
    """
    inputs = model_inputs(batch)
    device = inputs['picture'].device
    box = object_box(volume.density)
    with torch.autocast(device.type, torch.bfloat16):
        field = model(volume, box, _seen(inputs, batch, further), made, inputs['flags'])
    places = box.to_canonical(voxel_grid(field.logit.shape[-1], device))
    solid = batch['solid'].to(device).float()[:, None]
    truth = sample_grid(solid, places).reshape(field.logit[:, 0].shape)
    return field, truth * _within(places).reshape(truth.shape)


def _true(batch: dict[str, Tensor], chosen: NDArray[np.intp]) -> Sources:
    """Return the ``chosen`` target views, rendered from the true object."""
    at = torch.from_numpy(chosen)
    pictures = batch['targets'][:, at].permute(0, 1, 4, 2, 3).float() / 255.0
    return posed_sources(pictures, batch['target_poses'][:, at].float())


def _seen(
    inputs: dict[str, Tensor], batch: dict[str, Tensor], further: NDArray[np.intp]
) -> Sources:
    """Return the input, and the targets ``further`` as frames without a depth image."""
    own = Sources(
        inputs['picture'][:, None], inputs['focal'][:, None], inputs['centre'][:, None],
        inputs['pose'][:, None], inputs['depth'][:, None],
    )
    if not len(further):
        return own
    assert own.depths is not None
    true = _true(batch, further)
    return Sources(
        torch.cat([own.pictures, true.pictures], dim=1),
        torch.cat([own.focal, true.focal], dim=1),
        torch.cat([own.centre, true.centre], dim=1),
        torch.cat([own.poses, true.poses], dim=1),
        torch.cat([own.depths, torch.zeros_like(true.pictures[:, :, 0])], dim=1),
    )


def _within(places: Tensor) -> Tensor:
    """Return 1 for places (b, n, 3) where the truth is known, (b, n), and 0 beyond."""
    return (places.abs() <= 0.5 * EXTENT).all(dim=-1).float()
