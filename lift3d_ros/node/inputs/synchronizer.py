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
Synchronisation of messages of several topics by their stamps.

Unlike ``message_filters`` it also synchronises messages without usable stamps: for messages
without a stamp, and for messages that repeat the previous stamp, it uses the time of publication,
or the time of arrival if the middleware does not report the publication. See
docs/decisions/03_own_synchroniser.md.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from collections.abc import Mapping
from dataclasses import dataclass
import threading
import time
from typing import Any

from lift3d_ros.node.inputs.stamps import Stamped
from lift3d_ros.node.inputs.stamps import TopicBuffer

#: Messages published within so many seconds of each other belong together: half a period at 30 Hz.
_SAME_INSTANT_S = 0.015

#: Tolerance in seconds between messages without stamps. A mask arrives later than its image by the
#: time of the segmentation.
_UNSTAMPED_TOLERANCE_S = 1.0

#: Seconds without a message after which a topic is reported as silent.
_SILENCE_S = 5.0

@dataclass(frozen=True, eq=False)
class Match:
    """One message of each topic, and the stamp of the reference in nanoseconds."""

    stamp: int
    messages: Mapping[str, Any]

    def get(self, topic: str) -> Any:
        """Return the message of a topic, or None where the topic is not used."""
        return self.messages.get(topic)


