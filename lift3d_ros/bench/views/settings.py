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


"""What a run over synthesised views is asked for, and the pieces of work that this comes to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lift3d_ros.bench.settings import Task
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.synthetic.objects import ObjectEntry

#: The mean of training views; it needs a split ``train`` apart from what is measured.
MEAN = 'mean'

#: Contenders that need no weights.
BASELINES = ('repeated', MEAN, 'depth-warped')

#: The coarse volume's own rendering: what diffusion has to add to.
COARSE = 'coarse'

#: The tracks: depth and gravity are given, or gravity alone.
VIEW_TRACKS = ('rgbd', 'rgb')

#: The name of the track that asks for the elevation of the input camera, and for no views.
ELEVATION = 'elevation'

#: The name of the track of pictures that others have rendered.
OFFICIAL = 'official'


@dataclass(frozen=True)
class ViewsSettings:
    """
    What a run does.

    - ``contenders``: ``BASELINES``, ``COARSE`` and the name of the weights, as chosen.
    - ``weights``: a name or a folder, as the synthesizer takes it; ``sampler``, ``steps``: how it
      samples, 0 steps are the sampler's own.
    - ``tracks``: of ``VIEW_TRACKS``; ``scenes``: of each object; ``seed``: of scenes and methods.
    - ``timeout``: seconds after which a synthesis is given up.
    """

    contenders: tuple[str, ...]
    weights: str = 'small'
    tracks: tuple[str, ...] = VIEW_TRACKS
    scenes: int = 2
    seed: int = 0
    timeout: float = 600.0
    sampler: str = 'fast'
    steps: int = 0

    def __post_init__(self) -> None:
        """Refuse what does not exist; raises ``LiftError(BAD_REQUEST)``."""
        known = (*BASELINES, COARSE, self.synthesizer)
        for kind, names, choice in (('contender', self.contenders, known),
                                    ('track', self.tracks, VIEW_TRACKS)):
            for name in names:
                if name not in choice:
                    raise LiftError(
                        ErrorCode.BAD_REQUEST,
                        f'There is no {kind} "{name}" for views; choose from '
                        f'{", ".join(choice)}.',
                    )
        if self.scenes < 1:
            raise LiftError(ErrorCode.BAD_REQUEST, f'{self.scenes} scenes show nothing.')

    @property
    def synthesizer(self) -> str:
        """The name under which the weights are listed."""
        return weights_name(self.weights)

    def identity(self) -> dict[str, Any]:
        """Return what all rows of one folder of results must share to be comparable."""
        return {
            'measure': 'views', 'weights': self.weights, 'seed': self.seed,
            'sampler': self.sampler, 'steps': self.steps,
        }


def weights_name(weights: str) -> str:
    """Return the name under which weights, a name or a folder, are listed."""
    return Path(weights).name or weights


def plan_views(
    settings: ViewsSettings, objects: Sequence[ObjectEntry], pictures: Sequence[Path] = ()
) -> list[Task]:
    """Return all work of a run, scene by scene; ``pictures`` are inputs that others rendered."""
    tasks = []
    for number in range(settings.scenes):
        for entry in objects:
            for name in settings.contenders:
                asked = (ELEVATION,) if name == settings.synthesizer else ()
                tasks.append(Task(entry, number, name, (*settings.tracks, *asked)))
    # No training view was normalised like those pictures, and they have no depth.
    tasks += [
        Task(path, 0, name, (OFFICIAL,))
        for path in pictures for name in settings.contenders if name != MEAN
    ]
    return tasks
