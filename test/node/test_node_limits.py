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

"""Limits of a node: many clients, many objects, a full disk, and a folder that is read-only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from contextlib import suppress
from pathlib import Path
import shutil
import subprocess

import numpy as np
import pytest

pytest.importorskip('rclpy')
pytest.importorskip('lift3d_ros.msg')

import ros_helpers as ros

from lift3d_ros.msg import ObjectSelector
from lift3d_ros.node.client import LiftClient
from lift3d_ros.node.executors.background import wait_for
from lift3d_ros.node.services.introspection import REQUESTS
from lift3d_ros.srv import LiftObject
from lift3d_ros.srv import SaveObject

pytestmark = pytest.mark.ros

#: Clients, and objects of a frame.
CLIENTS, OBJECTS = 64, 500


@pytest.fixture(scope='module')
def output(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp('limits')


@pytest.fixture(scope='module')
def node(graph: ros.Graph, output: Path) -> Iterator[ros.NodeProcess]:
    with ros.running(
        graph, 'limits', '--autostart', output_dir=str(output), max_objects=2, max_faces=500,
        mask_source='label',
    ) as node:
        yield node


def answered(client, request, attempts: int = 30) -> bool:
    """Return whether a client got an answer; those before its discovery are lost."""
    for _ in range(attempts):
        with suppress(TimeoutError):
            wait_for(client.call_async(request), 2.0)
            return True
    return False


def test_clients_that_ask_at_once_all_get_an_answer(graph, node):
    # Every client receives the answers to all; the default queue of ten drops some of them.
    clients = [
        graph.node.create_client(LiftObject, node.name('lift_object'), qos_profile=REQUESTS)
        for _ in range(CLIENTS)]
    assert all(answered(client, LiftObject.Request()) for client in clients)
    frame, labels = ros.table_scene((0.0, 0.0, 0.05), width=80, height=60)
    request = LiftObject.Request(**ros.messages(frame, labels))
    answers = [client.call_async(request) for client in clients]
    found = Counter(
        wait_for(answer, ros.PATIENCE).error_code or 'OK' for answer in answers)
    assert set(found) == {'OK', 'BUSY'}
    # One runs and four wait.
    assert found['OK'] >= 5
    assert sum(found.values()) == CLIENTS
    assert node.lift(request).success
    for client in clients:
        graph.node.destroy_client(client)


def test_the_largest_of_many_objects_are_lifted_and_the_others_said(graph, node):
    frame, ball = ros.table_scene((0.0, 0.0, 0.05), width=320, height=240)
    rows, columns = np.indices(ball.shape)
    # Cells of 9 x 9 pixels; the ball is the largest object.
    cells = 2 + rows // 10 * 32 + columns // 10
    cells[(rows % 10 == 0) | (columns % 10 == 0)] = 0
    cells[np.isin(cells, np.unique(cells[ball > 0]))] = 0
    kept = np.unique(cells)[1:OBJECTS]
    labels = np.where(ball > 0, 1, np.where(np.isin(cells, kept), cells, 0)).astype(np.uint16)
    assert len(np.unique(labels)) == OBJECTS + 1
    with LiftClient(graph.node, node.name('').rstrip('/')) as client:
        assert client.wait_for_server(ros.PATIENCE)
        client.lift(
            ObjectSelector(mode=ObjectSelector.ALL), **ros.messages(frame, labels, '16UC1'))
        answer = client.result(ros.PATIENCE)
    # The parameter max_objects is 2.
    assert len(answer.result.objects) + len(answer.failures) == 2, answer.message
    assert answer.result.objects, answer.failures
    assert any('max_objects' in note for note in answer.result.objects[0].notes)


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[None]:
    """Mount a small file system in memory at a folder; skips the test where that is forbidden."""
    folder.mkdir()
    made = subprocess.run(
        ['mount', '-t', 'tmpfs', '-o', options, 'tmpfs', str(folder)], capture_output=True,
        check=False) if shutil.which('mount') else None
    if made is None or made.returncode:
        pytest.skip('no file system can be mounted here')
    try:
        yield
    finally:
        subprocess.run(['umount', '--lazy', str(folder)], check=True)


@pytest.mark.parametrize(('name', 'options'), [('full', 'size=4k'), ('locked', 'ro')])
def test_a_disk_that_takes_nothing_is_an_error_and_the_node_lives(
    graph, node, output, name, options
):
    assert node.lift(LiftObject.Request(**ros.messages(*ros.BALL))).success

    def save(path):
        return graph.call(
            SaveObject, node.name('save_object'), SaveObject.Request(path=path), ros.PATIENCE)

    with mounted(output / name, options):
        answer = save(f'{name}/ball.ply')
        assert (answer.success, answer.error_code) == (False, 'BAD_REQUEST'), answer
        assert not list((output / name).iterdir())
        assert {'full': 'space', 'locked': 'ead-only'}[name] in answer.message
    assert save(f'{name}.ply').success
