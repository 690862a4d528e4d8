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

"""The launch file: its arguments reach the node and do what they say, or are refused by name."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
import os
from pathlib import Path
import signal
import threading
from typing import Any

import numpy as np
import psutil
import pytest

pytest.importorskip('rclpy')
pytest.importorskip('lift3d_ros.msg')
pytest.importorskip('launch_ros')

from ament_index_python.packages import get_packages_with_prefixes
from ament_index_python.packages import PackageNotFoundError
from launch.actions import DeclareLaunchArgument
from launch.actions import GroupAction
from launch.actions import IncludeLaunchDescription
from launch.actions import RegisterEventHandler
from launch.event_handlers import OnProcessIO
from launch.launch_description_sources import load_python_launch_file_as_module
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch_ros.actions import PushRosNamespace
from launch_ros.actions import SetRemap
from rcl_interfaces.srv import GetParameters
from rclpy.parameter import parameter_value_to_python
from rclpy.qos import DurabilityPolicy
from rclpy.qos import QoSProfile
import ros_helpers as ros
from sensor_msgs.msg import Image

from launch import LaunchContext
from launch import LaunchDescription
from launch import LaunchService
from lift3d_ros.geometry import look_at
from lift3d_ros.msg import ObjectSelector
from lift3d_ros.node.messages.geometry import pose_message
from lift3d_ros.node.parameters.reference import yaml_value
from lift3d_ros.node.parameters.settings import SPECS
from lift3d_ros.srv import LiftObject

pytestmark = pytest.mark.ros

FILE = str(Path(__file__).parents[2] / 'launch' / 'lift.launch.py')
MODULE = load_python_launch_file_as_module(FILE)

RADIUS = 0.05
BALL = ros.table_scene((0.0, 0.0, RADIUS))


def declared() -> list[DeclareLaunchArgument]:
    entities = MODULE.generate_launch_description().entities
    return [entity for entity in entities if isinstance(entity, DeclareLaunchArgument)]


def test_every_argument_has_a_description():
    arguments = declared()
    assert {argument.name for argument in arguments} >= {
        'params_file', 'name', 'namespace', 'use_sim_time', 'autostart', 'rviz', 'demo',
        'log_level', 'respawn', 'respawn_delay', 'required', *MODULE.TOPICS, *MODULE.PARAMETERS,
    }
    for argument in arguments:
        assert argument.description not in ('', 'no description given'), argument.name


@pytest.mark.parametrize('name', MODULE.PARAMETERS)
def test_an_argument_has_description_default_and_choices_of_its_parameter(name):
    spec = SPECS[name]
    argument = next(argument for argument in declared() if argument.name == name)
    assert argument.description.startswith(spec.description)
    assert f'({yaml_value(spec.default)})' in argument.description
    assert tuple(argument.choices or ('',))[1:] == spec.choices


@pytest.mark.parametrize('name', [name for name in MODULE.PARAMETERS if SPECS[name].choices])
def test_a_value_that_is_no_choice_is_refused_by_the_launch(name):
    context = LaunchContext()
    context.launch_configurations[name] = 'no such choice'
    argument = next(one for one in declared() if one.name == name)
    with pytest.raises(RuntimeError, match=name):
        argument.execute(context)


def test_rviz_follows_the_arguments(tmp_path):
    file = tmp_path / 'params.yaml'
    file.write_text('/**:\n  ros__parameters:\n    target_frame: base_link\n')
    context = LaunchContext()
    given = {
        'namespace': 'left', 'name': 'eye', 'image': '/camera/image', 'params_file': str(file),
        'mask_transport': 'compressed',
    }
    context.launch_configurations.update(given)
    for argument in declared():
        argument.execute(context)
    text = MODULE.rviz_configuration(context, '/robot/left')
    for name in (
        '/camera/image', '/robot/left/mask/compressed', '/robot/left/eye/markers', 'base_link'
    ):
        assert f': {name}\n' in text


def test_the_exit_code_of_a_node_that_does_not_start_is_the_status_of_the_launch():
    status, said = run({'output_dir': '/no/such/folder', 'namespace': 'dead'})
    assert status == 1
    assert '/no/such/folder' in said


def test_a_node_that_is_not_required_leaves_the_launch_to_others():
    arguments = {
        'output_dir': '/no/such/folder', 'namespace': 'dead', 'required': 'false',
    }
    status, said = run(arguments)
    assert status == 0
    assert '/no/such/folder' in said


def test_a_node_that_is_killed_is_started_again():
    arguments = {'method': 'geometric', 'namespace': 'phoenix', 'respawn': 'true'}
    with ros.Graph() as graph:

        def ask() -> None:
            ros.wait_until(lambda: is_active(graph, '/phoenix/lift3d'))
            before = pids()
            assert len(before) == 1
            os.kill(before.pop(), signal.SIGKILL)
            ros.wait_until(lambda: is_active(graph, '/phoenix/lift3d') and pids())

        def pids() -> set[int]:
            found = set()
            for process in psutil.process_iter(['pid', 'cmdline']):
                words = process.info['cmdline'] or []
                if '__ns:=/phoenix' in words:
                    found.add(process.info['pid'])
            return found

        status, _ = run(arguments, ask)
    assert status == 0


@pytest.mark.parametrize(('name', 'value', 'words'), [
    ('samples', 'two', 'not a whole number'),
    ('min_confidence', 'high', 'not a number'),
    ('use_depth', 'sometimes', 'not true or false'),
    ('autostart', 'maybe', 'not true or false'),
    ('known_sizes', 'mug: 0.10', 'not a list of strings'),
    ('known_sizes', '[mug: 0.10]', 'mug: 0.10'),
    ('scale_order', 'plane', 'not a list of strings'),
    ('params_file', '/no/such.yaml', 'not a file'),
    ('demo', 'perhaps', 'not true or false'),
])
def test_a_value_without_meaning_is_refused_with_the_name_of_its_argument(name, value, words):
    context = LaunchContext()
    context.launch_configurations[name] = value
    for argument in declared():
        argument.execute(context)
    with pytest.raises((ValueError, FileNotFoundError), match=f'^{name}:=.*{words}'):
        MODULE.start(context)


@pytest.mark.skipif('rviz2' in get_packages_with_prefixes(), reason='rviz2 is installed')
def test_without_rviz_nothing_is_started():
    context = LaunchContext()
    context.launch_configurations['rviz'] = 'true'
    for argument in declared():
        argument.execute(context)
    with pytest.raises(PackageNotFoundError, match='rviz:=true needs the package rviz2'):
        MODULE.start(context)


def run(
    arguments: dict[str, str], ask: Callable[[], None] | None = None, before: Iterable[Any] = ()
) -> tuple[int, str]:
    """
    Run the launch file in a group, after the actions ``before``, while another thread asks.

    Without ``ask`` it must end by itself. Returns the exit status and what the processes said.
    """
    said: list[str] = []
    service = LaunchService()

    def note(event: Any) -> None:
        said.append(event.text.decode())

    include = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(FILE), launch_arguments=arguments.items()
    )
    service.include_launch_description(LaunchDescription([
        RegisterEventHandler(OnProcessIO(on_stdout=note, on_stderr=note)),
        GroupAction([*before, include]),
    ]))
    failures: list[BaseException] = []

    def in_thread() -> None:
        try:
            ask()
        except BaseException as error:
            failures.append(error)
        finally:
            service.shutdown()

    asking = threading.Thread(target=in_thread) if ask else None
    if asking:
        asking.start()
    # Signals and processes bind the service to the main thread.
    status = service.run()
    if asking:
        asking.join()
    for failure in failures:
        raise failure
    return status, ''.join(said)


def is_active(graph: ros.Graph, node: str) -> bool:
    try:
        return graph.lifecycle_state(node, 2.0) == 'active'
    except TimeoutError:
        return False


def request(depth: bool, class_id: str = '') -> LiftObject.Request:
    fields = ros.messages(*BALL)
    if not depth:
        fields['depth'] = Image()
    selector = ObjectSelector(mode=ObjectSelector.LARGEST, class_id=class_id)
    return LiftObject.Request(selector=selector, **fields)


def test_the_arguments_reach_the_node_and_have_their_effect(tmp_path):
    given = {
        'method': 'geometric', 'weights': 'full', 'samples': 3, 'mask_source': 'label',
        'image_transport': 'compressed', 'depth_transport': 'compressedDepth',
        'use_imu': True, 'rectified': False, 'min_confidence': 0.05, 'kept_frames': 0,
        'known_sizes': ['mug: 0.2', 'ball: 0.1'], 'output_dir': str(tmp_path),
        'scale_order': ['depth', 'known_size', 'unknown'],
    }
    arguments = {name: str(value) for name, value in given.items()}
    arguments |= {
        'namespace': 'launched', 'name': 'eye', 'image': '/my/image', 'depth': '/my/depth',
        'mask': '/my/mask', 'camera_info': '/my/info', 'imu': '/my/imu', 'log_level': 'error',
    }
    heard = ['image/compressed', 'depth/compressedDepth', 'mask', 'info', 'imu']
    with ros.Graph() as graph:

        def ask() -> None:
            ros.wait_until(lambda: is_active(graph, '/launched/eye'))
            names = GetParameters.Request(names=list(given))
            values = graph.call(GetParameters, '/launched/eye/get_parameters', names).values
            assert dict(zip(given, map(parameter_value_to_python, values), strict=True)) == given
            ros.wait_until(lambda: all(graph.node.count_subscribers(f'/my/{t}') for t in heard))

            def lift(*what: Any) -> LiftObject.Response:
                service = '/launched/eye/lift_object'
                return graph.call(LiftObject, service, request(*what), ros.PATIENCE)

            assert lift(True).object.scale_source == 'depth'
            ball = lift(False, 'ball').object
            assert ball.scale_source == 'known_size'
            assert max(ball.size.x, ball.size.y, ball.size.z) == pytest.approx(0.1, rel=0.01)
            assert lift(False, 'cup').object.scale_source == 'unknown'

        status, said = run(arguments, ask)
    assert status == 0
    assert '[INFO]' not in said, 'log_level holds for the node in its namespace'


def test_the_launch_file_around_it_gives_namespace_and_tree():
    pytest.importorskip('tf2_ros')
    from geometry_msgs.msg import TransformStamped
    from tf2_msgs.msg import TFMessage

    pose = pose_message(look_at((0.45, 0.0, 0.4), (0.0, 0.0, 0.0)))
    transform = TransformStamped(child_frame_id=ros.FRAME_ID)
    transform.header.frame_id = 'table'
    for name in 'xyz':
        setattr(transform.transform.translation, name, getattr(pose.position, name))
    transform.transform.rotation = pose.orientation
    arguments = {
        'method': 'geometric', 'target_frame': 'table', 'support_plane': 'z = 0',
        'log_level': 'warn',
    }
    names = {f'/{topic}': f'/robot/{topic}' for topic in ('tf', 'tf_static')}
    around = [PushRosNamespace('robot'), *(SetRemap(*pair) for pair in names.items())]
    answers: list[LiftObject.Response] = []
    with ros.Graph() as graph:
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        publisher = graph.node.create_publisher(TFMessage, '/robot/tf_static', latched)
        publisher.publish(TFMessage(transforms=[transform]))

        def lifts() -> bool:
            service = '/robot/lift3d/lift_object'
            answers.append(graph.call(LiftObject, service, request(False), ros.PATIENCE))
            return answers[-1].success

        def ask() -> None:
            ros.wait_until(lambda: is_active(graph, '/robot/lift3d'))
            ros.wait_until(lifts)

        status, said = run(arguments, ask, around)
    assert status == 0
    assert '[INFO]' not in said
    ball = answers[-1].object
    assert (ball.scale_source, ball.header.frame_id) == ('plane', 'table')
    middle = ball.pose.pose.position
    np.testing.assert_allclose([middle.x, middle.y, middle.z], [0.0, 0.0, RADIUS], atol=0.02)


def test_the_demo_writes_its_object_and_ends(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, said = run({'demo': 'true', 'method': 'geometric', 'namespace': 'shown'})
    assert status == 0
    assert 'triangles' in said
    written = {path.suffix for path in (tmp_path / 'demo' / 'out').iterdir()}
    assert written == {'.ply', '.glb', '.json'}


def test_the_demo_ends_with_a_node_that_does_not_start(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = {'demo': 'true', 'output_dir': '/no/such/folder', 'namespace': 'refused'}
    status, said = run(given)
    assert status == 1
    assert '/no/such/folder' in said
    # By itself the demo waits for two minutes, which is longer than a test may take.
