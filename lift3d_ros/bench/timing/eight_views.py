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
Seconds, memory and throughput of eight synthesised views.

For example::

    python -m lift3d_ros.bench.timing views SCENE --weights small

SCENE is a scene folder. One view-step is one row of the denoiser; a guided step of a view is two.
The reference rate is that of a matrix product in the denoiser's precision in the same process.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
import statistics
import time
from typing import Any
from typing import TYPE_CHECKING

from lift3d_ros.bench.timing import harness
from lift3d_ros.io.scene import read_scene
from lift3d_ros.runtime import memory

if TYPE_CHECKING:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

#: Views in a call, and repetitions.
VIEWS = 8
REPEATS = 3

#: Side of the matrices of the reference product.
MATMUL_SIZE = 2048

#: The classes of the denoisers of the family: published, and of the small weights.
DENOISERS = ('UNet2DConditionModel', 'DenoiserUNet')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument('scene', type=Path, metavar='SCENE')
    parser.add_argument('--weights', default='small', metavar='NAME|PATH')
    parser.add_argument('--seed', type=int, default=0, metavar='N')


def run(options: argparse.Namespace) -> harness.Figures:
    """Return the figures of a scene."""
    return measure(options.scene, options.weights, options.seed)


def as_rows(figures: dict[str, Any]) -> list[list[str]]:
    """Return the figures as rows of name and value."""
    rows = [
        ['threads', str(figures['threads'])],
        ['loading, s', f'{figures["load_seconds"]:.2f}'],
        [f'{VIEWS} views, first call, s', f'{figures["cold_seconds"]:.2f}'],
        [f'{VIEWS} views, warm, median of {REPEATS}, s', f'{figures["warm_seconds"]:.2f}'],
    ]
    rows += [[f'... of it {stage}, s', f'{seconds:.3f}']
             for stage, seconds in figures['stages'].items()]
    rows.append(['peak memory, MB', f'{figures["peak_memory_mb"]:.0f}'])
    if figures['view_steps']:
        rows += [
            ['view-steps of the denoiser', str(figures['view_steps'])],
            ['precision of the denoiser', figures['precision']],
            ['one view-step, ms', f'{1e3 * figures["view_step_seconds"]:.1f}'],
            ['multiply-adds of a view-step, G', f'{figures["view_step_flops"] / 2e9:.2f}'],
            ['rate of the view-steps, GFLOP/s', f'{figures["denoiser_rate"] / 1e9:.1f}'],
            ['... share of a matrix product', f'{100.0 * figures["denoiser_share"]:.0f} %'],
        ]
    rows += [
        ['rate of all, GFLOP/s', f'{figures["total_rate"] / 1e9:.1f}'],
        ['... share of a matrix product', f'{100.0 * figures["total_share"]:.0f} %'],
        *([f'matrix product, {name}, GFLOP/s', f'{rate / 1e9:.1f}']
          for name, rate in figures['matmul_rates'].items()),
    ]
    return rows


def measure(scene: Path, weights: str, seed: int = 0) -> harness.Figures:
    """Return the figures of the views of a scene; raises what loading and synthesis raise."""
    frame, mask = read_scene(scene)
    start = time.perf_counter()
    # Imports are a part of loading.
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from lift3d_ros.synthesis import ring
    from lift3d_ros.synthesis import ViewSynthesizer

    synthesizer = ViewSynthesizer(weights)
    synthesizer.load()
    load_seconds = time.perf_counter() - start
    synthesize = partial(synthesizer.synthesize, frame, mask, ring(VIEWS), seed=seed)

    seconds, stages = [], []
    matmul: dict[str, list[float]] = {'float32': []}
    peak = 0.0
    for _ in range(1 + REPEATS):
        run, views = harness.timed(synthesize)
        seconds.append(run.clock)
        stages.append(views.seconds)
        peak = memory.peak_mb()
        matmul['float32'].append(harness.matmul_rate('float32', MATMUL_SIZE, clock=True))
    with watch_denoiser() as steps:
        synthesize()
    with FlopCounterMode(display=False) as counter, watch_denoiser(counter) as counted:
        synthesize()
    warm = statistics.median(seconds[1:])
    matmul.setdefault(steps.dtype, []).extend(
        harness.matmul_rate(steps.dtype, MATMUL_SIZE, clock=True) for _ in range(REPEATS))
    rate = max(matmul[steps.dtype])
    total_rate = counter.get_total_flops() / warm
    denoiser_rate = counted.flops / steps.seconds if steps.rows else 0.0
    return {
        'weights': weights,
        'threads': torch.get_num_threads(),
        'load_seconds': load_seconds,
        'cold_seconds': seconds[0],
        'warm_seconds': warm,
        'stages': {
            name: statistics.median(spent[name] for spent in stages[1:] if name in spent)
            for name in stages[-1] if name != 'total'
        },
        'peak_memory_mb': peak,
        'view_steps': steps.rows,
        'view_step_seconds': steps.seconds / steps.rows if steps.rows else 0.0,
        'view_step_flops': counted.flops / counted.rows if counted.rows else 0.0,
        'denoiser_rate': denoiser_rate,
        'denoiser_share': denoiser_rate / rate,
        'total_flops': counter.get_total_flops(),
        'total_rate': total_rate,
        'total_share': total_rate / rate,
        'precision': steps.dtype,
        'matmul_rates': {name: max(rates) for name, rates in matmul.items()},
    }


@dataclass
class Steps:
    """Work of a denoiser: rows of its batches, seconds, operations, and its precision."""

    dtype: str = 'float32'
    rows: int = 0
    seconds: float = 0.0
    flops: int = 0


@contextmanager
def watch_denoiser(counter: FlopCounterMode | None = None) -> Iterator[Steps]:
    """Yield the work of denoisers, updated while they run; operations are those of ``counter``."""
    from torch.nn.modules import module as hooks

    steps = Steps()
    started: list[tuple[float, int]] = []

    def before(module: torch.nn.Module, arguments: tuple[Any, ...]) -> None:
        if type(module).__name__ in DENOISERS:
            started.append((time.perf_counter(), counter.get_total_flops() if counter else 0))

    def after(module: torch.nn.Module, arguments: tuple[Any, ...], result: Any) -> None:
        if type(module).__name__ not in DENOISERS:
            return
        start, flops = started.pop()
        steps.seconds += time.perf_counter() - start
        steps.flops += (counter.get_total_flops() if counter else 0) - flops
        steps.dtype = str(next(module.parameters()).dtype).removeprefix('torch.')
        steps.rows += len(result.sample if hasattr(result, 'sample') else result[0])

    handles = (
        hooks.register_module_forward_pre_hook(before),
        hooks.register_module_forward_hook(after),
    )
    try:
        yield steps
    finally:
        for handle in handles:
            handle.remove()
