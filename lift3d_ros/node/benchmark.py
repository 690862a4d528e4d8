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
Latency that ROS adds to a lift, and memory of the node: ``lift3d bench node``.

    python -m lift3d_ros.node.benchmark [--continuous SECONDS]
    python -m lift3d_ros.node.benchmark --parts

Starts the node in a process of its own, publishes frames of 1920 x 1080 with depth and mask, and
measures the time from the first byte published to the arrival of the result, less the library's
own time, and how long the node takes to start, to be configured and to be activated. The result
arrives serialised, as in a C++ subscriber; the conversion to Python objects is not measured.

With ``--parts`` no node is started: the figures are seconds of the processor for each conversion
between messages and arrays, which other processes affect less.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
import json
from pathlib import Path
import signal
import subprocess
import sys
import threading
import time
from typing import Any

from lifecycle_msgs.msg import Transition
import numpy as np
import rclpy
from rclpy.qos import DurabilityPolicy
from rclpy.qos import QoSProfile
from rclpy.serialization import deserialize_message
from rclpy.serialization import serialize_message

from lift3d_ros.lifter import DEFAULT_METHOD
from lift3d_ros.lifter import Lifter
from lift3d_ros.messages.conversions import nanoseconds
from lift3d_ros.messages.geometry import seconds
from lift3d_ros.messages.results import in_frame
from lift3d_ros.messages.results import Lifted
from lift3d_ros.msg import LiftedObjectArray
from lift3d_ros.msg import ObjectSelector
from lift3d_ros.node import middleware
from lift3d_ros.node.diagnostics import StatusReader
from lift3d_ros.node.executors.background import BackgroundNode
from lift3d_ros.node.frame_camera import ball_frame
from lift3d_ros.node.frame_camera import frame_messages
from lift3d_ros.node.frame_camera import FrameCamera
from lift3d_ros.node.lifting.frames import FrameReader
from lift3d_ros.node.lifting.instances import find_instances
from lift3d_ros.node.messages.cdr import serialize
from lift3d_ros.node.messages.results import array_message
from lift3d_ros.node.messages.synced import SyncedMessages
from lift3d_ros.node.parameters.settings import Settings
from lift3d_ros.runtime import memory

_SERVER = 'lift3d_benchmark'
_PATIENCE_S = 60.0

#: Runs of each part.
_PART_RUNS = 9

