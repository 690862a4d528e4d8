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
A subscription that adapts to the QoS of its publishers: reliable or best effort, latched or not.

A reliable subscription receives nothing from a best-effort publisher, and only a reliable
subscription with transient-local durability receives latched messages. Publishers may start after
the subscription, so their QoS is checked periodically. To lose no message meanwhile, a topic has
up to three subscriptions:

- A volatile one whose reliability follows the publishers. A new one replaces the old one after it
  has had time to be discovered.
- Without publishers a reliable and a best-effort one, since the first message of a publisher may
  be its only one.
- A reliable, transient-local one while a publisher latches.

Messages that several of them receive are passed on once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from copy import copy
from functools import partial
import time
from typing import Any
from typing import NamedTuple

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy
from rclpy.qos import qos_profile_sensor_data
from rclpy.qos import QoSPolicyKind
from rclpy.qos import ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.subscription import Subscription

try:
    from rclpy.event_handler import SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks

from lift3d_ros.messages.conversions import nanoseconds
from lift3d_ros.node.executors.listener import Listener

#: Policies that qos_overrides.<topic>.subscription.* may set; reliability has its own parameter.
OVERRIDABLE = (QoSPolicyKind.HISTORY, QoSPolicyKind.DEPTH)

#: Seconds for which an old subscription remains, until publishers on other machines have
#: discovered the new one.
_OVERLAP_S = 2.0

#: Messages that are remembered to recognise duplicates.
_MAX_REMEMBERED = 100

#: Seconds over which rates and losses are measured.
WINDOW = 5.0


class Arrival(NamedTuple):
    """
    Publication of a message.

    ``published`` is in nanoseconds of the publisher's clock, 0 if the middleware does not report
    it. A ``replayed`` message arrived after others that were published later.
    """

    published: int
    replayed: bool


