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
The optimisation loop: what every distilled method shares.

A task has parameters and the losses of a step. The loop owns the optimizer, the precision, the
moving average, checkpoints, progress, cancellation, and the end of a diverging run. The noise of
a step follows from the seed and the number of the step alone, so that a resumed run equals an
uninterrupted one.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import field
import json
import math
from pathlib import Path
import time
from typing import Any
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
import torch
from torch import nn
from torch import Tensor

from lift3d_ros.distill.checkpoints import check_shapes
from lift3d_ros.distill.checkpoints import read_checkpoint
from lift3d_ros.distill.checkpoints import write_checkpoint
from lift3d_ros.distill.optimizers import MovingAverage
from lift3d_ros.distill.optimizers import OptimizerSettings
from lift3d_ros.distill.optimizers import ScheduledOptimizer
from lift3d_ros.errors import bad_request
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.progress import Progress
from lift3d_ros.progress import StepReport
from lift3d_ros.runtime import memory

#: ``auto`` is bfloat16 or float16 on a GPU, float32 on the CPU.
PRECISIONS = ('auto', 'float32', 'bfloat16', 'float16')

#: Steps between the states to which a diverged run returns, and between checks of the memory.
SNAPSHOT_STEPS = 25
MEMORY_STEPS = 16

#: Successive steps that the loss scaling of float16 may skip before a run counts as diverged; it
#: halves the scale in each.
MAX_SKIPPED = 24


class Task(Protocol):
    """
    What is optimised.

    ``module`` holds the whole state that changes: parameters, and buffers such as an occupancy
    grid.
    """

    @property
    def module(self) -> nn.Module:
        """The parameters and buffers."""

    def parameter_groups(self, rate: float) -> list[dict[str, Any]]:
        """Return the groups for the optimizer at the basic learning rate."""

    def losses(
        self, step: int, generator: torch.Generator, check: Callable[[], None]
    ) -> dict[str, Tensor]:
        """
        Return the weighted terms of the loss, whose sum is minimised.

        All randomness comes from ``generator``, on the CPU. ``check`` may raise; call it at least
        every half second.
        """

    def after_step(self, step: int, generator: torch.Generator) -> None:
        """Refresh what depends on the parameters, such as an occupancy grid."""

    def preview(self) -> NDArray[np.uint8]:
        """Return a picture of the present state, RGB (h, w, 3)."""


@dataclass(frozen=True)
class LoopSettings:
    """
    Settings of a run.

    - ``steps``: total number; ``seed``: of everything random.
    - ``optimizer``: see ``OptimizerSettings``; ``precision``: one of ``PRECISIONS``.
    - ``device``: ``cpu`` or ``cuda``, that of the task.
    - ``preview_every``: steps between reports with a picture, 0 for none.
    - ``checkpoint_every``: steps between checkpoints, 0 for one at the end and on interruption.
    - ``max_seconds``: after which the run ends with the shape so far and a note.
    - ``max_memory_mib``: bound of the peak memory of the process, or of the GPU on ``cuda``.
    """

    steps: int = 600
    seed: int = 0
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    precision: str = 'auto'
    device: str = 'cpu'
    preview_every: int = 0
    checkpoint_every: int = 0
    max_seconds: float | None = None
    max_memory_mib: float | None = None

    def __post_init__(self) -> None:
        """Raise ``LiftError(BAD_REQUEST)`` for invalid settings."""
        for wrong, message in (
            (self.steps < 1, f'{self.steps} steps are requested; choose at least 1.'),
            (self.precision not in PRECISIONS, f'There is no precision "{self.precision}"; choose '
             f'one of {", ".join(PRECISIONS)}.'),
            (self.device not in ('cpu', 'cuda'), f'There is no device "{self.device}"; choose cpu '
             'or cuda.'),
            (self.device == 'cpu' and self.precision == 'float16', 'Half precision needs a GPU; '
             'choose float32 or bfloat16.'),
            (min(self.preview_every, self.checkpoint_every) < 0, 'Intervals of previews and '
             'checkpoints are counts of steps; choose 0 or more.'),
        ):
            if wrong:
                raise bad_request(message)


@dataclass(frozen=True, eq=False)
class RunResult:
    """
    The end of a run; the parameters are in the task's module, averaged if that is set.

    - ``steps``: steps in the result, all of the settings unless ``stopped``.
    - ``losses``: terms of the last step.
    - ``stopped``: None, ``diverged`` or ``time``; ``notes`` says so in a sentence.
    """

    steps: int
    losses: dict[str, float]
    stopped: str | None = None
    notes: tuple[str, ...] = ()