#: Key in the diagnostics of the node.
_DROPPED = 'frames dropped (newer came)'


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark, print what it measured; return the exit status."""
    parser = argparse.ArgumentParser(prog='lift3d_ros.node.benchmark', description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument('--frames', type=int, default=20, help='single frames to measure')
    parser.add_argument('--width', type=int, default=1920, help='of the single frames, pixels')
    parser.add_argument('--height', type=int, default=1080, help='of the single frames, pixels')
    parser.add_argument(
        '--method', default=DEFAULT_METHOD, help='method to lift with (default: %(default)s)'
    )
    parser.add_argument(
        '--continuous', type=float, default=0.0, metavar='SECONDS',
        help='then publish 640 x 480 at 30 Hz for so long',
    )
    parser.add_argument(
        '--parts', action='store_true', help='processor time of each conversion, without a node')
    parser.add_argument('--out', type=Path, help='folder for node.json')
    options = parser.parse_args(arguments)
    # Keep the memory of the publisher, so that its allocations are not measured.
    memory.keep()
    # Images are published by this process.
    middleware.use_profile()
    rclpy.init(args=[])
    try:
        figures = measure_parts(options) if options.parts else measure(options)
    finally:
        rclpy.try_shutdown()
    for name, value in figures.items():
        print(f'{name:<44}{value:>12.2f}')
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / 'node.json').write_text(json.dumps(figures, indent=1) + '\n')
    return 0


def measure(options: argparse.Namespace) -> dict[str, float]:
    """Return every figure by its name; the unit is part of the name."""
    begin = time.monotonic()
    with _node(options.method), BackgroundNode('lift3d_bench', threads=4) as background:
        status = StatusReader(background.node, _SERVER)
        background.lifecycle_state(_SERVER, _PATIENCE_S)
        figures = {'start of the node, s': time.monotonic() - begin}
        figures['node before activation, MB'] = status.value('memory MB')
        for name, transition in (
            ('configuration, s', Transition.TRANSITION_CONFIGURE),
            ('activation, s', Transition.TRANSITION_ACTIVATE),
        ):
            begin = time.monotonic()
            if not background.change_state(_SERVER, transition, _PATIENCE_S):
                raise RuntimeError('the node did not become active; see its output above')
            figures[name] = time.monotonic() - begin
        figures['node after activation, MB'] = status.value('memory MB')
        arrivals = _Arrivals(background)
        figures |= _single_frames(background, arrivals, options)
        if options.continuous:
            figures |= _stream(background, arrivals, status, options.continuous)
        figures['node at its peak, MB'] = status.value('peak memory MB')
        return figures


def measure_parts(options: argparse.Namespace) -> dict[str, float]:
    """Return milliseconds of the processor, the median of some runs, by the name of the part."""
    frame, mask = ball_frame(options.width, options.height)
    messages = frame_messages(frame, mask)
    synced = SyncedMessages(
        messages['image'], messages['camera_info'], messages['depth'], messages['mask'])
    settings = Settings()
    reader = FrameReader(settings)
    figures: dict[str, float] = {}

    def timed(name: str, function: Callable[[], Any]) -> Any:
        seconds = []
        for _ in range(_PART_RUNS):
            start = time.thread_time()
            result = function()
            seconds.append(time.thread_time() - start)
        figures[f'{name}, ms'] = 1e3 * float(np.median(seconds))
        return result

    data = {name: serialize_message(message) for name, message in messages.items()}
    timed('messages from their bytes', lambda: [
        deserialize_message(data[name], type(message)) for name, message in messages.items()])
    read = timed('image and depth to arrays', lambda: reader.read(synced))
    found = timed('objects of the mask', lambda: find_instances(
        synced, read, ObjectSelector(), settings, []))
    shape = Lifter('geometric').lift(read, found[0].mask)
    cloud = timed('cloud', lambda: shape.cloud(settings.cloud_points))
    pose, covariance = in_frame(shape, None)
    lifted = Lifted(
        synced.header, 'ball', found[0], shape, pose, covariance, cloud)
    message = timed('result to a message', lambda: array_message(synced.header, [lifted], []))
    timed('message to bytes', lambda: serialize(message))
    figures['together, ms'] = sum(figures.values())
    return figures


class _Arrivals:
    """Serialised results with their arrival times."""

    def __init__(self, background: BackgroundNode) -> None:
        self.results: list[tuple[float, bytes]] = []
        self._arrived = threading.Event()
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        background.node.create_subscription(
            LiftedObjectArray, f'{_SERVER}/objects', self._on_result, latched, raw=True
        )

    def _on_result(self, data: bytes) -> None:
        self.results.append((time.monotonic(), data))
        self._arrived.set()

    def next(self) -> tuple[float, bytes]:
        """Wait for the next result; raises ``TimeoutError``."""
        if not self._arrived.wait(_PATIENCE_S):
            raise TimeoutError(f'no result arrived within {_PATIENCE_S} s')
        self._arrived.clear()
        return self.results[-1]


def _single_frames(
    background: BackgroundNode, arrivals: _Arrivals, options: argparse.Namespace
) -> dict[str, float]:
    camera = FrameCamera(background.node, *ball_frame(options.width, options.height))
    _wait_for_listeners(camera)
    whole, added = [], []
    # The first frames warm up the caches of both processes.
    for k in range(-2, options.frames):
        start = time.monotonic()
        camera.publish()
        arrival, data = arrivals.next()
        lifted = deserialize_message(data, LiftedObjectArray).objects[0]
        if k >= 0:
            whole.append(arrival - start)
            added.append(whole[-1] - seconds(lifted.compute_time))
        # Markers are drawn after the result; wait, so that this does not delay the next frame.
        time.sleep(0.2)
    camera.close()
    return {
        'frame to result, median ms': 1e3 * float(np.median(whole)),
        'frame to result, 95th percentile ms': 1e3 * float(np.percentile(whole, 95)),
        'added by ROS, median ms': 1e3 * float(np.median(added)),
        'added by ROS, 95th percentile ms': 1e3 * float(np.percentile(added, 95)),
        'added by ROS, median percent': 100.0 * float(np.median(np.divide(added, whole))),
    }


def _stream(
    background: BackgroundNode, arrivals: _Arrivals, status: StatusReader, duration: float
) -> dict[str, float]:
    rate = 30.0
    camera = FrameCamera(background.node, *ball_frame(640, 480))
    _wait_for_listeners(camera)
    arrivals.results.clear()
    stamps: list[int] = []
    memory: list[float] = []
    dropped = status.value(_DROPPED)
    start = time.monotonic()
    while (now := time.monotonic()) - start < duration:
        stamps.append(camera.publish())
        if len(stamps) % 30 == 0:
            memory.append(status.value('memory MB', timeout=0.0))
        time.sleep(max(0.0, start + len(stamps) / rate - time.monotonic()))
    sent = len(stamps)
    time.sleep(3.0)
    camera.close()
    behind: list[int] = []
    ages: list[float] = []
    failed = 0
    offset = time.time_ns() - time.monotonic_ns()
    for arrival, data in arrivals.results:
        result = deserialize_message(data, LiftedObjectArray)
        if not result.objects:
            failed += 1
            continue
        stamp = nanoseconds(result.header.stamp)
        begun = round(1e9 * (arrival - seconds(result.objects[0].compute_time))) + offset
        behind.append(sum(stamp < other <= begun for other in stamps))
        ages.append(1e-6 * (begun - stamp))
    quarter = max(1, len(memory) // 4)
    return {
        'stream, frames published': float(sent),
        'stream, frames per second published': sent / (now - start),
        'stream, frames lifted': float(len(arrivals.results)),
        'stream, frames that gave no object': float(failed),
        'stream, frames dropped (newer came)': status.value(_DROPPED) - dropped,
        'stream, age of a frame when lifted, median ms': float(np.median(ages)),
        'stream, newer frames by then, median': float(np.median(behind)),
        'stream, newer frames by then, worst': float(np.max(behind)),
        'stream, memory in the first quarter, MB': float(np.median(memory[:quarter])),
        'stream, memory in the last quarter, MB': float(np.median(memory[-quarter:])),
    }


def _wait_for_listeners(camera: FrameCamera) -> None:
    end = time.monotonic() + _PATIENCE_S
    while camera.listeners() < 1:
        if time.monotonic() > end:
            raise TimeoutError('the node does not listen to the camera')
        time.sleep(0.05)
    time.sleep(0.5)


@contextmanager
def _node(method: str) -> Iterator[None]:
    command = [
        sys.executable, '-m', 'lift3d_ros.node', '--ros-args', '-r', f'__node:={_SERVER}',
        '-p', 'mode:=continuous', '-p', f'method:={method}',
    ]
    child: subprocess.Popen[Any] = subprocess.Popen(command)
    try:
        yield
    finally:
        child.send_signal(signal.SIGINT)
        try:
            child.wait(15.0)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


if __name__ == '__main__':
    sys.exit(main())
