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

"""Runs over synthesised views: objects and settings -> tasks -> rows -> report."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from lift3d_ros.bench.reporting import views
from lift3d_ros.bench.results import Results
from lift3d_ros.bench.run import carry_out
from lift3d_ros.bench.run import choose_objects
from lift3d_ros.bench.run import evenly_spread
from lift3d_ros.bench.run import prepare_mean
from lift3d_ros.bench.run import training_objects
from lift3d_ros.bench.settings import as_record
from lift3d_ros.bench.views.baselines import mean_views
from lift3d_ros.bench.views.published_protocol import find_renders
from lift3d_ros.bench.views.settings import MEAN
from lift3d_ros.bench.views.settings import plan_views
from lift3d_ros.bench.views.settings import ViewsSettings
from lift3d_ros.bench.views.worker import ViewsWorker


def run_views(
    settings: ViewsSettings, out: Path, *, data: Path | None = None, split: str | None = None,
    count: int | None = None, official: Path | None = None, mean_of: int | None = None,
    jobs: int = 1, fresh: bool = False, command: str = ''
) -> int:
    """
    Run or resume a benchmark of views and write its report to ``out``; return the failed rows.

    ``data``, ``split`` and ``count`` as for ``run_bench``. ``official`` is a folder of published
    renders, measured beside the objects or alone. The mean of views is taken over ``mean_of``
    training objects, by default all. Raises ``LiftError`` where the run cannot begin, or its
    results cannot be written.
    """
    objects, everything = choose_objects(data, split, count, scenes=official is None)
    renders = [] if official is None else find_renders(official)
    source = {'data': str(data and data.resolve()), 'split': split,
              'official': str(official and official.resolve())}
    results = Results(out, {**settings.identity(), **source}, fresh)
    mean = None
    if MEAN in settings.predictors:
        train = evenly_spread(training_objects(everything, split), mean_of)
        path = out / f'mean_views_{len(train)}.npz'
        if prepare_mean(
            path, train, partial(mean_views, seed=settings.seed), 'mean of views', fresh
        ):
            mean = path
        else:
            settings = replace(settings, predictors=tuple(
                name for name in settings.predictors if name != MEAN))
    record = {**as_record(settings), **source, 'jobs': jobs, 'mean_file': mean and mean.name}
    return carry_out(
        plan_views(settings, objects, renders),
        results,
        partial(ViewsWorker, settings, out, mean),
        jobs,
        partial(views.report, out),
        {'command': command, 'run': record},
    )
