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
What a middleware carries between a node and a client: discovery, large images, large results.

    RMW_IMPLEMENTATION=rmw_cyclonedds_cpp python -m lift3d_ros.node.robustness.middleware_check

Starts a node in a process of its own. A client discovers it, streams frames of 1920 x 1080, of
which the node must lift one, sends a goal with such a frame of its own, and receives a result of
20 MB. The exit status is 1 if one of them does not arrive within ``--patience`` seconds.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
import json
import sys
import threading
import time
from typing import Any

import rclpy
from rclpy.serialization import serialize_message
from rclpy.utilities import get_rmw_implementation_identifier

from lift3d_ros.node import middleware
from lift3d_ros.node.client import LiftClient
from lift3d_ros.node.executors.background import BackgroundNode
from lift3d_ros.node.frame_camera import ball_frame
from lift3d_ros.node.frame_camera import frame_messages
from lift3d_ros.node.robustness.process import running_node
from lift3d_ros.node.robustness.process import wait_until_active
from lift3d_ros.node.robustness.soak_disturbances import SimulatedRobot
from lift3d_ros.srv import LiftObject

SERVER = '/middleware/lift3d'

#: Pixels of the frames, their rate in Hz, and points of a cloud so large that a result has 20 MB.
_SIZE, _RATE_HZ, _POINTS = (1920, 1080), 1.0, 1_000_000


def run(patience: float) -> dict[str, Any]:
    """Return the seconds of each step, and what failed as ``fault``."""
    found: dict[str, Any] = {'middleware': get_rmw_implementation_identifier(), 'fault': ''}
    with running_node(
        SERVER, method='geometric', max_faces=2000, cloud_points=_POINTS
    ) as process, BackgroundNode('middleware_client', threads=3) as background:
        wait_until_active(background, SERVER, process)
        begin = time.monotonic()
        with LiftClient(background.node, SERVER) as client:
            try:
                if not client.wait_for_server(patience):
                    raise TimeoutError('no action was discovered')
                found['discovery_s'] = _since(begin)
                found['stream_s'], found['stream_frames'] = _stream(background, patience)
                begin = time.monotonic()
                client.lift(**frame_messages(*ball_frame(*_SIZE)))
                answer = client.result(patience)
                found['goal_s'] = _since(begin)
                found['result_mb'] = round(len(serialize_message(answer)) / 1e6, 1)
                if not answer.success:
                    raise TimeoutError(answer.message)
            except TimeoutError as error:
                found['fault'] = str(error)
    return found


def _stream(background: BackgroundNode, patience: float) -> tuple[float, int]:
    """Stream until the node lifts a frame of its subscriptions; return seconds and frames."""
    robot = SimulatedRobot(background.node, SERVER.rpartition('/')[0], _RATE_HZ, *_SIZE)
    begin, wait, message = time.monotonic(), threading.Event(), ''
    try:
        while time.monotonic() < begin + patience:
            answer = background.call(
                LiftObject, f'{SERVER}/lift_object', LiftObject.Request(without_mesh=True),
                patience)
            if answer.success:
                return _since(begin), robot.frames
            message = answer.message
            wait.wait(0.2)
    finally:
        robot.close()
    raise TimeoutError(f'no streamed frame arrived: {message}')


def _since(begin: float) -> float:
    return round(time.monotonic() - begin, 2)


def main(arguments: Sequence[str] | None = None) -> int:
    """Check the middleware of the environment; return 1 if something does not arrive."""
    parser = argparse.ArgumentParser(
        prog='python -m lift3d_ros.node.robustness.middleware_check', description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--patience', type=float, default=60.0, help='seconds')
    options = parser.parse_args(arguments)
    middleware.use_profile()
    rclpy.init(args=[])
    try:
        found = run(options.patience)
    finally:
        rclpy.try_shutdown()
    print(json.dumps(found))
    return 1 if found['fault'] else 0


if __name__ == '__main__':
    sys.exit(main())
