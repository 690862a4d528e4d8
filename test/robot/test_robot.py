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


"""Convex parts, mass, standing, textures and descriptions of objects, read by other programs."""

from __future__ import annotations

import contextlib
import sys
import warnings
from xml.etree import ElementTree

import numpy as np
from PIL import Image
import pytest
import trimesh

from lift3d_ros.cli.demo import DEMO_SCENE
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import rigid
from lift3d_ros.geometry import transform
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.geometry.shape import Shape
from lift3d_ros.io.scene import read_scene
from lift3d_ros.lifter import Lifter
from lift3d_ros.robot import convex
from lift3d_ros.robot.convex import convex_hull
from lift3d_ros.robot.convex import convex_parts
from lift3d_ros.robot.convex import hull_of
from lift3d_ros.robot.export import Export
from lift3d_ros.robot.export import FORMATS
from lift3d_ros.robot.export import stability_of
from lift3d_ros.robot.export import T_Y_UP
from lift3d_ros.robot.export import write
from lift3d_ros.robot.mass import mass_properties
from lift3d_ros.robot.stability import stable_poses
from lift3d_ros.robot.stability import support_stability
from lift3d_ros.robot.texture import bake

#: Of the camera that saw the objects.
T_CAMERA_OBJECT = rigid([[0.0, 1.0, 0.0], [0.6, 0.0, -0.8], [-0.8, 0.0, -0.6]], [0.1, -0.05, 0.7])


def mesh_of(solid):
    """Return a trimesh solid whose colours change smoothly with the place."""
    vertices = np.asarray(solid.vertices, np.float32)
    colors = 127.5 + 120.0 * np.sin(40.0 * vertices + [0.0, 1.0, 2.0])
    return Mesh(vertices, np.asarray(solid.faces, np.int32), np.rint(colors).astype(np.uint8))


def cup():
    """Return an open cup, 9 cm high, with walls of 5 mm."""
    profile = [[0, -45], [35, -45], [40, 45], [35, 45], [30, -38], [0, -38]]
    return mesh_of(trimesh.creation.revolve(0.001 * np.array(profile), sections=64))


def bend():
    """Return a trimesh solid, an L of two bars, 20 cm long each."""
    outline = [[0, 0], [200, 0], [200, 40], [40, 40], [40, 200], [0, 200]]
    corners = np.array([[x, y, z] for z in (0, 40) for x, y in outline]) * 0.001
    ends = [[0, 1, 2], [0, 2, 3], [0, 3, 4], [0, 4, 5]]
    faces = [face[::-1] for face in ends] + [[6 + k for k in face] for face in ends]
    for k in range(6):
        n = (k + 1) % 6
        faces += [[k, n, 6 + n], [k, 6 + n, 6 + k]]
    return trimesh.Trimesh(corners, faces)


def bottle():
    """Return a tall bottle, which seldom falls on its bottom."""
    profile = [[0, -120], [38, -120], [42, -112], [42, 40], [15, 80], [15, 120], [0, 120]]
    return mesh_of(trimesh.creation.revolve(0.001 * np.array(profile), sections=96))


def box(*sides):
    """Return a box about the origin with many faces."""
    solid = trimesh.creation.box(sides)
    for _ in range(3):
        solid = solid.subdivide()
    return mesh_of(solid)


def shape_of(mesh, **changed):
    """Return a shape that was seen from above."""
    count = len(mesh.vertices)
    values = {
        'mesh': mesh,
        'T_camera_object': T_CAMERA_OBJECT,
        'pose_covariance': np.eye(6) * 1e-4,
        'confidence': np.full(count, 0.8, np.float32),
        'observed': mesh.vertices[:, 0] > 0.0,
        'scale_source': 'depth',
        'scale_stddev': 0.01,
        'elevation': 37.0,
        'elevation_source': 'gravity',
        'method': 'geometric',
    }
    return Shape(**{**values, **changed})


