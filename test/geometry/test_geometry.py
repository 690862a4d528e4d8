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

"""The conventions of cameras, transforms and poses, pinned by numbers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import frame_from_up
from lift3d_ros.geometry import invert
from lift3d_ros.geometry import look_at
from lift3d_ros.geometry import OPENCV_OPENGL
from lift3d_ros.geometry import orbit_pose
from lift3d_ros.geometry import rigid
from lift3d_ros.geometry import rotate
from lift3d_ros.geometry import spherical
from lift3d_ros.geometry import stable_zero123_pose
from lift3d_ros.geometry import transform
from lift3d_ros.geometry import unit
from lift3d_ros.geometry import ZERO123_FOV
from lift3d_ros.geometry import zero123_pose
from lift3d_ros.geometry import zeronvs_pose

cameras = st.builds(
    Camera,
    width=st.integers(1, 4000),
    height=st.integers(1, 4000),
    fx=st.floats(50.0, 3000.0),
    fy=st.floats(50.0, 3000.0),
    cx=st.floats(-100.0, 4100.0),
    cy=st.floats(-100.0, 4100.0),
)
pixels = st.floats(-1000.0, 5000.0)
depths = st.floats(0.05, 50.0)
coordinates = st.floats(-10.0, 10.0)
points = st.tuples(coordinates, coordinates, coordinates)
directions = points.filter(lambda p: np.linalg.norm(p) > 1e-3)


# Cameras


def test_a_point_right_of_and_below_the_axis_lies_right_and_below_in_the_image():
    u, v, z = Camera(640, 480, 600.0, 500.0, 320.0, 240.0).project([0.1, 0.2, 2.0])
    assert (u, v, z) == pytest.approx((320.0 + 30.0, 240.0 + 50.0, 2.0))


def test_a_point_behind_the_camera_has_no_pixel():
    u, v, z = Camera(640, 480, 600.0, 600.0, 320.0, 240.0).project([[0.0, 0.0, -1.0]])
    assert np.isnan(u).all()
    assert np.isnan(v).all()
    assert z == -1.0


@given(cameras, pixels, pixels, depths)
def test_projecting_what_was_unprojected_gives_the_pixel_and_the_depth_back(camera, u, v, z):
    back = camera.project(camera.unproject(u, v, z))
    assert back == pytest.approx((u, v, z), rel=1e-9, abs=1e-6)


@given(
    cameras,
    st.floats(-50.0, 500.0),
    st.floats(-50.0, 500.0),
    st.floats(0.1, 8.0),
    st.floats(0.1, 8.0),
    points.filter(lambda p: p[2] > 0.05),
)
def test_a_crop_sees_each_point_where_the_resized_window_has_it(
    camera, left, top, scale_x, scale_y, point
):
    u, v, z = camera.project(point)
    crop = camera.crop(left, top, 100, 100, scale_x, scale_y)
    # Pixel k covers k - 0.5 to k + 0.5; borders scale, not centres.
    expected = ((u - left) * scale_x - 0.5, (v - top) * scale_y - 0.5, z)
    np.testing.assert_allclose(crop.project(point), expected, rtol=1e-9, atol=1e-6)


def test_the_whole_image_as_a_crop_is_the_camera_itself():
    camera = Camera(640, 480, 600.0, 500.0, 321.0, 238.0)
    assert camera.crop(-0.5, -0.5, 640, 480) == camera


def test_rays_have_depth_one_and_meet_their_pixels():
    camera = Camera(8, 6, 10.0, 12.0, 3.2, 2.7)
    rays = camera.rays()
    assert rays.shape == (6, 8, 3)
    u, v, z = camera.project(rays)
    assert (z == 1.0).all()
    np.testing.assert_allclose(u, np.tile(np.arange(8.0), (6, 1)), atol=1e-9)
    np.testing.assert_allclose(v, np.tile(np.arange(6.0)[:, None], (1, 8)), atol=1e-9)


def test_the_field_of_view_reaches_from_border_to_border():
    camera = Camera.from_fov(256, 256, 90.0)
    assert camera.fx == pytest.approx(128.0)
    u, _, _ = camera.project([1.0, 0.0, 1.0])
    assert u == pytest.approx(255.5)


def test_the_views_of_zero123_are_49_degrees_wide():
    assert ZERO123_FOV == pytest.approx(49.1343, abs=1e-4)


def test_a_matrix_makes_a_camera_and_back():
    K = [[600.0, 0.0, 320.0], [0.0, 610.0, 240.0], [0.0, 0.0, 1.0]]
    camera = Camera.from_matrix(640, 480, K)
    assert (camera.fx, camera.fy, camera.cx, camera.cy) == (600.0, 610.0, 320.0, 240.0)
    np.testing.assert_array_equal(camera.K, K)


@pytest.mark.parametrize(
    ('size', 'K', 'reason'),
    [
        ((640, 480), np.zeros((3, 3)), 'not positive'),
        ((640, 480), np.full((3, 3), np.nan), 'not finite|skew'),
        ((0, 480), np.eye(3), 'empty'),
        ((640, 480), np.eye(2), 'shape'),
        ((640, 480), [[1.0, 0.1, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], 'skew'),
        ((640, 480), [[-1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], 'not positive'),
        ((640, 480), [[1.0, 0.0, np.inf], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], 'not finite'),
    ],
)
def test_a_camera_that_cannot_be_is_refused(size, K, reason):
    with pytest.raises(ValueError, match=reason):
        Camera.from_matrix(*size, K)


# Transforms


@given(points, directions, points)
def test_inverting_a_transform_takes_points_back(eye, sight, point):
    T = look_at(eye, np.add(eye, sight))
    np.testing.assert_allclose(transform(invert(T), transform(T, point)), point, atol=1e-9)
    np.testing.assert_allclose(T @ invert(T), np.eye(4), atol=1e-9)


@given(points, directions)
def test_look_at_makes_a_proper_rotation(eye, sight):
    R = look_at(eye, np.add(eye, sight))[:3, :3]
    np.testing.assert_allclose(R.T @ R, np.eye(3), atol=1e-9)
    assert np.linalg.det(R) == pytest.approx(1.0)


def test_a_level_camera_that_looks_along_x_has_right_along_minus_y_and_down_along_minus_z():
    T = look_at([0.0, 0.0, 0.0], [1.0, 0.0, 0.0])
    np.testing.assert_allclose(rotate(T, np.eye(3)), [[0, -1, 0], [0, 0, -1], [1, 0, 0]])


def test_look_at_puts_the_target_in_front_and_above_things_above():
    T_camera_world = invert(look_at([1.0, 2.0, 3.0], [0.0, 0.0, 1.0]))
    target = transform(T_camera_world, [0.0, 0.0, 1.0])
    np.testing.assert_allclose(target, [0.0, 0.0, 3.0], atol=1e-12)
    assert transform(T_camera_world, [0.0, 0.0, 1.5])[1] < 0.0


def test_straight_above_the_image_keeps_the_orientation_of_azimuth_zero():
    steep = orbit_pose(0.0, 89.9, 1.0)
    zenith = orbit_pose(0.0, 90.0, 1.0)
    np.testing.assert_allclose(zenith, steep, atol=0.01)
    nadir, low = orbit_pose(0.0, -90.0, 1.0), orbit_pose(0.0, -89.9, 1.0)
    np.testing.assert_allclose(nadir, low, atol=0.01)


def test_opencv_and_opengl_cameras_differ_by_half_a_turn_about_x():
    np.testing.assert_array_equal(OPENCV_OPENGL @ [0.1, 0.2, 0.3, 1.0], [0.1, -0.2, -0.3, 1.0])
    np.testing.assert_array_equal(OPENCV_OPENGL @ OPENCV_OPENGL, np.eye(4))


def test_rotate_ignores_the_translation():
    T = rigid(np.eye(3), [1.0, 2.0, 3.0])
    np.testing.assert_array_equal(rotate(T, [[1.0, 0.0, 0.0]]), [[1.0, 0.0, 0.0]])
    np.testing.assert_array_equal(transform(T, [1.0, 0.0, 0.0]), [2.0, 2.0, 3.0])


def test_a_direction_without_length_is_refused():
    with pytest.raises(ValueError, match='no length'):
        unit([0.0, 0.0, 0.0])
    with pytest.raises(ValueError, match='no length'):
        unit([np.nan, 0.0, 1.0])


@given(directions, directions)
def test_a_frame_from_up_is_upright_and_faces_the_camera(up, towards):
    R = frame_from_up(up, towards)
    np.testing.assert_allclose(R.T @ R, np.eye(3), atol=1e-6)
    assert np.linalg.det(R) == pytest.approx(1.0)
    np.testing.assert_allclose(R[:, 2], unit(up), atol=1e-9)
    # Towards has no part along y, and does not point away along x.
    local = unit(towards) @ R
    if np.hypot(local[0], local[1]) > 1e-3:
        assert local[1] == pytest.approx(0.0, abs=1e-6)
        assert local[0] > 0.0


# Spherical poses


@pytest.mark.parametrize(
    ('azimuth', 'elevation', 'position'),
    [
        (0.0, 0.0, [2.0, 0.0, 0.0]),
        (90.0, 0.0, [0.0, 2.0, 0.0]),
        (-90.0, 0.0, [0.0, -2.0, 0.0]),
        (180.0, 0.0, [-2.0, 0.0, 0.0]),
        (0.0, 90.0, [0.0, 0.0, 2.0]),
        (0.0, 30.0, [np.sqrt(3.0), 0.0, 1.0]),
    ],
)
def test_azimuth_turns_from_x_to_y_and_elevation_rises_to_z(azimuth, elevation, position):
    np.testing.assert_allclose(spherical(azimuth, elevation, 2.0), position, atol=1e-12)


@given(st.floats(-180.0, 180.0), st.floats(-89.0, 89.0), st.floats(0.1, 10.0))
def test_an_orbiting_camera_is_level_and_looks_at_the_origin(azimuth, elevation, radius):
    T = orbit_pose(azimuth, elevation, radius)
    np.testing.assert_allclose(transform(invert(T), np.zeros(3)), [0.0, 0.0, radius], atol=1e-9)
    assert T[2, 0] == pytest.approx(0.0, abs=1e-9)
    assert np.degrees(np.arcsin(T[2, 3] / radius)) == pytest.approx(elevation, abs=1e-6)


def test_a_camera_at_greater_azimuth_sees_the_object_turn_to_its_left():
    # What lies in front of the object (at +x) moves left when the camera goes round to +y.
    before = transform(invert(orbit_pose(0.0, 0.0, 2.0)), [0.5, 0.0, 0.0])
    after = transform(invert(orbit_pose(20.0, 0.0, 2.0)), [0.5, 0.0, 0.0])
    assert before[0] == pytest.approx(0.0, abs=1e-12)
    assert after[0] < -0.1


# The pose vector of Zero-1-to-3


def test_moving_the_camera_up_by_10_degrees_gives_minus_0_1745_in_entry_0():
    pose = zero123_pose(0.0, 40.0, 0.0, 30.0)
    np.testing.assert_allclose(pose, [-0.17453293, 0.0, 1.0, 0.0], atol=1e-8)


def test_the_identity_is_0_0_1_0():
    np.testing.assert_array_equal(zero123_pose(0.0, 25.0, 0.0, 25.0), [0.0, 0.0, 1.0, 0.0])


@pytest.mark.parametrize(
    ('azimuth', 'sine', 'cosine'),
    [(90.0, 1.0, 0.0), (-90.0, -1.0, 0.0), (180.0, 0.0, -1.0), (30.0, 0.5, 0.8660254)],
)
def test_the_azimuth_enters_as_sine_and_cosine(azimuth, sine, cosine):
    pose = zero123_pose(azimuth, 10.0, 0.0, 10.0)
    np.testing.assert_allclose(pose, [0.0, sine, cosine, 0.0], atol=1e-7)


def test_the_radius_enters_as_it_is():
    assert zero123_pose(0.0, 0.0, 0.25, 0.0)[3] == 0.25


def test_many_poses_are_made_at_once():
    poses = zero123_pose([0.0, 120.0, 240.0], [30.0, -20.0, 30.0], 0.0, 10.0)
    assert poses.shape == (3, 4)
    np.testing.assert_allclose(poses[:, 0], np.radians([-20.0, 30.0, -20.0]))


def test_stable_zero123_wants_the_absolute_polar_angle_of_the_input_view():
    pose = stable_zero123_pose([0.0, 90.0], [40.0, 20.0], 30.0)
    np.testing.assert_allclose(pose[:, 3], np.radians(60.0))
    np.testing.assert_allclose(pose[0, :3], [-0.17453293, 0.0, 1.0], atol=1e-8)


# The pose vector of ZeroNVS


def test_zeronvs_gets_the_identity_and_the_lens_where_the_camera_stays():
    pose = zeronvs_pose(orbit_pose(30.0, 20.0, 2.0), orbit_pose(30.0, 20.0, 2.0), 1.0, 60.0)
    assert pose.shape == (19,)
    np.testing.assert_allclose(pose[:16].reshape(4, 4), np.eye(4), atol=1e-12)
    np.testing.assert_allclose(pose[16:], [np.pi / 3.0, np.sqrt(3.0) / 2.0, 0.5])


def test_zeronvs_sees_right_up_and_back_as_positive_and_squashes_them():
    camera = orbit_pose(70.0, 35.0, 3.0)
    # Right 1, down 2, forward 30 in the optical frame, in a scene of the size 2.
    pose = zeronvs_pose(camera @ rigid(np.eye(3), [1.0, 2.0, 30.0]), camera, 2.0, 50.0)
    expected = 5.0 * np.tanh(np.array([0.5, -1.0, -15.0]) / 10.0)
    np.testing.assert_allclose(pose[[3, 7, 11]], expected, rtol=1e-9)
    assert pose[3] == pytest.approx(0.25, rel=1e-3)
    np.testing.assert_array_equal(pose[12:16], [0.0, 0.0, 0.0, 1.0])


def test_zeronvs_turns_left_as_opengl_does():
    # About the optical y axis, which points down, a positive turn goes right; about OpenGL's,
    # which points up, it goes left.
    turn = np.radians(20.0)
    c, s = np.cos(turn), np.sin(turn)
    right = rigid([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]], np.zeros(3))
    pose = zeronvs_pose(right, np.eye(4), 1.0, 50.0)[:16].reshape(4, 4)
    np.testing.assert_allclose(pose[:3, :3], right[:3, :3].T, atol=1e-12)


def test_zeronvs_takes_many_targets_and_bounds_a_tiny_scale():
    poses = zeronvs_pose(np.stack([np.eye(4)] * 3), rigid(np.eye(3), [0.0, 0.0, -1.0]), 0.0, 40.0)
    assert poses.shape == (3, 19)
    np.testing.assert_allclose(poses[:, 11], 5.0 * np.tanh(-100.0 / 10.0))


def test_zeronvs_does_not_hide_a_pose_that_is_not_finite():
    broken = np.eye(4)
    broken[0, 3] = np.nan
    assert np.isnan(zeronvs_pose(broken, np.eye(4), 1.0, 40.0)[3])
