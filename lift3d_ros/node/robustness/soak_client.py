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
A client or a subscriber of a node, in a process that the soak kills or stops.

    python -m lift3d_ros.node.robustness.soak_client --server lift3d --kind client
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
import sys
import threading
import time

import rclpy
from sensor_msgs.msg import PointCloud2
from visualization_msgs.msg import MarkerArray

from lift3d_ros.msg import LiftedObjectArray
from lift3d_ros.node.client import LiftClient
from lift3d_ros.node.executors.background import BackgroundNode
from lift3d_ros.node.frame_camera import ball_frame
from lift3d_ros.node.frame_camera import frame_messages
from lift3d_ros.node.outputs.publishing import LATCHED

#: Line on the standard output of a process that is connected.
READY = 'ready'

#: Topics of results, and their quality of service.
RESULT_TOPICS = (
    (LiftedObjectArray, 'objects', LATCHED), (MarkerArray, 'markers', LATCHED),
    (PointCloud2, 'points', 1))


def _request(server: str) -> None:
    """Request lifts one after the other; an answer of BUSY or NOT_ACTIVE is one too."""
    frame = frame_messages(*ball_frame(80, 60))
    with LiftClient(server=server) as client:
        if not client.wait_for_server(30.0):
            sys.exit(1)
        print(READY, flush=True)
        while True:
            client.lift(**frame)
            client.result(60.0)


def _subscribe(server: str) -> None:
    """Subscribe to the results; report the first of each topic."""
    heard: dict[str, threading.Event] = {}
    with BackgroundNode('lift3d_stopped', threads=1) as background:
        for kind, name, qos in RESULT_TOPICS:
            event = heard[name] = threading.Event()
            background.node.create_subscription(
                kind, f'{server}/{name}', lambda _, event=event: event.set(), qos, raw=True)
        for event in heard.values():
            event.wait(60.0)
        print(READY, flush=True)
        while True:
            time.sleep(1.0)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run until the process is killed."""
    parser = argparse.ArgumentParser(prog='python -m lift3d_ros.node.robustness.soak_client')
    parser.add_argument('--server', required=True)
    parser.add_argument('--kind', choices=('client', 'subscriber'), required=True)
    options = parser.parse_args(arguments)
    rclpy.init(args=[])
    (_request if options.kind == 'client' else _subscribe)(options.server)


if __name__ == '__main__':
    main()