@contextlib.contextmanager
def missing(monkeypatch, package):
    """Make the import of a package fail."""
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, package, None)
        yield


def is_convex(mesh):
    """Return whether no corner lies outside of the plane of any face."""
    corners = mesh.vertices.astype(np.float64)
    a, b, c = (corners[mesh.faces[:, k]] for k in range(3))
    normals = np.cross(b - a, c - a)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    heights = corners @ normals.T - (a * normals).sum(axis=1)
    return heights.max() < 1e-6


def outside(parts, points):
    """Return how far points (n, 3) are beyond the planes of the nearest of convex meshes."""
    beyond = []
    for part in parts:
        corners = part.vertices.astype(np.float64)[part.faces]
        normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        length = np.linalg.norm(normals, axis=1, keepdims=True)
        normals, starts = normals[length[:, 0] > 1e-12], corners[length[:, 0] > 1e-12, 0]
        normals /= np.linalg.norm(normals, axis=1, keepdims=True)
        beyond.append((points @ normals.T - (normals * starts).sum(axis=1)).max(axis=1))
    return np.min(beyond, axis=0)


# Convex solids


def test_the_hull_of_a_box_is_the_box():
    hull = convex_hull(box(0.1, 0.2, 0.3))
    assert len(hull.vertices) == 8
    assert hull.is_watertight()
    assert hull.volume() == pytest.approx(0.006, rel=1e-5)


def test_a_simplified_hull_keeps_few_corners_and_loses_little():
    mesh = mesh_of(trimesh.creation.icosphere(4, radius=0.05))
    hull = convex_hull(mesh)
    assert len(hull.vertices) == 64
    assert hull.is_watertight()
    assert is_convex(hull)
    # All corners are the mesh's own, so that nothing sticks out.
    assert np.linalg.norm(hull.vertices, axis=1).max() < 0.0501
    assert hull.volume() > 0.9 * mesh.volume()


@pytest.mark.parametrize('noise', [0.0, 1e-17, 1e-15, 1e-12, 1e-8])
def test_hulls_of_points_nearly_in_one_plane_are_closed(noise):
    # Round things cut by two parallel planes at a slant, as a decomposition cuts them.
    for seed in range(12):
        random = np.random.default_rng(seed)
        ball = random.normal(size=(60, 3))
        ball /= np.linalg.norm(ball, axis=1, keepdims=True)
        slab = ball * [0.1, 0.1, 0.1]
        slab[:, 1] = np.clip(slab[:, 1], -0.02, 0.02)
        turn = np.linalg.qr(random.normal(size=(3, 3)))[0]
        for count in (32, 64):
            hull = hull_of(slab @ turn.T + random.normal(scale=noise, size=(60, 3)), count)
            assert hull.is_watertight()
            assert hull.volume() > 0.0
            assert len(hull.vertices) <= count


@pytest.mark.parametrize('points', [np.zeros((4, 3)), np.eye(3)[[0, 1, 2, 0]]])
def test_what_is_flat_has_no_hull(points):
    faces = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
    with pytest.raises(LiftError) as caught:
        convex_hull(Mesh(points.astype(np.float32), faces, np.zeros((4, 3), np.uint8)))
    assert caught.value.code == ErrorCode.NO_SURFACE


