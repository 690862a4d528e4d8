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

"""Runs of the benchmark: objects and settings -> tasks -> rows -> report."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
import sys
import time
from typing import Any

from lift3d_ros.bench.baselines import average
from lift3d_ros.bench.baselines import MeanShape
from lift3d_ros.bench.processes import run_tasks
from lift3d_ros.bench.processes import TaskWorker
from lift3d_ros.bench.real_frames import find_real
from lift3d_ros.bench.reporting import shapes
from lift3d_ros.bench.reporting.report import Report
from lift3d_ros.bench.reporting.report import write_report
from lift3d_ros.bench.results import CannotWriteError
from lift3d_ros.bench.results import Results
from lift3d_ros.bench.results import Row
from lift3d_ros.bench.settings import as_record
from lift3d_ros.bench.settings import plan_tasks
from lift3d_ros.bench.settings import Settings
from lift3d_ros.bench.settings import Task
from lift3d_ros.bench.worker import MEAN_SHAPE
from lift3d_ros.bench.worker import Worker
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.synthetic.objects import find_objects
from lift3d_ros.synthetic.objects import ObjectEntry

#: Seconds between two lines of progress where there is no terminal; errors are printed at once.
_LINE_INTERVAL_S = 10.0


def run_bench(
    settings: Settings, out: Path, *, data: Path | None = None, split: str | None = None,
    count: int | None = None, real: Path | None = None, jobs: int = 1, fresh: bool = False,
    command: str = ''
) -> int:
    """
    Run or resume a benchmark and write its report to ``out``; return the number of failed rows.

    ``data`` is a folder of objects, of which ``count``, evenly spread, of ``split`` are taken; the
    default split is ``eval`` where there is one, else all objects. ``real`` is a folder of real
    frames, whose meshes are in ``data``. Raises ``LiftError`` where the run cannot begin, or its
    results cannot be written.
    """
    objects, everything = choose_objects(data, split, count, scenes=real is None)
    frames = [] if real is None else find_real(real)
    if real is not None:
        objects = []
    source = {'data': str(data and data.resolve()), 'split': split,
              'real': str(real and real.resolve())}
    results = Results(out, {**settings.identity(), **source}, fresh)
    if MeanShape.name in settings.predictors and not prepare_mean(
        out / MEAN_SHAPE, training_objects(everything, split), average, 'mean shape'
    ):
        settings = replace(settings, predictors=tuple(
            name for name in settings.predictors if name != MeanShape.name))
    categories = {entry.name: entry.category for entry in objects if entry.category}
    return carry_out(
        plan_tasks(settings, objects, frames),
        results,
        partial(Worker, settings, objects, out, data or Path()),
        jobs,
        partial(shapes.report, out, settings.predictors, categories),
        {'command': command, 'run': {**as_record(settings), **source, 'jobs': jobs}},
    )


def carry_out(
    tasks: Sequence[Task], results: Results, make_worker: Callable[[], TaskWorker], jobs: int,
    make_report: Callable[[Sequence[Row]], Report], record: dict[str, Any]
) -> int:
    """
    Do the tasks without a row, print and write the report; return the number of failed rows.

    ``make_report`` makes the report of all rows; ``record`` holds ``command`` and ``run``, the
    settings. Raises ``LiftError`` where a file cannot be written.
    """
    left = remaining(tasks, results)
    if len(results):
        print(f'{len(results)} rows of an earlier run in {results.folder} are kept; '
              '--fresh measures anew')
    execute(left, results, make_worker, min(jobs, max(len(left), 1)))
    report = make_report(results.rows())
    print(f'\n{report.text()}')
    try:
        for path in write_report(results.folder, report, record):
            print(path)
    except OSError as error:
        raise CannotWriteError(results.folder, error) from error
    return sum(not row['ok'] for row in results.rows())


def choose_objects(
    data: Path | None, split: str | None, count: int | None, scenes: bool
) -> tuple[list[ObjectEntry], list[ObjectEntry]]:
    """Return the objects to measure, and all objects of the folder."""
    if data is None:
        if scenes:
            raise LiftError(
                ErrorCode.BAD_REQUEST, 'Name a folder of objects with --data, or --real frames.'
            )
        return [], []
    everything = find_objects(data)
    if split is None and any(entry.split == 'eval' for entry in everything):
        split = 'eval'
    return evenly_spread(find_objects(data, split), count), everything


def evenly_spread(objects: list[ObjectEntry], count: int | None) -> list[ObjectEntry]:
    """Return ``count`` objects, evenly spread over the list, whose neighbours are alike."""
    if count is None or count >= len(objects):
        return objects
    return [objects[k * len(objects) // count] for k in range(count)]


def training_objects(objects: Sequence[ObjectEntry], split: str | None) -> list[ObjectEntry]:
    """Return the objects of the training split, none where it is the one that is measured."""
    return [] if split == 'train' else [entry for entry in objects if entry.split == 'train']


def prepare_mean(
    path: Path, train: Sequence[ObjectEntry], make: Callable[[Sequence[ObjectEntry]], Any],
    what: str, fresh: bool = False
) -> bool:
    """Return whether a mean over training objects is in its file, after making it if possible."""
    if path.exists() and not fresh:
        return True
    if not train:
        print(f'no {what}: the data has no split "train" apart from what is measured')
        return False
    print(f'taking the {what} of {len(train)} training objects', flush=True)
    make(train).write(path)
    return True


def remaining(tasks: Sequence[Task], results: Results) -> list[Task]:
    """Return the tasks with the tracks that have no row yet."""
    left = [
        replace(task, tracks=tuple(
            track for track in task.tracks
            if (task.scene, track, task.predictor) not in results))
        for task in tasks
    ]
    return [task for task in left if task.tracks]


def execute(
    tasks: Sequence[Task], results: Results, make_worker: Callable[[], TaskWorker], jobs: int
) -> None:
    """Do the tasks, write their rows as they arrive, and show the progress."""
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
            if not on_terminal and (now - last > _LINE_INTERVAL_S or done == total):
                last = now
                rest = (now - start) / done * (total - done)
                print(f'{done} of {total} rows, {rest:.0f} s to go; {_line(rows[-1])}', flush=True)


def _line(row: Row) -> str:
    what = f'{row["contender"]} on {row["scene"]} ({row["track"]})'
    if not row['ok']:
        return f'{what}: {row["error"]["code"]}: {row["error"]["message"]}'
    return f'{what}: IoU {row["iou"]:.3f}' if 'iou' in row else f'{what}: done'
