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

"""What the log says of a stream: what it listens to, what is missing, what fails or is lost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import os
from typing import Any

import numpy as np
import pytest

pytest.importorskip('rclpy')
pytest.importorskip('lift3d_ros.msg')

from rcl_interfaces.msg import Log
from rclpy.qos import DurabilityPolicy
from rclpy.qos import QoSProfile
import ros_helpers as ros
from sensor_msgs.msg import CompressedImage
import stream_helpers as streams

from lift3d_ros.node import middleware
from lift3d_ros.node.inputs.watch import Throttle
from lift3d_ros.srv import LiftObject

pytestmark = pytest.mark.ros

WITHOUT_PROFILE = {'FASTRTPS_DEFAULT_PROFILES_FILE': '', middleware.SWITCH: 'off'}


@contextmanager
def log(graph: ros.Graph, namespace: str) -> Iterator[Any]:
    """Return a function that lists the lines of a level of the node in a namespace."""
    qos = QoSProfile(depth=1000, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    with graph.listen(Log, '/rosout', qos) as heard:

        def lines(level: bytes | int) -> list[str]:
            wanted = level[0] if isinstance(level, bytes) else level
            return [m.msg for m in heard if m.name == f'{namespace}.lift3d' and m.level == wanted]

        yield lines


def test_a_mistyped_mask_topic_is_named_with_those_that_there_are(graph):
    frame = ros.messages(*ros.BALL)
    other = graph.node.create_publisher(type(frame['mask']), '/mistyped/segmenter/mask', 1)
    with (
        log(graph, 'mistyped') as lines,
        ros.running(
            graph, 'mistyped', '--autostart', mode='continuous', diagnostics_period=0.2
        ) as node,
        streams.camera(
            'mistyped', '--topics', 'image,depth,camera_info', '--count', '1000', '--wait'
        ) as camera,
    ):
        def named() -> list[str]:
            return [line for line in lines(Log.WARN) if 'Nobody publishes /mistyped/mask' in line]

        ros.wait_until(named)
        assert '/mistyped/segmenter/mask' in named()[-1]
        assert '/mistyped/lift3d/' not in named()[-1], 'its own topics are no inputs'
        assert 'sensor_msgs/msg/Image' in named()[-1]
        # What was subscribed, and what was found.
        for name in streams.TOPICS:
            assert [line for line in lines(Log.INFO) if f'subscribed to /mistyped/{name} ' in line]
        ros.wait_until(lambda: [
            line for line in lines(Log.INFO)
            if '/mistyped/image ' in line and '1 publisher (/mistyped/camera)' in line
        ])
        answer = node.lift(LiftObject.Request())
        assert answer.error_code == 'BAD_IMAGE'
        assert '/mistyped/segmenter/mask' in answer.message
        camera.kill()
    graph.node.destroy_publisher(other)


def test_a_topic_of_another_type_is_named(graph):
    other = graph.node.create_publisher(CompressedImage, '/typed/mask', 1)
    with (
        log(graph, 'typed') as lines,
        ros.running(graph, 'typed', '--autostart', mode='continuous'),
    ):
        ros.wait_until(lambda: [
            line for line in lines(Log.WARN)
            if '/typed/mask' in line and 'sensor_msgs/msg/CompressedImage' in line
        ])
    graph.node.destroy_publisher(other)


def test_frames_that_fail_are_logged_by_code_and_not_each(graph):
    with (
        log(graph, 'failing') as lines,
        ros.running(
            graph, 'failing', '--autostart', '--ros-args', '--log-level',
            'failing.lift3d:=debug', '--', mode='continuous', diagnostics_period=0.2,
        ) as node,
    ):
        frame = ros.messages(*ros.BALL)
        wide = np.zeros((50, 300), np.uint8)
        wide[10:40, 100:200] = 255
        frame['mask'] = ros.messages(ros.BALL[0], wide)['mask']
        publishers = {
            name: graph.node.create_publisher(type(message), f'/failing/{name}', 5)
            for name, message in frame.items()
        }

        def failures() -> int:
            stamp = graph.node.get_clock().now().nanoseconds
            for name, message in frame.items():
                message.header = ros.stamped(stamp)
                publishers[name].publish(message)
            return int(node.status('lifting')[1]['failures'])

        ros.wait_until(lambda: failures() >= 4)
        code = node.status('lifting')[1]['last error'].split(':')[0]
        assert code == 'SIZE_MISMATCH'

        def warnings() -> list[str]:
            return [line for line in lines(Log.WARN) if code in line]

        ros.wait_until(warnings)
        # Once in ten seconds.
        assert len(warnings()) < failures()
        # One frame can be followed by its stamp.
        ros.wait_until(lambda: [line for line in lines(Log.DEBUG) if 'frame failed' in line])
        failed = next(line for line in lines(Log.DEBUG) if 'frame failed' in line)
        stamp = failed.split('stamp ')[1].split(',')[0]
        steps = ' '.join(line for line in lines(Log.DEBUG) if stamp in line)
        for step in ('received image', 'received mask', 'matched', 'offered', 'started'):
            assert step in steps
        for publisher in publishers.values():
            graph.node.destroy_publisher(publisher)


def test_stamps_that_never_meet_are_in_the_log(graph):
    with (
        log(graph, 'apart') as lines,
        ros.running(graph, 'apart', '--autostart', mode='continuous'),
    ):
        frame = ros.messages(*ros.BALL)
        publishers = {
            name: graph.node.create_publisher(type(message), f'/apart/{name}', 5)
            for name, message in frame.items()
        }

        def unmet() -> list[str]:
            stamp = graph.node.get_clock().now().nanoseconds
            for name, message in frame.items():
                message.header = ros.stamped(stamp + (5 * 10**9 if name == 'mask' else 0))
                publishers[name].publish(message)
            return [line for line in lines(Log.WARN) if 'no image within 0.1 s of it' in line]

        ros.wait_until(unmet)
        for publisher in publishers.values():
            graph.node.destroy_publisher(publisher)


@pytest.mark.parametrize(('arguments', 'words'), [
    (('--every', '5'), 'sends fewer'),
    (('--best-effort', 'image', '--size', '1920', '1080'), 'fastdds.xml'),
])
def test_images_that_come_more_rarely_than_their_camera_info_are_named(graph, arguments, words):
    if 'fastdds' in words and os.environ.get('RMW_IMPLEMENTATION', '') not in (
        '', 'rmw_fastrtps_cpp'
    ):
        pytest.skip('the loss is that of Fast DDS')
    namespace = 'rare' if '--every' in arguments else 'lossy'
    with (
        log(graph, namespace) as lines,
        ros.running(
            graph, namespace, '--autostart', diagnostics_period=0.2, use_depth=False
        ) as node,
        streams.camera(
            namespace, '--topics', 'image,camera_info', '--count', '1000', '--period', '0.1',
            '--wait', *arguments, **WITHOUT_PROFILE,
        ) as camera,
    ):
        def found() -> bool:
            message = node.status('input')[0]
            return f'/{namespace}/image arrives at' in message and words in message

        ros.wait_until(found)
        assert f'/{namespace}/camera_info' in node.status('input')[0]
        ros.wait_until(lambda: [
            line for line in lines(Log.WARN) if f'/{namespace}/image arrives at' in line
        ])
        camera.kill()


def test_a_throttle_counts_what_it_leaves_out():
    throttle = Throttle()
    assert [throttle.count(kind) for kind in 'aabaa'] == [0, None, 0, None, None]
    assert throttle.count('a', 0.0) == 3


# --- the profile of Fast DDS ---

ENOUGH = pytest.mark.skipif(
    middleware.free_shared_memory() < 2 * 67_108_864, reason='too little shared memory'
)


@ENOUGH
@pytest.mark.parametrize('given', [{}, {'RMW_IMPLEMENTATION': 'rmw_fastrtps_cpp'}])
def test_the_profile_is_used_where_fast_dds_is_not_configured(given):
    added = middleware.environment(given)
    assert list(added) == [middleware.VARIABLE]
    with open(added[middleware.VARIABLE], encoding='utf-8') as file:
        assert 'segment_size' in file.read()


@pytest.mark.parametrize('given', [
    {'RMW_IMPLEMENTATION': 'rmw_cyclonedds_cpp'},
    {'FASTRTPS_DEFAULT_PROFILES_FILE': '/own.xml'},
    {'FASTDDS_DEFAULT_PROFILES_FILE': '/own.xml'},
    {'FASTDDS_BUILTIN_TRANSPORTS': 'LARGE_DATA'},
    {middleware.SWITCH: 'off'},
    {middleware.SWITCH: '0'},
])
def test_the_profile_is_left_out_where_it_is_not_meant(given):
    assert middleware.environment(given) == {}


def test_the_profile_is_left_out_where_shared_memory_is_small(monkeypatch):
    monkeypatch.setattr(middleware, 'free_shared_memory', lambda: 64e6)
    assert middleware.environment({}) == {}


def test_a_profile_of_the_working_directory_goes_first(monkeypatch, tmp_path):
    (tmp_path / 'DEFAULT_FASTRTPS_PROFILES.xml').touch()
    monkeypatch.chdir(tmp_path)
    assert middleware.environment({}) == {}
