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

"""Requests to a node in another process: service, action, feedback, cancel, queue, deadline."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
import time

import numpy as np
import pytest

pytest.importorskip('rclpy')
pytest.importorskip('lift3d_ros.msg')

from lifecycle_msgs.msg import Transition
import ros_helpers as ros
from ros_helpers import BALL
from ros_helpers import MANY
from ros_helpers import TWO
from sensor_msgs.msg import Image
from sensor_msgs.msg import RegionOfInterest

from lift3d_ros.messages.geometry import pose_matrix
from lift3d_ros.messages.geometry import seconds
from lift3d_ros.messages.results import mesh_from_message
from lift3d_ros.messages.results import POINT
from lift3d_ros.msg import ObjectSelector
from lift3d_ros.node.client import LiftClient
from lift3d_ros.node.executors.background import wait_for
from lift3d_ros.node.messages.geometry import duration_message
from lift3d_ros.srv import LiftObject
from lift3d_ros.srv import SaveObject

pytestmark = pytest.mark.ros



@pytest.fixture(scope='module')
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp('output')


@pytest.fixture(scope='module')
def node(graph: ros.Graph, output: Path) -> Iterator[ros.NodeProcess]:
    with ros.running(
        graph, 'requests', '--autostart', queue_size=1, output_dir=str(output), use_depth=True
    ) as node:
        yield node


def request(scene=BALL, **fields) -> LiftObject.Request:
    return LiftObject.Request(**{**ros.messages(*scene), **fields})


def start(client: LiftClient, scene=MANY, **fields) -> None:
    """Begin a long request and wait until the worker is at it."""
    client.lift(**ros.messages(*scene), **fields)
    ros.wait_until(
        lambda: client.is_done() or (client.feedback() or ObjectCount).object_count > 0
    )
    assert not client.is_done(), client.result().message


class ObjectCount:
    object_count = 0


def test_the_service_answers_with_the_whole_object(node):
    message = request()
    for part in (message.image, message.depth, message.mask, message.camera_info):
        part.header = ros.stamped(1_234_000_000_005)
    message.selector.class_id = 'ball'
    answer = node.lift(message)
    assert answer.success, answer.message
    assert answer.error_code == ''
    lifted = answer.object
    assert (lifted.header.stamp.sec, lifted.header.stamp.nanosec) == (1234, 5)
    assert lifted.header.frame_id == ros.FRAME_ID
    assert (lifted.class_id, lifted.score, lifted.method) == ('ball', 1.0, 'geometric')
    assert lifted.scale_source == 'depth'
    assert 0.0 < lifted.confidence <= 1.0
    assert 0.0 < seconds(lifted.compute_time) < ros.PATIENCE
    mesh = mesh_from_message(lifted)
    assert mesh.is_watertight()
    assert mesh.volume() > 0.0
    count = len(mesh.vertices)
    assert len(mesh.colors) == len(lifted.vertex_confidence) == count
    assert len(lifted.vertex_observed) == count
    assert 0 < sum(lifted.vertex_observed) < count
    # A ball of 10 cm that stands on the table's origin, 0.6 m before the camera.
    size = [lifted.size.x, lifted.size.y, lifted.size.z]
    np.testing.assert_allclose(size, 0.1, atol=0.015)
    T = pose_matrix(lifted.pose.pose)
    np.testing.assert_allclose(T[:3, :3].T @ T[:3, :3], np.eye(3), atol=1e-6)
    up = T[:3, 2]
    np.testing.assert_allclose(up, -BALL[0].gravity, atol=0.1)
    covariance = lifted.pose.covariance.reshape(6, 6)
    np.testing.assert_allclose(covariance, covariance.T, atol=1e-9)
    assert (np.linalg.eigvalsh(covariance) > 0.0).all()


def test_the_cloud_lies_on_the_mesh_in_the_frame_of_the_header(node):
    lifted = node.lift(request()).object
    names = [field.name for field in lifted.cloud.fields]
    assert names == [
        'x', 'y', 'z', 'normal_x', 'normal_y', 'normal_z', 'rgb', 'curvature', 'confidence',
        'observed',
    ]
    rows = np.frombuffer(lifted.cloud.data, POINT)
    assert len(rows) == lifted.cloud.width == 10_000
    place = np.stack([rows['x'], rows['y'], rows['z']], axis=1)
    mesh = mesh_from_message(lifted).transformed(pose_matrix(lifted.pose.pose))
    assert (place.min(axis=0) > mesh.vertices.min(axis=0) - 1e-4).all()
    assert (place.max(axis=0) < mesh.vertices.max(axis=0) + 1e-4).all()
    colour = rows['rgb'].view(np.uint32)
    assert np.median(colour >> 16 & 255) > np.median(colour & 255), 'the ball is red'
    assert set(np.unique(rows['observed'])) == {0, 1}
    normals = np.stack([rows['normal_x'], rows['normal_y'], rows['normal_z']], axis=1)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1.0, atol=1e-4)
    # A ball: away from its middle.
    outward = place - place.mean(axis=0)
    cosine = (normals * outward).sum(axis=1) / np.linalg.norm(outward, axis=1)
    assert np.median(cosine) > 0.95


def test_the_same_seed_gives_the_same_mesh(node):
    first, second = (mesh_from_message(node.lift(request(seed=3)).object) for _ in range(2))
    np.testing.assert_array_equal(first.vertices, second.vertices)


def test_requests_select_by_pixel_box_and_label(node):
    v, u = (int(c) for c in np.argwhere(TWO[1] == 2).mean(axis=0))
    box = RegionOfInterest(x_offset=u - 10, y_offset=v - 10, width=20, height=20)
    for selector in (
        ObjectSelector(mode=ObjectSelector.PIXEL, u=u, v=v),
        ObjectSelector(mode=ObjectSelector.BOX, box=box),
        ObjectSelector(mode=ObjectSelector.LABEL, label=2),
    ):
        answer = node.lift(request(TWO, selector=selector))
        assert answer.success, answer.message
        np.testing.assert_allclose(answer.object.size.z, 0.08, atol=0.015)
    assert answer.object.id == 'label_2'
    largest = node.lift(request(TWO))
    np.testing.assert_allclose(largest.object.size.z, 0.1, atol=0.015)


def test_a_box_without_a_mask_finds_the_object_before_its_background(node):
    rows, columns = np.nonzero(BALL[1])
    left, top = int(columns.min()) - 12, int(rows.min()) - 12
    box = RegionOfInterest(
        x_offset=left,
        y_offset=top,
        width=int(columns.max()) + 12 - left,
        height=int(rows.max()) + 12 - top,
    )
    selector = ObjectSelector(mode=ObjectSelector.BOX, box=box)
    answer = node.lift(request(selector=selector, mask=Image()))
    assert answer.success, answer.message
    np.testing.assert_allclose(answer.object.size.z, 0.1, atol=0.03)


def test_a_box_without_depth_is_segmented_by_colour_and_says_so(node):
    rows, columns = np.nonzero(BALL[1])
    left, top = int(columns.min()) - 8, int(rows.min()) - 8
    box = RegionOfInterest(
        x_offset=left,
        y_offset=top,
        width=int(columns.max()) + 8 - left,
        height=int(rows.max()) + 8 - top,
    )
    selector = ObjectSelector(mode=ObjectSelector.BOX, box=box)
    answer = node.lift(request(selector=selector, mask=Image(), depth=Image()))
    assert answer.success, answer.message
    assert answer.object.scale_source == 'unknown'
    assert any('colour' in note for note in answer.object.notes)


def test_the_action_lifts_all_objects_and_reports_progress(client):
    heard = []
    client.lift(**ros.messages(*TWO))
    while not client.is_done():
        feedback = client.feedback()
        if feedback is not None and (not heard or feedback != heard[-1]):
            heard.append(feedback)
        time.sleep(0.005)
    result = client.result()
    assert result.success, result.message
    assert len(result.result.objects) == 2
    ids = [lifted.id for lifted in result.result.objects]
    assert len(set(ids)) == 2
    assert all(mesh_from_message(lifted).is_watertight() for lifted in result.result.objects)
    progress = [feedback.progress for feedback in heard]
    assert progress == sorted(progress)
    assert len({feedback.stage for feedback in heard}) >= 3
    assert {feedback.object_id for feedback in heard if feedback.object_count} == set(ids)
    assert {feedback.object_index for feedback in heard} == {0, 1}


def test_ids_stay_with_their_objects(client):
    found = []
    for _ in range(2):
        client.lift(**ros.messages(*TWO))
        objects = client.result(ros.PATIENCE).result.objects
        found.append({lifted.id: round(lifted.size.z, 3) for lifted in objects})
    assert found[0] == found[1]


def test_cancel_in_the_middle_ends_the_action_and_frees_the_worker(client, node):
    start(client)
    client.cancel()
    result = client.result(ros.PATIENCE)
    assert (result.success, result.error_code) == (False, 'CANCELLED')
    assert len(result.result.objects) < 9
    assert node.lift(request()).success


def test_cancel_before_the_start_and_after_the_end(client, graph):
    with LiftClient(graph.node, '/requests/lift3d') as other:
        start(client)
        other.lift(**ros.messages(*BALL))
        ros.wait_until(lambda: other.feedback() is not None)
        assert other.feedback().stage == 'queued'
        other.cancel()
        assert other.result(ros.PATIENCE).error_code == 'CANCELLED'
        assert not client.is_done(), 'the queued request waited for the running one'
        client.cancel()
        client.result(ros.PATIENCE)
        client.cancel()
        assert client.result().error_code == 'CANCELLED'


def test_a_request_that_was_given_up_does_not_answer_the_next(client, node):
    start(client)
    with pytest.raises(TimeoutError):
        client.result(0.01)
    client.lift(**ros.messages(*BALL))
    assert len(client.result(ros.PATIENCE).result.objects) == 1


def test_a_full_queue_is_busy_at_once(client, graph, node):
    start(client)
    service = graph.node.create_client(LiftObject, node.name('lift_object'))
    waiting = [service.call_async(request()) for _ in range(3)]
    # One of the three waits, the two others are turned away while the action still runs.
    ros.wait_until(lambda: sum(f.done() for f in waiting) == 2)
    assert not client.is_done()
    assert {f.result().error_code for f in waiting if f.done()} == {'BUSY'}
    client.cancel()
    assert sum(wait_for(f, ros.PATIENCE).success for f in waiting) == 1


def test_the_deadline_counts_the_time_in_the_queue(client, node):
    start(client)
    answer = node.lift(request(timeout=duration_message(0.3)))
    assert answer.error_code == 'TIMEOUT'
    assert not client.is_done(), 'the queued request waited for the running one'
    client.cancel()
    client.result(ros.PATIENCE)


def test_the_deadline_ends_what_runs(node):
    answer = node.lift(request(timeout=duration_message(0.1)))
    assert answer.error_code == 'TIMEOUT'
    assert node.lift(request()).success


def test_deactivated_during_a_request_it_ends_with_not_active(client, node):
    start(client)
    assert node.change(Transition.TRANSITION_DEACTIVATE)
    assert client.result(ros.PATIENCE).error_code == 'NOT_ACTIVE'
    assert node.lift(request()).error_code == 'NOT_ACTIVE'
    assert node.change(Transition.TRANSITION_ACTIVATE)
    assert node.lift(request()).success


def test_save_object_writes_below_the_output_dir_only(node, output, graph):
    # The texture of a body takes seconds for the default number of faces.
    assert node.set_parameter('max_faces', 2000).successful
    lifted = node.lift(request()).object

    def save(path: str, id_: str = '', overwrite: bool = False) -> SaveObject.Response:
        return graph.call(
            SaveObject,
            node.name('save_object'),
            SaveObject.Request(id=id_, path=path, overwrite=overwrite),
            ros.PATIENCE,
        )

    for suffix in ('ply', 'glb', 'obj', 'stl'):
        answer = save(f'some/where/mesh.{suffix}', lifted.id)
        assert answer.success, answer.message
        assert Path(answer.path) == output / 'some' / 'where' / f'mesh.{suffix}'
        assert Path(answer.path).stat().st_size > 10_000
    assert save('some/where/mesh.ply').error_code == 'BAD_REQUEST'
    assert save('some/where/mesh.ply', overwrite=True).success
    pytest.importorskip('xatlas')
    for suffix in ('urdf', 'xml'):
        answer = save(f'body/mug.{suffix}', overwrite=True)
        assert answer.success, answer.message
        assert Path(answer.path).with_name('mug_collision_0.stl').exists()
    (output / 'body' / 'mug.urdf').unlink()
    assert 'mug_visual.obj exists' in save('body/mug.urdf').message
    (output / 'link').symlink_to('/tmp')
    for path in ('../out.ply', '/tmp/out.ply', 'a/../../out.ply', 'link/out.ply', '', 'mesh.xyz'):
        assert save(path).error_code == 'BAD_REQUEST', path
    assert save('mesh.ply', 'nobody').error_code == 'NO_OBJECT'