class Topic:
    """A subscribed topic; ``update`` adapts it to its publishers."""

    def __init__(
        self,
        node: Node,
        listener: Listener,
        kind: Any,
        name: str,
        reliability: str,
        on_message: Callable[[Any, Arrival], None],
    ) -> None:
        """
        Subscribe to the topic that the node's remaps make of a name.

        ``reliability`` is ``auto``, ``reliable`` or ``best_effort``.
        """
        #: The full name.
        self.name = node.resolve_topic_name(name)
        self._relative = name
        self.type_name = f'{kind.__module__.split(".")[0]}/msg/{kind.__name__}'
        self._node = node
        self._listener = listener
        self._kind = kind
        self._asked = reliability
        self._on_message = on_message
        self._received: deque[tuple[int, int]] = deque(maxlen=_MAX_REMEMBERED)
        self._newest = 0
        #: Monotonic time and publication number of recent messages.
        self._arrivals: deque[tuple[float, int]] = deque(maxlen=1000)
        #: The subscription that is being replaced, and the time of its end.
        self._old: tuple[Subscription, float] | None = None
        self._latched: Subscription | None = None
        self._infos = self._publisher_infos()
        wanted = self._reliability()
        if not self._infos and self._asked == 'auto':
            best_effort = self._subscribe(wanted, DurabilityPolicy.VOLATILE)
            self._old = best_effort, float('inf')
            wanted = ReliabilityPolicy.RELIABLE
        self._live = self._subscribe(wanted, DurabilityPolicy.VOLATILE)
        self.update()

    def update(self) -> bool:
        """Adapt to the publishers; return whether they have changed since the last call."""
        before = self._infos
        self._infos = infos = self._publisher_infos()
        now = time.monotonic()
        if infos:
            self._choose_reliability(now)
        latches = any(
            info.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL
            and info.qos_profile.reliability == ReliabilityPolicy.RELIABLE
            for info in infos
        )
        if latches and self._latched is None:
            self._latched = self._subscribe(
                ReliabilityPolicy.RELIABLE, DurabilityPolicy.TRANSIENT_LOCAL
            )
        elif infos and not latches and self._latched is not None:
            self._listener.destroy_subscription(self._latched)
            self._latched = None
        return _offers(before) != _offers(infos)

    def _choose_reliability(self, now: float) -> None:
        wanted = self._reliability()
        if self._old is not None:
            old, until = self._old
            if wanted == old.qos_profile.reliability:
                # Publishers have discovered it already.
                self._listener.destroy_subscription(self._live)
                self._live, self._old = old, None
            elif until == float('inf'):
                self._old = old, now + _OVERLAP_S
            elif now > until:
                self._listener.destroy_subscription(old)
                self._old = None
        elif wanted != self._live.qos_profile.reliability:
            self._old = self._live, now + _OVERLAP_S
            self._live = self._subscribe(wanted, DurabilityPolicy.VOLATILE)

    @property
    def publishers(self) -> int:
        """The number of publishers of the right type."""
        return len(self._infos)

    @property
    def publisher_nodes(self) -> set[tuple[str, str]]:
        """Names and namespaces of the publishing nodes."""
        return {(info.node_name, info.node_namespace) for info in self._infos}

    @property
    def is_best_effort(self) -> bool:
        """Whether messages may be lost in transit."""
        return bool(self._live.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT)

    @property
    def other_types(self) -> set[str]:
        """The types of publishers with the name of this topic and another type."""
        found = self._node.get_publishers_info_by_topic(self._relative)
        return {info.topic_type for info in found} - {self.type_name}

    def is_incompatible(self) -> bool:
        """Return whether no publisher offers the reliability that the parameter requires."""
        return self._asked == 'reliable' and bool(self._infos) and all(
            info.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT for info in self._infos
        )

    def rate(self) -> float:
        """Return the received messages per second over the last ``WINDOW`` seconds."""
        times = [when for when, _ in list(self._arrivals)]
        now = time.monotonic()
        return sum(when > now - WINDOW for when in times) / WINDOW

    def lost(self) -> float:
        """
        Return the share of published messages that were lost over the last ``WINDOW`` seconds.

        It uses the publication numbers of the middleware; 0 if it has none, for several
        publishers, and for fewer than 5 messages.
        """
        now = time.monotonic()
        numbers = [n for when, n in list(self._arrivals) if when > now - WINDOW]
        if len(self._infos) != 1 or len(numbers) < 2 or not all(numbers):
            return 0.0
        published = numbers[-1] - numbers[0] + 1
        if published < max(5, len(numbers)):
            # Too few, or the publisher was restarted.
            return 0.0
        return 1.0 - len(numbers) / published

    def description(self) -> str:
        """Return name, type, quality of service and publishers in one line."""
        reliability = 'best effort' if self.is_best_effort else 'reliable'
        if self._old is not None and self._old[1] == float('inf'):
            reliability = 'reliable or best effort'
        durability = 'volatile' if self._latched is None else 'transient local'
        count = len(self._infos)
        found = f'{count or "no"} publisher{"" if count == 1 else "s"}'
        if count:
            nodes = sorted(
                f'{space.rstrip("/")}/{name}' for name, space in self.publisher_nodes
            )
            found += f' ({", ".join(nodes)})'
        return f'{self.name} [{self.type_name}], {reliability}, {durability}: {found}'

    def _publisher_infos(self) -> list[Any]:
        infos = self._node.get_publishers_info_by_topic(self._relative)
        return [info for info in infos if info.topic_type == self.type_name]

    def _reliability(self) -> ReliabilityPolicy:
        """
        Return the best reliability that is compatible with every publisher.

        Best effort is compatible with all, but loses large images: lost fragments of a message are
        not sent again.
        """
        if self._asked != 'auto':
            return ReliabilityPolicy[self._asked.upper()]
        offered = {info.qos_profile.reliability for info in self._infos}
        if offered == {ReliabilityPolicy.RELIABLE}:
            return ReliabilityPolicy.RELIABLE
        return ReliabilityPolicy.BEST_EFFORT

    def _subscribe(
        self, reliability: ReliabilityPolicy, durability: DurabilityPolicy
    ) -> Subscription:
        profile = copy(qos_profile_sensor_data)
        profile.reliability, profile.durability = reliability, durability
        latched = durability == DurabilityPolicy.TRANSIENT_LOCAL
        # With "auto" another subscription serves the incompatible publishers.
        warn = self._asked != 'auto' and not latched
        return self._listener.create_subscription(
            self._kind,
            # The relative name, since remaps would apply to the full name again.
            self._relative,
            partial(self._take, latched),
            profile,
            qos_overriding_options=QoSOverridingOptions(OVERRIDABLE),
            event_callbacks=SubscriptionEventCallbacks(use_default_callbacks=warn),
        )

    def _take(self, latched: bool, message: Any, info: dict[str, Any]) -> None:
        published = info.get('source_timestamp') or 0
        replayed = latched and published < self._newest
        if published:
            key = published, nanoseconds(message.header.stamp)
            if key in self._received:
                return
            self._received.append(key)
            self._newest = max(self._newest, published)
        if not replayed:
            number = info.get('publication_sequence_number') or 0
            self._arrivals.append((time.monotonic(), number))
        self._on_message(message, Arrival(published, replayed))


def _offers(infos: list[Any]) -> list[tuple[Any, ...]]:
    return sorted(
        (info.node_namespace, info.node_name, bytes(info.endpoint_gid)) for info in infos
    )
