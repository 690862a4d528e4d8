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
One run over synthesised views.

objects, settings --plan_views--> tasks --processes--> rows --> tables, reports, sheets of rings
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from dataclasses import replace
from functools import partial
from pathlib import Path

from lift3d_ros.bench.reporting.views_report import views_text
from lift3d_ros.bench.reporting.views_report import write_views_reports
from lift3d_ros.bench.results import CannotWriteError
from lift3d_ros.bench.results import Results
from lift3d_ros.bench.run import choose_objects
from lift3d_ros.bench.run import execute
from lift3d_ros.bench.run import remaining
from lift3d_ros.bench.views.baselines import mean_views
from lift3d_ros.bench.views.published_protocol import find_official
from lift3d_ros.bench.views.settings import BASELINES
from lift3d_ros.bench.views.settings import COARSE
from lift3d_ros.bench.views.settings import MEAN
from lift3d_ros.bench.views.settings import plan_views
from lift3d_ros.bench.views.settings import ViewsSettings
from lift3d_ros.bench.views.worker import ViewsWorker
from lift3d_ros.synthetic.objects import ObjectEntry


def run_views(
    settings: ViewsSettings,
    out: Path,
    *,
    data: Path | None = None,
    split: str | None = None,
    count: int | None = None,
    official: Path | None = None,
    mean_of: int | None = None,
    jobs: int = 1,
    fresh: bool = False,
    command: str = '',
) -> int:
    """
    Run or resume a benchmark of views and leave its report in ``out``; return the failed rows.

    ``data`` is a folder of objects, of which ``count``, evenly spread, of ``split`` are taken; by
    default that is ``eval`` where there is one, else everything. ``official`` is a folder of
    pictures that others rendered, measured beside or alone. The mean of views is taken over
    ``mean_of`` training objects, by default all. Raises ``LiftError`` where the run cannot begin,
    or its results not be written.
    """
    objects, everything = choose_objects(data, split, count, scenes=official is None)
    pictures = [] if official is None else find_official(official)
    source = {'data': str(data and data.resolve()), 'split': split,
              'official': str(official and official.resolve())}
    results = Results(out, {**settings.identity(), **source}, fresh)
    mean = None
    if MEAN in settings.contenders:
        mean = _prepare_mean(out, everything, split, mean_of, settings.seed, fresh)
        if mean is None:
            settings = replace(settings, contenders=tuple(
                name for name in settings.contenders if name != MEAN))
    tasks = remaining(plan_views(settings, objects, pictures), results)
    if len(results):
        print(f'{len(results)} rows of an earlier run in {out} are kept; --fresh measures anew')
    execute(
        tasks, results, partial(ViewsWorker, settings, out, mean), min(jobs, max(len(tasks), 1)))
    rows = results.rows()
    shown = _order({row['contender'] for row in rows})
    print(f'\n{views_text(rows, shown)}')
    try:
        run = {**asdict(settings), **source, 'jobs': jobs, 'mean_file': mean and mean.name}
        for path in write_views_reports(out, rows, shown, run, command):
            print(path)
    except OSError as error:
        raise CannotWriteError(out, error) from error
    return sum(not row['ok'] for row in rows)


def _prepare_mean(
    out: Path,
    objects: Sequence[ObjectEntry],
    split: str | None,
    mean_of: int | None,
    seed: int,
    fresh: bool,
) -> Path | None:
    """Return the file of the mean views, after making it where need be, or None."""
    train = [entry for entry in objects if entry.split == 'train']
    if not train or split == 'train':
        print('no mean of views: the data has no split "train" apart from what is measured')
        return None
    if mean_of is not None and mean_of < len(train):
        train = [train[k * len(train) // mean_of] for k in range(mean_of)]
    path = out / f'mean_views_{len(train)}.npz'
    if path.exists() and not fresh:
        return path
    print(f'taking the mean of the views of {len(train)} training objects', flush=True)
    made = mean_views(train, seed)
    try:
        made.write(path)
    except OSError as error:
        raise CannotWriteError(path, error) from error
    return path


def _order(names: set[str]) -> list[str]:
    """Return contenders in the order of the tables: the synthesizer last, the coarse before."""
    first = [name for name in (*BASELINES, COARSE) if name in names]
    return [*first, *sorted(names - set(first))]
