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


"""Lifted objects in MoveIt's planning scene."""

from __future__ import annotations

from dataclasses import replace
import importlib.util

import numpy as np
import pytest

pytest.importorskip('rclpy')
pytest.importorskip('lift3d_ros.msg')

from lifecycle_msgs.msg import Transition
from rclpy.serialization import deserialize_message
import ros_helpers as ros
from scene_helpers import make_room
from std_msgs.msg import Header
import trimesh

from lift3d_ros.action import Lift
from lift3d_ros.action import LiftScene
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import rigid
from lift3d_ros.geometry import transform
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.geometry.shape import Shape
from lift3d_ros.messages.geometry import pose_matrix
from lift3d_ros.messages.results import Lifted
from lift3d_ros.msg import ObjectSelector
from lift3d_ros.node.frame_camera import ball_frame
from lift3d_ros.node.messages import cdr
from lift3d_ros.node.outputs.planning_scene import collision_object_type
from lift3d_ros.node.outputs.planning_scene import PlanningScene
from lift3d_ros.segmentation.instances import Instance
from lift3d_ros.srv import LiftObject

pytestmark = pytest.mark.ros

WITHOUT = pytest.mark.skipif(
    importlib.util.find_spec('moveit_msgs') is not None, reason='moveit_msgs is installed'
)


def lifted(name, scale_source='depth'):
    """Return a ball that was lifted 1 m before the robot."""
    ball = trimesh.creation.icosphere(4, radius=0.05)
    count = len(ball.vertices)
    shape = Shape(
        mesh=Mesh(
            ball.vertices.astype(np.float32),
            ball.faces.astype(np.int32),
            np.zeros((count, 3), np.uint8),
        ),
        T_camera_object=rigid(np.eye(3), [0.0, 0.0, 0.5]),
        pose_covariance=np.eye(6),
        confidence=np.ones(count, np.float32),
        observed=np.ones(count, bool),
        scale_source=scale_source,
        scale_stddev=0.01,
        elevation=30.0,
        elevation_source='gravity',
        method='geometric',
    )
    T = rigid([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]], [1.0, 0.0, 0.05])
    instance = Instance(np.ones((1, 1), bool), (0, 0, 1, 1), 1)
    return Lifted(
        Header(frame_id='base_link'), name, instance, shape, T, np.eye(6), shape.cloud(10)
    )


@WITHOUT
def test_the_parameter_without_moveit_msgs_is_refused_by_its_name():
    with pytest.raises(LiftError, match='needs moveit_msgs') as caught:
        collision_object_type()
    assert 'planning_scene' in caught.value.message


@WITHOUT
def test_without_moveit_msgs_the_planning_scene_is_refused_by_configure():
    with ros.Graph() as graph:
        node = ros.NodeProcess(graph, 'no_moveit', planning_scene=True)
        assert not node.change(Transition.TRANSITION_CONFIGURE)
        assert node.stop() == 0
        assert 'moveit_msgs' in node.log


def test_an_object_is_an_obstacle_where_it_stands():
    messages = pytest.importorskip('moveit_msgs.msg')
    scene = PlanningScene()
    (made,) = scene.update([lifted('mug')], True)
    message = deserialize_message(cdr.serialize(made), messages.CollisionObject)
    assert message.header.frame_id == 'base_link'
    assert message.id == 'mug'
    assert message.operation == messages.CollisionObject.ADD
    assert len(message.meshes) == len(message.mesh_poses) == 1
    assert len(message.meshes[0].triangles) <= 2000
    corners = np.array([(v.x, v.y, v.z) for v in message.meshes[0].vertices])
    placed = transform(
        pose_matrix(message.pose) @ pose_matrix(message.mesh_poses[0]), corners)
    np.testing.assert_allclose(placed.min(axis=0), [0.95, -0.05, 0.0], atol=2e-3)
    np.testing.assert_allclose(placed.max(axis=0), [1.05, 0.05, 0.1], atol=2e-3)


def test_the_parts_of_an_obstacle_keep_the_bound_together():
    pytest.importorskip('moveit_msgs.msg')
    (made,) = PlanningScene('convex_parts', 200).update([lifted('mug')], True)
    assert len(made.meshes) == len(made.mesh_poses) >= 1
    assert sum(len(mesh.vertices) for mesh in made.meshes) <= 200
    (made,) = PlanningScene('hull', 40).update([lifted('mug')], True)
    assert len(made.meshes) == 1 and len(made.meshes[0].vertices) <= 40


def test_what_a_whole_frame_no_longer_shows_is_removed_and_nothing_else():
    CollisionObject = pytest.importorskip('moveit_msgs.msg').CollisionObject
    scene = PlanningScene()

    def update(objects, *rest):
        return {(m.id, m.operation) for m in scene.update(objects, *rest)}

    add, remove = CollisionObject.ADD, CollisionObject.REMOVE
    a, b, c = (lifted(name) for name in 'abc')
    assert update([a, b, c], True) == {('a', add), ('b', add), ('c', add)}
    assert update([a], False) == {('a', add)}, 'a request for one object removes none'
    assert update([a], True, ['b']) == {('a', add), ('c', remove)}, 'b was seen, not lifted'
    assert update([], True) == {('a', remove), ('b', remove)}
    assert update([], True) == set()


