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


"""Metrics of single views, of topology, holes and evidence, on shapes whose measures are known."""

from __future__ import annotations

from bench_helpers import box
from bench_helpers import mesh_of
from bench_helpers import sphere
from bench_helpers import turned
from bench_helpers import wedge
import numpy as np
import pytest
import trimesh

from lift3d_ros.bench import metrics
from lift3d_ros.bench.metrics import coverage
from lift3d_ros.bench.metrics import evidence
from lift3d_ros.bench.metrics import topology
from lift3d_ros.bench.metrics.alignment import similarity
from lift3d_ros.bench.prediction import Truth
from lift3d_ros.bench.score import judge
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import invert
from lift3d_ros.geometry import look_at
from lift3d_ros.geometry import transform
from lift3d_ros.geometry.frame import Frame
from lift3d_ros.geometry.shape import Mesh

CAMERA = Camera.from_fov(640, 480, 60.0)


def joined(*meshes):
    """Return meshes as one, vertices not shared."""
    return mesh_of(trimesh.util.concatenate([m.to_trimesh() for m in meshes]))


def torus(radius=0.05, tube=0.015):
    """Return a torus."""
    return mesh_of(trimesh.creation.torus(radius, tube))


def cut_sphere(radius, degrees):
    """Return an open sphere without its cap within so many degrees of the z axis."""
    solid = trimesh.creation.icosphere(6, radius)
    middles = solid.triangles_center
    angle = np.degrees(np.arccos(middles[:, 2] / np.linalg.norm(middles, axis=1)))
    solid.update_faces(angle > degrees)
    return mesh_of(solid)


# Surfaces


@pytest.mark.parametrize('shift', [0.002, 0.01])
def test_a_shifted_sphere_is_as_far_as_the_cosine_of_the_shift(shift):
    """The distance at the angle t to the shift is |cos t| of it, to first order; mean a half."""
    radius = 0.1
    apart = metrics.distances(
        metrics.sample_surface(sphere(radius, (shift, 0.0, 0.0)), 40_000),
        metrics.sample_surface(sphere(radius), 40_000, seed=1))
    assert apart.chamfer() == pytest.approx(shift / 2.0, rel=0.15, abs=0.0005)
    assert apart.f_score(1.05 * shift + 0.001) == 1.0
    # The share of a sphere between the planes of cos t = +-1/2 is one half.
    if shift == 0.01:
        assert apart.f_score(shift / 2.0) == pytest.approx(0.5, abs=0.02)


def test_the_diameter_does_not_depend_on_the_axes():
    rod = box((0.3, 0.02, 0.01))
    expected = np.linalg.norm([0.3, 0.02, 0.01])
    assert metrics.diameter(rod) == pytest.approx(expected, rel=1e-5)
    assert metrics.diameter(turned(rod, 33.0, (1, 2, 3))) == pytest.approx(expected, rel=1e-5)
    assert metrics.diameter(sphere(0.05)) == pytest.approx(0.1, rel=1e-3)
    flat = mesh_of(trimesh.Trimesh(
        [[0, 0, 0], [0.3, 0, 0], [0.3, 0.4, 0], [0, 0.4, 0]], [[0, 1, 2], [0, 2, 3]]))
    assert metrics.diameter(flat) == pytest.approx(0.5, rel=1e-4)


@pytest.mark.parametrize('degrees', [0.0, 20.0, 60.0])
def test_normals_of_a_tipped_plate_agree_by_the_cosine(degrees):
    """Sign does not count, nor does the small rim of a plate."""
    plate, tipped = (
        metrics.sample_with_normals(turned(box((0.2, 0.2, 0.0004)), angle, (1, 0, 0)), 20_000)
        for angle in (0.0, degrees))
    found = metrics.normal_consistency(*tipped, *plate)
    assert found == pytest.approx(np.cos(np.radians(degrees)), abs=0.02)


@pytest.mark.parametrize('scale', [0.7, 1.0, 1.4])
def test_a_similar_shape_is_brought_upon_the_truth(scale):
    true = metrics.sample_surface(wedge())
    T = np.eye(4)
    T[:3, :3] = scale * trimesh.transformations.rotation_matrix(0.15, (1, 2, 3))[:3, :3]
    T[:3, 3] = (0.01, -0.02, 0.015)
    moved = transform(T, metrics.sample_surface(wedge(), seed=1))
    found = similarity(moved, true)
    assert np.cbrt(np.linalg.det(found[:3, :3])) == pytest.approx(1.0 / scale, rel=0.01)
    # As near as another sample of the same surface.
    again = metrics.distances(metrics.sample_surface(wedge(), seed=1), true).chamfer()
    assert metrics.distances(transform(found, moved), true).chamfer() < 1.05 * again


