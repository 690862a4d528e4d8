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

"""The configuration that RViz gets follows the names of the node, its topics and its frame."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from lift3d_ros.node.rviz import configuration
from lift3d_ros.node.rviz import parameter_of_file
from lift3d_ros.node.rviz import resolved
from lift3d_ros.node.rviz import write

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = (ROOT / 'config' / 'lift.rviz').read_text()


def topics(text: str) -> dict[str, str]:
    """Return the topic of each display by its name."""
    displays = yaml.safe_load(text)['Visualization Manager']['Displays']
    return {d['Name']: d['Topic']['Value'] for d in displays if 'Topic' in d}


def fixed_frame(text: str) -> Any:
    return yaml.safe_load(text)['Visualization Manager']['Global Options']['Fixed Frame']


def test_without_arguments_the_configuration_is_the_template():
    assert yaml.safe_load(configuration(TEMPLATE)) == yaml.safe_load(TEMPLATE)


@pytest.mark.parametrize(('namespace', 'node', 'image', 'expected'), [
    ('', 'lift3d', 'image', ('/image', '/mask', '/lift3d/markers', '/lift3d/points')),
    ('left', 'eye', '', ('/left/image', '/left/mask', '/left/eye/markers', '/left/eye/points')),
    ('/a/b/', 'eye', '/camera/color/image_raw', (
        '/camera/color/image_raw', '/a/b/mask', '/a/b/eye/markers', '/a/b/eye/points'
    )),
    ('robot', 'lift3d', 'rgb/image', (
        '/robot/rgb/image', '/robot/mask', '/robot/lift3d/markers', '/robot/lift3d/points'
    )),
    ('robot', 'lift3d', '~/image', (
        '/robot/lift3d/image', '/robot/mask', '/robot/lift3d/markers', '/robot/lift3d/points'
    )),
])
def test_topics_follow_namespace_name_and_remaps(namespace, node, image, expected):
    text = configuration(TEMPLATE, namespace=namespace, node=node, topics={'image': image})
    named = tuple(topics(text).values())
    assert named[:4] == expected
    root = expected[2].removesuffix('markers')
    assert named[4:] == (f'{root}scene_marker', f'{root}scene_points')


def test_the_fixed_frame_is_the_target_frame():
    assert fixed_frame(configuration(TEMPLATE, fixed_frame='base_link')) == 'base_link'
    assert fixed_frame(configuration(TEMPLATE)) == 'camera_color_optical_frame'


def test_every_topic_of_the_template_is_one_that_is_replaced():
    moved = topics(configuration(
        TEMPLATE, namespace='x', node='y', topics={'image': '/i', 'mask': '/m'}
    ))
    assert set(moved.values()) == {
        '/i', '/m', '/x/y/markers', '/x/y/points', '/x/y/scene_marker', '/x/y/scene_points'}


def test_the_target_frame_is_found_in_a_params_file():
    def found(text: str, namespace: str = 'a', node: str = 'eye') -> Any:
        return parameter_of_file(text, namespace, node, 'target_frame')

    def section(key: str, frame: str) -> str:
        return f'{key}:\n  ros__parameters:\n    target_frame: {frame}\n'

    assert found((ROOT / 'config' / 'lift.yaml').read_text()) == ''
    for key in ('/**', '/**/eye', '/a/eye', 'a/eye'):
        assert found(section(key, 'base')) == 'base', key
    for key in ('/b/eye', '/a/other', 'eye'):
        assert found(section(key, 'base')) is None, key
    assert found(section('/**', 'base') + section('/a/eye', 'tool')) == 'tool'
    assert found('a:\n  eye:\n    ros__parameters:\n      target_frame: base\n') == 'base'
    assert found(section('eye', 'base'), namespace='') == 'base'
    assert found('') is None


def test_names_are_resolved_as_ros_does():
    assert resolved('image', '', 'lift3d') == '/image'
    assert resolved('/image', 'left', 'lift3d') == '/image'
    assert resolved('~', 'left', 'lift3d') == '/left/lift3d'


def test_the_configuration_is_in_a_file_of_its_own():
    first, second = write('a: 1\n'), write('a: 2\n')
    try:
        assert first != second
        assert first.suffix == '.rviz'
        assert yaml.safe_load(second.read_text()) == {'a': 2}
    finally:
        first.unlink()
        second.unlink()
