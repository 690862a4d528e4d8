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

"""Publishers that latch and those that do not, before and after the node, of one message each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip('rclpy')
pytest.importorskip('lift3d_ros.msg')

from rclpy.qos import DurabilityPolicy
from rclpy.qos import QoSProfile
import ros_helpers as ros
from sensor_msgs.msg import CameraInfo
import stream_helpers as streams

from lift3d_ros.messages.conversions import nanoseconds
from lift3d_ros.node.executors.listener import Listener
from lift3d_ros.node.inputs.topics import Topic
from lift3d_ros.srv import LiftObject

pytestmark = pytest.mark.ros

ALL = ','.join(streams.TOPICS)
LATCHED = QoSProfile(depth=5, durability=DurabilityPolicy.TRANSIENT_LOCAL)
VOLATILE = QoSProfile(depth=5)


@pytest.fixture(scope='module')
def node(graph: ros.Graph) -> Iterator[ros.NodeProcess]:
    """Return a node that was started after a camera had published one latched frame."""
    with (
        streams.camera('latched', '--latched', ALL),
        ros.running(graph, 'latched', '--autostart', max_faces=1000) as node,
    ):
        yield node


def newest_stamp(node: ros.NodeProcess) -> int:
    answer = node.lift(LiftObject.Request())
    return nanoseconds(answer.object.header.stamp) if answer.success else 0


def test_a_frame_that_was_latched_before_the_node_started_is_lifted(node):
    ros.wait_until(lambda: newest_stamp(node) > 0)


@pytest.mark.parametrize('arguments', [
    ('--latched', ALL),
    ('--latched', ALL, '--wait'),
    ('--wait',),
    ('--latched', 'camera_info,image', '--wait'),
    ('--latched', 'mask,depth', '--wait'),
])
def test_a_frame_that_is_published_once_after_the_node_started_is_lifted(node, arguments):
    before = newest_stamp(node)
    with streams.camera('latched', *arguments):
        ros.wait_until(lambda: newest_stamp(node) > before)


def test_publishers_of_both_kinds_on_one_topic_are_heard_and_each_message_once(graph):
    heard: list[int] = []
    listener = Listener(graph.node)
    publishers = []
    try:
        publishers.append(graph.node.create_publisher(CameraInfo, '/twice/info', LATCHED))
        publishers[0].publish(CameraInfo(width=1))
        topic = Topic(
            graph.node, listener, CameraInfo, '/twice/info', 'auto',
            lambda message, arrival: heard.append(message.width),
        )
        listener.create_timer(0.1, topic.update)
        ros.wait_until(lambda: heard == [1])
        publishers.append(graph.node.create_publisher(CameraInfo, '/twice/info', VOLATILE))
        ros.wait_until(lambda: topic.publishers == 2)
        ros.wait_until(publishers[1].get_subscription_count)
        publishers[1].publish(CameraInfo(width=2))
        publishers[0].publish(CameraInfo(width=3))
        ros.wait_until(lambda: {2, 3} <= set(heard))
        for width in range(4, 30):
            publishers[width % 2].publish(CameraInfo(width=width))
            ros.wait_until(lambda width=width: width in heard)
        assert sorted(heard) == list(range(1, 30))
    finally:
        listener.close()
        for publisher in publishers:
            graph.node.destroy_publisher(publisher)


def test_the_node_itself_has_the_subscriptions(graph, node):
    ros.wait_until(lambda: newest_stamp(node) > 0)
    found = dict(
        graph.node.get_subscriber_names_and_types_by_node('lift3d', '/latched')
    )
    assert {f'/latched/{name}' for name in streams.TOPICS} <= set(found)
    others = [name for name, space in graph.node.get_node_names_and_namespaces()
              if space == '/latched' and name not in ('lift3d', 'camera')]
    assert not others
