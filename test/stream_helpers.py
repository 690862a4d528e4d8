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
A camera in a process of its own, whose stamps and qualities of service are as robots have them.

python stream_helpers.py NAMESPACE --stamps zero --latched image,camera_info --count 10
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
import os
from pathlib import Path
import subprocess
import sys
import time
from typing import Any

import rclpy
from rclpy.qos import DurabilityPolicy
from rclpy.qos import QoSProfile
from rclpy.qos import ReliabilityPolicy
import ros_helpers as ros

TOPICS = ('image', 'camera_info', 'depth', 'mask')


@contextmanager
def camera(namespace: str, *arguments: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """Run a camera until it is done with its frames and the caller with it."""
    root = Path(__file__).parents[1]
    before = os.environ.get('PYTHONPATH', '')
    process = subprocess.Popen(
        [sys.executable, __file__, namespace, *arguments],
        cwd=root,
        env={**os.environ, 'PYTHONPATH': f'{root}:{before}', **environment},
        stdin=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.stdin.close()
        try:
            process.wait(ros.PATIENCE)
        finally:
            process.kill()


def stamps(kind: str, start: int, index: int, topic: str) -> int:
    """Return the stamp in nanoseconds of a frame of that index that a kind of driver gives it."""
    now = time.time_ns()
    return {
        'right': now,
        'zero': 0,
        'repeated': start,
        'backwards': start - index * 20_000_000,
        'zero mask': 0 if topic == 'mask' else now,
    }[kind]


def main() -> None:
    """Publish frames, then wait for the end of the standard input."""
    parser = argparse.ArgumentParser()
    parser.add_argument('namespace')
    parser.add_argument('--stamps', default='right')
    parser.add_argument('--latched', default='')
    parser.add_argument('--best-effort', default='')
    parser.add_argument('--topics', default=','.join(TOPICS))
    parser.add_argument('--count', type=int, default=1)
    parser.add_argument('--period', type=float, default=0.2)
    parser.add_argument('--wait', action='store_true', help='for subscriptions of every topic')
    parser.add_argument('--every', type=int, default=1, help='publish only every such image')
    parser.add_argument('--size', type=int, nargs=2, default=(320, 240))
    options = parser.parse_args()
    rclpy.init()
    node = rclpy.create_node('camera', namespace=options.namespace)
    width, height = options.size
    made = ros.messages(*ros.table_scene((0.0, 0.0, 0.05), width=width, height=height))
    messages: dict[str, Any] = {name: made[name] for name in options.topics.split(',')}
    publishers = {}
    for name, message in messages.items():
        profile = QoSProfile(depth=5)
        if name in options.latched.split(','):
            profile.durability = DurabilityPolicy.TRANSIENT_LOCAL
        if name in options.best_effort.split(','):
            profile.reliability = ReliabilityPolicy.BEST_EFFORT
        publishers[name] = node.create_publisher(type(message), name, profile)
    if options.wait:
        ros.wait_until(lambda: all(p.get_subscription_count() for p in publishers.values()))
    start = time.time_ns()
    for index in range(options.count):
        begin = time.monotonic()
        # All topics of a frame have one stamp, whatever it is.
        common = stamps(options.stamps, start, index, '')
        for name, message in messages.items():
            own = stamps(options.stamps, start, index, name)
            message.header = ros.stamped(own if own == 0 else common)
            if name != 'image' or index % options.every == 0:
                publishers[name].publish(message)
        time.sleep(max(0.0, begin + options.period - time.monotonic()))
    sys.stdin.read()
    node.destroy_node()
    rclpy.shutdown()


if __name__ == '__main__':
    main()
