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

"""Settings of a run over whole scenes, and the tasks that they make."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lift3d_ros.bench.rooms.candidates import CANDIDATES
from lift3d_ros.bench.rooms.candidates import PRIOR
from lift3d_ros.bench.settings import check_choice
from lift3d_ros.bench.settings import Task
from lift3d_ros.errors import bad_request
from lift3d_ros.lifter import METHODS
from lift3d_ros.scene.prior import fills
from lift3d_ros.scene.prior.fills import make_fill

#: Tracks: the objects have masks, or not.
MASKS, NO_MASKS = 'masks', 'no-masks'
ROOM_TRACKS = (MASKS, NO_MASKS)


@dataclass(frozen=True)
class RoomsSettings:
    """
    Settings of a run over whole scenes.

    - ``predictors``: of ``CANDIDATES``; ``tracks``: of ``ROOM_TRACKS``.
    - ``rooms``: their number; ``seed``: of the rooms.
    - ``method``: of the objects; ``weights``: with the prior; ``resolution``: of the voxels, in
      metres.
    """

    predictors: tuple[str, ...]
    tracks: tuple[str, ...] = (MASKS,)
    rooms: int = 40
    seed: int = 0
    method: str = 'geometric'
    weights: str = 'small'
    resolution: float = 0.02

    def __post_init__(self) -> None:
        """Check every setting; raises ``LiftError(BAD_REQUEST)``."""
        check_choice('candidate', self.predictors, CANDIDATES, ' for --scenes')
        check_choice('track', self.tracks, ROOM_TRACKS, ' for --scenes')
        check_choice('method', [self.method], METHODS)
        if self.rooms < 1:
            raise bad_request(f'{self.rooms} rooms cannot be measured; choose at least 1.')
        if PRIOR in self.predictors:
            # Fail before the run where every room would fail.
            make_fill(fills.PRIOR, self.weights)

    def identity(self) -> dict[str, Any]:
        """Return what all rows of one folder of results must share to be comparable."""
        return {'measure': 'rooms', **{name: getattr(self, name) for name in (
            'seed', 'method', 'weights', 'resolution')}}


def plan_rooms(settings: RoomsSettings) -> list[Task]:
    """Return the tasks of a run, room by room."""
    return [
        Task(Path(f'room_{number:03d}'), number, name, settings.tracks)
        for number in range(settings.rooms) for name in settings.predictors
    ]
