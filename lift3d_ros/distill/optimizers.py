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

"""Optimizers of a run: their settings, rates that follow a schedule, and the moving average."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch import Tensor

from lift3d_ros.distill.schedules import Schedule
from lift3d_ros.errors import bad_request

OPTIMIZERS = {
    'adam': torch.optim.Adam, 'adamw': torch.optim.AdamW, 'adamax': torch.optim.Adamax,
}


@dataclass(frozen=True)
class OptimizerSettings:
    """
    Settings of an optimizer.

    - ``name``: ``adam``, ``adamw`` or ``adamax``; ``rate``: the basic learning rate, from which
      the task makes that of each group of parameters.
    - ``rate_factor``: a schedule, by which all rates are multiplied.
    - ``betas``, ``eps``, ``weight_decay``: of the optimizer.
    - ``clip``: bound of the norm of the whole gradient; None for none.
    - ``average``: decay of the moving average of the parameters, which is the result of the run;
      0 for none. The average of few steps decays faster, as (1 + step) / (10 + step).
    """

    name: str = 'adam'
    rate: float = 1e-2
    rate_factor: Schedule = Schedule((0.0,), (1.0,))
    betas: tuple[float, float] = (0.9, 0.99)
    eps: float = 1e-15
    weight_decay: float = 0.0
    clip: float | None = None
    average: float = 0.0

    def __post_init__(self) -> None:
        """Raise ``LiftError(BAD_REQUEST)`` for invalid settings."""
        for wrong, message in (
            (self.name not in OPTIMIZERS, f'There is no optimizer "{self.name}"; choose one of '
             f'{", ".join(OPTIMIZERS)}.'),
            (not 0.0 < self.rate < float('inf'), f'The learning rate is {self.rate}; choose a '
             'positive number.'),
            (not 0.0 <= self.average < 1.0, f'The decay of the moving average is {self.average}; '
             'choose 0 to below 1.'),
            (self.clip is not None and not self.clip > 0.0, f'The gradient is clipped to '
             f'{self.clip}; choose a positive norm.'),
        ):
            if wrong:
                raise bad_request(message)


class ScheduledOptimizer:
    """An optimizer whose groups keep their rates relative to the schedule."""

    def __init__(self, settings: OptimizerSettings, groups: list[dict[str, Any]]) -> None:
        """Optimise the groups in place; each has ``params`` and may have ``lr``."""
        self._factor = settings.rate_factor
        # One pass over the parameters; grids have millions. Adamax has no such form.
        fused = {} if settings.name == 'adamax' else {'fused': True}
        self.inner: torch.optim.Optimizer = OPTIMIZERS[settings.name](
            groups, lr=settings.rate, betas=settings.betas, eps=settings.eps,
            weight_decay=settings.weight_decay, **fused,
        )
        self._rates = [group['lr'] for group in self.inner.param_groups]

    @property
    def parameters(self) -> list[Tensor]:
        """All parameters of all groups."""
        return [p for group in self.inner.param_groups for p in group['params']]

    def begin(self, step: int) -> None:
        """Set the rates of a step and clear the gradients."""
        for group, rate in zip(self.inner.param_groups, self._rates, strict=True):
            group['lr'] = rate * self._factor(step)
        self.inner.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Tensor]:
        """Return the state as tensors with names; rates are not part of it."""
        return {
            f'{index}.{name}': torch.as_tensor(value)
            for index, values in self.inner.state_dict()['state'].items()
            for name, value in values.items()
        }

    def load(self, state: Mapping[str, Tensor]) -> None:
        """
        Restore ``state`` for parameters of the same shapes.

        Raises ``ValueError`` for the state of other parameters.
        """
        shapes = [p.shape for p in self.parameters]
        entries: dict[int, dict[str, Tensor]] = {}
        for name, value in state.items():
            index, _, key = name.partition('.')
            if int(index) >= len(shapes) or (value.ndim and value.shape != shapes[int(index)]):
                raise ValueError(f'the state {name} is that of other parameters')
            entries.setdefault(int(index), {})[key] = value
        whole = self.inner.state_dict()
        self.inner.load_state_dict({**whole, 'state': entries})


class MovingAverage:
    """An exponential moving average of parameters, float32 or wider."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        """Start at the present parameters."""
        self._decay = decay
        self.values = {name: p.detach().clone() for name, p in module.named_parameters()}

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Add the parameters after ``step``, counted from 0."""
        decay = min(self._decay, (1.0 + step) / (10.0 + step))
        for name, parameter in module.named_parameters():
            self.values[name].lerp_(parameter.detach(), 1.0 - decay)

    @torch.no_grad()
    def copy_to(self, module: nn.Module) -> None:
        """Give a module the averaged parameters."""
        for name, parameter in module.named_parameters():
            parameter.copy_(self.values[name])
