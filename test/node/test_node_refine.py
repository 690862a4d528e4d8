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

"""Further frames and standing objects at a node in another process."""

from __future__ import annotations

from collections.abc import Iterator
import functools
import time
from typing import Any

import numpy as np
import pytest

pytest.importorskip('rclpy')
pytest.importorskip('lift3d_ros.msg')

from geometry_msgs.msg import Pose
import ros_helpers as ros
from sensor_msgs.msg import Image

from lift3d_ros.bench.metrics import distances
from lift3d_ros.bench.metrics import sample_surface
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import invert
from lift3d_ros.geometry import rigid
from lift3d_ros.messages.geometry import pose_matrix
from lift3d_ros.messages.results import mesh_from_message
from lift3d_ros.msg import LiftedObject
from lift3d_ros.msg import ObjectSelector
from lift3d_ros.node.client import LiftClient
from lift3d_ros.node.messages.geometry import pose_message
from lift3d_ros.srv import LiftObject
from lift3d_ros.synthetic.procedural import procedural_object
from lift3d_ros.synthetic.tabletop import make_scene
from lift3d_ros.synthetic.tabletop import TableScene
from lift3d_ros.synthetic.tabletop import TableSettings

pytestmark = pytest.mark.ros

SHOE = procedural_object(5, 'shoe')
FIRST, SIDE, BACK = 0.0, 100.0, 200.0


@functools.cache
def scene_of(azimuth: float) -> TableScene:
    """Return the shoe on its table, seen from an azimuth in degrees."""
    settings = TableSettings(
        azimuth=(azimuth, azimuth), elevation=(30.0, 40.0), distance=(0.6, 0.7),
        camera=Camera(320, 240, 280.0, 280.0, 160.0, 120.0), table_cells=24,
    )
    return make_scene(SHOE, 7, settings)


def camera_pose(azimuth: float) -> Pose:
    """Return the pose of that camera in the shoe's own frame, which stands still."""
    return pose_message(invert(scene_of(azimuth).T_camera_object))


def messages(azimuth: float, stamp: int = 0) -> dict[str, Any]:
    scene = scene_of(azimuth)
    return ros.messages(scene.frame, 255 * scene.mask.astype(np.uint8), stamp=stamp)


def request(azimuth: float, *further: float, posed: bool = True, **fields) -> LiftObject.Request:
    """Return a request with the frame at an azimuth, and further ones."""
    others = [messages(other) for other in further]
    poses = [camera_pose(other) for other in (azimuth, *further)]
    return LiftObject.Request(**{
        **messages(azimuth),
        'further_images': [other['image'] for other in others],
        'further_camera_infos': [other['camera_info'] for other in others],
        'further_depths': [other['depth'] for other in others],
        'further_masks': [other['mask'] for other in others],
        'camera_poses': poses if posed else [],
        **fields,
    })


def error_of(lifted: LiftedObject, azimuth: float) -> float:
    """Return the chamfer distance to the truth in the optical frame of a camera, metres."""
    mesh = mesh_from_message(lifted).transformed(pose_matrix(lifted.pose.pose))
    truth = scene_of(azimuth).mesh_in_camera()
    return distances(sample_surface(mesh, 4000), sample_surface(truth, 4000)).chamfer()


@pytest.fixture(scope='module')
def node(graph: ros.Graph) -> Iterator[ros.NodeProcess]:
    with ros.running(graph, 'refine', '--autostart') as node:
        yield node


def lifted_by(node: ros.NodeProcess, asked: LiftObject.Request) -> LiftedObject:
    answer = node.lift(asked)
    assert answer.success, answer.message
    return answer.object


def refused(node: ros.NodeProcess, asked: LiftObject.Request) -> tuple[str, str]:
    answer = node.lift(asked)
    assert not answer.success
    assert not answer.object.mesh.vertices
    return answer.error_code, answer.message


