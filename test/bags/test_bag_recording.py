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

"""Which messages of a bag belong together: topics, stamps, runs of the clock, transforms."""

from __future__ import annotations

from bag_helpers import FRAME
from bag_helpers import IMAGE
from bag_helpers import INFO
from bag_helpers import MASK
from bag_helpers import SECOND
from bag_helpers import SmallBag
from bag_helpers import transform_message
import numpy as np
import pytest

from lift3d_ros.bags.bag import Bag
from lift3d_ros.bags.message_types import RosbagTypes
from lift3d_ros.bags.recording import read_recording
from lift3d_ros.bags.recording import select
from lift3d_ros.bags.topics import choose_topics
from lift3d_ros.bags.transforms import TransformBuffer
from lift3d_ros.bags.writer import BagWriter
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import look_at
from lift3d_ros.geometry import rigid


@pytest.fixture
def record(tmp_path):
    """Return a function that writes a bag by a function of ``SmallBag``, and opens it."""
    opened = []

    def made(write):
        path = tmp_path / f'bag{len(opened)}.mcap'
        with BagWriter(path) as writer:
            write(SmallBag(writer))
        opened.append(Bag(path))
        return opened[-1]

    yield made
    for bag in opened:
        bag.close()


def code_of(function, *arguments, **options):
    with pytest.raises(LiftError) as caught:
        function(*arguments, **options)
    return caught.value.code


# --- topics -------------------------------------------------------------------------------------


def test_topics_are_found_by_type_and_encoding(record):
    def write(bag):
        bag.frame(SECOND)
        bag.picture('/depth/image_rect', SECOND, '16UC1')
        bag.info('/depth/camera_info', SECOND)

    topics = choose_topics(record(write))
    assert (topics.image, topics.mask, topics.camera_info) == (IMAGE, MASK, INFO)
    assert topics.depth == '/depth/image_rect'
    assert topics.depth_camera_info == '/depth/camera_info'
    assert topics.detections is None
    assert choose_topics(record(write), use_depth=False).depth is None


@pytest.mark.parametrize(('second', 'encoding'), [
    ('/left/image_rect', 'rgb8'), ('/other_mask', 'mono8'),
])
def test_two_candidates_are_refused_and_the_option_decides(record, second, encoding):
    def write(bag):
        bag.frame(SECOND)
        bag.picture(second, SECOND, encoding)

    bag = record(write)
    assert code_of(choose_topics, bag) is ErrorCode.BAD_REQUEST
    option = 'image' if encoding == 'rgb8' else 'mask'
    topics = choose_topics(bag, **{option: second})
    assert getattr(topics, option) == second
    if encoding == 'rgb8':
        # It has no camera_info beside it, and there is only one.
        assert topics.camera_info == INFO


@pytest.mark.parametrize('option', ['image', 'mask', 'depth', 'camera_info', 'detections'])
def test_a_topic_that_is_missing_or_of_another_type_is_refused(record, option):
    bag = record(lambda bag: bag.frame(SECOND))
    other = INFO if option != 'camera_info' else IMAGE
    for name in ('/nothing', other):
        assert code_of(choose_topics, bag, **{option: name}) is ErrorCode.BAD_REQUEST


def test_a_bag_without_camera_info_is_refused(record):
    def write(bag):
        bag.picture(IMAGE, SECOND)
        bag.picture(MASK, SECOND, 'mono8')

    assert code_of(choose_topics, record(write)) is ErrorCode.NO_CAMERA


@pytest.mark.parametrize('missing', [IMAGE, MASK])
def test_a_bag_without_image_or_mask_is_refused(record, missing):
    def write(bag):
        bag.info(INFO, SECOND)
        for topic, encoding in ((IMAGE, 'rgb8'), (MASK, 'mono8')):
            if topic != missing:
                bag.picture(topic, SECOND, encoding)

    assert code_of(choose_topics, record(write)) is ErrorCode.BAD_REQUEST


# --- stamps -------------------------------------------------------------------------------------


def recording_of(bag, tolerance=0.05, **options):
    return read_recording(bag, choose_topics(bag, **options), tolerance)


