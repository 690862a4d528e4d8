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

"""The learned method in a node of another process, by untrained weights."""

from __future__ import annotations

from collections.abc import Iterator
import json
from pathlib import Path
import shutil

import numpy as np
import psutil
import pytest

pytest.importorskip('rclpy')
pytest.importorskip('lift3d_ros.msg')

from lifecycle_msgs.msg import Transition
import ros_helpers as ros
from ros_helpers import BALL
from ros_helpers import MANY

from lift3d_ros.messages.results import mesh_from_message
from lift3d_ros.node.messages.geometry import duration_message
from lift3d_ros.srv import LiftObject

pytestmark = pytest.mark.ros

METHOD = 'one2345'


@pytest.fixture(scope='module')
def node(graph: ros.Graph, learned_weights: Path) -> Iterator[ros.NodeProcess]:
    node = ros.NodeProcess(graph, 'learned', method=METHOD, weights=str(learned_weights))
    assert node.change(Transition.TRANSITION_CONFIGURE)
    # Which weights there are is known without what runs them.
    assert not node.has_torch()
    assert node.change(Transition.TRANSITION_ACTIVATE)
    yield node
    node.end_well()
    assert f'method "{METHOD}" is ready after' in node.log


def memory(node: ros.NodeProcess) -> int:
    """Return the bytes that the node holds of its own."""
    return int(psutil.Process(node.process.pid).memory_full_info().uss)


def request(**fields) -> LiftObject.Request:
    return LiftObject.Request(**{**ros.messages(*BALL), **fields})


def test_the_service_answers_with_a_shape_of_the_learned_method(node):
    assert node.has_torch(), 'activated, it has loaded the networks'
    answer = node.lift(request(seed=3))
    assert answer.success, answer.message
    lifted = answer.object
    assert (lifted.method, lifted.scale_source) == (METHOD, 'depth')
    mesh = mesh_from_message(lifted)
    assert mesh.is_watertight()
    # The ball of 10 cm is measured in height and width; how deep it is, these weights do not know.
    np.testing.assert_allclose([lifted.size.y, lifted.size.z], 0.1, atol=0.02)
    again = mesh_from_message(node.lift(request(seed=3)).object)
    np.testing.assert_array_equal(again.vertices, mesh.vertices)


def test_a_request_may_name_a_method_that_has_no_weights(node):
    answer = node.lift(request(method='geometric'))
    assert answer.success, answer.message
    assert answer.object.method == 'geometric'


def test_the_action_tells_the_stages_of_each_object(client):
    frame, labels = ros.table_scene((0.0, -0.08, 0.05), (0.0, 0.08, 0.04))
    heard: dict[str, list[str]] = {}
    client.lift(**ros.messages(frame, labels))
    while not client.is_done():
        told = client.feedback()
        if told is not None and told.object_count:
            stages = heard.setdefault(told.object_id, [])
            if told.stage not in stages:
                stages.append(told.stage)
    result = client.result()
    assert result.success, result.message
    assert set(heard) == {lifted.id for lifted in result.result.objects}
    assert len(heard) == 2
    for stages in heard.values():
        # The client keeps the newest feedback alone, so that short stages may go unheard.
        assert len({'volume', 'render', 'denoise', 'surface', 'mesh'} & set(stages)) >= 2


def test_cancelled_between_stages_it_frees_the_worker(client, node):
    client.lift(**ros.messages(*MANY))
    ros.wait_until(
        lambda: client.is_done()
        or ((told := client.feedback()) is not None and told.stage in ('volume', 'render'))
    )
    assert not client.is_done(), client.result().message
    client.cancel()
    result = client.result(ros.PATIENCE)
    assert (result.success, result.error_code) == (False, 'CANCELLED')
    assert len(result.result.objects) < 9
    assert node.lift(request()).success


def test_the_deadline_ends_what_runs(node):
    answer = node.lift(request(timeout=duration_message(0.1)))
    assert answer.error_code == 'TIMEOUT'
    assert node.lift(request()).success


def test_missing_and_broken_weights_are_refused_by_configure(graph, learned_weights, tmp_path):
    views = tmp_path / 'views'
    shutil.copytree(learned_weights, views, ignore=shutil.ignore_patterns('surface'))
    broken = tmp_path / 'broken'
    shutil.copytree(learned_weights, broken)
    record = {'files': {'unet/config.json': {'bytes': 1, 'sha256': '0' * 64}}}
    (broken / 'manifest.json').write_text(json.dumps(record))
    node = ros.NodeProcess(graph, 'no_weights', method=METHOD, weights='no-such-weights')
    for folder in (None, views, broken):
        if folder is not None:
            assert node.set_parameter('weights', str(folder)).successful
        assert not node.change(Transition.TRANSITION_CONFIGURE)
        assert node.state() == 'unconfigured'
    assert not node.has_torch()
    assert node.set_parameter('weights', str(learned_weights)).successful
    assert node.change(Transition.TRANSITION_CONFIGURE)
    assert node.stop() == 0, node.log
    assert "WEIGHTS_MISSING: There are no weights 'no-such-weights'" in node.log
    assert f'WEIGHTS_MISSING: The weights in {views}' in node.log
    assert f'WEIGHTS_CORRUPT: The weights in {broken}' in node.log
    assert 'Traceback' not in node.log, node.log


def test_samples_out_of_range_end_the_start_with_a_sentence(graph):
    node = ros.NodeProcess(graph, 'samples', samples=17)
    node.log, _ = node.process.communicate(timeout=ros.PATIENCE)
    assert node.process.returncode == 2
    assert 'samples' in node.log
    assert 'Traceback' not in node.log, node.log


# The last test of the node: it leaves another number of samples.


def test_deactivated_it_frees_the_networks_and_activated_it_lifts_again(node):
    before = memory(node)
    assert node.change(Transition.TRANSITION_DEACTIVATE)
    assert memory(node) < before
    assert node.set_parameter('samples', 2).successful
    assert node.change(Transition.TRANSITION_ACTIVATE)
    answer = node.lift(request())
    assert answer.success, answer.message
