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
The training loop: time budget, schedule, moving average, checkpoints, curves.

Every network is trained by the same loop; its losses and scores are a ``Task``. Several GPUs are
used through accelerate (``accelerate launch -m lift3d_ros.cli train ...``).
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
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
from safetensors.torch import load_file
from safetensors.torch import save_file
import torch
from torch import nn
from torch import Tensor

from lift3d_ros.training.optimizer import SplitOptimizer


class Task(Protocol):
    """The losses and scores of a network."""

    def losses(self, model: nn.Module, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        """Return the weighted terms of the loss; the loop minimises their sum."""

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Return the scores on other objects; the best checkpoint has the highest ``score``."""


@dataclass(frozen=True)
class LoopSettings:
    """
    Settings of a run.

    - ``minutes``: duration; ``batch``: samples a step; ``rate``: largest learning rate, that of
      AdamW (``SplitOptimizer``); ``decay``: weight decay; ``clip``: bound of the gradient norm.
    - ``warmup``: steps; ``anneal``: last share of the run, in which the rate decays.
    - ``average``: decay of the moving average; ``evaluate_every``: minutes between evaluations.
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
    Train ``model``; write ``best.safetensors``, ``last.pt`` and ``curve.jsonl`` to ``out``.

    ``last.pt`` is the checkpoint for ``resume``; ``best.safetensors`` has the averaged weights
    with the highest score, which ``model`` has on return. An interrupted run resumes at its last
    evaluation.
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
            with _averaged(plain, average):
                plain.eval()
                with torch.no_grad():
                    scores = task.evaluate(plain)
                plain.train()
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
                    with _averaged(plain, average):
                        _save(out / 'best.safetensors', plain.state_dict(), _write_tensors)
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
                plain.load_state_dict(load_file(out / 'best.safetensors'))
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
    """Return the factor of the learning rate: warm-up, constant, then cosine decay."""
    warm = min(1.0, (steps + 1) / settings.warmup)
    fall = np.clip((done - 1.0 + settings.anneal) / settings.anneal, 0.0, 1.0)
    return float(warm * (0.02 + 0.98 * 0.5 * (1.0 + np.cos(np.pi * fall))))


@contextmanager
def _averaged(model: nn.Module, average: EMAModel) -> Iterator[None]:
    """Give the model its averaged parameters temporarily."""
    average.store(model.parameters())
    average.copy_to(model.parameters())
    try:
        yield
    finally:
        average.restore(model.parameters())


def _write_tensors(state: dict[str, Tensor], path: Path) -> None:
    save_file({name: value.contiguous().clone() for name, value in state.items()}, path)


def _save(
    path: Path, state: dict[str, Any], write: Callable[[dict[str, Any], Path], None] = torch.save
) -> None:
    """Write a file that replaces the previous one only when it is complete."""
    partial = path.with_suffix('.part')
    write(state, partial)
    partial.replace(path)
