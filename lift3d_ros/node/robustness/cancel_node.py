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
Measure the time from a client's cancel request to the result, on a running node.

    python -m lift3d_ros.node.robustness.cancel_node --methods one2345 zero123 --cancels 20

The client sends goals of other methods to a node with the method ``geometric``, and cancels each
at a random moment of its lift. With ``loading``, the node loads the networks of ``one2345`` anew
for each goal, and the goal is cancelled while they load. A goal that ends before its cancellation
is not counted. The exit status is 1 if a cancelled goal ends with a code other than ``CANCELLED``,
if no goal of a method could be cancelled, or if the node does not lift afterwards.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
import json
import sys
import time
from typing import Any

import numpy as np
from rcl_interfaces.msg import Parameter
from rcl_interfaces.msg import ParameterType
from rcl_interfaces.msg import ParameterValue
from rcl_interfaces.srv import SetParameters
import rclpy

from lift3d_ros.node.client import LiftClient
from lift3d_ros.node.executors.background import BackgroundNode
from lift3d_ros.node.frame_camera import ball_frame
from lift3d_ros.node.frame_camera import frame_messages
from lift3d_ros.node.robustness.process import running_node
from lift3d_ros.node.robustness.process import wait_until_active

SERVER = 'lift3d_cancel'

#: Kind of measurement that cancels while networks load, and the method whose networks they are.
LOADING, _LOADED_METHOD = 'loading', 'one2345'

#: Steps of methods that optimise.
_STEPS = 60

#: Seconds within which the node must answer, and the most goals to send for one cancellation.
PATIENCE_S = 300.0
_GOALS_PER_CANCEL = 5


class Canceller:
    """Cancels goals of one node."""

    def __init__(self, background: BackgroundNode, seed: int) -> None:
        """Connect to the node; raises ``TimeoutError``."""
        self._background = background
        self._rng = np.random.default_rng(seed)
        self._client = LiftClient(background.node, SERVER)
        self._frame = frame_messages(*ball_frame(160, 120))
        self._faces = 2000
        if not self._client.wait_for_server(PATIENCE_S):
            raise TimeoutError(f'there is no action of {SERVER}')

    def measure(self, kind: str, cancels: int) -> dict[str, Any]:
        """
        Return the times of ``cancels`` cancellations, in seconds, and their statistics.

        ``kind`` is a method or ``LOADING``. Raises ``RuntimeError`` if a lift fails.
        """
        loading = kind == LOADING
        method = _LOADED_METHOD if loading else kind
        # Only the first lift loads the networks; the difference is the time of loading.
        spans = [self._lift(method) for _ in range(2)]
        span = max(spans[0] - spans[1], 0.5 * spans[0]) if loading else spans[1]
        seconds: list[float] = []
        codes: list[str] = []
        for _ in range(cancels * _GOALS_PER_CANCEL):
            if len(seconds) == cancels:
                break
            if loading:
                self._change_settings()
            self._client.lift(method=method, timeout=PATIENCE_S, **self._frame)
            time.sleep(float(self._rng.uniform(0.0, span)))
            if self._client.is_done():
                self._client.result()
                continue
            begin = time.monotonic()
            self._client.cancel()
            answer = self._client.result(PATIENCE_S)
            if answer.success:
                continue   # the goal ended before the cancel request arrived
            seconds.append(time.monotonic() - begin)
            codes.append(answer.error_code)
            self._wait_for_worker()
        self._lift('geometric')
        return {
            'kind': kind, 'span_s': round(span, 2), 'cancels': len(seconds),
            'median_s': round(float(np.median(seconds)), 3) if seconds else None,
            'max_s': round(max(seconds), 3) if seconds else None,
            'over_half_a_second': sum(one > 0.5 for one in seconds),
            'other_codes': sorted({code for code in codes if code != 'CANCELLED'}),
            'seconds': [round(one, 3) for one in seconds]}

    def _lift(self, method: str) -> float:
        """Return the time of a lift in seconds; raises ``RuntimeError`` if it fails."""
        begin = time.monotonic()
        self._client.lift(method=method, timeout=PATIENCE_S, **self._frame)
        answer = self._client.result(PATIENCE_S)
        if not answer.success:
            raise RuntimeError(f'{method}: {answer.error_code}: {answer.message}')
        return time.monotonic() - begin

    def _wait_for_worker(self) -> None:
        """Wait until the cancelled step has ended, so that the next goal need not wait for it."""
        mask = self._frame['mask']
        empty = type(mask)(
            header=mask.header, height=mask.height, width=mask.width, encoding=mask.encoding,
            step=mask.step, data=bytes(len(mask.data)))
        self._client.lift(timeout=PATIENCE_S, **{**self._frame, 'mask': empty})
        self._client.result(PATIENCE_S)

    def _change_settings(self) -> None:
        """Change a setting, which makes the node reload its lifter."""
        self._faces += 1
        value = ParameterValue(type=ParameterType.PARAMETER_INTEGER, integer_value=self._faces)
        request = SetParameters.Request(parameters=[Parameter(name='max_faces', value=value)])
        answer = self._background.call(
            SetParameters, f'{SERVER}/set_parameters', request, PATIENCE_S)
        if not answer.results[0].successful:
            raise RuntimeError(answer.results[0].reason)


def run(methods: Sequence[str], cancels: int, seed: int) -> list[dict[str, Any]]:
    """Print and return the result of ``Canceller.measure`` for each method."""
    with running_node(
        SERVER, method='geometric', steps=_STEPS, max_faces=2000
    ) as process, BackgroundNode('cancelling', threads=3) as background:
        wait_until_active(background, SERVER, process)
        canceller = Canceller(background, seed)
        found = []
        for method in methods:
            found.append(canceller.measure(method, cancels))
            print(json.dumps(found[-1]), flush=True)
        return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    parser = argparse.ArgumentParser(
        prog='python -m lift3d_ros.node.robustness.cancel_node', description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--methods', nargs='+', default=[LOADING, 'one2345', 'zero123'])
    parser.add_argument('--cancels', type=int, default=20, help='of each method')
    parser.add_argument('--seed', type=int, default=0)
    options = parser.parse_args(arguments)
    rclpy.init(args=[])
    try:
        found = run(options.methods, options.cancels, options.seed)
    finally:
        rclpy.try_shutdown()
    return 1 if any(one['other_codes'] or not one['cancels'] for one in found) else 0


if __name__ == '__main__':
    sys.exit(main())
