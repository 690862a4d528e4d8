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


"""The measures of the benchmark, on shapes whose measures are known."""

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
from lift3d_ros.bench.metrics.alignment import align
from lift3d_ros.bench.metrics.color_error import color_errors
from lift3d_ros.bench.metrics.color_error import lit_colors
from lift3d_ros.bench.metrics.color_error import visible_from
from lift3d_ros.bench.prediction import Prediction
from lift3d_ros.bench.prediction import Truth
from lift3d_ros.bench.score import score
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import look_at
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.meshing.render import Light


def between(predicted, true):
    """Return the distances between two meshes."""
    return metrics.distances(
        metrics.sample_surface(predicted), metrics.sample_surface(true, seed=1)
    )


# In place


def test_concentric_spheres_are_the_difference_of_their_radii_apart():
    apart = between(sphere(0.06), sphere(0.05))
    assert apart.chamfer() == pytest.approx(0.01, rel=0.01)
    assert apart.f_score(0.0095) == 0.0
    assert apart.f_score(0.0105) == 1.0


def test_concentric_spheres_overlap_by_the_cube_of_their_ratio():
    assert metrics.volume_iou(sphere(0.04), sphere(0.05)) == pytest.approx(0.512, abs=0.01)


@pytest.mark.parametrize('shift', [0.02, 0.05, 0.08])
def test_spheres_apart_overlap_by_the_lens_between_them(shift):
    radius = 0.05
    lens = np.pi * (4 * radius + shift) * (2 * radius - shift) ** 2 / 12
    expected = lens / (2 * 4 / 3 * np.pi * radius**3 - lens)
    measured = metrics.volume_iou(sphere(radius, (shift, 0.0, 0.0)), sphere(radius))
    assert measured == pytest.approx(expected, abs=0.01)


def test_what_does_not_touch_does_not_overlap():
    assert metrics.volume_iou(sphere(0.05, (0.2, 0.0, 0.0)), sphere(0.05)) == 0.0


def test_a_thin_plate_is_measured_as_finely_as_a_ball():
    plate, above = box((0.3, 0.3, 0.002)), box((0.3, 0.3, 0.002), (0.0, 0.0, 0.001))
    assert metrics.volume_iou(plate, plate) == 1.0
    assert metrics.volume_iou(above, plate) == pytest.approx(1 / 3, abs=0.03)


def test_a_scan_with_a_hole_still_has_an_inside():
    ball = sphere(0.05)
    away = ball.vertices[ball.faces].mean(axis=1)[:, 2] < 0.045
    open_ball = Mesh(ball.vertices, ball.faces[away], ball.colors)
    assert not open_ball.is_watertight()
    assert metrics.volume_iou(ball, open_ball) > 0.97


def test_a_shape_is_as_near_to_itself_as_the_sampling_allows():
    apart = between(wedge(), wedge())
    assert apart.chamfer() < 0.006 * metrics.diagonal(wedge())
    assert apart.f_score(0.02 * metrics.diagonal(wedge())) == 1.0


def test_an_empty_prediction_is_infinitely_far():
    apart = metrics.distances(np.zeros((0, 3)), metrics.sample_surface(sphere()))
    assert apart.chamfer() == np.inf
    assert apart.f_score(1.0) == 0.0


def test_precision_and_recall_count_alike():
    # Half of the prediction is right, and all of the truth is found.
    line = np.stack([np.linspace(0.0, 1.0, 101), np.zeros(101), np.zeros(101)], axis=1)
    apart = metrics.distances(np.concatenate([line, line + [0.0, 1.0, 0.0]]), line)
    assert apart.f_score(0.1) == pytest.approx(2 * 0.5 * 1.0 / 1.5)


def test_a_shift_is_an_error_of_the_centre_and_not_of_the_scale():
    true, predicted = box().vertices, box(middle=(0.03, 0.0, 0.04)).vertices
    assert metrics.centre_error(predicted, true) == pytest.approx(0.05)
    assert metrics.scale_error(predicted, true) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize('factor', [0.5, 1.5, 2.0])
def test_a_wrong_size_is_an_error_of_the_scale_and_not_of_the_centre(factor):
    true = box().vertices
    assert metrics.scale_error(factor * true, true) == pytest.approx(abs(factor - 1.0))
    assert metrics.centre_error(factor * true, true) == pytest.approx(0.0, abs=1e-9)


def test_points_are_spread_by_area_and_carry_the_normal_of_their_face():
    points, normals = metrics.sample_with_normals(box((0.2, 0.1, 0.1)), 10_000)
    long_sides = (np.abs(normals[:, 1:]).max(axis=1) > 0.5).mean()
    assert long_sides == pytest.approx(0.8, abs=0.01)
    np.testing.assert_allclose(np.einsum('ij,ij->i', points, normals).min(), 0.05, atol=1e-6)


# Aligned


