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

import array
from collections.abc import Iterator
from contextlib import contextmanager
import os
from pathlib import Path
import signal
import subprocess
import sys
import threading
import time
from typing import Any

from lifecycle_msgs.msg import State
from lifecycle_msgs.srv import ChangeState
from lifecycle_msgs.srv import GetState
import numpy as np
from numpy.typing import NDArray
import rclpy
from rclpy.executors import MultiThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from lift3d_ros.frame import Frame
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import look_at

FRAME_ID = 'camera_color_optical_frame'

#: Longer than anything here takes, so that a test that hangs says where.
PATIENCE = 30.0


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


def header(stamp: int = 0) -> Header:
    """Return the header of the camera at a stamp in nanoseconds."""
    message = Header(frame_id=FRAME_ID)
    message.stamp.sec, message.stamp.nanosec = divmod(stamp, 1_000_000_000)
    return message


def image_message(pixels: NDArray[Any], encoding: str, stamp: int = 0) -> Image:
    """Return an image message."""
    pixels = np.ascontiguousarray(pixels)
    return Image(
        header=header(stamp),
        height=pixels.shape[0],
        width=pixels.shape[1],
        encoding=encoding,
        step=pixels.strides[0],
        data=array.array('B', pixels.tobytes()),
    )


def camera_info(camera: Camera, stamp: int = 0) -> CameraInfo:
    """Return the message of a rectified camera."""
    P = np.hstack([camera.K, np.zeros((3, 1))])
    return CameraInfo(
        header=header(stamp),
        width=camera.width,
        height=camera.height,
        distortion_model='plumb_bob',
        d=[0.0] * 5,
        k=camera.K.reshape(-1),
        r=np.eye(3).reshape(-1),
        p=P.reshape(-1),
    )


def messages(
    frame: Frame, mask: NDArray[np.uint8], stamp: int = 0, mask_encoding: str = 'mono8'
) -> dict[str, Any]:
    """Return image, camera_info, depth and mask as a camera and a segmenter publish them."""
    return {
        'image': image_message(frame.image, 'rgb8', stamp),
        'camera_info': camera_info(frame.camera, stamp),
        'depth': image_message(frame.depth, '32FC1', stamp),
        'mask': image_message(mask, mask_encoding, stamp),
    }


class Graph:
    """The tests' own node, spun in the background."""

    def __init__(self, name: str = 'tester') -> None:
        """Join the graph."""
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self.node = Node(name, context=self.context)
        self._executor = MultiThreadedExecutor(4, context=self.context)
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def _spin(self) -> None:
        while self.context.ok():
            try:
                self._executor.spin_once(timeout_sec=0.2)
            except Exception:
                if self.context.ok():
                    raise

    def close(self) -> None:
        """Leave the graph."""
        self.context.try_shutdown()
        self._thread.join(5.0)

    def call(self, kind: Any, name: str, request: Any, timeout: float = PATIENCE) -> Any:
        """Call a service and return its answer."""
        client = self.node.create_client(kind, name)
        try:
            assert client.wait_for_service(timeout), f'no service {name}'
            return wait_for(client.call_async(request), timeout)
        finally:
            self.node.destroy_client(client)

    @contextmanager
    def listen(self, kind: Any, topic: str, qos: Any = 10) -> Iterator[list[Any]]:
        """Collect the messages of a topic in a list."""
        heard: list[Any] = []
        subscription = self.node.create_subscription(kind, topic, heard.append, qos)
        try:
            yield heard
        finally:
            self.node.destroy_subscription(subscription)


def wait_for(future: Any, timeout: float = PATIENCE) -> Any:
    """Return the result of a future that an executor elsewhere completes."""
    wait_until(future.done, timeout)
    return future.result()


def wait_until(condition: Any, timeout: float = PATIENCE) -> None:
    """Wait for a condition; fails the test where it does not come true."""
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, f'not within {timeout} s'
        time.sleep(0.01)


class NodeProcess:
    """A node ``lift3d`` in a process and a namespace of its own."""

    def __init__(self, graph: Graph, namespace: str, *arguments: str, **values: Any) -> None:
        """Start the node with parameter ``values``; ``arguments`` are for the command line."""
        self.graph = graph
        self.namespace = namespace
        self._command = [
            sys.executable, '-m', 'lift3d_ros.node', *arguments,
            '--ros-args', '-r', f'__ns:=/{namespace}',
        ]
        for name, value in values.items():
            text = str(value).lower() if isinstance(value, bool) else str(value)
            self._command += ['-p', f'{name}:={text or chr(39) * 2}']
        self.log = ''
        self.start()

    def start(self) -> None:
        """Start the process."""
        root = Path(__file__).parents[1]
        self.process = subprocess.Popen(
            self._command,
            cwd=root,
            env={**os.environ, 'RCUTILS_COLORIZED_OUTPUT': '0'},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def name(self, relative: str) -> str:
        """Return the full name of one of the node's own topics or services."""
        return f'/{self.namespace}/lift3d/{relative}'

    def state(self) -> str:
        """Return the state of the lifecycle."""
        answer = self.graph.call(GetState, self.name('get_state'), GetState.Request())
        return answer.current_state.label

    def change(self, transition: int) -> bool:
        """Ask for a transition; return whether it succeeded."""
        request = ChangeState.Request()
        request.transition.id = transition
        return self.graph.call(ChangeState, self.name('change_state'), request).success

    def wait_until_active(self) -> None:
        """Wait until the node accepts requests."""
        end = time.monotonic() + PATIENCE
        while True:
            assert self.process.poll() is None, self.process.stdout.read()
            answer = self.graph.call(GetState, self.name('get_state'), GetState.Request())
            if answer.current_state.id == State.PRIMARY_STATE_ACTIVE:
                return
            assert time.monotonic() < end, 'the node does not become active'
            time.sleep(0.05)

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
            self.process.kill()
            self.log, _ = self.process.communicate()
            raise
        return self.process.returncode
