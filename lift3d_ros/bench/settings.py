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

"""Settings of a run, and the tasks that they make."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence
from dataclasses import asdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lift3d_ros.bench.ablation import VARIANTS
from lift3d_ros.bench.baselines import BASELINES
from lift3d_ros.bench.grasps.physics import check_packages
from lift3d_ros.bench.predictors import check_names
from lift3d_ros.bench.scenes import MASKS
from lift3d_ros.bench.scenes import TRACKS
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.lifter import LEARNED
from lift3d_ros.lifter import Lifter
from lift3d_ros.lifter import METHODS
from lift3d_ros.synthetic.objects import ObjectEntry

#: The predictor that returns the scan: the upper bound of the grasp planner.
SCAN = 'scan'

#: Cameras around one object, at most.
MAX_CAMERAS = 4

#: The track of real frames, with all that a frame holds.
REAL = 'real'

#: Settings that all rows of one folder of results share.
_IDENTITY = ('mask', 'occluded', 'grasp', 'physics', 'seed', 'weights', 'samples', 'cameras')


@dataclass(frozen=True)
class Settings:
    """
    Settings of a run over shapes.

    - ``predictors``: methods and baselines by name; ``tracks``: of ``TRACKS``.
    - ``mask``: ``exact`` or ``noisy``; ``occluded``: another object stands in front.
    - ``views``: scenes of each object; ``seed``: of scenes and methods.
    - ``grasp``: also plan and try grasps, with ``physics`` also in simulation; ``timeout``:
      seconds after which a lift fails.
    - ``weights``, ``samples``: of the methods with networks, as ``Lifter`` takes them.
    - ``cameras``: around the object; methods are given all of them, baselines the first.
    """

    predictors: tuple[str, ...]
    tracks: tuple[str, ...] = ('rgbd',)
    mask: str = 'exact'
    occluded: bool = False
    views: int = 2
    grasp: bool = False
    seed: int = 0
    timeout: float = 600.0
    weights: str = 'small'
    samples: int = 1
    physics: bool = False
    cameras: int = 1

    def __post_init__(self) -> None:
        """Check every setting; raises ``LiftError(BAD_REQUEST)``."""
        check_names(self.predictors)
        check_choice('track', self.tracks, TRACKS)
        check_choice('mask', [self.mask], MASKS)
        if self.views < 1:
            raise LiftError(ErrorCode.BAD_REQUEST, f'{self.views} views are too few.')
        if not 1 <= self.cameras <= MAX_CAMERAS:
            raise LiftError(
                ErrorCode.BAD_REQUEST,
                f'{self.cameras} cameras cannot stand around an object; give 1 to {MAX_CAMERAS}.',
            )
        if self.physics:
            if not self.grasp:
                raise LiftError(
                    ErrorCode.BAD_REQUEST, 'Physics tries grasps; set --grasp, too.'
                )
            check_packages()
        for name in self.predictors:
            if name in LEARNED or name in VARIANTS:
                # Fail before the run where every lift would fail.
                method = name.split('/')[0]
                Lifter(method, weights=self.weights, samples=self.samples).check()

    def identity(self) -> dict[str, Any]:
        """Return what all rows of one folder of results must share to be comparable."""
        return {name: getattr(self, name) for name in _IDENTITY}


@dataclass(frozen=True)
class Task:
    """
    One scene for one predictor, in the tracks that have no row yet.

    ``subject`` is the object of a scene to render, or the path of a real frame.
    """

    subject: ObjectEntry | Path
    view: int
    predictor: str
    tracks: tuple[str, ...]

    @property
    def scene(self) -> str:
        """The name of the scene, unique in a run."""
        if isinstance(self.subject, ObjectEntry):
            return f'{self.subject.name}_{self.view}'
        return self.subject.name

    @property
    def object(self) -> str:
        """The name of the object."""
        return self.subject.name

    def row(self, track: str) -> dict[str, Any]:
        """Return the entries of a row that name its scene, track and predictor."""
        return {
            'scene': self.scene, 'object': self.object, 'track': track,
            'contender': self.predictor,
        }


def as_record(settings: Any) -> dict[str, Any]:
    """Return settings as ``report.json`` lists them, where predictors are ``contenders``."""
    record = asdict(settings)
    return {'contenders': record.pop('predictors'), **record}


def check_choice(kind: str, names: Iterable[str], choices: Iterable[str], where: str = '') -> None:
    """Raise ``LiftError(BAD_REQUEST)`` for a name that is not among the choices."""
    choices = list(choices)
    for name in names:
        if name not in choices:
            raise LiftError(
                ErrorCode.BAD_REQUEST,
                f'There is no {kind} "{name}"{where}; choose from {", ".join(choices)}.',
            )


def plan_tasks(
    settings: Settings, objects: Sequence[ObjectEntry], frames: Sequence[Path]
) -> list[Task]:
    """
    Return the tasks of a run, scene by scene.

    Baselines that need depth skip the tracks without it, and all but methods skip the tracks with
    another source of scale.
    """
    names = list(settings.predictors)
    if settings.grasp and 'rgbd' in settings.tracks:
        names.append(SCAN)
    tracks = {
        name: tuple(track for track in settings.tracks if _takes_part(name, track))
        for name in names
    }
    tasks = [
        Task(entry, view, name, tracks[name])
        for view in range(settings.views) for entry in objects for name in names if tracks[name]
    ]
    return tasks + [
        Task(folder, 0, name, (REAL,)) for folder in frames for name in settings.predictors
    ]


def _takes_part(predictor: str, track: str) -> bool:
    if TRACKS[track].scale:
        return predictor in METHODS
    return TRACKS[track].depth or predictor not in (*BASELINES, SCAN)
