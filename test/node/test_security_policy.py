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

"""The policy of SROS 2 allows what a running node does, and nothing that it never does."""

from __future__ import annotations

from pathlib import Path
import re
from xml.etree import ElementTree

import pytest

pytest.importorskip('rclpy')
pytest.importorskip('lift3d_ros.msg')

import ros_helpers as ros

pytestmark = pytest.mark.ros

ROOT = Path(__file__).resolve().parents[2]

#: What depends on parameters, on other packages or on the transport of images.
OPTIONAL = {
    'subscribe': {'image/compressed', 'depth/compressedDepth', 'mask/compressed', 'detections',
                  '/tf', '/tf_static', '/clock'},
    'publish': {'~/detections', 'collision_object', '/tf'},
    'reply': set(),
    'execute': set(),
}


@pytest.fixture(scope='module')
def allowed() -> dict[str, set[str]]:
    """Return the names that the policy allows, by what it allows."""
    tree = ElementTree.parse(ROOT / 'config' / 'lift.policy.xml').getroot()
    assert tree.get('version') == '0.2.0'
    (profile,) = tree.iter('profile')
    assert (profile.get('ns'), profile.get('node')) == ('/', 'lift3d')
    return {
        kind: {entry.text for entry in group}
        for group in profile for kind, rule in group.items() if rule == 'ALLOW'
    }


@pytest.fixture(scope='module')
def used() -> dict[str, set[str]]:
    """Return the names that a node with its options uses."""
    with ros.Graph() as graph:
        node = ros.NodeProcess(
            graph, 'policy', '--autostart', use_imu=True, introspection='metadata')
        node.wait_until_active()
        names = {}
        for kind, ask in (
            ('subscribe', graph.node.get_subscriber_names_and_types_by_node),
            ('publish', graph.node.get_publisher_names_and_types_by_node),
            ('reply', graph.node.get_service_names_and_types_by_node),
        ):
            wanted = 'imu' if kind == 'subscribe' else 'lift_object'
            ros.wait_until(lambda: any(  # noqa: B023
                wanted in name for name, _ in ask('lift3d', '/policy')))  # noqa: B023
            names[kind] = {
                name.replace('/policy/lift3d/', '~/').replace('/policy/', '')
                for name, _ in ask('lift3d', '/policy')}
        assert node.stop() == 0
    actions = {re.match(r'(.*)/_action/', name)[1] for name in names['reply'] if '_action' in name}
    return {
        **{kind: {name for name in found if '/_action/' not in name}
           for kind, found in names.items()},
        'execute': actions,
    }


@pytest.mark.parametrize('kind', OPTIONAL)
def test_the_policy_allows_what_the_node_does(allowed, used, kind):
    assert used[kind] <= allowed[kind]


@pytest.mark.parametrize('kind', OPTIONAL)
def test_the_policy_allows_nothing_else(allowed, used, kind):
    assert allowed[kind] - OPTIONAL[kind] <= used[kind]
