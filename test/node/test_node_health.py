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

"""The health check of containers: the lifecycle state of a node as an exit status."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip('rclpy')
pytest.importorskip('lift3d_ros.msg')

from lifecycle_msgs.msg import Transition
import ros_helpers as ros

from lift3d_ros.node.services.health import ACTIVE
from lift3d_ros.node.services.health import NO_RESPONSE
from lift3d_ros.node.services.health import OTHER_STATE

pytestmark = pytest.mark.ros


def health(name: str, timeout: float = ros.PATIENCE) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, '-m', 'lift3d_ros.node.services.health', '--node', name, '--timeout',
         str(timeout)], capture_output=True, text=True, check=False)


def test_the_exit_status_is_that_of_the_state(graph):
    node = ros.NodeProcess(graph, 'healthy', '--autostart')
    node.wait_until_active()
    found = health('/healthy/lift3d')
    assert (found.returncode, found.stdout.strip()) == (ACTIVE, '/healthy/lift3d: active')
    assert node.change(Transition.TRANSITION_DEACTIVATE)
    found = health('healthy/lift3d')
    assert (found.returncode, found.stdout.strip()) == (OTHER_STATE, '/healthy/lift3d: inactive')
    node.end_well()
    assert health('/healthy/lift3d', 0.5).returncode == NO_RESPONSE


def test_without_a_node_there_is_a_sentence(graph):
    found = health('/nobody/lift3d', 0.2)
    assert found.returncode == NO_RESPONSE
    assert 'Traceback' not in found.stderr and '/nobody/lift3d' in found.stderr
