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
The training task of the small surface network: occupancy from synthesised and camera views.

The input views must have the errors of inference (Liu et al., One-2-3-45, 2023, section 3.2), so
that they are synthesised by the small view model. Ground-truth views take the place of source
views and, in a share of the steps, of synthesised views, so that the network does not learn to
ignore views: those of a better view model may show more than the coarse volume.
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
from lift3d_ros.runtime.precision import fast_autocast
from lift3d_ros.training.coarse import dice
from lift3d_ros.training.coarse import extent_loss
from lift3d_ros.training.coarse import model_inputs
from lift3d_ros.training.coarse import overlap
from lift3d_ros.training.coarse import stack_samples

#: Shares of steps with synthesised views, with ground-truth views in their place, and with
#: ground-truth views as source views. The other steps have the input alone.
SYNTHESIZED_SHARE = 0.5
TRUE_AS_SYNTHESIZED_SHARE = 0.18
SOURCE_SHARE = 0.16

#: Range of the number of synthesised views.
SYNTHESIZED_VIEWS = (2, 6)

#: Pixels between the rays of a target view; the offset of this grid is random.
_STRIDE = 6


class SurfaceTask:
    """The losses of the surface network over ``model``, and its scores on ``samples``."""

    def __init__(
        self, model: SmallModel, samples: Sequence[dict[str, NDArray[Any]]], seed: int = 0
    ) -> None:
        """Keep the view model and the evaluation samples."""
        self._model = model
        self._samples = list(samples)
        self._random = np.random.default_rng(seed)

    def losses(self, model: nn.Module, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        """See ``Task``."""
        inputs = model_inputs(batch)
        volume = self._model.coarse_volume(inputs)
        draw = self._random.random()
        synthesized = None
        sources: NDArray[np.intp] = np.arange(0)
        if draw < SYNTHESIZED_SHARE:
            poses = self._random_poses(len(batch['picture']))
            synthesized = self._synthesize(volume, inputs, poses, step)
        elif draw < SYNTHESIZED_SHARE + TRUE_AS_SYNTHESIZED_SHARE:
            synthesized = _true_views(batch, self._random_targets(batch))
        elif draw < SYNTHESIZED_SHARE + TRUE_AS_SYNTHESIZED_SHARE + SOURCE_SHARE:
            sources = self._random_targets(batch)
        field, truth = _fields(model, batch, volume, synthesized, sources)
        logit = field.logit[:, 0]
        size = batch['targets'].shape[2]
        at = torch.arange(0, size - _STRIDE, _STRIDE)
        rows, columns = torch.meshgrid(
            at + int(self._random.integers(_STRIDE)), at + int(self._random.integers(_STRIDE)),
            indexing='ij',
        )
        pixels = torch.stack([columns, rows], dim=-1).reshape(-1, 2).to(logit.device)
        rays = camera_rays(size, ZERO123_FOV, logit.device, pixels)
        surface, local_poses = field.as_volume(volume.sharpness, batch['target_poses'][:, :2])
        rendering = render(surface, local_poses, rays, 48)
        true = batch['targets'][:, :2][:, :, pixels[:, 1], pixels[:, 0]].float() / 255.0
        true = true.permute(0, 1, 3, 2)
        opacity = rendering.alpha.clamp(1e-4, 1.0 - 1e-4)
        return {
            'occupancy': 4.0 * functional.binary_cross_entropy_with_logits(logit, truth),
            'overlap': 1.0 - dice(logit.sigmoid(), truth).mean(),
            'reach': 0.5 * extent_loss(logit, truth),
            'alpha': 0.5 * functional.binary_cross_entropy(opacity, true[:, :, 3:]),
            'color': 8.0 * functional.mse_loss(rendering.color, true[:, :, :3]),
        }

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """
        Return the mean IoU of the occupancy, with and without depth.

        ``iou``: of the input alone; ``made``: with four synthesised views; ``true_made``: with
        ground-truth views in their place; ``true``: with all of these as source views.
        """
        lists: dict[str, list[float]] = {}
        for start in range(0, len(self._samples), 8):
            group = self._samples[start:start + 8]
            batch = stack_samples(group, model)
            b, count = batch['targets'].shape[:2]
            inputs = model_inputs(batch)
            volume = self._model.coarse_volume(inputs)
            ring = np.stack([orbit_pose(a, 25.0, self._model.radius) for a in (45, 135, 225, 315)])
            rings = np.repeat(ring[None], b, axis=0)
            every = np.arange(count)
            none = every[:0]
            for name, synthesized, sources in (
                ('iou', None, none),
                ('made', self._synthesize(volume, inputs, rings, 0), none),
                ('true_made', _true_views(batch, every), none),
                ('true', None, every),
            ):
                field, truth = _fields(model, batch, volume, synthesized, sources)
                scores = overlap(field.logit[:, 0] > 0.0, truth > 0.5)
                for index in range(b):
                    kind = 'depth' if group[index]['flags'][0] else 'rgb'
                    lists.setdefault(f'{name}_{kind}', []).append(float(scores[index]))
        means = {name: float(np.mean(values)) for name, values in lists.items()}
        own = [value for name, value in means.items() if name.startswith(('iou', 'made'))]
        return {'score': float(np.mean(own)), **means}

    def _random_targets(self, batch: dict[str, Tensor]) -> NDArray[np.intp]:
        """Return a random subset of the indices of the target views."""
        count = batch['targets'].shape[1]
        return self._random.permutation(count)[: self._random.integers(1, count + 1)]

    def _random_poses(self, count: int) -> Array:
        """Return random rings of cameras for ``count`` objects, (count, n, 4, 4)."""
        views = int(self._random.integers(*SYNTHESIZED_VIEWS, endpoint=True))
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

    def _synthesize(
        self, volume: CoarseVolume, inputs: dict[str, Tensor], poses: Array, seed: int
    ) -> Sources:
        pictures = []
        for index in range(len(poses)):
            one = {name: value[index:index + 1] for name, value in inputs.items()}
            pictures.append(self._model.pictures(
                volume.select(index), one, poses[index], seed, False, Progress()
            ))
        return posed_sources(
            # The views of the denoiser are on the CPU.
            torch.stack(pictures).clamp(0.0, 1.0).to(volume.density.device),
            torch.from_numpy(np.ascontiguousarray(poses)).float(),
        )


def _fields(
    model: nn.Module,
    batch: dict[str, Tensor],
    volume: CoarseVolume,
    synthesized: Sources | None,
    sources: NDArray[np.intp],
) -> tuple[SurfaceField, Tensor]:
    """
    Return the fields and the true occupancy (b, n, n, n) in their boxes.

    ``synthesized`` are the synthesised views or their replacement, ``sources`` the indices of the
    targets that are source views.
    """
    inputs = model_inputs(batch)
    device = inputs['picture'].device
    box = object_box(volume.density)
    with fast_autocast(device):
        captured = _camera_views(inputs, batch, sources)
        field = model(volume, box, captured, synthesized, inputs['flags'])
    points = box.to_canonical(voxel_grid(field.logit.shape[-1], device))
    solid = batch['solid'].to(device).float()[:, None]
    truth = sample_grid(solid, points).reshape(field.logit[:, 0].shape)
    return field, truth * _within(points).reshape(truth.shape)


def _true_views(batch: dict[str, Tensor], chosen: NDArray[np.intp]) -> Sources:
    """Return the ``chosen`` target views."""
    at = torch.from_numpy(chosen)
    pictures = batch['targets'][:, at].permute(0, 1, 4, 2, 3).float() / 255.0
    return posed_sources(pictures, batch['target_poses'][:, at].float())


def _camera_views(
    inputs: dict[str, Tensor], batch: dict[str, Tensor], sources: NDArray[np.intp]
) -> Sources:
    """Return the input, and the targets ``sources`` as source views without depth."""
    own = Sources(
        inputs['picture'][:, None], inputs['focal'][:, None], inputs['centre'][:, None],
        inputs['pose'][:, None], inputs['depth'][:, None],
    )
    if not len(sources):
        return own
    assert own.depths is not None
    true = _true_views(batch, sources)
    return Sources(
        torch.cat([own.pictures, true.pictures], dim=1),
        torch.cat([own.focal, true.focal], dim=1),
        torch.cat([own.centre, true.centre], dim=1),
        torch.cat([own.poses, true.poses], dim=1),
        torch.cat([own.depths, torch.zeros_like(true.pictures[:, :, 0])], dim=1),
    )


def _within(points: Tensor) -> Tensor:
    """Return 1 for points (b, n, 3) within the known cube, else 0, (b, n)."""
    return (points.abs() <= 0.5 * EXTENT).all(dim=-1).float()
