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
Seconds from the start of a process to a loaded method, and to a lifted scene.

For example::

    python -m lift3d_ros.bench.timing cold SCENE

Each round starts three processes: one imports torch alone, as the control, one loads the method,
and one is ``lift3d lift SCENE``. Seconds of processor depend less on other programs than those on
the clock do. ``--pythonpath`` measures another checkout of the package, alternately.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
import resource
import statistics
import subprocess
import sys
import tempfile
import time

from lift3d_ros.bench.timing.harness import at_least_one
from lift3d_ros.bench.timing.harness import Figures
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.lifter import DEFAULT_METHOD

#: Rounds by default.
ROUNDS = 5

#: What the names of figures of another checkout begin with.
_OTHER = 'other: '


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument('scene', type=Path, metavar='SCENE')
    parser.add_argument('--method', default=DEFAULT_METHOD, metavar='NAME')
    parser.add_argument('--rounds', type=at_least_one, default=ROUNDS, metavar='N')
    parser.add_argument(
        '--pythonpath', type=Path, metavar='DIR', help='another checkout, measured alternately')


def run(options: argparse.Namespace) -> Figures:
    """Return the figures of a scene; raises ``LiftError`` where a process fails."""
    with tempfile.TemporaryDirectory() as out:
        load = f'from lift3d_ros.lifter import Lifter; Lifter({options.method!r}).load()'
        commands = {
            'import torch': ['-c', 'import torch'],
            'load the method': ['-c', load],
            'lift3d lift': [
                '-m', 'lift3d_ros.cli', 'lift', str(options.scene.resolve()), '--method',
                options.method, '--out', out],
        }
        return {'method': options.method, **measure(commands, options.rounds, options.pythonpath)}


def measure(commands: dict[str, list[str]], rounds: int, other: Path | None = None) -> Figures:
    """
    Return the figures of Python processes by name, each with its arguments.

    ``other`` is a folder that precedes PYTHONPATH in processes that alternate with these. Raises
    ``LiftError`` where a process fails.
    """
    checkouts: dict[str, Path | None] = {'': None}
    if other is not None:
        checkouts[_OTHER] = other
    clock: dict[str, list[float]] = {}
    busy: dict[str, list[float]] = {}
    for number in range(-1, rounds):
        for prefix, checkout in checkouts.items():
            for name, arguments in commands.items():
                seconds, processor = _measure(arguments, checkout)
                # The first round reads the files into the cache of the machine.
                if number >= 0:
                    clock.setdefault(prefix + name, []).append(seconds)
                    busy.setdefault(prefix + name, []).append(processor)
    return {
        'rounds': rounds,
        'clock': {name: _mean(values) for name, values in clock.items()},
        'busy': {name: _mean(values) for name, values in busy.items()},
        'ratio': {
            name: _mean([a / b for a, b in zip(busy[_OTHER + name], busy[name], strict=True)])
            for name in commands if other is not None
        },
    }


def as_rows(figures: Figures) -> list[list[str]]:
    """Return the figures as rows of name and values."""
    rows = [['process', 'seconds of processor', 'on the clock']]
    for name, (mean, error) in figures['busy'].items():
        seconds, spread = figures['clock'][name]
        rows.append([name, f'{mean:.2f} +- {error:.2f}', f'{seconds:.2f} +- {spread:.2f}'])
    return rows + [
        [f'{name}: other over this, of processor', f'{mean:.2f} +- {error:.2f}']
        for name, (mean, error) in figures['ratio'].items()]


def _measure(arguments: list[str], checkout: Path | None) -> tuple[float, float]:
    """Return the seconds of a process on the clock, and those of the processor."""
    environment = dict(os.environ)
    if checkout is not None:
        paths = [str(checkout.resolve()), environment.get('PYTHONPATH', '')]
        environment['PYTHONPATH'] = os.pathsep.join(filter(None, paths))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=False,
        env=environment, cwd=tempfile.gettempdir())
    seconds = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ['no message'])[-1]
        raise LiftError(ErrorCode.INTERNAL, f'{" ".join(arguments)[:200]} failed: {last}')
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, used


def _mean(values: list[float]) -> tuple[float, float]:
    """Return mean and standard error."""
    error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else float('nan')
    return statistics.fmean(values), error
