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


"""The views of the published One-2-3-45: eight around the object, and four near each of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
import torch

from lift3d_ros.diffusion.sampling import FAITHFUL
from lift3d_ros.diffusion.sampling import FAST
from lift3d_ros.diffusion.sampling import Sampler
from lift3d_ros.diffusion.sampling import SamplerSettings
from lift3d_ros.diffusion.view_plan import FIRST_RING
from lift3d_ros.diffusion.view_plan import first_stage
from lift3d_ros.diffusion.view_plan import NEAR_STEPS
from lift3d_ros.diffusion.view_plan import PlannedView
from lift3d_ros.diffusion.view_plan import second_stage
from lift3d_ros.diffusion.zero123 import InputCondition
from lift3d_ros.diffusion.zero123 import Zero123
from lift3d_ros.geometry import zero123_pose
from lift3d_ros.geometry.frame import ObjectView
from lift3d_ros.progress import Progress

#: Values >= this become white in the views of the second stage.
SNAP = 253


@dataclass(frozen=True)
class Schedule:
    """
    The settings that trade quality for time.

    - ``first``, ``second``: samplers of the two stages of views.
    - ``resolution``: points of the grid along each side of the volume.
    - ``refine``: whether the grid is computed only near the surface.
    - ``cleaned``: whether the mesh is the largest component inside the views, closed; otherwise
      it is the unmodified zero level, as published.
    - ``zenith``: see ``plan.ZENITH``.
    """

    first: SamplerSettings
    second: SamplerSettings
    resolution: int = 257
    refine: bool = True
    cleaned: bool = True
    zenith: str = 'fixed'


#: ``faithful`` uses the published grid and samplers: DDIM, eta 1, scale 3, 75 steps in the first
#: stage and 50 in the second. ``fast`` takes a seventh of the work.
SCHEDULES = {
    'faithful': Schedule(FAITHFUL, replace(FAITHFUL, steps=50), resolution=256, refine=False),
    'fast': Schedule(FAST, replace(FAST, steps=8)),
}


class PublishedViews:
    """The views of one reconstruction, each synthesised once."""

    def __init__(
        self,
        zero: Zero123,
        settings: Schedule,
        view: ObjectView,
        size: int,
        rng: np.random.Generator,
        progress: Progress,
    ) -> None:
        self._zero = zero
        self._settings = settings
        self._image = resized(view.image, size)
        # One seed for each of the 8 + 32 views, independent of the order of synthesis.
        self._seeds = rng.integers(0, 2**63, 8 + 32)
        self._progress = progress
        self._first: dict[int, NDArray[np.uint8]] = {}
        self._second: dict[int, NDArray[np.uint8]] = {}
        self._rows = {
            sampler: view_steps(sampler, zero.scheduler)
            for sampler in (settings.first, settings.second)
        }
        self._work = 8 * self._rows[settings.first] + 32 * self._rows[settings.second]
        self._done = 0

    def nearby(self) -> NDArray[np.uint8]:
        """Return the four views near the first view, for the elevation search, as published."""
        # The views of the first ring do not depend on the elevation.
        plan = first_stage(0.0)
        self._synthesize_first(plan, range(len(FIRST_RING)))
        self._synthesize_second(second_stage(plan), range(len(NEAR_STEPS)))
        return np.stack([self._second[i] for i in range(len(NEAR_STEPS))])

    def all(
        self, elevation: float
    ) -> tuple[
        NDArray[np.uint8], NDArray[np.uint8], tuple[PlannedView, ...], tuple[PlannedView, ...]
    ]:
        """Return the images of the second and the first stage, and both plans."""
        first = first_stage(elevation)
        second = second_stage(first)
        self._synthesize_first(first, range(len(first)))
        self._synthesize_second(second, range(len(second)))
        return (
            np.stack([self._second[i] for i in range(len(second))]),
            np.stack([self._first[i] for i in range(len(first))]),
            second,
            first,
        )

    def _synthesize_first(self, plan: Sequence[PlannedView], indices: range) -> None:
        missing = [i for i in indices if i not in self._first]
        if missing:
            images = self._synthesize(
                [self._image] * len(missing), [plan[i] for i in missing], self._settings.first,
                [int(self._seeds[i]) for i in missing],
            )
            self._first.update(zip(missing, images, strict=True))

    def _synthesize_second(self, plan: Sequence[PlannedView], indices: range) -> None:
        missing = [i for i in indices if i not in self._second]
        if missing:
            images = self._synthesize(
                [self._first[plan[i].source] for i in missing], [plan[i] for i in missing],
                self._settings.second, [int(self._seeds[8 + i]) for i in missing],
            )
            images = np.where(images >= SNAP, np.uint8(255), images)
            self._second.update(zip(missing, images, strict=True))

    def _synthesize(
        self,
        images: Sequence[NDArray[np.uint8]],
        views: Sequence[PlannedView],
        sampler: SamplerSettings,
        seeds: Sequence[int],
    ) -> NDArray[np.uint8]:
        """Return views, uint8 (n, s, s, 3), each from its own input image, in one batch."""
        poses = zero123_pose(
            [v.azimuth_step for v in views], [v.elevation_step for v in views], 0.0, 0.0)
        conditions: dict[int, InputCondition] = {}
        for image in images:
            if id(image) not in conditions:
                self._progress.check()
                pixels = image.transpose(2, 0, 1).astype(np.float32) / 127.5 - 1.0
                conditions[id(image)] = self._zero.encode(torch.from_numpy(pixels))
        batch = [conditions[id(image)] for image in images]
        condition = InputCondition(
            torch.cat([c.embedding for c in batch]), torch.cat([c.latent for c in batch])
        )
        begin = 0.8 * self._done / self._work
        self._done += len(views) * self._rows[sampler]
        denoised = self._zero.synthesize(
            condition, poses, sampler, seed=seeds, progress=self._progress,
            fractions=(begin, 0.8 * self._done / self._work),
        )
        values = denoised.add(1.0).mul(127.5).round().permute(0, 2, 3, 1)
        return np.asarray(values.numpy(), np.uint8)


def view_steps(sampler: SamplerSettings, scheduler: Any) -> int:
    """Return the number of denoiser rows for a view; a guided step has two."""
    steps = Sampler(sampler, scheduler)
    return sum(2 if steps.guided(t) else 1 for t in steps.timesteps)


def resized(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    if image.shape[0] == size:
        return image
    filter_ = cv2.INTER_AREA if image.shape[0] > size else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, (size, size), interpolation=filter_), np.uint8)
