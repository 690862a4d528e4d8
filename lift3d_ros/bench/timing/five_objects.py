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
Seconds and memory of five objects of one frame beside one, in a process that does nothing else.

For example::

    python -m lift3d_ros.bench.timing.five_objects SCENE

SCENE is a scene folder, whose object is lifted once by ``Lifter.lift`` and five times over by one
``Lifter.lift_all``, by turns, so that both bear the same load of the machine.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
import os
from pathlib import Path
import statistics
import sys
import time
from typing import Any

from lift3d_ros.bench.timing.harness import print_figures
from lift3d_ros.bench.timing.harness import run_alone
from lift3d_ros.bench.timing.harness import scene_parser
from lift3d_ros.errors import LiftError
from lift3d_ros.io.scene import read_scene
from lift3d_ros.lifter import DEFAULT_METHOD
from lift3d_ros.lifter import Lifter
from lift3d_ros.runtime import memory
from lift3d_ros.runtime.threads import thread_count

#: How many objects are lifted together, and how often this is timed.
OBJECTS = 5
REPEATS = 5


def run_five_time(
    out: Path,
    *,
    method: str = DEFAULT_METHOD,
    weights: str | None = 'small',
    data: Path | None = None,
    split: str | None = None,
    seed: int = 0,
    command: str = '',
) -> dict[str, Any]:
    """
    Time the object of one scene and leave ``five_time.json`` and ``five_time.md`` in ``out``.

    The scene is that of the first object of the split. Raises ``LiftError`` where there are no
    objects or the process fails.
    """
    return run_alone(
        out,
        'five_time',
        ['--method', method, *(['--weights', weights] if weights else [])],
        as_rows,
        column=method,
        data=data,
        split=split,
        seed=seed,
        command=command,
    )


def as_rows(found: dict[str, Any]) -> list[list[str]]:
    """Return what was measured as rows of name and value."""
    return [
        ['threads', str(found['threads'])],
        [f'one object, warm, median of {REPEATS}, s', f'{found["one_seconds"]:.2f}'],
        [f'{OBJECTS} objects of one frame, s', f'{found["five_seconds"]:.2f}'],
        ['... over one, median of the ratios', f'{found["ratio"]:.2f}'],
        ['one object, seconds of processor', f'{found["one_cpu"]:.2f}'],
        [f'{OBJECTS} objects, seconds of processor', f'{found["five_cpu"]:.2f}'],
        ['peak memory with one, MB', f'{found["one_memory_mb"]:.0f}'],
        [f'peak memory with {OBJECTS}, MB', f'{found["five_memory_mb"]:.0f}'],
        ['load average before', f'{found["load_average"]:.1f}'],
    ]


def measure(
    scene: Path, method: str = DEFAULT_METHOD, weights: str | None = None
) -> dict[str, Any]:
    """Return the figures of a scene; raises ``LiftError`` as loading and lifting do."""
    load_average = os.getloadavg()[0]
    frame, mask = read_scene(scene)
    lifter = Lifter(method, weights=weights)
    lifter.load()

    def one() -> None:
        lifter.lift(frame, mask)

    def five() -> None:
        for found in lifter.lift_all(frame, [mask] * OBJECTS):
            if isinstance(found, LiftError):
                raise found

    one()
    single = [_timed(one)]
    one_memory = memory.peak_mb()
    five()
    several = [_timed(five)]
    for _ in range(REPEATS - 1):
        single.append(_timed(one))
        several.append(_timed(five))
    return {
        'method': method,
        'threads': thread_count(),
        'load_average': round(load_average, 2),
        'one_seconds': statistics.median(wall for wall, _ in single),
        'five_seconds': statistics.median(wall for wall, _ in several),
        'ratio': statistics.median(
            b[0] / a[0] for a, b in zip(single, several, strict=True)
        ),
        'one_cpu': statistics.median(cpu for _, cpu in single),
        'five_cpu': statistics.median(cpu for _, cpu in several),
        'one_memory_mb': one_memory,
        'five_memory_mb': memory.peak_mb(),
    }


def _timed(work: Callable[[], None]) -> tuple[float, float]:
    """Return the seconds that went by, and those of the processor."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure one scene and print the figures."""
    parser = scene_parser(__doc__)
    parser.add_argument('--method', default=DEFAULT_METHOD, metavar='NAME')
    parser.add_argument('--weights', metavar='NAME|PATH')
    options = parser.parse_args(arguments)
    return print_figures(
        lambda: measure(options.scene, options.method, options.weights), as_rows, options.json
    )


if __name__ == '__main__':
    sys.exit(main())
