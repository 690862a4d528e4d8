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

"""The stages of the surface, each by itself: symmetries, support plane, cleaning, meshing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.fields.symmetry.hypotheses import mirror
from lift3d_ros.fields.symmetry.hypotheses import Plausibility
from lift3d_ros.fields.symmetry.hypotheses import rotations
from lift3d_ros.fields.symmetry.hypotheses import two_mirrors
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry.frame import crop_object
from lift3d_ros.geometry.frame import Frame
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.meshing.isosurface import count_pieces
from lift3d_ros.meshing.isosurface import extract_surface
from lift3d_ros.observation.cleaning import observe
from lift3d_ros.observation.support import find_support

ANGLES = st.floats(-3.0, 3.0)
PLACES = st.floats(-0.5, 0.5)


def moved(motion: np.ndarray, point: np.ndarray) -> np.ndarray:
    """Return a point under a 4 x 4 motion."""
    return motion[:3, :3] @ point + motion[:3, 3]


def as_mesh(vertices: np.ndarray, faces: np.ndarray) -> Mesh:
    """Return a mesh without colour."""
    return Mesh(vertices, faces, np.zeros((len(vertices), 3), np.uint8))


def ball(center: tuple[float, float, float], radius: float, side: int = 40) -> np.ndarray:
    """Return the signed field of a ball on a grid of unit voxels."""
    grid = np.stack(np.meshgrid(*[np.arange(side)] * 3, indexing='ij'), axis=-1)
    return (radius - np.linalg.norm(grid - np.array(center), axis=-1)).astype(np.float32)


@given(ANGLES, PLACES)
def test_mirroring_twice_changes_nothing_and_leaves_its_plane(angle: float, d: float) -> None:
    (motion,) = mirror(angle, d)
    np.testing.assert_allclose(motion @ motion, np.eye(4), atol=1e-12)
    assert np.linalg.det(motion[:3, :3]) == pytest.approx(-1.0)
    on_plane = np.array([d * np.cos(angle), d * np.sin(angle), 0.3])
    np.testing.assert_allclose(moved(motion, on_plane), on_plane, atol=1e-12)


@given(PLACES, PLACES, st.integers(2, 9))
def test_rotations_leave_their_axis_and_come_round(x: float, y: float, order: int) -> None:
    motions = rotations(x, y, order)
    assert len(motions) == order - 1
    for motion in motions:
        np.testing.assert_allclose(moved(motion, np.array([x, y, 0.2])), [x, y, 0.2], atol=1e-12)
        assert np.linalg.det(motion[:3, :3]) == pytest.approx(1.0)
    np.testing.assert_allclose(
        np.linalg.matrix_power(motions[0], order), np.eye(4), atol=1e-9
    )


@given(ANGLES, PLACES, PLACES)
def test_two_mirrors_and_their_product_are_a_group(angle: float, x: float, y: float) -> None:
    first, second, turn = two_mirrors(angle, x, y)
    np.testing.assert_allclose(first @ second, turn, atol=1e-9)
    np.testing.assert_allclose(second @ first, turn, atol=1e-9)


def test_contradiction_makes_a_hypothesis_less_plausible_and_agreement_more() -> None:
    # kind, bounded, contradicted, agreeing, log volume
    plain, contradicted, agreeing, huge = Plausibility().energy(
        np.array(
            [
                [4.0, 0.0, 0.0, 0.2, -1.2],
                [4.0, 0.0, 0.3, 0.2, -1.2],
                [4.0, 0.0, 0.0, 0.6, -1.2],
                [4.0, 0.0, 0.0, 0.2, 1.5],
            ]
        )
    )
    assert agreeing < plain < huge
    assert plain < contradicted


def test_surface_of_a_ball_is_closed_and_has_its_volume_and_place() -> None:
    vertices, faces = extract_surface(
        0.01 * ball((20, 18, 21), 12.3), np.array([1.0, 2.0, 3.0]), 0.01, 50_000
    )
    mesh = as_mesh(vertices, faces)
    assert mesh.is_watertight()
    assert mesh.volume() == pytest.approx(4.0 / 3.0 * np.pi * 0.123**3, rel=0.02)
    np.testing.assert_allclose(vertices.mean(axis=0), [1.20, 2.18, 3.21], atol=1e-3)


def test_only_the_largest_piece_is_kept() -> None:
    field = np.maximum(ball((14, 14, 14), 9.0), ball((34, 34, 34), 3.0))
    vertices, faces = extract_surface(field, np.zeros(3), 1.0, 50_000)
    assert vertices.max() < 25.0
    assert as_mesh(vertices, faces).to_trimesh().body_count == 1


def test_pieces_that_a_camera_measured_are_kept_too() -> None:
    large, small, loose = ball((14, 14, 14), 9.0), ball((34, 34, 34), 4.0), ball((34, 8, 34), 4.0)
    field, origin, voxel = np.maximum.reduce([large, small, loose]), np.array([1.0, 2.0, 3.0]), 0.5
    # Forty readings at the small ball, one at the loose one, some at none of them.
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(200, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    at = np.concatenate([
        14.0 + 9.0 * directions[:140], 34.0 + 4.0 * directions[140:180],
        [[34.0, 8.0, 30.0]], 26.0 + directions[181:],
    ])
    vertices, faces = extract_surface(field, origin, voxel, 50_000, origin + voxel * at)
    mesh = as_mesh(vertices, faces)
    assert mesh.is_watertight()
    assert count_pieces(faces) == mesh.to_trimesh().body_count == 2
    low, high = (vertices.min(axis=0) - origin) / voxel, (vertices.max(axis=0) - origin) / voxel
    assert low == pytest.approx([5.0, 5.0, 5.0], abs=0.1)
    assert high == pytest.approx([38.0, 38.0, 38.0], abs=0.1)
    # Few faces keep both.
    vertices, faces = extract_surface(field, origin, voxel, 300, origin + voxel * at)
    assert len(faces) <= 300
    assert count_pieces(faces) == 2


def test_a_cavity_without_a_way_out_is_filled() -> None:
    shell = np.minimum(ball((20, 20, 20), 14.0), -ball((20, 20, 20), 8.0))
    vertices, faces = extract_surface(shell, np.zeros(3), 1.0, 50_000)
    assert np.linalg.norm(vertices - 20.0, axis=1).min() > 12.0
    assert as_mesh(vertices, faces).volume() == pytest.approx(4 / 3 * np.pi * 14**3, rel=0.03)


def test_a_solid_that_reaches_the_border_is_closed_there() -> None:
    vertices, faces = extract_surface(np.ones((9, 9, 9), np.float32), np.zeros(3), 1.0, 5000)
    mesh = as_mesh(vertices, faces)
    assert mesh.is_watertight()
    assert mesh.volume() > 0.0


@pytest.mark.parametrize('max_faces', [100, 400])
def test_a_porous_solid_keeps_to_few_faces_and_stays_closed(max_faces: int) -> None:
    noise = np.random.default_rng(1).normal(0.4, 1.0, (24, 24, 24)).astype(np.float32)
    vertices, faces = extract_surface(noise, np.zeros(3), 1.0, max_faces)
    assert len(faces) <= max_faces
    assert as_mesh(vertices, faces).is_watertight()


def test_nothing_solid_has_no_surface() -> None:
    with pytest.raises(LiftError) as caught:
        extract_surface(-np.ones((8, 8, 8), np.float32), np.zeros(3), 1.0, 1000)
    assert caught.value.code is ErrorCode.NO_SURFACE


def box_on_a_table(tilt: float = 40.0) -> tuple[Frame, np.ndarray, np.ndarray]:
    """Return a frame of a low box on a table, its mask, and the direction of up."""
    camera = Camera.from_fov(320, 240, 60.0)
    up = np.array([0.0, -np.cos(np.radians(tilt)), -np.sin(np.radians(tilt))])
    rays = camera.rays()
    table = np.clip(-0.5 / (rays @ up), 0.1, 5.0)
    table[(rays @ up) > -0.05] = 0.0
    lid = -0.45 / np.minimum(rays @ up, -1e-3)
    mask = np.zeros((240, 320), bool)
    mask[110:150, 130:190] = True
    depth = np.where(mask, lid, table).astype(np.float32)
    return Frame(np.full((240, 320, 3), 120, np.uint8), camera, depth), mask, up


def test_support_plane_is_found_around_the_object() -> None:
    frame, mask, up = box_on_a_table()
    support = find_support(observe(crop_object(frame, mask)), None, np.random.default_rng(0))
    assert support.source == 'plane'
    assert np.degrees(np.arccos(np.clip(support.up @ up, -1.0, 1.0))) < 0.5
    assert support.offset == pytest.approx(-0.5, abs=0.002)


def test_a_plane_that_gravity_contradicts_carries_nothing() -> None:
    frame, mask, _ = box_on_a_table()
    sideways = np.array([1.0, 0.0, 0.0])
    support = find_support(observe(crop_object(frame, mask)), sideways, np.random.default_rng(0))
    assert support.source == 'gravity'
    assert support.offset is None
    np.testing.assert_allclose(support.up, [-1.0, 0.0, 0.0])


def test_readings_taken_past_the_object_leave_the_mask() -> None:
    frame, mask, _ = box_on_a_table()
    depth = frame.depth.copy()
    depth[110:150, 180:190] = 3.0
    seen = observe(crop_object(Frame(frame.image, frame.camera, depth), mask))
    assert np.count_nonzero(seen.mask) == pytest.approx(40 * 50, rel=0.05)
    assert seen.points()[:, 2].max() < 1.5


def test_what_lies_before_the_measured_surface_is_free_and_behind_it_may_be_solid() -> None:
    frame, mask, _ = box_on_a_table()
    seen = observe(crop_object(frame, mask))
    surface = seen.points()[::50]
    inner = surface[np.abs(surface[:, 0]) < 0.03]
    assert (seen.occupancy_bound(0.95 * inner) < 0.0).all()
    assert (seen.occupancy_bound(1.03 * inner) > 0.0).all()
    assert (seen.occupancy_bound(inner + [0.5, 0.0, 0.0]) < 0.0).all()
