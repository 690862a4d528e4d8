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
Seconds and memory of five objects of one frame beside one.

For example::

    python -m lift3d_ros.bench.timing five SCENE

SCENE is a scene folder. Its object is lifted once by ``Lifter.lift`` and five times by one
``Lifter.lift_all``, alternately, so that other processes affect both alike.
"""

from __future__ import annotations

import argparse
from pathlib import Path
import statistics

from lift3d_ros.bench.timing.harness import Figures
from lift3d_ros.bench.timing.harness import timed
from lift3d_ros.errors import LiftError
from lift3d_ros.io.scene import read_scene
from lift3d_ros.lifter import DEFAULT_METHOD
from lift3d_ros.lifter import Lifter
from lift3d_ros.runtime import memory
from lift3d_ros.runtime.process import thread_count

#: Objects that are lifted together, and repetitions.
OBJECTS = 5
REPEATS = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument('scene', type=Path, metavar='SCENE')
    parser.add_argument('--method', default=DEFAULT_METHOD, metavar='NAME')
    parser.add_argument('--weights', metavar='NAME|PATH')


def run(options: argparse.Namespace) -> Figures:
    """Return the figures of a scene."""
    return measure(options.scene, options.method, options.weights)


def measure(scene: Path, method: str = DEFAULT_METHOD, weights: str | None = None) -> Figures:
    """Return the figures of a scene; raises ``LiftError`` as loading and lifting do."""
    frame, mask = read_scene(scene)
    lifter = Lifter(method, weights=weights)
    lifter.load()

    def one() -> None:
        lifter.lift(frame, mask)

    def five() -> None:
        for result in lifter.lift_all(frame, [mask] * OBJECTS):
            if isinstance(result, LiftError):
                raise result

    one()
    single = [timed(one)[0]]
    one_memory = memory.peak_mb()
    five()
    several = [timed(five)[0]]
    for _ in range(REPEATS - 1):
        single.append(timed(one)[0])
        several.append(timed(five)[0])
    return {
        'method': method,
        'threads': thread_count(),
        'one_seconds': statistics.median(run.clock for run in single),
        'five_seconds': statistics.median(run.clock for run in several),
        'ratio': statistics.median(
            b.clock / a.clock for a, b in zip(single, several, strict=True)),
        'one_cpu': statistics.median(run.busy for run in single),
        'five_cpu': statistics.median(run.busy for run in several),
        'one_memory_mb': one_memory,
        'five_memory_mb': memory.peak_mb(),
    }


def as_rows(figures: Figures) -> list[list[str]]:
    """Return the figures as rows of name and value."""
    return [
        ['threads', str(figures['threads'])],
        [f'one object, warm, median of {REPEATS}, s', f'{figures["one_seconds"]:.2f}'],
        [f'{OBJECTS} objects of one frame, s', f'{figures["five_seconds"]:.2f}'],
        ['... over one, median of the ratios', f'{figures["ratio"]:.2f}'],
        ['one object, seconds of processor', f'{figures["one_cpu"]:.2f}'],
        [f'{OBJECTS} objects, seconds of processor', f'{figures["five_cpu"]:.2f}'],
        ['peak memory with one, MB', f'{figures["one_memory_mb"]:.0f}'],
        [f'peak memory with {OBJECTS}, MB', f'{figures["five_memory_mb"]:.0f}'],
    ]