def test_moving_the_camera_improves_the_standing_object(node):
    first = lifted_by(node, request(FIRST))
    second = lifted_by(node, request(SIDE, refine=first.id))
    third = lifted_by(node, request(BACK, refine=first.id))
    assert first.id == second.id == third.id
    errors = [
        error_of(lifted, azimuth)
        for lifted, azimuth in ((first, FIRST), (second, SIDE), (third, BACK))
    ]
    assert errors[1] < 0.9 * errors[0]
    assert errors[2] < 0.8 * errors[0]
    assert first.confidence < third.confidence
    assert np.mean(first.vertex_observed) < np.mean(third.vertex_observed)
    # The same camera without refine: one frame, one view.
    again = lifted_by(node, request(BACK))
    assert error_of(again, BACK) > errors[2]


def test_further_frames_of_one_request_do_the_same(node):
    alone = error_of(lifted_by(node, request(FIRST)), FIRST)
    together = lifted_by(node, request(FIRST, SIDE, BACK))
    assert error_of(together, FIRST) < 0.8 * alone
    # Further frames may be without depth.
    blind = lifted_by(node, request(FIRST, SIDE, BACK, further_depths=[Image(), Image()]))
    assert error_of(blind, FIRST) < alone


def test_the_action_refines_too(node, graph):
    with LiftClient(graph.node, '/refine/lift3d') as client:
        assert client.wait_for_server(ros.PATIENCE)
        client.lift(**messages(FIRST), camera_poses=[camera_pose(FIRST)])
        first = client.result(ros.PATIENCE).result.objects[0]
        # Among several objects it is found by where it stands.
        asked = messages(SIDE)
        crowd = scene_of(SIDE).mask.astype(np.uint8)
        crowd[5:35, 5:35] = 1
        asked['mask'] = ros.image_message(255 * crowd, 'mono8')
        asked['mask'].header = asked['image'].header
        client.lift(**asked, camera_poses=[camera_pose(SIDE)], refine=first.id)
        result = client.result(ros.PATIENCE)
        assert result.success, result.message
        assert [lifted.id for lifted in result.result.objects] == [first.id]
        assert error_of(result.result.objects[0], SIDE) < 0.9 * error_of(first, FIRST)


def test_the_newest_frame_of_the_topics_refines_with_a_pose_of_the_request(node, graph):
    first = lifted_by(node, request(FIRST))
    publishers = {
        name: graph.node.create_publisher(type(message), f'/refine/{name}', 5)
        for name, message in messages(SIDE).items()
    }
    try:
        stamp = time.time_ns()
        asked = LiftObject.Request(camera_poses=[camera_pose(SIDE)], refine=first.id)

        def answered() -> bool:
            for name, message in messages(SIDE, stamp).items():
                publishers[name].publish(message)
            answers.append(node.lift(asked))
            return answers[-1].success

        answers: list[LiftObject.Response] = []
        ros.wait_until(answered)
        assert error_of(answers[-1].object, SIDE) < 0.9 * error_of(first, FIRST)
    finally:
        for publisher in publishers.values():
            graph.node.destroy_publisher(publisher)


def test_what_cannot_refine_is_refused_by_name(node):
    code, message = refused(node, request(FIRST, refine='nobody'))
    assert code == 'NO_OBJECT'
    assert 'nobody' in message
    first = lifted_by(node, request(FIRST))
    code, message = refused(node, request(SIDE, refine=first.id, posed=False))
    assert code == 'NO_TRANSFORM'
    assert 'camera_poses' in message
    # The pose says that it is elsewhere: in the image there is no such mask.
    moved = invert(scene_of(SIDE).T_camera_object)
    moved[:3, 3] += (0.0, 0.0, 0.4)
    code, _ = refused(
        node, request(SIDE, refine=first.id, camera_poses=[pose_message(moved)])
    )
    assert code == 'NO_OBJECT'
    # Where it may be the same object, its surface tells that it is not at the same place.
    v, u = (int(c) for c in np.argwhere(scene_of(SIDE).mask).mean(axis=0))
    picked = ObjectSelector(mode=ObjectSelector.PIXEL, u=u, v=v)
    code, message = refused(node, request(
        SIDE, refine=first.id, camera_poses=[pose_message(moved)], selector=picked))
    assert code == 'BAD_REQUEST'
    assert 'contradicts' in message
    unposed = lifted_by(node, request(FIRST, posed=False))
    code, _ = refused(node, request(SIDE, refine=unposed.id))
    assert code == 'NO_TRANSFORM', 'the frame before had no pose'


