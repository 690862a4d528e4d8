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


"""Tests of the views of One-2-3-45 and of the frame of its volume, against published numbers."""

import numpy as np
import pytest

from lift3d_ros.diffusion.models import PublishedModel
from lift3d_ros.diffusion.view_plan import first_stage
from lift3d_ros.diffusion.view_plan import INPUT
from lift3d_ros.diffusion.view_plan import lens
from lift3d_ros.diffusion.view_plan import PlannedView
from lift3d_ros.diffusion.view_plan import pose
from lift3d_ros.diffusion.view_plan import RADIUS
from lift3d_ros.diffusion.view_plan import second_stage
from lift3d_ros.geometry import orbit_pose
from lift3d_ros.geometry import ZERO123_FOV
from lift3d_ros.methods.published_surface import CANONICAL_PER_PUBLISHED
from lift3d_ros.methods.published_surface import REACH
from lift3d_ros.methods.published_surface import source_frame
from lift3d_ros.networks.one2345.frustum_frame import frustum_frame

#: Elevations of the input camera whose polar angles are 30 to 100 degrees in steps of 5.
ELEVATIONS = tuple(range(-10, 61, 5))


def test_the_first_stage_is_two_rings_from_the_input():
    views = first_stage(20.0)
    assert [v.azimuth for v in views] == [0.0, 90.0, 180.0, 270.0, 30.0, 120.0, 210.0, 300.0]
    assert [v.elevation for v in views] == [20.0] * 4 + [-10.0] * 4
    assert all(v.source == INPUT for v in views)
    assert [v.elevation_step for v in views] == [0.0] * 4 + [-30.0] * 4


@pytest.mark.parametrize('polar, step', [(74.0, -30.0), (75.0, -30.0), (76.0, 30.0), (95.0, 30.0)])
def test_the_second_ring_is_lower_unless_the_camera_is_low(polar, step):
    views = first_stage(90.0 - polar)
    assert {v.elevation_step for v in views[4:]} == {step}


def test_the_second_stage_is_four_views_near_each():
    first = first_stage(20.0)
    views = second_stage(first)
    assert len(views) == 32
    # As the published ids: 0_0 higher, 0_1 lower, 0_2 clockwise, 0_3 counter-clockwise.
    assert [(v.azimuth, v.elevation, v.source) for v in views[:4]] == [
        (0.0, 30.0, 0), (0.0, 10.0, 0), (-10.0, 20.0, 0), (10.0, 20.0, 0)]
    assert [(v.azimuth, v.elevation, v.source) for v in views[28:]] == [
        (300.0, 0.0, 7), (300.0, -20.0, 7), (290.0, -10.0, 7), (310.0, -10.0, 7)]
    assert [v.source for v in views] == [i for i in range(8) for _ in range(4)]


def test_poses_are_those_of_the_published_formula():
    # The centre for polar angle phi and ring angle theta, whose azimuth is theta - 90 degrees.
    for view in second_stage(first_stage(33.0)):
        phi, theta = np.radians(90.0 - view.elevation), np.radians(view.azimuth + 90.0)
        center = RADIUS * np.array(
            [np.sin(theta) * np.sin(phi), -np.cos(theta) * np.sin(phi), np.cos(phi)])
        T = pose(view)
        assert np.allclose(T[:3, 3], center)
        assert np.allclose(T[:3, 2], -center / RADIUS)
        assert abs(T[2, 0]) < 1e-12 and T[2, 1] < 0.0


def test_the_lens_is_that_of_zero123():
    fov = 2.0 * np.degrees(np.arctan(128.0 / lens()[0, 0]))
    assert fov == pytest.approx(ZERO123_FOV, abs=0.01)
    assert np.allclose(lens(64)[:2], lens()[:2] / 4.0)


def test_a_step_over_the_zenith_does_not_turn_the_picture():
    below, above = (PlannedView(40.0, e, 0, 0.0, 0.0) for e in (89.999, 90.001))
    assert np.allclose(pose(below), pose(above), atol=1e-4)
    assert np.allclose(pose(below), orbit_pose(40.0, 89.999, RADIUS))
    # The published look-at turns it by half a turn.
    assert np.allclose(pose(above, zenith='faithful')[:3, 0], -pose(below)[:3, 0], atol=1e-4)
    assert np.linalg.det(pose(above)[:3, :3]) == pytest.approx(1.0)


def frame(elevation):
    first = first_stage(elevation)
    return source_frame(second_stage(first), first)


@pytest.mark.parametrize('elevation', ELEVATIONS)
def test_the_volume_has_the_published_size(elevation):
    volume = frame(elevation)
    assert 1.335 < volume.scale < 1.44
    distance = np.linalg.norm(volume.camera_centers, axis=1)
    assert 0.815 < distance.min() and distance.max() < 0.955
    assert np.abs(volume.from_world(np.zeros(3))).max() < 0.082
    assert 0.0275 < 2.0 / 95.0 * volume.scale < 0.0305


def test_the_volume_has_the_axes_of_the_first_view():
    first = first_stage(25.0)
    volume = frame(25.0)
    assert np.allclose(volume.T_world_reference, pose(first[0]))
    step = volume.to_world([0.0, 0.0, 1.0]) - volume.to_world([0.0, 0.0, 0.0])
    assert np.allclose(step / volume.scale, pose(first[0])[:3, 2])
    points = np.random.default_rng(0).normal(size=(5, 3))
    assert np.allclose(volume.from_world(volume.to_world(points)), points)


def test_the_volume_encloses_all_frusta_by_a_tenth():
    near, far, K = 0.5, 1.8, lens()
    poses = [orbit_pose(a, e, 1.2) for a, e in ((0.0, 20.0), (100.0, -5.0), (200.0, 60.0))]
    volume = frustum_frame(poses[0], poses, K, (256, 256), near, far)
    corners = []
    for T in poses:
        for depth in (near, far):
            for u in (0.0, 256.0):
                for v in (0.0, 256.0):
                    corner = depth * np.array([(u - 128.0) / 280.0, (v - 128.0) / 280.0, 1.0])
                    corners.append(T[:3, :3] @ corner + T[:3, 3])
    inside = volume.from_world(corners)
    extent = np.ptp(inside, axis=0)
    assert extent.max() == pytest.approx(2.0 / 1.1)
    assert np.allclose(inside.max(axis=0), -inside.min(axis=0))


def test_projections_take_volume_points_to_pixels():
    volume = frame(10.0)
    views = second_stage(first_stage(10.0))
    world = np.array([0.1, -0.2, 0.15])
    for index in (0, 13, 31):
        T = pose(views[index])
        x, y, z = T[:3, :3].T @ (world - T[:3, 3])
        image = volume.projections[index] @ np.append(volume.from_world(world), 1.0)
        assert image[:2] / image[2] == pytest.approx(
            [280.0 * x / z + 128.0, 280.0 * y / z + 128.0], rel=1e-4)
        assert image[2] == pytest.approx(z / volume.scale, rel=1e-4)


def test_the_canonical_length_is_that_of_the_view_model():
    assert CANONICAL_PER_PUBLISHED == pytest.approx(PublishedModel.radius / RADIUS, rel=1e-3)
    # An object of length 1, whose picture fills 75 %, is well inside of what all views see.
    assert 0.5 / CANONICAL_PER_PUBLISHED < 0.6 * REACH
    assert REACH / frame(45.0).scale < 0.6
