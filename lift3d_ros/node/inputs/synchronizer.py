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
Messages of several topics that belong to the same instant.

The stamp of the camera tells the instant. Two kinds of streams have none. Messages without a stamp
come here with the time of their arrival in its place. Messages that repeat the stamp of the one
before are told apart by their time. Both are matched by the time of publication, or where that
does not agree by the time of arrival.
"""

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

#: A stamp that falls back by more nanoseconds than this means another clock or a bag that starts
#: again.
_JUMP = 1_000_000_000

#: Messages published within so many seconds of each other belong together: even at 30 Hz the next
#: one is further away.
_TOGETHER = 0.015

#: Seconds by which messages without stamps may be apart. A mask comes after its image by the time
#: that it took to make, and a tighter limit would not tell the right image from the next one.
_UNSTAMPED_TOLERANCE = 1.0

#: Stamps in a row that go back. One may be a message that was overtaken by another.
_BACKWARDS = 3

#: Seconds without a message after which the topic is said to be silent.
_SILENCE = 5.0

#: Seconds for which something odd about the stamps of a topic is named.
_NAMED = 10.0


@dataclass(frozen=True, eq=False)
class Match:
    """One message of each topic, and the stamp of the reference in nanoseconds."""

    stamp: int
    messages: Mapping[str, Any]

    def get(self, topic: str) -> Any:
        """Return the message of a topic, or None where the topic is not used."""
        return self.messages.get(topic)


class _Stamped(NamedTuple):
    #: Nanoseconds; of the arrival where the message is ``unstamped``.
    stamp: int
    message: Any
    #: Seconds of the monotonic clock.
    arrival: float
    #: Nanoseconds of the publisher's clock, 0 where the middleware does not tell.
    published: int
    unstamped: bool
    #: Counts the messages of all topics in the order of their publication.
    number: int

    def apart(self, other: _Stamped) -> float:
        """Return the seconds between two publications, or between two arrivals where unknown."""
        if self.published and other.published:
            return 1e-9 * abs(self.published - other.published)
        return abs(self.arrival - other.arrival)


@dataclass
class _Topic:
    buffer: deque[_Stamped]
    received: int = 0
    times: deque[float] = field(default_factory=lambda: deque(maxlen=20))
    last: _Stamped | None = None
    #: Stamps in a row that went back.
    backwards: int = 0
    #: Times at which stamps were missing, repeated, or went back.
    missing: deque[float] = field(default_factory=lambda: deque(maxlen=1))
    repeated: deque[float] = field(default_factory=lambda: deque(maxlen=2))
    backed: deque[float] = field(default_factory=lambda: deque(maxlen=_BACKWARDS))
    jumped: deque[float] = field(default_factory=lambda: deque(maxlen=2))


class Synchronizer:
    """
    Matches messages by stamp; the newest match wins.

    ``reference`` is the topic that the others are matched to: the one that comes last and least
    often. ``others`` must have a message within ``tolerance`` seconds of its stamp. ``steady``
    topics change so rarely that their nearest message is right whatever its stamp, as with a
    camera_info that a driver latches. Safe to use from several threads.

    A message that is near but older than the reference is not taken before a newer one of its
    topic has come or ``tolerance`` seconds have passed: the one of the very instant may still be
    under way. ``settle`` finds what has only waited.
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
        self._last: _Stamped | None = None
        self._count = 0
        #: The stamps of the reference go back from message to message: the last one is newest.
        self._backwards = False
        #: Times that the stamps jumped back and everything was forgotten.
        self.jumps = 0
        #: Messages of the reference that were never part of a match, since a newer one was.
        self.passed_over = 0

    def add(
        self,
        topic: str,
        stamp: int,
        message: Any,
        *,
        unstamped: bool = False,
        published: int = 0,
        replayed: bool = False,
    ) -> Match | None:
        """
        Take a message; return the match that it completes, if that is newer than the last.

        ``stamp`` and ``published`` are in nanoseconds. The stamp of an ``unstamped`` message is
        the time of its arrival. A ``replayed`` one was published before others of its topic that
        came already: a latched message of a publisher that was found late.
        """
        with self._lock:
            entry = self._topics[topic]
            now = time.monotonic()
            entry.received += 1
            entry.times.append(now)
            self._count += 1
            new = _Stamped(stamp, message, now, published, unstamped, self._count)
            buffer = entry.buffer
            if replayed and buffer:
                if len(buffer) < (buffer.maxlen or 0):
                    buffer.appendleft(new._replace(number=buffer[0].number - 1))
            else:
                if topic not in self.steady:
                    self._look_at_stamp(topic, new)
                entry.last = new
                buffer.append(new)
            return self._take()

    def settle(self) -> Match | None:
        """Return a match that needed nothing but time, if it is newer than the last."""
        with self._lock:
            return self._take()

    def newest(self, without: Iterable[str] = (), stamp: int | None = None) -> Match | None:
        """
        Return the newest match, whether it was returned before or not.

        The topics ``without`` are left out of it. With ``stamp`` in nanoseconds it is the match
        nearest to that instant, within the tolerance.
        """
        with self._lock:
            found = self._newest(frozenset(without), stamp)
            return found and found[1]

    def _look_at_stamp(self, topic: str, new: _Stamped) -> None:
        """Note what is odd about a stamp, and forget everything where it jumps back."""
        entry, now = self._topics[topic], new.arrival
        last = entry.last
        if new.unstamped:
            entry.missing.append(now)
        if last is None or last.unstamped != new.unstamped:
            return
        if new.stamp < last.stamp - _JUMP:
            for other in self._topics.values():
                other.buffer.clear()
                other.last, other.backwards = None, 0
            self._last, self._backwards = None, False
            self.jumps += 1
            entry.jumped.append(now)
        elif new.unstamped:
            return
        elif new.stamp == last.stamp:
            entry.repeated.append(now)
        elif new.stamp < last.stamp:
            entry.backwards += 1
            entry.backed.append(now)
        else:
            entry.backwards = 0
        if topic == self.reference and new.stamp != last.stamp:
            self._backwards = entry.backwards >= _BACKWARDS

    def _take(self) -> Match | None:
        found = self._newest()
        if found is None:
            return None
        reference, match = found
        last = self._last
        if last is not None:
            if reference.number <= last.number:
                return None
            by_stamp = not (self._backwards or reference.unstamped or last.unstamped)
            if by_stamp and reference.stamp < last.stamp:
                return None
        after = -1 if last is None else last.number
        self.passed_over += sum(
            after < entry.number < reference.number
            for entry in self._topics[self.reference].buffer
        )
        self._last = reference
        return match

    def _newest(
        self, without: frozenset[str] = frozenset(), stamp: int | None = None
    ) -> tuple[_Stamped, Match] | None:
        needed = [name for name in (self.reference, *self.others) if name not in without]
        now = time.monotonic()
        if stamp is not None:
            # Of messages that repeat the stamp the last ones are meant.
            asked = _Stamped(stamp, None, now, 0, False, self._count + 1)
            match = self._at(asked, needed, True)
            return match and (asked, match)
        if not needed:
            return None
        references = list(self._topics[needed[0]].buffer)
        by_number = self._backwards or any(entry.unstamped for entry in references)
        references.sort(
            key=lambda entry: (0 if by_number else entry.stamp, entry.number), reverse=True
        )
        for reference in references:
            settled = now - reference.arrival > self.tolerance
            match = self._at(reference, needed, settled)
            if match is not None:
                return reference, match
        return None

    def _at(self, reference: _Stamped, needed: Iterable[str], settled: bool) -> Match | None:
        messages = {}
        for name in needed:
            nearest = self._nearest(name, reference)
            if nearest is None or not self._is_near(nearest, reference):
                return None
            if not settled and self._may_be_nearer(name, nearest, reference):
                return None
            messages[name] = nearest.message
        for name in self.steady:
            nearest = self._nearest(name, reference)
            if nearest is None:
                return None
            messages[name] = nearest.message
        return Match(reference.stamp, messages)

    def _may_be_nearer(self, name: str, nearest: _Stamped, reference: _Stamped) -> bool:
        """Return whether a message that is still under way may be nearer than the nearest."""
        if nearest is reference:
            return False
        entry = self._topics[name]
        since = time.monotonic() - _NAMED
        untold = nearest.unstamped or reference.unstamped or (
            # Only one of several messages with that stamp may have come by now.
            nearest.stamp == reference.stamp
            and any(
                when > since
                for topic in (entry, self._topics[self.reference])
                for when in topic.repeated
            )
        )
        if untold or self._backwards:
            if nearest.stamp == reference.stamp and not untold:
                return False
            later = any(other.number > reference.number for other in entry.buffer)
            return not later and nearest.apart(reference) > _TOGETHER
        return max(other.stamp for other in entry.buffer) < reference.stamp

    def _is_near(self, entry: _Stamped, reference: _Stamped) -> bool:
        """Return whether two messages can be of one instant."""
        if entry.unstamped or reference.unstamped:
            # What is latched arrives together, whenever it was published.
            apart = min(entry.apart(reference), abs(entry.arrival - reference.arrival))
            return apart <= max(self.tolerance, _UNSTAMPED_TOLERANCE)
        return 1e-9 * abs(entry.stamp - reference.stamp) <= self.tolerance

    def _nearest(self, name: str, reference: _Stamped) -> _Stamped | None:
        def rank(entry: _Stamped) -> tuple[float, float, int]:
            apart = entry.apart(reference)
            if entry.unstamped or reference.unstamped:
                arrived = abs(entry.arrival - reference.arrival)
                # Arrival says less than publication.
                far = float(apart > max(self.tolerance, _UNSTAMPED_TOLERANCE))
                return far, arrived if far else apart, -entry.number
            return abs(entry.stamp - reference.stamp), apart, -entry.number

        return min(self._topics[name].buffer, key=rank, default=None)

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

    def remarks(self) -> dict[tuple[str, str], str]:
        """Return what is odd about the stamps of late, a sentence by topic and kind."""
        with self._lock:
            since = time.monotonic() - _NAMED
            found = {}
            for name, entry in self._topics.items():
                if name in self.steady:
                    continue
                for kind, sentence in _REMARKS.items():
                    times = getattr(entry, kind)
                    if len(times) == times.maxlen and times[0] > since:
                        found[name, kind] = f'{name} {sentence}'
            return found

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
            first = next(name for name in names if name not in self.steady)
            reference = self._topics[first].buffer[-1]
            for name in names:
                nearest = self._nearest(name, reference)
                if nearest is None or name == first or name in self.steady:
                    continue
                if not self._is_near(nearest, reference):
                    return self._unmet(first, reference, name, nearest)
            timed = [name for name in names if name not in self.steady]
            if self._at(reference, timed, True) is not None:
                return None
            return f'no instant at which all of {", ".join(names)} were received'

    def _unmet(self, first: str, reference: _Stamped, name: str, nearest: _Stamped) -> str:
        unstamped = [
            topic
            for topic, entry in ((first, reference), (name, nearest))
            if entry.unstamped
        ]
        if unstamped:
            difference = nearest.arrival - reference.arrival
        else:
            difference = 1e-9 * (nearest.stamp - reference.stamp)
        tolerance = self.tolerance
        if unstamped:
            tolerance = max(tolerance, _UNSTAMPED_TOLERANCE)
        sentence = (
            f'{first} received, no {name} within {tolerance:g} s of it: the nearest is '
            f'{abs(difference):.3f} s {"later" if difference > 0.0 else "earlier"}'
        )
        for topic, entry in ((first, reference), (name, self._topics[name].buffer[-1])):
            silence = time.monotonic() - entry.arrival
            if silence > _SILENCE:
                return f'{sentence}; the last {topic} came {silence:.0f} s ago'
        if unstamped:
            return (
                f'{sentence} by arrival, since {" and ".join(unstamped)} '
                f'{"have" if len(unstamped) > 1 else "has"} no stamps; copy the stamp of the '
                'image into messages derived from it'
            )
        return f'{sentence}; check that both carry the stamp of the camera'


#: By the fields of ``_Topic``.
_REMARKS = {
    'missing': (
        'has no stamps (they are zero): the time of arrival is used instead; set the stamps in '
        'its publisher'
    ),
    'repeated': (
        'repeats its stamps: messages with the same stamp are distinguished by their publication '
        'time; set a new stamp for each message in its publisher'
    ),
    'backed': (
        'has stamps that go backwards: the last received message counts as the newest; check the '
        'clock of its publisher'
    ),
    'jumped': (
        'has stamps that repeatedly jump back by more than a second, and each jump discards all '
        'messages; check for a second publisher with another clock'
    ),
}
