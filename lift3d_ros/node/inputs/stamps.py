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

"""Stamped messages of one topic, and irregularities of its stamps."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from dataclasses import field
import time
from typing import Any
from typing import NamedTuple

#: A stamp that falls back by more nanoseconds comes from another clock or a bag that restarts.
_JUMP_NS = 1_000_000_000

#: Consecutive stamps that go back. A single one may be a message that another one overtook.
_MIN_BACKWARDS = 3

#: Seconds for which an irregularity is reported.
REPORT_PERIOD_S = 10.0


class Stamped(NamedTuple):
    """
    A message with its times.

    - ``stamp``: nanoseconds; the time of arrival if the message is ``unstamped``.
    - ``arrival``: seconds of the monotonic clock.
    - ``published``: nanoseconds of the publisher's clock, 0 if the middleware does not report it.
    - ``number``: counts the messages of all topics in the order of their publication.
    """

    stamp: int
    message: Any
    arrival: float
    published: int
    unstamped: bool
    number: int

    def distance(self, other: Stamped) -> float:
        """Return the seconds between two publications, or between two arrivals if unknown."""
        if self.published and other.published:
            return 1e-9 * abs(self.published - other.published)
        return abs(self.arrival - other.arrival)


@dataclass
class TopicBuffer:
    """The last messages of a topic, and the times of irregular stamps."""

    buffer: deque[Stamped]
    received: int = 0
    arrivals: deque[float] = field(default_factory=lambda: deque(maxlen=20))
    last: Stamped | None = None
    #: Consecutive stamps that went back.
    backwards: int = 0
    missing: deque[float] = field(default_factory=lambda: deque(maxlen=1))
    repeated: deque[float] = field(default_factory=lambda: deque(maxlen=2))
    reversed: deque[float] = field(default_factory=lambda: deque(maxlen=_MIN_BACKWARDS))
    jumped: deque[float] = field(default_factory=lambda: deque(maxlen=2))

    @property
    def is_backwards(self) -> bool:
        """Whether stamps go back from message to message."""
        return self.backwards >= _MIN_BACKWARDS

    def clear(self) -> None:
        """Discard all messages."""
        self.buffer.clear()
        self.last, self.backwards = None, 0

    def check_stamp(self, new: Stamped) -> bool:
        """Record irregularities of a new stamp; return whether it jumped back to another clock."""
        last = self.last
        if new.unstamped:
            self.missing.append(new.arrival)
        if last is None or last.unstamped != new.unstamped:
            return False
        if new.stamp < last.stamp - _JUMP_NS:
            self.jumped.append(new.arrival)
            return True
        if new.unstamped:
            return False
        if new.stamp == last.stamp:
            self.repeated.append(new.arrival)
        elif new.stamp < last.stamp:
            self.backwards += 1
            self.reversed.append(new.arrival)
        else:
            self.backwards = 0
        return False

    def repeats_stamps(self) -> bool:
        """Return whether a stamp was repeated recently."""
        since = time.monotonic() - REPORT_PERIOD_S
        return any(when > since for when in self.repeated)

    def irregularities(self) -> dict[str, str]:
        """Return the recent irregularities, a predicate by kind."""
        since = time.monotonic() - REPORT_PERIOD_S
        found = {}
        for kind, predicate in _IRREGULARITIES.items():
            times = getattr(self, kind)
            if len(times) == times.maxlen and times[0] > since:
                found[kind] = predicate
        return found

    def rate(self) -> float:
        """Return the messages per second over the last ones; it falls when they stop."""
        arrivals = list(self.arrivals)
        if len(arrivals) < 2:
            return 0.0
        return (len(arrivals) - 1) / max(time.monotonic() - arrivals[0], 1e-6)


#: By the fields of ``TopicBuffer``.
_IRREGULARITIES = {
    'missing': (
        'has no stamps (they are zero): the time of arrival is used instead; set the stamps in '
        'its publisher'
    ),
    'repeated': (
        'repeats its stamps: messages with the same stamp are distinguished by their publication '
        'time; set a new stamp for each message in its publisher'
    ),
    'reversed': (
        'has stamps that go backwards: the last received message counts as the newest; check the '
        'clock of its publisher'
    ),
    'jumped': (
        'has stamps that repeatedly jump back by more than a second, and each jump discards all '
        'messages; check for a second publisher with another clock'
    ),
}
