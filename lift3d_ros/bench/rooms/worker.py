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

"""One process of a run over whole scenes: make rooms, complete them and score the results."""

from __future__ import annotations

from collections.abc import Sequence
import functools
from pathlib import Path

import cv2
import numpy as np

from lift3d_ros.bench.processes import TaskWorker
from lift3d_ros.bench.reporting.sheet import picture_path
from lift3d_ros.bench.reporting.sheet import RINGS
from lift3d_ros.bench.reporting.sheet import TRUTH
from lift3d_ros.bench.reporting.sheet import write_jpeg
from lift3d_ros.bench.results import CannotWriteError
from lift3d_ros.bench.results import Row
from lift3d_ros.bench.rooms import measures
from lift3d_ros.bench.rooms.candidates import Completion
from lift3d_ros.bench.rooms.candidates import RoomCompleter
from lift3d_ros.bench.rooms.settings import MASKS
from lift3d_ros.bench.rooms.settings import RoomsSettings
from lift3d_ros.bench.rooms.truth import BenchRoom
from lift3d_ros.bench.rooms.truth import make_bench_room
from lift3d_ros.bench.settings import Task
from lift3d_ros.errors import ErrorCode
from lift3d_ros.runtime import memory
from lift3d_ros.synthetic.objects import ObjectEntry

#: Rooms whose views are kept for the sheet.
_KEPT = 10


class RoomWorker(TaskWorker):
    """Rooms, candidates and scores of one process."""

    failed = measures.FAILED
    fatal = (ErrorCode.WEIGHTS_MISSING, ErrorCode.WEIGHTS_CORRUPT)

    def __init__(
        self, settings: RoomsSettings, objects: Sequence[ObjectEntry], out: Path
    ) -> None:
        """Take the settings of the run and the objects; ``out`` is the folder of results."""
        self._settings, self._objects, self._out = settings, objects, out
        self._completer = RoomCompleter(settings.method, settings.weights, settings.resolution)
        # Consecutive tasks share the room.
        self._room = functools.lru_cache(maxsize=1)(self._make_room)

    def measure(self, task: Task, track: str) -> Row:
        """Return the figures of a task in a track; raises ``LiftError``."""
        room = self._room(task.view)
        memory.reset_peak()
        done = self._completer.complete(task.predictor, room, track == MASKS)
        peak = memory.peak_mb()
        if task.view < _KEPT:
            self._keep(task, track, room, done)
        return {
            'ok': True, 'error': None, 'kind': room.made.room.kind,
            **measures.all_figures(room, done),
            'confidence_bins': measures.confidence_bins(room, done.surface, False).tolist(),
            'object_bins': measures.confidence_bins(room, done.surface, True).tolist(),
            'seconds': {name: round(s, 3) for name, s in done.seconds.items()},
            'scene_memory_mb': round(peak, 1),
        }

    def _make_room(self, number: int) -> BenchRoom:
        return make_bench_room(number, self._objects, self._settings.seed)

    def _keep(self, task: Task, track: str, room: BenchRoom, done: Completion) -> None:
        """Write the views of the candidate and the true ones for the sheet."""
        size = done.views[0][0].shape[1::-1]
        small = cv2.resize(room.made.frame.image, size, interpolation=cv2.INTER_AREA)
        true = [small, *(view.truth.image for view in room.views)]
        for name, row in (
            (task.predictor, [image for image, _ in done.views]), (TRUTH, true)
        ):
            path = picture_path(self._out, RINGS, track, name.replace('/', '-'), task.scene)
            try:
                write_jpeg(path, np.concatenate(row, axis=1), 92)
            except OSError as error:
                raise CannotWriteError(path, error) from error