def test_a_half_does_not_shrink_into_the_whole():
    whole = metrics.sample_surface(sphere(0.05))
    half = whole[whole[:, 2] > 0.0]
    found = similarity(half, whole)
    assert 0.9 < np.cbrt(np.linalg.det(found[:3, :3])) < 1.5
    before = metrics.distances(half, whole).chamfer()
    assert metrics.distances(transform(found, half), whole).chamfer() <= before


# Topology


@pytest.mark.parametrize(
    ('mesh', 'pieces', 'genus'),
    [
        (sphere(), 1, 0),
        (joined(sphere(), sphere(0.03, (0.2, 0, 0))), 2, 0),
        (torus(), 1, 1),
        (joined(torus(), torus(0.04, 0.01), sphere(0.01, (0.3, 0, 0))), 3, 2),
        (mesh_of(trimesh.creation.annulus(0.02, 0.05, 0.03)), 1, 1),
        (cut_sphere(0.05, 30.0), 1, None),
    ],
    ids=['ball', 'two balls', 'torus', 'two tori and a ball', 'ring', 'open'],
)
def test_pieces_and_handles_are_counted(mesh, pieces, genus):
    assert topology.pieces(mesh.faces) == pieces
    assert topology.genus(mesh.faces) == genus
    assert topology.nonmanifold_edges(mesh.faces) == 0


def test_two_tetrahedra_that_share_a_vertex_are_two():
    corners = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1.0]])
    faces = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2]])
    other = np.where(faces == 0, 0, faces + 3)
    both = np.concatenate([faces, other])
    assert len(np.unique(both)) == 2 * len(corners) - 1
    assert topology.pieces(both) == 2
    assert topology.genus(both) == 0


def test_boxes_that_touch_at_an_edge_are_closed_only_as_written():
    touching = joined(box((0.1, 0.1, 0.1)), box((0.1, 0.1, 0.1), (0.1, 0.1, 0.0)))
    assert touching.is_watertight()
    merged = topology.merged(touching)
    assert not merged.is_watertight
    assert topology.nonmanifold_edges(touching.faces) == 0
    assert topology.nonmanifold_edges(merged.faces) == 1
    assert topology.genus(merged.faces) is None


def test_nothing_has_no_pieces():
    none = np.zeros((0, 3), np.int32)
    assert topology.pieces(none) == 0
    assert topology.genus(none) is None


# Holes


def hole_in(predicted, true=None):
    """Return the size of the largest hole of what should be a ball of 10 cm, or another shape."""
    true = sphere(0.1) if true is None else true
    points, normals = metrics.sample_with_normals(true, 20_000)
    depth = coverage.thickness(metrics.Solid(true), points, normals)
    return coverage.largest_hole(
        metrics.Solid(predicted), points, normals, depth, true.to_trimesh().area,
        metrics.diameter(true))


@pytest.mark.parametrize('degrees', [20.0, 45.0])
def test_a_cap_that_is_missing_is_a_hole_of_its_size(degrees):
    radius, near = 0.1, 0.003
    # The border of the hole is covered within the chord of ``near``.
    inner = np.radians(degrees) - 2.0 * np.arcsin(near / (2.0 * radius))
    area = 2.0 * np.pi * radius**2 * (1.0 - np.cos(inner))
    assert hole_in(cut_sphere(radius, degrees)) == pytest.approx(
        np.sqrt(4.0 * area / np.pi), rel=0.05)


def test_of_two_holes_the_larger_one_counts():
    radius = 0.1
    solid = trimesh.creation.icosphere(6, radius)
    z = solid.triangles_center[:, 2] / radius
    solid.update_faces((z < np.cos(np.radians(30.0))) & (z > -np.cos(np.radians(15.0))))
    assert hole_in(mesh_of(solid)) == pytest.approx(hole_in(cut_sphere(radius, 30.0)), rel=0.02)


def test_what_is_near_displaced_or_buried_is_no_hole():
    for radius in (0.098, 0.092, 0.07, 0.105, 0.15):
        assert hole_in(sphere(radius)) == 0.0
    assert hole_in(sphere(0.1, (0.02, 0.0, 0.0))) == 0.0


def test_a_surface_that_is_elsewhere_is_missing_as_a_whole():
    assert hole_in(sphere(0.05, (0.5, 0.0, 0.0))) == pytest.approx(0.4, rel=1e-3)


