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


"""The parameter ``remote``: a server lifts for the node, and the node itself when that is gone."""

from __future__ import annotations

from collections.abc import Iterator
import importlib.util
import subprocess
import sys

import pytest

pytest.importorskip('rclpy')
pytest.importorskip('lift3d_ros.msg')

from lifecycle_msgs.msg import Transition
import ros_helpers as ros
from ros_helpers import BALL

pytestmark = [
    pytest.mark.ros,
    pytest.mark.skipif(
        importlib.util.find_spec('uvicorn') is None, reason='uvicorn is not installed'),
]


@pytest.fixture(scope='module')
def server() -> Iterator[tuple[subprocess.Popen[str], str]]:
    process = subprocess.Popen(
        [sys.executable, '-m', 'lift3d_ros.cli', 'serve', '--port', '0', '--method', 'geometric'],
        stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    yield process, process.stdout.readline().split()[-1]
    process.kill()
    process.wait()
    process.stdout.close()


@pytest.fixture(scope='module')
def node(graph: ros.Graph, server) -> Iterator[ros.NodeProcess]:
    # Another method than that of the server, so that it is seen which of them lifted.
    node = ros.NodeProcess(
        graph, 'remote', method='one2345', remote=server[1], remote_timeout=60.0)
    assert node.change(Transition.TRANSITION_CONFIGURE)
    assert node.change(Transition.TRANSITION_ACTIVATE)
    yield node
    node.end_well()


def lifted(client):
    client.lift(**ros.messages(*BALL))
    answer = client.result(ros.PATIENCE)
    assert answer.success, answer.message
    return answer.result.objects[0]


def test_the_server_lifts_and_the_node_when_the_server_is_gone(client, node, server):
    process, url = server
    first = lifted(client)
    assert first.method == 'geometric'
    assert not any(url in note for note in first.notes)
    process.kill()
    process.wait()
    second = lifted(client)
    assert second.method == 'one2345'
    assert any(url in note for note in second.notes)


def test_an_address_of_another_form_is_refused(node):
    assert not node.set_parameter('remote', 'gpu:8300').successful
    assert node.set_parameter('remote', '').successful
