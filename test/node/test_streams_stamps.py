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

"""Streams without usable stamps: results go on, and the diagnostics name what is odd."""

from __future__ import annotations

from collections.abc import Iterator
import time

import pytest

pytest.importorskip('rclpy')
pytest.importorskip('lift3d_ros.msg')

from rclpy.qos import DurabilityPolicy
from rclpy.qos import QoSProfile
import ros_helpers as ros
import stream_helpers as streams

from lift3d_ros.messages.conversions import nanoseconds
from lift3d_ros.msg import LiftedObjectArray
from lift3d_ros.node.inputs.synchronizer import Synchronizer
from lift3d_ros.srv import LiftObject

pytestmark = pytest.mark.ros

SECOND = 1_000_000_000
MILLISECOND = 1_000_000
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


@pytest.fixture
def node(graph: ros.Graph, kind: str) -> Iterator[ros.NodeProcess]:
    # One for each kind of stamps, so that no frame of another kind is under way.
    with ros.running(
        graph, kind.replace(' ', '_'), '--autostart', mode='continuous', diagnostics_period=0.2,
        max_faces=1000,
    ) as node:
        yield node


# --- on a graph ---

@pytest.mark.parametrize(('kind', 'words'), [
    ('zero', 'image has no stamps'),
    ('repeated', 'image repeats its stamps'),
    ('backwards', 'image has stamps that go back'),
    ('zero mask', 'mask has no stamps'),
])
def test_a_stream_without_usable_stamps_goes_on(graph, node, kind, words):
    before = time.time_ns()
    with (
        graph.listen(LiftedObjectArray, node.name('objects'), LATCHED) as heard,
        streams.camera(
            node.namespace, '--stamps', kind, '--count', '1000', '--period', '0.1', '--wait'
        ) as process,
    ):
        def found() -> list[int]:
            return [nanoseconds(array.header.stamp) for array in heard if array.objects]

        ros.wait_until(lambda: len(found()) >= 6)
        ros.wait_until(lambda: words in node.status('input')[0])
        # A request publishes its frame, too, which may be the last one of the stream.
        streamed = found()
        newest = node.lift(LiftObject.Request())
        process.kill()
    assert newest.success, newest.message
    if kind in ('zero', 'zero mask'):
        assert streamed == sorted(set(streamed))
        assert min(streamed) > before
        assert before < nanoseconds(newest.object.header.stamp) < time.time_ns()
    if kind == 'repeated':
        assert len(set(streamed)) == 1


def test_a_good_stream_is_not_said_to_be_odd(graph):
    with (
        ros.running(graph, 'good', '--autostart', diagnostics_period=0.2) as node,
        streams.camera('good', '--count', '1000', '--period', '0.05', '--wait') as process,
    ):
        ros.wait_until(lambda: node.status('input')[0] == 'receiving')
        received = int(node.status('input')[1]['image: received'])
        ros.wait_until(
            lambda: int(node.status('input')[1]['image: received']) > received + 50
        )
        assert node.status('input')[0] == 'receiving'
        process.kill()


# --- the synchroniser by itself ---

def synchronizer() -> Synchronizer:
    return Synchronizer('mask', ('image',), tolerance=0.1)


def test_of_repeated_stamps_the_newest_data_wins():
    topics = synchronizer()
    for k in range(4):
        now = k * SECOND // 5
        topics.add('image', SECOND, f'image {k}', published=now + 1)
        match = topics.add('mask', SECOND, f'mask {k}', published=now + 2 * MILLISECOND)
        assert match is not None
        assert dict(match.messages) == {'image': f'image {k}', 'mask': f'mask {k}'}


def test_a_repeated_mask_waits_for_its_own_image():
    topics = synchronizer()
    for k in range(2):
        topics.add('image', SECOND, f'image {k}', published=SECOND * k + 1)
        topics.add('mask', SECOND, f'mask {k}', published=SECOND * k + 2)
    assert topics.add('mask', SECOND, 'mask 2', published=2 * SECOND + 2) is None
    match = topics.add('image', SECOND, 'image 2', published=2 * SECOND + 1)
    assert match is not None
    assert (match.get('image'), match.get('mask')) == ('image 2', 'mask 2')


def test_messages_without_stamps_meet_by_publication():
    topics = synchronizer()
    for k in range(3):
        topics.add('image', SECOND + k, f'image {k}', unstamped=True, published=SECOND * (k + 1))
    late = SECOND * 2 + 30 * MILLISECOND
    match = topics.add('mask', SECOND + 9, 'mask', unstamped=True, published=late)
    if match is None:
        time.sleep(0.11)
        match = topics.settle()
    assert match is not None
    assert match.get('image') == 'image 1'


def test_a_mask_without_a_stamp_that_took_long_meets_the_image_before_it():
    topics = synchronizer()
    for k in range(3):
        topics.add('image', SECOND + k, f'image {k}', unstamped=True, published=SECOND * (k + 1))
    late = SECOND * 3 + 400 * MILLISECOND
    assert topics.add('mask', SECOND + 9, 'mask', unstamped=True, published=late) is None
    time.sleep(0.11)
    match = topics.settle()
    assert match is not None
    assert match.get('image') == 'image 2'


def test_messages_without_stamps_that_never_meet_are_named():
    topics = synchronizer()
    topics.add('image', SECOND, 'image', unstamped=True, published=SECOND)
    time.sleep(1.1)
    topics.add('mask', 3 * SECOND, 'mask', unstamped=True, published=3 * SECOND)
    time.sleep(0.11)
    assert topics.settle() is None
    assert 'mask and image have no stamps' in topics.unmatched_reason()


def test_what_only_had_to_wait_is_found():
    topics = synchronizer()
    topics.add('image', 10 * SECOND, 'image')
    assert topics.add('mask', 10 * SECOND + 20 * MILLISECOND, 'mask') is None
    assert topics.settle() is None
    time.sleep(0.11)
    assert topics.settle().get('image') == 'image'
    assert topics.settle() is None


def test_one_overtaken_mask_is_not_followed_and_many_are():
    topics = synchronizer()
    for k in range(8):
        topics.add('image', (100 + k) * 100 * MILLISECOND, f'image {k}')
    order = [5, 4, 6, 5, 4, 3, 2, 1]
    matched = [
        topics.add('mask', (100 + k) * 100 * MILLISECOND, f'mask {k}') is not None for k in order
    ]
    assert matched == [True, False, True, False, False, True, True, True]
    assert ('mask', 'reversed') in topics.irregularities()


def test_a_message_that_is_replayed_is_no_jump_of_the_clock():
    topics = synchronizer()
    topics.add('image', 100 * SECOND, 'image')
    topics.add('mask', 50 * SECOND, 'old', replayed=True)
    match = topics.add('mask', 100 * SECOND, 'mask')
    assert match is not None
    topics.add('mask', 60 * SECOND, 'older', replayed=True)
    assert topics.jumps == 0
    assert topics.newest().get('mask') == 'mask'


def test_stamps_that_come_back_after_zeros_are_followed():
    topics = synchronizer()
    topics.add('image', 100 * SECOND, 'a', unstamped=True)
    topics.add('mask', 100 * SECOND, 'a', unstamped=True)
    topics.add('image', 5 * SECOND, 'b')
    match = topics.add('mask', 5 * SECOND, 'b')
    assert match is not None
    assert match.stamp == 5 * SECOND
