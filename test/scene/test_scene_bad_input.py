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


"""Frames and paths that are hard for a scene: refused by code, or lifted with a note."""

from __future__ import annotations

from dataclasses import replace
import time

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
from lift3d_ros.lifter import Lifter
from lift3d_ros.scene.composition import SceneSettings
from lift3d_ros.scene.pose_checks import check_poses
from lift3d_ros.scene.pose_checks import pose_notes


@pytest.fixture(scope='module')
def room():
    return make_room(Camera.from_fov(160, 120, 60.0), boxes=('box',))


@pytest.fixture(scope='module')
def lifter():
    return Lifter('geometric')


@pytest.fixture(scope='module')
def scene(room, lifter):
    return lifter.lift_scene(room.frame, room.masks)


def pose_at(room, point):
    """Return a pose at a point of the world, turned as the camera."""
    return rigid(np.eye(3), transform(invert(room.T_world_camera), np.array([point]))[0])


def test_a_good_frame_has_no_notes(scene):
    assert scene.notes == ()


def test_a_frame_without_a_plane_says_so(room, lifter):
    # Leaves of a hedge, each at a distance of its own.
    leaves = np.random.default_rng(0).uniform(1.0, 4.0, (20, 20))
    depth = np.kron(leaves, np.ones((6, 8))).astype(np.float32)
    rough = replace(room.frame, depth=depth)
    found = lifter.lift_scene(rough)
    assert found.planes == () and found.support is None
    assert len(found.notes) == 1
    # Without gravity the vertical is missing as well.
    assert len(lifter.lift_scene(replace(rough, gravity=None)).notes) == 2


def test_only_sky_is_refused(room, lifter):
    sky = replace(
        room.frame, image=np.full_like(room.frame.image, 220),
        depth=np.zeros_like(room.frame.depth))
    with raises_code(ErrorCode.NO_DEPTH_IN_MASK):
        lifter.lift_scene(sky)


def test_a_dark_frame_rests_on_its_depth_and_says_so(room, lifter):
    dark = replace(room.frame, image=(room.frame.image // 40).astype(np.uint8))
    found = lifter.lift_scene(dark)
    assert len(found.notes) == 1
    assert found.support is not None


def test_holes_in_most_of_the_depth_are_said(room, lifter):
    depth = room.frame.depth.copy()
    depth[np.random.default_rng(0).random(depth.shape) < 0.6] = 0.0
    found = lifter.lift_scene(replace(room.frame, depth=depth))
    assert len(found.notes) == 1
    assert found.support is not None


def test_a_camera_against_something_is_said(room, lifter):
    near = replace(room.frame, depth=np.full_like(room.frame.depth, 0.05))
    assert any('0.1 m' in note for note in lifter.lift_scene(near).notes)


def test_a_camera_inside_an_object_is_named(room, scene):
    inside, outside = pose_at(room, (-0.02, -0.15, 0.1)), pose_at(room, (0.7, 0.0, 0.5))
    first, second = check_poses(scene, [inside, outside])
    assert first.inside == 'box' and not first.unobstructed
    assert (second.inside, second.in_surface, second.unobstructed) == ('', False, True)
    notes = pose_notes([second, first])
    assert any('box' in note and 'view 1' in note for note in notes)


def test_a_camera_in_and_behind_a_wall_is_named(room, scene):
    at, behind = pose_at(room, (-1.0, 0.2, 0.3)), pose_at(room, (-1.6, 0.2, 0.3))
    first, second = check_poses(scene, [at, behind])
    assert first.in_surface and not first.inside
    assert not second.in_surface and not second.unobstructed
    assert len(pose_notes([first])) == len(pose_notes([replace(second, reachable=True)])) == 1


def test_a_path_through_a_wall_is_named_where_it_goes_through(room, scene):
    # In front of the wall, behind it, and back again.
    points = [(0.7, 0.0, 0.5), (-1.6, 0.0, 0.3), (-1.6, 0.1, 0.3), (0.7, 0.1, 0.5)]
    checks = check_poses(scene, [pose_at(room, point) for point in points])
    assert [check.reachable for check in checks] == [True, False, True, False]
    assert any('views 1, 3' in note for note in pose_notes(checks))


def test_five_hundred_poses_are_checked_at_once(room, scene):
    start = time.monotonic()
    line = np.linspace((0.9, -0.3, 0.5), (0.5, 0.4, 0.5), 500)
    checks = check_poses(scene, [pose_at(room, point) for point in line])
    assert len(checks) == 500 and pose_notes(checks) == ()
    assert time.monotonic() - start < 5.0


def test_no_poses_have_no_checks(scene):
    assert check_poses(scene, []) == [] and pose_notes([]) == ()


def test_objects_that_exceed_the_budget_stay_background(room, lifter, monkeypatch):
    import lift3d_ros.lifter

    monkeypatch.setattr(lift3d_ros.lifter, 'OBJECTS_SHARE', 0.0)
    found = lifter.lift_scene(room.frame, room.masks, budget=60.0)
    assert isinstance(found.objects['box'], LiftError)
    assert found.objects['box'].code is ErrorCode.TIMEOUT
    assert len(found.notes) == 1 and found.surface.observed.any()


def test_a_scene_ends_with_its_budget(room, lifter):
    with raises_code(ErrorCode.TIMEOUT):
        lifter.lift_scene(room.frame, room.masks, budget=1e-6)


def test_voxels_grow_to_their_bound_and_a_finer_resolution_is_refused(room, lifter):
    few = lifter.lift_scene(room.frame, settings=SceneSettings(max_voxels=20_000))
    assert 10_000 < few.voxels.states.size <= 20_000
    with raises_code(ErrorCode.BAD_REQUEST):
        lifter.lift_scene(
            room.frame, settings=SceneSettings(max_voxels=20_000, resolution=0.02))
    with raises_code(ErrorCode.BAD_REQUEST):
        SceneSettings(max_voxels=10)
