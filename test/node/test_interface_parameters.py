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

"""Parameters as people write them: empty lists, whole numbers for floats, wrong types."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
import os
from pathlib import Path
import subprocess
import sys
from typing import Any

import pytest
import yaml

pytest.importorskip('rclpy')
pytest.importorskip('lift3d_ros.msg')

from rcl_interfaces.msg import Parameter as ParameterMsg
from rcl_interfaces.msg import ParameterType
from rcl_interfaces.msg import ParameterValue
from rcl_interfaces.msg import SetParametersResult
from rcl_interfaces.srv import GetParameters
from rcl_interfaces.srv import SetParameters
import rclpy
from rclpy.parameter import Parameter
from rclpy.parameter import parameter_value_to_python
import ros_helpers as ros

from lift3d_ros.node.node import LiftNode
from lift3d_ros.node.parameters.settings import SPECS

pytestmark = pytest.mark.ros

LISTS = [name for name, spec in SPECS.items() if isinstance(spec.default, list)]

#: Empty lists and lists of one empty text: what each list parameter makes of them.
EMPTY_IS_GOOD = {'known_sizes'}

WRONG_LISTS = ['[1, 2]', '[1.5]', '[true]', 'mug', '5', 'true', "['no such thing']"]


@pytest.fixture(scope='module')
def node(graph: ros.Graph) -> Iterator[ros.NodeProcess]:
    with ros.running(graph, 'parameters', '--autostart') as node:
        yield node


def start(graph: ros.Graph, *words: str) -> tuple[Any, str]:
    """
    Start a node in this process with arguments of its own after ``--ros-args``.

    Return its settings, or None and the sentence with which it was refused. The nodes share the
    context of the graph, and with it one participant: a hundred participants that come and go
    in one process let Fast DDS wait without an end now and then.
    """
    try:
        node = LiftNode(context=graph.context, cli_args=['--ros-args', *words])
    except ValueError as error:
        return None, str(error)
    try:
        return node.settings, ''
    finally:
        node.destroy_node()


@pytest.fixture(params=['file', 'command line'])
def given(
    request: pytest.FixtureRequest, graph: ros.Graph, tmp_path: Path
) -> Callable[[str, str], tuple[Any, str]]:
    """Start a node with a value of a parameter from a file or from the command line."""
    def of_file(name: str, value: str) -> tuple[Any, str]:
        file = tmp_path / 'params.yaml'
        file.write_text(f'/**:\n  ros__parameters:\n    {name}: {value}\n')
        return start(graph, '--params-file', str(file))

    def of_command_line(name: str, value: str) -> tuple[Any, str]:
        return start(graph, '-p', f'{name}:={value}')

    return of_file if request.param == 'file' else of_command_line


def test_the_lists_are_those_that_the_tests_know():
    assert LISTS == ['known_sizes', 'scale_order']


@pytest.mark.parametrize('name', LISTS)
@pytest.mark.parametrize('value', ['[]', "['']", "['', '']"])
def test_an_empty_list_is_an_empty_list(given, name, value):
    settings, sentence = given(name, value)
    if name in EMPTY_IS_GOOD:
        assert getattr(settings, name) == yaml.safe_load(value)
    else:
        assert settings is None
        assert name in sentence
        assert 'unknown alone' in sentence


@pytest.mark.parametrize('name', LISTS)
@pytest.mark.parametrize('value', WRONG_LISTS)
def test_a_list_of_another_type_is_refused_with_one_sentence(given, name, value):
    settings, sentence = given(name, value)
    assert settings is None
    assert sentence.startswith(f'"{name}"')
    assert '\n' not in sentence
    assert sentence[-1] == '.'


@pytest.mark.parametrize(('name', 'value', 'read'), [
    ('timeout', '5', 5.0),
    ('max_rate', '0', 0.0),
    ('depth_unit', '1', 1.0),
    ('views_assumed_elevation', '-91', -91.0),
    ('scale_order', '[unknown]', ['unknown']),
    ('scale_order', "[depth, '', plane]", ['depth', '', 'plane']),
    ('known_sizes', "['mug: 0.1']", ['mug: 0.1']),
    ('introspection', 'off', 'off'),
    ('introspection', 'contents', 'contents'),
])
def test_a_value_of_a_related_type_is_read(given, name, value, read):
    settings, sentence = given(name, value)
    assert settings is not None, sentence
    assert getattr(settings, name) == read
    assert type(getattr(settings, name)) is type(read)


#: One of each type.
SOME = ['mode', 'samples', 'timeout', 'use_depth', 'target_frame', 'known_sizes']


@pytest.mark.parametrize('name', SOME)
@pytest.mark.parametrize('value', ['[]', '[1, 2]', '[1.0]', '3', '2.5', 'true', 'words', '.nan'])
def test_no_value_of_any_parameter_has_another_effect_than_a_value_or_a_sentence(
    given, name, value
):
    settings, sentence = given(name, value)
    if settings is None:
        assert f'"{name}"' in sentence
        assert '\n' not in sentence
    else:
        assert type(getattr(settings, name)) is type(SPECS[name].default)


@pytest.mark.parametrize('name', SPECS)
def test_every_parameter_says_what_is_wrong_with_a_value(name):
    spec = SPECS[name]
    assert spec.validation_error(spec.default) == ''
    wrong = [None, 3, -1e9, 'no such word', True, b'a', [1], [b'a'], [True], [1.5], ['none such']]
    for value in wrong:
        sentence = spec.validation_error(value)
        related = type(value) is type(spec.default) or (
            isinstance(spec.default, float) and value == 3
        )
        assert sentence or related or name == 'known_sizes', (name, value)
        assert not sentence or (f'"{name}"' in sentence and sentence[-1] == '.')


@pytest.mark.parametrize(('name', 'value'), [
    ('known_sizes', '[3]'), ('scale_order', '[]'), ('timeout', 'soon'), ('timeout', '[]'),
    ('use_depth', '1'), ('seed', '1.5'), ('target_frame', '7'), ('timeout', '.inf'),
    ('max_age', '-1'), ('introspection', 'all'),
])
def test_the_command_ends_with_one_sentence_and_status_2(name, value):
    done = subprocess.run(
        [sys.executable, '-m', 'lift3d_ros.node', '--ros-args', '-p', f'{name}:={value}'],
        capture_output=True,
        text=True,
        env={**os.environ, 'RCUTILS_COLORIZED_OUTPUT': '0'},
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert name in done.stderr
    assert 'Traceback' not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr


def set_message(node: ros.NodeProcess, name: str, **fields: Any) -> SetParametersResult:
    """Set a parameter to a value of any type, as ``ros2 param set`` does."""
    message = ParameterMsg(name=name, value=ParameterValue(**fields))
    request = SetParameters.Request(parameters=[message])
    return node.graph.call(SetParameters, node.name('set_parameters'), request).results[0]


def value_of(node: ros.NodeProcess, name: str) -> Any:
    request = GetParameters.Request(names=[name])
    answer = node.graph.call(GetParameters, node.name('get_parameters'), request)
    return parameter_value_to_python(answer.values[0])


@pytest.mark.parametrize('kind', [
    'BYTE_ARRAY', 'BOOL_ARRAY', 'INTEGER_ARRAY', 'DOUBLE_ARRAY', 'STRING_ARRAY',
])
def test_an_empty_list_of_any_type_is_set_live(node, kind):
    assert node.set_parameter('known_sizes', ['mug: 0.1']).successful
    empty = getattr(ParameterType, f'PARAMETER_{kind}')
    answer = set_message(node, 'known_sizes', type=empty)
    assert answer.successful, answer.reason
    assert value_of(node, 'known_sizes') == []
    refused = set_message(node, 'scale_order', type=empty)
    assert not refused.successful
    assert 'unknown alone' in refused.reason
    assert value_of(node, 'scale_order') == SPECS['scale_order'].default


@pytest.mark.parametrize('name', LISTS)
@pytest.mark.parametrize('fields', [
    {'type': ParameterType.PARAMETER_STRING, 'string_value': 'mug: 0.1'},
    {'type': ParameterType.PARAMETER_INTEGER_ARRAY, 'integer_array_value': [1, 2]},
    {'type': ParameterType.PARAMETER_DOUBLE_ARRAY, 'double_array_value': [1.0]},
    {'type': ParameterType.PARAMETER_BOOL, 'bool_value': True},
    {'type': ParameterType.PARAMETER_NOT_SET},
])
def test_a_list_of_another_type_is_refused_live(node, name, fields):
    before = value_of(node, name)
    answer = set_message(node, name, **fields)
    assert not answer.successful
    assert answer.reason.startswith(f'"{name}"')
    assert value_of(node, name) == before


def test_a_whole_number_is_set_live_where_a_float_is_asked(node):
    assert node.set_parameter('timeout', 30).successful
    assert value_of(node, 'timeout') == 30.0
    assert isinstance(value_of(node, 'timeout'), float)
    assert not node.set_parameter('seed', 2.0).successful
    assert node.set_parameter('timeout', Parameter('x', value=60.0).value).successful


def test_parameters_that_go_together_are_set_all_or_none(graph):
    context = rclpy.Context()
    rclpy.init(context=context)
    node = LiftNode(context=context)
    try:
        both = [Parameter('timeout', value=7), Parameter('samples', value='many')]
        answer = node.set_parameters_atomically(both)
        assert not answer.successful
        assert answer.reason.startswith('"samples"')
        assert node.settings.timeout == SPECS['timeout'].default
        assert node.set_parameters_atomically(both[:1]).successful
        assert node.settings.timeout == 7.0
    finally:
        node.destroy_node()
        context.try_shutdown()


def test_the_reference_has_a_row_for_every_parameter():
    done = subprocess.run(
        [sys.executable, '-m', 'lift3d_ros.node.parameters', '--markdown'],
        capture_output=True,
        text=True,
        check=True,
    )
    rows = [line.split(' | ')[0] for line in done.stdout.splitlines()[2:]]
    assert rows == [f'| `{name}`' for name in SPECS]
    assert len({line.count(' | ') for line in done.stdout.splitlines()}) == 1
