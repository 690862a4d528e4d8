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

"""The harness of all timings: isolated process, repetitions, memory, and the machine record."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
import importlib
import json
import os
from pathlib import Path
import subprocess
import sys
import time
from types import ModuleType
from typing import Any

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.runtime import memory

#: The modules of this folder that measure, by the name of their command. Each has
#: ``add_arguments(parser)``, ``run(options)``, which returns figures, and ``as_rows(figures)``.
PROGRAMS = {
    'batch': 'batch_overhead',
    'cold': 'cold_start',
    'device': 'device_lifts',
    'five': 'five_objects',
    'views': 'eight_views',
    'parts': 'convex_parts',
    'zero123': 'full_size_views',
    'surface': 'full_size_surface',
}

#: Measured values, which JSON can hold.
Figures = dict[str, Any]


@dataclass(frozen=True)
class Seconds:
    """Seconds on the clock, and of all threads of the processor or of the CUDA device."""

    clock: float
    busy: float


def timed(function: Callable[[], Any], device: str = 'cpu') -> tuple[Seconds, Any]:
    """Return the seconds of a call, until the device has finished it, and its result."""
    _synchronize(device)
    clock, busy = time.perf_counter(), time.process_time()
    result = function()
    _synchronize(device)
    clock, busy = time.perf_counter() - clock, time.process_time() - busy
    return Seconds(clock, clock if device == 'cuda' else busy), result


def matmul_rate(
    dtype: str, size: int, device: str = 'cpu', repeats: int = 3, clock: bool = False
) -> float:
    """
    Return the floating-point operations a second of a square matrix product, the best run.

    Of busy seconds, which other processes affect less, or with ``clock`` of those on the clock.
    """
    import torch

    a = torch.randn((size, size), device=device).to(getattr(torch, dtype))
    runs = [timed(lambda: a @ a, device)[0] for _ in range(repeats)]
    return 2.0 * size**3 / min(run.clock if clock else run.busy for run in runs)


def peak_memory(device: str = 'cpu') -> int:
    """Return the peak memory of the process, or of the CUDA device for it, bytes."""
    if device == 'cuda':
        import torch

        return int(torch.cuda.max_memory_allocated())
    return round(memory.peak_mb() * 2**20)


def device_name(device: str) -> str:
    """Return the device and the number of threads, or the name of the CUDA device."""
    import torch

    if device == 'cuda':
        return torch.cuda.get_device_name()
    return f'{device}, {torch.get_num_threads()} threads'


def items(figures: Figures) -> list[list[str]]:
    """Return figures that are text as rows of name and value."""
    return [[name, value] for name, value in figures.items()]


def at_least_one(text: str) -> int:
    """Return the number of an argument; raises ``ArgumentTypeError`` below 1."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'{text} must be at least 1')
    return int(text)


def main(name: str, arguments: Sequence[str]) -> int:
    """Run a program of ``PROGRAMS``, print its figures and return the exit status."""
    program = _program(name)
    parser = argparse.ArgumentParser(
        prog=f'python -m lift3d_ros.bench.timing {name}', description=program.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    program.add_arguments(parser)
    parser.add_argument('--threads', type=at_least_one, metavar='N', help='default: all cores')
    parser.add_argument('--json', action='store_true', help='print one line of JSON')
    options = parser.parse_args(arguments)
    load_average = os.getloadavg()[0]
    if options.threads:
        import torch

        torch.set_num_threads(options.threads)
    try:
        figures = program.run(options)
    except LiftError as error:
        print(error.message, file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps({'load_average': round(load_average, 2), **figures}))
        return 0
    rows = [*program.as_rows(figures), ['load average before', f'{load_average:.1f}']]
    width = max(len(row[0]) for row in rows)
    for row in rows:
        print(f'{row[0]:<{width}}  {"  ".join(row[1:])}')
    return 0


def isolated_process(
    out: Path, name: str, arguments: Sequence[str], *, column: str, data: Path | None,
    split: str | None, seed: int, command: str
) -> Figures:
    """
    Run a program of ``PROGRAMS`` on one scene; write ``NAME_time.json`` and ``.md`` to ``out``.

    The scene is that of the first object of the split. It is rendered here and measured in a
    process of its own, whose memory is that of the program; ``arguments`` follow the scene on its
    command line, ``column`` heads the figures. Raises ``LiftError`` where there are no objects,
    the process fails or ``out`` cannot be written.
    """
    from lift3d_ros.bench.reporting.machine import describe_machine
    from lift3d_ros.bench.reporting.report import markdown
    from lift3d_ros.bench.results import CannotWriteError
    from lift3d_ros.bench.run import choose_objects
    from lift3d_ros.bench.scenes import make_scenes
    from lift3d_ros.bench.scenes import write_bench_scene

    objects, _ = choose_objects(data, split, 1, scenes=True)
    scene = next(make_scenes(objects[0], 1, seed))
    folder = out / f'{name}_time' / scene.name
    try:
        write_bench_scene(folder, scene.scene)
        done = subprocess.run(
            [sys.executable, '-m', 'lift3d_ros.bench.timing', name, str(folder), *arguments,
             '--json'],
            capture_output=True, text=True, check=False)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ['no message'])[-1]
            raise LiftError(ErrorCode.INTERNAL, f'The timing of {column} failed: {last}')
        figures: Figures = json.loads(done.stdout.splitlines()[-1])
        machine = describe_machine()
        report = {'command': command, 'scene': scene.name, 'machine': machine,
                  'column': column, **figures}
        table = markdown([['', column], *as_rows(name, figures)])
        text = (f'    {command}\n\n{machine["processor"]}, {machine["cores"]} cores; '
                f'lift3d_ros {machine["lift3d_ros"]} ({machine["revision"]})\n\n{table}\n')
        (out / f'{name}_time.json').write_text(json.dumps(report, indent=1) + '\n')
        (out / f'{name}_time.md').write_text(text)
    except OSError as error:
        raise CannotWriteError(out, error) from error
    print(table)
    return report


def as_rows(name: str, figures: Figures) -> list[list[str]]:
    """Return the figures of a program of ``PROGRAMS`` as rows of name and value."""
    return [*_program(name).as_rows(figures),
            ['load average before', f'{figures["load_average"]:.1f}']]


def _program(name: str) -> ModuleType:
    return importlib.import_module(f'lift3d_ros.bench.timing.{PROGRAMS[name]}')


def _synchronize(device: str) -> None:
    if device == 'cuda':
        import torch

        torch.cuda.synchronize()
