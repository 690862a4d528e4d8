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
A running node: its results as a growing timeline, and requests by clicks on its image.

The viewer does not import ROS; a process of the node relays the messages (``node/relay``).
"""

from __future__ import annotations

from collections import deque
import json
import struct
import subprocess
import threading
from typing import Any

from lift3d_ros.bags.message_types import RosbagTypes
from lift3d_ros.errors import LiftError
from lift3d_ros.messages.conversions import decode_image
from lift3d_ros.runtime.node_process import module_command
from lift3d_ros.runtime.node_process import require_ros
from lift3d_ros.viewer.app import Viewer
from lift3d_ros.viewer.content import Content
from lift3d_ros.viewer.content import Moment
from lift3d_ros.viewer.content import Snapshot
from lift3d_ros.viewer.messages import snapshot_of_message

_RELAY = 'lift3d_ros.node.relay.relay'

#: Results that stay on the slider.
_KEPT = 100


class LiveNode:
    """The relay of a node, and what came from it."""

    def __init__(self, server: str, image: str, ros_arguments: list[str]) -> None:
        """
        Start the relay of the node ``server`` and of an image topic, empty for none.

        Raises ``LiftError(BAD_REQUEST)`` without ROS.
        """
        require_ros()
        self._server = server
        self._image_topic = image
        self._types = RosbagTypes()
        self._moments: deque[Moment] = deque(maxlen=_KEPT)
        self._process = subprocess.Popen(
            module_command(_RELAY, ['--server', server, '--image', image, *ros_arguments]),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def content(self) -> Content:
        """Return what came so far; before the first result a moment that says so."""
        waiting = Moment('waiting', lambda report: Snapshot(problems=[
            f'No result of {self._server} has come yet. Click on an object in the image, or '
            'request a lift by another client.']))
        return Content(self._server, list(self._moments) or [waiting], True)

    def start(self, viewer: Viewer) -> None:
        """Pass messages to a viewer from now on."""
        self._viewer = viewer
        viewer.on_pixel = self.request
        threading.Thread(target=self._read, name='relay', daemon=True).start()

    def request(self, u: int, v: int) -> None:
        """Request a lift of the object at a pixel of the image."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f'{u} {v}\n'.encode())
            self._process.stdin.flush()
        except OSError:
            self._viewer.panel.status(_ENDED, 'error')

    def close(self) -> None:
        """End the relay."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(5.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _read(self) -> None:
        stream: Any = self._process.stdout
        while len(head := stream.read(5)) == 5:
            length, = struct.unpack('<I', head[1:])
            data = stream.read(length)
            try:
                self._take(head[:1], data)
            except LiftError as error:
                self._viewer.panel.status(str(error), 'error')
        if self._process.poll() not in (None, 0):
            self._viewer.panel.status(_ENDED, 'error')

    def _take(self, letter: bytes, data: bytes) -> None:
        if letter == b'S':
            said = json.loads(data)
            self._viewer.panel.status(said['text'], said['kind'])
            return
        message: Any
        if letter == b'I':
            kind = 'Compressed' if self._image_topic.endswith('/compressed') else ''
            message = self._types.store.deserialize_cdr(data, f'sensor_msgs/msg/{kind}Image')
            self._viewer.set_board(decode_image(message))
        elif letter == b'O':
            message = self._types.store.deserialize_cdr(
                data, 'lift3d_ros/msg/LiftedObjectArray')
            snapshot = snapshot_of_message(message)
            stamp = message.header.stamp
            label = f'{stamp.sec}.{stamp.nanosec:09d}'
            self._moments.append(Moment(label, lambda report: snapshot))
            self._viewer.set_content(self.content(), newest=True)


_ENDED = (
    'INTERNAL: The process that listens to ROS has ended; its last lines are on the terminal. '
    'Start lift3d show --ros again.')