def test_convex_parts_leave_the_inside_of_a_cup_free(capfd):
    pytest.importorskip('coacd')
    mesh = cup()
    parts = convex_parts(mesh)
    assert 4 <= len(parts) <= convex.MAX_PARTS
    for part in parts:
        assert part.is_watertight()
        assert is_convex(part)
        assert len(part.vertices) <= convex.HULL_CORNERS
    hull, total = convex_hull(mesh).volume(), sum(part.volume() for part in parts)
    assert mesh.volume() < 0.6 * hull, 'it is hollow'
    assert total < 0.75 * hull
    assert outside(parts, mesh.vertices).max() < 2e-3, 'it sticks out of what collides'
    for part, again in zip(parts, convex_parts(mesh), strict=True):
        np.testing.assert_array_equal(part.vertices, again.vertices)
    corners = np.concatenate([part.vertices for part in parts])
    np.testing.assert_allclose(corners.min(axis=0), mesh.vertices.min(axis=0), atol=2e-3)
    np.testing.assert_allclose(corners.max(axis=0), mesh.vertices.max(axis=0), atol=2e-3)
    # The middle of the cup is in none of them: a finger can get in.
    inside = [trimesh.Trimesh(p.vertices, p.faces).contains([[0.0, 0.0, 0.0]]) for p in parts]
    assert not np.any(inside)
    printed = capfd.readouterr()
    assert printed.out == printed.err == ''


def test_what_a_simplified_mesh_loses_is_in_the_parts():
    pytest.importorskip('coacd')
    pytest.importorskip('manifold3d')
    # Spikes of 3 mm on a bar with a bend: more than so few faces can keep.
    solid = bend()
    for _ in range(4):
        solid = solid.subdivide()
    spikes = np.arange(len(solid.vertices)) % 60 == 0
    solid.vertices[spikes] += 0.003 * solid.vertex_normals[spikes]
    mesh = mesh_of(solid)
    assert len(mesh.faces) > convex._TARGET_FACES
    parts = convex_parts(mesh)
    assert len(parts) > 1
    assert outside(parts, mesh.vertices).max() < 2e-3


def test_an_open_mesh_has_parts_too(capfd):
    pytest.importorskip('coacd')
    pytest.importorskip('manifold3d')
    solid = bend()
    for _ in range(4):
        solid = solid.subdivide()
    mesh = mesh_of(solid)
    opened = Mesh(mesh.vertices, mesh.faces[1:], mesh.colors)
    assert not opened.is_watertight()
    parts = convex_parts(opened)
    assert 1 < len(parts) <= convex.MAX_PARTS
    assert outside(parts, opened.vertices).max() < 2e-3
    assert sum(part.volume() for part in parts) < 0.8 * convex_hull(opened).volume()
    printed = capfd.readouterr()
    assert printed.out == printed.err == ''


# Mass


def test_the_mass_of_a_box_is_that_of_the_textbook():
    sides = np.array([0.1, 0.2, 0.3])
    mesh = box(*sides)
    moved = Mesh(mesh.vertices + np.float32([0.5, 0.0, -1.0]), mesh.faces, mesh.colors)
    mass = mass_properties(moved, 500.0)
    assert (mass.source, mass.density) == ('mesh', 500.0)
    assert mass.mass == pytest.approx(3.0, rel=1e-5)
    np.testing.assert_allclose(mass.center, [0.5, 0.0, -1.0], atol=1e-6)
    expected = np.diag(3.0 / 12.0 * (np.sum(sides**2) - sides**2))
    np.testing.assert_allclose(mass.inertia, expected, atol=1e-7)


def test_an_object_of_millimetres_keeps_its_digits():
    mass = mass_properties(box(1e-3, 2e-3, 3e-3))
    assert mass.mass == pytest.approx(6e-6, rel=1e-5)
    expected = mass.mass / 12.0 * np.array([13e-6, 10e-6, 5e-6])
    np.testing.assert_allclose(np.diag(mass.inertia), expected, rtol=1e-4)


def test_a_mesh_through_itself_that_has_no_inertia_takes_that_of_its_hull():
    # A large ball turned inside out and a small one counted twice: the integrals are no body's.
    outer = trimesh.creation.box((0.1, 0.1, 0.1))
    inner = trimesh.creation.box((0.1, 0.1, 0.02))
    vertices, faces, first = [], [], 0
    for solid, times in ((inner, 6), (outer, -1)):
        for _ in range(abs(times)):
            vertices.append(solid.vertices)
            faces.append((solid.faces if times > 0 else solid.faces[:, ::-1]) + first)
            first += len(solid.vertices)
    mesh = mesh_of(trimesh.Trimesh(np.vstack(vertices), np.vstack(faces), process=False))
    assert mesh.volume() == pytest.approx(0.0002, rel=1e-3)
    mass = mass_properties(mesh)
    assert mass.source == 'hull'
    assert mass.mass == pytest.approx(0.2, rel=1e-3)
    moments = np.linalg.eigvalsh(mass.inertia)
    assert moments[0] > 0.0
    assert moments[0] + moments[1] > moments[2]


