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

"""What results and failures look like on topics and in answers, on a real graph."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip('rclpy')
pytest.importorskip('lift3d_ros.msg')

from lifecycle_msgs.msg import Transition
from rclpy.qos import DurabilityPolicy
from rclpy.qos import QoSProfile
import ros_helpers as ros
from ros_helpers import BALL
from ros_helpers import TWO
from sensor_msgs.msg import PointField
from visualization_msgs.msg import Marker
from visualization_msgs.msg import MarkerArray

from lift3d_ros.errors import ErrorCode
from lift3d_ros.messages.conversions import nanoseconds
from lift3d_ros.messages.geometry import seconds
from lift3d_ros.messages.results import POINT
from lift3d_ros.msg import LiftedObject
from lift3d_ros.msg import LiftedObjectArray
from lift3d_ros.msg import LiftFailure
from lift3d_ros.msg import ObjectSelector
from lift3d_ros.node.client import LiftClient
from lift3d_ros.node.executors.background import wait_for
from lift3d_ros.node.services.introspection import REQUESTS
from lift3d_ros.observation.hints import SOURCES
from lift3d_ros.observation.hints import UNKNOWN
from lift3d_ros.srv import LiftObject
from lift3d_ros.srv import SaveObject

pytestmark = pytest.mark.ros

LATCHED = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
EMPTY = (TWO[0], np.zeros_like(TWO[1]))


@pytest.fixture(scope='module')
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp('output')


@pytest.fixture(scope='module')
def node(graph: ros.Graph, output: Path) -> Iterator[ros.NodeProcess]:
    with ros.running(
        graph, 'results', '--autostart', mode='continuous', mask_source='label',
        diagnostics_period=0.2, output_dir=str(output), queue_size=2,
    ) as node:
        yield node


class Stream:
    """Publishes frames to the node and hears what becomes of them."""

    def __init__(self, graph: ros.Graph, node: ros.NodeProcess):
        self.graph, self.node = graph, node
        self.publishers = {
            topic: graph.node.create_publisher(type(message), f'/{node.namespace}/{topic}', 5)
            for topic, message in ros.messages(*TWO).items()
        }
        self.heard: list[LiftedObjectArray] = []
        self.markers: list[MarkerArray] = []
        ros.wait_until(lambda: all(p.get_subscription_count() for p in self.publishers.values()))

    def send(self, messages: dict[str, Any]) -> int:
        stamp = self.graph.node.get_clock().now().nanoseconds
        for topic, message in messages.items():
            message.header = ros.stamped(stamp)
            self.publishers[topic].publish(message)
        return stamp

    def result(self, make: Callable[[], dict[str, Any]]) -> LiftedObjectArray:
        """Send a frame, again where it was lost, and return its result."""
        stamps: list[int] = []
        for _ in range(5):
            stamps.append(self.send(make()))
            try:
                ros.wait_until(lambda: self._of(stamps), 8.0)
                return self._of(stamps)[0]
            except AssertionError:
                continue
        pytest.fail('no result came')

    def _of(self, stamps: list[int]) -> list[LiftedObjectArray]:
        return [a for a in self.heard if nanoseconds(a.header.stamp) in stamps]

    def deleted(self, arrays: list[MarkerArray] | None = None) -> set[tuple[str, int]]:
        return {
            (m.ns, m.id)
            for array in (self.markers if arrays is None else arrays) for m in array.markers
            if m.action == Marker.DELETE
        }


@pytest.fixture
def stream(graph: ros.Graph, node: ros.NodeProcess) -> Iterator[Stream]:
    stream = Stream(graph, node)
    with (
        graph.listen(LiftedObjectArray, node.name('objects'), LATCHED) as stream.heard,
        graph.listen(MarkerArray, node.name('markers'), LATCHED) as stream.markers,
    ):
        # The last drawing of the test before may have deleted something.
        stream.result(good)
        ros.wait_until(lambda: stream.markers and not stream.deleted(stream.markers[-1:]))
        stream.markers.clear()
        yield stream
    for publisher in stream.publishers.values():
        graph.node.destroy_publisher(publisher)


def good() -> dict[str, Any]:
    return ros.messages(*TWO)


def of_unknown_encoding() -> dict[str, Any]:
    made = good()
    made['image'].encoding = 'rainbow12'
    return made


def with_truncated_mask() -> dict[str, Any]:
    made = good()
    made['mask'].data = made['mask'].data[:-5]
    return made


def with_one_object_without_depth() -> dict[str, Any]:
    frame, labels = TWO
    depth = np.where(labels == 2, np.nan, frame.depth).astype(np.float32)
    made = good()
    made['depth'].data = depth.tobytes()
    return made


@contextmanager
def parameter(node: ros.NodeProcess, name: str, value: Any, after: Any) -> Iterator[None]:
    assert node.set_parameter(name, value).successful
    try:
        yield
    finally:
        assert node.set_parameter(name, after).successful


def failures(node: ros.NodeProcess) -> int:
    return int(node.status('lifting')[1]['failures'])


# --- a failure clears nothing ---


@pytest.mark.parametrize('spoiled', [of_unknown_encoding, with_truncated_mask])
def test_a_frame_that_fails_does_not_look_like_an_empty_one(node, stream, spoiled):
    assert stream.result(good).success
    failed = stream.result(spoiled)
    assert not failed.success
    assert failed.objects == []
    (failure,) = failed.failures
    assert (failure.id, failure.error_code) == ('', LiftFailure.BAD_IMAGE)
    assert failure.message
    again = stream.result(good)
    assert len(again.objects) == 2
    assert not stream.deleted()


def test_an_object_that_fails_is_named_and_its_markers_stay(node, stream):
    assert len(stream.result(good).objects) == 2
    partly = stream.result(with_one_object_without_depth)
    assert [lifted.id for lifted in partly.objects] == ['label_1']
    assert not partly.success
    assert [(f.id, f.error_code) for f in partly.failures] == [('label_2', 'NO_DEPTH_IN_MASK')]
    assert len(stream.result(good).objects) == 2
    assert not stream.deleted()


def test_objects_beyond_max_objects_are_not_cleared(node, stream):
    assert len(stream.result(good).objects) == 2
    with parameter(node, 'max_objects', 1, 10):
        one = stream.result(good)
        assert (len(one.objects), one.success) == (1, True)
        assert any('max_objects' in note for note in one.objects[0].notes)
    assert len(stream.result(good).objects) == 2
    assert not stream.deleted()


def test_an_empty_mask_is_a_good_result_without_objects(node, stream):
    assert len(stream.result(good).objects) == 2
    before = failures(node)
    empty = stream.result(lambda: ros.messages(*EMPTY))
    assert empty.success
    assert (empty.objects, empty.failures) == ([], [])
    ros.wait_until(lambda: len(stream.deleted()) == 6)
    assert failures(node) == before


def test_all_objects_of_an_empty_mask_are_none_and_the_largest_is_an_error(node):
    with LiftClient(node.graph.node, '/results/lift3d') as client:
        assert client.wait_for_server(ros.PATIENCE)
        client.lift(**ros.messages(*EMPTY))
        result = client.result(ros.PATIENCE)
    assert (result.success, result.error_code) == (True, '')
    assert (result.result.objects, result.result.success) == ([], True)
    answer = node.lift(LiftObject.Request(**ros.messages(*EMPTY)))
    assert (answer.success, answer.error_code) == (False, 'EMPTY_MASK')


def test_a_request_that_fails_leaves_the_topics_as_they_are(node, stream):
    assert len(stream.result(good).objects) == 2
    selector = ObjectSelector(mode=ObjectSelector.LABEL, label=9)
    answer = node.lift(LiftObject.Request(selector=selector, **ros.messages(*TWO)))
    assert answer.error_code == 'NO_OBJECT'
    count = len(stream.heard)
    assert node.lift(LiftObject.Request(selector=ObjectSelector(mode=2, label=1))).success
    ros.wait_until(lambda: len(stream.heard) > count)
    assert len(stream.heard) == count + 1
    assert stream.heard[-1].success


# --- age and latency ---


def test_a_frame_older_than_max_age_is_stale(node, stream):
    with parameter(node, 'max_age', 60, 0.0):
        assert stream.result(good).success
    # Nothing gets from one process to another so soon.
    with parameter(node, 'max_age', 1e-5, 0.0):
        stale = stream.result(good)
        assert [f.error_code for f in stale.failures] == ['STALE']
        assert not stream.deleted()
        answer = node.lift(LiftObject.Request())
        assert (answer.success, answer.error_code) == (False, 'STALE')
        own = node.lift(LiftObject.Request(**ros.messages(*BALL, stamp=1)))
        assert own.success, own.message
    assert stream.result(good).success


def test_a_result_says_how_old_it_is_and_where_its_time_went(node, stream):
    lifted = stream.result(good).objects[0]
    latency = lifted.latency
    assert 0.0 < seconds(latency.image_age) < ros.PATIENCE
    assert 0.0 <= seconds(latency.queued) < ros.PATIENCE
    assert 0.0 < seconds(latency.decoding) < ros.PATIENCE
    assert len(latency.stages) == len(latency.stage_seconds) > 3
    assert 'total' not in latency.stages
    assert 0.0 < sum(latency.stage_seconds) <= seconds(lifted.compute_time) + 0.01
    unstamped = node.lift(LiftObject.Request(**ros.messages(*BALL))).object
    assert seconds(unstamped.latency.image_age) == 0.0


# --- what is in a result ---


def test_a_result_without_mesh_is_on_the_topic_with_it(node, stream, output):
    request = LiftObject.Request(without_mesh=True, **ros.messages(*BALL, stamp=4_000_000_000))
    answer = node.lift(request)
    assert answer.success, answer.message
    lifted = answer.object
    assert lifted.size.z == pytest.approx(0.1, abs=0.02)
    for empty in (
        lifted.mesh.triangles, lifted.mesh.vertices, lifted.vertex_colors,
        lifted.vertex_confidence, lifted.vertex_observed, lifted.cloud.data,
    ):
        assert len(empty) == 0
    ros.wait_until(lambda: stream._of([4_000_000_000]))
    (whole,) = stream._of([4_000_000_000])[0].objects
    assert len(whole.mesh.triangles) > 100
    assert (whole.id, whole.pose) == (lifted.id, lifted.pose)
    saved = node.graph.call(
        SaveObject, node.name('save_object'), SaveObject.Request(id=lifted.id, path='ball.ply')
    )
    assert saved.success, saved.message
    assert (output / 'ball.ply').stat().st_size > 10_000
    with LiftClient(node.graph.node, '/results/lift3d') as client:
        assert client.wait_for_server(ros.PATIENCE)
        client.lift(without_mesh=True, **ros.messages(*TWO))
        result = client.result(ros.PATIENCE)
    assert len(result.result.objects) == 2
    assert not any(len(one.mesh.triangles) for one in result.result.objects)


def test_points_have_the_layout_that_pcl_reads(node):
    cloud = node.lift(LiftObject.Request(**ros.messages(*BALL))).object.cloud
    fields = {field.name: (field.offset, field.datatype) for field in cloud.fields}
    number = PointField.FLOAT32
    # pcl::PointXYZRGBNormal: a union of 4 floats each for position and normal, then rgb.
    assert fields == {
        'x': (0, number), 'y': (4, number), 'z': (8, number),
        'normal_x': (16, number), 'normal_y': (20, number), 'normal_z': (24, number),
        'rgb': (32, number), 'curvature': (36, number),
        'confidence': (40, number), 'observed': (44, PointField.UINT8),
    }
    assert cloud.point_step == POINT.itemsize == 48
    assert cloud.row_step == 48 * cloud.width == len(cloud.data)
    rows = np.frombuffer(cloud.data, np.float32).reshape(-1, 12)
    np.testing.assert_allclose(np.linalg.norm(rows[:, 4:7], axis=1), 1.0, atol=1e-4)


def test_notes_of_the_inputs_are_notes_of_the_object(node):
    request = LiftObject.Request(**ros.messages(*BALL))
    small = ros.messages(BALL[0], BALL[1][::2, ::2])['mask']
    request.mask = small
    answer = node.lift(request)
    assert answer.success, answer.message
    assert any('resized' in note for note in answer.object.notes)
    for note in answer.object.notes:
        assert note in answer.message


def test_the_constants_of_the_messages_are_the_values_of_the_library():
    def constants(kind: type, prefix: str = '') -> set[str]:
        names = [n for n in vars(type(kind)) if n.isupper() and n.startswith(prefix)]
        return {getattr(kind, name) for name in names if isinstance(getattr(kind, name), str)}

    assert constants(LiftFailure) == {code.value for code in ErrorCode}
    assert all(getattr(LiftFailure, code.name) == code.value for code in ErrorCode)
    assert constants(LiftedObject, 'SCALE_') == {*SOURCES, UNKNOWN}
    assert constants(LiftedObject, 'ELEVATION_') == {'gravity', 'plane', 'estimated', 'assumed'}


# --- live parameters ---


def test_mode_samples_and_max_faces_change_while_active(node, stream):
    whole = node.lift(LiftObject.Request(**ros.messages(*BALL))).object
    with parameter(node, 'max_faces', 600, 20_000), parameter(node, 'samples', 3, 1):
        small = node.lift(LiftObject.Request(**ros.messages(*BALL))).object
        assert len(small.mesh.triangles) <= 600 < len(whole.mesh.triangles)
        assert max(len(o.mesh.triangles) for o in stream.result(good).objects) <= 600
    with parameter(node, 'mode', 'on_request', 'continuous'):
        stamp = stream.send(good())
        ros.wait_until(lambda: node.status('lifting')[1]['idle'] == 'True')
        assert node.lift(LiftObject.Request(selector=ObjectSelector(mode=2, label=1))).success
        assert {len(array.objects) for array in stream._of([stamp])} <= {1}
    assert len(stream.result(good).objects) == 2


def test_requests_in_the_queue_keep_their_parameters(node):
    service = node.graph.node.create_client(LiftObject, node.name('lift_object'))
    assert service.wait_for_service(ros.PATIENCE)
    first = service.call_async(LiftObject.Request(**ros.messages(*BALL)))
    second = service.call_async(LiftObject.Request(**ros.messages(*BALL)))
    ros.wait_until(
        lambda: first.done() or node.status('lifting')[1]['requests waiting'] == '1', 5.0
    )
    with parameter(node, 'max_faces', 500, 20_000):
        done = [wait_for(future, ros.PATIENCE) for future in (first, second)]
        assert all(answer.success for answer in done), [answer.message for answer in done]


def test_introspection_is_switched_on_and_off_by_a_parameter(node):
    pytest.importorskip('rclpy.service_introspection')
    kind = LiftObject.Event
    topic = node.name('lift_object') + '/_service_event'
    with node.graph.listen(kind, topic, 10) as events:
        with parameter(node, 'introspection', 'metadata', 'off'):
            ros.wait_until(lambda: node.graph.node.count_publishers(topic))
            ros.wait_until(lambda: node.lift(LiftObject.Request(method='none')) and events)
            assert not any(event.request or event.response for event in events)
        with parameter(node, 'introspection', 'contents', 'off'):
            events.clear()
            ros.wait_until(
                lambda: node.lift(LiftObject.Request(**ros.messages(*BALL))).success
                and any(event.response for event in events)
            )
            answered = next(event.response[0] for event in events if event.response)
            assert len(answered.object.mesh.triangles) > 100


# --- every request gets an answer ---


def answers(node: ros.NodeProcess, requests: list[LiftObject.Request]) -> list[str]:
    """
    Send requests at once and return the error codes of their answers.

    The client keeps as many as it sends: the default of ten loses some where it is slow to read.
    """
    service = node.graph.node.create_client(
        LiftObject, node.name('lift_object'), qos_profile=REQUESTS)
    assert service.wait_for_service(ros.PATIENCE)
    # This side knows the other before the other knows this one.
    assert wait_for(service.call_async(requests[0]), ros.PATIENCE).error_code in ('', 'BUSY')
    waiting = [service.call_async(request) for request in requests]
    return [wait_for(future, ros.PATIENCE).error_code for future in waiting]


def test_thirty_requests_of_the_newest_frame_at_once_all_get_an_answer(node, stream):
    assert stream.result(good).success
    selector = ObjectSelector(mode=ObjectSelector.LABEL, label=1)
    requests = [LiftObject.Request(selector=selector, without_mesh=True)] * 30
    codes = answers(node, requests)
    assert set(codes) == {'', 'BUSY'}
    assert codes.count('') >= 3, 'one is worked on, queue_size wait'


def test_thirty_requests_with_images_at_once_all_get_an_answer(node):
    requests = [LiftObject.Request(without_mesh=True, **ros.messages(*BALL)) for _ in range(30)]
    codes = answers(node, requests)
    assert set(codes) == {'', 'BUSY'}
    assert codes.count('') >= 3


def test_thirty_saves_at_once_all_get_an_answer(node, output):
    assert node.lift(LiftObject.Request(**ros.messages(*BALL))).success
    service = node.graph.node.create_client(
        SaveObject, node.name('save_object'), qos_profile=REQUESTS)
    assert service.wait_for_service(ros.PATIENCE)
    # As in `answers`: this side knows the other before the other knows this one.
    first = service.call_async(SaveObject.Request(path='many/0.stl'))
    assert wait_for(first, ros.PATIENCE).success
    waiting = [
        service.call_async(SaveObject.Request(path=f'many/{number}.stl'))
        for number in range(1, 30)
    ]
    answers = [wait_for(future, ros.PATIENCE) for future in waiting]
    assert all(answer.success for answer in answers), [answer.message for answer in answers]
    assert len(list((output / 'many').glob('*.stl'))) == 30


def test_twenty_goals_at_once_all_get_a_result(node):
    clients = [LiftClient(node.graph.node, '/results/lift3d') for _ in range(20)]
    try:
        assert all(client.wait_for_server(ros.PATIENCE) for client in clients)
        for client in clients:
            client.lift(without_mesh=True, **ros.messages(*BALL))
        codes = [client.result(ros.PATIENCE).error_code for client in clients]
    finally:
        for client in clients:
            client.close()
    assert set(codes) == {'', 'BUSY'}
    assert codes.count('') >= 3


def test_the_requests_that_wait_end_with_the_node(node):
    service = node.graph.node.create_client(LiftObject, node.name('lift_object'))
    assert service.wait_for_service(ros.PATIENCE)
    waiting = [
        service.call_async(LiftObject.Request(**ros.messages(*ros.MANY))) for _ in range(6)
    ]
    assert node.change(Transition.TRANSITION_DEACTIVATE)
    codes = {wait_for(future, ros.PATIENCE).error_code for future in waiting}
    assert codes <= {'', 'BUSY', 'NOT_ACTIVE'}
    assert node.change(Transition.TRANSITION_ACTIVATE)
