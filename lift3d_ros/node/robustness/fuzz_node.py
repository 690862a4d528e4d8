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
Damaged messages and requests against a running node.

    python -m lift3d_ros.node.robustness --messages 100000 --requests 5000 --seed 0

Starts the node in a process of its own. Messages of all its subscriptions are published with
faults in their fields, or as raw bytes with faults in their CDR; requests of the services and
goals of the actions have faults in their fields, and each must get a response. After every
``CHECK_EVERY`` of them a good request must succeed. The memory of the node is noted then, and at
the end how many messages it has deserialised. Nothing may be written beside ``output_dir``.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
import json
from pathlib import Path
import tempfile
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
import numpy as np
import psutil
import rclpy
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CompressedImage
from sensor_msgs.msg import Imu

from lift3d_ros.action import Lift
from lift3d_ros.action import LiftScene
from lift3d_ros.node.client import LiftClient
from lift3d_ros.node.executors.background import BackgroundNode
from lift3d_ros.node.frame_camera import ball_frame
from lift3d_ros.node.frame_camera import frame_messages
from lift3d_ros.node.inputs.detections import detection_type
from lift3d_ros.node.robustness.damage import damaged_message
from lift3d_ros.node.robustness.process import running_node
from lift3d_ros.node.robustness.process import wait_until_active
from lift3d_ros.srv import LiftObject
from lift3d_ros.srv import SaveObject
from lift3d_ros.srv import SynthesizeViews
from lift3d_ros.synthetic.damage import damaged_bytes

SERVER = 'lift3d_fuzz'

#: Messages or requests between two good requests.
CHECK_EVERY = 1000

#: Seconds within which the node must answer.
PATIENCE_S = 60.0

#: Damaged requests: the kind, the name of its service or action, and the share of its requests.
KINDS = (
    (LiftObject, 'lift_object', 0.4), (Lift, 'lift', 0.2), (SaveObject, 'save_object', 0.2),
    (SynthesizeViews, 'synthesize_views', 0.1), (LiftScene, 'lift_scene', 0.1))

#: Messages that are published at once, and the pause after them, seconds: at most 250 a second.
#: On two cores the node reads about 300; the middleware drops what is published faster.
_BURST, _PAUSE_S = 10, 0.04


class NodeFaults(Exception):
    """What the node did wrong, in a sentence."""


class Fuzzer:
    """Sends damaged messages to a node that runs, and good requests in between."""

    def __init__(
        self, background: BackgroundNode, process: psutil.Process, seed: int,
        server: str = SERVER, detections: bool = False,
    ) -> None:
        """
        Create publishers and clients for the node ``server``, which is ``process``.

        With ``detections`` it reads these instead of masks.
        """
        self._background, self._process, self._seed = background, process, seed
        self._server = server
        space = server.rpartition('/')[0]
        frame, mask = ball_frame(64, 48)
        node = background.node
        self._good = frame_messages(frame, mask)
        compressed = CompressedImage(format='jpeg', data=bytes(64))
        self._messages = {**self._good, 'image/compressed': compressed, 'imu': Imu()}
        if detections:
            del self._messages['mask']
            self._messages['detections'] = _detections(frame.camera.width, frame.camera.height)
        self._publishers = {
            name: node.create_publisher(
                type(message), f'{space}/{name}' if space else name, 5)
            for name, message in self._messages.items()}
        self._client = LiftClient(node, server)
        node.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, 10)
        #: Messages of each topic that the node could deserialise, by its diagnostics.
        self.received: dict[str, int] = {}
        self.resident_mb: list[float] = []
        self.outcomes: Counter[str] = Counter()

    def publish(self, count: int) -> None:
        """Publish so many damaged messages; raises ``NodeFaults``."""
        names = list(self._messages)
        for number in range(count):
            rng = np.random.default_rng([self._seed, 0, number])
            name = names[int(rng.integers(0, len(names)))]
            message = self._messages[name]
            if hasattr(message, 'header'):
                message.header.stamp = self._background.node.get_clock().now().to_msg()
            if rng.random() < 0.5:
                self._publishers[name].publish(damaged_message(message, rng))
            else:
                self._publishers[name].publish(damaged_bytes(serialize_message(message), rng))
            if number % _BURST == _BURST - 1:
                time.sleep(_PAUSE_S)
            if (number + 1) % CHECK_EVERY == 0 or number == count - 1:
                self.check(f'message {number}')

    def request(self, count: int) -> None:
        """Send damaged requests and goals, one after the other; raises ``NodeFaults``."""
        for number in range(count):
            rng = np.random.default_rng([self._seed, 1, number])
            kind, name, _ = KINDS[int(rng.choice(len(KINDS), p=[one[2] for one in KINDS]))]
            if kind is SaveObject:
                good = SaveObject.Request(path=f'ball_{number % 8}.ply', overwrite=True)
                answer = self._ask(kind, name, damaged_message(good, rng), number)
            elif hasattr(kind, 'Goal'):
                answer = self._send_goal(damaged_message(kind.Goal(**self._good), rng), number)
            else:
                answer = self._ask(
                    kind, name, damaged_message(kind.Request(**self._good), rng), number)
            self.outcomes[f'{name} {answer.error_code or "OK"}'] += 1
            if (number + 1) % CHECK_EVERY == 0 or number == count - 1:
                self.check(f'request {number}')

    def check(self, after: str) -> None:
        """Send a good request, and note the memory of the node; raises ``NodeFaults``."""
        if not self._process.is_running() or self._process.status() == psutil.STATUS_ZOMBIE:
            raise NodeFaults(f'the node ended after {after}')
        answer = self._ask(
            LiftObject, 'lift_object', LiftObject.Request(**self._good), after)
        if not answer.success:
            raise NodeFaults(
                f'a good request after {after} got {answer.error_code}: {answer.message}')
        size = max(answer.object.size.x, answer.object.size.y, answer.object.size.z)
        if not 0.08 < size < 0.13:
            raise NodeFaults(f'the ball of 10 cm has {size:.3f} m after {after}')
        self.resident_mb.append(round(self._process.memory_info().rss / 2**20, 1))

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            for entry in status.values:
                topic, _, what = entry.key.rpartition(': ')
                if what == 'received' and entry.value.isdecimal():
                    self.received[topic or 'imu'] = int(entry.value)

    def _ask(self, kind: Any, name: str, request: Any, number: int | str) -> Any:
        try:
            return self._background.call(kind, f'{self._server}/{name}', request, PATIENCE_S)
        except TimeoutError as error:
            raise NodeFaults(f'no response to request {number} in {PATIENCE_S:.0f} s') from error

    def _send_goal(self, goal: Any, number: int) -> Any:
        try:
            self._client.send(goal)
            return self._client.result(PATIENCE_S)
        except TimeoutError as error:
            raise NodeFaults(f'no result of goal {number} in {PATIENCE_S:.0f} s') from error


