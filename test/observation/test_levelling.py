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


"""A rolled camera sees the same object: the shape is that of a level one, turned with it."""

from __future__ import annotations

from dataclasses import replace
import functools

import numpy as np
import pytest
import trimesh

from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import invert
from lift3d_ros.geometry import orbit_pose
from lift3d_ros.geometry import rigid
from lift3d_ros.geometry import transform
from lift3d_ros.geometry.frame import crop_object
from lift3d_ros.geometry.frame import Frame
from lift3d_ros.geometry.frame import SourceView
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.lifter import Lifter
from lift3d_ros.lifter import LiftRequest
from lift3d_ros.meshing.render import Raycaster
from lift3d_ros.observation.levelling import Levelling

CAMERA = Camera(400, 300, 420.0, 420.0, 201.3, 148.6)
ROLLS = (37.0, 90.0, 180.0, -110.0)


@functools.cache
def caster() -> Raycaster:
    """Return a carton whose sides differ in colour, about the origin."""
    box = trimesh.creation.box((0.16, 0.06, 0.11)).subdivide_to_size(0.02)
    vertices = np.asarray(box.vertices, np.float32)
    colors = np.full((len(vertices), 3), (60, 90, 190), np.uint8)
    colors[vertices[:, 2] > 0.05] = (200, 60, 50)
    return Raycaster([Mesh(vertices, np.asarray(box.faces, np.int32), colors)])


def pose(roll: float, azimuth: float = 35.0) -> np.ndarray:
    """Return the pose of a camera that is rolled by so many degrees about its optical axis."""
    c, s = np.cos(np.radians(roll)), np.sin(np.radians(roll))
    turn = rigid([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]], np.zeros(3))
    return orbit_pose(azimuth, 30.0, 0.6) @ turn


def view_of(roll: float, *, depth: bool = False, gravity: bool = True, azimuth: float = 35.0):
    """Return what the rolled camera sees of the carton."""
    T_object_camera = pose(roll, azimuth)
    seen = caster().render(CAMERA, T_object_camera, background=(120, 120, 120))
    down = T_object_camera[:3, :3].T @ (0.0, 0.0, -1.0)
    frame = Frame(
        seen.image, CAMERA, seen.depth if depth else None, down if gravity else None
    )
    return frame, seen.instance == 0


@functools.cache
def lifter() -> Lifter:
    """Return the packaged weights, loaded once."""
    return Lifter()


@functools.cache
def lifted(roll: float, depth: bool = False):
    """Return the shape that a rolled camera sees."""
    return lifter().lift(*view_of(roll, depth=depth))


@pytest.mark.parametrize('roll', ROLLS)
def test_without_depth_the_roll_changes_neither_size_nor_pose(roll):
    level, rolled = lifted(0.0), lifted(roll)
    assert rolled.length_over_depth == pytest.approx(level.length_over_depth, rel=0.04)
    np.testing.assert_allclose(rolled.size, level.size, rtol=0.06)
    # Of unknown scale: both in units of the distance.
    places = [
        transform(pose(angle), shape.T_camera_object[:3, 3] * 0.6
                  / np.linalg.norm(shape.T_camera_object[:3, 3]))
        for angle, shape in ((0.0, level), (roll, rolled))
    ]
    np.testing.assert_allclose(places[1], places[0], atol=0.006)
    up = pose(roll)[:3, :3] @ rolled.T_camera_object[:3, 2]
    np.testing.assert_allclose(up, (0.0, 0.0, 1.0), atol=0.01)


@pytest.mark.parametrize('roll', ROLLS)
def test_with_depth_the_roll_changes_neither_size_nor_place(roll):
    level, rolled = lifted(0.0, True), lifted(roll, True)
    np.testing.assert_allclose(rolled.size, level.size, atol=0.012)
    middle = [
        transform(pose(angle), shape.T_camera_object[:3, 3])
        for angle, shape in ((0.0, level), (roll, rolled))
    ]
    np.testing.assert_allclose(middle[1], middle[0], atol=0.006)


def test_the_covariance_turns_with_the_camera():
    level, rolled = (lifted(roll).pose_covariance for roll in (0.0, 90.0))
    turn = np.kron(np.eye(2), pose(90.0)[:3, :3].T @ pose(0.0)[:3, :3])
    np.testing.assert_allclose(rolled, turn @ level @ turn.T, rtol=0.3, atol=1e-5)


def test_further_views_keep_their_places():
    frame, mask = view_of(170.0, azimuth=215.0)
    other = SourceView(
        crop_object(frame, mask), invert(pose(180.0)) @ pose(170.0, azimuth=215.0)
    )
    frame, mask = view_of(180.0)
    shape = lifter().lift(frame, LiftRequest(mask, source_views=(other,)))
    assert shape.scale_source == 'views'
    middle = transform(pose(180.0), shape.T_camera_object[:3, 3])
    np.testing.assert_allclose(middle, 0.0, atol=0.03)
    assert shape.size.max() == pytest.approx(0.16, rel=0.15)


def test_a_level_camera_and_an_unknown_vertical_are_left_alone():
    for frame, mask in (view_of(2.0), view_of(90.0, gravity=False)):
        assert Levelling.of(crop_object(frame, mask)) is None
    # Seen from above, up is nowhere in the picture.
    frame, mask = view_of(90.0)
    above = replace(frame, gravity=np.array([0.05, 0.0, 1.0]))
    assert Levelling.of(crop_object(above, mask)) is None
    # Readings are not mixed: to the next right angle, which here is none.
    frame, mask = view_of(40.0, depth=True)
    assert Levelling.of(crop_object(frame, mask)) is None


@pytest.mark.parametrize('gravity', [(1.0, 0.0, 0.3), (-0.4, -0.7, 0.3), (0.0, -1.0, 0.0)])
def test_what_a_pixel_shows_stays_on_its_ray(gravity):
    camera = Camera(160, 120, 150.0, 110.0, 70.0, 65.0)
    u, v = np.meshgrid(np.arange(160), np.arange(120))
    image = np.stack([u, v, np.zeros_like(u)], axis=-1).astype(np.uint8)
    mask = (abs(u - 80) < 50) & (abs(v - 60) < 40)
    view = crop_object(Frame(image, camera, None, np.array(gravity)), mask)
    level = Levelling.of(view)
    turned = level.view(view)
    down = turned.frame.gravity
    assert abs(down[0]) < 1e-9 and down[1] > 0.0
    rows, columns = np.nonzero(turned.mask)
    rays = turned.frame.camera.unproject(columns, rows, 1.0)
    x, y, _ = camera.project(transform(invert(level.T_level_camera), rays))
    found = turned.frame.image[rows, columns].astype(float)
    inside = (x > 31) & (x < 129) & (y > 21) & (y < 99)
    assert inside.mean() > 0.9
    np.testing.assert_allclose(found[inside, 0], x[inside], atol=1.01)
    np.testing.assert_allclose(found[inside, 1], y[inside], atol=1.01)


def test_a_right_angle_loses_no_reading():
    frame, mask = view_of(90.0, depth=True)
    view = crop_object(frame, mask)
    turned = Levelling.of(view).view(view)
    assert turned.mask.sum() == mask.sum()
    np.testing.assert_array_equal(
        np.sort(turned.frame.depth[turned.mask]), np.sort(frame.depth[mask])
    )
    np.testing.assert_array_equal(np.rot90(turned.frame.depth), frame.depth)
