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
"""Scenes by ``Lifter.lift_scene`` and the command: surface, objects, views, files, bad input."""

from __future__ import annotations

import json
import math

from command_helpers import run_here
import cv2
from error_helpers import raises_code
import numpy as np
import pytest
from scene_helpers import make_room

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import invert
from lift3d_ros.geometry import rigid
from lift3d_ros.geometry import transform
from lift3d_ros.geometry.frame import Frame
from lift3d_ros.io.scene import read_objects
from lift3d_ros.io.scene import write_scene
from lift3d_ros.lifter import Lifter
from lift3d_ros.scene.composition import SceneSettings
from lift3d_ros.scene.novel_views import orbit
from lift3d_ros.scene.novel_views import render_views
from lift3d_ros.scene.scene import BACKGROUND
from lift3d_ros.scene.scene import height_map
from lift3d_ros.scene.scene import unobstructed
from lift3d_ros.scene.voxel_map import Occupancy


@pytest.fixture(scope='module')
def room():
    return make_room(Camera.from_fov(320, 240, 60.0))


@pytest.fixture(scope='module')
def lifter():
    return Lifter('geometric')


@pytest.fixture(scope='module')
def scene(room, lifter):
    return lifter.lift_scene(room.frame, room.masks)


def test_objects_are_closed_and_in_their_places(room, scene):
    assert set(scene.shapes) == {'box', 'brick'}
    for number, (name, shape) in enumerate(scene.objects.items()):
        assert shape.mesh.is_watertight()
        part = scene.surface.mesh.vertices[scene.surface.part == number]
        centre = transform(room.T_world_camera, part).mean(axis=0)
        x, y, _ = {'box': (0.0, -0.15, 0.1), 'brick': (0.15, 0.25, 0.05)}[name]
        assert np.hypot(centre[0] - x, centre[1] - y) < 0.04


def test_the_background_has_no_hole_where_objects_stand(room, scene):
    surface = scene.surface
    background = surface.part == BACKGROUND
    world = transform(room.T_world_camera, surface.mesh.vertices[background])
    under = (np.abs(world[:, :2] - (-0.05, -0.15)) < 0.03).all(axis=1)
    assert under.sum() > 20
    assert not surface.observed[background][under].any()
    assert np.abs(world[under, 2]).max() < 0.01


def test_measured_vertices_are_where_the_camera_measured(room, scene):
    surface = scene.surface
    chosen = surface.observed & (surface.part == BACKGROUND)
    u, v, z = room.frame.camera.project(surface.mesh.vertices[chosen])
    depth = room.frame.depth[np.rint(v).astype(int), np.rint(u).astype(int)]
    np.testing.assert_allclose(z, depth, rtol=1e-5)
    assert (surface.confidence[chosen] == surface.confidence[chosen][0]).all()
    assert surface.confidence[~surface.observed].max() < surface.confidence[chosen][0]


def test_the_support_is_the_floor(scene):
    assert scene.support is scene.planes[0]
    assert scene.planes[0].pixels.shape == (240, 320)


def test_an_object_occupies_its_inside(room, scene):
    inside = transform(invert(room.T_world_camera), np.array([[0.0, -0.15, 0.1]]))
    assert scene.voxels.at(inside)[0] in (Occupancy.OCCUPIED, Occupancy.PREDICTED)
    before = transform(invert(room.T_world_camera), np.array([[0.6, 0.0, 0.4]]))
    assert scene.voxels.at(before)[0] == Occupancy.FREE


def test_the_height_map_has_floor_and_boxes(room, scene):
    heights = height_map(scene)
    grid = scene.voxels
    cells = {}
    for name, point in (('floor', (0.4, 0.5, 0.0)), ('box', (0.0, -0.15, 0.2))):
        local = transform(
            grid.T_grid_camera, transform(invert(room.T_world_camera), np.array([point])))
        cell = np.floor((local[0, :2] - heights.origin) / heights.resolution).astype(int)
        cells[name] = float(heights.height[tuple(cell)])
    assert cells['box'] - cells['floor'] == pytest.approx(0.2, abs=0.03)


def test_a_view_from_the_side_is_what_stands_there(room, lifter):
    scene = lifter.lift_scene(room.frame)
    pose = orbit(scene, 15.0, 1)[0]
    view = next(iter(render_views(scene, [pose])))
    truth = room.raycaster.render(
        room.frame.camera, room.T_world_camera @ pose, supersampling=1)
    seen = (view.depth > 0.0) & view.observed
    assert seen.mean() > 0.6
    error = np.abs(view.depth - truth.depth)[seen]
    assert np.percentile(error, 90) < 0.01
    assert view.unobstructed


def test_a_way_through_the_floor_is_obstructed(scene):
    assert not unobstructed(scene, rigid(np.eye(3), [0.0, 0.0, 3.0]))
    assert unobstructed(scene, rigid(np.eye(3), [0.0, 0.0, 0.5]))
    assert unobstructed(scene, np.eye(4))


def test_a_path_turns_about_the_vertical_and_looks_at_the_middle(scene):
    poses = orbit(scene, 30.0, 5)
    np.testing.assert_allclose(poses[2], np.eye(4), atol=1e-9)
    up = invert(scene.voxels.T_grid_camera)[:3, 2]
    heights = [pose[:3, 3] @ up for pose in poses]
    np.testing.assert_allclose(heights, 0.0, atol=1e-9)
    # Every optical axis meets the first one.
    for pose in poses:
        axis, origin = pose[:3, 2], pose[:3, 3]
        normal = np.cross(axis, [0.0, 0.0, 1.0])
        assert abs(normal @ origin) < 1e-9