def _detections(width: int, height: int) -> Any:
    """Return a Detection2DArray of two boxes in an image."""
    array = detection_type()()
    # It is installed where there is such a type.
    from vision_msgs.msg import Detection2D
    from vision_msgs.msg import ObjectHypothesisWithPose

    for number in range(2):
        made = Detection2D(id=f'ball_{number}')
        made.bbox.center.position.x = 0.5 * width
        made.bbox.center.position.y = 0.5 * height
        made.bbox.size_x = made.bbox.size_y = 0.5 * height
        found = ObjectHypothesisWithPose()
        found.hypothesis.class_id, found.hypothesis.score = 'ball', 0.9
        made.results.append(found)
        array.detections.append(made)
    return array


def run(messages: int, requests: int, seed: int, detections: bool = False) -> dict[str, Any]:
    """Return figures and ``fault``, which is empty if the node did everything right."""
    fault = ''
    with tempfile.TemporaryDirectory() as root, BackgroundNode(
        'lift3d_fuzzing', threads=2
    ) as background:
        # Deep enough for the paths of ``TEXTS`` to leave it, but not its root.
        output = Path(root, 'a', 'b', 'output')
        output.mkdir(parents=True)
        with running_node(
            SERVER, mode='continuous', method='geometric', use_imu=True, max_faces=2000,
            output_dir=str(output), mask_source='detections' if detections else 'binary',
        ) as process:
            wait_until_active(background, SERVER, process)
            fuzzer = Fuzzer(
                background, psutil.Process(process.pid), seed, detections=detections)
            begin = time.monotonic()
            try:
                fuzzer.check('the start')
                fuzzer.publish(messages)
                fuzzer.request(requests)
            except NodeFaults as error:
                fault = str(error)
            beside = [
                str(path) for path in Path(root).rglob('*')
                if not path.is_relative_to(output) and path not in output.parents]
            if beside:
                fault = f'{beside[0]} was written, which is not below output_dir'
            return {'messages': messages, 'requests': requests, 'seed': seed, 'fault': fault,
                    'received': fuzzer.received,
                    'outcomes': dict(fuzzer.outcomes), 'resident_mb': fuzzer.resident_mb,
                    'seconds': round(time.monotonic() - begin, 1)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the messages of the command line; return 1 if the node did something wrong."""
    parser = argparse.ArgumentParser(
        prog='python -m lift3d_ros.node.robustness', description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--messages', type=int, default=2000)
    parser.add_argument('--requests', type=int, default=200)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--detections', action='store_true',
                        help='of vision_msgs instead of masks')
    parser.add_argument('--out', type=Path, help='folder for fuzz_node.json')
    options = parser.parse_args(arguments)
    rclpy.init(args=[])
    try:
        found = run(options.messages, options.requests, options.seed, options.detections)
    finally:
        rclpy.try_shutdown()
    print(json.dumps(found, indent=1))
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / 'fuzz_node.json').write_text(json.dumps(found, indent=1) + '\n')
    return 1 if found['fault'] else 0
