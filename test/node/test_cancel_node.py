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

"""A client that cancels goals of a node hears so, also while networks load."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytest.importorskip('rclpy')
pytest.importorskip('lift3d_ros.msg')

pytestmark = [pytest.mark.ros, pytest.mark.slow]


def test_cancelled_goals_end_and_the_node_lifts_afterwards():
    done = subprocess.run(
        [sys.executable, '-m', 'lift3d_ros.node.robustness.cancel_node', '--cancels', '2',
         '--methods', 'loading', 'one2345'], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(one['kind'], one['cancels']) for one in found] == [('loading', 2), ('one2345', 2)]
