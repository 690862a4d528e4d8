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

"""Nodes that a background thread spins, for programs that call services and wait."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Any

from lifecycle_msgs.srv import ChangeState
from lifecycle_msgs.srv import GetState
from rclpy.client import Client
from rclpy.context import Context
from rclpy.executors import Executor
from rclpy.executors import MultiThreadedExecutor
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.task import Future

from lift3d_ros.node.executors.spinning import start_spinning

#: Seconds for a server to discover a new client.
_DISCOVERY_S = 0.3


class BackgroundNode:
    """A node and the thread that spins it until ``close``."""

    def __init__(
        self, node: str | Node, context: Context | None = None, threads: int = 2
    ) -> None:
        """Spin a node, or a new one of that name, with so many threads for callbacks."""
        self.node = Node(node, context=context) if isinstance(node, str) else node
        name = self.node.get_name()
        self._executor: Executor
        if threads == 1:
            self._executor = SingleThreadedExecutor(context=context)
        else:
            self._executor = MultiThreadedExecutor(threads, context=context)
        self._executor.add_node(self.node)
        self._clients: dict[str, Client] = {}
        self._stop = Future()
        self._thread = start_spinning(
            self._executor, self._stop, self.node.get_logger(), f'{name}-spin'
        )

    def __enter__(self) -> BackgroundNode:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the graph."""
        self.close()

    def close(self) -> None:
        """Stop spinning and leave the graph."""
        if self._stop.done():
            return
        self._stop.set_result(None)
        self._thread.join()
        self._executor.shutdown()
        self.node.destroy_node()

    def call(self, kind: Any, name: str, request: Any, timeout: float = 10.0) -> Any:
        """
        Call a service and return its response.

        Raises ``TimeoutError`` if there is no service or no response within ``timeout`` seconds.
        """
        # Clients live as long as the node: the executor may still use one after a call.
        client = self._clients.get(name)
        fresh = client is None
        if fresh:
            client = self._clients[name] = self.node.create_client(kind, name)
        if not client.wait_for_service(timeout):
            raise TimeoutError(f'there is no service {name}')
        if fresh:
            # The client discovers the server before the server discovers the client. A response
            # sent in between is lost; the middleware waits for discovery only 0.1 s.
            time.sleep(_DISCOVERY_S)
        return wait_for(client.call_async(request), timeout)

    def lifecycle_state(self, server: str, timeout: float = 10.0) -> str:
        """Return the name of a lifecycle node's state; raises ``TimeoutError``."""
        answer = self.call(GetState, f'{server}/get_state', GetState.Request(), timeout)
        return answer.current_state.label

    def change_state(self, server: str, transition: int, timeout: float = 60.0) -> bool:
        """
        Request a transition of a lifecycle node; return whether it succeeded.

        ``transition`` is one of ``lifecycle_msgs/msg/Transition``. Raises ``TimeoutError``.
        """
        request = ChangeState.Request()
        request.transition.id = transition
        return self.call(ChangeState, f'{server}/change_state', request, timeout).success



def wait_for(future: Future, timeout: float) -> Any:
    """Return the result of a future that another thread completes; raises ``TimeoutError``."""
    done = threading.Event()
    future.add_done_callback(lambda _: done.set())
    if not done.wait(timeout):
        raise TimeoutError(f'no response arrived within {timeout} s')
    return future.result()
