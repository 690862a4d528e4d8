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
A node that runs for hours: memory, file descriptors, threads, topics and answers.

    python -m lift3d_ros.node.robustness.soak --requests 10000 --minutes 120 --cycles 200

A camera streams to a node in the continuous mode, with simulated time, and a client requests lifts
by service and by action, saves meshes and lifts scenes. In between, a client is killed, a
subscriber stops reading, the clock jumps, and a lifecycle manager cycles the node. After each of
these, every request must succeed again and every topic must publish within ``--patience`` seconds.
The exit status is 1 if the node ends, does not answer, answers wrong, falls silent, or grows.
Requests with their own frame have no depth: such a lift takes a quarter of the time.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
import json
from pathlib import Path
import subprocess
import sys
import tempfile
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
import numpy as np
import psutil
import rclpy

from lift3d_ros.node.client import LiftClient
from lift3d_ros.node.executors.background import BackgroundNode
from lift3d_ros.node.frame_camera import ball_frame
from lift3d_ros.node.frame_camera import frame_messages
from lift3d_ros.node.robustness.process import running_node
from lift3d_ros.node.robustness.process import wait_until_active
from lift3d_ros.node.robustness.soak_client import RESULT_TOPICS
from lift3d_ros.node.robustness.soak_disturbances import Disturbances
from lift3d_ros.node.robustness.soak_disturbances import SimulatedRobot
from lift3d_ros.srv import LiftObject
from lift3d_ros.srv import SaveObject

SERVER = '/soak/lift3d'

#: Requests after which the use of resources must be flat, and requests between two samples.
WARM_REQUESTS, SAMPLE_EVERY = 500, 25

#: Share by which the memory may grow after the first requests.
MAX_GROWTH = 0.01

#: Descriptors and threads by which a median may exceed another one: some of both live only while
#: clients come and go.
_COUNT_SLACK = 2

#: Modules of the node.
NODES = {'coarse': 'lift3d_ros.node.robustness.coarse_node', 'normal': 'lift3d_ros.node'}

#: A node with so many faults is not tested on.
_MAX_FAULTS = 20

#: Width and height of the images, and of those of scenes, which need more readings.
_SIZE, _SCENE_SIZE = (80, 60), (160, 120)

#: One of so many requests is that of a scene, which takes as long as several objects.
_SCENE_EVERY = 40

#: Rate of the continuous mode, Hz.
_MAX_RATE = 0.1

_QUANTITIES = ('resident_mb', 'descriptors', 'threads')


