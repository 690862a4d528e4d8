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

"""Messages of several topics that belong to the same instant."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
import threading
import time
from typing import Any
from typing import NamedTuple

#: A stamp that falls back by more than this means another clock or a bag that starts again.
_JUMP = 1_000_000_000


@dataclass(frozen=True, eq=False)
class Match:
    """One message of each topic, and the stamp of the reference in nanoseconds."""

    stamp: int
    messages: Mapping[str, Any]

    def get(self, topic: str) -> Any:
        """Return the message of a topic, or None where the topic is not used."""
        return self.messages.get(topic)


class _Stamped(NamedTuple):
    stamp: int
    message: Any
    arrival: float


@dataclass
class _Topic:
    buffer: deque[_Stamped]
    received: int = 0
    times: deque[float] = field(default_factory=lambda: deque(maxlen=20))


class Synchronizer:
    """
    Matches messages by stamp; the newest match wins.

    ``reference`` is the topic that the others are matched to: the one that comes last and least
    often. ``others`` must have a message within ``tolerance`` seconds of its stamp. ``steady``
    topics change so rarely that their nearest message is right whatever its stamp, as with a
    camera_info that a driver latches. Safe to use from several threads.

    A message that is near but older than the reference is not taken before a newer one of its
    topic has come or ``tolerance`` seconds have passed: the one of the very instant may still be
    under way.
    """

    def __init__(
        self,
        reference: str,
        others: Iterable[str],
        steady: Iterable[str] = (),
        tolerance: float = 0.1,
        depth: int = 10,
    ) -> None:
        """Keep the last ``depth`` messages of each topic."""
        self.reference = reference
        self.others = tuple(others)
        self.steady = tuple(steady)
        self.tolerance = tolerance
        names = (reference, *self.others, *self.steady)
        self._topics = {name: _Topic(deque(maxlen=depth)) for name in names}
        self._lock = threading.Lock()
        self._last: int | None = None
        #: Times that the stamps jumped back and everything was forgotten.
        self.jumps = 0
        #: Messages of the reference that were never part of a match, since a newer one was.
        self.passed_over = 0

    def add(self, topic: str, stamp: int, message: Any) -> Match | None:
        """Take a message; return the match that it completes, if that is newer than the last."""
        with self._lock:
            entry = self._topics[topic]
            now = time.monotonic()
            entry.received += 1
            entry.times.append(now)
            buffer = entry.buffer
            if buffer and topic not in self.steady and stamp < buffer[-1].stamp - _JUMP:
                for other in self._topics.values():
                    other.buffer.clear()
                self._last = None
                self.jumps += 1
            buffer.append(_Stamped(stamp, message, now))
            match = self._newest()
            if match is None or (self._last is not None and match.stamp <= self._last):
                return None
            self.passed_over += sum(
                entry.stamp < match.stamp and (self._last is None or entry.stamp > self._last)
                for entry in self._topics[self.reference].buffer
            )
            self._last = match.stamp
            return match

    def newest(self, without: Iterable[str] = (), stamp: int | None = None) -> Match | None:
        """
        Return the newest match, whether it was returned before or not.

        The topics ``without`` are left out of it. With ``stamp`` in nanoseconds it is the match
        nearest to that instant, within the tolerance.
        """
        with self._lock:
            return self._newest(frozenset(without), stamp)

    def _newest(
        self, without: frozenset[str] = frozenset(), stamp: int | None = None
    ) -> Match | None:
        needed = [name for name in (self.reference, *self.others) if name not in without]
        if stamp is not None:
            return self._at(stamp, needed, True)
        if not needed:
            return None
        now = time.monotonic()
        references = self._topics[needed[0]].buffer
        for reference in sorted(references, key=lambda entry: entry.stamp, reverse=True):
            settled = now - reference.arrival > self.tolerance
            match = self._at(reference.stamp, needed, settled)
            if match is not None:
                return match
        return None

    def _at(self, stamp: int, needed: Iterable[str], settled: bool) -> Match | None:
        messages = {}
        for name in needed:
            nearest = self._nearest(name, stamp)
            if nearest is None or abs(nearest.stamp - stamp) > self.tolerance * 1e9:
                return None
            if not settled and max(e.stamp for e in self._topics[name].buffer) < stamp:
                return None
            messages[name] = nearest.message
        for name in self.steady:
            nearest = self._nearest(name, stamp)
            if nearest is None:
                return None
            messages[name] = nearest.message
        return Match(stamp, messages)

    def _nearest(self, name: str, stamp: int) -> _Stamped | None:
        # Of equally near ones the one that came last.
        buffer = reversed(self._topics[name].buffer)
        return min(buffer, key=lambda entry: abs(entry.stamp - stamp), default=None)

    def received(self, topic: str) -> int:
        """Return how many messages of a topic came."""
        return self._topics[topic].received

    def rate(self, topic: str) -> float:
        """Return the messages per second of a topic over its last few; 0 when it fell silent."""
        with self._lock:
            times = list(self._topics[topic].times)
        if len(times) < 2:
            return 0.0
        return (len(times) - 1) / max(time.monotonic() - times[0], 1e-6)

    def complaint(self, without: Iterable[str] = ()) -> str | None:
        """Return why there is no match, in a sentence, or None where there is nothing to say."""
        with self._lock:
            unused = frozenset(without)
            if self._newest(unused) is not None:
                return None
            names = [name for name in self._topics if name not in unused]
            silent = [name for name in names if not self._topics[name].buffer]
            heard = [name for name in names if self._topics[name].buffer]
            if silent and heard:
                return f'{", ".join(heard)} received, no {", no ".join(silent)} yet'
            if silent:
                return f'nothing received: no {", no ".join(silent)} yet'
            reference = next(name for name in names if name not in self.steady)
            stamp = self._topics[reference].buffer[-1].stamp
            for name in names:
                nearest = self._nearest(name, stamp)
                if nearest is None or name == reference or name in self.steady:
                    continue
                difference = 1e-9 * (nearest.stamp - stamp)
                if abs(difference) > self.tolerance:
                    return (
                        f'{reference} received, no {name} within {self.tolerance:g} s of it: the '
                        f'nearest is {abs(difference):.3f} s '
                        f'{"later" if difference > 0.0 else "earlier"}; do both carry the stamp '
                        'of the camera?'
                    )
            if self._at(stamp, [n for n in names if n not in self.steady], True) is not None:
                return None
            return f'no instant at which all of {", ".join(names)} were received'
