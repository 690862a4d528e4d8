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
"""The radiance field of a scene: its frame, its rays, and scenes that are completed by it."""

from __future__ import annotations

from error_helpers import raises_code
import numpy as np
import pytest
from scene_helpers import make_room
import torch

from lift3d_ros.cli import main
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.fields.rays import Histogram
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import is_rigid
from lift3d_ros.geometry import rigid
from lift3d_ros.io.scene import write_scene
from lift3d_ros.lifter import Lifter
from lift3d_ros.scene.composition import SceneSettings
from lift3d_ros.scene.novel_views import render_views
from lift3d_ros.scene.novel_views import turned_about
from lift3d_ros.scene.prior.inputs import KnownScene
from lift3d_ros.scene.radiance import small
from lift3d_ros.scene.radiance.rays import anchor_rays
from lift3d_ros.scene.radiance.rays import input_rays
from lift3d_ros.scene.radiance.scene_field import MIN_OPACITY
from lift3d_ros.scene.radiance.scene_field import ray_ends
from lift3d_ros.scene.radiance.scene_field import SceneFrame
from lift3d_ros.scene.radiance.scene_field import weight_within
from lift3d_ros.scene.radiance.settings import RadianceSettings
from lift3d_ros.scene.radiance.settings import resolved_preset
from lift3d_ros.scene.voxel_map import Occupancy

pytestmark = pytest.mark.usefixtures('one_thread')

CAMERA = Camera.from_fov(96, 72, 60.0)


def settings(steps=120, **changes):
    return SceneSettings(
        fill='zeronvs', resolution=0.05, radiance=RadianceSettings(steps=steps), **changes)


@pytest.fixture(scope='module')
def room():
    return make_room(CAMERA)


@pytest.fixture(scope='module')
def scene(room):
    return Lifter('geometric').lift_scene(room.frame, settings=settings())


@pytest.fixture(scope='module')
def without(room):
    return Lifter('geometric').lift_scene(
        room.frame, settings=SceneSettings(fill='none', resolution=0.05))


@pytest.mark.parametrize('up', [(0.0, -1.0, 0.0), (0.3, -0.8, -0.5), (0.0, 0.0, -1.0)])
def test_the_input_camera_is_at_azimuth_zero_and_looks_at_the_middle(up):
    frame = SceneFrame.of_middle(2.5, np.array(up))
    T = frame.pose(np.eye(4))
    assert is_rigid(T)
    np.testing.assert_allclose(T[:3, :3] @ np.array(up) / np.linalg.norm(up), [0, 0, 1], atol=1e-9)
    np.testing.assert_allclose(T[:3, 3] + T[:3, 2], 0.0, atol=1e-9)
    assert np.linalg.norm(T[:3, 3]) == pytest.approx(1.0)
    assert T[1, 3] == pytest.approx(0.0, abs=1e-9) and T[0, 3] >= -1e-9


def test_lengths_of_poses_are_in_distances_of_the_camera():
    frame = SceneFrame.of_middle(2.0, np.array([0.0, -1.0, 0.0]))
    ahead = frame.pose(rigid(np.eye(3), [0.0, 0.0, 1.0]))
    np.testing.assert_allclose(ahead[:3, 3], [0.5, 0.0, 0.0], atol=1e-9)


def test_poses_and_vectors_do_not_change_with_the_scale_of_the_scene(room, without):
    # The same scene in units of a third of a metre.
    large = make_room(CAMERA)
    frame = large.frame
    grown = type(frame)(frame.image, frame.camera, 3.0 * frame.depth, frame.gravity)
    surface = without.surface
    big = type(surface)(
        type(surface.mesh)(3.0 * surface.mesh.vertices, surface.mesh.faces, surface.mesh.colors),
        surface.confidence, surface.observed, surface.part)
    pose = turned_about(1.2, np.array([0.0, -1.0, 0.1]), 25.0)
    scaled = pose.copy()
    scaled[:3, 3] *= 3.0
    once = KnownScene(room.frame, surface).view(CAMERA, pose)
    other = KnownScene(grown, big).view(CAMERA, scaled)
    assert once.pose.shape == (19,)
    np.testing.assert_allclose(other.pose, once.pose, atol=1e-6)
    np.testing.assert_allclose(
        SceneFrame.of_middle(3.6, np.array([0.0, -1.0, 0.1])).pose(scaled),
        SceneFrame.of_middle(1.2, np.array([0.0, -1.0, 0.1])).pose(pose), atol=1e-9)