@pytest.mark.parametrize('density', [0.0, -1.0, float('nan'), float('inf')])
def test_a_density_that_no_body_has_is_refused(density):
    with pytest.raises(LiftError, match='density') as caught:
        mass_properties(box(0.1, 0.1, 0.1), density)
    assert caught.value.code == ErrorCode.BAD_REQUEST
    with pytest.raises(LiftError, match='density'):
        Export('urdf', density=density)


# Standing


def test_a_box_stands_until_its_middle_is_over_its_edge():
    found = support_stability(box(0.06, 0.1, 0.2), np.zeros(3))
    assert found.stable
    assert found.margin == pytest.approx(0.03, abs=1e-6)
    assert found.tipping_deg == pytest.approx(np.degrees(np.arctan(0.03 / 0.1)))
    leaning = support_stability(box(0.06, 0.1, 0.2), np.array([0.032, 0.0, 0.0]))
    assert not leaning.stable
    assert leaning.margin == pytest.approx(-0.002, abs=1e-6)


def test_a_box_on_its_edge_does_not_stand():
    turned = trimesh.creation.box((0.1, 0.1, 0.1))
    turned.apply_transform(trimesh.transformations.rotation_matrix(np.pi / 4, (1, 0, 0)))
    assert not support_stability(mesh_of(turned), np.array([0.0, 0.001, 0.0])).stable


def test_nobody_knows_how_a_shape_stands_whose_elevation_was_assumed():
    mesh = box(0.06, 0.1, 0.2)
    assert stability_of(shape_of(mesh)).stable
    assert stability_of(shape_of(mesh, elevation_source='assumed')) is None


def test_a_flat_box_comes_to_rest_on_its_large_sides():
    poses = stable_poses([box(0.2, 0.15, 0.03)], np.zeros(3))
    assert sum(pose.probability for pose in poses[:2]) > 0.7
    assert sum(pose.probability for pose in poses) == pytest.approx(1.0, abs=0.1)
    for pose in poses:
        lowest = transform(pose.T_ground_object, box(0.2, 0.15, 0.03).vertices)[:, 2].min()
        assert lowest == pytest.approx(0.0, abs=1e-6)
    assert abs(poses[0].T_ground_object[2, 2]) == pytest.approx(1.0)


# Textures


def sampled(image, uv):
    """Return the colours of a texture at places, as a renderer reads them."""
    pixels = np.asarray(image.convert('RGB'))
    columns = np.clip(np.rint(uv[:, 0] * pixels.shape[1] - 0.5), 0, pixels.shape[1] - 1)
    rows = np.clip(np.rint((1.0 - uv[:, 1]) * pixels.shape[0] - 0.5), 0, pixels.shape[0] - 1)
    return pixels[rows.astype(int), columns.astype(int)]


