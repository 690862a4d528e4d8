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

"""The launch file gives its node the profile of Fast DDS where none is set, or leaves it out."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip('rclpy')
pytest.importorskip('lift3d_ros.msg')
pytest.importorskip('launch_ros')

from launch.actions import DeclareLaunchArgument
from launch.launch_description_sources import load_python_launch_file_as_module
from launch.utilities import perform_substitutions
from launch_ros.actions import LifecycleNode

from launch import LaunchContext
from lift3d_ros.node import middleware

pytestmark = pytest.mark.ros

FILE = str(Path(__file__).parents[2] / 'launch' / 'lift.launch.py')


def added(**arguments: str) -> dict[str, str]:
    """Return the variables that the launch file adds to the environment of the node."""
    module = load_python_launch_file_as_module(FILE)
    context = LaunchContext()
    context.launch_configurations.update(arguments)
    for entity in module.generate_launch_description().entities:
        if isinstance(entity, DeclareLaunchArgument):
            entity.execute(context)
    node = next(a for a in module.start(context) if isinstance(a, LifecycleNode))
    return {
        perform_substitutions(context, name): perform_substitutions(context, value)
        for name, value in node.process_description.additional_env
    }


@pytest.fixture(autouse=True)
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        'RMW_IMPLEMENTATION', 'FASTDDS_DEFAULT_PROFILES_FILE', 'FASTDDS_BUILTIN_TRANSPORTS',
        'ROS_LOCALHOST_ONLY', middleware.VARIABLE, middleware.SWITCH,
    ):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.skipif(
    middleware.free_shared_memory() < 2 * 67_108_864, reason='too little shared memory'
)
def test_the_node_of_the_launch_file_has_the_profile():
    assert Path(added()[middleware.VARIABLE]).is_file()


def test_the_profile_can_be_switched_off():
    assert added(fastdds_profile='false') == {middleware.SWITCH: 'off'}


def test_a_profile_that_is_set_stays(monkeypatch):
    monkeypatch.setenv('FASTDDS_DEFAULT_PROFILES_FILE', '/own.xml')
    assert added() == {}
