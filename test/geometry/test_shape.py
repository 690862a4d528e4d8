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

"""Meshes, shapes and their files."""

from __future__ import annotations

import errno
import resource

import numpy as np
import pytest
import trimesh

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import rigid
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.geometry.shape import MESH_FORMATS
from lift3d_ros.geometry.shape import Shape


def mesh_of(solid):
    """Return a trimesh solid as a mesh with different colours."""
    count = len(solid.vertices)
    colors = np.random.default_rng(0).integers(0, 256, (count, 3), dtype=np.uint8)
    return Mesh(solid.vertices.astype(np.float32), solid.faces.astype(np.int32), colors)


def box(*sides):
    """Return a box about the origin."""
    return mesh_of(trimesh.creation.box(sides))


def shape_of(mesh):
    """Return a shape whose lower half was observed."""
    count = len(mesh.vertices)
    low = mesh.vertices[:, 2] < 0.0
    return Shape(
        mesh=mesh,
        T_camera_object=rigid(np.diag([1.0, -1.0, -1.0]), [0.1, 0.2, 0.5]),
        pose_covariance=np.eye(6) * 1e-4,
        confidence=np.where(low, 0.9, 0.1).astype(np.float32),
        observed=low if count else np.zeros(0, bool),
        scale_source='depth',
        scale_stddev=0.01,
        elevation=30.0,
        elevation_source='gravity',
        method='geometric',
    )


# Meshes


def test_a_box_is_watertight_and_has_its_volume():
    mesh = box(0.1, 0.2, 0.3)
    assert mesh.is_watertight()
    assert mesh.volume() == pytest.approx(0.006, rel=1e-6)


def test_the_volume_does_not_depend_on_the_frame():
    far = box(0.1, 0.2, 0.3).transformed(rigid(np.eye(3), [1.0, -2.0, 3.0]))
    assert far.volume() == pytest.approx(0.006, rel=1e-4)


def test_a_mesh_turned_inside_out_is_closed_and_has_negative_volume():
    mesh = box(0.1, 0.2, 0.3)
    inside_out = Mesh(mesh.vertices, mesh.faces[:, ::-1], mesh.colors)
    assert inside_out.is_watertight()
    assert inside_out.volume() == pytest.approx(-0.006, rel=1e-6)


def test_a_missing_a_doubled_and_a_flipped_face_are_each_not_watertight():
    mesh = box(1.0, 1.0, 1.0)
    flipped = mesh.faces.copy()
    flipped[0] = flipped[0, ::-1]
    for faces in (
        mesh.faces[1:],
        np.concatenate([mesh.faces, mesh.faces[:1]]),
        flipped,
        mesh.faces[:0],
    ):
        assert not Mesh(mesh.vertices, faces, mesh.colors).is_watertight()


def test_two_boxes_are_watertight_each_for_itself():
    one, other = box(1.0, 1.0, 1.0), box(0.5, 0.5, 0.5)
    both = Mesh(
        np.concatenate([one.vertices, other.vertices + 3.0]),
        np.concatenate([one.faces, other.faces + len(one.vertices)]),
        np.concatenate([one.colors, other.colors]),
    )
    assert both.is_watertight()
    assert both.volume() == pytest.approx(1.125, rel=1e-5)


def test_the_normals_of_a_sphere_point_from_its_centre():
    mesh = mesh_of(trimesh.creation.icosphere(3))
    np.testing.assert_allclose(mesh.vertex_normals(), mesh.vertices, atol=0.02)


def test_a_lone_vertex_has_no_normal():
    mesh = box(1.0, 1.0, 1.0)
    lone = Mesh(
        np.concatenate([mesh.vertices, [[9.0, 9.0, 9.0]]]).astype(np.float32),
        mesh.faces,
        np.zeros((len(mesh.vertices) + 1, 3), np.uint8),
    )
    np.testing.assert_array_equal(lone.vertex_normals()[-1], [0.0, 0.0, 0.0])


# Files