def test_a_hole_in_a_wall_is_found_and_a_wall_elsewhere_is_not():
    """A shell of 4 mm; the prediction has a window, or the whole shell is 8 mm off."""
    shell = mesh_of(trimesh.util.concatenate([
        trimesh.creation.icosphere(5, 0.1), trimesh.creation.icosphere(5, 0.096)]))
    inner = len(shell.faces) // 2
    shell.faces[inner:] = shell.faces[inner:, ::-1]
    middles = shell.vertices[shell.faces].mean(axis=1)
    window = middles[:, 2] > np.cos(np.radians(20.0)) * np.linalg.norm(middles, axis=1)
    opened = Mesh(shell.vertices, shell.faces[~window], shell.colors)
    # Each side of the wall is like the ball without a cap.
    radius = 0.5 * hole_in(cut_sphere(0.1, 20.0))
    assert hole_in(opened, shell) == pytest.approx(2.0 * radius, rel=0.05)
    moved = Mesh(
        shell.vertices + np.float32([0.008, 0, 0]), shell.faces, shell.colors)
    assert hole_in(moved, shell) == 0.0


def test_the_thickness_is_that_of_the_material():
    plate = box((0.2, 0.2, 0.004))
    points, normals = metrics.sample_with_normals(plate, 2000)
    flat = np.abs(normals[:, 2]) > 0.9
    depth = coverage.thickness(metrics.Solid(plate), points, normals)
    np.testing.assert_allclose(depth[flat], 0.004, atol=1e-6)
    open_plate = Mesh(plate.vertices, plate.faces[normals_up(plate)], plate.colors)
    points, normals = metrics.sample_with_normals(open_plate, 200)
    assert (coverage.thickness(metrics.Solid(open_plate), points, normals) == 0.0).all()


def normals_up(mesh):
    """Return which faces look up."""
    return mesh.to_trimesh().face_normals[:, 2] > 0.9


# Evidence of the frame


def pixels_of(mesh):
    """Return the silhouette of a mesh in the optical frame."""
    return Truth(mesh, np.eye(4)).silhouette(CAMERA)


def test_the_silhouette_of_a_ball_is_its_disc():
    radius, distance = 0.05, 0.5
    found = pixels_of(sphere(radius, (0.0, 0.0, distance)))
    angle = np.arcsin(radius / distance)
    assert np.count_nonzero(found) == pytest.approx(
        np.pi * (CAMERA.fx * np.tan(angle)) ** 2, rel=0.01)
    # In a frame of its own, seen from the side.
    pose = invert(look_at(np.array([0.5, 0.0, 0.0]), np.zeros(3)))
    turned_away = Truth(sphere(radius), pose).silhouette(CAMERA)
    assert np.count_nonzero(turned_away != found) < 0.01 * np.count_nonzero(found)
    assert not pixels_of(sphere(radius, (5.0, 0.0, distance))).any()


def test_volume_off_the_mask_is_its_share():
    inside, outside = sphere(0.05, (0.0, 0.0, 0.6)), sphere(0.04, (0.15, 0.0, 0.6))
    mask = pixels_of(inside)
    assert evidence.off_mask_share(metrics.Solid(inside), CAMERA, mask) == 0.0
    share = evidence.off_mask_share(metrics.Solid(joined(inside, outside)), CAMERA, mask)
    assert share == pytest.approx(0.04**3 / (0.04**3 + 0.05**3), rel=0.03)
    # Within the tolerance of a mask nothing is off it; outside of the image nothing is known.
    grown = sphere(0.0505, (0.0, 0.0, 0.6))
    assert evidence.off_mask_share(metrics.Solid(grown), CAMERA, mask) == 0.0
    beyond = joined(inside, sphere(0.04, (1.5, 0.0, 0.6)))
    assert evidence.off_mask_share(metrics.Solid(beyond), CAMERA, mask) == 0.0


def wall(at=0.7):
    """Return the depth of a wall across the view, a mask in its middle, and a vertex behind."""
    mask = np.zeros((CAMERA.height, CAMERA.width), bool)
    mask[140:340, 220:420] = True
    return np.full(mask.shape, at, np.float32), mask, np.array([[0.0, 0.0, at + 0.3]])