def test_a_cube_turned_upon_itself_is_aligned():
    cube, other = box(), turned(box(), 30.0)
    assert between(other, cube).chamfer() > 0.004
    found = align(metrics.sample_surface(other), metrics.sample_surface(cube, seed=1)).distances
    assert found.chamfer() < 0.03
    assert found.f_score(0.1) == 1.0


@pytest.mark.parametrize(('degrees', 'tilt'), [(0.0, 0.0), (73.0, 0.0), (215.0, 25.0)])
def test_a_turned_tipped_moved_and_scaled_shape_is_aligned(degrees, tilt):
    true = wedge()
    other = turned(turned(true, tilt, (0.0, 1.0, 0.0)), degrees)
    other = Mesh(3.0 * other.vertices + np.float32(0.7), other.faces, other.colors)
    found = align(metrics.sample_surface(other), metrics.sample_surface(true, seed=1))
    assert found.distances.chamfer() < 0.03
    assert found.distances.f_score(0.1) > 0.99


def test_alignment_does_not_make_a_ball_a_rod():
    rod = mesh_of(trimesh.creation.cylinder(0.01, 0.2))
    found = align(metrics.sample_surface(sphere()), metrics.sample_surface(rod)).distances
    assert found.chamfer() > 0.3


def test_normalised_points_fill_the_cube():
    points = metrics.normalise(metrics.sample_surface(box((0.2, 0.1, 0.05), (1.0, 2.0, 3.0))))
    np.testing.assert_allclose(points.min(axis=0), [-1.0, -0.5, -0.25], atol=0.01)
    np.testing.assert_allclose(points.max(axis=0), [1.0, 0.5, 0.25], atol=0.01)


@pytest.mark.parametrize('points', [np.zeros((0, 3)), np.zeros((9, 3)), np.full((9, 3), np.nan)])
def test_nothing_cannot_be_aligned(points):
    with pytest.raises(ValueError, match='surface'):
        align(points, metrics.sample_surface(sphere()))


# Colour

EYE = np.array([1.0, 0.0, 0.0])
RED, BLUE, GREY = (200, 40, 40), (40, 40, 200), (90, 90, 90)


def red_and_blue(mesh, before, behind):
    """Return the mesh with one colour on the side of the eye and another on the other."""
    colors = np.where(mesh.vertices[:, :1] > 0.0, before, behind).astype(np.uint8)
    return Mesh(mesh.vertices, mesh.faces, colors)


def colors_of(predicted, true):
    points, colors = metrics.sample_with_colors(predicted)
    there, wanted = metrics.sample_with_colors(true, seed=1)
    seen = visible_from(EYE, there, metrics.Solid(true))
    return color_errors(points, colors, there, wanted, seen)


def test_half_of_a_ball_is_seen():
    ball = sphere()
    points = metrics.sample_surface(ball)
    seen = visible_from(EYE, points, metrics.Solid(ball))
    assert seen.mean() == pytest.approx(0.475, abs=0.02)
    assert (points[seen][:, 0] > 0.0).all()


