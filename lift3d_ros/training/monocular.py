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

"""The training data and task of the monocular depth network."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch
from torch import nn
from torch import Tensor
from torch.nn import functional

from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import ZERO123_FOV
from lift3d_ros.networks.small.coarse_inputs import PICTURE_SIZE
from lift3d_ros.networks.small.monocular import origin_depth
from lift3d_ros.networks.small.monocular import STRIDE
from lift3d_ros.networks.small.volume import cube_crossing
from lift3d_ros.networks.small.volume import sample_grid
from lift3d_ros.runtime.precision import fast_autocast
from lift3d_ros.training.augmentation import mirrored
from lift3d_ros.training.augmentation import recoloured
from lift3d_ros.training.pool import Pool
from lift3d_ros.training.pool import shuffled_indices

#: Samples along a ray through the cube, about half a voxel apart.
_RAY_SAMPLES = 96

#: Fewest pixels of the object in a training picture.
_MIN_PIXELS = 40

#: Largest depth of a pixel relative to the object's centre, canonical units; readings beyond it
#: are not of the object.
_MAX_RELATIVE_DEPTH = 1.2


def visible_depth(occupancy: Tensor, pose: Tensor, focal: Tensor, centre: Tensor) -> Tensor:
    """
    Return the depth of the surface of an occupancy grid, (h, h), 0 for background.

    ``occupancy`` (n, n, n), 0 to 1, is that of the cube of ``EXTENT``; ``pose`` (4, 4) is the
    optical frame in canonical coordinates, ``focal`` and ``centre`` (2,) are pixels of a picture
    of ``PICTURE_SIZE``; h is that over ``STRIDE``. Along z, canonical units.
    """
    at = STRIDE * (torch.arange(PICTURE_SIZE // STRIDE) + 0.5) - 0.5
    v, u = torch.meshgrid(at, at, indexing='ij')
    slopes = (torch.stack([u, v], dim=-1).reshape(-1, 2) - centre) / focal
    rays = torch.cat([slopes, torch.ones_like(slopes[:, :1])], dim=1) @ pose[:3, :3].T
    eye = pose[:3, 3]
    near, far = cube_crossing(eye, rays)
    steps = (torch.arange(_RAY_SAMPLES) + 0.5) / _RAY_SAMPLES
    t = near[:, None] + (far - near)[:, None] * steps
    points = (eye + rays[:, None] * t[..., None]).reshape(1, -1, 3)
    value = sample_grid(occupancy[None, None].float(), points).reshape(t.shape)
    inside = (value > 0.5) & (far > near)[:, None]
    first = inside.float().argmax(dim=1)
    row, before = torch.arange(len(first)), (first - 1).clamp_min(0)
    low, high = value[row, before], value[row, first]
    share = ((0.5 - low) / (high - low).clamp_min(1e-4)).clamp(0.0, 1.0)
    surface = t[row, before] + (t[row, first] - t[row, before]) * share
    return torch.where(inside.any(dim=1), surface, 0.0).reshape(u.shape)


class MonocularData:
    """Pictures with their depth, in memory: 80 kB each; the inputs and targets of samples."""

    def __init__(self, views: Sequence[dict[str, NDArray[Any]]]) -> None:
        """Keep ``views`` of ``depth_views``; raises ``ValueError`` without any."""
        if not views:
            raise ValueError('there are no training pictures')
        self.views = views

    @classmethod
    def read(cls, pool: Pool, count: int | None = None) -> MonocularData:
        """
        Read the first ``count`` samples of a pool.

        Raises ``ValueError`` for an empty pool.
        """
        return cls([
            view
            for index in range(min(pool.refresh(), count or len(pool)))
            for view in depth_views(pool.read(index))
        ])

    def batches(
        self, size: int, rng: np.random.Generator
    ) -> Iterator[dict[str, NDArray[Any]]]:
        """
        Yield batches indefinitely: the arrays of ``depth_views``, mirrored and recoloured.

        Each picture occurs once an epoch.
        """
        for chosen in shuffled_indices(len(self.views), size, rng):
            views = [
                mirrored(self.views[index]) if rng.random() < 0.5 else self.views[index]
                for index in chosen
            ]
            batch = {name: np.stack([view[name] for view in views]) for name in views[0]}
            yield {**batch, 'picture': recoloured(batch['picture'], rng)}


def depth_views(sample: dict[str, NDArray[Any]]) -> list[dict[str, NDArray[Any]]]:
    """
    Return the views of a ``Sample`` with their depth.

    Each has ``picture``, ``focal``, ``centre``, ``pose`` and ``flags`` of the sample, its row of
    ``sides``, (3,), and ``surface_depth``: float32 (h, h), of ``visible_depth``.
    """
    lens = Camera.from_fov(PICTURE_SIZE, PICTURE_SIZE, ZERO123_FOV)
    own = {name: sample[name] for name in ('picture', 'focal', 'centre', 'pose', 'flags')}
    own['sides'] = sample['sides'][0]
    views = [own]
    for picture, pose, sides in zip(
        sample['targets'], sample['target_poses'], sample['sides'][1:], strict=True
    ):
        views.append({
            'picture': picture,
            'focal': np.array([lens.fx, lens.fy], np.float32),
            'centre': np.array([lens.cx, lens.cy], np.float32),
            'pose': pose,
            # The poses of targets are exact.
            'flags': np.array([0.0, 1.0], np.float32),
            'sides': sides,
        })
    solid = torch.from_numpy(sample['solid'].astype(np.float32))
    visible = []
    for view in views:
        depth = visible_depth(
            solid, *(torch.from_numpy(view[name]).float() for name in ('pose', 'focal', 'centre'))
        )
        if int((depth > 0.0).sum()) >= _MIN_PIXELS:
            visible.append({**view, 'surface_depth': np.asarray(depth.numpy(), np.float32)})
    return visible


class MonocularTask:
    """The loss of the network, and its scores on ``samples`` of other objects."""

    def __init__(self, samples: Sequence[dict[str, NDArray[Any]]]) -> None:
        """Keep the input pictures of the evaluation samples."""
        views = [view for sample in samples for view in depth_views(sample)[:1]]
        self._arrays = {name: np.stack([view[name] for view in views]) for name in views[0]}

    def losses(self, model: nn.Module, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        """See ``Task``."""
        del step
        error, known, mean, sides, length = _errors(model, batch)
        count = known.sum(dim=(1, 2)).clamp_min(1.0)
        # Depth edges within the object determine its shape.
        across = (error.diff(dim=2).abs() * known[:, :, 1:] * known[:, :, :-1]).sum(dim=(1, 2))
        down = (error.diff(dim=1).abs() * known[:, 1:] * known[:, :-1]).sum(dim=(1, 2))
        return {
            'depth': 5.0 * (error.abs().sum(dim=(1, 2)) / count).mean(),
            'slope': 2.0 * ((across + down) / count).mean(),
            'middle': 0.5 * mean.abs().mean(),
            'length': 2.0 * length.abs().mean(),
            'sides': sides.abs().mean(),
        }

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """
        Return the mean errors, in canonical units.

        ``depth`` and ``median``: mean and median over the objects of the depth error without its
        mean over the object, which is ``middle``; ``flat``: ``depth`` of a constant prediction;
        ``longest`` and ``longest_median``: of the logarithm of the longest side.
        """
        device = next(model.parameters()).device
        depth, middle, flat, lengths = [], [], [], []
        for start in range(0, len(self._arrays['picture']), 32):
            batch = {
                name: torch.from_numpy(values[start:start + 32]).to(device)
                for name, values in self._arrays.items()
            }
            error, known, mean, _, length = _errors(model, batch)
            lengths += length.abs().tolist()
            count = known.sum(dim=(1, 2)).clamp_min(1.0)
            depth += (error.abs().sum(dim=(1, 2)) / count).tolist()
            middle += mean.abs().tolist()
            truth = batch['surface_depth']
            level = ((truth * known).sum(dim=(1, 2)) / count)[:, None, None]
            flat += (((truth - level) * known).abs().sum(dim=(1, 2)) / count).tolist()
        return {
            'score': -float(np.mean(depth)),
            'depth': float(np.mean(depth)),
            'median': float(np.median(depth)),
            'middle': float(np.mean(middle)),
            'flat': float(np.mean(flat)),
            'longest': float(np.mean(lengths)),
            'longest_median': float(np.median(lengths)),
        }


def _errors(
    model: nn.Module, batch: dict[str, Tensor]
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """
    Return the centred depth errors (b, h, h), their validity (b, h, h) and means (b,).

    Then the errors of the logarithms of the sides (b, 3) and of the longest side (b,).
    """
    picture = batch['picture'].permute(0, 3, 1, 2).float() / 255.0
    camera = [batch[name].float() for name in ('focal', 'centre', 'pose')]
    with fast_autocast(picture.device):
        depth, sides = model(picture, *camera, batch['flags'].float())
    surface = batch['surface_depth']
    truth = surface - origin_depth(*camera)[:, None, None]
    alpha = functional.avg_pool2d(picture[:, 3:], STRIDE)[:, 0]
    known = ((alpha > 0.8) & (surface > 0.0) & (truth.abs() < _MAX_RELATIVE_DEPTH)).float()
    error = (depth.float() - truth) * known
    mean = error.sum(dim=(1, 2)) / known.sum(dim=(1, 2)).clamp_min(1.0)
    sides, true = sides.float(), batch['sides'].float().log()
    length = sides.amax(dim=1) - true.amax(dim=1)
    return (error - mean[:, None, None]) * known, known, mean, sides - true, length