@pytest.mark.parametrize('kind', ['obj', 'glb'])
def test_a_texture_shows_the_colours_of_the_vertices(kind, tmp_path, recwarn):
    pytest.importorskip('xatlas')
    shape = shape_of(cup())
    path = tmp_path / f'cup one.{kind}'
    written = write(shape, path, Export(kind, texture=512))
    assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted(
        file.name for file in written.files)
    read = trimesh.load(path, process=False)
    read = read if isinstance(read, trimesh.Trimesh) else read.to_geometry()
    assert isinstance(read.visual, trimesh.visual.TextureVisuals)
    material = read.visual.material
    image = material.image if kind == 'obj' else material.baseColorTexture
    assert image.size == (512, 512)
    assert len(read.visual.uv) == len(read.vertices)
    assert read.volume == pytest.approx(shape.mesh.volume(), rel=1e-4)
    # Each vertex of the file is one of the mesh; its colour is that of the texture there.
    mesh = shape.mesh.transformed(T_Y_UP) if kind == 'glb' else shape.mesh
    distance = np.linalg.norm(read.vertices[:, None] - mesh.vertices[None], axis=2)
    assert distance.min(axis=1).max() < 1e-6
    expected = shape.mesh.colors[distance.argmin(axis=1)].astype(float)
    error = np.abs(sampled(image, read.visual.uv) - expected)
    assert np.median(error) <= 3.0
    assert np.percentile(error, 99) <= 16.0
    assert not [str(w.message) for w in recwarn if issubclass(w.category, UserWarning)]


def test_no_pixel_of_a_texture_is_left_without_a_colour():
    pytest.importorskip('xatlas')
    mesh = cup()
    red = Mesh(mesh.vertices, mesh.faces, np.full_like(mesh.colors, (200, 40, 30)))
    textured = bake(red, 128)
    shown = np.unique(textured.image.reshape(-1, 3), axis=0)
    np.testing.assert_array_equal(shown, [[200, 40, 30]])
    np.testing.assert_array_equal(textured.vertex[textured.uv_faces], mesh.faces)
    assert 0.0 <= textured.uv.min() < textured.uv.max() <= 1.0


def test_open3d_reads_the_textured_obj_and_the_cloud(tmp_path, capfd):
    o3d = pytest.importorskip('open3d')
    pytest.importorskip('xatlas')
    shape = shape_of(cup())
    path = tmp_path / 'cup.obj'
    write(shape, path, Export('obj', texture=256, points=500), 'camera')
    read = o3d.io.read_triangle_mesh(str(path), enable_post_processing=True)
    assert len(read.triangles) == len(shape.mesh.faces)
    assert read.has_triangle_uvs()
    assert np.asarray(read.textures[0]).shape[:2] == (256, 256)
    cloud = o3d.io.read_point_cloud(str(tmp_path / 'cup_cloud.ply'))
    assert len(cloud.points) == 500
    normals = np.asarray(cloud.normals)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1.0, atol=1e-4)
    written = shape.cloud(500)
    expected = transform(T_CAMERA_OBJECT, written.points)
    np.testing.assert_allclose(np.asarray(cloud.points), expected, atol=1e-6)
    turned = written.normals @ T_CAMERA_OBJECT[:3, :3].T
    np.testing.assert_allclose(normals, turned, atol=1e-5)
    np.testing.assert_allclose(np.asarray(cloud.colors) * 255.0, written.colors, atol=0.6)
    assert 'arning' not in ''.join(capfd.readouterr())


def test_normals_of_a_cloud_point_outward():
    shape = shape_of(mesh_of(trimesh.creation.icosphere(3, radius=0.05)))
    cloud = shape.cloud(300)
    np.testing.assert_allclose(cloud.normals, cloud.points / 0.05, atol=0.03)


# Descriptions


#: A plane, and the options that a robot's scene usually has.
SCENE = """
<mujoco>
  <include file="{file}"/>
  <worldbody><geom name="floor" type="plane" size="0 0 1"/></worldbody>
</mujoco>
"""


def simulate(mujoco, model, pose, seconds):
    """Let the object go in a pose; yield its place and speed after each step."""
    data = mujoco.MjData(model)
    data.qpos[:3] = pose[:3, 3]
    quaternion = np.zeros(4)
    mujoco.mju_mat2Quat(quaternion, pose[:3, :3].reshape(-1))
    data.qpos[3:] = quaternion
    for _ in range(round(seconds / model.opt.timestep)):
        mujoco.mj_step(model, data)
        yield data