def test_the_weight_within_a_part_of_a_ray_is_that_of_its_overlaps():
    edges = torch.tensor([[0.0, 1.0, 2.0, 4.0]])
    weights = torch.tensor([[0.2, 0.4, 0.4]])
    low, high = torch.tensor([[0.5]]), torch.tensor([[3.0]])
    assert float(weight_within(weights, edges, low, high)) == pytest.approx(0.1 + 0.4 + 0.2)
    ends = ray_ends(Histogram(torch.tensor([[0.0, 1.0]]), torch.ones(1, 1)), small.RENDER)
    assert ends[0].tolist() == pytest.approx([small.NEAR, small.FAR])


def test_known_rays_end_at_the_surface(room, without):
    frame = SceneFrame.of_middle(1.5, np.array([0.0, -1.0, 0.0]))
    rays = input_rays(room.frame, frame)
    readings = room.frame.depth.reshape(-1) > 0.0
    assert len(rays) == readings.size
    assert (torch.isfinite(rays.distance).numpy() == readings).all()
    ends = rays.rays.origins + rays.distance[:, None] * rays.rays.directions
    v, u = np.divmod(np.flatnonzero(readings), CAMERA.width)
    points = CAMERA.unproject(u, v, room.frame.depth.reshape(-1)[readings])
    T = frame.T_canonical_camera
    expected = points / 1.5 @ T[:3, :3].T + T[:3, 3]
    np.testing.assert_allclose(ends[readings], expected, atol=1e-4)
    anchors = anchor_rays(
        KnownScene(room.frame, without.surface), [turned_about(1.5, [0, -1, 0], 30.0)], frame)
    assert len(anchors) > 500
    assert torch.isfinite(anchors.distance).all()


def test_rays_are_drawn_by_their_shares():
    frame = SceneFrame.of_middle(1.0, np.array([0.0, -1.0, 0.0]))
    rays = input_rays(make_room(Camera.from_fov(8, 6, 60.0)).frame, frame)
    share = torch.zeros(len(rays))
    share[5], share[40] = 1.0, 3.0
    drawn = type(rays)(rays.rays, rays.color, rays.distance, share).draw(
        4000, torch.Generator().manual_seed(0))
    assert set(drawn.tolist()) == {5, 40}
    assert 0.7 < (drawn == 40).float().mean() < 0.8


def test_the_field_shows_the_input_and_its_depth(room, scene):
    seen = scene.field.render(CAMERA, np.eye(4))
    known = room.frame.depth > 0.0
    assert (seen.opacity[known] > MIN_OPACITY).mean() > 0.95
    error = np.abs(seen.depth - room.frame.depth)[known & (seen.depth > 0.0)]
    assert np.median(error) < 0.03
    assert np.abs(seen.color.astype(float) - room.frame.image)[known].mean() < 20.0


def test_a_scene_has_more_hidden_surface_with_a_field_and_frees_no_more(scene, without):
    assert len(scene.surface.mesh.vertices) > len(without.surface.mesh.vertices)
    added = slice(len(without.surface.mesh.vertices), None)
    assert not scene.surface.observed[added].any()
    assert scene.surface.confidence[added].min() >= 0.0
    free, before = (each.voxels.share(Occupancy.FREE) for each in (scene, without))
    assert free <= before
    assert scene.voxels.share(Occupancy.PREDICTED) >= without.voxels.share(Occupancy.PREDICTED)
    low, high = scene.field.field.bounds(0.5)
    assert (high > low).all()
    assert 'field' in scene.seconds
    assert any('continued planes' in note for note in scene.notes)
    assert without.field is None