def test_darker_light_another_size_and_another_place_are_no_error_of_the_colour():
    true = red_and_blue(sphere(), RED, BLUE)
    dark = red_and_blue(sphere(), RED, BLUE)
    moved = (2.0 * dark.vertices + [0.3, 0.0, 0.1]).astype(np.float32)
    dark = Mesh(moved, dark.faces, dark.colors // 2)
    found = colors_of(dark, true)
    assert found['color_seen'] < 0.02
    assert found['color_hidden'] < 0.03


def test_a_wrong_back_is_an_error_of_what_is_hidden_alone():
    true = red_and_blue(sphere(), RED, BLUE)
    found = colors_of(red_and_blue(sphere(), RED, RED), true)
    assert found['color_seen'] < 0.01
    # Red and blue are both off by 160 of 255, green is right.
    assert found['color_hidden'] == pytest.approx(2.0 / 3.0 * 160.0 / 255.0, rel=0.1)


def test_the_scan_is_compared_as_it_looks_in_the_light():
    ball = red_and_blue(sphere(), GREY, GREY)
    light = Light((1.0, 0.0, 0.0), ambient=0.5, diffuse=0.5)
    points = metrics.sample_surface(ball, seed=1)
    lit = lit_colors(ball, light, seed=1)
    # Its own colour where the light falls straight, half of it on the far side.
    assert lit[points[:, 0] > 0.0495].mean() == pytest.approx(90.0, rel=0.02)
    assert lit[points[:, 0] < 0.0].mean() == pytest.approx(45.0, rel=0.02)
    # Without a light nothing is told; with one the ball itself is off by its shade alone.
    pose = np.linalg.inv(look_at((0.6, 0.1, 0.1), (0.0, 0.0, 0.0)))
    camera = Prediction(mesh=ball.transformed(pose))
    assert 'color_hidden' not in score(camera, Truth(ball, pose))
    told = score(camera, Truth(ball, pose, light))
    assert told['color_hidden'] > 2.0 * told['color_seen'] > 0.0


def test_nothing_is_told_of_a_scan_of_one_colour():
    ball = red_and_blue(sphere(), GREY, GREY)
    assert colors_of(red_and_blue(sphere(), RED, BLUE), ball) == {}


# Confidence


def test_confidence_that_orders_by_error_is_perfect():
    error = np.random.default_rng(0).random(1000)
    assert metrics.ause(1.0 - error, error) == pytest.approx(0.0, abs=1e-12)
    assert metrics.rank_correlation(1.0 - error, error) == pytest.approx(1.0)


def test_confidence_in_the_wrong_order_is_worse_than_none():
    error = np.random.default_rng(7).random(2000)
    guessed = np.random.default_rng(8).random(2000)
    reversed_, none = metrics.ause(error, error), metrics.ause(guessed, error)
    assert reversed_ > 1.8 * none > 0.4
    assert metrics.rank_correlation(error, error) == pytest.approx(-1.0)
    assert abs(metrics.rank_correlation(guessed, error)) < 0.1
    assert metrics.ause(np.ones(2000), error) == pytest.approx(none, abs=0.05)


def test_a_constant_confidence_has_no_rank():
    assert metrics.rank_correlation(np.full(9, 0.5), np.arange(9.0)) is None


def test_the_area_under_sparsification_by_hand():
    # Two vertices, the wrong one dropped first: mean errors 1, 1, ... 0 against 2 / 1 at the end.
    error, confidence = np.array([0.0, 2.0]), np.array([0.1, 0.9])
    kept = np.ceil(2 * (1.0 - np.arange(20) / 20))
    expected = np.where(kept == 2, 0.0, 2.0).mean() / 1.0
    assert metrics.ause(confidence, error) == pytest.approx(expected)


def test_confidence_that_is_the_share_of_the_right_is_calibrated():
    confidence = np.repeat([0.25, 0.75], 400)
    error = np.tile([0.0, 1.0, 1.0, 1.0], 200)
    error[400:] = 1.0 - error[400:]
    bins = metrics.curve(confidence, error, 0.5)
    assert metrics.calibration_error(bins) == pytest.approx(0.0, abs=1e-9)
    assert metrics.calibration_error(metrics.curve(np.ones(4), np.ones(4), 0.5)) == 1.0
    assert sum(entry[0] for entry in bins) == 800


# All of them


@pytest.fixture(scope='module')
def truth():
    """Return a known solid before a camera."""
    pose = np.linalg.inv(look_at((0.4, 0.3, 0.4), (0.0, 0.0, 0.0)))
    return Truth(wedge(), pose)


def test_the_scan_itself_scores_full_marks_wherever_the_camera_is(truth):
    mesh = truth.mesh.transformed(truth.T_camera_object)
    confidence = np.ones(len(mesh.vertices), np.float32)
    figures = score(Prediction(mesh=mesh, confidence=confidence), truth)
    assert figures['iou'] > 0.98
    assert figures['f_2pct'] == 1.0
    assert figures['chamfer_share'] < 0.006
    assert figures['chamfer_share'] == pytest.approx(
        figures['chamfer_mm'] / 1000.0 / truth.diagonal)
    assert figures['centre_mm'] < 0.01
    assert figures['scale_error'] < 1e-5
    assert figures['aligned_cd'] < 0.03
    assert figures['calibration_error'] == pytest.approx(0.0)


@pytest.mark.parametrize(('told', 'right'), [(30.0, 1.0), (20.0, 0.0)])
def test_a_place_is_as_said_if_it_is_off_by_no_more_than_its_deviation(truth, told, right):
    moved = np.eye(4)
    moved[0, 3] = 0.025
    mesh = truth.mesh.transformed(truth.T_camera_object @ moved)
    notes = {'scale_source': 'depth', 'centre_stddev_mm': told, 'scale_stddev': 0.01}
    figures = score(Prediction(mesh=mesh, notes=notes), truth)
    assert figures['centre_as_said'] == right
    assert figures['scale_as_said'] == 1.0
    unknown = score(Prediction(mesh=mesh, notes={**notes, 'scale_source': 'unknown'}), truth)
    assert not {'centre_as_said', 'scale_as_said'} & set(unknown)


def test_a_cloud_has_neither_volume_nor_confidence(truth):
    points = metrics.sample_surface(truth.mesh.transformed(truth.T_camera_object), 30_000)
    figures = score(Prediction(points=points), truth, grasp=True)
    assert figures['f_2pct'] == 1.0
    assert not {'iou', 'watertight', 'ause', 'grasp_top_1'} & set(figures)


def test_nothing_is_no_prediction(truth):
    with pytest.raises(LiftError, match='neither a mesh nor points'):
        score(Prediction(), truth)