@pytest.mark.parametrize('kind', MESH_FORMATS)
def test_a_mesh_survives_its_file(tmp_path, kind):
    mesh = mesh_of(trimesh.creation.icosphere(2, radius=0.05))
    path = tmp_path / f'ball.{kind}'
    mesh.export(path, {'confidence': np.linspace(0.0, 1.0, len(mesh.vertices), dtype=np.float32)})
    read = trimesh.load(path, force='mesh', process=False)
    if kind == 'stl':
        # A format without shared vertices and colours.
        read.merge_vertices()
    assert read.is_watertight
    assert read.volume == pytest.approx(mesh.volume(), rel=1e-4)
    assert len(read.vertices) == len(mesh.vertices)
    if kind != 'stl':
        np.testing.assert_allclose(read.vertices, mesh.vertices, atol=1e-6)
        np.testing.assert_array_equal(read.faces, mesh.faces)
        np.testing.assert_array_equal(read.visual.vertex_colors[:, :3], mesh.colors)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_ply_keeps_further_numbers_of_a_vertex(tmp_path):
    mesh = box(1.0, 1.0, 1.0)
    values = np.linspace(0.0, 1.0, len(mesh.vertices), dtype=np.float32)
    mesh.export(tmp_path / 'box.ply', {'confidence': values, 'observed': values})
    raw = trimesh.load(tmp_path / 'box.ply', process=False).metadata['_ply_raw']
    stored = raw['vertex']['data']
    np.testing.assert_array_equal(np.asarray(stored['confidence']).reshape(-1), values)
    assert 'observed' in stored.dtype.names


def test_an_unknown_format_is_refused(tmp_path):
    with pytest.raises(ValueError, match='ply, glb, obj, stl'):
        box(1.0, 1.0, 1.0).export(tmp_path / 'box.fbx')


def test_a_file_that_cannot_be_written_leaves_nothing_and_the_old_one_stays(tmp_path):
    path = tmp_path / 'box.ply'
    path.write_bytes(b'old')
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    # As on a full disk, the first bytes can be written and the others cannot.
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(OSError) as caught:
            box(1.0, 1.0, 1.0).export(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.errno == errno.EFBIG
    assert [entry.name for entry in tmp_path.iterdir()] == ['box.ply']
    assert path.read_bytes() == b'old'


# Shapes


def test_a_shape_refuses_a_mesh_that_a_planner_could_not_use():
    mesh = box(1.0, 1.0, 1.0)
    broken = mesh.vertices.copy()
    broken[0, 0] = np.nan
    for bad in (
        Mesh(mesh.vertices, mesh.faces[1:], mesh.colors),
        Mesh(mesh.vertices, mesh.faces[:, ::-1], mesh.colors),
        Mesh(broken, mesh.faces, mesh.colors),
        Mesh(mesh.vertices[:0], mesh.faces[:0], mesh.colors[:0]),
    ):
        with pytest.raises(LiftError) as caught:
            shape_of(bad)
        assert caught.value.code == ErrorCode.NO_SURFACE


def test_a_shape_knows_its_size_and_its_place_before_the_camera():
    shape = shape_of(box(0.1, 0.2, 0.3))
    np.testing.assert_allclose(shape.size, [0.1, 0.2, 0.3], atol=1e-6)
    placed = shape.mesh_in_camera()
    middle = (placed.vertices.min(axis=0) + placed.vertices.max(axis=0)) / 2.0
    np.testing.assert_allclose(middle, [0.1, 0.2, 0.5], atol=1e-6)
    assert placed.volume() == pytest.approx(0.006, rel=1e-5)


def test_the_overall_confidence_is_weighted_by_area():
    # Bottom 0.9 and top 0.1 have equal areas, the sides lie between: the mean is in the middle.
    assert shape_of(box(0.1, 0.2, 0.3)).overall_confidence == pytest.approx(0.5)


def test_a_cloud_covers_the_surface_evenly_and_carries_what_the_vertices_say():
    shape = shape_of(box(0.1, 0.1, 0.4))
    cloud = shape.cloud(4000, seed=1)
    assert cloud.points.shape == (4000, 3)
    # All on the box's surface.
    away = np.abs(np.abs(cloud.points) / shape.size - 0.5).min(axis=1)
    assert away.max() < 1e-5
    # The two ends are 0.02 of 0.18 square metres.
    ends = np.abs(np.abs(cloud.points[:, 2]) - 0.2) < 1e-6
    assert ends.mean() == pytest.approx(0.111, abs=0.005)
    low = cloud.points[:, 2] < -0.199
    assert cloud.confidence[low] == pytest.approx(0.9, abs=0.01)
    assert cloud.observed[low].all()
    assert not cloud.observed[cloud.points[:, 2] > 0.199].any()


def test_the_same_seed_gives_the_same_cloud():
    shape = shape_of(box(0.1, 0.1, 0.4))
    np.testing.assert_array_equal(shape.cloud(100, 3).points, shape.cloud(100, 3).points)
    assert not np.array_equal(shape.cloud(100, 3).points, shape.cloud(100, 4).points)