def silent(tmp_path, capfd):
    """Return whether a program said nothing, on its outputs or in MuJoCo's log."""
    printed = capfd.readouterr()
    return printed.out == printed.err == '' and not (tmp_path / 'MUJOCO_LOG.TXT').exists()


@pytest.mark.parametrize(
    ('name', 'mesh', 'parts'),
    [
        ('box', box(0.06, 0.09, 0.18), 1),
        ('bottle', bottle(), 1),
        ('cup', cup(), 1),
        ('hollow', cup(), 16),
    ],
)
def test_in_mujoco_the_object_rests_without_jitter_sinking_or_drift(
    name, mesh, parts, tmp_path, monkeypatch, capfd
):
    mujoco = pytest.importorskip('mujoco')
    pytest.importorskip('xatlas')
    monkeypatch.chdir(tmp_path)
    export = Export('mjcf', density=400.0, parts=parts)
    folder = tmp_path / 'made'
    folder.mkdir()
    written = write(shape_of(mesh), export.path(folder, name), export)
    moved = folder.rename(tmp_path / 'moved')
    scene = moved / 'scene.xml'
    scene.write_text(SCENE.format(file=f'{name}.xml'))
    model = mujoco.MjModel.from_xml_path(str(scene))
    assert silent(tmp_path, capfd)
    body = model.body(name)
    assert body.mass[0] == pytest.approx(written.mass.mass, rel=1e-6)
    np.testing.assert_allclose(
        np.sort(body.inertia), np.linalg.eigvalsh(written.mass.inertia), rtol=1e-4)
    assert model.ntex == 1
    assert model.mesh_texcoordnum.max() > 0
    solids = [g for g in range(model.ngeom) if model.geom_contype[g]]
    assert len(solids) > 1 + len(written.parts), 'the floor, the parts and their feet'

    corners = np.concatenate([part.vertices for part in written.parts])
    upright = rigid(np.eye(3), [0.0, 0.0, -corners[:, 2].min()])
    np.testing.assert_allclose(model.qpos0[:3], upright[:3, 3], atol=1e-6)
    for pose in (upright, *(pose.T_ground_object for pose in written.poses[:3])):
        settled, places, deepest = None, [], 0.0
        for data in simulate(mujoco, model, pose, 2.0):
            if data.time > 1.0:
                settled = data.qpos.copy() if settled is None else settled
                places.append(data.qpos.copy())
                deepest = min(deepest, min(contact.dist for contact in data.contact))
                speed = np.abs(data.qvel)
                assert speed[:3].max() < 1e-3, 'jitter or drift'
                assert speed[3:].max() < 2e-2, 'jitter or drift'
        assert -1e-4 < deepest < 0.0, 'it sinks in, or floats'
        assert np.ptp(places, axis=0)[:3].max() < 2e-4
        # It is where it was put.
        np.testing.assert_allclose(settled[:3], pose[:3, 3], atol=3e-3)
    assert silent(tmp_path, capfd)


