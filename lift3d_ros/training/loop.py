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
One training run: time budget, schedule, moving average, checkpoints, curves.

What is learned is a ``Task``; the loop is the same for every network of the package. Several GPUs
are used through accelerate (``accelerate launch -m lift3d_ros.cli train ...``).
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from dataclasses import dataclass
import json
from pathlib import Path
import time
from typing import Any
from typing import Protocol

from accelerate import Accelerator
from diffusers.training_utils import EMAModel
import numpy as np
from numpy.typing import NDArray
from safetensors.torch import save_file
import torch
from torch import nn
from torch import Tensor

from lift3d_ros.training.optimizer import SplitOptimizer


class Task(Protocol):
    """What a network learns."""

    def losses(self, model: nn.Module, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        """Return the terms of the loss, already weighted; their sum is minimised."""

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Return scores on objects that are not learned from; ``score`` decides which is best."""


@dataclass(frozen=True)
class LoopSettings:
    """
    How a run goes.

    - ``minutes``: of this run; ``batch``: samples a step; ``rate``: at its highest, as AdamW's
      (``SplitOptimizer``); ``decay``: of the weights; ``clip``: bound of the gradient's norm.
    - ``warmup``: steps; ``anneal``: last share of the run in which the rate falls to nothing.
    - ``average``: of the weights, per step; ``evaluate_every``: minutes between evaluations.
    """

    minutes: float = 60.0
    batch: int = 8
    rate: float = 1e-3
    decay: float = 0.01
    clip: float = 1.0
    warmup: int = 100
    anneal: float = 0.5
    average: float = 0.998
    evaluate_every: float = 6.0


def train(
    model: nn.Module,
    task: Task,
    batches: Iterator[dict[str, NDArray[Any]]],
    out: Path,
    settings: LoopSettings,
    resume: bool = False,
    report: Callable[[str], None] = print,
) -> None:
    """
    Train ``model``; leave ``best.safetensors``, ``last.pt`` and ``curve.jsonl`` in ``out``.

    ``last.pt`` holds what a later run needs to go on; ``best.safetensors`` the averaged weights
    with the highest score. Interrupting the run loses what came after the last evaluation.
    """
    out.mkdir(parents=True, exist_ok=True)
    accelerator = Accelerator(mixed_precision='bf16', cpu=not torch.cuda.is_available())
    model.to(accelerator.device)
    optimizer = SplitOptimizer(model, settings.rate, settings.decay)
    average = EMAModel(model.parameters(), decay=settings.average)
    step, best, before = 0, -np.inf, 0.0
    if resume and (out / 'last.pt').exists():
        state = torch.load(out / 'last.pt', map_location='cpu', weights_only=True)
        model.load_state_dict(state['model'])
        optimizer.load_state_dict(state['optimizer'])
        average.load_state_dict(state['average'])
        step, best, before = state['step'], state['best'], state['minutes']
        report(f'resuming at step {step}, best score {best:.4f}')
    average.to(accelerator.device)
    plain = model
    model = accelerator.prepare(model)
    start = evaluated = time.monotonic()
    first, count = step, 0
    sums: dict[str, float] = {}
    while True:
        minutes = (time.monotonic() - start) / 60.0
        done = minutes >= settings.minutes
        if done or time.monotonic() - evaluated > 60.0 * settings.evaluate_every:
            scores = _evaluate(plain, average, task)
            entry: dict[str, Any] = {
                'step': step,
                'minutes': round(before + minutes, 2),
                **{name: round(value / max(count, 1), 5) for name, value in sums.items()},
                **{name: round(value, 4) for name, value in scores.items()},
            }
            report(' '.join(f'{name} {value}' for name, value in entry.items()))
            sums, count = {}, 0
            if accelerator.is_main_process:
                with (out / 'curve.jsonl').open('a') as curve:
                    curve.write(json.dumps(entry) + '\n')
                if scores['score'] > best:
                    best = scores['score']
                    _save_average(plain, average, out / 'best.safetensors')
                _save(
                    out / 'last.pt',
                    {
                        'model': plain.state_dict(),
                        'optimizer': optimizer.state_dict(),
                        'average': average.state_dict(),
                        'step': step,
                        'best': best,
                        'minutes': before + minutes,
                    },
                )
            evaluated = time.monotonic()
            if done:
                return
        optimizer.set_rate(
            settings.rate * _share(minutes / settings.minutes, step - first, settings)
        )
        batch = {
            name: torch.from_numpy(value).to(accelerator.device)
            for name, value in next(batches).items()
        }
        terms = task.losses(model, batch, step)
        loss = torch.stack(list(terms.values())).sum()
        optimizer.zero_grad()
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(model.parameters(), settings.clip)
        optimizer.step()
        average.step(plain.parameters())
        step, count = step + 1, count + 1
        for name, term in terms.items():
            sums[name] = sums.get(name, 0.0) + float(term.detach())


def _share(done: float, steps: int, settings: LoopSettings) -> float:
    """Return the share of the full rate: warm-up, level, then half a cosine down to nothing."""
    warm = min(1.0, (steps + 1) / settings.warmup)
    fall = np.clip((done - 1.0 + settings.anneal) / settings.anneal, 0.0, 1.0)
    return float(warm * (0.02 + 0.98 * 0.5 * (1.0 + np.cos(np.pi * fall))))


def _evaluate(model: nn.Module, average: EMAModel, task: Task) -> dict[str, float]:
    average.store(model.parameters())
    average.copy_to(model.parameters())
    model.eval()
    with torch.no_grad():
        scores = task.evaluate(model)
    average.restore(model.parameters())
    model.train()
    return scores


def _save_average(model: nn.Module, average: EMAModel, path: Path) -> None:
    average.store(model.parameters())
    average.copy_to(model.parameters())
    partial = path.with_suffix('.part')
    save_file({k: v.contiguous().clone() for k, v in model.state_dict().items()}, partial)
    partial.replace(path)
    average.restore(model.parameters())


def _save(path: Path, state: dict[str, Any]) -> None:
    partial = path.with_suffix('.part')
    torch.save(state, partial)
    partial.replace(path)