def test_an_object_of_unknown_scale_is_none_to_plan_on():
    pytest.importorskip('moveit_msgs.msg')
    assert PlanningScene().update([lifted('mug', 'unknown')], True) == []


def test_the_node_publishes_the_object_that_it_lifts_as_an_obstacle():
    CollisionObject = pytest.importorskip('moveit_msgs.msg').CollisionObject
    with ros.Graph() as graph:
        node = ros.NodeProcess(graph, 'moveit', '--autostart', planning_scene=True)
        node.wait_until_active()
        with graph.listen(CollisionObject, '/moveit/collision_object') as heard:
            made = node.lift(LiftObject.Request(**ros.messages(*ball_frame(320, 240))))
            assert made.success, made.message
            ros.wait_until(lambda: heard)
        assert node.stop() == 0, node.log
    assert heard[0].id == made.object.id
    assert heard[0].header.frame_id == made.object.header.frame_id
    assert heard[0].pose == made.object.pose.pose
    assert len(heard[0].meshes[0].vertices) > 100


@pytest.mark.parametrize(('geometry', 'bound', 'parts'), [
    ('hull', 40, (1, 1)), ('convex_parts', 200, (1, 6)), ('mesh', 300, (1, 1))])
def test_the_node_publishes_the_chosen_geometry_and_removes_objects_that_left(
    geometry, bound, parts
):
    CollisionObject = pytest.importorskip('moveit_msgs.msg').CollisionObject
    topic = f'/moveit_{geometry}/collision_object'
    with ros.Graph() as graph:
        node = ros.NodeProcess(
            graph, f'moveit_{geometry}', '--autostart', planning_scene=True, mask_source='label',
            collision_geometry=geometry, collision_max_vertices=bound)
        node.wait_until_active()
        everything = ObjectSelector(mode=ObjectSelector.ALL)
        action = ros.ActionCaller(graph, Lift, node.name('lift'))

        def lift(scene):
            goal = Lift.Goal(selector=everything, **ros.messages(*scene))
            _, result = action.result(action.send(goal))
            assert result.success, result.message
            return result.result.objects

        with graph.listen(CollisionObject, topic, 10) as heard:
            both = {lifted.id: lifted for lifted in lift(ros.TWO)}
            ros.wait_until(lambda: {message.id for message in heard} == set(both))
            for message in heard:
                assert message.operation == CollisionObject.ADD
                low, high = parts
                assert low <= len(message.meshes) == len(message.mesh_poses) <= high
                assert sum(len(mesh.vertices) for mesh in message.meshes) <= bound
                solids = [solid(mesh) for mesh in message.meshes]
                assert all(part.is_watertight for part in solids)
                if geometry != 'mesh':
                    assert all(part.is_convex for part in solids)
                # The obstacle is as large as the object that the client received.
                corners = np.concatenate([part.vertices for part in solids])
                size = both[message.id].size
                np.testing.assert_allclose(
                    np.ptp(corners, axis=0), (size.x, size.y, size.z), rtol=0.06)
            (left,) = lift(ros.BALL)
            gone = set(both) - {left.id}
            ros.wait_until(lambda: gone == {
                message.id for message in heard if message.operation == CollisionObject.REMOVE})
        action.close()
        assert node.stop() == 0, node.log


def solid(mesh):
    """Return shape_msgs/Mesh for trimesh."""
    return trimesh.Trimesh(
        [(p.x, p.y, p.z) for p in mesh.vertices],
        [triangle.vertex_indices for triangle in mesh.triangles])


def test_the_node_publishes_the_background_of_a_scene_and_replaces_it():
    CollisionObject = pytest.importorskip('moveit_msgs.msg').CollisionObject
    room = make_room(Camera.from_fov(96, 72, 60.0))
    labels = sum((k + 1) * mask.astype(np.uint8) for k, mask in enumerate(room.masks.values()))
    with ros.Graph() as graph:
        node = ros.NodeProcess(
            graph, 'moveit_scene', '--autostart', planning_scene=True, mask_source='label',
            max_faces=1000, scene_resolution=0.04)
        node.wait_until_active()
        action = ros.ActionCaller(graph, LiftScene, node.name('lift_scene'))

        def lift(frame, **fields):
            goal = LiftScene.Goal(**{**ros.messages(frame, labels), **fields})
            _, result = action.result(action.send(goal))
            assert result.success, result.message

        with graph.listen(CollisionObject, '/moveit_scene/collision_object', 100) as heard:
            lift(room.frame)
            names = {'label_1', 'label_2', 'scene_plane_0', 'scene_plane_1'}
            ros.wait_until(lambda: names <= {message.id for message in heard})
            planes = [message for message in heard if message.id == 'scene_plane_0']
            assert planes[0].operation == CollisionObject.ADD
            assert len(planes[0].primitives) == len(planes[0].primitive_poses) == 1
            # Only the floor is near enough the second time.
            near = np.where(room.frame.depth < 1.6, room.frame.depth, 0.0).astype(np.float32)
            lift(replace(room.frame, depth=near), without_objects=True)
            ros.wait_until(lambda: any(
                (message.id, message.operation) == ('scene_plane_1', CollisionObject.REMOVE)
                for message in heard))
            # A scene without objects removes none.
            removed = {m.id for m in heard if m.operation == CollisionObject.REMOVE}
            assert not removed & {'label_1', 'label_2'}
        action.close()
        assert node.stop() == 0, node.log
