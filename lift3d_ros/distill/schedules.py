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
Schedules as data: weights, rates and timestep ranges that change with the step.

A schedule is a number, or the list ``[start, from, to, end]`` of threestudio: the value ``from``
until the step ``start``, then linear to ``to`` at the step ``end``. Three numbers start at step 0;
each further pair ``to, end`` is a further linear piece.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import math
from typing import Union

import numpy as np
import torch
from torch import Tensor

from lift3d_ros.errors import bad_request

#: What ``Schedule.parse`` takes.
ScheduleData = Union[float, Sequence[float], 'Schedule']


@dataclass(frozen=True)
class Schedule:
    """A piecewise linear function of the step, constant before and after its knots."""

    steps: tuple[float, ...]
    values: tuple[float, ...]

    @classmethod
    def parse(cls, data: ScheduleData, steps_per_epoch: int | None = None) -> Schedule:
        """
        Return the schedule of a number or a list.

        ``end`` as an integer is a step, as a float an epoch, as in threestudio.

        Raises ``LiftError(BAD_REQUEST)`` for another number of entries, for steps that do not
        rise, and for epochs without ``steps_per_epoch``.
        """
        if isinstance(data, Schedule):
            return data
        if isinstance(data, (int, float)):
            data = [0, data, data, 1]
        entries = list(data)
        if len(entries) == 3:
            entries.insert(0, 0)
        if len(entries) < 4 or len(entries) % 2:
            raise bad_request(
                f'The schedule {list(data)} is neither a number nor [start, from, to, end].')
        steps = [_step(e, steps_per_epoch) for e in (entries[0], *entries[3::2])]
        values = [float(e) for e in (entries[1], *entries[2::2])]
        finite = all(math.isfinite(number) for number in (*steps, *values))
        if not finite or any(b <= a for a, b in zip(steps, steps[1:], strict=False)):
            raise bad_request(f'The steps of the schedule {list(data)} do not rise.')
        return cls(tuple(steps), tuple(values))

    def __call__(self, step: float) -> float:
        """Return the value at a step."""
        return float(np.interp(step, self.steps, self.values))


def _step(entry: float, steps_per_epoch: int | None) -> float:
    if isinstance(entry, int) or float(entry) == 0.0:
        return float(entry)
    if steps_per_epoch is None:
        raise bad_request(
            f'The schedule ends at the epoch {entry}; give integers, which are steps.')
    return float(entry) * steps_per_epoch


@dataclass(frozen=True)
class TimestepRange:
    """
    The range of timesteps from which a step draws, as shares of the prior's noise levels.

    - ``low``, ``high``: schedules of the ends.
    - ``annealed_over``: steps over which the timestep falls from ``high`` to ``low`` by
      high - (high - low) sqrt(step / annealed_over) instead of being drawn (Zhu et al., HiFA,
      2024); None draws it uniformly.
    """

    low: Schedule = Schedule((0.0,), (0.02,))
    high: Schedule = Schedule((0.0,), (0.98,))
    annealed_over: int | None = None

    @classmethod
    def parse(
        cls, low: ScheduleData, high: ScheduleData, annealed_over: int | None = None
    ) -> TimestepRange:
        """Return a range from the data of its schedules; errors as ``Schedule.parse``."""
        return cls(Schedule.parse(low), Schedule.parse(high), annealed_over)

    def draw(self, n: int, step: float, timesteps: int, generator: torch.Generator) -> Tensor:
        """
        Return timesteps (n,), int64, of a prior with ``timesteps`` noise levels.

        Raises ``LiftError(BAD_REQUEST)`` for a range that is empty at this step.
        """
        low, high = self.low(step), self.high(step)
        if not 0.0 <= low <= high <= 1.0:
            raise bad_request(
                f'The timesteps range from {low:g} to {high:g} at step {step:g}; they must be two '
                'rising shares between 0 and 1.')
        first = min(int(low * timesteps), timesteps - 1)
        last = min(int(high * timesteps), timesteps - 1)
        if self.annealed_over is not None:
            done = min(1.0, step / self.annealed_over)
            return torch.full((n,), round(last - (last - first) * math.sqrt(done)))
        return torch.randint(first, last + 1, (n,), generator=generator)


#: Ranges of the publications: DreamFusion and RealFusion, Zero-1-to-3 (the 30 noisiest and the 10
#: cleanest of 1000 levels are left out), threestudio's zero123 and stable-zero123, ZeroNVS.
DREAMFUSION = TimestepRange.parse(0.02, 0.98)
ZERO123_SJC = TimestepRange.parse(0.010, 0.969)
THREESTUDIO_ZERO123 = TimestepRange.parse([0, 0.4, 0.2, 200], [0, 0.85, 0.5, 200])
THREESTUDIO_STABLE_ZERO123 = TimestepRange.parse([50, 0.7, 0.3, 200], [50, 0.98, 0.8, 200])
ZERONVS = TimestepRange.parse([0, 0.75, 0.02, 1000], [1000, 0.98, 0.025, 2500])


def neurallift_range(steps: int) -> TimestepRange:
    """
    Return the range of NeuralLift-360 for a run of ``steps``.

    The lower end falls from 950 to 50 of 1000 during the first third (``nerf/sd_clipguide.py``).
    """
    return TimestepRange.parse([0, 0.95, 0.05, max(1, steps // 3)], 0.95)


def anisotropic_step(step: float, azimuth: Tensor, delay: float = 1000.0) -> Tensor:
    """
    Return the steps (n,) at which the schedules of views are evaluated.

    A view at ``azimuth`` (n,), degrees from the input, is ``delay`` |azimuth| / 180 steps late, so
    that the unobserved side starts after the input's (ZeroNVS, ``zero123_guidance.py``).
    """
    turn = (azimuth + 180.0) % 360.0 - 180.0
    return (step - delay * turn.abs() / 180.0).clamp_min(0.0)
