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
The training data and task of the elevation network.

The samples are those of the other small networks. Each has up to four cameras of known elevation:
that of the input and, where gravity is known and the canonical frame so is level, the targets.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray
import torch
from torch import nn
from torch import Tensor
from torch.nn import functional

from lift3d_ros.elevation.regressor import ElevationNet
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import ZERO123_FOV
from lift3d_ros.geometry.frame import crop_object
from lift3d_ros.geometry.frame import Frame
from lift3d_ros.networks.small.coarse_inputs import rgba_picture
from lift3d_ros.training.augmentation import recoloured
from lift3d_ros.training.pool import Pool
from lift3d_ros.training.pool import shuffled_indices

#: Standard deviation of the Gaussian target over the bins, degrees.
_TARGET_STDDEV_DEG = 4.0

#: Largest random roll of a picture, degrees.
_MAX_ROLL_DEG = 4.0

_Pictures = NDArray[np.uint8]


def elevation_views(sample: dict[str, NDArray[Any]]) -> list[tuple[_Pictures, float]]:
    """Return the pictures (PICTURE_SIZE, PICTURE_SIZE, 4) of a sample and their elevations."""
    views = [(cast(_Pictures, sample['picture']), float(sample['elevation']))]
    if sample['flags'][1]:
        for picture, pose in zip(sample['targets'], sample['target_poses'], strict=True):
            view = _as_input(picture, pose.astype(np.float64))
            if view is not None:
                views.append(view)
    return views


def _as_input(picture: _Pictures, pose: Array) -> tuple[_Pictures, float] | None:
    """Return a target cropped like an input, and its elevation; None without a whole object."""
    camera = Camera.from_fov(picture.shape[1], picture.shape[0], ZERO123_FOV)
    gravity = pose[:3, :3].T @ np.array([0.0, 0.0, -1.0])
    frame = Frame(np.ascontiguousarray(picture[..., :3]), camera, gravity=gravity)
    try:
        view = crop_object(frame, picture[..., 3] > 127)
    except LiftError:
        return None
    elevation = view.elevation()
    if view.truncated or elevation is None:
        return None
    return rgba_picture(view), elevation


class ElevationData:
    """The pictures of a pool with their elevations, in memory: 64 kB each."""

    def __init__(self, pictures: _Pictures, degrees: NDArray[np.float32]) -> None:
        """Keep pictures (n, PICTURE_SIZE, PICTURE_SIZE, 4) and elevations (n,)."""
        if not len(pictures) or len(pictures) != len(degrees):
            raise ValueError(f'{len(pictures)} pictures do not go with {len(degrees)} elevations')
        self.pictures = pictures
        self.degrees = degrees

    @classmethod
    def read(cls, pool: Pool, count: int | None = None) -> ElevationData:
        """
        Read the first ``count`` samples of a pool.

        Raises ``ValueError`` for an empty pool.
        """
        views = [
            view
            for index in range(min(pool.refresh(), count or len(pool)))
            for view in elevation_views(pool.read(index))
        ]
        if not views:
            raise ValueError(f'{pool.folder} holds no samples')
        pictures = np.stack([picture for picture, _ in views])
        return cls(pictures, np.array([degrees for _, degrees in views], np.float32))

    def batches(
        self, size: int, rng: np.random.Generator, side: int
    ) -> Iterator[dict[str, NDArray[Any]]]:
        """
        Yield batches indefinitely: ``picture`` uint8 (size, side, side, 4), ``elevation`` (size,).

        Each picture occurs once an epoch.
        """
        for chosen in shuffled_indices(len(self.pictures), size, rng):
            pictures = np.stack([_augment(self.pictures[index], rng, side) for index in chosen])
            yield {'picture': recoloured(pictures, rng), 'elevation': self.degrees[chosen]}