def test_the_urdf_is_read_by_mujoco_and_names_files_beside_it(tmp_path, monkeypatch, capfd):
    mujoco = pytest.importorskip('mujoco')
    pytest.importorskip('xatlas')
    monkeypatch.chdir(tmp_path)
    shape = shape_of(cup())
    export = Export('urdf')
    path = export.path(tmp_path, 'cup')
    written = write(shape, path, export, 'camera')
    assert written.frame == 'object'
    assert written.mass.density == 1000.0
    assert set(written.files) == {file for file in export.files(path) if file.exists()}
    assert set(written.files) == set(tmp_path.iterdir())

    root = ElementTree.parse(path).getroot()
    for mesh in root.iter('mesh'):
        assert '/' not in mesh.get('filename')
        read = trimesh.load(tmp_path / mesh.get('filename'), force='mesh')
        np.testing.assert_allclose(read.bounds[:, 2], [-0.045, 0.045], atol=1e-4)
    link = root.find('link')
    assert [child.tag for child in link] == ['inertial', 'visual', 'collision']
    center = [float(x) for x in link.find('inertial/origin').get('xyz').split()]
    np.testing.assert_allclose(center, written.mass.center, atol=1e-6)
    moments = {k: float(v) for k, v in link.find('inertial/inertia').attrib.items()}
    assert moments['ixx'] == pytest.approx(written.mass.inertia[0, 0], rel=1e-6)

    # By itself a URDF of one link is a part of MuJoCo's world; a free joint makes it a body.
    assert mujoco.MjModel.from_xml_path(str(path)).ngeom == 1
    files = {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()}
    specification = mujoco.MjSpec.from_string(path.read_text(), assets=files)
    specification.body('cup').add_freejoint()
    body = specification.compile().body('cup')
    assert body.mass[0] == pytest.approx(written.mass.mass, rel=1e-6)
    np.testing.assert_allclose(body.ipos, written.mass.center, atol=1e-6)
    assert silent(tmp_path, capfd)


def test_names_with_blanks_and_signs_stay_readable(tmp_path):
    mujoco = pytest.importorskip('mujoco')
    pytest.importorskip('xatlas')
    for kind in ('mjcf', 'urdf'):
        export = Export(kind, texture=64)
        path = export.path(tmp_path, 'my <cup> & "--saucer--"')
        write(shape_of(box(0.1, 0.1, 0.1)), path, export)
        model = mujoco.MjModel.from_xml_path(str(path))
        assert model.nmesh >= 1


# Every format in every program

EXPORTS = [
    Export('ply', points=300),
    Export('glb'),
    Export('obj'),
    Export('stl'),
    Export('obj', texture=256),
    Export('glb', texture=256),
    Export('urdf', texture=256),
    Export('mjcf', texture=256, points=300),
    Export('urdf', texture=256, parts=4),
    Export('mjcf', texture=256, parts=4),
]


@pytest.fixture(scope='module')
def lifted():
    """Return the packaged scene, lifted, with few faces."""
    return Lifter('geometric', 2000).lift(*read_scene(DEMO_SCENE))


def read_by_trimesh(path):
    """Return the number of faces, or points, that trimesh reads."""
    read = trimesh.load(path)
    read = read.to_geometry() if isinstance(read, trimesh.Scene) else read
    return len(read.vertices) if isinstance(read, trimesh.PointCloud) else len(read.faces)


def read_by_open3d(path):
    """Return the number of faces, or points, that Open3D reads."""
    o3d = pytest.importorskip('open3d')
    if path.stem.endswith('_cloud'):
        return len(o3d.io.read_point_cloud(str(path)).points)
    if path.suffix in ('.obj', '.glb'):
        # The reader that brings materials.
        assert len(o3d.io.read_triangle_model(str(path)).meshes) == 1
    return len(o3d.io.read_triangle_mesh(str(path), enable_post_processing=True).triangles)


def read_by_mujoco(path):
    """Return the number of faces that MuJoCo reads, 0 of a description."""
    mujoco = pytest.importorskip('mujoco')
    if path.suffix in ('.xml', '.urdf'):
        model = mujoco.MjModel.from_xml_path(str(path))
        mujoco.mj_forward(model, mujoco.MjData(model))
        return 0
    inertia = 'convex' if 'collision' in path.stem else 'shell'
    text = (
        f'<mujoco><asset><mesh name="m" file="{path}" inertia="{inertia}"/></asset><worldbody>'
        '<geom type="mesh" mesh="m"/></worldbody></mujoco>'
    )
    return int(mujoco.MjModel.from_xml_string(text).mesh_facenum[0])


#: Programs, and the suffixes of the files that they read.
PROGRAMS = {
    read_by_trimesh: ('.ply', '.glb', '.obj', '.stl'),
    read_by_open3d: ('.ply', '.glb', '.obj', '.stl'),
    read_by_mujoco: ('.obj', '.stl', '.xml', '.urdf'),
}


