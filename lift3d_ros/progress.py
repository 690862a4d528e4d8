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

"""Progress, cancellation, deadline and stage timings of one lift."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
import time
from typing import TYPE_CHECKING

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: Receives the name of the stage and the completed fraction of the lift, 0 to 1.
ProgressCallback = Callable[[str, float], None]


@dataclass(frozen=True, eq=False)
class StepReport:
    """
    A step of an optimisation.

    - ``step``: steps done; ``steps``: their total.
    - ``losses``: the weighted terms of the loss.
    - ``preview``: a picture of the present state, uint8 RGB (h, w, 3).
    """

    step: int
    steps: int
    losses: dict[str, float]
    preview: NDArray[np.uint8]

    @property
    def loss(self) -> float:
        """The sum of the terms."""
        return sum(self.losses.values())

    def __str__(self) -> str:
        """Return the step and the loss in words."""
        return f'step {self.step} of {self.steps}, loss {self.loss:.4g}'


#: Receives some of the steps of an optimisation.
StepCallback = Callable[[StepReport], None]


class Progress:
    """
    Progress reports of a lift, its stage timings, and its cancellation and deadline.

    A method calls ``stage`` around each of its stages and ``check`` between steps inside one; both
    raise ``LiftError``, ``CANCELLED`` or ``TIMEOUT``, when the lift must end.
    """

    def __init__(
        self,
        callback: ProgressCallback | None = None,
        cancelled: Callable[[], bool] | None = None,
        deadline: float | None = None,
        on_step: StepCallback | None = None,
    ) -> None:
        """
        Start the clock.

        Every check calls ``cancelled``; ``deadline`` is a value of ``time.monotonic()``.
        ``on_step`` receives steps of methods that optimise.
        """
        self.on_step = on_step
        self._callback = callback
        self._cancelled = cancelled
        self._deadline = deadline
        self._start = time.monotonic()
        self._fraction = 0.0
        #: Seconds of each completed stage, in order.
        self.seconds: dict[str, float] = {}

    @property
    def total(self) -> float:
        """Seconds since the lift began."""
        return time.monotonic() - self._start

    @property
    def remaining(self) -> float | None:
        """Seconds until the deadline, negative after it; None without one."""
        return None if self._deadline is None else self._deadline - time.monotonic()

    def check(self, stage: str | None = None, fraction: float | None = None) -> None:
        """Report ``fraction`` (0 to 1, of the lift), and raise if the lift must end."""
        if self._cancelled is not None and self._cancelled():
            raise LiftError(ErrorCode.CANCELLED, 'The request was cancelled.')
        if self._deadline is not None and time.monotonic() > self._deadline:
            raise LiftError(
                ErrorCode.TIMEOUT, f'The deadline passed after {self.total:.2f} s; allow more '
                'time or lower the resolution of the method.')
        if fraction is not None:
            self._fraction = max(self._fraction, fraction)
            if self._callback is not None and stage is not None:
                self._callback(stage, self._fraction)

    @contextmanager
    def stage(self, name: str, end: float) -> Iterator[None]:
        """Time a stage, at whose end the fraction ``end`` of the lift is completed."""
        self.check(name, self._fraction)
        start = time.monotonic()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - start
        self.check(name, end)

    def part(self, begin: float, end: float) -> Progress:
        """
        Return the progress of a part of the lift, whose 0 and 1 are ``begin`` and ``end`` here.

        It has the same deadline and cancellation, and its stages are timed here.
        """
        length = end - begin
        inner = Progress(
            lambda stage, done: self.check(stage, begin + length * done),
            self._cancelled,
            self._deadline,
            self.on_step,
        )
        inner._start, inner.seconds = self._start, self.seconds
        return inner
