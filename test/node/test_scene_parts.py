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


"""Scenes of the node without a graph: the planning scene, moving transforms, scale by a plane."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

pytest.importorskip('rclpy')
pytest.importorskip('lift3d_ros.msg')

from error_helpers import raises_code
from rclpy.serialization import deserialize_message
import ros_helpers as ros
from scene_helpers import make_room
from std_msgs.msg import Header

from lift3d_ros.errors import ErrorCode
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import invert
from lift3d_ros.geometry import rigid
from lift3d_ros.geometry import rotate
from lift3d_ros.geometry import transform
from lift3d_ros.lifter import Lifter
from lift3d_ros.messages.geometry import pose_matrix
from lift3d_ros.messages.results import Timing
from lift3d_ros.node.lifting.frames import FrameReader
from lift3d_ros.node.messages import cdr
from lift3d_ros.node.messages.synced import SyncedMessages
from lift3d_ros.node.parameters.settings import Settings
from lift3d_ros.node.scenes.lifting import lift_scene
from lift3d_ros.node.scenes.lifting import SceneQuery
from lift3d_ros.node.scenes.obstacles import BACKGROUND_ID
from lift3d_ros.node.scenes.obstacles import BackgroundObstacles
from lift3d_ros.node.scenes.obstacles import Change
from lift3d_ros.node.scenes.obstacles import collision_object
from lift3d_ros.node.scenes.obstacles import PLANE_ID
from lift3d_ros.scene.composition import SceneSettings

pytestmark = pytest.mark.ros

ROOM = make_room(Camera.from_fov(96, 72, 60.0), boxes=('box',))
HEADER = Header(frame_id='world')


@pytest.fixture(scope='module')
def scene():
    return Lifter('geometric', max_faces=1000).lift_scene(
        ROOM.frame, settings=SceneSettings(resolution=0.04))


def test_the_background_is_boxes_where_it_stands(scene):
    changes, notes = BackgroundObstacles().update(scene, 200)
    assert notes == ()
    named = {change.id: change for change in changes}
    assert set(named) == {f'{PLANE_ID}0', f'{PLANE_ID}1', BACKGROUND_ID}

    def holds(change, point):
        for box in change.boxes:
            T = ROOM.T_world_camera @ box.T_camera_box
            local = transform(invert(T), np.array([point]))[0]
            if (np.abs(local) <= 0.5 * box.size + 1e-6).all():
                return True
        return False

    assert holds(named[f'{PLANE_ID}0'], (0.6, 0.2, -0.01))
    # The front of the box, which is no lifted object here.
    assert holds(named[BACKGROUND_ID], (0.09, -0.15, 0.12))
    assert not any(holds(change, (0.6, 0.0, 0.3)) for change in changes)


def test_what_the_next_scene_lacks_is_removed_and_no_scale_changes_nothing(scene):
    obstacles = BackgroundObstacles()
    obstacles.update(scene, 200)
    assert obstacles.update(replace(scene, scale_source='unknown'), 200)[0] == []
    fewer, _ = obstacles.update(replace(scene, planes=scene.planes[:1]), 200)
    assert {change.id for change in fewer if not change.boxes} == {f'{PLANE_ID}1'}
    assert {change.id for change in fewer if change.boxes} == {f'{PLANE_ID}0', BACKGROUND_ID}


def test_an_obstacle_is_a_message_with_boxes_in_the_frame(scene):
    kind = pytest.importorskip('moveit_msgs.msg').CollisionObject
    changes, _ = BackgroundObstacles().update(scene, 200)
    change = next(change for change in changes if change.id == BACKGROUND_ID)
    made = collision_object(kind, HEADER, change, ROOM.T_world_camera)
    message = deserialize_message(cdr.serialize(made), kind)
    assert (message.header.frame_id, message.id) == ('world', BACKGROUND_ID)
    assert message.operation == kind.ADD
    for box, primitive, pose in zip(
        change.boxes, message.primitives, message.primitive_poses, strict=True
    ):
        assert primitive.type == primitive.BOX
        np.testing.assert_allclose(primitive.dimensions, box.size)
        np.testing.assert_allclose(
            pose_matrix(message.pose) @ pose_matrix(pose),
            ROOM.T_world_camera @ box.T_camera_box, atol=1e-9)
    gone = collision_object(kind, HEADER, Change(f'{PLANE_ID}3'), np.eye(4))
    assert (gone.id, gone.operation) == (f'{PLANE_ID}3', kind.REMOVE)


class Moving:
    """Transforms of a camera that moves by ``step`` metres along x of the world in each second."""

    def __init__(self, step: float) -> None:
        self.step = step

    def lookup(self, target: str, source: str, stamp: Any, timeout: float) -> Any:
        shift = self.step * (stamp.sec + 1e-9 * stamp.nanosec)
        return rigid(np.eye(3), [shift, 0.0, 0.0]) @ ROOM.T_world_camera

    def gravity(self, frame: str, source: str, stamp: Any, timeout: float) -> Any:
        return rotate(invert(self.lookup(frame, source, stamp, timeout)), np.array([0., 0., -1.]))


def lift(settings: Settings, transforms: Any = None, delay: int = 0, **changes: Any) -> Any:
    frame = ROOM.frame
    mask = (ROOM.masks['box'] * 255).astype(np.uint8)
    made = ros.messages(frame, mask, stamp=2_000_000_000)
    made['depth'].header = ros.stamped(2_000_000_000 + delay)
    messages = SyncedMessages(**{**made, **changes})
    lifter = Lifter('geometric', max_faces=1000)
    return lift_scene(
        messages, SceneQuery('geometric', 0, resolution=0.04), FrameReader(settings, transforms),
        lambda method: lifter, lambda found: [f'object_{k}' for k in range(len(found))],
        report=lambda stage, done: None, cancelled=lambda: False, deadline=None, timing=Timing())


WORLD = Settings(target_frame='world', support_plane='z = 0.0')


def test_a_camera_that_moves_between_depth_and_image_is_said():
    still = lift(WORLD, Moving(0.0), delay=50_000_000, mask=None)
    moving = lift(WORLD, Moving(1.0), delay=50_000_000, mask=None)
    together = lift(WORLD, Moving(1.0), mask=None)
    assert still.scene.notes == together.scene.notes == ()
    assert len(moving.scene.notes) == 1
    # The scene is where the camera was at the stamp of the image.
    assert moving.outcome.header.frame_id == 'world'
    assert moving.T_frame_camera[0, 3] == pytest.approx(ROOM.T_world_camera[0, 3] + 2.0)


def test_the_support_plane_of_the_parameters_is_the_scale_without_depth():
    made = lift(WORLD, Moving(0.0), depth=None)
    assert made.scene.scale_source == 'plane'
    floor = transform(made.T_frame_camera, made.scene.surface.mesh.vertices)
    assert abs(np.median(floor[made.scene.surface.part < 0, 2])) < 0.01
    assert [each.is_metric for each in made.placed] == [True]


def test_the_height_of_the_camera_is_the_scale_with_gravity_alone():
    settings = replace(WORLD, support_plane='')
    known = lift(
        replace(settings, scene_camera_height=0.8), Moving(0.0), depth=None, mask=None)
    unknown = lift(settings, Moving(0.0), depth=None)
    assert known.scene.scale_source == 'plane'
    assert unknown.scene.scale_source == 'unknown'
    # It is no obstacle and no detection, and yet part of the surface.
    assert [each.is_metric for each in unknown.placed] == [False]
    with raises_code(ErrorCode.BAD_REQUEST):
        lift(Settings(scene_camera_height=0.8), depth=None)


def test_an_empty_mask_is_a_scene_without_objects():
    empty = ros.messages(ROOM.frame, np.zeros((72, 96), np.uint8))['mask']
    made = lift(Settings(), mask=empty)
    assert made.has_objects and not made.outcome.lifted and len(made.scene.notes) >= 1
    assert not lift(Settings(), mask=None).has_objects


def test_only_the_largest_objects_are_lifted_and_the_others_named():
    labels = ROOM.masks['box'].astype(np.uint8)
    labels[60:70, 5:20] = 2
    image = ros.messages(ROOM.frame, labels)['mask']
    made = lift(Settings(mask_source='label', max_objects=1), mask=image)
    assert len(made.scene.objects) == 1
    assert any('max_objects' in note for note in made.scene.notes)
