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

"""A method that optimises, in a node of another process: its feedback and its pictures."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip('rclpy')
pytest.importorskip('lift3d_ros.msg')

from lifecycle_msgs.msg import Transition
import ros_helpers as ros
from ros_helpers import BALL
from sensor_msgs.msg import Image

pytestmark = pytest.mark.ros

STEPS = 26


@pytest.fixture(scope='module')
def node(graph: ros.Graph) -> Iterator[ros.NodeProcess]:
    node = ros.NodeProcess(graph, 'distilled', method='zero123', distill_steps=STEPS)
    assert node.change(Transition.TRANSITION_CONFIGURE)
    assert not node.has_torch()
    assert node.change(Transition.TRANSITION_ACTIVATE)
    yield node
    node.end_well()


def test_the_action_tells_the_steps_and_views_show_the_field(client, node, graph):
    with graph.listen(Image, node.name('views')) as pictures:
        client.lift(**ros.messages(*BALL))
        told = set()
        while not client.is_done():
            feedback = client.feedback()
            if feedback is not None:
                told.add(feedback.stage)
        result = client.result()
        assert result.success, result.message
        assert result.result.objects[0].method == 'zero123'
        # The view of the input camera and one beside it.
        ros.wait_until(lambda: any(p.width == 2 * p.height for p in pictures))
    assert any(stage.startswith(f'optimise: step 25 of {STEPS}, loss ') for stage in told)


def test_presets_and_starts_that_do_not_exist_are_refused(node):
    for name, value in (
        ('distill_preset', 'large'), ('distill_init', 'nothing'), ('distill_preset', 'gpu'),
    ):
        assert not node.set_parameter(name, value).successful
