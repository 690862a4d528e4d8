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


"""Scenes of frames without depth: on a known plane, in units of a height, or refused."""

from __future__ import annotations

from dataclasses import replace

from error_helpers import raises_code
import numpy as np
import pytest
from scene_helpers import make_room

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import transform
from lift3d_ros.lifter import Lifter
from lift3d_ros.lifter import LiftRequest
from lift3d_ros.observation.hints import Plane
from lift3d_ros.observation.hints import ScaleHints
from lift3d_ros.scene.composition import SceneSettings
from lift3d_ros.scene.files import write_scene
from lift3d_ros.scene.files import write_view
from lift3d_ros.scene.inputs.without_depth import ASSUMED_CONFIDENCE
from lift3d_ros.scene.inputs.without_depth import level_plane
from lift3d_ros.scene.novel_views import orbit
from lift3d_ros.scene.novel_views import render_views
from lift3d_ros.scene.scene import BACKGROUND
from lift3d_ros.scene.voxel_map import Occupancy

#: Height of the camera of the room above its floor, metres.
HEIGHT = 0.8


@pytest.fixture(scope='module')
def room():
    return make_room(Camera.from_fov(160, 120, 60.0), boxes=('box',))


@pytest.fixture(scope='module')
def frame(room):
    return replace(room.frame, depth=None)


@pytest.fixture(scope='module')
def lifter():
    return Lifter('geometric')


@pytest.fixture(scope='module')
def metric(room, frame, lifter):
    return lifter.lift_scene(
        frame, room.masks, plane=level_plane(frame.gravity, HEIGHT))


@pytest.fixture(scope='module')
def scale_free(room, frame, lifter):
    return lifter.lift_scene(frame, room.masks)


def floor(room, scene):
    """Return the background of a scene in the world, in the unit of the scene."""
    pose = room.T_world_camera.copy()
    pose[:3, 3] = 0.0
    return transform(pose, scene.surface.mesh.vertices[scene.surface.part == BACKGROUND])


def test_a_known_plane_gives_a_metric_scene(room, metric):
    assert metric.scale_source == 'plane'
    np.testing.assert_allclose(floor(room, metric)[:, 2], -HEIGHT, atol=0.01)
    box = metric.shapes['box']
    assert box.scale_source == 'plane'
    place = transform(room.T_world_camera, box.mesh_in_camera().vertices)
    assert abs(place[:, 2].min()) < 0.03
    assert np.hypot(*(place.mean(axis=0)[:2] - (0.0, -0.15))) < 0.12


def test_gravity_alone_gives_a_scene_in_units_of_the_height(room, scale_free):
    assert scale_free.scale_source == 'unknown'
    np.testing.assert_allclose(floor(room, scale_free)[:, 2], -1.0, atol=0.0125)
    assert scale_free.shapes['box'].scale_source == 'unknown'
    # It stands on the plane of the same unit.
    box = scale_free.surface.mesh.vertices[scale_free.surface.part == 0]
    assert (box @ scale_free.frame.gravity).max() == pytest.approx(1.0, abs=0.04)


@pytest.mark.parametrize('name', ['metric', 'scale_free'])
def test_nothing_is_measured_and_nothing_is_free(request, name):
    scene = request.getfixturevalue(name)
    background = scene.surface.part == BACKGROUND
    assert not scene.surface.observed[background].any()
    assert scene.surface.confidence[background].max() <= ASSUMED_CONFIDENCE
    assert scene.voxels.share(Occupancy.FREE) == scene.voxels.share(Occupancy.OCCUPIED) == 0.0
    assert scene.voxels.share(Occupancy.PREDICTED) > 0.0
    assert scene.frame.depth is None
    assert len(scene.notes) == 2


def test_a_scene_without_scale_has_no_file_in_metres(scale_free, metric, tmp_path):
    def endings(scene, name):
        files = write_scene(scene, tmp_path, name)
        view = next(iter(render_views(scene, orbit(scene, 10.0, 1))))
        files += write_view(view, tmp_path, f'{name}_view', scene.scale_source != 'unknown')
        assert (view.depth > 0.0).mean() > 0.1
        return {file.name.removeprefix(name) for file in files}

    common = {'.ply', '_voxels.npz', '_height.npz', '_height.png', '_view.png'}
    assert endings(scale_free, 'a') == {*common, '_view_depth.npz'}
    assert endings(metric, 'b') == {*common, '.bt', '_view_depth.png'}


def test_a_fill_that_needs_depth_is_left_out_with_a_note(frame, lifter):
    scene = lifter.lift_scene(frame, settings=SceneSettings(fill='zeronvs', resolution=0.05))
    assert scene.field is None
    assert any('zeronvs' in note for note in scene.notes)


def test_a_known_size_does_not_mix_with_another_unit(room, frame, lifter, scale_free):
    request = LiftRequest(room.masks['box'], ScaleHints(known_size=0.2))
    scene = lifter.lift_scene(frame, {'box': request})
    np.testing.assert_allclose(
        scene.shapes['box'].size, scale_free.shapes['box'].size, rtol=1e-6)


def test_no_depth_and_no_scale_is_refused(frame, lifter):
    with raises_code(ErrorCode.BAD_REQUEST):
        lifter.lift_scene(replace(frame, gravity=None))


def test_a_plane_needs_no_gravity(frame, lifter):
    plane = Plane(-frame.gravity, -HEIGHT)
    assert lifter.lift_scene(replace(frame, gravity=None), plane=plane).scale_source == 'plane'


def test_a_frame_above_the_horizon_is_refused(frame, lifter):
    with raises_code(ErrorCode.NO_SURFACE):
        lifter.lift_scene(replace(frame, gravity=-frame.gravity))


def test_a_black_image_without_depth_is_refused(frame, lifter):
    with raises_code(ErrorCode.BAD_IMAGE):
        lifter.lift_scene(replace(frame, image=np.zeros_like(frame.image)))


def test_a_mask_of_another_size_is_an_error_of_its_object(frame, lifter):
    scene = lifter.lift_scene(frame, {'odd': np.ones((7, 9), bool)})
    assert isinstance(scene.objects['odd'], LiftError)
    assert scene.objects['odd'].code is ErrorCode.SIZE_MISMATCH


@pytest.mark.parametrize('height', [0.0, -1.0, np.inf, np.nan])
def test_a_height_must_be_positive(frame, height):
    with raises_code(ErrorCode.BAD_REQUEST):
        level_plane(frame.gravity, height)


def test_a_height_needs_gravity():
    with raises_code(ErrorCode.BAD_REQUEST):
        level_plane(None, 1.0)
