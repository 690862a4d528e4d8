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

"""Ray-cast pictures against formulas."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import trimesh

from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import invert
from lift3d_ros.geometry import look_at
from lift3d_ros.geometry import orbit_pose
from lift3d_ros.geometry import rigid
from lift3d_ros.geometry import transform
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.meshing.render import Light
from lift3d_ros.meshing.render import outline
from lift3d_ros.meshing.render import preview
from lift3d_ros.meshing.render import previews
from lift3d_ros.meshing.render import Raycaster
from lift3d_ros.meshing.render import sheet

CAMERA = Camera(160, 120, 200.0, 190.0, 83.0, 57.0)
EVEN = Light((0.0, 0.0, 1.0), ambient=1.0, diffuse=0.0)


def mesh_of(solid, color=(200, 100, 50)):
    """Return a trimesh solid as a mesh of one colour."""
    colors = np.tile(np.array(color, np.uint8), (len(solid.vertices), 1))
    return Mesh(solid.vertices.astype(np.float32), solid.faces.astype(np.int32), colors)


def ball(radius, center=(0.0, 0.0, 0.0), color=(200, 100, 50), subdivisions=6):
    """Return a sphere, far finer than a pixel."""
    solid = trimesh.creation.icosphere(subdivisions, radius)
    return mesh_of(solid, color).transformed(rigid(np.eye(3), center))


def square(half, z, color):
    """Return a square at depth z that faces a camera at the origin."""
    corners = np.array([[-half, -half, z], [half, -half, z], [half, half, z], [-half, half, z]])
    return Mesh(
        corners.astype(np.float32),
        np.array([[0, 2, 1], [0, 3, 2]], np.int32),
        np.tile(np.array(color, np.uint8), (4, 1)),
    )


def test_the_depth_of_a_sphere_is_that_of_the_formula():
    center, radius = np.array([0.02, -0.03, 0.6]), 0.1
    picture = Raycaster([ball(radius, center)]).render(CAMERA, np.eye(4))
    # |t ray - center| = radius, the nearer root; the ray has z = 1, so t is the depth.
    rays = CAMERA.rays()
    a, b = (rays**2).sum(axis=-1), rays @ center
    root = b**2 - a * (center @ center - radius**2)
    expected = np.where(root > 0.0, (b - np.sqrt(np.maximum(root, 0.0))) / a, 0.0)
    # The pixels at the silhouette, where the polyhedron lies inside the sphere, set aside.
    clear = np.abs(root) > 2e-4
    assert (picture.depth[clear] > 0.0).sum() > 1000
    np.testing.assert_allclose(picture.depth[clear], expected[clear], atol=5e-5)
    np.testing.assert_array_equal(picture.instance[clear], np.where(root > 0.0, 0, -1)[clear])


def test_normals_are_in_the_optical_frame_and_face_the_camera():
    center, radius = np.array([0.0, 0.0, 0.6]), 0.1
    pose = look_at([0.5, 0.3, 0.4], [0.0, 0.0, 0.1])
    mesh = ball(radius, center).transformed(pose)
    picture = Raycaster([mesh]).render(CAMERA, pose)
    seen = picture.instance == 0
    points = CAMERA.rays()[seen] * picture.depth[seen][:, None]
    np.testing.assert_allclose(picture.normals[seen], (points - center) / radius, atol=0.03)
    assert (picture.normals[~seen] == 0.0).all()


def test_the_nearer_of_two_meshes_hides_the_other():
    meshes = [square(0.2, 1.0, (255, 0, 0)), square(0.05, 0.5, (0, 0, 255))]
    picture = Raycaster(meshes).render(CAMERA, np.eye(4), EVEN, supersampling=1)
    u, v, _ = CAMERA.project([[0.0, 0.0, 1.0], [0.15, 0.0, 1.0], [0.3, 0.0, 1.0]])
    at = np.rint(v).astype(int), np.rint(u).astype(int)
    assert picture.instance[at].tolist() == [1, 0, -1]
    np.testing.assert_allclose(picture.depth[at], [0.5, 1.0, 0.0], atol=1e-6)
    assert picture.image[at].tolist() == [[0, 0, 255], [255, 0, 0], [255, 255, 255]]


def test_a_pixel_at_an_edge_is_the_mean_of_both_sides():
    # The left border of the square goes through the middle of a column of pixels.
    camera = Camera(21, 21, 100.0, 100.0, 10.0, 10.0)
    mesh = square(0.05, 1.0, (0, 0, 0))
    picture = Raycaster([mesh]).render(camera, np.eye(4), EVEN, supersampling=8)
    assert picture.image[10, 5].tolist() == pytest.approx([128, 128, 128], abs=2)
    assert picture.image[10, 4].tolist() == [255, 255, 255]
    assert picture.image[10, 6].tolist() == [0, 0, 0]


def test_colours_are_interpolated_between_vertices():
    mesh = square(0.1, 1.0, (0, 0, 0))
    mesh.colors[:] = [[0, 0, 0], [200, 0, 0], [200, 0, 0], [0, 0, 0]]
    camera = Camera(41, 41, 200.0, 200.0, 20.0, 20.0)
    row = Raycaster([mesh]).render(camera, np.eye(4), EVEN).image[20, 2:39, 0]
    np.testing.assert_allclose(row, 100.0 + 5.0 * (np.arange(2, 39) - 20), atol=1.0)


def test_light_follows_the_cosine_and_is_off_behind():
    camera = Camera(5, 5, 100.0, 100.0, 2.0, 2.0)
    caster = Raycaster([square(0.5, 1.0, (200, 200, 200))])
    for angle, brightness in ((0.0, 1.0), (60.0, 0.6), (90.0, 0.2), (180.0, 0.2)):
        direction = (np.sin(np.radians(angle)), 0.0, -np.cos(np.radians(angle)))
        image = caster.render(camera, np.eye(4), Light(direction, 0.2, 0.8)).image
        assert image[2, 2, 0] == pytest.approx(200.0 * brightness, abs=1.0)


def test_what_stands_in_the_light_throws_a_shadow():
    floor = mesh_of(trimesh.creation.box((2.0, 2.0, 0.02)), (200, 200, 200))
    floating = ball(0.1, (0.0, 0.0, 0.5), subdivisions=3)
    pose = orbit_pose(0.0, 60.0, 2.0)
    caster = Raycaster([floor, floating])
    u, v, _ = CAMERA.project(transform(invert(pose), [0.0, 0.25, 0.01]))
    at = round(float(v)), round(float(u))
    lit = Light((0.0, -0.25, 0.49), 0.3, 0.7)
    shaded = Light(lit.direction, 0.3, 0.7, shadows=True)
    assert caster.render(CAMERA, pose, lit).image[at][0] > 150
    assert caster.render(CAMERA, pose, shaded).image[at][0] == pytest.approx(60, abs=2)


def test_an_open_mesh_is_seen_from_both_sides():
    mesh = square(0.1, 1.0, (10, 20, 30))
    back = Mesh(mesh.vertices, mesh.faces[:, ::-1], mesh.colors)
    for one in (mesh, back):
        picture = Raycaster([one]).render(CAMERA, np.eye(4), EVEN)
        assert picture.normals[57, 83].tolist() == pytest.approx([0.0, 0.0, -1.0], abs=1e-6)


def test_creases_stay_sharp_and_curves_look_smooth():
    cube = mesh_of(trimesh.creation.box((0.2, 0.2, 0.2)))
    picture = Raycaster([cube]).render(CAMERA, orbit_pose(30.0, 20.0, 0.8))
    seen = picture.normals[picture.instance == 0]
    assert len(np.unique(np.round(seen, 3), axis=0)) == 3
    coarse = ball(0.1, (0.0, 0.0, 0.5), subdivisions=2)
    picture = Raycaster([coarse]).render(CAMERA, np.eye(4))
    seen = picture.normals[picture.instance == 0]
    assert len(np.unique(np.round(seen, 3), axis=0)) > 500


def test_the_same_camera_gives_the_same_picture():
    caster = Raycaster([ball(0.1, subdivisions=3)])
    pose = orbit_pose(10.0, 20.0, 0.6)
    one, other = (caster.render(CAMERA, pose) for _ in range(2))
    for name in ('image', 'depth', 'instance', 'normals'):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_a_mesh_without_faces_is_refused():
    mesh = square(1.0, 1.0, (0, 0, 0))
    with pytest.raises(ValueError, match='no faces'):
        Raycaster([Mesh(mesh.vertices, mesh.faces[:0], mesh.colors)])


def test_a_missing_open3d_is_named_with_its_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, 'open3d', None)
    with pytest.raises(ModuleNotFoundError, match='pip install open3d'):
        Raycaster([square(1.0, 1.0, (0, 0, 0))])


# Pictures for people


def test_a_preview_shows_all_of_the_mesh_and_fills_the_tile():
    far = ball(0.1, (5.0, -3.0, 1.0), subdivisions=4)
    image = preview(far, 30.0, 20.0, 128)
    rows, columns = np.nonzero((image < 250).any(axis=2))
    assert rows.min() > 0
    assert rows.max() < 127
    assert rows.max() - rows.min() > 115
    assert columns.max() - columns.min() > 115


def test_previews_look_from_where_they_are_told():
    # A cube whose faces at +x and +y have their own colours.
    cube = trimesh.creation.box((0.2, 0.2, 0.2)).subdivide()
    mesh = mesh_of(cube, (0, 0, 0))
    mesh.colors[mesh.vertices[:, 0] > 0.09] = (255, 0, 0)
    mesh.colors[(mesh.vertices[:, 1] > 0.09) & (mesh.vertices[:, 0] < 0.09)] = (0, 255, 0)
    front, left = previews(mesh, [(0.0, 0.0), (90.0, 0.0)], 64, EVEN)
    assert front[32, 32].tolist() == [255, 0, 0]
    assert left[32, 32].tolist() == [0, 255, 0]


def test_an_outline_runs_along_the_border_and_leaves_the_image_alone():
    image = np.zeros((40, 40, 3), np.uint8)
    mask = np.zeros((40, 40), bool)
    mask[10:30, 10:30] = True
    marked = outline(image, mask, (255, 0, 0), 1)
    assert marked[10, 20].tolist() == [255, 0, 0]
    assert marked[20, 20].tolist() == [0, 0, 0]
    assert (image == 0).all()


def test_a_sheet_has_room_for_every_row_and_shows_each_picture():
    red = np.full((30, 60, 3), (255, 0, 0), np.uint8)
    blue = np.full((80, 40, 3), (0, 0, 255), np.uint8)
    page = sheet([[(red, 'wide'), (blue, 'high\ntwo lines')], [(blue, '')]], tile=100, margin=10)
    assert page.shape[1] == 10 + 2 * 110
    found = {tuple(color) for color in np.unique(page.reshape(-1, 3), axis=0).tolist()}
    assert {(255, 0, 0), (0, 0, 255), (255, 255, 255)} <= found
    # The wide picture is 100 x 50, the high ones 50 x 100.
    assert (page == (255, 0, 0)).all(axis=2).sum() == 100 * 50
    assert (page == (0, 0, 255)).all(axis=2).sum() == 2 * 50 * 100


def test_an_empty_sheet_is_a_picture_too():
    assert sheet([]).ndim == 3
