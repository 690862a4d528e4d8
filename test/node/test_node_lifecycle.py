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

"""Starting, stopping and refusing to start; every node is in a process of its own."""

from __future__ import annotations

from collections.abc import Iterator
import importlib.util
import os
import signal
import subprocess
import sys
import threading

import pytest

pytest.importorskip('rclpy')
pytest.importorskip('lift3d_ros.msg')

from lifecycle_msgs.msg import Transition
import rclpy
from rclpy.parameter import Parameter
import ros_helpers as ros
from ros_helpers import BALL

from lift3d_ros.node.main import shut_down
from lift3d_ros.node.node import LiftNode
from lift3d_ros.srv import LiftObject

pytestmark = pytest.mark.ros



def lift(node: ros.NodeProcess) -> LiftObject.Response:
    return node.lift(LiftObject.Request(**ros.messages(*BALL)))


def ended(node: ros.NodeProcess) -> int:
    """Wait for a process that ends by itself; return its status, its output is in ``log``."""
    node.log, _ = node.process.communicate(timeout=ros.PATIENCE)
    return node.process.returncode


def test_the_lifecycle_goes_round_twice(graph):
    node = ros.NodeProcess(graph, 'round_trip')
    assert node.state() == 'unconfigured'
    assert lift(node).error_code == 'NOT_ACTIVE'
    for _ in range(2):
        assert node.change(Transition.TRANSITION_CONFIGURE)
        assert node.state() == 'inactive'
        assert node.set_parameter('max_faces', 2000).successful
        assert lift(node).error_code == 'NOT_ACTIVE'
        assert node.change(Transition.TRANSITION_ACTIVATE)
        answer = lift(node)
        assert answer.success, answer.message
        assert len(answer.object.mesh.triangles) <= 2000
        assert node.change(Transition.TRANSITION_DEACTIVATE)
        assert lift(node).error_code == 'NOT_ACTIVE'
        assert node.change(Transition.TRANSITION_CLEANUP)
        assert node.state() == 'unconfigured'
    assert node.change(Transition.TRANSITION_UNCONFIGURED_SHUTDOWN)
    assert node.state() == 'finalized'
    assert node.stop() == 0, node.log
    assert 'Traceback' not in node.log, node.log


def test_after_kill_9_a_new_node_takes_its_place(graph):
    node = ros.NodeProcess(graph, 'killed', '--autostart')
    node.wait_until_active()
    assert lift(node).success
    node.kill()
    node.start()
    node.wait_until_active()
    answer = lift(node)
    assert answer.success, answer.message
    node.process.send_signal(signal.SIGTERM)
    assert ended(node) == 0, node.log


def test_an_unknown_parameter_is_reported(graph, tmp_path):
    file = tmp_path / 'typo.yaml'
    file.write_text('/**:\n  ros__parameters:\n    methid: geometric\n    seed: 5\n')
    node = ros.NodeProcess(graph, 'typo', '--ros-args', '--params-file', str(file), '--')
    assert node.state() == 'unconfigured'
    assert node.stop() == 0
    assert 'There is no parameter "methid"; did you mean "method"?' in node.log


@pytest.mark.parametrize(('name', 'value', 'word'), [
    ('max_faces', 7, 'max_faces'),
    ('method', 'magic', 'geometric'),
    ('device', 'abacus', 'cuda'),
    ('timeout', 'soon', 'timeout'),
])
def test_a_parameter_that_is_refused_ends_the_start_with_a_sentence(graph, name, value, word):
    node = ros.NodeProcess(graph, 'refused', **{name: value})
    assert ended(node) == 2
    assert word in node.log
    assert 'Traceback' not in node.log, node.log


def test_a_folder_that_is_not_there_is_refused_by_configure(graph):
    node = ros.NodeProcess(graph, 'no_folder', '--autostart', output_dir='/no/such/folder')
    assert ended(node) == 1
    assert '/no/such/folder' in node.log
    assert 'Traceback' not in node.log, node.log


@pytest.mark.skipif(importlib.util.find_spec('tf2_ros') is not None, reason='tf2_ros is here')
def test_without_tf2_a_target_frame_is_refused_by_configure(graph):
    node = ros.NodeProcess(graph, 'no_tf', target_frame='base_link')
    assert not node.change(Transition.TRANSITION_CONFIGURE)
    assert node.state() == 'unconfigured'
    assert node.set_parameter('target_frame', '').successful
    assert node.change(Transition.TRANSITION_CONFIGURE)
    assert node.stop() == 0
    assert 'NO_TRANSFORM' in node.log
    assert 'ros-$ROS_DISTRO-tf2-ros' in node.log


