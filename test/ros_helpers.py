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

"""A node in a process of its own, a client beside it, and pictures to ask it about."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
import gc
import json
import os
from pathlib import Path
import signal
import subprocess
import sys
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
import numpy as np
from numpy.typing import NDArray
import pytest
from rcl_interfaces.msg import SetParametersResult
from rcl_interfaces.srv import SetParameters
import rclpy
from rclpy.action import ActionClient
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.parameter import Parameter
from std_msgs.msg import Header

from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import look_at
from lift3d_ros.geometry.frame import Frame
from lift3d_ros.messages.images import FRAME_ID
from lift3d_ros.node.executors.background import BackgroundNode
from lift3d_ros.node.messages.images import image_message
from lift3d_ros.node.messages.images import info_message
from lift3d_ros.srv import LiftObject

#: Longer than anything here takes, so that a test that hangs says where.
PATIENCE = 60.0


def table_scene(
    *balls: tuple[float, float, float], width: int = 320, height: int = 240
) -> tuple[Frame, NDArray[np.uint8]]:
    """
    Return a frame of balls (x, y, radius in metres) on a table, and its label image.

    The camera looks down on the table's origin from 0.6 m; ball k has the label k + 1.
    """
    camera = Camera.from_fov(width, height, 50.0)
    T = look_at((0.45, 0.0, 0.4), (0.0, 0.0, 0.0))
    rays, eye = camera.rays() @ T[:3, :3].T, T[:3, 3]
    # The rays have z = 1 in the optical frame, so their parameter is the depth.
    depth = -eye[2] / np.minimum(rays[..., 2], -1e-9)
    labels = np.zeros((height, width), np.uint8)
    image = np.full((height, width, 3), 150, np.uint8)
    for k, (x, y, radius) in enumerate(balls):
        offset = eye - np.array([x, y, radius])
        a = np.einsum('ijk,ijk->ij', rays, rays)
        b = rays @ offset
        root = b * b - a * (offset @ offset - radius * radius)
        near = np.where(root > 0.0, (-b - np.sqrt(np.maximum(root, 0.0))) / a, np.inf)
        seen = near < depth
        depth[seen] = near[seen]
        labels[seen] = k + 1
        image[seen] = (200, 40 + 100 * (k % 2), 40)
    gravity = -T[:3, :3].T[:, 2]
    return Frame(image, camera, depth.astype(np.float32), gravity), labels


#: One ball, two beside each other, and so many that lifting them takes seconds and has a middle.
BALL = table_scene((0.0, 0.0, 0.05))
TWO = table_scene((0.0, -0.08, 0.05), (0.0, 0.08, 0.04))
MANY = table_scene(*((x, y, 0.03) for x in (-0.08, 0.0, 0.08) for y in (-0.15, 0.0, 0.15)))


def stamped(stamp: int) -> Header:
    """Return the header of the camera at a stamp in nanoseconds."""
    message = Header(frame_id=FRAME_ID)
    message.stamp.sec, message.stamp.nanosec = divmod(stamp, 1_000_000_000)
    return message


def messages(
    frame: Frame, labels: NDArray[np.uint8], encoding: str = 'mono8', stamp: int = 0
) -> dict[str, Any]:
    """Return image, camera_info, depth (32FC1) and mask as a camera and a segmenter give them."""
    assert frame.depth is not None
    made = {
        'image': image_message(frame.image, 'rgb8'),
        'camera_info': info_message(frame.camera),
        'depth': image_message(frame.depth, '32FC1'),
        'mask': image_message(labels, encoding),
    }
    for message in made.values():
        message.header = stamped(stamp)
    return made


class Graph(BackgroundNode):
    """The tests' own node, in a context of its own."""

    def __init__(self) -> None:
        """Join the graph."""
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        super().__init__('tester', self.context, threads=4)
        self.processes: list[subprocess.Popen[str]] = []

    def close(self) -> None:
        """Leave the graph; a node that a failed test left behind ends."""
        for process in self.processes:
            if process.poll() is None:
                process.kill()
                process.wait()
        super().close()
        # What refers to itself would leave the graph whenever the collector comes by.
        gc.collect()
        self.context.try_shutdown()

    @contextmanager
    def listen(self, kind: Any, topic: str, qos: Any = 10) -> Iterator[list[Any]]:
        """Collect the messages of a topic in a list."""
        heard: list[Any] = []
        subscription = self.node.create_subscription(kind, topic, heard.append, qos)
        try:
            yield heard
        finally:
            self.node.destroy_subscription(subscription)


def wait_until(condition: Callable[[], Any], timeout: float = PATIENCE) -> None:
    """Wait for a condition; fails the test where it does not come true."""
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, f'not within {timeout} s'
        time.sleep(0.01)


