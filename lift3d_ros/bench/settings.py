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


"""What a run of the benchmark is asked for, and the pieces of work that this comes to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lift3d_ros.bench.ablation import VARIANTS
from lift3d_ros.bench.baselines import BASELINES
from lift3d_ros.bench.grasps.physics import check_packages
from lift3d_ros.bench.predictors import check_names
from lift3d_ros.bench.tracks import MASKS
from lift3d_ros.bench.tracks import TRACKS
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.lifter import LEARNED
from lift3d_ros.lifter import Lifter
from lift3d_ros.lifter import METHODS
from lift3d_ros.synthetic.objects import ObjectEntry

#: The contender that is the scan itself: what the grasp planner can reach at best.
SCAN = 'scan'

#: Cameras around one object, at most.
MAX_CAMERAS = 4

#: The track of real frames, where whatever the frame has is given.
REAL = 'real'


@dataclass(frozen=True)
class Settings:
    """
    What a run does.

    - ``contenders``: methods and baselines by name; ``tracks``: of ``TRACKS``.
    - ``mask``: ``exact`` or ``noisy``; ``occluded``: another object stands in front.
    - ``views``: scenes of each object; ``seed``: of scenes and methods.
    - ``grasp``: plan and try grasps too, with ``physics`` in simulation besides; ``timeout``:
      seconds after which a lift is given up.
    - ``weights``, ``samples``: of the methods with networks, as ``Lifter`` takes them.
    - ``cameras``: that see the object; the methods are given all of them, baselines the first.
    """

    contenders: tuple[str, ...]
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
        """Refuse what does not exist; raises ``LiftError(BAD_REQUEST)``."""
        check_names(self.contenders)
        for track in self.tracks:
            if track not in TRACKS:
                raise LiftError(
                    ErrorCode.BAD_REQUEST,
                    f'There is no track "{track}"; choose from {", ".join(TRACKS)}.',
                )
        if self.mask not in MASKS:
            raise LiftError(
                ErrorCode.BAD_REQUEST,
                f'There is no mask "{self.mask}"; choose from {", ".join(MASKS)}.',
            )
        if self.views < 1:
            raise LiftError(ErrorCode.BAD_REQUEST, f'{self.views} views show nothing.')
        if not 1 <= self.cameras <= MAX_CAMERAS:
            raise LiftError(
                ErrorCode.BAD_REQUEST,
                f'{self.cameras} cameras were asked for; ask for 1 to {MAX_CAMERAS}.',
            )
        if self.physics:
            if not self.grasp:
                raise LiftError(
                    ErrorCode.BAD_REQUEST, 'Physics tries grasps; ask for grasps, too (--grasp).'
                )
            check_packages()
        for name in self.contenders:
            if name in LEARNED or name in VARIANTS:
                # What no lift could do shall not become a table of failures.
                method = name.split('/')[0]
                Lifter(method, weights=self.weights, samples=self.samples).check()

    def identity(self) -> dict[str, Any]:
        """Return what all rows of one folder of results must share to be comparable."""
        return {
            'mask': self.mask,
            'occluded': self.occluded,
            'grasp': self.grasp,
            'physics': self.physics,
            'seed': self.seed,
            'weights': self.weights,
            'samples': self.samples,
            'cameras': self.cameras,
        }


@dataclass(frozen=True)
class Task:
    """
    One scene for one contender in the tracks that are still to do.

    ``subject`` is an object to make the scene of, or the folder of a real frame.
    """

    subject: ObjectEntry | Path
    view: int
    contender: str
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


def plan_tasks(
    settings: Settings, objects: Sequence[ObjectEntry], frames: Sequence[Path]
) -> list[Task]:
    """
    Return all work of a run, scene by scene.

    Baselines that need depth have no part in tracks without it, and methods alone in those that
    tell the scale otherwise.
    """
    contenders = list(settings.contenders)
    if settings.grasp and 'rgbd' in settings.tracks:
        contenders.append(SCAN)
    tasks = []
    for view in range(settings.views):
        for entry in objects:
            for name in contenders:
                tracks = tuple(
                    track for track in settings.tracks if _takes_part(name, track)
                )
                if tracks:
                    tasks.append(Task(entry, view, name, tracks))
    for folder in frames:
        tasks += [Task(folder, 0, name, (REAL,)) for name in settings.contenders]
    return tasks


def _takes_part(contender: str, track: str) -> bool:
    if TRACKS[track].scale:
        return contender in METHODS
    return TRACKS[track].depth or contender not in (*BASELINES, SCAN)