@pytest.mark.parametrize('length', [0.002, 0.004, 0.02])
def test_a_spike_is_as_long_as_it_is_before_the_readings(length):
    """Three standard deviations are 3 mm at 0.7 m."""
    depth, mask, behind = wall()
    pixels = np.meshgrid(np.arange(230, 410), np.arange(150, 330))
    vertices = np.concatenate([CAMERA.unproject(*pixels, 0.7).reshape(-1, 3), behind])
    # The pixel of a shorter ray is the same: these vertices move along it.
    vertices[:5] *= (0.7 - length) / 0.7
    share, longest = evidence.spikes(vertices, CAMERA, depth, mask)
    if length < 0.003:
        assert (share, longest) == (0.0, 0.0)
    else:
        assert share == pytest.approx(5 / len(vertices))
        assert longest == pytest.approx(length, abs=1e-6)


def spikes_of(vertices, depth, mask, behind):
    """Return the spikes of some vertices, and of one that is far behind."""
    return evidence.spikes(np.concatenate([vertices, behind]), CAMERA, depth, mask)


def test_vertices_without_a_reading_are_no_spikes():
    depth, mask, behind = wall()
    before = CAMERA.unproject(np.array([300.0]), np.array([200.0]), 0.5)
    assert spikes_of(before, depth, mask, behind)[0] == 0.5
    for none in (0.0, np.nan):
        nothing = np.full_like(depth, none)
        assert spikes_of(before, nothing, mask, behind) == (0.0, 0.0)
    assert spikes_of(before, depth, np.zeros_like(mask), behind) == (0.0, 0.0)
    assert spikes_of(behind, depth, mask, behind) == (0.0, 0.0)
    outside = np.array([[0.1, 0.1, -0.5], [9.0, 0.0, 0.5]])
    assert spikes_of(outside, depth, mask, behind) == (0.0, 0.0)


def test_background_in_the_mask_makes_no_spikes():
    """The reading lies beyond the whole prediction, so that it is none of the object."""
    depth, mask, behind = wall()
    depth[:, 300:] = 1.5
    vertices = CAMERA.unproject(np.array([320.0, 250.0]), np.array([200.0, 200.0]), 0.65)
    share, longest = spikes_of(vertices, depth, mask, behind)
    assert (share, longest) == (pytest.approx(1 / 3), pytest.approx(0.05, abs=1e-4))


def test_a_step_of_the_depth_within_the_tolerance_of_the_mask_is_no_spike():
    """Colour and depth of real cameras are some pixels apart."""
    depth, mask, behind = wall()
    depth[:, 300:] = 0.9
    beside = CAMERA.unproject(np.array([302.0]), np.array([200.0]), 0.7)
    apart = CAMERA.unproject(np.array([310.0]), np.array([200.0]), 0.7)
    assert spikes_of(beside, depth, mask, behind)[1] == 0.0
    assert spikes_of(apart, depth, mask, behind)[1] == pytest.approx(0.2, abs=1e-4)


def test_noise_of_a_farther_reading_is_larger():
    assert evidence.depth_stddev(0.7) == pytest.approx(0.001)
    assert evidence.depth_stddev(1.4) == pytest.approx(0.004)


def test_a_mesh_is_judged_without_a_truth_and_with_one():
    ball = sphere(0.05, (0.0, 0.0, 0.7))
    mask = pixels_of(ball)
    depth = np.where(mask, 0.7, 0.0).astype(np.float32)
    frame = Frame(np.zeros((*mask.shape, 3), np.uint8), CAMERA, depth)
    alone = judge(ball, frame, mask)
    assert (alone['watertight'], alone['closed_merged'], alone['pieces']) == (1.0, 1.0, 1.0)
    assert alone['spike_mm'] == pytest.approx(50.0, abs=1.0)
    assert 'genus_error' not in alone
    ring = torus().transformed(trimesh.transformations.translation_matrix((0.0, 0.0, 0.7)))
    known = judge(ball, frame, mask, Truth(ring, np.eye(4)))
    assert (known['genus'], known['genus_error']) == (0.0, 1.0)
    # What another object hides of the true one is not off its mask.
    half = mask.copy()
    half[:, : CAMERA.width // 2] = False
    # The volume beyond a plane at the share h of the radius is 1/2 - 3/4 h + 1/4 h^3 of a ball.
    h = 3.5 / CAMERA.fx * 0.7 / 0.05
    assert judge(ball, frame, half)['off_mask_share'] == pytest.approx(
        0.5 - 0.75 * h + 0.25 * h**3, abs=0.01)
    assert judge(ball, frame, half, Truth(ball, np.eye(4)))['off_mask_share'] == 0.0
    without = judge(ball, Frame(frame.image, CAMERA), mask)
    assert 'spike_mm' not in without
