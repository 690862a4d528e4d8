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
A client of the node for programs: lift or lift_scene, is_done, feedback, cancel, result.

For example::

    import time

    from lift3d_ros.node.client import LiftClient

    with LiftClient() as client:
        client.wait_for_server(10.0)
        client.lift()
        while not client.is_done():
            time.sleep(0.1)
        for lifted in client.result().result.objects:
            print(lifted.id, lifted.size)

It creates its own node and thread if it is given none, and a context if ``rclpy.init`` was not
called.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
import threading
import time
from types import TracebackType
from typing import Any

from action_msgs.msg import GoalStatus
import rclpy
from rclpy.action import ActionClient
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.context import Context
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rclpy.task import Future
from sensor_msgs.msg import CameraInfo
from sensor_msgs.msg import Image

from lift3d_ros.action import Lift
from lift3d_ros.action import LiftScene
from lift3d_ros.errors import ErrorCode
from lift3d_ros.msg import ObjectSelector
from lift3d_ros.node.executors.background import BackgroundNode
from lift3d_ros.node.messages.geometry import duration_message


class LiftClient:
    """
    One request at a time to the actions of a node ``lift3d``.

    No method spins. If you pass a ``node``, your executor must spin it, and ``result``
    must not be called from a callback unless that executor has another thread. Otherwise the
    client creates its own node and thread.
    """

    def __init__(
        self, node: Node | None = None, server: str = 'lift3d', context: Context | None = None
    ) -> None:
        """
        Connect to the node ``server``; ``context`` is for the client's own node.

        Requests sent before ``wait_for_server`` has returned true are lost.
        """
        self._own: BackgroundNode | None = None
        self._own_context: Context | None = None
        if node is None:
            if context is None and not rclpy.ok():
                context = self._own_context = Context()
                # Signal handlers are up to the program.
                rclpy.init(context=context, signal_handler_options=SignalHandlerOptions.NO)
            self._own = BackgroundNode('lift3d_client', context)
            node = self._own.node
        # rclpy drops a response that another thread takes before the request is registered. So
        # requests are sent in the callback group that receives the responses.
        group = MutuallyExclusiveCallbackGroup()
        self._objects = ActionClient(node, Lift, f'{server}/lift', callback_group=group)
        self._scenes = ActionClient(node, LiftScene, f'{server}/lift_scene', callback_group=group)
        #: The one of the running request.
        self._client = self._objects
        self._node = node
        self._outbox: deque[Callable[[], None]] = deque()
        self._guard = node.create_guard_condition(self._send_outbox, callback_group=group)
        self._handle = None
        self._feedback: Lift.Feedback | LiftScene.Feedback | None = None
        self._result: Lift.Result | LiftScene.Result | None = None
        self._cancel_asked = False
        #: Number of the running request; late responses to earlier ones are ignored.
        self._number = 0
        self._done = threading.Event()
        self._done.set()
        self._lock = threading.Lock()

    def __enter__(self) -> LiftClient:
        """Return the client."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the client."""
        self.close()

    def close(self) -> None:
        """Destroy the client; a running request is not cancelled."""
        self._node.destroy_guard_condition(self._guard)
        self._objects.destroy()
        self._scenes.destroy()
        if self._own is not None:
            self._own.close()
            self._own = None
        if self._own_context is not None:
            self._own_context.try_shutdown()
            self._own_context = None

    def wait_for_server(self, timeout: float | None = None) -> bool:
        """Wait ``timeout`` seconds at most for the node; return whether it is available."""
        begin = time.monotonic()
        if not self._objects.wait_for_server(timeout):
            return False
        left = None if timeout is None else max(timeout - (time.monotonic() - begin), 0.0)
        return self._scenes.wait_for_server(left)

    def lift(
        self,
        selector: ObjectSelector | None = None,
        *,
        image: Image | None = None,
        camera_info: CameraInfo | None = None,
        depth: Image | None = None,
        mask: Image | None = None,
        method: str = '',
        seed: int = 0,
        timeout: float = 0.0,
        refine: str = '',
        without_mesh: bool = False,
        **further: Any,
    ) -> None:
        """
        Request the objects that ``selector`` selects, by default all of the frame.

        Without an ``image`` the newest frame of the node's topics is lifted. An empty method and
        a seed and timeout (seconds) of 0 leave them to the node's parameters. ``refine`` is the id
        of an object to refine with the frame; with ``without_mesh`` only the topic ~/objects has
        the meshes; ``further`` are the fields further_images and so on of Lift.action. Raises
        ``RuntimeError`` while another request of this client is running.
        """
        self.send(Lift.Goal(
            selector=selector or ObjectSelector(mode=ObjectSelector.ALL),
            image=image or Image(),
            camera_info=camera_info or CameraInfo(),
            depth=depth or Image(),
            mask=mask or Image(),
            method=method,
            seed=seed,
            timeout=duration_message(timeout),
            refine=refine,
            without_mesh=without_mesh,
            **further,
        ))

    def lift_scene(
        self,
        *,
        image: Image | None = None,
        camera_info: CameraInfo | None = None,
        depth: Image | None = None,
        mask: Image | None = None,
        method: str = '',
        seed: int = 0,
        timeout: float = 0.0,
        resolution: float = 0.0,
        path: str = '',
        without_mesh: bool = False,
        **further: Any,
    ) -> None:
        """
        Request the whole frame as a scene; the result is one of LiftScene.action.

        Without an ``image`` the newest frame of the node's topics is lifted. An empty method, and
        a seed, timeout (seconds) and resolution (metres) of 0 leave them to the node's
        parameters. ``path`` is a file below ``output_dir`` to write; ``further`` are other fields
        of LiftScene.action. Raises ``RuntimeError`` while another request of this client is
        running.
        """
        self.send(LiftScene.Goal(
            image=image or Image(),
            camera_info=camera_info or CameraInfo(),
            depth=depth or Image(),
            mask=mask or Image(),
            method=method,
            seed=seed,
            timeout=duration_message(timeout),
            resolution=resolution,
            path=path,
            without_mesh=without_mesh,
            **further,
        ))

    def send(self, goal: Lift.Goal | LiftScene.Goal) -> None:
        """
        Request a goal as it is; ``lift`` and ``lift_scene`` make one of their arguments.

        Raises ``RuntimeError`` while another request of this client is running.
        """
        if not self._done.is_set():
            raise RuntimeError('a request is still running; cancel it or wait for its result')
        client = self._objects if isinstance(goal, Lift.Goal) else self._scenes
        with self._lock:
            self._number += 1
            self._client = client
            self._handle = self._feedback = self._result = None
            self._cancel_asked = False
            self._done.clear()
        self._send(partial(self._send_goal, client, goal, self._number))

    def is_done(self) -> bool:
        """Return whether the result has arrived."""
        return self._done.is_set()

    def feedback(self) -> Lift.Feedback | LiftScene.Feedback | None:
        """Return the newest feedback of the running request, None before the first."""
        return self._feedback

    def cancel(self) -> None:
        """Cancel the request; its result then has the error code ``CANCELLED``."""
        with self._lock:
            self._cancel_asked = True
            handle = self._handle
        if handle is not None and not self._done.is_set():
            self._send(handle.cancel_goal_async)

    def result(self, timeout: float | None = None) -> Lift.Result | LiftScene.Result:
        """
        Wait for the result, which has ``success`` and ``error_code``.

        Raises ``TimeoutError`` after ``timeout`` seconds, for example if the node was killed; the
        client then accepts the next request.
        """
        if not self._done.wait(timeout):
            self._done.set()
            raise TimeoutError(f'no result arrived within {timeout} s; check that the node runs')
        if self._result is None:
            raise RuntimeError('there was no request; call lift() or lift_scene() first')
        return self._result

    def _send(self, question: Callable[[], Any]) -> None:
        self._outbox.append(question)
        self._guard.trigger()

    def _send_outbox(self) -> None:
        while self._outbox:
            self._outbox.popleft()()

    def _send_goal(
        self, client: ActionClient, goal: Lift.Goal | LiftScene.Goal, number: int
    ) -> None:
        sent = client.send_goal_async(
            goal, feedback_callback=partial(self._on_feedback, number)
        )
        sent.add_done_callback(partial(self._on_answer, number))

    def _on_feedback(self, number: int, message: Any) -> None:
        with self._lock:
            if number == self._number:
                self._feedback = message.feedback

    def _on_answer(self, number: int, future: Future) -> None:
        handle = future.result()
        if handle is None or not handle.accepted:
            self._fail(number, ErrorCode.BUSY, 'The node rejected the request.')
            return
        with self._lock:
            if number != self._number:
                return
            self._handle = handle
            cancel = self._cancel_asked
        on_result = partial(self._on_result, number)
        self._send(lambda: handle.get_result_async().add_done_callback(on_result))
        if cancel:
            self._send(handle.cancel_goal_async)

    def _on_result(self, number: int, future: Future) -> None:
        answer = future.result()
        if answer.status == GoalStatus.STATUS_UNKNOWN:
            self._fail(
                number, ErrorCode.INTERNAL,
                'The node does not know the request; if it restarted, send it again.')
            return
        self._finish(number, answer.result)

    def _fail(self, number: int, code: ErrorCode, message: str) -> None:
        kind = Lift if self._client is self._objects else LiftScene
        self._finish(number, kind.Result(error_code=code.value, message=message))

    def _finish(self, number: int, result: Lift.Result | LiftScene.Result) -> None:
        with self._lock:
            if number == self._number:
                self._result = result
                self._done.set()
