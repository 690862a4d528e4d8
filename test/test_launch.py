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

"""The launch file: it starts the node with its arguments, and the node answers."""

from __future__ import annotations

from pathlib import Path
import threading

import pytest

pytest.importorskip('rclpy')
pytest.importorskip('lift3d_ros.msg')
pytest.importorskip('launch_ros')

from launch.actions import DeclareLaunchArgument
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
import ros_helpers as ros

from launch import LaunchDescription
from launch import LaunchService
from lift3d_ros.srv import LiftObject

pytestmark = pytest.mark.ros

FILE = str(Path(__file__).parents[1] / 'launch' / 'lift.launch.py')


def test_every_argument_has_a_description():
    description = PythonLaunchDescriptionSource(FILE).try_get_launch_description_without_context()
    arguments = [e for e in description.entities if isinstance(e, DeclareLaunchArgument)]
    names = {argument.name for argument in arguments}
    assert names >= {
        'image', 'camera_info', 'mask', 'depth', 'detections', 'target_frame', 'method', 'weights',
        'samples',
        'params_file', 'namespace', 'use_sim_time', 'autostart', 'rviz', 'demo', 'log_level',
    }
    for argument in arguments:
        assert argument.description not in ('', 'no description given'), argument.name


def test_the_launched_node_lifts():
    arguments = {'namespace': 'launched', 'image': '/my/image', 'method': 'geometric'}
    service = LaunchService()
    service.include_launch_description(LaunchDescription([
        IncludeLaunchDescription(
            PythonLaunchDescriptionSource(FILE), launch_arguments=arguments.items()
        )
    ]))
    with ros.Graph() as graph:

        def ask() -> None:
            try:
                ros.wait_until(lambda: _is_active(graph))
                request = LiftObject.Request(**ros.messages(*ros.table_scene((0.0, 0.0, 0.05))))
                name = '/launched/lift3d/lift_object'
                answers.append(graph.call(LiftObject, name, request, ros.PATIENCE))
                listened.append(graph.node.count_subscribers('/my/image'))
            finally:
                service.shutdown()

        answers: list[LiftObject.Response] = []
        listened: list[int] = []
        asking = threading.Thread(target=ask)
        asking.start()
        # Signals and processes bind the service to the main thread.
        status = service.run()
        asking.join()
    assert status == 0
    assert answers[0].success, answers[0].message
    assert listened == [1]


def _is_active(graph: ros.Graph) -> bool:
    try:
        return graph.lifecycle_state('/launched/lift3d', 2.0) == 'active'
    except TimeoutError:
        return False
