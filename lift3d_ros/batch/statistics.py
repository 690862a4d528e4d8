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


"""Counts, rate and time left of a running batch."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
import time


@dataclass(frozen=True)
class Snapshot:
    """
    The state of a batch.

    - ``done``, ``total``: items; ``failed``: items that failed for good, included in ``done``.
    - ``rate``: items a second of late; None: not known yet. ``left``: seconds; None likewise.
    """

    done: int
    total: int
    failed: int
    rate: float | None
    left: float | None

    def __str__(self) -> str:
        """Return the state in words."""
        share = 100.0 * self.done / max(self.total, 1)
        parts = [f'{self.done} of {self.total} ({share:.0f} %)']
        if self.rate is not None:
            parts.append(f'{self.rate:.2f}/s')
        parts.append(f'{100.0 * self.failed / max(self.done, 1):.1f} % failed')
        if self.left is not None:
            parts.append(f'{duration(self.left)} left')
        return ', '.join(parts)


class Statistics:
    """Counts items; the rate is that of the last minutes, since workers come and go."""

    def __init__(self, total: int, window: float = 120.0, now: float | None = None) -> None:
        """Start the clock; ``window`` is the time in seconds over which the rate is measured."""
        self.total = total
        self.done = 0
        self.failed = 0
        self._window = window
        self._marks: deque[tuple[float, int]] = deque([(_now(now), 0)])

    def add(self, ok: bool, now: float | None = None) -> None:
        """Count an item."""
        self.done += 1
        self.failed += not ok
        moment = _now(now)
        # A mark a second, whatever the rate.
        if moment - self._marks[-1][0] >= 1.0:
            self._marks.append((moment, self.done))
            while len(self._marks) > 2 and moment - self._marks[1][0] > self._window:
                self._marks.popleft()

    def snapshot(self, now: float | None = None) -> Snapshot:
        """Return the present state."""
        moment, (begin, before) = _now(now), self._marks[0]
        rate = None
        if self.done > before and moment > begin:
            rate = (self.done - before) / (moment - begin)
        left = None if rate is None else (self.total - self.done) / rate
        return Snapshot(self.done, self.total, self.failed, rate, left)


def duration(seconds: float) -> str:
    """Return a time in the two largest units, such as ``3 h 20 min``."""
    whole = round(seconds)
    for size, name, smaller, below in (
        (86400, 'd', 3600, 'h'), (3600, 'h', 60, 'min'), (60, 'min', 1, 's'),
    ):
        if whole >= size:
            rest = whole % size // smaller
            return f'{whole // size} {name}' + (f' {rest} {below}' if rest else '')
    return f'{whole} s'


def _now(now: float | None) -> float:
    return time.monotonic() if now is None else now