class ElevationTask:
    """The loss of the elevation network, and its scores on ``samples`` of other objects."""

    def __init__(self, samples: Sequence[dict[str, NDArray[Any]]]) -> None:
        """Keep the input pictures of the evaluation samples."""
        self._pictures = np.stack([sample['picture'] for sample in samples])
        self._degrees = np.array([sample['elevation'] for sample in samples], np.float64)

    def losses(self, model: nn.Module, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        """See ``Task``."""
        del step
        picture = batch['picture'].permute(0, 3, 1, 2).float() / 255.0
        logits = model(picture).float()
        centres = next(m for m in model.modules() if isinstance(m, ElevationNet)).centres
        apart = (centres[None] - batch['elevation'][:, None]) / _TARGET_STDDEV_DEG
        truth = torch.softmax(-0.5 * apart**2, dim=-1)
        mean = (logits.softmax(dim=-1) * centres).sum(dim=-1)
        error = functional.smooth_l1_loss(mean, batch['elevation'], beta=5.0)
        return {'bins': functional.cross_entropy(logits, truth), 'degrees': 0.03 * error}

    def predict(self, model: nn.Module) -> tuple[Array, Array, Array]:
        """Return elevations, their predicted stddev and the truth (n,) each, degrees."""
        assert isinstance(model, ElevationNet)
        device = model.centres.device
        elevations, deviations = [], []
        for start in range(0, len(self._pictures), 32):
            group = torch.from_numpy(self._pictures[start:start + 32]).to(device)
            with torch.no_grad():
                degrees, stddev = model.distribution(group.permute(0, 3, 1, 2).float() / 255.0)
            elevations.append(degrees.cpu().numpy())
            deviations.append(stddev.cpu().numpy())
        return (
            np.concatenate(elevations).astype(np.float64),
            np.concatenate(deviations).astype(np.float64),
            self._degrees,
        )

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """
        Return the errors in degrees, and the calibration of the standard deviation.

        ``median``, ``mean`` and ``p90`` of the absolute errors; ``within_8``: share of errors
        below 8 degrees; ``sigma_1``, ``sigma_2``: shares within one and two standard deviations;
        ``factor``: the factor that would calibrate them.
        """
        degrees, stddev, truth = self.predict(model)
        error = np.abs(degrees - truth)
        ratio = error / np.maximum(stddev, 1e-3)
        return {
            'score': -float(error.mean()),
            'median': float(np.median(error)),
            'mean': float(error.mean()),
            'p90': float(np.percentile(error, 90.0)),
            'within_8': float((error < 8.0).mean()),
            'sigma_1': float((ratio < 1.0).mean()),
            'sigma_2': float((ratio < 2.0).mean()),
            'factor': float(np.percentile(ratio, 68.3)),
        }


def _augment(picture: _Pictures, rng: np.random.Generator, side: int) -> _Pictures:
    """Return the picture resized, randomly mirrored, rolled, shifted, blurred, its mask rough."""
    angle = np.radians(rng.uniform(-_MAX_ROLL_DEG, _MAX_ROLL_DEG))
    c, s = rng.uniform(0.94, 1.06) * np.array([np.cos(angle), np.sin(angle)])
    A = np.array([[c, -s], [s, c]])
    if rng.random() < 0.5:
        A[:, 0] = -A[:, 0]
    middle = np.full(2, (len(picture) - 1) / 2.0)
    move = middle + rng.normal(0.0, 0.01 * len(picture), 2) - A @ middle
    result = cv2.warpAffine(
        picture, np.column_stack([A, move]), (len(picture), len(picture)),
        borderMode=cv2.BORDER_CONSTANT, borderValue=(255, 255, 255, 0),
    )
    if rng.random() < 0.25:
        coarse = int(rng.integers(side // 3, side))
        result = cv2.resize(result, (coarse, coarse), interpolation=cv2.INTER_AREA)
    shrinks = len(result) > side
    result = cv2.resize(
        result, (side, side), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    )
    if rng.random() < 0.3:
        result = _rough_mask(result, rng)
    return np.asarray(result, np.uint8)


def _rough_mask(picture: Any, rng: np.random.Generator) -> _Pictures:
    """Return the picture with a mask whose border is rough, like that of a detector."""
    side = len(picture)
    alpha = picture[..., 3].astype(np.float32) / 255.0
    waves = int(rng.integers(5, 13))
    noise = cv2.resize(
        rng.normal(0.0, 1.0, (waves, waves)).astype(np.float32), (side, side),
        interpolation=cv2.INTER_CUBIC,
    )
    soft = cv2.GaussianBlur(alpha, (0, 0), 0.025 * side)
    mask = (soft + rng.uniform(0.05, 0.3) * noise > 0.5).astype(np.float32)
    mask *= soft > 0.02
    background = rng.uniform(0.0, 255.0, 3).astype(np.float32)
    colour = picture[..., :3].astype(np.float32)
    # Background within the mask has one colour, like most tables.
    colour += (1.0 - alpha[..., None]) * (background - 255.0)
    colour = colour * mask[..., None] + 255.0 * (1.0 - mask[..., None])
    rough = np.dstack([colour, 255.0 * mask])
    return np.clip(np.rint(rough), 0.0, 255.0).astype(np.uint8)
