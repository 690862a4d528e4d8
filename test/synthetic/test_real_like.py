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

"""Scenes with the difficulties of real frames: geometry, ground truth, repeatability."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import trimesh

from lift3d_ros.geometry import invert
from lift3d_ros.geometry import transform
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.synthetic.held import HOLDERS
from lift3d_ros.synthetic.real_like import COLOR_MASK
from lift3d_ros.synthetic.real_like import make_real_like_scene
from lift3d_ros.synthetic.real_like import RealLikeSettings
from lift3d_ros.synthetic.real_like import SEGMENTERS
from lift3d_ros.synthetic.rigs import draw_rig
from lift3d_ros.synthetic.rigs import RIG_SHARES


def solid(shape, color=(180, 120, 60)):
    """Return a trimesh solid as a mesh of one colour."""
    colors = np.tile(np.array(color, np.uint8), (len(shape.vertices), 1))
    return Mesh(shape.vertices.astype(np.float32), shape.faces.astype(np.int32), colors)


BOTTLE = solid(trimesh.creation.cylinder(0.035, 0.16).subdivide())
OTHERS = (
    solid(trimesh.creation.box((0.06, 0.1, 0.12)), (30, 90, 160)),
    solid(trimesh.creation.icosphere(3, 0.05), (60, 160, 40)),
)


#: Every kind of camera, standing and held objects, in small images.
SEEDS = (1, 3, 6, 11, 12, 13)


@pytest.fixture(scope='module')
def scenes():
    """Return scenes of one object among others."""
    return [make_real_like_scene(BOTTLE, seed, OTHERS) for seed in SEEDS]


def lowest(scene):
    """Return the height of the object's lowest point over the table, metres."""
    normal, distance = scene.situation.table
    return float((scene.mesh_in_camera().vertices @ normal).min()) - distance


def test_a_seed_makes_the_same_scene_and_another_seed_another_one(scenes):
    again = make_real_like_scene(BOTTLE, SEEDS[3], OTHERS)
    np.testing.assert_array_equal(again.frame.image, scenes[3].frame.image)
    np.testing.assert_array_equal(again.frame.depth, scenes[3].frame.depth)
    np.testing.assert_array_equal(again.detection, scenes[3].detection)
    assert len({scene.azimuth for scene in scenes}) == len(scenes)


def test_an_object_stands_on_the_table_or_is_held_above_it(scenes):
    states = {scene.situation.standing for scene in scenes}
    assert states == {True, False}
    for scene in scenes:
        situation = scene.situation
        assert lowest(scene) == pytest.approx(situation.clearance_m, abs=1e-4)
        if not situation.standing:
            assert 0.03 <= situation.clearance_m <= 0.30
            assert situation.holder in HOLDERS
            assert situation.surroundings in ('alone', 'clutter')


def test_the_record_names_what_was_drawn(scenes):
    for scene in scenes:
        situation = scene.situation
        assert situation.rig.kind in RIG_SHARES
        assert situation.mask in (*SEGMENTERS, COLOR_MASK)
        assert situation.surroundings in ('alone', 'touching', 'clutter', 'bin', 'shelf')
        assert np.hypot(*situation.depth_shift_px) <= 4.0
        assert scene.frame.camera == situation.rig.color
        assert np.linalg.norm(situation.gravity) == pytest.approx(1.0)
    assert len({scene.situation.rig.kind for scene in scenes}) > 1
    assert len({scene.situation.mask for scene in scenes}) > 1


def test_the_frame_knows_gravity_only_where_asked(scenes):
    assert all(scene.frame.gravity is None for scene in scenes)
    known = make_real_like_scene(
        BOTTLE, SEEDS[0], OTHERS, RealLikeSettings(gravity=True))
    np.testing.assert_allclose(known.frame.gravity, scenes[0].situation.gravity)


def test_the_exact_mask_is_where_the_true_surface_is(scenes):
    for scene in scenes:
        camera = scene.frame.camera
        v, u = np.nonzero(scene.mask)
        points = camera.unproject(u, v, scene.truth.depth[scene.mask])
        local = transform(invert(scene.T_camera_object), points)
        beside = np.abs(np.hypot(local[:, 0], local[:, 1]) - 0.035)
        above = np.abs(np.abs(local[:, 2]) - 0.08)
        # The facets of the cylinder lie inside of the round one.
        assert np.quantile(np.minimum(beside, above), 0.98) < 1e-3
        assert scene.occlusion < 0.6


