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

"""Hidden surfaces that moved cameras would reveal: fills without a network, and completion."""

from __future__ import annotations

from dataclasses import replace
import json

from error_helpers import raises_code
import numpy as np
import pytest
from scene_helpers import make_room

from lift3d_ros.cli import main
from lift3d_ros.errors import ErrorCode
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import transform
from lift3d_ros.geometry.pose_vectors import zeronvs_pose
from lift3d_ros.io.scene import write_scene
from lift3d_ros.lifter import Lifter
from lift3d_ros.scene.composition import SceneSettings
from lift3d_ros.scene.novel_views import turned_about
from lift3d_ros.scene.parts import measured_surface
from lift3d_ros.scene.planes import find_planes
from lift3d_ros.scene.prior.completion import complete_surface
from lift3d_ros.scene.prior.completion import CompletionSettings
from lift3d_ros.scene.prior.fill import fill_inpainted
from lift3d_ros.scene.prior.fill import fill_nearest
from lift3d_ros.scene.prior.fill import fill_planes
from lift3d_ros.scene.prior.fill import FilledView
from lift3d_ros.scene.prior.fills import FILLS
from lift3d_ros.scene.prior.fills import make_fill
from lift3d_ros.scene.prior.inputs import in_free_space
from lift3d_ros.scene.prior.inputs import KnownView
from lift3d_ros.scene.voxel_map import Occupancy

SHAPE = (32, 32)


def half_known(inverse, plane, leave=0.0):
    """Return a view whose left half is known at ``inverse``, with one plane."""
    known = np.zeros(SHAPE, np.float32)
    known[:, :16] = inverse
    color = np.zeros((*SHAPE, 3), np.uint8)
    color[:, :16] = (200, 100, 50)
    return KnownView(
        color, known, known > 0.0, np.zeros(SHAPE, bool), np.full(SHAPE, leave, np.float32),
        np.full(SHAPE, leave, np.float32),
        zeronvs_pose(np.eye(4), np.eye(4), 1.0, 60.0).astype(np.float32),
        np.full((1, *SHAPE), plane, np.float32))


def test_a_plane_goes_on_where_nothing_is_known():
    slope = np.linspace(0.5, 1.0, 32, dtype=np.float32)
    view = half_known(1.0, 1.0)
    view.inverse[:, :16] = slope[:16]
    view.planes[0] = slope
    filled = fill_planes(view, scale=2.0)
    # A plane is continued over half of the image.
    np.testing.assert_allclose(filled.depth[:, 16:30], np.tile(2.0 / slope[16:30], (32, 1)), 1e-5)
    assert filled.on_plane[:, 16:30].all()
    assert (filled.color[:, 16:] == (200, 100, 50)).all()
    # The guess is less certain farther away.
    assert (np.diff(filled.confidence[5, 16:30]) < 0.0).all()


@pytest.mark.parametrize('plane', [0.0, 0.5])
def test_a_plane_that_is_not_seen_or_not_possible_is_not_continued(plane):
    """It is 0 in observed free space; another one has no visible part."""
    filled = fill_planes(half_known(1.0, plane), scale=1.0)
    assert not filled.on_plane.any()
    np.testing.assert_allclose(filled.depth, 1.0)


def test_a_plane_before_the_end_of_free_space_is_not_continued():
    assert fill_planes(half_known(1.0, 1.0, leave=0.99), scale=1.0).on_plane.any()
    assert not fill_planes(half_known(1.0, 1.0, leave=0.5), scale=1.0).on_plane.any()


@pytest.mark.parametrize('fill', [fill_planes, fill_nearest, fill_inpainted])
def test_what_is_known_stays(fill):
    view = half_known(0.8, 0.5)
    filled = fill(view, 2.0)
    known = view.inverse > 0.0
    np.testing.assert_allclose(filled.depth[known], 2.5, rtol=1e-4)
    assert np.array_equal(filled.color[known], view.color[known])
    assert (filled.depth > 0.0).all()
    np.testing.assert_allclose(filled.depth[~known], 2.5, rtol=0.01)


def test_inpainting_continues_the_background_and_not_what_is_before_it():
    view = half_known(0.5, 0.0)
    view.inverse[:, 14:16] = 1.0
    view.color[:, 14:16] = 255
    filled = fill_inpainted(view, 1.0)
    np.testing.assert_allclose(filled.depth[:, 16:], 2.0, rtol=0.02)
    assert filled.color[:, 20:].max() < 230


@pytest.fixture(scope='module')
def hidden():
    """Return a room, its measured surface, its planes and a pose that reveals hidden surface."""
    room = make_room(Camera.from_fov(160, 120, 60.0))
    frame = room.frame
    surface = measured_surface(frame, np.zeros(frame.depth.shape, bool))
    planes = find_planes(frame.depth, frame.camera, frame.gravity, np.random.default_rng(0))
    return room, surface, planes, turned_about(1.4, -frame.gravity, 25.0)


