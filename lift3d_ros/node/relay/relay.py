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
Passes results and images of a graph to a program without ROS, and its requests to the node.

    python -m lift3d_ros.node.start lift3d_ros.node.relay.relay [--server NAME] [--image TOPIC]

Writes packets to the standard output: a letter, the length as 4 bytes little-endian, and the data.
``O`` is a LiftedObjectArray and ``I`` an Image or CompressedImage, both in CDR; ``S`` is JSON with
``kind`` and ``text``. A line ``U V`` of the standard input requests a lift of the object at that
pixel. Ends with its input. Arguments after --ros-args are for ROS.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
import json
import os
import struct
import sys
import threading
import time

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.qos import DurabilityPolicy
from rclpy.qos import qos_profile_sensor_data
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CompressedImage
from sensor_msgs.msg import Image

from lift3d_ros.msg import LiftedObjectArray
from lift3d_ros.msg import ObjectSelector
from lift3d_ros.node import middleware
from lift3d_ros.node.client import LiftClient
from lift3d_ros.node.executors.background import BackgroundNode

#: Images per second that are passed on; the page is for pointing, not for watching.
_RATE_HZ = 2.0

#: Seconds to wait for the node at a request.
_SERVER_TIMEOUT_S = 5.0

#: Seconds for a lift; one that optimises takes minutes.
_RESULT_TIMEOUT_S = 1800.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Relay until the standard input ends; return the exit status."""
    parser = argparse.ArgumentParser(prog='lift3d_ros.node.relay.relay', description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument('--server', default='lift3d', help='name of the node')
    parser.add_argument('--image', default='', help='topic of the image; empty: none')
    given = list(sys.argv[1:] if arguments is None else arguments)
    ros = given.index('--ros-args') if '--ros-args' in given else len(given)
    options = parser.parse_args(given[:ros])
    # Whatever else writes to the standard output would break the packets.
    output = os.fdopen(os.dup(1), 'wb')
    os.dup2(2, 1)
    middleware.use_profile()
    rclpy.init(args=given[ros:])
    try:
        with BackgroundNode('lift3d_viewer') as background:
            _Relay(background, options.server, options.image, output).run()
    except (KeyboardInterrupt, ExternalShutdownException, BrokenPipeError):
        pass
    finally:
        rclpy.try_shutdown()
    return 0


class _Relay:
    """Subscriptions, and requests one after another."""

    def __init__(self, background, server: str, image: str, output) -> None:
        self._output, self._lock = output, threading.Lock()
        self._server = server
        self._last_image = 0.0
        node = background.node
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        node.create_subscription(
            LiftedObjectArray, f'{server}/objects', lambda data: self._send(b'O', data), latched,
            raw=True)
        if image:
            compressed = image.endswith('/compressed')
            node.create_subscription(
                CompressedImage if compressed else Image, image, self._on_image,
                qos_profile_sensor_data, raw=True)
        self._client = LiftClient(node, server)

    def run(self) -> None:
        """Serve the lines of the standard input until it ends."""
        for line in sys.stdin:
            u, v = map(int, line.split())
            self._request(u, v)
        self._client.close()

    def _request(self, u: int, v: int) -> None:
        if not self._client.wait_for_server(_SERVER_TIMEOUT_S):
            self._say('error', f'NOT_ACTIVE: There is no node {self._server}; start it and '
                      'activate it (lift3d node --autostart), or name another with --server.')
            return
        self._say('busy', f'Lifting the object at pixel {u}, {v}.')
        self._client.lift(ObjectSelector(mode=ObjectSelector.PIXEL, u=u, v=v), without_mesh=True)
        try:
            result = self._client.result(_RESULT_TIMEOUT_S)
        except TimeoutError as error:
            self._say('error', f'TIMEOUT: {error}')
            return
        if result.success:
            self._say('', '')
        else:
            self._say('error', f'{result.error_code}: {result.message}')

    def _on_image(self, data: bytes) -> None:
        now = time.monotonic()
        if now - self._last_image >= 1.0 / _RATE_HZ:
            self._last_image = now
            self._send(b'I', data)

    def _say(self, kind: str, text: str) -> None:
        self._send(b'S', json.dumps({'kind': kind, 'text': text}).encode())

    def _send(self, letter: bytes, data: bytes) -> None:
        with self._lock:
            self._output.write(letter + struct.pack('<I', len(data)) + bytes(data))
            self._output.flush()
