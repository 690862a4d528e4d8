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

"""Scale without depth, by the parameters of the node."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip('rclpy')
pytest.importorskip('lift3d_ros.msg')

from lifecycle_msgs.msg import Transition
import ros_helpers as ros
from sensor_msgs.msg import Image

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import look_at
from lift3d_ros.lifter import Lifter
from lift3d_ros.messages.geometry import pose_matrix
from lift3d_ros.msg import ObjectSelector
from lift3d_ros.node.lifting.frames import FrameReader
from lift3d_ros.node.lifting.pipeline import LiftingPipeline
from lift3d_ros.node.lifting.query import Outcome
from lift3d_ros.node.lifting.query import Query
from lift3d_ros.node.messages.synced import SyncedMessages
from lift3d_ros.node.parameters.scale import parse_plane_height
from lift3d_ros.node.parameters.settings import Settings
from lift3d_ros.node.parameters.settings import SPECS
from lift3d_ros.srv import LiftObject

pytestmark = pytest.mark.ros

RADIUS = 0.05
BALL = ros.table_scene((0.0, 0.0, RADIUS))

#: Where the camera of the scene is, and where it sees the middle of the ball.
T_TABLE_CAMERA = look_at((0.45, 0.0, 0.4), (0.0, 0.0, 0.0))
DISTANCE = float(np.linalg.norm([0.45, 0.0, 0.4 - RADIUS]))


@pytest.fixture(scope='module')
def node(graph: ros.Graph) -> Iterator[ros.NodeProcess]:
    with ros.running(
        graph, 'placement', '--autostart', use_depth=False, known_sizes=['ball: 0.1', 'mug: 0.2']
    ) as node:
        yield node


def without_depth(class_id: str) -> LiftObject.Request:
    fields = {**ros.messages(*BALL), 'depth': Image()}
    selector = ObjectSelector(mode=ObjectSelector.LARGEST, class_id=class_id)
    return LiftObject.Request(selector=selector, **fields)


def distance(answer: LiftObject.Response) -> float:
    return float(np.linalg.norm(pose_matrix(answer.object.pose.pose)[:3, 3]))


def test_an_object_of_a_class_with_a_known_size_is_at_its_distance(node):
    answer = node.lift(without_depth('ball'))
    assert answer.success, answer.message
    assert answer.object.scale_source == 'known_size'
    assert 0.0 < answer.object.scale_stddev < 0.2
    assert distance(answer) == pytest.approx(DISTANCE, rel=0.15)
    other = node.lift(without_depth('mug'))
    assert distance(other) == pytest.approx(2.0 * distance(answer), rel=0.01)


def test_a_class_without_a_size_has_no_scale_and_says_so(node):
    answer = node.lift(without_depth('cup'))
    assert answer.success, answer.message
    assert (answer.object.scale_source, answer.object.scale_stddev) == ('unknown', 1.0)
    assert 'The class "cup" has no known size; known_sizes has ball, mug.' in answer.message


def test_depth_goes_first_and_doubts_another_size(node):
    answer = node.lift(
        LiftObject.Request(selector=ObjectSelector(mode=1, class_id='mug'), **ros.messages(*BALL))
    )
    assert answer.success, answer.message
    assert answer.object.scale_source == 'depth'
    assert 'its known size is 0.200 m' in answer.message


def test_the_plane_around_a_transparent_object_gives_its_scale_where_that_is_wanted(node):
    frame, labels = BALL
    clear = replace(frame, depth=np.where(labels > 0, np.float32(0.0), frame.depth))
    request = LiftObject.Request(**ros.messages(clear, labels))
    assert node.lift(request).error_code == 'NO_DEPTH_IN_MASK'
    try:
        assert node.set_parameter('scale_order', ['depth', 'plane']).successful
        answer = node.lift(request)
    finally:
        assert node.set_parameter('scale_order', SPECS['scale_order'].default).successful
    assert answer.success, answer.message
    assert answer.object.scale_source == 'plane'
    assert 'readings inside the mask' in answer.message
    assert distance(answer) == pytest.approx(DISTANCE, rel=0.15)


@pytest.mark.parametrize(('name', 'value', 'words'), [
    ('known_sizes', ['mug: 0'], 'known size is 0 m'),
    ('known_sizes', ['mug'], 'class: metres'),
    ('scale_order', ['depth', 'tape measure'], 'tape measure'),
    ('scale_order', ['unknown', 'depth'], 'unknown last'),
    ('support_plane', 'the floor', 'z = HEIGHT'),
])
def test_a_value_without_meaning_is_refused_with_a_sentence(node, name, value, words):
    answer = node.set_parameter(name, value)
    assert not answer.successful
    assert words in answer.reason


def test_such_a_value_ends_the_start_with_a_sentence(graph):
    node = ros.NodeProcess(graph, 'no_size', known_sizes=['mug: 0'])
    node.log, _ = node.process.communicate(timeout=ros.PATIENCE)
    assert node.process.returncode == 2
    assert 'known size is 0 m' in node.log
    assert 'Traceback' not in node.log, node.log


def test_a_plane_needs_the_frame_that_it_is_in(graph):
    node = ros.NodeProcess(graph, 'no_frame', support_plane='z = 0')
    assert not node.change(Transition.TRANSITION_CONFIGURE)
    assert node.set_parameter('support_plane', '').successful
    assert node.change(Transition.TRANSITION_CONFIGURE)
    assert node.stop() == 0
    assert 'set target_frame' in node.log


@pytest.mark.parametrize(('text', 'height'), [
    ('', None), ('z = 0', 0.0), (' z=-0.25 ', -0.25), ('z = 7.5e-1', 0.75),
])
def test_the_plane_is_named_by_its_height(text, height):
    assert parse_plane_height(text) == height


# The plane in target_frame; tf2 is not needed to know what it tells.


class Tree:
    """A tree in which the camera is where the scene has it, over a table at a height."""

    def __init__(self, height: float) -> None:
        self.T = T_TABLE_CAMERA.copy()
        self.T[2, 3] += height

    def lookup(self, target, source, stamp, timeout):
        return self.T

    def gravity(self, frame, source, stamp, timeout):
        return -self.T[2, :3]


def lifted_over(plane: str, height: float = 0.0) -> Outcome:
    """Return what comes of the ball without depth, on a table at a height of the base."""
    values = {name: spec.default for name, spec in SPECS.items()}
    settings = Settings(**{
        **values, 'method': 'geometric', 'target_frame': 'base', 'support_plane': plane,
    })
    made = ros.messages(*BALL)
    observation = SyncedMessages(made['image'], made['camera_info'], None, made['mask'])
    lifter = Lifter('geometric')
    return LiftingPipeline().lift(
        observation,
        Query(ObjectSelector(mode=ObjectSelector.LARGEST), 'geometric', 0),
        FrameReader(settings, Tree(height)),
        lambda method: lifter,
        report=lambda *progress: None,
        cancelled=lambda: False,
        deadline=None,
    )


def test_on_the_plane_of_target_frame_an_object_has_its_scale_and_place():
    outcome = lifted_over('z = 0.75', 0.75)
    assert outcome.error is None
    lifted = outcome.lifted[0]
    assert lifted.header.frame_id == 'base'
    assert lifted.shape.scale_source == 'plane'
    np.testing.assert_allclose(lifted.T_frame_object[:3, 3], [0.0, 0.0, 0.75 + RADIUS], atol=0.03)
    low = lifted.T_frame_object[2, 3] - 0.5 * lifted.shape.size[2]
    assert low == pytest.approx(0.75, abs=0.005)


def test_a_plane_over_the_camera_is_refused():
    with pytest.raises(LiftError, match='below the support plane') as caught:
        lifted_over('z = 0.9')
    assert caught.value.code is ErrorCode.BAD_REQUEST


def test_the_notes_of_a_shape_are_warnings(monkeypatch):
    lift_all = Lifter.lift_all

    def noted(self, *arguments, **options):
        shapes = lift_all(self, *arguments, **options)
        return [replace(shape, notes=('It may be glass.',)) for shape in shapes]

    monkeypatch.setattr(Lifter, 'lift_all', noted)
    assert any('It may be glass.' in warning for warning in lifted_over('z = 0').warnings)