@pytest.mark.parametrize(
    'export', EXPORTS, ids=lambda export: f'{export.kind}-{export.texture}-{export.parts}'
)
def test_programs_read_every_format_without_a_warning(
    export, lifted, tmp_path, monkeypatch, capfd, caplog
):
    pytest.importorskip('xatlas')
    monkeypatch.chdir(tmp_path)
    written = write(lifted, export.path(tmp_path, 'bottle'), export, 'camera')
    unread = {path.suffix for path in written.files} - {'.mtl', '.png'}
    for read, suffixes in PROGRAMS.items():
        for path in written.files:
            if path.suffix not in suffixes:
                continue
            with warnings.catch_warnings():
                warnings.simplefilter('error')
                count = read(path)
            assert silent(tmp_path, capfd), (read.__name__, path.name)
            assert not caplog.records
            unread.discard(path.suffix)
            if path.stem.endswith('_cloud'):
                assert count == export.points
            elif 'collision' not in path.stem and count:
                assert count == len(lifted.mesh.faces)
    assert not unread


# Bad input


@pytest.mark.parametrize(
    ('settings', 'says'),
    [
        ({'kind': 'fbx'}, 'ply, glb, obj, stl, urdf, mjcf'),
        ({'kind': 'ply', 'texture': 512}, 'obj, glb'),
        ({'kind': 'obj', 'texture': 8}, '64 to 4096'),
        ({'kind': 'obj', 'parts': 4}, 'urdf, mjcf'),
        ({'kind': 'urdf', 'parts': 0}, '1 to 16'),
        ({'kind': 'urdf', 'parts': 17}, '1 to 16'),
        ({'points': -1}, '1000000'),
    ],
)
def test_what_cannot_be_written_is_refused_beforehand(settings, says):
    with pytest.raises(LiftError, match=says) as caught:
        Export(**settings)
    assert caught.value.code == ErrorCode.BAD_REQUEST


@pytest.mark.parametrize(
    ('package', 'settings'),
    [
        ('coacd', {'kind': 'urdf', 'parts': 8}),
        ('manifold3d', {'kind': 'mjcf', 'parts': 2}),
        ('xatlas', {'kind': 'mjcf'}),
        ('xatlas', {'kind': 'glb', 'texture': 256}),
    ],
)
def test_a_missing_package_is_named_before_anything_is_lifted(package, settings, monkeypatch):
    if package == 'coacd':
        pytest.importorskip('xatlas')
    with missing(monkeypatch, package), pytest.raises(LiftError, match=f'pip install {package}'):
        Export(**settings)


def test_a_folder_in_the_way_of_a_mesh_is_an_error_and_leaves_no_description(tmp_path):
    pytest.importorskip('xatlas')
    (tmp_path / 'box_collision_0.stl').mkdir()
    export = Export('urdf', texture=64)
    with pytest.raises(OSError, match='box_collision_0.stl'):
        write(shape_of(box(0.1, 0.1, 0.1)), export.path(tmp_path, 'box'), export)
    assert not (tmp_path / 'box.urdf').exists()


def test_a_suffix_says_what_is_written(tmp_path):
    for kind in FORMATS:
        path = Export(kind).path(tmp_path, 'box')
        assert Export.of_path(path).kind == kind
    for name in ('box.fbx', 'box.mjcf', 'box'):
        with pytest.raises(LiftError, match=r'\.urdf, \.xml'):
            Export.of_path(tmp_path / name)


def test_the_picture_of_a_description_is_a_picture(tmp_path):
    pytest.importorskip('xatlas')
    export = Export('mjcf', texture=128)
    written = write(shape_of(box(0.1, 0.1, 0.1)), export.path(tmp_path, 'box'), export)
    (picture,) = [path for path in written.files if path.suffix == '.png']
    assert Image.open(picture).size == (128, 128)