def step_generator(seed: int, step: int, purpose: int = 0) -> torch.Generator:
    """Return the generator of a step, on the CPU so that devices agree."""
    words = np.random.SeedSequence([seed & (2**64 - 1), step, purpose]).generate_state(2)
    return torch.Generator().manual_seed((int(words[0]) << 31) ^ int(words[1]))


def optimise(
    task: Task,
    settings: LoopSettings,
    *,
    identity: str = '',
    progress: Progress | None = None,
    report: Callable[[StepReport], None] | None = None,
    checkpoint: Path | None = None,
    resume: bool = False,
) -> RunResult:
    """
    Optimise a task in place.

    ``identity`` names the object and the settings of the task; a checkpoint of another one is
    refused. ``resume`` continues the checkpoint if the file exists. An interrupted run with a
    ``checkpoint`` writes it before it raises.

    Raises ``LiftError``: ``CANCELLED`` and ``TIMEOUT`` by ``progress``; ``BAD_REQUEST`` for a
    device that is not available and for the checkpoint of another run; ``OUT_OF_MEMORY``.
    """
    if settings.device == 'cuda' and not torch.cuda.is_available():
        raise bad_request('No CUDA device is available; choose the device cpu.')
    with memory.exhaustion_refused():
        run = _Run(task, settings, identity, progress or Progress(), report, checkpoint)
        if resume and checkpoint is not None and checkpoint.exists():
            run.restore()
        return run.to_end()


