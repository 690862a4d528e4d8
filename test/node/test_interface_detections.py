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

"""Lifted objects as detections and as frames of the tree, where those packages are installed."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

pytest.importorskip('rclpy')
pytest.importorskip('lift3d_ros.msg')

from lifecycle_msgs.msg import Transition
from rclpy.qos import DurabilityPolicy
from rclpy.qos import QoSProfile
import ros_helpers as ros
from ros_helpers import TWO
from sensor_msgs.msg import Image

from lift3d_ros.msg import LiftedObjectArray
from lift3d_ros.msg import ObjectSelector
from lift3d_ros.node.client import LiftClient
from lift3d_ros.srv import LiftObject

pytestmark = pytest.mark.ros

LATCHED = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def test_objects_of_known_scale_are_detections_and_frames(graph):
    vision_msgs = pytest.importorskip('vision_msgs.msg')
    tf2_msgs = pytest.importorskip('tf2_msgs.msg')
    with (
        ros.running(
            graph, 'detected3d', '--autostart', publish_tf=True, mask_source='label'
        ) as node,
        graph.listen(vision_msgs.Detection3DArray, node.name('detections'), LATCHED) as arrays,
        graph.listen(tf2_msgs.TFMessage, '/tf', 100) as trees,
        LiftClient(graph.node, '/detected3d/lift3d') as client,
    ):
        ros.wait_until(lambda: graph.node.count_publishers('/tf'))
        assert client.wait_for_server(ros.PATIENCE)
        selector = ObjectSelector(mode=ObjectSelector.ALL, class_id='ball')
        client.lift(selector, **ros.messages(*TWO, stamp=9_000_000_001))
        lifted = {one.id: one for one in client.result(ros.PATIENCE).result.objects}
        assert set(lifted) == {'label_1', 'label_2'}
        ros.wait_until(lambda: arrays and trees)
        (array,), (tree,) = arrays, trees
        assert (array.header.stamp.sec, array.header.frame_id) == (9, ros.FRAME_ID)
        assert [one.id for one in array.detections] == list(lifted)
        for detection in array.detections:
            one = lifted[detection.id]
            (result,) = detection.results
            assert (result.hypothesis.class_id, result.hypothesis.score) == ('ball', 1.0)
            assert result.pose.pose == detection.bbox.center == one.pose.pose
            np.testing.assert_array_equal(result.pose.covariance, one.pose.covariance)
            assert detection.bbox.size == one.size
        frames = {frame.child_frame_id: frame for frame in tree.transforms}
        assert set(frames) == {f'detected3d/lift3d/{name}' for name in lifted}
        for name, one in lifted.items():
            frame = frames[f'detected3d/lift3d/{name}']
            assert frame.header == one.header
            assert frame.transform.translation.z == one.pose.pose.position.z
            assert frame.transform.rotation == one.pose.pose.orientation

        # A failure says nothing about what stands where.
        broken = ros.messages(*TWO)
        broken['image'].encoding = 'rainbow12'
        client.lift(**broken)
        assert client.result(ros.PATIENCE).error_code == 'BAD_IMAGE'
        # Nor does an object without scale, of which there is none.
        request = LiftObject.Request(**{**ros.messages(*TWO), 'depth': Image()})
        answer = node.lift(request)
        assert answer.object.scale_source == 'unknown', answer.message
        ros.wait_until(lambda: len(arrays) > 1)
        assert len(arrays) == 2
        assert arrays[1].detections == []
        assert len(trees) == 1


@pytest.mark.skipif(importlib.util.find_spec('vision_msgs') is not None, reason='it is installed')
def test_without_vision_msgs_there_are_no_detections_and_one_line_says_so(graph):
    node = ros.NodeProcess(graph, 'undetected', '--autostart')
    node.wait_until_active()
    assert node.lift(LiftObject.Request(**ros.messages(*TWO))).success
    node.end_well()
    assert node.log.count('needs vision_msgs') == 1


@pytest.mark.skipif(importlib.util.find_spec('tf2_msgs') is not None, reason='it is installed')
def test_without_tf2_msgs_publish_tf_is_refused_by_configure(graph):
    node = ros.NodeProcess(graph, 'treeless', publish_tf=True)
    assert not node.change(Transition.TRANSITION_CONFIGURE)
    assert node.set_parameter('publish_tf', False).successful
    assert node.change(Transition.TRANSITION_CONFIGURE)
    assert node.stop() == 0
    assert 'tf2_msgs' in node.log


def test_a_frame_without_a_transform_clears_nothing(graph):
    pytest.importorskip('tf2_ros')
    node = ros.NodeProcess(
        graph, 'lost', '--autostart', mode='continuous', target_frame='map', use_depth=False,
        transform_timeout=0.0,
    )
    node.wait_until_active()
    messages = ros.messages(*TWO)
    del messages['depth']
    publishers = {
        topic: graph.node.create_publisher(type(message), f'/lost/{topic}', 5)
        for topic, message in messages.items()
    }
    with graph.listen(LiftedObjectArray, node.name('objects'), LATCHED) as heard:

        def came() -> bool:
            stamp = graph.node.get_clock().now().nanoseconds
            for topic, message in messages.items():
                message.header = ros.stamped(stamp)
                publishers[topic].publish(message)
            return bool(heard)

        ros.wait_until(came)
    assert not heard[0].success
    assert [(f.id, f.error_code) for f in heard[0].failures] == [('', 'NO_TRANSFORM')]
    assert heard[0].header.frame_id == 'map'
    node.end_well()