def test_the_transform_is_that_of_the_tree(graph):
    tf2_ros = pytest.importorskip('tf2_ros')
    from geometry_msgs.msg import TransformStamped

    node = ros.NodeProcess(graph, 'tf', '--autostart', target_frame='base_link')
    node.wait_until_active()
    answer = lift(node)
    assert answer.error_code == 'NO_TRANSFORM'
    assert 'base_link' in answer.message
    assert ros.FRAME_ID in answer.message
    broadcaster = tf2_ros.StaticTransformBroadcaster(graph.node)
    transform = TransformStamped(child_frame_id=ros.FRAME_ID)
    transform.header.frame_id = 'base_link'
    # The camera looks along base_link's x, half a metre up.
    transform.transform.translation.z = 0.5
    rotation = transform.transform.rotation
    rotation.x, rotation.y, rotation.z, rotation.w = -0.5, 0.5, -0.5, 0.5
    broadcaster.sendTransform(transform)
    ros.wait_until(lambda: lift(node).success)
    there = lift(node).object
    assert there.header.frame_id == 'base_link'
    assert there.pose.pose.position.x == pytest.approx(0.564, abs=0.02)
    assert there.elevation_source == 'gravity'
    assert node.stop() == 0, node.log


@pytest.mark.skipif(importlib.util.find_spec('vision_msgs') is not None, reason='vision_msgs is')
def test_without_vision_msgs_detections_are_refused_by_configure(graph):
    node = ros.NodeProcess(graph, 'no_detections', mask_source='detections')
    assert not node.change(Transition.TRANSITION_CONFIGURE)
    assert node.stop() == 0
    assert 'vision_msgs' in node.log


def test_ctrl_c_ends_the_node_in_any_state(graph):
    early = ros.NodeProcess(graph, 'early', '--autostart')
    early.state()
    assert early.stop() == 0, early.log
    active = ros.NodeProcess(graph, 'late', '--autostart')
    active.wait_until_active()
    assert active.stop() == 0, active.log
    assert 'Traceback' not in early.log + active.log
    # Of a participant that does not say goodbye the others learn after 20 s.
    ros.wait_until(lambda: not of_namespace(graph, '/late'), timeout=10.0)


def of_namespace(graph, namespace: str) -> list[str]:
    """Return the names of the nodes of a namespace."""
    return [
        name for name, own in graph.node.get_node_names_and_namespaces() if own == namespace
    ]


class SlowNode(LiftNode):
    """A node whose configuration takes until ``go`` is set."""

    def __init__(self, **values) -> None:
        super().__init__(**values)
        self.begun, self.go = threading.Event(), threading.Event()

    def on_configure(self, state):
        self.begun.set()
        self.go.wait(ros.PATIENCE)
        return super().on_configure(state)


@pytest.fixture
def configuring() -> Iterator[SlowNode]:
    """Give a node in the midst of a transition."""
    context = rclpy.Context()
    rclpy.init(context=context)
    node = SlowNode(
        context=context, parameter_overrides=[Parameter('method', value='geometric')]
    )
    manager = threading.Thread(target=node.trigger_configure)
    manager.start()
    assert node.begun.wait(ros.PATIENCE)
    yield node
    node.go.set()
    manager.join()
    node.destroy_node()
    context.try_shutdown()


def test_ctrl_c_during_a_transition_waits_for_its_end(configuring):
    end = threading.Thread(target=shut_down, args=(configuring,))
    end.start()
    end.join(0.3)
    assert end.is_alive()
    assert configuring.state == 'configuring'
    configuring.go.set()
    end.join(ros.PATIENCE)
    assert configuring.state == 'finalized'


def test_a_transition_that_does_not_end_is_left_behind(configuring):
    end = threading.Thread(target=shut_down, args=(configuring, 0.3))
    end.start()
    end.join(ros.PATIENCE)
    assert not end.is_alive()
    assert configuring.state == 'configuring'


def test_an_activation_that_fails_leaves_nothing_behind(graph):
    node = ros.NodeProcess(
        graph, 'no_qos', **{'qos_overrides./no_qos/image.subscription.history': 'nonsense'}
    )
    assert node.change(Transition.TRANSITION_CONFIGURE)
    for _ in range(2):
        assert not node.change(Transition.TRANSITION_ACTIVATE)
        assert node.state() == 'inactive'
    assert lift(node).error_code == 'NOT_ACTIVE'
    # The graph tells it a moment later, and may still tell of nodes of other tests.
    ros.wait_until(lambda: of_namespace(graph, '/no_qos') == ['lift3d'], timeout=10.0)
    node.end_well()


@pytest.mark.parametrize(('arguments', 'word'), [
    (['--autostrat'], '--autostrat'),
    (['--ros-args', '-r', 'image'], 'image'),
    (['--ros-args', '--params-file', '/no/such/file.yaml'], '/no/such/file.yaml'),
])
def test_arguments_that_are_none_end_the_start_with_a_sentence(arguments, word):
    done = run_node(*arguments)
    assert done.returncode == 2
    assert word in done.stderr
    assert 'Traceback' not in done.stderr, done.stderr


def test_help_says_how_to_start_the_node():
    done = run_node('--help')
    assert done.returncode == 0
    assert '--autostart' in done.stdout


def run_node(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, '-m', 'lift3d_ros.node', *arguments],
        capture_output=True,
        text=True,
        env=os.environ,
        check=False,
    )
