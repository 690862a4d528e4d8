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


"""Whole scenes from a node in another process: action, topics, files, views, refusals."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip('rclpy')
pytest.importorskip('lift3d_ros.msg')

from action_msgs.msg import GoalStatus
import ros_helpers as ros
from scene_helpers import make_room
from sensor_msgs.msg import Image
from sensor_msgs.msg import PointCloud2
from stream_helpers import camera
from visualization_msgs.msg import Marker

from lift3d_ros.action import LiftScene
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import invert
from lift3d_ros.geometry import rigid
from lift3d_ros.geometry import transform
from lift3d_ros.messages.geometry import pose_matrix
from lift3d_ros.messages.results import POINT
from lift3d_ros.msg import LiftedObjectArray
from lift3d_ros.msg import SceneVoxels
from lift3d_ros.node.client import LiftClient
from lift3d_ros.node.messages.geometry import duration_message
from lift3d_ros.node.messages.geometry import pose_message
from lift3d_ros.node.outputs.publishing import LATCHED
from lift3d_ros.srv import SynthesizeViews

pytestmark = pytest.mark.ros

ROOM = make_room(Camera.from_fov(160, 120, 60.0))

#: The labels of the room: box and brick.
LABELS = sum((k + 1) * mask.astype(np.uint8) for k, mask in enumerate(ROOM.masks.values()))


@pytest.fixture(scope='module')
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp('output')


@pytest.fixture(scope='module')
def node(graph: ros.Graph, output: Path) -> Iterator[ros.NodeProcess]:
    with ros.running(
        graph, 'scenes', '--autostart', mask_source='label', output_dir=str(output),
        scene_marker_max_faces=3000, max_faces=1000, scene_resolution=0.03, cloud_points=1000,
    ) as node:
        yield node


@pytest.fixture(scope='module')
def action(graph: ros.Graph, node: ros.NodeProcess) -> Iterator[ros.ActionCaller]:
    caller = ros.ActionCaller(graph, LiftScene, node.name('lift_scene'))
    yield caller
    caller.close()


def goal(frame=ROOM.frame, labels=LABELS, **fields: Any) -> LiftScene.Goal:
    made = ros.messages(replace(frame, depth=ROOM.frame.depth), labels, stamp=3_000_000_004)
    if frame.depth is None:
        made['depth'] = Image()
    return LiftScene.Goal(**{**made, **fields})


def lift(action: ros.ActionCaller, message: LiftScene.Goal) -> LiftScene.Result:
    return action.result(action.send(message))[1]


def ask(node: ros.NodeProcess, message: SynthesizeViews.Request) -> SynthesizeViews.Response:
    return node.graph.call(SynthesizeViews, node.name('synthesize_views'), message, ros.PATIENCE)


# The first test: it must see the node before any scene is lifted.


def test_without_a_scene_there_are_no_views_of_it(node):
    answer = ask(node, SynthesizeViews.Request(scene=True, view_poses=[pose_message(np.eye(4))]))
    assert (answer.success, answer.error_code) == (False, 'NO_OBJECT')


@pytest.fixture(scope='module')
def lifted(graph, node, action, output) -> tuple[LiftScene.Result, list[Any], dict[str, Any]]:
    """Return a result, its feedback, and what was heard on the topics."""
    feedback: list[Any] = []
    with graph.listen(PointCloud2, node.name('scene_points'), LATCHED) as points, \
            graph.listen(Marker, node.name('scene_marker'), LATCHED) as markers, \
            graph.listen(LiftedObjectArray, node.name('objects'), LATCHED) as objects:
        status, result = action.result(
            action.send(goal(path='rooms/first.ply'), feedback.append))
        assert result.success, result.message
        assert status == GoalStatus.STATUS_SUCCEEDED
        ros.wait_until(lambda: points and markers and objects)
        # Feedback and result come on different ways.
        ros.wait_until(lambda: feedback[-1].stage == 'done')
    heard = {'points': points[-1], 'marker': markers[-1], 'objects': objects[-1]}
    return result, feedback, heard


def test_the_feedback_names_the_stages_and_never_falls(lifted):
    _, feedback, _ = lifted
    stages = [message.stage for message in feedback]
    order = ['queued', 'objects', 'planes', 'background', 'voxels', 'files', 'done']
    assert [stage for stage in order if stage in stages] == order
    assert stages.index('objects') < stages.index('planes') < stages.index('done')
    progress = [message.progress for message in feedback]
    assert progress == sorted(progress) and progress[-1] == 1.0


def test_the_result_is_the_scene_at_the_stamp_of_the_image(lifted):
    scene = lifted[0].scene
    assert (scene.header.stamp.sec, scene.header.stamp.nanosec) == (3, 4)
    assert scene.header.frame_id == ros.FRAME_ID
    count = len(scene.mesh.vertices)
    assert count == len(scene.vertex_confidence) == len(scene.vertex_observed)
    assert count == len(scene.vertex_part) == len(scene.vertex_colors)
    assert set(scene.vertex_part) == {-1, 0, 1}
    assert {each.id for each in scene.objects} == {'label_1', 'label_2'}
    assert scene.scale_source == 'depth'
    part = np.array(scene.vertex_part)
    vertices = np.array([(v.x, v.y, v.z) for v in scene.mesh.vertices])
    number = [each.id for each in scene.objects].index('label_2')
    brick = transform(ROOM.T_world_camera, vertices[part == number]).mean(axis=0)
    assert np.hypot(*(brick[:2] - (0.15, 0.25))) < 0.05


def test_planes_and_voxels_are_in_the_frame_of_the_header(lifted):
    scene = lifted[0].scene
    first = scene.planes[0]
    assert first.carries == first.CARRIES_UNKNOWN, 'the node has no gravity here'
    on_floor = transform(invert(ROOM.T_world_camera), np.array([[0.6, 0.0, 0.0]]))[0]
    assert abs(on_floor @ first.plane.coef[:3] + first.plane.coef[3]) < 0.01
    voxels = scene.voxels
    shape = (voxels.size_x, voxels.size_y, voxels.size_z)
    states = np.array(voxels.states, np.uint8).reshape(shape)
    in_box = transform(invert(ROOM.T_world_camera), np.array([[-0.02, -0.15, 0.1]]))
    before = transform(invert(ROOM.T_world_camera), np.array([[0.6, 0.0, 0.4]]))
    found = []
    for point in (in_box, before):
        local = transform(invert(pose_matrix(voxels.origin)), point)[0] / voxels.resolution
        found.append(int(states[tuple(local.astype(int))]))
    assert found[0] in (SceneVoxels.OCCUPIED, SceneVoxels.PREDICTED)
    assert found[1] == SceneVoxels.FREE


def test_points_marker_and_objects_are_published(lifted):
    result, _, heard = lifted
    cloud = heard['points']
    assert cloud.header == result.scene.header
    rows = np.frombuffer(bytes(cloud.data), POINT)
    assert len(rows) == cloud.width > 1000
    assert set(np.unique(rows['observed'])) == {0, 1}
    assert rows['confidence'][rows['observed'] == 1].mean() > rows['confidence'][
        rows['observed'] == 0].mean()
    marker = heard['marker']
    assert marker.type == Marker.TRIANGLE_LIST
    assert 300 < len(marker.points) == len(marker.colors) <= 9000
    assert {each.id for each in heard['objects'].objects} == {'label_1', 'label_2'}


def test_files_are_written_below_the_output_dir_only(lifted, action, output):
    files = [Path(file) for file in lifted[0].files]
    assert {file.name for file in files} == {
        'first.ply', 'first.bt', 'first_voxels.npz', 'first_height.npz', 'first_height.png'}
    assert all(file.parent == output / 'rooms' and file.stat().st_size for file in files)
    for path, overwrite in (
        ('rooms/first.ply', False), ('../out.ply', True), ('rooms/first.doc', True),
    ):
        assert lift(action, goal(path=path, overwrite=overwrite)).error_code == 'BAD_REQUEST'


def test_without_objects_and_mesh_it_is_background_in_few_bytes(action):
    result = lift(action, goal(without_objects=True, without_mesh=True))
    assert result.success, result.message
    assert not result.scene.objects and not result.scene.mesh.vertices
    assert not result.scene.voxels.states and result.scene.planes


def test_a_goal_is_cancelled_in_the_middle(action):
    feedback: list[Any] = []
    handle = action.send(goal(), feedback.append)
    ros.wait_until(lambda: any(message.stage != 'queued' for message in feedback))
    action.cancel(handle)
    status, result = action.result(handle)
    assert (status, result.error_code) == (GoalStatus.STATUS_CANCELED, 'CANCELLED')
    # The worker is free again.
    assert lift(action, goal(without_objects=True)).success


def test_a_deadline_ends_a_goal(action):
    assert lift(action, goal(timeout=duration_message(0.01))).error_code == 'TIMEOUT'


def test_without_a_frame_a_goal_says_so(action):
    assert lift(action, LiftScene.Goal()).error_code == 'BAD_IMAGE'


def test_a_goal_without_an_image_takes_the_newest_frame_which_needs_no_mask(node, action):
    topics = 'image,camera_info,depth'
    with camera(node.namespace, '--topics', topics, '--latched', topics, '--size', '160', '120'):
        def lifts():
            newest = lift(action, LiftScene.Goal(without_mesh=True))
            assert newest.success or newest.error_code in ('BAD_IMAGE', 'NO_CAMERA')
            return newest if newest.success else None

        ros.wait_until(lifts)
        result = lift(action, LiftScene.Goal(without_mesh=True))
    assert result.success, result.message
    assert result.scene.header.stamp.sec > 0 and result.scene.planes
    assert not result.scene.objects and not result.failures


def test_an_object_that_cannot_be_lifted_is_named_and_stays_background(action):
    labels = LABELS.copy()
    labels[2:5, 2:5] = 9
    result = lift(action, goal(labels=labels))
    assert result.success, result.message
    assert [(each.id, each.error_code) for each in result.failures] == [
        ('label_9', 'MASK_TOO_SMALL')]
    assert len(result.scene.objects) == 2


def test_a_frame_without_depth_and_gravity_is_refused(action):
    result = lift(action, goal(replace(ROOM.frame, depth=None)))
    assert (result.success, result.error_code) == (False, 'BAD_REQUEST')


@pytest.mark.parametrize(('fields', 'code'), [
    ({'method': 'magic'}, 'BAD_REQUEST'),
    ({'resolution': -1.0}, 'BAD_REQUEST'),
    ({'resolution': float('nan')}, 'BAD_REQUEST'),
    ({'resolution': 1e-4}, 'BAD_REQUEST'),
])
def test_invalid_goals_have_their_code(action, fields, code):
    assert lift(action, goal(without_objects=True, **fields)).error_code == code


def test_a_small_memory_budget_makes_larger_voxels(node, action):
    try:
        assert node.set_parameter('scene_memory', 128).successful
        refused = lift(action, goal(without_objects=True, resolution=0.01))
        assert node.set_parameter('scene_resolution', 0.0).successful
        coarser = lift(action, goal(without_objects=True)).scene.voxels
    finally:
        assert node.set_parameter('scene_memory', 512).successful
        assert node.set_parameter('scene_resolution', 0.03).successful
    assert refused.error_code == 'BAD_REQUEST'
    assert 300_000 < len(coarser.states) <= 0.5 * 128e6 / 110


def test_a_field_of_a_scene_is_reported_and_cancelled_while_it_is_optimised(node, action):
    feedback: list[Any] = []
    try:
        assert node.set_parameter('scene_fill', 'zeronvs').successful
        handle = action.send(goal(without_objects=True), feedback.append)
        ros.wait_until(lambda: any(message.stage == 'optimise' for message in feedback))
        action.cancel(handle)
        status, result = action.result(handle)
    finally:
        assert node.set_parameter('scene_fill', 'planes').successful
    assert (status, result.error_code) == (GoalStatus.STATUS_CANCELED, 'CANCELLED')


def test_parameters_of_scenes_have_ranges(node):
    assert not node.set_parameter('scene_fill', 'magic').successful
    for name, value in (('scene_budget', 0.0), ('scene_memory', 64), ('scene_width', 9)):
        assert not node.set_parameter(name, value).successful


def test_views_of_the_last_scene_are_images_with_depth(node, action):
    assert lift(action, goal()).success
    to_camera = invert(ROOM.T_world_camera)
    inside = transform(to_camera, np.array([[-0.02, -0.15, 0.1]]))[0]
    poses = [np.eye(4), rigid(np.eye(3), inside)]
    answer = ask(node, SynthesizeViews.Request(
        scene=True, view_poses=[pose_message(T) for T in poses], view_width=80))
    assert answer.success, answer.message
    assert len(answer.images) == len(answer.depths) == len(answer.poses) == 2
    assert (answer.images[0].encoding, answer.depths[0].encoding) == ('rgb8', '32FC1')
    assert (answer.camera_info.width, answer.camera_info.height) == (80, 60)
    depth = np.frombuffer(bytes(answer.depths[0].data), np.float32).reshape(60, 80)
    truth = ROOM.frame.depth[::2, ::2]
    seen = (depth > 0.0) & (LABELS[::2, ::2] == 0)
    assert np.median(np.abs(depth - truth)[seen]) < 0.03
    assert list(answer.unobstructed) == [True, False]
    assert any('label_1' in note for note in answer.view_notes)
    assert answer.scale_source == 'depth'


def test_views_of_the_frame_in_the_request_change_no_topic(graph, node):
    with graph.listen(LiftedObjectArray, node.name('objects')) as objects:
        answer = ask(node, SynthesizeViews.Request(
            scene=True, view_poses=[pose_message(np.eye(4))],
            **ros.messages(ROOM.frame, LABELS)))
        assert answer.success, answer.message
        assert not objects
    assert answer.images[0].width == 160


@pytest.mark.parametrize(('count', 'width'), [(0, 80), (501, 16), (500, 320), (1, 5)])
def test_too_many_or_too_large_views_are_refused(node, count, width):
    poses = [pose_message(np.eye(4))] * count
    answer = ask(node, SynthesizeViews.Request(scene=True, view_poses=poses, view_width=width))
    assert (answer.success, answer.error_code) == (False, 'BAD_REQUEST')


def test_five_hundred_small_views_come_in_one_response(node):
    line = np.linspace(-0.1, 0.1, 500)
    poses = [pose_message(rigid(np.eye(3), [x, 0.0, 0.0])) for x in line]
    answer = ask(node, SynthesizeViews.Request(scene=True, view_poses=poses, view_width=16))
    assert answer.success, answer.message
    assert len(answer.images) == 500


def test_the_client_lifts_scenes_and_objects_in_turn(node):
    message = goal()
    frame = {name: getattr(message, name) for name in ('image', 'camera_info', 'depth', 'mask')}
    with LiftClient(node.graph.node, '/scenes/lift3d') as client:
        assert client.wait_for_server(ros.PATIENCE)
        client.lift_scene(**frame, path='rooms/client.ply')
        with pytest.raises(RuntimeError):
            client.lift()
        scene = client.result(ros.PATIENCE)
        assert scene.success, scene.message
        assert len(scene.scene.objects) == 2
        assert any(name.endswith('rooms/client.ply') for name in scene.files)
        client.lift(**frame)
        assert len(client.result(ros.PATIENCE).result.objects) == 2
        client.lift_scene(**frame, method='none')
        refused = client.result(ros.PATIENCE)
        assert isinstance(refused, LiftScene.Result)
        assert refused.error_code == 'BAD_REQUEST'
        client.lift_scene(**frame)
        client.cancel()
        assert client.result(ros.PATIENCE).error_code == 'CANCELLED'