def test_the_segmenters_mask_is_near_the_exact_one(scenes):
    shares = []
    for scene in scenes:
        union = np.count_nonzero(scene.mask | scene.detection)
        shares.append(np.count_nonzero(scene.mask & scene.detection) / union)
    assert min(shares) > 0.4
    assert 0.75 < np.mean(shares) < 0.99


def test_most_of_the_object_is_measured_to_some_millimetres(scenes):
    for scene in scenes:
        depth = np.nan_to_num(scene.frame.depth)
        error = np.abs(depth - scene.truth.depth)[scene.mask & (depth > 0.0)]
        assert np.count_nonzero(depth[scene.mask]) > 0.3 * np.count_nonzero(scene.mask)
        assert np.median(error) < 0.012


def test_the_depth_is_displaced_by_the_recorded_shift():
    settings = RealLikeSettings(held=0.0, touched=0.0, max_shift_px=4.0)
    # The cameras are drawn first.
    seed = next(
        seed for seed in range(100)
        if np.hypot(*draw_rig(np.random.default_rng([seed, 0x5EA1]), 4.0).shift_px) > 3.0)
    scene = make_real_like_scene(BOTTLE, seed, (), settings)
    shift = np.array(scene.situation.depth_shift_px)
    assert np.hypot(*shift) > 3.0
    depth = np.nan_to_num(scene.frame.depth)
    truth = scene.truth.depth
    error = {}
    for move in (shift, -shift):
        right, down = np.rint(move).astype(int)
        moved = np.roll(truth, (down, right), axis=(0, 1))
        inside = np.roll(scene.mask, (down, right), axis=(0, 1)) & (depth > 0.0)
        error[tuple(move)] = np.mean(np.abs(depth - moved)[inside] > 0.03)
    assert error[tuple(shift)] < error[tuple(-shift)]


@pytest.mark.parametrize('around', ['alone', 'touching', 'clutter', 'bin', 'shelf'])
def test_the_surroundings_that_are_asked_for(around):
    settings = RealLikeSettings(held=0.0, touched=0.0, surroundings=((around, 1.0),))
    scene = make_real_like_scene(BOTTLE, 5, OTHERS, settings)
    assert scene.situation.surroundings == around
    assert scene.situation.standing
    beside = set(np.unique(scene.truth.instance)) - {-1, 0}
    assert beside
    if around == 'touching':
        # Some pixel of the object is beside one of its neighbour, which is as far away.
        assert np.count_nonzero(scene.truth.instance == 1) > 0


@pytest.mark.parametrize(
    ('pose', 'least', 'most'), [('upright', 0.0, 35.0), ('level', 55.0, 90.0)])
def test_a_held_object_has_the_pose_and_the_sensor_that_are_asked_for(pose, least, most):
    settings = RealLikeSettings(
        held=1.0, held_poses=((pose, 1.0),), sensors=(('structured_light', 1.0),),
        surroundings=(('alone', 1.0),), elevation=(40.0, 50.0))
    scene = make_real_like_scene(BOTTLE, 2, (), settings)
    assert scene.situation.rig.kind == 'structured_light'
    # Gravity points down in the optical frame, as does the axis of an object upside down.
    axis = scene.T_camera_object[:3, 2]
    tilt = np.degrees(np.arccos(abs(axis @ scene.situation.gravity)))
    assert least <= tilt <= most


def test_without_others_the_object_has_no_neighbours():
    settings = replace(RealLikeSettings(), held=0.0, surroundings=(('clutter', 1.0),))
    assert make_real_like_scene(BOTTLE, 0, (), settings).situation.surroundings == 'alone'


def test_a_mesh_that_cannot_be_shown_is_refused():
    empty = Mesh(BOTTLE.vertices, BOTTLE.faces[:0], BOTTLE.colors)
    with pytest.raises(ValueError, match='faces and finite coordinates'):
        make_real_like_scene(empty, 0)
