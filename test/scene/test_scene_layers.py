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
"""Planes, hidden background, triangles and voxels of a room with exact depth."""

from __future__ import annotations

from error_helpers import raises_code
import numpy as np
import pytest
from scene_helpers import CAMERA
from scene_helpers import make_room

from lift3d_ros.errors import ErrorCode
from lift3d_ros.geometry import invert
from lift3d_ros.geometry import transform
from lift3d_ros.scene.background import hidden_layer
from lift3d_ros.scene.planes import find_planes
from lift3d_ros.scene.scene import upright_frame
from lift3d_ros.scene.triangulation import triangulate
from lift3d_ros.scene.voxel_map import carve
from lift3d_ros.scene.voxel_map import empty_map
from lift3d_ros.scene.voxel_map import Occupancy
from lift3d_ros.scene.voxel_map import occupy
from lift3d_ros.scene.voxel_map import surface_points


@pytest.fixture(scope='module')
def room():
    return make_room()


@pytest.fixture(scope='module')
def planes(room):
    return find_planes(
        room.frame.depth, CAMERA, room.frame.gravity, np.random.default_rng(0))


def test_floor_and_wall_are_found_and_only_the_floor_carries(room, planes):
    floor, wall = planes[:2]
    assert floor.carries and not wall.carries
    up = -room.frame.gravity
    assert floor.normal @ up > 0.9999
    assert abs(wall.normal @ up) < 0.01
    # The camera is 0.8 m above the floor and 2.3 m before the wall.
    assert floor.offset == pytest.approx(-0.8, abs=0.003)
    assert wall.offset == pytest.approx(-2.3, abs=0.01)


def test_the_depth_of_a_plane_is_that_of_its_readings(room, planes):
    for plane in planes[:2]:
        away = (plane.depth(CAMERA) - room.frame.depth) * (CAMERA.rays() @ plane.normal)
        assert np.abs(away[plane.pixels]).max() < 0.025
        assert np.abs(away[plane.pixels]).mean() < 0.001


def test_without_gravity_nothing_is_said_to_carry(room):
    found = find_planes(room.frame.depth, CAMERA, None, np.random.default_rng(0))
    assert len(found) >= 2
    assert all(plane.carries is None for plane in found)


@pytest.mark.parametrize('readings', [0, 40])
def test_depth_without_readings_has_no_planes(readings):
    depth = np.zeros((150, 200), np.float32)
    depth.flat[:readings] = 1.0
    assert find_planes(depth, CAMERA, None, np.random.default_rng(0)) == ()


def test_behind_objects_the_background_is_where_it_is(room, planes):
    foreground = room.masks['box'] | room.masks['brick']
    layer = hidden_layer(room.frame.depth, room.frame.image, CAMERA, foreground, planes)
    truth = make_room(boxes=()).frame
    assert (layer.depth[foreground] > 0.0).all()
    error = np.abs(layer.depth - truth.depth)[foreground]
    assert np.percentile(error, 90) < 0.01
    color = np.abs(layer.color.astype(int) - truth.image.astype(int)).max(axis=2)[foreground]
    assert np.median(color) <= 2


def test_no_guess_is_in_front_of_what_was_measured(room, planes):
    layer = hidden_layer(
        room.frame.depth, room.frame.image, CAMERA, room.masks['box'], planes)
    present = layer.depth > 0.0
    assert (layer.depth[present] >= room.frame.depth[present]).all()
    assert (layer.confidence[present] > 0.0).all()
    assert (layer.confidence <= 0.98).all()


def test_the_confidence_of_a_guess_falls_with_the_distance_from_measurements(room, planes):
    layer = hidden_layer(
        room.frame.depth, room.frame.image, CAMERA, room.masks['box'], planes)
    rows, columns = np.nonzero(room.masks['box'])
    middle = int(np.median(rows)), int(np.median(columns))
    assert layer.confidence[middle] < layer.confidence[room.masks['box']].max()
    assert layer.distance[middle] > layer.distance[room.masks['box']].min() + 0.01


def test_triangles_face_the_camera_and_are_cut_where_the_depth_jumps(room):
    vertices, faces, pixels = triangulate(room.frame.depth, CAMERA)
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    normals = np.cross(b - a, c - a)
    assert (np.einsum('ij,ij->i', normals, a) < 0.0).all()
    # No triangle joins a box with the floor behind it, over a jump of 20 cm.
    assert np.ptp(vertices[faces][..., 2], axis=1).max() < 0.2
    np.testing.assert_allclose(vertices[:, 2], room.frame.depth.ravel()[pixels])


@pytest.fixture(scope='module')
def grid(room):
    vertices, faces, _ = triangulate(room.frame.depth, CAMERA)
    made = empty_map(vertices, upright_frame(-room.frame.gravity), 0.04)
    carve(made, room.frame.depth, CAMERA)
    occupy(made, surface_points(vertices, faces, 0.04), Occupancy.OCCUPIED)
    return made


def test_a_voxel_is_free_only_if_rays_crossed_all_of_it(room, grid):
    centres = grid.centres()[grid.states == Occupancy.FREE]
    assert len(centres) > 1000
    offsets = np.random.default_rng(0).uniform(-0.5, 0.5, (40, 3)) * grid.resolution
    corners = 0.5 * grid.resolution * np.stack(
        np.meshgrid(*[(-1, 1)] * 3, indexing='ij'), -1).reshape(-1, 3)
    for offset in (*offsets, *corners):
        points = transform(invert(grid.T_grid_camera), centres + offset)
        u, v, z = CAMERA.project(points)
        column, row = np.rint(u).astype(int), np.rint(v).astype(int)
        assert (column >= 0).all() and (column < CAMERA.width).all()
        assert (row >= 0).all() and (row < CAMERA.height).all()
        assert (room.frame.depth[row, column] > z).all()


def test_the_boxes_and_what_is_behind_them_are_not_free(room, grid):
    T_world_grid = room.T_world_camera @ invert(grid.T_grid_camera)
    world = transform(T_world_grid, grid.centres())
    inside = (np.abs(world - [0.0, -0.15, 0.1]) < [0.08, 0.055, 0.08]).all(axis=-1)
    assert inside.any()
    assert (grid.states[inside] != Occupancy.FREE).all()
    hidden = (np.abs(world - [-0.25, -0.19, 0.05]) < 0.04).all(axis=-1)
    assert (grid.states[hidden] == Occupancy.UNKNOWN).any()


def test_missing_readings_free_nothing(room):
    vertices, _, _ = triangulate(room.frame.depth, CAMERA)
    grid = empty_map(vertices, upright_frame(-room.frame.gravity), 0.05)
    carve(grid, np.zeros_like(room.frame.depth), CAMERA)
    assert (grid.states == Occupancy.UNKNOWN).all()


def test_a_prediction_does_not_override_what_rays_saw(grid, room):
    states = grid.states.copy()
    points = transform(
        invert(grid.T_grid_camera), grid.centres()[states == Occupancy.FREE][:50])
    occupy(grid, points, Occupancy.PREDICTED)
    np.testing.assert_array_equal(grid.states, states)
    assert (grid.at(points) == Occupancy.FREE).all()
    assert (grid.at(points + 100.0) == Occupancy.UNKNOWN).all()


@pytest.mark.parametrize('resolution', [0.0, -1.0, np.nan, 1e-4])
def test_a_map_needs_a_resolution_that_fits(room, resolution):
    vertices, _, _ = triangulate(room.frame.depth, CAMERA)
    with raises_code(ErrorCode.BAD_REQUEST):
        empty_map(vertices, np.eye(4), resolution)