def test_lists_that_do_not_go_together_are_refused(node):
    asked = request(FIRST, SIDE)
    for name in ('further_masks', 'further_camera_infos', 'further_images', 'camera_poses'):
        kept = getattr(asked, name)
        setattr(asked, name, [*kept, kept[0]])
        assert refused(node, asked)[0] == 'BAD_REQUEST', name
        setattr(asked, name, kept)
    assert refused(node, request(FIRST, *(16 * [SIDE])))[0] == 'BAD_REQUEST'
    assert refused(node, request(FIRST, SIDE, posed=False))[0] == 'NO_TRANSFORM'
    bad = request(FIRST, SIDE)
    bad.camera_poses[1].position.x = float('nan')
    assert refused(node, bad)[0] == 'BAD_REQUEST'
    empty = request(FIRST, SIDE)
    empty.further_masks[0] = ros.image_message(np.zeros((240, 320), np.uint8), 'mono8')
    code, message = refused(node, empty)
    assert code == 'EMPTY_MASK'
    assert 'further image 1' in message


def test_kept_frames_bounds_what_is_kept(node):
    assert node.set_parameter('kept_frames', 0).successful
    try:
        first = lifted_by(node, request(FIRST))
        assert refused(node, request(SIDE, refine=first.id))[0] == 'NO_OBJECT'
        assert node.set_parameter('kept_frames', 1).successful
        lifted_by(node, request(FIRST))
        second = lifted_by(node, request(SIDE, refine=first.id))
        # Of the two frames the newest is kept.
        third = lifted_by(node, request(SIDE, refine=first.id))
        assert np.mean(third.vertex_observed) < np.mean(second.vertex_observed)
    finally:
        node.set_parameter('kept_frames', 4)


def test_tf2_tells_the_poses_where_it_is_installed(graph):
    tf2_ros = pytest.importorskip('tf2_ros')
    from geometry_msgs.msg import TransformStamped

    broadcaster = tf2_ros.StaticTransformBroadcaster(graph.node)
    for number, azimuth in enumerate((FIRST, SIDE)):
        T = rigid(np.eye(3), [0.5, 0.0, 0.0]) @ invert(scene_of(azimuth).T_camera_object)
        pose = pose_message(T)
        message = TransformStamped(child_frame_id=f'camera_{number}')
        message.header.frame_id = 'base'
        place, move = pose.position, message.transform
        move.translation.x, move.translation.y, move.translation.z = place.x, place.y, place.z
        move.rotation = pose.orientation
        broadcaster.sendTransform(message)
    node = ros.NodeProcess(graph, 'refine_tf', '--autostart', target_frame='base')
    node.wait_until_active()
    asked = [request(azimuth, posed=False) for azimuth in (FIRST, SIDE)]
    for number, one in enumerate(asked):
        for name in ('image', 'camera_info', 'depth', 'mask'):
            getattr(one, name).header.frame_id = f'camera_{number}'
    ros.wait_until(lambda: node.lift(asked[0]).success)
    first = lifted_by(node, asked[0])
    asked[1].refine = first.id
    second = lifted_by(node, asked[1])
    T = rigid(np.eye(3), [0.5, 0.0, 0.0])
    truth = sample_surface(SHOE.transformed(T), 4000)

    def error(lifted: LiftedObject) -> float:
        mesh = mesh_from_message(lifted).transformed(pose_matrix(lifted.pose.pose))
        return distances(sample_surface(mesh, 4000), truth).chamfer()

    assert second.id == first.id
    assert error(second) < 0.9 * error(first)
    assert node.stop() == 0, node.log
