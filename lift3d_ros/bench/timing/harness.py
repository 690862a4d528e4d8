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

"""The frame of timings: one scene, measured by a module in a process that does nothing else."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from collections.abc import Sequence
import json
from pathlib import Path
import subprocess
import sys
from typing import Any

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError

#: What was measured, and the same as rows of name and value.
Figures = dict[str, Any]
AsRows = Callable[[Figures], list[list[str]]]

#: The module that measures what a report is named after.
_MODULES = {'five_time': 'five_objects', 'views_time': 'eight_views'}


def run_alone(
    out: Path,
    name: str,
    arguments: Sequence[str],
    as_rows: AsRows,
    *,
    column: str,
    data: Path | None,
    split: str | None,
    seed: int,
    command: str,
) -> Figures:
    """
    Measure one scene and leave ``name``.json and ``name``.md in ``out``.

    The scene is that of the first object of the split. It is made here and measured by the module
    of that ``name`` in this folder, in a process of its own, whose memory is that of the work
    alone; ``arguments`` follow the scene on its command line, ``column`` heads the figures. Raises
    ``LiftError`` where there are no objects, the process fails or ``out`` cannot be written.
    """
    from lift3d_ros.bench.reporting.machine import describe_machine
    from lift3d_ros.bench.reporting.markdown import markdown
    from lift3d_ros.bench.results import CannotWriteError
    from lift3d_ros.bench.run import choose_objects
    from lift3d_ros.bench.scenes import make_scenes
    from lift3d_ros.bench.scenes import write_bench_scene

    objects, _ = choose_objects(data, split, 1, scenes=True)
    scene = next(make_scenes(objects[0], 1, seed))
    folder = out / name / scene.name
    try:
        write_bench_scene(folder, scene.scene)
        done = subprocess.run(
            [sys.executable, '-m', f'lift3d_ros.bench.timing.{_MODULES[name]}', str(folder),
             *arguments, '--json'],
            capture_output=True, text=True, check=False)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ['it said nothing'])[-1]
            raise LiftError(ErrorCode.INTERNAL, f'The timing of {column} failed: {last}')
        found: Figures = json.loads(done.stdout.splitlines()[-1])
        machine = describe_machine()
        report = {'command': command, 'scene': scene.name, 'machine': machine, **found}
        table = markdown([['', column], *as_rows(found)])
        text = (f'    {command}\n\n{machine["processor"]}, {machine["cores"]} cores; '
                f'lift3d_ros {machine["lift3d_ros"]} ({machine["revision"]})\n\n{table}\n')
        (out / f'{name}.json').write_text(json.dumps(report, indent=1) + '\n')
        (out / f'{name}.md').write_text(text)
    except OSError as error:
        raise CannotWriteError(out, error) from error
    print(table)
    return report


def scene_parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser of a command line with a scene, told by the first line of a description."""
    parser = argparse.ArgumentParser(description=(description or '').strip().splitlines()[0])
    parser.add_argument('scene', type=Path, metavar='SCENE')
    parser.add_argument('--json', action='store_true', help='one line for a program')
    return parser


def print_figures(measure: Callable[[], Figures], as_rows: AsRows, as_json: bool) -> int:
    """Measure and print the figures; return the exit status."""
    try:
        found = measure()
    except LiftError as error:
        print(error.message, file=sys.stderr)
        return 1
    if as_json:
        print(json.dumps(found))
    else:
        for name, value in as_rows(found):
            print(f'{name:<40} {value}')
    return 0
