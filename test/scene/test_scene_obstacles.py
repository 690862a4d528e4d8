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


"""The background of scenes as boxes, and bounds of their size by memory."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scene_helpers import make_room

from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import invert
from lift3d_ros.geometry import rigid
from lift3d_ros.geometry import transform
from lift3d_ros.lifter import Lifter
from lift3d_ros.scene.composition import SceneSettings
from lift3d_ros.scene.inputs.budget import bounded
from lift3d_ros.scene.inputs.checks import motion_notes
from lift3d_ros.scene.obstacles import background_obstacles
from lift3d_ros.scene.obstacles import PLANE_THICKNESS
from lift3d_ros.scene.voxel_map import Occupancy

CAMERA = Camera.from_fov(160, 120, 60.0)


@pytest.fixture(scope='module')
def room():
    return make_room(CAMERA)


@pytest.fixture(scope='module')
def scene(room):
    """Return the room with its box as an object; the brick is background."""
    return Lifter('geometric', max_faces=2000).lift_scene(
        room.frame, {'box': room.masks['box']}, SceneSettings(resolution=0.03))


def covered(boxes, points):
    """Return which points (n, 3) of the optical frame are in a box."""
    inside = np.zeros(len(points), bool)
    for box in boxes:
        local = transform(invert(box.T_camera_box), points)
        inside |= (np.abs(local) <= 0.5 * box.size + 1e-6).all(axis=1)
    return inside


def in_camera(room, *points):
    return transform(invert(room.T_world_camera), np.array(points))


def test_floor_and_wall_are_thin_boxes_behind_their_surface(room, scene):
    planes = background_obstacles(scene).planes
    assert len(planes) == 2
    floor = planes[0]
    assert floor.size[2] == PLANE_THICKNESS and floor.size[:2].min() > 1.0
    up = (room.T_world_camera @ floor.T_camera_box)[:3, 2]
    np.testing.assert_allclose(up, [0.0, 0.0, 1.0], atol=0.02)
    points = in_camera(room, (0.5, 0.3, -0.01), (-1.01, 0.3, 0.3), (0.5, 0.3, 0.05))
    assert covered(planes, points).tolist() == [True, True, False]


def test_what_is_neither_plane_nor_object_is_boxes_of_voxels(room, scene):
    boxes = background_obstacles(scene).boxes
    # The front of the brick, seen from above; the lifted box is an obstacle of its own.
    points = in_camera(room, (0.15, 0.25, 0.1), (0.05, -0.15, 0.15), (0.6, 0.0, 0.3))
    assert covered(boxes, points).tolist() == [True, False, False]


def test_no_occupied_voxel_of_the_background_is_left_out(room, scene):
    obstacles = background_obstacles(replace(scene, planes=(), objects={}), 5000)
    grid = scene.voxels
    centres = transform(invert(grid.T_grid_camera), grid.centres().reshape(-1, 3))
    states = grid.states.reshape(-1)
    occupied = np.isin(states, (Occupancy.OCCUPIED, Occupancy.PREDICTED))
    chosen = np.random.default_rng(0).permutation(len(centres))[:3000]
    inside = covered(obstacles.boxes, centres[chosen])
    assert (inside == occupied[chosen]).all()


def test_fewer_boxes_are_larger_and_contain_the_others(scene):
    bare = replace(scene, planes=(), objects={})
    fine, coarse = (background_obstacles(bare, limit) for limit in (5000, 40))
    assert len(coarse.boxes) <= 40 < len(fine.boxes)
    assert len(coarse.notes) == 1 and not fine.notes
    assert covered(coarse.boxes, np.array([box.T_camera_box[:3, 3] for box in fine.boxes])).all()


def test_a_wall_with_a_door_is_no_single_box(scene):
    wall = background_obstacles(scene).planes[1]
    grid = scene.voxels
    states = grid.states.copy()
    # A passage through the middle of the wall.
    centres = transform(
        invert(wall.T_camera_box) @ invert(grid.T_grid_camera), grid.centres().reshape(-1, 3))
    door = (np.abs(centres) < (0.4, 0.4, 0.2)).all(axis=1)
    states.reshape(-1)[door] = Occupancy.FREE
    opened = replace(scene, voxels=replace(grid, states=states))
    obstacles = background_obstacles(opened)
    assert len(obstacles.planes) == 1
    middle = wall.T_camera_box[:3, 3]
    assert not covered((*obstacles.planes, *obstacles.boxes), middle[None])[0]


def test_the_memory_bounds_voxels_and_width():
    settings = SceneSettings(width=1280)
    rich, notes = bounded(settings, Camera.from_fov(1280, 960, 60.0), 10_000)
    assert (rich, notes) == (settings, ())
    poor, notes = bounded(settings, Camera.from_fov(1280, 960, 60.0), 64)
    assert poor.max_voxels < 300_000
    assert poor.width < 300 and len(notes) == 1
    small, notes = bounded(SceneSettings(), Camera.from_fov(160, 120, 60.0), 64)
    assert small.width == 320 and not notes


def test_motion_between_depth_and_image_is_said():
    still, moved = np.eye(4), rigid(np.eye(3), [0.05, 0.0, 0.0])
    angle = np.radians(3.0)
    turned = np.eye(4)
    turned[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    assert motion_notes(still, still) == ()
    assert motion_notes(moved, moved) == ()
    for other in (moved, turned):
        assert len(motion_notes(still, other)) == len(motion_notes(other, still)) == 1