class Synchronizer:
    """
    Matches messages by stamp; returns the newest match. Thread-safe.

    Messages of ``others`` are matched to those of ``reference``, the topic that arrives last and
    least often, if their stamps differ by ``tolerance`` seconds at most. For ``steady`` topics the
    nearest message is used regardless of its stamp, such as a latched camera_info.

    A message that is older than the reference is matched only after a newer one of its topic has
    arrived or ``tolerance`` seconds have passed, since the one with the same stamp may still be in
    transit. ``settle`` returns matches that became complete by the passing of time.
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
        self._topics = {name: TopicBuffer(deque(maxlen=depth)) for name in names}
        self._lock = threading.Lock()
        self._last: Stamped | None = None
        self._count = 0
        #: Whether the stamps of the reference go back; the last received message is the newest.
        self._backwards = False
        #: How often stamps jumped back and all messages were discarded.
        self.jumps = 0
        #: Messages of the reference that were skipped because a newer one matched.
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
        Add a message; return the match that it completes, if that is newer than the last one.

        ``stamp`` and ``published`` are in nanoseconds. The stamp of an ``unstamped`` message is
        its time of arrival. A ``replayed`` message was published before others of its topic that
        have arrived: a latched message of a publisher that was discovered late.
        """
        with self._lock:
            entry = self._topics[topic]
            now = time.monotonic()
            entry.received += 1
            entry.arrivals.append(now)
            self._count += 1
            new = Stamped(stamp, message, now, published, unstamped, self._count)
            buffer = entry.buffer
            if replayed and buffer:
                if len(buffer) < (buffer.maxlen or 0):
                    buffer.appendleft(new._replace(number=buffer[0].number - 1))
            else:
                if topic not in self.steady:
                    self._check_stamp(topic, new)
                entry.last = new
                buffer.append(new)
            return self._take()

    def settle(self) -> Match | None:
        """Return a match that became complete by the passing of time, if it is new."""
        with self._lock:
            return self._take()

    def newest(self, without: Iterable[str] = (), stamp: int | None = None) -> Match | None:
        """
        Return the newest match, even if it was returned before.

        It excludes the topics ``without``. With ``stamp`` in nanoseconds it is the match nearest
        to that instant, within the tolerance.
        """
        with self._lock:
            found = self._newest(frozenset(without), stamp)
            return found and found[1]

    def _check_stamp(self, topic: str, new: Stamped) -> None:
        """Record irregularities of a stamp; discard all messages if it jumps back."""
        entry = self._topics[topic]
        last = entry.last
        if entry.check_stamp(new):
            for other in self._topics.values():
                other.clear()
            self._last, self._backwards = None, False
            self.jumps += 1
        elif topic == self.reference and last is not None and new.stamp != last.stamp:
            if not (new.unstamped or last.unstamped):
                self._backwards = entry.is_backwards

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
    ) -> tuple[Stamped, Match] | None:
        needed = [name for name in (self.reference, *self.others) if name not in without]
        now = time.monotonic()
        if stamp is not None:
            # Of messages that repeat the stamp, use the last ones.
            asked = Stamped(stamp, None, now, 0, False, self._count + 1)
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

    def _at(self, reference: Stamped, needed: Iterable[str], settled: bool) -> Match | None:
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

    def _may_be_nearer(self, name: str, nearest: Stamped, reference: Stamped) -> bool:
        """Return whether a message that is still in transit may be nearer."""
        if nearest is reference:
            return False
        entry = self._topics[name]
        is_ambiguous = nearest.unstamped or reference.unstamped or (
            # Of several messages with this stamp only one may have arrived yet.
            nearest.stamp == reference.stamp
            and (entry.repeats_stamps() or self._topics[self.reference].repeats_stamps())
        )
        if is_ambiguous or self._backwards:
            if nearest.stamp == reference.stamp and not is_ambiguous:
                return False
            later = any(other.number > reference.number for other in entry.buffer)
            return not later and nearest.distance(reference) > _SAME_INSTANT_S
        return max(other.stamp for other in entry.buffer) < reference.stamp

    def _is_near(self, entry: Stamped, reference: Stamped) -> bool:
        """Return whether two messages are within the tolerance."""
        if entry.unstamped or reference.unstamped:
            # Latched messages arrive together, regardless of their publication.
            apart = min(entry.distance(reference), abs(entry.arrival - reference.arrival))
            return apart <= max(self.tolerance, _UNSTAMPED_TOLERANCE_S)
        return 1e-9 * abs(entry.stamp - reference.stamp) <= self.tolerance

    def _nearest(self, name: str, reference: Stamped) -> Stamped | None:
        def rank(entry: Stamped) -> tuple[float, float, int]:
            apart = entry.distance(reference)
            if entry.unstamped or reference.unstamped:
                arrived = abs(entry.arrival - reference.arrival)
                # The arrival is less precise than the publication.
                far = float(apart > max(self.tolerance, _UNSTAMPED_TOLERANCE_S))
                return far, arrived if far else apart, -entry.number
            return abs(entry.stamp - reference.stamp), apart, -entry.number

        return min(self._topics[name].buffer, key=rank, default=None)

    def received(self, topic: str) -> int:
        """Return the number of received messages of a topic."""
        return self._topics[topic].received

    def rate(self, topic: str) -> float:
        """Return the messages per second of a topic; 0 for a silent one."""
        with self._lock:
            return self._topics[topic].rate()

    def irregularities(self) -> dict[tuple[str, str], str]:
        """Return recent irregularities of the stamps, a sentence by topic and kind."""
        with self._lock:
            return {
                (name, kind): f'{name} {predicate}'
                for name, entry in self._topics.items()
                if name not in self.steady
                for kind, predicate in entry.irregularities().items()
            }

    def unmatched_reason(self, without: Iterable[str] = ()) -> str | None:
        """Return why there is no match, in a sentence; None if there is one or it is still due."""
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
                    return self._out_of_tolerance(first, reference, name, nearest)
            timed = [name for name in names if name not in self.steady]
            if self._at(reference, timed, True) is not None:
                return None
            return f'no instant at which all of {", ".join(names)} were received'

    def _out_of_tolerance(
        self, first: str, reference: Stamped, name: str, nearest: Stamped
    ) -> str:
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
            tolerance = max(tolerance, _UNSTAMPED_TOLERANCE_S)
        sentence = (
            f'{first} received, no {name} within {tolerance:g} s of it: the nearest is '
            f'{abs(difference):.3f} s {"later" if difference > 0.0 else "earlier"}'
        )
        for topic, entry in ((first, reference), (name, self._topics[name].buffer[-1])):
            silence = time.monotonic() - entry.arrival
            if silence > _SILENCE_S:
                return f'{sentence}; the last {topic} came {silence:.0f} s ago'
        if unstamped:
            return (
                f'{sentence} by arrival, since {" and ".join(unstamped)} '
                f'{"have" if len(unstamped) > 1 else "has"} no stamps; copy the stamp of the '
                'image into messages derived from it'
            )
        return f'{sentence}; check that both carry the stamp of the camera'
