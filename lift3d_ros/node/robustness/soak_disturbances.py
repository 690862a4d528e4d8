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

"""A camera and the clock of a robot, and what disturbs a node that they feed."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
import signal
import subprocess
import sys
import threading
import time

from builtin_interfaces.msg import Time
from lifecycle_msgs.msg import Transition
import numpy as np
from rclpy.node import Node
from rosgraph_msgs.msg import Clock

from lift3d_ros.node.executors.background import BackgroundNode
from lift3d_ros.node.frame_camera import ball_frame
from lift3d_ros.node.frame_camera import frame_messages
from lift3d_ros.node.robustness.soak_client import READY

#: Seconds within which a transition must end, and a process of a client must connect.
PATIENCE_S = 60.0

#: Clock jumps are drawn up to this many seconds, in both directions.
_MAX_JUMP_S = 3600.0

#: Longest life of a client after its first request, seconds.
_CLIENT_LIFE_S = 1.5


class SimulatedRobot:
    """Publishes /clock and the topics of a camera with stamps of that clock."""

    def __init__(
        self, node: Node, namespace: str, rate: float, width: int, height: int
    ) -> None:
        """Publish images in a namespace at ``rate`` Hz until ``close``."""
        self._period = 1.0 / rate
        self._messages = frame_messages(*ball_frame(width, height))
        self._publishers = {
            name: node.create_publisher(type(message), f'{namespace}/{name}', 5)
            for name, message in self._messages.items()}
        self._clock = node.create_publisher(Clock, '/clock', 1)
        #: Added to the time of the system, nanoseconds.
        self.offset = 0
        self.frames = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name='soak-camera', daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop publishing."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            due = max(due + self._period, time.monotonic() - 1.0)
            seconds, nanoseconds = divmod(time.time_ns() + self.offset, 1_000_000_000)
            stamp = Time(sec=seconds, nanosec=nanoseconds)
            self._clock.publish(Clock(clock=stamp))
            for name, message in self._messages.items():
                message.header.stamp = stamp
                self._publishers[name].publish(message)
            self.frames += 1


class Disturbances:
    """What happens to a node on a robot; each method returns when it is over."""

    def __init__(
        self, background: BackgroundNode, robot: SimulatedRobot, server: str,
        rng: np.random.Generator, traffic: Callable[[float], None],
    ) -> None:
        """Disturb the node ``server``; ``traffic`` sends requests for some seconds."""
        self._background, self._robot, self._server = background, robot, server
        self._rng, self._traffic = rng, traffic
        self._cycles = 0

    def client_vanishes(self) -> None:
        """Kill a client at a random moment of its requests."""
        with self._child('client'):
            time.sleep(float(self._rng.uniform(0.0, _CLIENT_LIFE_S)))

    def subscriber_stops(self) -> None:
        """Stop the process of a subscriber while results are published, then let it end."""
        with self._child('subscriber') as child:
            child.send_signal(signal.SIGSTOP)
            self._traffic(float(self._rng.uniform(2.0, 8.0)))
            if self._rng.random() < 0.5:
                child.send_signal(signal.SIGCONT)
                self._traffic(1.0)

    def clock_jumps(self) -> None:
        """Let the clock and the stamps jump, backwards or forwards."""
        self._robot.offset = int(1e9 * self._rng.uniform(-_MAX_JUMP_S, _MAX_JUMP_S))

    def lifecycle_cycles(self) -> None:
        """Deactivate and activate the node; every second time it is configured again too."""
        self._cycles += 1
        steps = [Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_ACTIVATE]
        if self._cycles % 2:
            steps[1:1] = [Transition.TRANSITION_CLEANUP, Transition.TRANSITION_CONFIGURE]
        for step in steps:
            if not self._background.change_state(self._server, step, PATIENCE_S):
                raise RuntimeError(f'the node refused the transition {step}')

    @contextmanager
    def _child(self, kind: str) -> Iterator[subprocess.Popen[str]]:
        child = subprocess.Popen(
            [sys.executable, '-m', 'lift3d_ros.node.robustness.soak_client', '--server',
             self._server, '--kind', kind], stdout=subprocess.PIPE, text=True)
        try:
            assert child.stdout is not None
            if child.stdout.readline().strip() != READY:
                raise RuntimeError(f'a {kind} did not connect')
            yield child
        finally:
            child.kill()
            child.communicate()
