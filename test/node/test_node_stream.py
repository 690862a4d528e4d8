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

"""Topics in, topics out: continuous mode, transports, quality of service, diagnostics."""

from __future__ import annotations

from collections.abc import Iterator
import time

import cv2
import numpy as np
import pytest

pytest.importorskip('rclpy')
pytest.importorskip('lift3d_ros.msg')

from rclpy.qos import DurabilityPolicy
from rclpy.qos import QoSProfile
from rclpy.qos import ReliabilityPolicy
import ros_helpers as ros
from ros_helpers import TWO
from sensor_msgs.msg import CompressedImage
from sensor_msgs.msg import PointCloud2
from visualization_msgs.msg import Marker
from visualization_msgs.msg import MarkerArray

from lift3d_ros.messages.conversions import nanoseconds
from lift3d_ros.messages.results import mesh_from_message
from lift3d_ros.msg import LiftedObjectArray
from lift3d_ros.msg import ObjectSelector
from lift3d_ros.node.client import LiftClient
from lift3d_ros.srv import LiftObject

pytestmark = pytest.mark.ros

EMPTY = (TWO[0], np.zeros_like(TWO[1]))
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class Camera:
    """Publishes scenes on the topics of a namespace."""

    def __init__(self, graph: ros.Graph, namespace: str, kinds: dict, reliable: bool = True):
        policy = ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
        self._graph = graph
        self._publishers = {
            topic: graph.node.create_publisher(
                kind, f'/{namespace}/{topic}', QoSProfile(depth=5, reliability=policy)
            )
            for topic, kind in kinds.items()
        }

    def wait_for_listeners(self) -> None:
        ros.wait_until(
            lambda: all(p.get_subscription_count() for p in self._publishers.values())
        )

    def publish(self, messages: dict, offset: dict | None = None) -> int:
        """Publish messages with the stamp of now, plus seconds by topic; return the stamp."""
        now = self._graph.node.get_clock().now().nanoseconds
        for topic, message in messages.items():
            stamp = now + round(1e9 * (offset or {}).get(topic, 0.0))
            message.header = ros.stamped(stamp)
            self._publishers[topic].publish(message)
        return now


def raw_kinds(messages: dict) -> dict:
    return {topic: type(message) for topic, message in messages.items()}


@pytest.fixture(scope='module')
def node(graph: ros.Graph) -> Iterator[ros.NodeProcess]:
    with ros.running(
        graph, 'stream', '--autostart', mode='continuous', mask_source='label',
        diagnostics_period=0.2, max_faces=4000,
    ) as node:
        yield node


@pytest.fixture(scope='module')
def camera(graph: ros.Graph, node: ros.NodeProcess) -> Camera:
    camera = Camera(graph, 'stream', raw_kinds(ros.messages(*TWO)))
    camera.wait_for_listeners()
    return camera