class Soak:
    """Sends requests to a node among disturbances, and records what it uses and does wrong."""

    def __init__(
        self, background: BackgroundNode, child: subprocess.Popen[Any], seed: int, folder: Path,
        server: str = SERVER, patience: float = 30.0,
    ) -> None:
        """
        Test the active node ``server``, which is ``child`` and saves into ``folder``.

        It must answer within ``patience`` seconds, and so soon after a disturbance work again.
        """
        self._background, self._child, self._server = background, child, server
        self._patience = patience
        self._process = psutil.Process(child.pid)
        self._folder = folder
        node = background.node
        self.robot = SimulatedRobot(node, server.rpartition('/')[0], 30.0, *_SIZE)
        frame, mask = ball_frame(*_SIZE)
        self._frame = frame_messages(replace(frame, depth=None), mask)
        self._scene_frame = frame_messages(*ball_frame(*_SCENE_SIZE))
        self._client = LiftClient(node, server)
        if not self._client.wait_for_server(patience):
            raise TimeoutError(f'there is no action of {server}')
        self._heard: dict[str, float] = {}
        topics = (*((kind, f'{server}/{name}', qos) for kind, name, qos in RESULT_TOPICS),
                  (DiagnosticArray, '/diagnostics', 10))
        for kind, name, qos in topics:
            self._heard[name] = time.monotonic()
            node.create_subscription(kind, name, partial(self._on_message, name), qos, raw=True)
        self._rng = np.random.default_rng(seed)
        #: Kinds of requests, in turn.
        self._kinds = (*5 * (self._service, self._action, self._save), self._newest)
        self._sent = 0
        self.outcomes: Counter[str] = Counter()
        self.faults: list[str] = []
        self.samples: list[dict[str, float]] = []
        self.recovery_s: dict[str, list[float]] = {}
        #: Of each kind of request.
        self.request_s: dict[str, list[float]] = {}
        self.begin = time.monotonic()

    def run(self, requests: int, seconds: float, cycles: int, out: Path | None = None) -> None:
        """
        Send so many requests, evenly spread over ``seconds``, and no more after that time.

        ``cycles`` times the node is cycled; in between, in random order, are half as many of the
        other disturbances, all evenly spread even if the requests fall behind. ``out`` is a file
        for the state of the run.
        """
        disturbances = Disturbances(
            self._background, self.robot, self._server, self._rng, self._requests_for)
        others = (disturbances.client_vanishes, disturbances.subscriber_stops,
                  disturbances.clock_jumps)
        planned = [disturbances.lifecycle_cycles] * cycles
        planned += [others[k % len(others)] for k in range((cycles + 1) // 2)]
        order = self._rng.permutation(len(planned))
        self.begin = time.monotonic()
        done = 0
        end = self.begin + seconds if seconds else np.inf
        while (self._sent < requests and time.monotonic() < end
               and len(self.faults) < _MAX_FAULTS):
            if self._child.poll() is not None:
                self.faults.append(f'the node ended with {self._child.returncode}')
                break
            elapsed = (time.monotonic() - self.begin) / (end - self.begin)
            # One at a time, so that requests go on if disturbances fall behind.
            if done < int(len(order) * min(max((self._sent + 1) / requests, elapsed), 1.0)):
                self._disturb(planned[order[done]])
                done += 1
                if out is not None:
                    out.write_text(json.dumps(self.report(), indent=1) + '\n')
            self._request()
            if self._sent % SAMPLE_EVERY == 0:
                self._sample()
                if out is not None:
                    out.write_text(json.dumps(self.report(), indent=1) + '\n')
            due = self.begin + seconds * self._sent / requests
            time.sleep(max(0.0, due - time.monotonic()))
        self._sample()

    def close(self) -> None:
        """Stop the camera."""
        self.robot.close()

    def report(self) -> dict[str, Any]:
        """Return the figures of the run so far; ``faults`` is empty if all went well."""
        growth = resource_growth(self.samples, WARM_REQUESTS)
        return {
            'requests': self._sent, 'minutes': round((time.monotonic() - self.begin) / 60.0, 1),
            'frames': self.robot.frames, 'outcomes': dict(self.outcomes),
            'disturbances': {name: len(found) for name, found in self.recovery_s.items()},
            'recovery_s_max': {
                name: round(max(found), 2) for name, found in self.recovery_s.items()},
            'request_s_median': {
                name: round(float(np.median(found)), 3)
                for name, found in self.request_s.items()},
            'growth': growth, 'faults': self.faults + growth_faults(growth),
            'cpu_s': round(sum(self._process.cpu_times()[:2]), 1)
            if self._process.is_running() else None,
            'samples': self.samples,
        }

    def _requests_for(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._request()
            time.sleep(0.2)

    def _request(self) -> None:
        """Send the next request; what a disturbance may cause is a fault here."""
        self._sent += 1
        kind = self._kinds[self._sent % len(self._kinds)]
        if self._sent % _SCENE_EVERY == 0:
            kind = self._scene
        name = kind.__name__.strip('_')
        begin = time.monotonic()
        try:
            outcome = kind()
        except TimeoutError as error:
            outcome = f'no answer: {error}'
        self.request_s.setdefault(name, []).append(time.monotonic() - begin)
        self.outcomes[f'{name} {outcome or "OK"}'] += 1
        if outcome:
            self.faults.append(f'request {self._sent} ({name}): {outcome}')

    def _disturb(self, disturbance: Any) -> None:
        """Disturb the node, and wait until it works again."""
        name = disturbance.__name__
        try:
            disturbance()
        except (RuntimeError, TimeoutError) as error:
            self.faults.append(f'{name} after request {self._sent}: {error}')
            return
        begin = time.monotonic()
        missing: Any = ()
        while True:
            missing = [kind.__name__ for kind in (self._newest, self._action) if self._fails(kind)]
            missing += [topic for topic, at in self._heard.items() if at < begin]
            now = time.monotonic()
            if not missing:
                self.recovery_s.setdefault(name, []).append(now - begin)
                return
            if now > begin + self._patience:
                self.faults.append(
                    f'{name} after request {self._sent}: without {", ".join(missing)} for '
                    f'{self._patience:.0f} s')
                return
            time.sleep(0.1)

    def _fails(self, kind: Any) -> bool:
        try:
            return bool(kind())
        except TimeoutError:
            return True

    def _sample(self) -> None:
        if self._child.poll() is not None:
            return
        silent = [topic for topic, at in self._heard.items()
                  if time.monotonic() - at > self._patience]
        self.faults.extend(f'{topic} is silent at request {self._sent}' for topic in silent)
        self.samples.append({
            'requests': self._sent,
            'minutes': round((time.monotonic() - self.begin) / 60.0, 2),
            'resident_mb': round(self._process.memory_info().rss / 2**20, 2),
            'descriptors': self._process.num_fds(), 'threads': self._process.num_threads()})

    def _on_message(self, name: str, data: bytes) -> None:
        self._heard[name] = time.monotonic()

    # --- requests: each returns an error, or an empty string -------------------------------------

    def _service(self) -> str:
        return self._lift(LiftObject.Request(**self._frame))

    def _newest(self) -> str:
        return self._lift(LiftObject.Request(without_mesh=True))

    def _lift(self, request: LiftObject.Request) -> str:
        answer = self._background.call(
            LiftObject, f'{self._server}/lift_object', request, self._patience)
        return answer.error_code or _size_fault(answer.object)

    def _action(self) -> str:
        self._client.lift(**self._frame)
        answer = self._client.result(self._patience)
        return answer.error_code or _size_fault(answer.result.objects[0])

    def _save(self) -> str:
        path = f'ball_{self._sent % 4}.ply'
        request = SaveObject.Request(path=path, overwrite=True)
        answer = self._background.call(
            SaveObject, f'{self._server}/save_object', request, self._patience)
        if answer.success and not (self._folder / path).stat().st_size:
            return f'{path} is empty'
        return answer.error_code

    def _scene(self) -> str:
        self._client.lift_scene(**self._scene_frame, without_objects=True)
        return self._client.result(self._patience).error_code


def _size_fault(lifted: Any) -> str:
    size = max(lifted.size.x, lifted.size.y, lifted.size.z)
    # Without depth the unit is the longest side.
    expected = 1.0 if lifted.scale_source == lifted.SCALE_UNKNOWN else 0.1
    return '' if 0.8 < size / expected < 1.3 else f'the ball of {expected} has {size:.3f}'


def resource_growth(
    samples: Sequence[dict[str, float]], warm: int
) -> dict[str, dict[str, float]]:
    """
    Return medians of the first and the last tenth of the samples after ``warm`` requests.

    Empty if there are fewer than 20 of them.
    """
    kept = [sample for sample in samples if sample['requests'] > warm]
    if len(kept) < 20:
        return {}
    tenth = len(kept) // 10
    return {
        name: {'first': float(np.median([one[name] for one in kept[:tenth]])),
               'last': float(np.median([one[name] for one in kept[-tenth:]])),
               'max': max(one[name] for one in kept)}
        for name in _QUANTITIES}


def growth_faults(growth: dict[str, dict[str, float]]) -> list[str]:
    """Return a sentence for each resource that grew."""
    found = []
    for name, of in growth.items():
        slack = MAX_GROWTH * of['first'] if name == 'resident_mb' else _COUNT_SLACK
        if of['last'] > of['first'] + slack:
            found.append(f'{name} grew from {of["first"]:g} to {of["last"]:g}')
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the soak of the command line; return 1 if the node did something wrong."""
    parser = argparse.ArgumentParser(
        prog='python -m lift3d_ros.node.robustness.soak', description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--requests', type=int, default=10000)
    parser.add_argument('--minutes', type=float, default=120.0, help='0: as fast as it goes')
    parser.add_argument('--cycles', type=int, default=200)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--node', choices=NODES, default='coarse',
                        help='coarse: a lift takes half the time')
    parser.add_argument('--patience', type=float, default=30.0, help='seconds')
    parser.add_argument('--out', type=Path, help='folder for soak.json')
    options = parser.parse_args(arguments)
    out = None
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        out = options.out / 'soak.json'
    rclpy.init(args=[])
    try:
        with tempfile.TemporaryDirectory() as folder, running_node(
            SERVER, module=NODES[options.node], method='geometric', mode='continuous',
            max_rate=_MAX_RATE, max_faces=500, use_sim_time=True, output_dir=folder,
            scale_order=['depth', 'unknown'],
        ) as child, BackgroundNode('soaking', threads=3) as background:
            wait_until_active(background, SERVER, child)
            soak = Soak(
                background, child, options.seed, Path(folder), patience=options.patience)
            try:
                soak.run(options.requests, 60.0 * options.minutes, options.cycles, out)
            finally:
                soak.close()
            found = soak.report()
    finally:
        rclpy.try_shutdown()
    print(json.dumps({name: of for name, of in found.items() if name != 'samples'}, indent=1))
    if out is not None:
        out.write_text(json.dumps(found, indent=1) + '\n')
    return 1 if found['faults'] else 0


if __name__ == '__main__':
    sys.exit(main())
