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
Overhead of the engine of batches: workers beside a plain loop of the same lifts.

For example::

    python -m lift3d_ros.bench.timing batch SCENE

Copies of SCENE are lifted by a loop in this process, by one worker and by two, alternately, so
that other programs affect all alike. Each uses one thread. The time is that from the first lift to
the last, without the start of Ray and the loading of models. On a machine where other programs
run, the share of the workers' time that is not spent on items depends least on them.
"""

from __future__ import annotations

import argparse
from pathlib import Path
import shutil
import statistics
import tempfile
import time
from typing import Any

import numpy as np

from lift3d_ros.batch.manifest import read_records
from lift3d_ros.batch.ray_pool import ClusterSettings
from lift3d_ros.batch.run import run_batch
from lift3d_ros.batch.scene_files import lift_scene
from lift3d_ros.batch.scene_files import SceneSettings
from lift3d_ros.batch.work import WorkSettings
from lift3d_ros.bench.timing.harness import Figures
from lift3d_ros.lifter import Lifter
from lift3d_ros.runtime.reports import write_report

#: Workers by name; None: a loop in this process.
_ENGINES: dict[str, int | None] = {'loop': None, 'one': 1, 'two': 2}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument('scene', type=Path, metavar='SCENE')
    parser.add_argument('--method', default='geometric', metavar='NAME')
    parser.add_argument('--count', type=int, default=20, help='scenes of a run (default: 20)')
    parser.add_argument('--rounds', type=int, default=4, help='runs of each (default: 4)')


def run(options: argparse.Namespace) -> Figures:
    """Return the figures of a scene."""
    seconds: dict[str, list[float]] = {name: [] for name in _ENGINES}
    idle: dict[str, list[float]] = {name: [] for name in _ENGINES}
    with tempfile.TemporaryDirectory() as folder:
        scenes = Path(folder) / 'scenes'
        # The first of each worker pays for imports, and is not counted.
        for index in range(options.count + max(each or 1 for each in _ENGINES.values())):
            shutil.copytree(options.scene, scenes / f'{index:04d}')
        for number in range(options.rounds):
            for name, workers in _ENGINES.items():
                out = Path(folder) / f'{name}{number}'
                if workers is None:
                    records = _loop(scenes, out, options.method)
                else:
                    run_batch(
                        [scenes], out, WorkSettings(options.method),
                        ClusterSettings(workers=workers))
                    records = list(read_records(out))
                each, share = _measured(records)
                seconds[name].append(each)
                idle[name].append(share)
    loop = np.array(seconds['loop'])
    return {
        'method': options.method,
        'count': options.count,
        'rounds': options.rounds,
        **{f'{name}_seconds': _mean(values) for name, values in seconds.items()},
        **{f'{name}_idle': _mean(values) for name, values in idle.items()},
        'one_overhead': _mean(np.array(seconds['one']) / loop - 1.0),
        'two_overhead': _mean(2.0 * np.array(seconds['two']) / loop - 1.0),
    }


def _loop(scenes: Path, out: Path, method: str) -> list[dict[str, Any]]:
    """Lift the scenes one after another, as ``lift3d lift`` does; return records as of a batch."""
    import cv2
    import torch

    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    out.mkdir()
    settings, lifter = SceneSettings(), Lifter(method)
    lifter.load()
    records = []
    for path in sorted(scenes.iterdir()):
        start = time.monotonic()
        lifted = lift_scene(lifter, settings, path, out / f'{path.name}.ply')
        write_report(out / f'{path.name}.json', lifted.report)
        records.append({
            'worker': 'loop', 'seconds': time.monotonic() - start, 'time': time.time()})
    return records


def _measured(records: list[dict[str, Any]]) -> tuple[float, float]:
    """Return the seconds of an item, and the share of the workers' time without one."""
    begin: dict[str, float] = {}
    for record in records:
        begin.setdefault(record['worker'], record['time'])
    start, end = max(begin.values()), records[-1]['time']
    counted = [record for record in records if record['time'] > start]
    elapsed = end - start
    spent = sum(record['seconds'] for record in counted)
    return elapsed / len(counted), 1.0 - spent / (elapsed * len(begin))


def _mean(values: Any) -> list[float]:
    """Return mean and standard error."""
    plain = [float(value) for value in values]
    error = statistics.stdev(plain) / len(plain) ** 0.5 if len(plain) > 1 else float('nan')
    return [statistics.fmean(plain), error]


def as_rows(figures: Figures) -> list[list[str]]:
    """Return the figures as rows of name and value."""
    def value(name: str, unit: float = 1.0) -> str:
        mean, error = figures[name]
        return f'{unit * mean:.3f} +- {unit * error:.3f}'

    return [
        ['scenes of a run, runs', f'{figures["count"]}, {figures["rounds"]}'],
        ['loop, s a scene', value('loop_seconds')],
        ['one worker, s a scene', value('one_seconds')],
        ['two workers, s a scene', value('two_seconds')],
        ['one worker over the loop, %', value('one_overhead', 100.0)],
        ['two workers over half of the loop, %', value('two_overhead', 100.0)],
        ['time of the loop without an item, %', value('loop_idle', 100.0)],
        ['time of one worker without an item, %', value('one_idle', 100.0)],
        ['time of two workers without an item, %', value('two_idle', 100.0)],
    ]