def test_completion_adds_true_surface_and_keeps_what_was_measured(hidden):
    room, surface, planes, pose = hidden
    more = complete_surface(room.frame, surface, fill_planes, [pose], planes)
    count = len(surface.mesh.vertices)
    assert len(more.mesh.vertices) > count + 50
    assert np.array_equal(more.mesh.vertices[:count], surface.mesh.vertices)
    assert not more.observed[count:].any()
    added = transform(room.T_world_camera, more.mesh.vertices[count:])
    assert (room.raycaster.distance(added) < 0.02).mean() > 0.75


def test_completion_keeps_observed_space_free_and_leaves_out_what_is_not_believed(hidden):
    room, surface, planes, pose = hidden
    shape = (64, 64)

    def before(view, scale):
        return FilledView(
            view.color, np.full(shape, 0.5, np.float32), np.ones(shape, np.float32),
            np.zeros(shape, np.float32), np.zeros(shape, bool))

    more = complete_surface(room.frame, surface, before, [pose])
    added = more.mesh.vertices[len(surface.mesh.vertices):]
    wrong = np.isclose(np.linalg.norm(added - pose[:3, 3], axis=1), 0.5, atol=0.2)
    assert not in_free_space(room.frame, added[wrong]).any()

    nothing = complete_surface(
        room.frame, surface, fill_planes, [pose], planes, CompletionSettings(confidence=1.01))
    assert len(nothing.mesh.faces) == len(surface.mesh.faces)


def test_nothing_is_guessed_where_the_camera_saw_no_surface(hidden):
    room, _, planes, pose = hidden
    height, width = room.frame.depth.shape
    depth = room.frame.depth.copy()
    depth[:, width // 2:] = 0.0
    frame = replace(room.frame, depth=depth)
    surface = measured_surface(frame, np.zeros(depth.shape, bool))
    more = complete_surface(frame, surface, fill_planes, [pose], planes)
    added = more.mesh.vertices[len(surface.mesh.vertices):]
    assert len(added) > 20
    u, _, _ = frame.camera.project(added)
    assert (u < width // 2 + 8).all()


def test_a_scene_knows_more_with_a_fill_and_frees_no_more(hidden):
    room = hidden[0]
    lifter = Lifter('geometric')
    without = lifter.lift_scene(room.frame, settings=SceneSettings(fill='none', resolution=0.03))
    scene = lifter.lift_scene(room.frame, settings=SceneSettings(resolution=0.03))
    assert len(scene.surface.mesh.faces) > len(without.surface.mesh.faces)
    free = without.voxels.at(scene.surface.mesh.vertices) == Occupancy.FREE
    assert free[~scene.surface.observed].mean() < 0.2
    for state in (Occupancy.FREE, Occupancy.OCCUPIED):
        assert (scene.voxels.states == state).sum() == (without.voxels.states == state).sum()
    again = lifter.lift_scene(room.frame, settings=SceneSettings(resolution=0.03))
    assert np.array_equal(again.surface.mesh.vertices, scene.surface.mesh.vertices)


def test_fills_are_checked_by_name():
    # The prior is missing in the packaged weights, and a field is of one scene.
    for name in set(FILLS) - {'prior'}:
        assert (make_fill(name, 'small') is None) == (name in ('none', 'zeronvs'))
    with raises_code(ErrorCode.BAD_REQUEST):
        SceneSettings(fill='magic')
    with raises_code(ErrorCode.BAD_REQUEST):
        replace(SceneSettings(), fill='')


def test_the_prior_is_missing_from_weights_without_it(tmp_path, hidden):
    (tmp_path / 'manifest.json').write_text('{"name": "small", "family": "small", "files": {}}')
    settings = SceneSettings(fill='prior', weights=str(tmp_path))
    with raises_code(ErrorCode.WEIGHTS_MISSING):
        Lifter('geometric').lift_scene(hidden[0].frame, settings=settings)


def test_the_command_refuses_an_unknown_fill_and_weights_without_a_prior(tmp_path, hidden):
    write_scene(tmp_path / 'room', hidden[0].frame, hidden[0].masks['box'])
    words = ['scene', str(tmp_path / 'room'), '--out', str(tmp_path / 'out'), '--no-objects']
    assert main([*words, '--fill', 'magic']) == 2
    (tmp_path / 'manifest.json').write_text('{"name": "small", "family": "small", "files": {}}')
    assert main([*words, '--fill', 'prior', '--prior', str(tmp_path)]) == 1
    report = json.loads((tmp_path / 'out' / 'room.json').read_text())
    assert report['error']['code'] == 'WEIGHTS_MISSING'
