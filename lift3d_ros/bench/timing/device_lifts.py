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
Seconds and memory of lifts on a device: one object, and several of one frame.

For example::

    python -m lift3d_ros.bench.timing device SCENE --device cuda --objects 8

The first lift is cold: kernels are loaded and compiled in it. ``--weights full`` measures the
published networks, where they are installed.
"""

from __future__ import annotations

import argparse
from pathlib import Path
import statistics

from lift3d_ros.bench.timing import harness
from lift3d_ros.errors import LiftError
from lift3d_ros.io.scene import read_scene
from lift3d_ros.lifter import DEFAULT_METHOD
from lift3d_ros.lifter import DEVICES
from lift3d_ros.lifter import Lifter


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument('scene', type=Path, metavar='SCENE')
    parser.add_argument('--method', default=DEFAULT_METHOD, metavar='NAME')
    parser.add_argument('--weights', metavar='NAME|PATH')
    parser.add_argument('--device', choices=DEVICES, default='cpu')
    parser.add_argument('--objects', type=harness.at_least_one, default=8, metavar='N')
    parser.add_argument('--repeats', type=harness.at_least_one, default=5, metavar='N')


def run(options: argparse.Namespace) -> harness.Figures:
    """Return the figures of a scene; raises ``LiftError`` as loading and lifting do."""
    frame, mask = read_scene(options.scene)
    lifter = Lifter(options.method, device=options.device, weights=options.weights)
    loading, _ = harness.timed(lifter.load, options.device)

    def one() -> dict[str, float]:
        return lifter.lift(frame, mask).seconds

    def several() -> None:
        for result in lifter.lift_all(frame, [mask] * options.objects):
            if isinstance(result, LiftError):
                raise result

    cold, _ = harness.timed(one, options.device)
    single, together, stages = [], [], []
    # Alternately, so that other processes affect both alike.
    for _ in range(options.repeats):
        seconds, parts = harness.timed(one, options.device)
        single.append(seconds.clock)
        stages.append(parts)
        together.append(harness.timed(several, options.device)[0].clock)
    memory = harness.peak_memory(options.device)
    name = 'processor' if options.device == 'cpu' else harness.device_name(options.device)
    return {
        'device': name, 'method': options.method, 'objects': options.objects,
        'load_seconds': loading.clock, 'cold_seconds': cold.clock,
        'one_seconds': statistics.median(single),
        'several_seconds': statistics.median(together),
        'ratio': statistics.median(b / a for a, b in zip(single, together, strict=True)),
        'stages': {
            name: statistics.median(parts[name] for parts in stages if name in parts)
            for name in stages[-1] if name != 'total'},
        'peak_memory_mb': memory / 2**20,
    }


def as_rows(figures: harness.Figures) -> list[list[str]]:
    """Return the figures as rows of name and value."""
    return [
        ['device', figures['device']],
        ['loading, s', f'{figures["load_seconds"]:.2f}'],
        ['one object, first lift, s', f'{figures["cold_seconds"]:.3f}'],
        ['one object, warm, s', f'{figures["one_seconds"]:.3f}'],
        *([f'... of it {stage}, s', f'{seconds:.3f}']
          for stage, seconds in figures['stages'].items()),
        [f'{figures["objects"]} objects of one frame, s', f'{figures["several_seconds"]:.3f}'],
        ['... over one, median of the ratios', f'{figures["ratio"]:.2f}'],
        ['peak memory, MB', f'{figures["peak_memory_mb"]:.0f}'],
    ]
