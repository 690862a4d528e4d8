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
Request a lift until a node answers: a client in a process of its own.

    python -m lift3d_ros.node.robustness.ask_node --server lift3d --patience 30

The exit status is 0 if the ball of the request was lifted in time.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
import sys
import time

import rclpy

from lift3d_ros.node.executors.background import BackgroundNode
from lift3d_ros.node.frame_camera import ball_frame
from lift3d_ros.node.frame_camera import frame_messages
from lift3d_ros.srv import LiftObject

#: Seconds after which a request is sent again: the first one of a new node may be lost, as nodes
#: find each other in both directions one after the other. They double each time, for a machine on
#: which a lift takes longer.
_ANSWER_S = 1.0


def lifts(background: BackgroundNode, server: str, patience: float) -> bool:
    """Return whether the node ``server`` lifts a ball within ``patience`` seconds."""
    request = LiftObject.Request(**frame_messages(*ball_frame(160, 120)), without_mesh=True)
    end, wait = time.monotonic() + patience, _ANSWER_S
    while time.monotonic() < end:
        try:
            if background.call(LiftObject, f'{server}/lift_object', request, wait).success:
                return True
        except TimeoutError:
            wait *= 2.0
            continue
        time.sleep(0.05)
    return False


def main(arguments: Sequence[str] | None = None) -> int:
    """Ask the node of the command line; return 1 if it does not answer."""
    parser = argparse.ArgumentParser(prog='python -m lift3d_ros.node.robustness.ask_node')
    parser.add_argument('--server', required=True)
    parser.add_argument('--patience', type=float, default=30.0, help='seconds')
    options = parser.parse_args(arguments)
    rclpy.init(args=[])
    try:
        with BackgroundNode('lift3d_asking', threads=2) as background:
            return 0 if lifts(background, options.server, options.patience) else 1
    finally:
        rclpy.try_shutdown()


if __name__ == '__main__':
    sys.exit(main())