class _Run:
    """The state of a run."""

    def __init__(
        self,
        task: Task,
        settings: LoopSettings,
        identity: str,
        progress: Progress,
        report: Callable[[StepReport], None] | None,
        checkpoint: Path | None,
    ) -> None:
        self._task, self._settings, self._progress = task, settings, progress
        self._report, self._path = report, checkpoint
        self._facts = {'object': identity, 'settings': _fingerprint(settings)}
        self._optimizer = ScheduledOptimizer(
            settings.optimizer, task.parameter_groups(settings.optimizer.rate))
        decay = settings.optimizer.average
        self._average = MovingAverage(task.module, decay) if decay else None
        self._dtype = _precision(settings)
        self._scaler = torch.amp.GradScaler(
            settings.device, enabled=self._dtype == torch.float16)
        self._step = self._skipped = 0
        self._losses: dict[str, float] = {}
        self._good: tuple[int, dict[str, Tensor]] = (0, {})

    def to_end(self) -> RunResult:
        """Run the remaining steps."""
        settings, start = self._settings, time.monotonic()
        self._keep()
        while self._step < settings.steps:
            if settings.max_seconds is not None:
                if time.monotonic() - start > settings.max_seconds:
                    return self._end('time', (
                        f'The optimisation stopped after {self._step} of {settings.steps} steps, '
                        f'at its limit of {settings.max_seconds:g} s.'))
            try:
                self._progress.check('optimise', self._step / settings.steps)
                term = self._advance()
            except LiftError as error:
                if error.code in (ErrorCode.CANCELLED, ErrorCode.TIMEOUT):
                    self._save()
                raise
            if term is not None:
                return self._diverged(term)
        self._save()
        self._progress.check('optimise', 1.0)
        return self._end(None, '')

    def restore(self) -> None:
        """Continue the checkpoint."""
        assert self._path is not None, 'the caller has a path'
        step, parts = read_checkpoint(self._path, self._facts)
        if step > self._settings.steps:
            raise bad_request(
                f'The checkpoint {self._path} has {step} steps, more than the '
                f'{self._settings.steps} requested; request more.')
        try:
            # A partial load would change the field of a refused run.
            check_shapes(self._task.module.state_dict(), parts.get('module', {}))
            self._task.module.load_state_dict(parts.get('module', {}))
            self._optimizer.load(parts.get('optimizer', {}))
            if self._average is not None:
                for name, value in self._average.values.items():
                    value.copy_(parts['average'][name])
        except (KeyError, RuntimeError, ValueError) as error:
            raise bad_request(
                f'The checkpoint {self._path} is that of another field; start without resuming.'
            ) from error
        if self._scaler.is_enabled() and 'scaler' in parts:
            scale, growth = parts['scaler']['state'].tolist()
            self._scaler.load_state_dict(
                {**self._scaler.state_dict(), 'scale': scale, '_growth_tracker': int(growth)})
        self._step = step

    def _advance(self) -> str | None:
        """Make a step; return the term that is not finite, if any."""
        step, settings = self._step, self._settings
        self._optimizer.begin(step)
        with self._autocast():
            terms = self._task.losses(
                step, step_generator(settings.seed, step), self._progress.check)
        self._losses = {name: float(term.detach()) for name, term in terms.items()}
        bad = next((name for name, v in self._losses.items() if not math.isfinite(v)), None)
        if bad is not None:
            return bad
        if step % SNAPSHOT_STEPS == 0:
            self._keep()
        # The losses were finite here: what follows may still be undone.
        self._scaler.scale(torch.stack(list(terms.values())).sum()).backward()
        if not self._update():
            self._keep()
            return 'the gradient'
        if self._average is not None:
            self._average.update(self._task.module, step)
        self._step = step + 1
        self._task.after_step(step, step_generator(settings.seed, step, 1))
        self._after(step + 1)
        return None

    def _update(self) -> bool:
        """Change the parameters; return whether the gradient allowed it."""
        self._scaler.unscale_(self._optimizer.inner)
        clip = self._settings.optimizer.clip
        norm = torch.nn.utils.clip_grad_norm_(
            self._optimizer.parameters, math.inf if clip is None else clip)
        if bool(torch.isfinite(norm)):
            self._skipped = 0
        else:
            self._skipped += 1
            if not self._scaler.is_enabled() or self._skipped > MAX_SKIPPED:
                return False
        self._scaler.step(self._optimizer.inner)
        self._scaler.update()
        return True

    def _after(self, done: int) -> None:
        settings = self._settings
        if settings.max_memory_mib is not None and done % MEMORY_STEPS == 0:
            used = _used_mib(settings.device)
            if used > settings.max_memory_mib:
                raise LiftError(
                    ErrorCode.OUT_OF_MEMORY, f'The optimisation takes {used:.0f} MiB, more than '
                    f'its limit of {settings.max_memory_mib:.0f}; lower the resolution or raise '
                    'the limit.')
        if self._report is not None and settings.preview_every:
            if done % settings.preview_every == 0 or done == settings.steps:
                with torch.no_grad(), self._autocast():
                    picture = self._task.preview()
                self._report(StepReport(done, settings.steps, dict(self._losses), picture))
        if settings.checkpoint_every and done % settings.checkpoint_every == 0:
            self._save()

    def _save(self) -> None:
        if self._path is None:
            return
        parts = {
            'module': self._task.module.state_dict(), 'optimizer': self._optimizer.state()}
        if self._average is not None:
            parts['average'] = self._average.values
        if self._scaler.is_enabled():
            state = self._scaler.state_dict()
            parts['scaler'] = {'state': torch.tensor(
                [state['scale'], state['_growth_tracker']], dtype=torch.float64)}
        write_checkpoint(self._path, self._step, parts, self._facts)

    def _keep(self) -> None:
        """Keep the present state as the last good one."""
        state = {n: v.detach().clone() for n, v in self._task.module.state_dict().items()}
        if self._average is not None:
            state |= {n: v.clone() for n, v in self._average.values.items()}
        self._good = (self._step, state)

    def _diverged(self, term: str) -> RunResult:
        at, (step, state) = self._step, self._good
        self._task.module.load_state_dict(state)
        # The kept state is already that of the average.
        self._average, self._step = None, step
        return self._end('diverged', (
            f'The optimisation diverged at step {at} ({term} is not finite); the shape is that of '
            f'step {step}. Lower the learning rate.'))

    def _end(self, stopped: str | None, note: str) -> RunResult:
        if stopped == 'time':
            self._save()
        if self._average is not None:
            self._average.copy_to(self._task.module)
        return RunResult(self._step, self._losses, stopped, (note,) if note else ())

    def _autocast(self) -> AbstractContextManager[Any]:
        return torch.autocast(
            self._settings.device, self._dtype, enabled=self._dtype != torch.float32)


def _precision(settings: LoopSettings) -> torch.dtype:
    if settings.precision != 'auto':
        return getattr(torch, settings.precision)
    if settings.device == 'cpu':
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16


def _fingerprint(settings: LoopSettings) -> str:
    """Return the settings that change the result of a step, as text."""
    values = asdict(settings)
    # The schedules count steps, so that a longer run begins as a shorter one.
    for name in ('steps', 'preview_every', 'checkpoint_every', 'max_seconds', 'max_memory_mib'):
        del values[name]
    return json.dumps(values, sort_keys=True)


def _used_mib(device: str) -> float:
    if device == 'cuda':
        return torch.cuda.max_memory_allocated() / 2**20
    return memory.peak_mb()
