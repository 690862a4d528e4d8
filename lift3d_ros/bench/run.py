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
One run of the benchmark.

objects, settings --plan_tasks--> tasks --processes--> rows --> tables, reports, sheets
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import asdict
from dataclasses import replace
from functools import partial
from pathlib import Path
import sys
import time

from lift3d_ros.bench.mean_shape import average
from lift3d_ros.bench.mean_shape import MeanShape
from lift3d_ros.bench.processes import run_tasks
from lift3d_ros.bench.processes import Runner
from lift3d_ros.bench.real import find_real
from lift3d_ros.bench.reporting.report import text_tables
from lift3d_ros.bench.reporting.report import write_reports
from lift3d_ros.bench.results import CannotWriteError
from lift3d_ros.bench.results import Results
from lift3d_ros.bench.results import Row
from lift3d_ros.bench.settings import plan_tasks
from lift3d_ros.bench.settings import Settings
from lift3d_ros.bench.settings import Task
from lift3d_ros.bench.worker import MEAN_SHAPE
from lift3d_ros.bench.worker import Worker
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.synthetic.objects import find_objects
from lift3d_ros.synthetic.objects import ObjectEntry

#: Off a terminal a line is printed at most this often, seconds; errors are printed at once.
_LINE_EVERY = 10.0


def run_bench(
    settings: Settings,
    out: Path,
    *,
    data: Path | None = None,
    split: str | None = None,
    count: int | None = None,
    real: Path | None = None,
    jobs: int = 1,
    fresh: bool = False,
    command: str = '',
) -> int:
    """
    Run or resume a benchmark and leave its report in ``out``; return how many rows failed.

    ``data`` is a folder of objects, of which ``count``, evenly spread, of ``split`` are taken; by
    default that is ``eval`` where there is one, else everything. ``real`` is a folder of real
    frames, whose meshes are looked for in ``data``. Raises ``LiftError`` where the run cannot
    begin, or its results not be written.
    """
    objects, everything = choose_objects(data, split, count, scenes=real is None)
    frames = [] if real is None else find_real(real)
    if real is not None:
        objects = []
    source = {'data': str(data and data.resolve()), 'split': split,
              'real': str(real and real.resolve())}
    results = Results(out, {**settings.identity(), **source}, fresh)
    if MeanShape.name in settings.contenders and not _prepare_mean(out, everything, split):
        print('no mean shape: the data has no split "train" apart from what is measured')
        settings = replace(
            settings, contenders=tuple(n for n in settings.contenders if n != MeanShape.name)
        )
    tasks = remaining(plan_tasks(settings, objects, frames), results)
    if len(results):
        print(f'{len(results)} rows of an earlier run in {out} are kept; --fresh measures anew')
    execute(
        tasks,
        results,
        partial(Worker, settings, objects, out, data or Path()),
        min(jobs, max(len(tasks), 1)),
    )
    categories = {entry.name: entry.category for entry in objects if entry.category}
    rows = [{**row, 'category': categories.get(row['object'], '')} for row in results.rows()]
    shown = list(dict.fromkeys([*settings.contenders, *sorted({r['contender'] for r in rows})]))
    print(f'\n{text_tables(rows, shown)}')
    try:
        run = {**asdict(settings), **source, 'jobs': jobs}
        for path in write_reports(out, rows, shown, run, command):
            print(path)
    except OSError as error:
        raise CannotWriteError(out, error) from error
    return sum(not row['ok'] for row in rows)


def choose_objects(
    data: Path | None, split: str | None, count: int | None, scenes: bool
) -> tuple[list[ObjectEntry], list[ObjectEntry]]:
    """Return the objects to measure, and all that the folder holds."""
    if data is None:
        if scenes:
            raise LiftError(
                ErrorCode.BAD_REQUEST, 'Name a folder of objects with --data, or --real frames.'
            )
        return [], []
    everything = find_objects(data)
    if split is None and any(entry.split == 'eval' for entry in everything):
        split = 'eval'
    objects = find_objects(data, split)
    if count is not None and count < len(objects):
        # Evenly over the list, whose neighbours are of one kind.
        objects = [objects[k * len(objects) // count] for k in range(count)]
    return objects, everything


def _prepare_mean(out: Path, objects: Sequence[ObjectEntry], split: str | None) -> bool:
    """Return whether there is a mean shape, after making it where it can be."""
    if (out / MEAN_SHAPE).exists():
        return True
    train = [entry for entry in objects if entry.split == 'train']
    if not train or split == 'train':
        return False
    print(f'taking the mean shape of {len(train)} training objects', flush=True)
    try:
        average(train).write(out / MEAN_SHAPE)
    except OSError as error:
        raise CannotWriteError(out / MEAN_SHAPE, error) from error
    return True


def remaining(tasks: Sequence[Task], results: Results) -> list[Task]:
    """Return the tasks with the tracks that have no row yet."""
    unfinished = []
    for task in tasks:
        tracks = tuple(
            track for track in task.tracks
            if (task.scene, track, task.contender) not in results
        )
        if tracks:
            unfinished.append(replace(task, tracks=tracks))
    return unfinished


def execute(
    tasks: Sequence[Task], results: Results, make_worker: Callable[[], Runner], jobs: int
) -> None:
    """Do the tasks, keep their rows as they come, and show how far it is."""
    from tqdm import tqdm

    total = sum(len(task.tracks) for task in tasks)
    start = last = time.monotonic()
    done = 0
    on_terminal = sys.stderr.isatty()
    with tqdm(total=total, unit='row', leave=False, disable=not on_terminal) as bar:
        for rows in run_tasks(tasks, make_worker, jobs):
            results.append(rows)
            done += len(rows)
            bar.update(len(rows))
            for row in rows:
                if not row['ok']:
                    bar.write(_line(row))
            now = time.monotonic()
            if not on_terminal and (now - last > _LINE_EVERY or done == total):
                last = now
                rest = (now - start) / done * (total - done)
                print(f'{done} of {total} rows, {rest:.0f} s to go; {_line(rows[-1])}', flush=True)


def _line(row: Row) -> str:
    what = f'{row["contender"]} on {row["scene"]} ({row["track"]})'
    if not row['ok']:
        return f'{what}: {row["error"]["code"]}: {row["error"]["message"]}'
    return f'{what}: IoU {row["iou"]:.3f}' if 'iou' in row else f'{what}: done'


