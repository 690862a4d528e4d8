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
Seconds, memory and throughput of eight views, in a process that does nothing else.

For example::

    python -m lift3d_ros.bench.timing.eight_views SCENE --weights small

SCENE is a scene folder. One view-step is one row of the denoiser; a guided step of a view is two.
What the machine can do is the rate of a plain matrix product in the denoiser's precision, measured
in the same process.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
import os
from pathlib import Path
import statistics
import sys
import time
from typing import Any
from typing import TYPE_CHECKING

import numpy as np

from lift3d_ros.bench.timing.harness import print_figures
from lift3d_ros.bench.timing.harness import run_alone
from lift3d_ros.bench.timing.harness import scene_parser
from lift3d_ros.io.scene import read_scene
from lift3d_ros.runtime import memory

if TYPE_CHECKING:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

#: How many views are timed, and how often.
VIEWS = 8
REPEATS = 3

#: Side of the matrices whose product shows what the machine can do.
_MATMUL = 2048

#: The class of the denoisers of the family.
_DENOISER = 'UNet2DConditionModel'


def run_views_time(
    out: Path,
    *,
    weights: str = 'small',
    data: Path | None = None,
    split: str | None = None,
    seed: int = 0,
    command: str = '',
) -> dict[str, Any]:
    """
    Time the views of one scene and leave ``views_time.json`` and ``views_time.md`` in ``out``.

    The scene is that of the first object of the split. It is made here and timed in a process of
    its own, whose memory is that of the synthesis alone. Raises ``LiftError`` where there are no
    objects or the process fails.
    """
    from lift3d_ros.bench.views.settings import weights_name

    return run_alone(
        out,
        'views_time',
        ['--weights', weights, '--seed', str(seed)],
        as_rows,
        column=weights_name(weights),
        data=data,
        split=split,
        seed=seed,
        command=command,
    )


def as_rows(found: dict[str, Any]) -> list[list[str]]:
    """Return what was measured as rows of name and value."""
    rows = [
        ['threads', str(found['threads'])],
        ['loading, s', f'{found["load_seconds"]:.2f}'],
        [f'{VIEWS} views, first call, s', f'{found["cold_seconds"]:.2f}'],
        [f'{VIEWS} views, warm, median of {REPEATS}, s', f'{found["warm_seconds"]:.2f}'],
    ]
    rows += [[f'... of it {stage}, s', f'{seconds:.3f}']
             for stage, seconds in found['stages'].items()]
    rows.append(['peak memory, MB', f'{found["peak_memory_mb"]:.0f}'])
    if found['view_steps']:
        rows += [
            ['view-steps of the denoiser', str(found['view_steps'])],
            ['precision of the denoiser', found['precision']],
            ['one view-step, ms', f'{1e3 * found["view_step_seconds"]:.1f}'],
            ['multiply-adds of a view-step, G', f'{found["view_step_flops"] / 2e9:.2f}'],
            ['rate of the view-steps, GFLOP/s', f'{found["denoiser_rate"] / 1e9:.1f}'],
            ['... share of a matrix product', f'{100.0 * found["denoiser_share"]:.0f} %'],
        ]
    rows += [
        ['rate of all, GFLOP/s', f'{found["total_rate"] / 1e9:.1f}'],
        ['... share of a matrix product', f'{100.0 * found["total_share"]:.0f} %'],
        *([f'matrix product, {name}, GFLOP/s', f'{rate / 1e9:.1f}']
          for name, rate in found['matmul_rates'].items()),
        ['load average before', f'{found["load_average"]:.1f}'],
    ]
    return rows


def measure(scene: Path, weights: str, seed: int = 0) -> dict[str, Any]:
    """Return the figures of the views of a scene; raises what loading and synthesis raise."""
    load_average = os.getloadavg()[0]
    frame, mask = read_scene(scene)
    start = time.perf_counter()
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from lift3d_ros.synthesis import ring
    from lift3d_ros.synthesis import ViewSynthesizer

    synthesizer = ViewSynthesizer(weights)
    synthesizer.load()
    load_seconds = time.perf_counter() - start
    azimuths = ring(VIEWS)

    seconds, stages = [], []
    matmul: dict[str, list[float]] = {'float32': []}
    peak = 0.0
    for _ in range(1 + REPEATS):
        start = time.perf_counter()
        views = synthesizer.synthesize(frame, mask, azimuths, seed=seed)
        seconds.append(time.perf_counter() - start)
        stages.append(views.seconds)
        peak = memory.peak_mb()
        matmul['float32'].append(_matmul_rate('float32'))
    with watch_denoiser() as steps:
        synthesizer.synthesize(frame, mask, azimuths, seed=seed)
    with FlopCounterMode(display=False) as counter, watch_denoiser(counter) as counted:
        synthesizer.synthesize(frame, mask, azimuths, seed=seed)
    warm = statistics.median(seconds[1:])
    matmul.setdefault(steps.dtype, []).extend(_matmul_rate(steps.dtype) for _ in range(REPEATS))
    rate = max(matmul[steps.dtype])
    total_rate = counter.get_total_flops() / warm
    denoiser_rate = counted.flops / steps.seconds if steps.rows else 0.0
    return {
        'weights': weights,
        'threads': torch.get_num_threads(),
        'load_average': round(load_average, 2),
        'load_seconds': load_seconds,
        'cold_seconds': seconds[0],
        'warm_seconds': warm,
        'stages': {
            name: statistics.median(run[name] for run in stages[1:] if name in run)
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
    """What a denoiser did: rows of its batches, seconds, operations, and its precision."""

    dtype: str = 'float32'
    rows: int = 0
    seconds: float = 0.0
    flops: int = 0


@contextmanager
def watch_denoiser(counter: FlopCounterMode | None = None) -> Iterator[Steps]:
    """Give an account that is filled while denoisers run, the operations by the counter's."""
    from torch.nn.modules import module as hooks

    steps = Steps()
    begun: list[tuple[float, int]] = []

    def before(module: torch.nn.Module, arguments: tuple[Any, ...]) -> None:
        if type(module).__name__ == _DENOISER:
            begun.append((time.perf_counter(), counter.get_total_flops() if counter else 0))

    def after(module: torch.nn.Module, arguments: tuple[Any, ...], result: Any) -> None:
        if type(module).__name__ != _DENOISER:
            return
        start, flops = begun.pop()
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


def _matmul_rate(dtype: str) -> float:
    """Return the floating-point operations a second of a plain product, the best of three."""
    import torch

    a = torch.from_numpy(
        np.random.default_rng(0).standard_normal((_MATMUL, _MATMUL), dtype=np.float32)
    ).to(getattr(torch, dtype))
    best = float('inf')
    for _ in range(3):
        start = time.perf_counter()
        torch.mm(a, a)
        best = min(best, time.perf_counter() - start)
    return 2.0 * _MATMUL**3 / best


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure one scene and print the figures."""
    parser = scene_parser(__doc__)
    parser.add_argument('--weights', default='small', metavar='NAME|PATH')
    parser.add_argument('--seed', type=int, default=0, metavar='N')
    options = parser.parse_args(arguments)
    return print_figures(
        lambda: measure(options.scene, options.weights, options.seed), as_rows, options.json
    )


if __name__ == '__main__':
    sys.exit(main())