@pytest.mark.parametrize('count', [0, 1001])
def test_the_number_of_views_is_bounded(scene, count):
    with raises_code(ErrorCode.BAD_REQUEST):
        orbit(scene, 10.0, count)
    with raises_code(ErrorCode.BAD_REQUEST):
        next(iter(render_views(scene, [np.eye(4)] * count)))


@pytest.mark.parametrize('pose', [np.zeros((4, 4)), np.diag([2.0, 1.0, 1.0, 1.0])])
def test_a_pose_must_be_rigid(scene, pose):
    with raises_code(ErrorCode.BAD_REQUEST):
        next(iter(render_views(scene, [pose])))


@pytest.mark.parametrize('far', [False, True])
def test_a_frame_with_hardly_any_depth_is_refused(room, lifter, far):
    depth = room.frame.depth + 50.0 if far else np.zeros_like(room.frame.depth)
    frame = Frame(room.frame.image, room.frame.camera, depth, room.frame.gravity)
    with raises_code(ErrorCode.NO_DEPTH_IN_MASK):
        lifter.lift_scene(frame)


def test_much_missing_depth_is_said(room, lifter):
    depth = room.frame.depth.copy()
    depth[np.random.default_rng(0).random(depth.shape) < 0.7] = 0.0
    frame = Frame(room.frame.image, room.frame.camera, depth, room.frame.gravity)
    scene = lifter.lift_scene(frame)
    assert len(scene.notes) == 1
    assert scene.support is not None


def test_an_object_that_cannot_be_lifted_stays_in_the_background(room, lifter):
    tiny = np.zeros_like(room.masks['box'])
    tiny[100:103, 100:103] = True
    scene = lifter.lift_scene(room.frame, {'tiny': tiny, 'box': room.masks['box']})
    assert isinstance(scene.objects['tiny'], LiftError)
    assert scene.objects['tiny'].code is ErrorCode.MASK_TOO_SMALL
    assert set(scene.shapes) == {'box'}
    assert len(scene.notes) == 1


def test_a_scene_is_cancelled(room, lifter):
    with raises_code(ErrorCode.CANCELLED):
        lifter.lift_scene(room.frame, room.masks, cancelled=lambda: True)
    with raises_code(ErrorCode.TIMEOUT):
        lifter.lift_scene(room.frame, room.masks, deadline=0.0)


def test_the_same_seed_gives_the_same_scene(room, lifter, scene):
    again = lifter.lift_scene(room.frame, room.masks)
    np.testing.assert_array_equal(again.surface.mesh.vertices, scene.surface.mesh.vertices)
    np.testing.assert_array_equal(again.voxels.states, scene.voxels.states)


def test_without_completion_everything_is_measured(room, lifter):
    scene = lifter.lift_scene(room.frame, settings=SceneSettings(complete=False))
    assert scene.surface.observed.all()
    assert scene.objects == {}


@pytest.mark.parametrize('wrong', [
    {'width': 8}, {'max_depth': 0.0}, {'max_depth': math.nan}, {'resolution': -1.0}])
def test_settings_are_checked(wrong):
    with raises_code(ErrorCode.BAD_REQUEST):
        SceneSettings(**wrong)


@pytest.fixture(scope='module')
def folder(room, tmp_path_factory):
    made = tmp_path_factory.mktemp('scenes') / 'room'
    write_scene(made, room.frame, room.masks['box'])
    labels = np.zeros(room.frame.image.shape[:2], np.uint8)
    for value, mask in ((3, room.masks['box']), (7, room.masks['brick'])):
        labels[mask] = value
    cv2.imwrite(str(made / 'mask.png'), labels)
    return made


def test_masks_of_a_scene_are_labels_files_or_one_object(room, folder, tmp_path):
    _, masks = read_objects(folder)
    assert set(masks) == {'3', '7'}
    np.testing.assert_array_equal(masks['7'], room.masks['brick'])
    write_scene(tmp_path / 'a', room.frame, room.masks['box'])
    assert set(read_objects(tmp_path / 'a')[1]) == {'object'}
    (tmp_path / 'a' / 'masks').mkdir()
    for name, mask in room.masks.items():
        cv2.imwrite(str(tmp_path / 'a' / 'masks' / f'{name}.png'), mask.astype(np.uint8) * 255)
    assert set(read_objects(tmp_path / 'a')[1]) == {'box', 'brick'}
    (tmp_path / 'a' / 'mask.png').unlink()
    for file in (tmp_path / 'a' / 'masks').iterdir():
        file.unlink()
    assert read_objects(tmp_path / 'a')[1] == {}


def test_the_command_writes_the_scene(folder, tmp_path):
    done = run_here(
        'scene', folder, '--out', tmp_path, '--method', 'geometric', '--views', 3, '--film', 'gif',
        '--resolution', 0.03)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / 'room.json').read_text())
    assert report['ok'] and set(report['objects']) == {'3', '7'}
    assert all(entry['ok'] for entry in report['objects'].values())
    assert len(report['views']) == 3 and all(view['unobstructed'] for view in report['views'])
    assert set(report['files']) == {path.name for path in tmp_path.iterdir()} - {'room.json'}
    with np.load(tmp_path / 'room_voxels.npz') as arrays:
        assert float(arrays['resolution']) == 0.03
        assert (arrays['states'] == Occupancy.FREE).mean() == pytest.approx(
            report['free'], abs=1e-4)


def test_the_command_says_what_is_wrong_with_poses(folder, tmp_path):
    (tmp_path / 'poses.json').write_text('[[1, 2, 3]]')
    done = run_here(
        'scene', folder, '--out', tmp_path / 'out', '--poses', tmp_path / 'poses.json')
    assert done.returncode == 2

