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

"""What a run over distilled methods measures: predictors, seeds, scenes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lift3d_ros.bench.distilled.predictors import check_predictors
from lift3d_ros.bench.distilled.predictors import predictor_names
from lift3d_ros.bench.settings import check_choice
from lift3d_ros.bench.settings import Task
from lift3d_ros.errors import bad_request
from lift3d_ros.synthetic.objects import ObjectEntry

#: Tracks: with depth and gravity, only depth, only gravity, neither.
DISTILLED_TRACKS = ('rgbd', 'rgbd-blind', 'rgb', 'rgb-blind')


@dataclass(frozen=True)
class DistilledSettings:
    """
    Settings of a run over distilled methods and their controls.

    - ``predictors``: of ``predictors.predictor_names()``; ``tracks``: of ``DISTILLED_TRACKS``.
    - ``scenes``: of each object; ``seeds``: runs of each predictor on a scene.
    - ``seed``: of the scenes, and the first of the seeds of the methods.
    - ``weights``: small weights of the feed-forward field and of the image encoder.
    - ``preset``, ``steps``: of the methods and the controls; empty and 0 for their defaults.
    - ``timeout``: seconds after which a lift fails.
    """

    predictors: tuple[str, ...]
    tracks: tuple[str, ...] = ('rgbd',)
    scenes: int = 1
    seeds: int = 2
    seed: int = 0
    weights: str = 'small'
    preset: str = ''
    steps: int = 0
    timeout: float = 600.0

    def __post_init__(self) -> None:
        """Check every setting; raises ``LiftError(BAD_REQUEST)``."""
        check_choice('method or control', self.predictors, predictor_names(), ' for --distill')
        check_choice('track', self.tracks, DISTILLED_TRACKS, ' for --distill')
        if min(self.scenes, self.seeds) < 1:
            raise bad_request(
                f'{self.scenes} scenes of {self.seeds} seeds cannot be measured; choose at least '
                '1 of each.')
        check_predictors(self.predictors, self.weights, self.preset, self.steps)

    def identity(self) -> dict[str, Any]:
        """Return what all rows of one folder of results must share to be comparable."""
        return {'measure': 'distilled', **{name: getattr(self, name) for name in (
            'seed', 'weights', 'preset', 'steps')}}


@dataclass(frozen=True)
class SeededTask(Task):
    """A task whose predictor has the seed ``seed``."""

    seed: int = 0

    @property
    def scene(self) -> str:
        """The name of the scene and the seed, unique in a run."""
        return f'{super().scene}_seed{self.seed}'

    def row(self, track: str) -> dict[str, Any]:
        """Return the entries of a row that name its scene, track, predictor and seed."""
        return {**super().row(track), 'seed': self.seed}


def plan_distilled(
    settings: DistilledSettings, objects: Sequence[ObjectEntry]
) -> list[SeededTask]:
    """
    Return the tasks of a run, object by object, of the objects with real colours.

    Raises ``LiftError(BAD_REQUEST)`` if no object has them.
    """
    colored = [entry for entry in objects if entry.colored]
    if not colored:
        raise bad_request(
            'No object has real colours, which this run measures; name other --data.')
    return [
        SeededTask(entry, view, name, settings.tracks, settings.seed + number)
        for view in range(settings.scenes) for entry in colored
        for number in range(settings.seeds) for name in settings.predictors
    ]