def test_a_mask_belongs_to_the_nearest_image_and_to_no_other(record):
    def write(bag):
        for number in range(10):
            bag.picture(IMAGE, SECOND + number * SECOND // 30)
            bag.info(INFO, SECOND + number * SECOND // 30)
        # A segmenter at a tenth of the rate, whose results arrive late.
        bag.picture(MASK, SECOND + 5 * SECOND // 30, 'mono8', time=2 * SECOND)

    instants = recording_of(record(write)).instants
    assert [instant.stamp for instant in instants] == [SECOND + 5 * SECOND // 30]
    assert instants[0].notes == ()


def test_a_mask_at_another_stamp_is_noted(record):
    def write(bag):
        bag.picture(IMAGE, SECOND)
        bag.info(INFO, SECOND)
        bag.picture(MASK, SECOND + SECOND // 50, 'mono8')

    bag = record(write)
    instant, = recording_of(bag).instants
    assert len(instant.notes) == 1
    assert code_of(recording_of, bag, 0.01) is ErrorCode.BAD_REQUEST


def test_images_without_their_depth_are_left_out_and_counted(record):
    def write(bag):
        for second in (1, 2, 3):
            bag.frame(second * SECOND)
            if second != 2:
                bag.picture('/depth', second * SECOND, '16UC1')

    recording = recording_of(record(write))
    assert [instant.stamp for instant in recording.instants] == [SECOND, 3 * SECOND]
    assert len(recording.notes) == 1


def test_the_camera_info_is_the_last_one_before_the_image(record):
    def write(bag):
        # Latched: once, and again after the zoom has changed.
        for second in (0, 3):
            bag.info(INFO, second * SECOND + 1)
        for second in (1, 2, 4):
            bag.picture(IMAGE, second * SECOND)
            bag.picture(MASK, second * SECOND, 'mono8')

    bag = record(write)
    infos = [instant.camera_info.time for instant in recording_of(bag).instants]
    assert infos == [1, 1, 3 * SECOND + 1]


def test_messages_without_a_stamp_have_the_time_of_their_reception(record):
    def write(bag):
        for second in (1, 2):
            bag.frame(0, time=second * SECOND)

    recording = recording_of(record(write))
    assert [instant.stamp for instant in recording.instants] == [SECOND, 2 * SECOND]
    assert len(recording.notes) == 1


def test_a_clock_that_is_set_back_begins_a_new_run(record):
    """Stamps occur twice then, and the transforms of the first run are not those of the second."""
    first, second = rigid(np.eye(3), [1.0, 0.0, 0.0]), rigid(np.eye(3), [0.0, 5.0, 0.0])

    def write(bag):
        bag.transform('world', 'base', 1, rigid(np.eye(3), [0.0, 0.0, 2.0]), static=True)
        time = 0
        for T in (first, second):
            for number in range(20):
                time += SECOND // 2
                stamp = 100 * SECOND + number * SECOND // 2
                bag.transform('base', FRAME, stamp, T, time=time)
                bag.frame(stamp, time=time)

    recording = recording_of(record(write))
    assert [instant.run for instant in recording.instants] == [0] * 20 + [1] * 20
    assert len(recording.transforms) == 2
    for instant in recording.instants:
        T = recording.transforms[instant.run].lookup('world', FRAME, instant.stamp)
        assert np.allclose(T[:3, 3], (first, second)[instant.run][:3, 3] + [0.0, 0.0, 2.0])
    assert len(recording.notes) == 1


def test_transforms_that_are_dated_ahead_are_no_new_run(record):
    """A localisation stamps its transforms two seconds ahead, as amcl does by its tolerance."""
    def write(bag):
        for number in range(10):
            stamp = 10 * SECOND + number * SECOND // 10
            bag.transform('map', 'odom', stamp + 2 * SECOND, np.eye(4), time=stamp)
            bag.transform('odom', FRAME, stamp, np.eye(4))
            bag.frame(stamp)

    assert {instant.run for instant in recording_of(record(write)).instants} == {0}


def test_instants_are_selected_by_rate_count_and_stamp(record):
    def write(bag):
        for number in range(20):
            bag.frame(50 * SECOND + number * SECOND // 10)

    instants = recording_of(record(write)).instants
    assert select(instants) == instants
    assert select(instants, every=5) == instants[::5]
    assert select(instants, rate=2.0) == instants[::5]
    assert select(instants, rate=1000.0) == instants
    assert select(instants, at=['+0.52', '50.0', '50.0100']) == [instants[0], instants[5]]
    for text in ('52.5', '+9', 'noon', '-1', '1e3', ''):
        assert code_of(select, instants, at=[text]) is ErrorCode.BAD_REQUEST


# --- transforms ---------------------------------------------------------------------------------


class Tree:
    """A buffer, and the messages for it."""

    def __init__(self):
        self.buffer = TransformBuffer()
        self._types = RosbagTypes()

    def add(self, parent, child, stamp, T, static=False):
        time = self._types.make(
            'builtin_interfaces/Time', sec=stamp // SECOND, nanosec=stamp % SECOND)
        header = self._types.make('std_msgs/Header', stamp=time, frame_id=parent)
        message = transform_message(self._types, parent, child, header, T)
        (self.buffer.add_static if static else self.buffer.add)(message)


def test_poses_between_two_samples_are_interpolated():
    tree = Tree()
    a, b = look_at([1.0, 0.0, 1.0], [0.0, 0.0, 0.0]), look_at([0.0, 1.0, 1.0], [0.0, 0.0, 0.0])
    # In another order than their stamps.
    tree.add('world', 'camera', 3 * SECOND, b)
    tree.add('world', 'camera', SECOND, a)
    middle = tree.buffer.lookup('world', 'camera', 2 * SECOND)
    assert np.allclose(middle[:3, 3], [0.5, 0.5, 1.0])
    turn = middle[:3, :3] @ a[:3, :3].T
    other = b[:3, :3] @ middle[:3, :3].T
    # Half of the turn on both sides.
    assert np.allclose(np.trace(turn), np.trace(other))
    assert np.allclose(middle[:3, :3] @ middle[:3, :3].T, np.eye(3))
    assert np.allclose(tree.buffer.lookup('world', 'camera', SECOND), a)


def test_transforms_join_through_the_common_ancestor():
    tree = Tree()
    rng = np.random.default_rng(0)
    poses = [look_at(rng.normal(size=3), rng.normal(size=3)) for _ in range(4)]
    tree.add('world', 'base', SECOND, poses[0])
    tree.add('base', 'arm', 1, poses[1], static=True)
    tree.add('arm', 'camera', SECOND, poses[2])
    tree.add('/base', '/table', 1, poses[3], static=True)
    expected = np.linalg.inv(poses[3]) @ poses[1] @ poses[2]
    assert np.allclose(tree.buffer.lookup('table', 'camera', SECOND), expected)
    assert np.allclose(tree.buffer.lookup('camera', 'table', SECOND), np.linalg.inv(expected))
    assert tree.buffer.root('camera') == 'world'
    down = tree.buffer.down('world', 'camera', SECOND)
    T_world_camera = poses[0] @ poses[1] @ poses[2]
    assert np.allclose(T_world_camera[:3, :3] @ down, [0.0, 0.0, -1.0])


def test_the_root_is_that_of_the_whole_recording():
    """Else a camera on an arm would seem to stand still where the arm has no samples."""
    tree = Tree()
    tree.add('world', 'arm', SECOND, np.eye(4))
    tree.add('arm', 'camera', 1, np.eye(4), static=True)
    root = tree.buffer.root('camera')
    assert root == 'world'
    assert code_of(tree.buffer.lookup, root, 'camera', 2 * SECOND) is ErrorCode.NO_TRANSFORM
    assert tree.buffer.root('elsewhere') == 'elsewhere'


@pytest.mark.parametrize(('target', 'stamp'), [
    ('world', SECOND - 1), ('world', 2 * SECOND + 1), ('elsewhere', SECOND),
])
def test_there_is_no_transform_outside_of_the_samples_and_of_the_tree(target, stamp):
    tree = Tree()
    for second in (1, 2):
        tree.add('world', 'camera', second * SECOND, np.eye(4))
    assert code_of(tree.buffer.lookup, target, 'camera', stamp) is ErrorCode.NO_TRANSFORM
    assert code_of(tree.buffer.lookup, 'world', '', SECOND) is ErrorCode.NO_TRANSFORM


def test_a_frame_that_gets_another_parent_is_not_interpolated_between_them():
    tree = Tree()
    tree.add('table', 'cup', SECOND, rigid(np.eye(3), [1.0, 0.0, 0.0]))
    tree.add('hand', 'cup', 3 * SECOND, rigid(np.eye(3), [0.0, 0.0, 0.1]))
    assert np.allclose(
        tree.buffer.lookup('table', 'cup', 2 * SECOND)[:3, 3], [1.0, 0.0, 0.0])
    assert code_of(tree.buffer.lookup, 'table', 'cup', 3 * SECOND) is ErrorCode.NO_TRANSFORM


def test_loops_and_numbers_that_are_not_finite_do_no_harm():
    tree = Tree()
    tree.add('a', 'b', 1, np.eye(4), static=True)
    tree.add('b', 'a', 1, np.eye(4), static=True)
    tree.add('a', 'c', SECOND, rigid(np.eye(3), [np.nan, 0.0, 0.0]))
    assert code_of(tree.buffer.lookup, 'world', 'a', SECOND) is ErrorCode.NO_TRANSFORM
    assert code_of(tree.buffer.lookup, 'a', 'c', SECOND) is ErrorCode.NO_TRANSFORM
