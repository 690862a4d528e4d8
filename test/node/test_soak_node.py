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

"""A node among disturbances keeps working, and the soak finds one that grows or ends."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import tracemalloc

import pytest

pytest.importorskip('rclpy')
pytest.importorskip('lift3d_ros.msg')

from lifecycle_msgs.msg import Transition
import psutil
from rclpy import executors
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.task import Future
import ros_helpers as ros

from lift3d_ros.node.executors.background import BackgroundNode
from lift3d_ros.node.executors.spinning import start_spinning
from lift3d_ros.node.frame_camera import ball_frame
from lift3d_ros.node.frame_camera import frame_messages
from lift3d_ros.node.robustness.soak import growth_faults
from lift3d_ros.node.robustness.soak import resource_growth
from lift3d_ros.node.robustness.soak import Soak
from lift3d_ros.node.robustness.soak import WARM_REQUESTS
from lift3d_ros.srv import LiftObject

pytestmark = pytest.mark.ros


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_node_works_after_each_disturbance(tmp_path):
    done = subprocess.run(
        [sys.executable, '-m', 'lift3d_ros.node.robustness.soak', '--requests', '12',
         '--minutes', '0', '--cycles', '2', '--patience', str(ros.PATIENCE), '--out',
         str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / 'soak.json').read_text())
    assert found['disturbances'] == {
        'lifecycle_cycles': 2, 'client_vanishes': 1}
    assert {name.split()[1] for name in found['outcomes']} == {'OK'}
    assert found['faults'] == []


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_lifecycle_cycles_do_not_change_the_memory_of_a_node(graph):
    node = ros.NodeProcess(graph, 'cycled', '--autostart')
    node.wait_until_active()
    request = LiftObject.Request(**frame_messages(*ball_frame(80, 60)))
    memory = psutil.Process(node.process.pid).memory_info
    resident = []
    for _ in range(10):
        for step in (Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_CLEANUP,
                     Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE):
            assert node.change(step)
        assert node.lift(request).success
        resident.append(memory().rss)
    # One that had its first lift in another arena each time varied by a tenth.
    assert max(resident[4:]) < 1.03 * min(resident[4:])


def test_a_node_that_ends_is_a_fault(graph, tmp_path):
    node = ros.NodeProcess(graph, 'soaked', '--autostart', output_dir=str(tmp_path))
    node.wait_until_active()
    with BackgroundNode('soaking', graph.context, threads=3) as background:
        soak = Soak(background, node.process, 0, tmp_path, server='/soaked/lift3d')
        try:
            node.kill()
            soak.run(10, 0.0, 0)
        finally:
            soak.close()
        assert [fault.split()[:3] for fault in soak.report()['faults']] == [
            ['the', 'node', 'ended']]
    assert not psutil.pid_exists(node.process.pid)


def test_an_executor_that_runs_callbacks_keeps_nothing_of_them(graph):
    node = Node('spun', context=graph.context)
    executor = SingleThreadedExecutor(context=graph.context)
    executor.add_node(node)
    ticks, end = [], Future()
    node.create_timer(0.001, lambda: ticks.append(1))
    thread = start_spinning(executor, end, node.get_logger(), 'spun')
    ros.wait_until(lambda: len(ticks) > 100)
    tracemalloc.start()
    try:
        begin = len(ticks)
        ros.wait_until(lambda: len(ticks) > begin + 500)
        gc.collect()
        kept = tracemalloc.take_snapshot().filter_traces(
            [tracemalloc.Filter(True, executors.__file__)])
    finally:
        tracemalloc.stop()
    # With a callback for each tick it would be 50,000.
    assert sum(trace.size for trace in kept.traces) < 10_000
    end.set_result(None)
    thread.join(ros.PATIENCE)
    assert not thread.is_alive()
    executor.shutdown()
    node.destroy_node()


def samples(growth, count=400):
    return [{'requests': 25 * k, 'resident_mb': 300.0 + 40.0 * (k < 10) + growth * k / count,
             'descriptors': 20, 'threads': 30} for k in range(count)]


def test_memory_that_grows_after_the_first_requests_is_a_fault():
    flat = resource_growth(samples(2.0), WARM_REQUESTS)
    assert growth_faults(flat) == []
    assert flat['threads'] == {'first': 30.0, 'last': 30.0, 'max': 30}
    grown = growth_faults(resource_growth(samples(6.0), WARM_REQUESTS))
    assert [fault.split()[0] for fault in grown] == ['resident_mb']
    assert resource_growth(samples(6.0, 30), WARM_REQUESTS) == {}


def test_descriptors_that_are_left_open_are_a_fault():
    made = samples(0.0)
    for one in made[200:]:
        one['descriptors'] += 3
    assert growth_faults(resource_growth(made, WARM_REQUESTS)) == [
        'descriptors grew from 20 to 23']
