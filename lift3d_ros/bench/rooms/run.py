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

"""A run over whole scenes, from the command to the report."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from lift3d_ros.bench.reporting import rooms
from lift3d_ros.bench.results import Results
from lift3d_ros.bench.rooms.settings import plan_rooms
from lift3d_ros.bench.rooms.settings import RoomsSettings
from lift3d_ros.bench.rooms.worker import RoomWorker
from lift3d_ros.bench.run import carry_out
from lift3d_ros.bench.run import choose_objects
from lift3d_ros.bench.settings import as_record


def run_rooms(
    settings: RoomsSettings, out: Path, *, data: Path | None = None, split: str | None = None,
    jobs: int = 1, fresh: bool = False, command: str = ''
) -> int:
    """
    Run or resume a benchmark of whole scenes; return the number of failed rows.

    ``data`` and ``split`` as for ``run_bench``: the objects of the rooms. Raises ``LiftError``
    where the run cannot begin, or its results cannot be written.
    """
    objects, _ = choose_objects(data, split, None, scenes=True)
    source = {'data': str(data and data.resolve()), 'split': split}
    results = Results(out, {**settings.identity(), **source}, fresh)
    return carry_out(
        plan_rooms(settings),
        results,
        partial(RoomWorker, settings, objects, out),
        jobs,
        partial(rooms.report, out, settings.predictors),
        {'command': command, 'run': {**as_record(settings), **source, 'jobs': jobs}},
    )
