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
A separate thread for the subscriptions of a node.

For each message rclpy checks every service, timer and event of an executor. With those of the
lifecycle node, 30 frames of 640 x 480 a second cost 28 % of a core instead of 9 %. The
subscriptions belong to the lifecycle node, where ``ros2 node info`` lists them, but a second
executor serves them.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
import threading
from typing import Any

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.clock import Clock
from rclpy.clock import ClockType
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.subscription import Subscription
from rclpy.task import Future
from rclpy.timer import Timer

from lift3d_ros.node.executors.spinning import start_spinning


class _ThreadGroup(MutuallyExclusiveCallbackGroup):
    """Callbacks that only one thread executes; executors of other threads skip them."""

    def __init__(self) -> None:
        super().__init__()
        self.thread: threading.Thread | None = None

    def can_execute(self, entity: Any) -> bool:
        if threading.current_thread() is not self.thread:
            return False
        return super().can_execute(entity)


class Listener:
    """
    Serves subscriptions and timers of a node in a thread of its own until ``close``.

    For the second executor and for tf2_ros it replaces the node, with the attributes they use.
    """

    # An executor reads these attributes of a node; here they are empty.
    clients = services = guards = ()

    def __init__(self, node: Node) -> None:
        """Start the thread, without subscriptions."""
        self._node = node
        self._group = _ThreadGroup()
        self._subscriptions: list[Subscription] = []
        self._timers: list[Timer] = []
        #: Set by ``Executor.add_node``.
        self.executor: SingleThreadedExecutor | None = None
        self._own = SingleThreadedExecutor(context=node.context)
        self._own.add_node(self)  # type: ignore[arg-type]
        self._stop = Future()
        self._thread = start_spinning(
            self._own, self._stop, node.get_logger(), 'lift3d-listener'
        )
        self._group.thread = self._thread

    @property
    def subscriptions(self) -> Iterator[Subscription]:
        """The subscriptions that the thread serves."""
        return iter(list(self._subscriptions))

    @property
    def timers(self) -> Iterator[Timer]:
        """The timers that the thread serves."""
        return iter(list(self._timers))

    @property
    def waitables(self) -> Iterator[Any]:
        """The events of the subscriptions, such as publishers of another quality of service."""
        return iter([event for each in self.subscriptions for event in each.event_handlers])

    def create_subscription(
        self, kind: Any, topic: str, callback: Callable[..., Any], qos: Any, **options: Any
    ) -> Subscription:
        """Subscribe; ``options`` are those of the node's method."""
        options['callback_group'] = self._group
        made = self._node.create_subscription(kind, topic, callback, qos, **options)
        self._subscriptions.append(made)
        self._own.wake()
        return made

    def destroy_subscription(self, subscription: Subscription) -> bool:
        """Leave a topic; return whether it was subscribed here."""
        if subscription not in self._subscriptions:
            return False
        self._subscriptions.remove(subscription)
        done = self._node.destroy_subscription(subscription)
        self._own.wake()
        return done

    def create_timer(self, period: float, callback: Callable[[], Any]) -> Timer:
        """Call a function every ``period`` seconds, even while simulated time is paused."""
        clock = Clock(clock_type=ClockType.STEADY_TIME)
        timer = self._node.create_timer(
            period, callback, callback_group=self._group, clock=clock
        )
        self._timers.append(timer)
        self._own.wake()
        return timer

    def close(self) -> None:
        """End the thread, leave the topics and destroy the timers."""
        if self._stop.done():
            return
        self._stop.set_result(None)
        self._thread.join()
        self._own.shutdown()
        for subscription in self.subscriptions:
            self.destroy_subscription(subscription)
        for timer in self.timers:
            self._timers.remove(timer)
            self._node.destroy_timer(timer)
