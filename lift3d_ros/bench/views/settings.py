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

"""Settings of a run over synthesised views, and the tasks that they make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lift3d_ros.bench.settings import check_choice
from lift3d_ros.bench.settings import Task
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.synthetic.objects import ObjectEntry

#: The mean of training views, which needs a split ``train`` apart from what is measured.
MEAN = 'mean'

#: Predictors without weights.
BASELINES = ('repeated', MEAN, 'depth-warped')

#: The rendering of the coarse volume, which conditions the denoiser.
COARSE = 'coarse'

#: The tracks: with depth and gravity, or with gravity.
VIEW_TRACKS = ('rgbd', 'rgb')

#: The track of the elevation of the input camera, without views.
ELEVATION = 'elevation'

#: The track of published renders.
OFFICIAL = 'official'


@dataclass(frozen=True)
class ViewsSettings:
    """
    Settings of a run over synthesised views.

    - ``predictors``: of ``BASELINES``, ``COARSE`` and the name of the weights.
    - ``weights``: a name or a folder, as the synthesizer takes it; ``sampler``, ``steps``: of its
      sampler, where 0 steps are the sampler's default.
    - ``tracks``: of ``VIEW_TRACKS``; ``scenes``: of each object; ``seed``: of scenes and methods.
    - ``timeout``: seconds after which a synthesis fails.
    """

    predictors: tuple[str, ...]
    weights: str = 'small'
    tracks: tuple[str, ...] = VIEW_TRACKS
    scenes: int = 2
    seed: int = 0
    timeout: float = 600.0
    sampler: str = 'fast'
    steps: int = 0

    def __post_init__(self) -> None:
        """Check every setting; raises ``LiftError(BAD_REQUEST)``."""
        known = (*BASELINES, COARSE, self.synthesizer)
        check_choice('method or baseline', self.predictors, known, ' for views')
        check_choice('track', self.tracks, VIEW_TRACKS, ' for views')
        if self.scenes < 1:
            raise LiftError(ErrorCode.BAD_REQUEST, f'{self.scenes} scenes are too few.')

    @property
    def synthesizer(self) -> str:
        """The name of the weights in tables."""
        return weights_name(self.weights)

    def identity(self) -> dict[str, Any]:
        """Return what all rows of one folder of results must share to be comparable."""
        return {
            'measure': 'views', 'weights': self.weights, 'seed': self.seed,
            'sampler': self.sampler, 'steps': self.steps,
        }


def weights_name(weights: str) -> str:
    """Return the name of weights, given by name or folder, in tables."""
    return Path(weights).name or weights


def plan_views(
    settings: ViewsSettings, objects: Sequence[ObjectEntry], renders: Sequence[Path] = ()
) -> list[Task]:
    """Return the tasks of a run, scene by scene; ``renders`` are published inputs."""
    tasks = []
    for number in range(settings.scenes):
        for entry in objects:
            for name in settings.predictors:
                elevation = (ELEVATION,) if name == settings.synthesizer else ()
                tasks.append(Task(entry, number, name, (*settings.tracks, *elevation)))
    # The mean of training views has no published renders: their canonical frame differs.
    return tasks + [
        Task(path, 0, name, (OFFICIAL,))
        for path in renders for name in settings.predictors if name != MEAN
    ]