def counts(node: ros.NodeProcess) -> tuple[int, int, int]:
    """Return how many masks came, frames of two objects were lifted and dropped, when idle."""
    seen = []

    def quiet() -> bool:
        received = int(node.status('input')[1]['mask: received'])
        lifting = node.status('lifting')[1]
        dropped, lifted = lifting['frames dropped (newer came)'], lifting['objects lifted']
        seen.append((lifting['idle'], (received, int(lifted) // 2, int(dropped))))
        return seen[-1][0] == 'True' and len(seen) > 2 and seen[-1] == seen[-2] == seen[-3]

    ros.wait_until(quiet)
    return seen[-1][1]


def results(heard: list, stamp: int) -> list:
    return [array for array in heard if nanoseconds(array.header.stamp) == stamp]


def publish_until_heard(camera: Camera, heard: list, scene=TWO) -> LiftedObjectArray:
    """Publish a scene until its result comes, which the first time may take a few frames."""
    stamps = []

    def came() -> bool:
        if not stamps or time.monotonic() - stamps[-1][1] > 1.0:
            stamps.append((camera.publish(ros.messages(*scene)), time.monotonic()))
        return any(results(heard, stamp) for stamp, _ in stamps)

    ros.wait_until(came)
    return next(r for stamp, _ in stamps for r in results(heard, stamp))


def test_each_frame_gives_all_its_objects_with_its_stamp(graph, node, camera):
    with (
        graph.listen(LiftedObjectArray, node.name('objects'), LATCHED) as heard,
        graph.listen(MarkerArray, node.name('markers'), LATCHED) as markers,
        graph.listen(PointCloud2, node.name('points')) as points,
    ):
        result = publish_until_heard(camera, heard)
        assert {lifted.id for lifted in result.objects} == {'label_1', 'label_2'}
        for lifted in result.objects:
            assert mesh_from_message(lifted).is_watertight()
            assert lifted.header == result.header
        ros.wait_until(lambda: markers and points)
        cloud = points[-1]
        assert cloud.width == sum(lifted.cloud.width for lifted in result.objects)
        drawn = {(m.ns, m.id): m for m in markers[-1].markers}
        meshes = [m for (ns, _), m in drawn.items() if ns == 'mesh']
        assert len(meshes) == 2
        for marker in meshes:
            assert (marker.type, marker.action) == (Marker.TRIANGLE_LIST, Marker.ADD)
            assert len(marker.points) == len(marker.colors) > 300
            assert len(marker.points) % 3 == 0

        # An image without objects: an empty array, and the markers go.
        stamp = camera.publish(ros.messages(*EMPTY))
        ros.wait_until(lambda: results(heard, stamp))
        assert results(heard, stamp)[0].objects == []
        result = publish_until_heard(camera, heard)
        assert len(result.objects) == 2
        again = {(m.ns, m.id) for m in markers[-1].markers if m.action == Marker.ADD}
        assert set(drawn) >= again


def test_markers_of_what_is_gone_are_deleted(graph, node, camera):
    one = (TWO[0], np.where(TWO[1] == 1, 1, 0).astype(np.uint8))
    with (
        graph.listen(LiftedObjectArray, node.name('objects'), LATCHED) as heard,
        graph.listen(MarkerArray, node.name('markers'), LATCHED) as markers,
    ):
        publish_until_heard(camera, heard)
        publish_until_heard(camera, heard, one)
        ros.wait_until(
            lambda: any(m.action == Marker.DELETE for array in markers for m in array.markers)
        )
        gone = {(m.ns, m.id) for m in markers[-1].markers if m.action == Marker.DELETE}
        kept = {(m.ns, m.id) for m in markers[-1].markers if m.action == Marker.ADD}
        assert {ns for ns, _ in gone} == {'mesh', 'box', 'text'}
        assert not gone & kept


def test_a_late_listener_gets_the_last_result(graph, node, camera):
    with graph.listen(LiftedObjectArray, node.name('objects'), LATCHED) as heard:
        publish_until_heard(camera, heard)
    with graph.listen(LiftedObjectArray, node.name('objects'), LATCHED) as late:
        ros.wait_until(lambda: late)
    assert late[0].header == heard[-1].header


def test_the_newest_frame_wins_and_the_others_are_counted(graph, node, camera):
    with graph.listen(LiftedObjectArray, node.name('objects'), LATCHED) as heard:
        publish_until_heard(camera, heard)
        before = counts(node)
        stamps = []
        for _ in range(15):
            stamps.append(camera.publish(ros.messages(*TWO)))
            time.sleep(0.033)
        ros.wait_until(lambda: results(heard, stamps[-1]))
        received, lifted, dropped = np.subtract(counts(node), before)
    # A slow reader may lose some of both, which is not the node's doing.
    assert sum(bool(results(heard, stamp)) for stamp in stamps) <= lifted < received <= len(stamps)
    assert dropped == received - lifted


def test_requests_go_before_the_stream_and_use_its_newest_frame(graph, node, camera):
    with graph.listen(LiftedObjectArray, node.name('objects'), LATCHED) as heard:
        publish_until_heard(camera, heard)
        selector = ObjectSelector(mode=ObjectSelector.LABEL, label=2)
        answer = node.lift(LiftObject.Request(selector=selector))
        assert answer.success, answer.message
        assert answer.object.id == 'label_2'
        missing = node.lift(
            LiftObject.Request(selector=ObjectSelector(mode=ObjectSelector.LABEL, label=9))
        )
        assert missing.error_code == 'NO_OBJECT'
        # A mask of the request's own, on the newest image.
        own = ros.messages(TWO[0], np.where(TWO[1] == 2, 9, 0).astype(np.uint8))['mask']
        answer = node.lift(LiftObject.Request(mask=own))
        assert answer.success, answer.message
        assert answer.object.id == 'label_9'


def test_the_diagnostics_tell_how_it_goes(graph, node, camera):
    with graph.listen(LiftedObjectArray, node.name('objects'), LATCHED) as heard:
        publish_until_heard(camera, heard)
    message, values = node.status('input')
    assert message == 'receiving'
    for topic in ('image', 'mask', 'depth', 'camera_info'):
        assert int(values[f'{topic}: received']) > 0
        assert values[f'{topic}: publishers'] == '1'
    message, values = node.status('lifting')
    assert values['state'] == 'active'
    assert values['method'] == 'geometric'
    assert int(values['objects lifted']) > 0
    assert float(values['memory MB']) > 50.0
    assert float(values['median seconds: total']) > 0.0
    assert len([key for key in values if key.startswith('median seconds')]) > 3
    # An error stays to be read.
    node.lift(LiftObject.Request(selector=ObjectSelector(mode=77)))
    assert 'BAD_REQUEST' in node.status('lifting')[1]['last error']
    assert node.status('parameters')[0] == 'all known'


def test_stamps_that_never_meet_are_said_to(graph):
    node = ros.NodeProcess(
        graph, 'unmet', '--autostart', mode='continuous', diagnostics_period=0.2
    )
    node.wait_until_active()
    messages = ros.messages(*TWO)
    camera = Camera(graph, 'unmet', raw_kinds(messages))
    camera.wait_for_listeners()
    assert 'nothing received' in node.status('input')[0]

    def message() -> str:
        camera.publish(messages, {'mask': 5.0})
        return node.status('input')[0]

    ros.wait_until(lambda: 'mask received, no image within 0.1 s of it' in message())
    answer = node.lift(LiftObject.Request())
    assert answer.error_code == 'BAD_IMAGE'
    assert 'no image within' in answer.message
    assert node.stop() == 0, node.log


@pytest.mark.parametrize('reliable', [True, False], ids=['reliable', 'best effort'])
def test_compressed_topics_of_either_reliability_are_heard(graph, reliable):
    namespace = 'compressed_reliable' if reliable else 'compressed_best_effort'
    node = ros.NodeProcess(
        graph, namespace, '--autostart', image_transport='compressed',
        mask_transport='compressed', depth_transport='compressedDepth',
    )
    node.wait_until_active()
    frame, labels = TWO

    def compressed(pixels: np.ndarray, suffix: str, form: str, before: bytes = b''):
        data = before + cv2.imencode(suffix, pixels)[1].tobytes()
        return CompressedImage(format=form, data=data)

    millimetres = np.rint(1000.0 * frame.depth).astype(np.uint16)
    messages = {
        'image/compressed': compressed(frame.image[..., ::-1], '.jpg', 'jpeg'),
        'mask/compressed': compressed(labels, '.png', 'png'),
        'depth/compressedDepth': compressed(
            millimetres, '.png', '16UC1; compressedDepth png', bytes(12)
        ),
        'camera_info': ros.messages(*TWO)['camera_info'],
    }
    camera = Camera(graph, namespace, raw_kinds(messages), reliable)
    camera.wait_for_listeners()

    def succeeds() -> bool:
        camera.publish(messages)
        time.sleep(0.1)
        return node.lift(LiftObject.Request()).success

    ros.wait_until(succeeds)
    with LiftClient(graph.node, f'/{namespace}/lift3d') as client:
        assert client.wait_for_server(ros.PATIENCE)
        client.lift()
        result = client.result(ros.PATIENCE)
    assert result.success, result.message
    assert len(result.result.objects) == 2
    heights = sorted(lifted.size.z for lifted in result.result.objects)
    np.testing.assert_allclose(heights, [0.08, 0.1], atol=0.015)
    assert node.stop() == 0, node.log
    assert 'Traceback' not in node.log, node.log


def test_boxes_of_a_detector_are_objects(graph):
    vision_msgs = pytest.importorskip('vision_msgs.msg')
    node = ros.NodeProcess(graph, 'detected', '--autostart', mask_source='detections')
    node.wait_until_active()
    messages = ros.messages(*TWO)
    del messages['mask']
    messages['detections'] = detections = vision_msgs.Detection2DArray()
    for label, name, score in ((1, 'ball', 0.5), (2, 'marble', 0.9)):
        rows, columns = np.nonzero(TWO[1] == label)
        detection = vision_msgs.Detection2D()
        detection.bbox.center.position.x = float(columns.mean())
        detection.bbox.center.position.y = float(rows.mean())
        detection.bbox.size_x = float(np.ptp(columns)) + 20.0
        detection.bbox.size_y = float(np.ptp(rows)) + 20.0
        result = vision_msgs.ObjectHypothesisWithPose()
        result.hypothesis.class_id, result.hypothesis.score = name, score
        detection.results.append(result)
        detections.detections.append(detection)
    camera = Camera(graph, 'detected', raw_kinds(messages))
    camera.wait_for_listeners()
    selector = ObjectSelector(mode=ObjectSelector.DETECTION, class_id='marble')
    answers = []

    def succeeds() -> bool:
        camera.publish(messages)
        time.sleep(0.1)
        answers.append(node.lift(LiftObject.Request(selector=selector)))
        return answers[-1].success

    ros.wait_until(succeeds)
    marble = answers[-1].object
    assert (marble.class_id, round(marble.score, 3)) == ('marble', 0.9)
    assert marble.id.startswith('marble_')
    np.testing.assert_allclose(marble.size.z, 0.08, atol=0.03)
    selector.class_id = 'mug'
    assert node.lift(LiftObject.Request(selector=selector)).error_code == 'NO_OBJECT'
    assert node.stop() == 0, node.log