def test_views_are_of_the_surface_with_the_field_in_its_holes_or_of_the_field(scene, without):
    pose = turned_about(1.5, np.array([0.0, -1.0, 0.0]), 30.0)
    bare = next(render_views(without, [pose]))
    mixed = next(render_views(scene, [pose]))
    alone = next(render_views(scene, [pose], source='field'))
    assert (mixed.depth > 0.0).mean() > (bare.depth > 0.0).mean()
    both = (alone.depth > 0.0) & (bare.depth > 0.0)
    assert both.mean() > 0.3
    assert np.median(np.abs(alone.depth - bare.depth)[both]) < 0.08
    assert not alone.observed[alone.depth <= 0.0].any()


def test_views_of_a_field_that_is_not_there_are_refused(without):
    with raises_code(ErrorCode.BAD_REQUEST):
        next(render_views(without, [np.eye(4)], source='field'))
    with raises_code(ErrorCode.BAD_REQUEST):
        next(render_views(without, [np.eye(4)], source='magic'))


def test_the_same_seed_gives_the_same_field(room):
    first, second = (
        Lifter('geometric').lift_scene(room.frame, settings=settings(4)) for _ in range(2))
    np.testing.assert_array_equal(
        first.field.render(CAMERA, np.eye(4)).color, second.field.render(CAMERA, np.eye(4)).color)


def test_a_field_is_cancelled_while_it_is_optimised(room):
    stages = []
    with pytest.raises(LiftError) as caught:
        Lifter('geometric').lift_scene(
            room.frame, settings=settings(10_000),
            progress=lambda stage, done: stages.append(stage),
            cancelled=lambda: stages.count('optimise') > 3)
    assert caught.value.code is ErrorCode.CANCELLED


def test_the_budget_ends_the_optimisation_with_a_note(room):
    scene = Lifter('geometric').lift_scene(room.frame, settings=settings(100_000), budget=12.0)
    assert scene.seconds['total'] < 12.0
    assert any('of 100000 steps' in note for note in scene.notes)


@pytest.mark.parametrize('wrong', [
    {'preset': 'fast'}, {'steps': 0}, {'steps': 10**9}, {'device': 'tpu'}])
def test_settings_are_checked(wrong):
    with raises_code(ErrorCode.BAD_REQUEST):
        RadianceSettings(**wrong)


@pytest.mark.parametrize(('preset', 'weights'), [('gpu', 'small'), ('small', 'zeronvs')])
def test_a_preset_must_fit_the_weights(preset, weights):
    with raises_code(ErrorCode.BAD_REQUEST):
        resolved_preset(RadianceSettings(preset=preset), weights)
    assert resolved_preset(RadianceSettings(), 'small') == 'small'
    assert resolved_preset(RadianceSettings(), 'zeronvs') == 'gpu'


def test_missing_weights_are_found_before_objects_are_lifted(room):
    stages = []
    with raises_code(ErrorCode.WEIGHTS_MISSING):
        Lifter('geometric').lift_scene(
            room.frame, room.masks, settings(weights='/nowhere/zeronvs.ckpt'),
            progress=lambda stage, done: stages.append(stage))
    assert not stages


def test_the_command_completes_a_scene_by_a_field(room, tmp_path):
    write_scene(tmp_path / 'room', room.frame, room.masks['box'])
    words = ['scene', str(tmp_path / 'room'), '--out', str(tmp_path / 'out'), '--no-objects']
    assert main([*words, '--fill', 'zeronvs', '--steps', '3', '--views', '1', '--views-from',
                 'field']) == 0
    assert (tmp_path / 'out' / 'room_view_000.png').exists()
    assert main([*words, '--views', '1', '--views-from', 'field']) == 1
    assert main([*words, '--views-from', 'magic']) == 2
