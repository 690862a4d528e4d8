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
One topic, heard from whatever publishers it has: reliable or best effort, latched or not.

Quality of service is matched by pairs: a reliable subscription does not hear a best-effort
publisher, and only a reliable subscription with transient-local durability gets what a publisher
has latched. Publishers may come after the subscription, so what is offered is looked at again and
again, and no message may be lost while the subscriptions change:

- One subscription is volatile. Its reliability follows the publishers. A new one takes the place
  of the old one only after it has had time to be discovered.
- While there is no publisher there are both, reliable and best effort: the first message of a
  publisher may be its only one.
- Another one, transient local and reliable, is there while a publisher latches.

What several of them hear is passed on once.
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

from lift3d_ros.node.executors.listener import Listener
from lift3d_ros.node.messages.conversions import nanoseconds

#: By parameters qos_overrides.<topic>.subscription.*; the reliability has its own parameter.
OVERRIDABLE = (QoSPolicyKind.HISTORY, QoSPolicyKind.DEPTH)

#: Seconds for which an old subscription stays beside the new one: publishers of other machines
#: need that long to discover it.
_OVERLAP = 2.0

#: Messages of which it is known whether they were passed on already.
_REMEMBERED = 100

#: Seconds over which arrivals are counted.
WINDOW = 5.0


class Arrival(NamedTuple):
    """
    How a message came.

    ``published`` in nanoseconds of the publisher's clock, 0 where the middleware does not tell;
    ``replayed``: others came before that were published later.
    """

    published: int
    replayed: bool


class Topic:
    """A topic that the node listens to; ``update`` follows its publishers."""

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
        self._seen: deque[tuple[int, int]] = deque(maxlen=_REMEMBERED)
        self._newest = 0
        #: Monotonic time and number of publication of the messages of late.
        self._arrivals: deque[tuple[float, int]] = deque(maxlen=1000)
        #: The one that is replaced, and until when it stays.
        self._old: tuple[Subscription, float] | None = None
        self._latched: Subscription | None = None
        self._infos = self._look()
        wanted = self._reliability()
        if not self._infos and self._asked == 'auto':
            best_effort = self._subscribe(wanted, DurabilityPolicy.VOLATILE)
            self._old = best_effort, float('inf')
            wanted = ReliabilityPolicy.RELIABLE
        self._live = self._subscribe(wanted, DurabilityPolicy.VOLATILE)
        self.update()

    def update(self) -> bool:
        """Follow the publishers; return whether there are others than at the last call."""
        before = self._infos
        self._infos = infos = self._look()
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
                # It has been discovered already.
                self._listener.destroy_subscription(self._live)
                self._live, self._old = old, None
            elif until == float('inf'):
                self._old = old, now + _OVERLAP
            elif now > until:
                self._listener.destroy_subscription(old)
                self._old = None
        elif wanted != self._live.qos_profile.reliability:
            self._old = self._live, now + _OVERLAP
            self._live = self._subscribe(wanted, DurabilityPolicy.VOLATILE)

    @property
    def publishers(self) -> int:
        """How many publishers of the right type there are."""
        return len(self._infos)

    @property
    def publisher_nodes(self) -> set[tuple[str, str]]:
        """Names and namespaces of the nodes that publish."""
        return {(info.node_name, info.node_namespace) for info in self._infos}

    @property
    def is_best_effort(self) -> bool:
        """Whether messages may be lost on the way."""
        return bool(self._live.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT)

    @property
    def other_types(self) -> set[str]:
        """The types of publishers that have this topic's name and another type."""
        found = self._node.get_publishers_info_by_topic(self._relative)
        return {info.topic_type for info in found} - {self.type_name}

    def is_unheard(self) -> bool:
        """Return whether no publisher offers the reliability that the parameter asks for."""
        return self._asked == 'reliable' and bool(self._infos) and all(
            info.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT for info in self._infos
        )

    def rate(self) -> float:
        """Return the messages that arrived per second over the last seconds."""
        times = [when for when, _ in list(self._arrivals)]
        now = time.monotonic()
        return sum(when > now - WINDOW for when in times) / WINDOW

    def lost(self) -> float:
        """
        Return which part of the published messages did not arrive over the last seconds.

        By the numbers that the middleware gives to the messages of a publisher; 0 where it gives
        none, where there are several publishers, and for fewer than 5 messages.
        """
        now = time.monotonic()
        numbers = [n for when, n in list(self._arrivals) if when > now - WINDOW]
        if len(self._infos) != 1 or len(numbers) < 2 or not all(numbers):
            return 0.0
        published = numbers[-1] - numbers[0] + 1
        if published < max(5, len(numbers)):
            # Few, or a publisher that has started anew.
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

    def _look(self) -> list[Any]:
        infos = self._node.get_publishers_info_by_topic(self._relative)
        return [info for info in infos if info.topic_type == self.type_name]

    def _reliability(self) -> ReliabilityPolicy:
        """
        Return the reliability with which every publisher is heard best.

        Best effort hears all of them, but loses large images: the fragments of a message that
        exceeds the buffers of the transport are not sent again.
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
        # With "auto" another subscription hears the publishers that this one does not.
        warn = self._asked != 'auto' and not latched
        return self._listener.create_subscription(
            self._kind,
            # Not the full name, to which the remaps would be applied once more.
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
            if key in self._seen:
                return
            self._seen.append(key)
            self._newest = max(self._newest, published)
        if not replayed:
            number = info.get('publication_sequence_number') or 0
            self._arrivals.append((time.monotonic(), number))
        self._on_message(message, Arrival(published, replayed))


def _offers(infos: list[Any]) -> list[tuple[Any, ...]]:
    return sorted(
        (info.node_namespace, info.node_name, bytes(info.endpoint_gid)) for info in infos
    )