class ActionCaller:
    """Goals of an action, sent in the thread that receives the answers: rclpy loses them else."""

    def __init__(self, graph: Graph, kind: Any, name: str) -> None:
        """Wait for the server."""
        group = MutuallyExclusiveCallbackGroup()
        self._node = graph.node
        self._client = ActionClient(graph.node, kind, name, callback_group=group)
        self._guard = graph.node.create_guard_condition(self._ask, callback_group=group)
        self._outbox: list[tuple[Callable[[], Any], list[Any]]] = []
        assert self._client.wait_for_server(PATIENCE)

    def close(self) -> None:
        """Destroy the client."""
        self._node.destroy_guard_condition(self._guard)
        self._client.destroy()

    def send(self, goal: Any, feedback: Callable[[Any], None] | None = None) -> Any:
        """Return the handle of an accepted goal; ``feedback`` is called with each message."""
        handle = self._answer(lambda: self._client.send_goal_async(
            goal, feedback_callback=feedback and (lambda message: feedback(message.feedback))))
        assert handle.accepted
        return handle

    def cancel(self, handle: Any) -> None:
        """Ask for the end of a goal."""
        self._answer(handle.cancel_goal_async)

    def result(self, handle: Any) -> tuple[int, Any]:
        """Return the status and the result of a goal."""
        answer = self._answer(handle.get_result_async)
        return answer.status, answer.result

    def _answer(self, question: Callable[[], Any]) -> Any:
        asked: list[Any] = []
        self._outbox.append((question, asked))
        self._guard.trigger()
        wait_until(lambda: asked and asked[0].done())
        return asked[0].result()

    def _ask(self) -> None:
        while self._outbox:
            question, asked = self._outbox.pop(0)
            asked.append(question())


class NodeProcess:
    """A node ``lift3d`` in a process and a namespace of its own."""

    def __init__(self, graph: Graph, namespace: str, *arguments: str, **values: Any) -> None:
        """
        Start the node with parameter ``values``; ``arguments`` are for the command line.

        Where no method is named it is the one that loads nothing: most tests are about the node.
        """
        self.graph = graph
        self.namespace = namespace
        self._command = [
            sys.executable, '-m', 'lift3d_ros.node', *arguments,
            '--ros-args', '-r', f'__ns:=/{namespace}',
        ]
        for name, value in {'method': 'geometric', **values}.items():
            self._command += ['-p', f'{name}:={json.dumps(value)}']
        self.log = ''
        self.start()

    def start(self) -> None:
        """Start the process."""
        root = Path(__file__).parents[1]
        self.process = subprocess.Popen(
            self._command,
            cwd=root,
            env={**os.environ, 'RCUTILS_COLORIZED_OUTPUT': '0', 'PYTHONFAULTHANDLER': '1'},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.graph.processes.append(self.process)

    def name(self, relative: str) -> str:
        """Return the full name of one of the node's own topics or services."""
        return f'/{self.namespace}/lift3d/{relative}'

    def state(self) -> str:
        """Return the state of the lifecycle."""
        return self.graph.lifecycle_state(f'/{self.namespace}/lift3d', PATIENCE)

    def change(self, transition: int) -> bool:
        """Ask for a transition; return whether it succeeded."""
        return self.graph.change_state(f'/{self.namespace}/lift3d', transition, PATIENCE)

    def wait_until_active(self) -> None:
        """Wait until the node accepts requests."""
        wait_until(lambda: self.process.poll() is not None or self._is_active())
        assert self.process.poll() is None, self.process.stdout.read()

    def _is_active(self) -> bool:
        # Short, since the question may go to a process of the same name that was killed.
        try:
            return self.graph.lifecycle_state(f'/{self.namespace}/lift3d', 2.0) == 'active'
        except TimeoutError:
            return False

    def lift(self, request: LiftObject.Request) -> LiftObject.Response:
        """Call the service and return its answer."""
        return self.graph.call(LiftObject, self.name('lift_object'), request, PATIENCE)

    def status(self, name: str) -> tuple[str, dict[str, str]]:
        """Return message and values of the next status of a name on /diagnostics."""
        full = f'{self.namespace}/lift3d: {name}'
        with self.graph.listen(DiagnosticArray, '/diagnostics') as heard:

            def found() -> list[Any]:
                return [s for array in heard for s in array.status if s.name == full]

            # The first may have been on its way before the question.
            wait_until(lambda: len(found()) >= 2)
            newest = found()[-1]
        return newest.message, {pair.key: pair.value for pair in newest.values}

    def has_torch(self) -> bool:
        """Return whether the process has loaded torch."""
        return 'libtorch' in Path(f'/proc/{self.process.pid}/maps').read_text()

    def set_parameter(self, name: str, value: Any) -> SetParametersResult:
        """Set a parameter over the graph; return the node's answer."""
        parameter = Parameter(name, value=value).to_parameter_msg()
        request = SetParameters.Request(parameters=[parameter])
        return self.graph.call(SetParameters, self.name('set_parameters'), request).results[0]

    def kill(self) -> None:
        """End the process at once, as kill -9 does."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """Ask the process to end by SIGINT; return its exit status, its output is in ``log``."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            self.log, _ = self.process.communicate(timeout=15.0)
        except subprocess.TimeoutExpired:
            # Where every thread stands, for whoever reads the failure.
            self.process.send_signal(signal.SIGABRT)
            self.log, _ = self.process.communicate()
            pytest.fail(f'the node did not end:\n{self.log}')
        return self.process.returncode

    def end_well(self) -> None:
        """End the process; fails the test where it does not end in good order."""
        assert self.stop() == 0, self.log
        assert 'Traceback' not in self.log, self.log


@contextmanager
def running(
    graph: Graph, namespace: str, *arguments: str, **values: Any
) -> Iterator[NodeProcess]:
    """Start a node as ``NodeProcess`` does, wait until it is active, and at last end it well."""
    node = NodeProcess(graph, namespace, *arguments, **values)
    node.wait_until_active()
    yield node
    node.end_well()
