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

"""What each pixel of a window shows, with masks and depth as detectors and cameras give them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import trimesh

from lift3d_ros.geometry import Camera
from lift3d_ros.geometry.frame import crop_object
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.observation.labels.evidence import Evidence
from lift3d_ros.observation.labels.pixel_labels import estimate_labels
from lift3d_ros.observation.object_observation import inner_distance
from lift3d_ros.observation.object_observation import Label
from lift3d_ros.observation.object_observation import outline_distance
from lift3d_ros.observation.observed_object import observe
from lift3d_ros.observation.request import LiftRequest
from lift3d_ros.segmentation.depth_pieces import nearest
from lift3d_ros.segmentation.membrane import membrane
from lift3d_ros.synthetic.tabletop import make_scene
from lift3d_ros.synthetic.tabletop import TableSettings

TABLE = TableSettings(elevation=(25.0, 35.0), distance=(0.7, 0.7), window=1.8, table_cells=24)
CAMERA = Camera.from_fov(240, 200, 40.0)
ROWS, COLUMNS = np.mgrid[:200, :240]

#: A board of 0.8 m distance before a wall, and its pixels.
BOARD = (abs(COLUMNS - 120) < 40) & (abs(ROWS - 110) < 50)


def can():
    """Return a can that stands on z = 0."""
    mesh = trimesh.creation.cylinder(0.033, 0.12, sections=48)
    vertices = np.asarray(mesh.vertices, np.float32) + np.float32([0.0, 0.0, 0.06])
    colors = np.tile(np.array([190, 60, 50], np.uint8), (len(vertices), 1))
    return Mesh(vertices, np.asarray(mesh.faces, np.int32), colors)


def board_scene():
    """Return depth and image of the board before a wall, with a millimetre of noise."""
    depth = np.where(BOARD, 0.8, 1.3)
    image = np.where(BOARD[..., None], [200, 180, 40], [120, 120, 125]).astype(np.uint8)
    noise = 0.001 * np.random.default_rng(0).standard_normal(depth.shape)
    return (depth + noise).astype(np.float32), image


def labels_of(depth, image, mask, **settings):
    """Return the labels of a window without a support plane."""
    return estimate_labels(Evidence(CAMERA, image, mask, 3.0, depth), **settings)


def moved(mask, right, down):
    """Return a mask that is moved by pixels."""
    return np.roll(mask, (down, right), (0, 1))


def iou(a, b):
    """Return the intersection over union of two masks."""
    return np.count_nonzero(a & b) / np.count_nonzero(a | b)


def observed(scene, mask):
    """Return the observation of a scene with a mask, and its window."""
    seen = observe(crop_object(scene.frame, mask), LiftRequest(mask), np.random.default_rng(0))
    camera = seen.observation.camera
    left = round(scene.frame.camera.cx - camera.cx)
    top = round(scene.frame.camera.cy - camera.cy)
    height, width = seen.observation.mask.shape
    return seen.observation, np.s_[top:top + height, left:left + width]


@pytest.mark.parametrize('right, down', [(8, 0), (-6, 6), (0, -8)])
def test_background_in_a_displaced_mask_is_background(right, down):
    """The readings decide what is the object where the mask is some pixels beside it."""
    depth, image = board_scene()
    found = labels_of(depth, image, moved(BOARD, right, down))
    assert np.count_nonzero(found.measured & ~BOARD) < 0.002 * BOARD.sum()
    assert np.count_nonzero(found.measured & BOARD) > 0.97 * BOARD.sum()
    assert (found.label[~BOARD] == Label.BACKGROUND).mean() > 0.99
    assert (found.probability >= 0.5).all()


def test_a_mask_that_is_too_small_grows_to_the_edge_of_the_object():
    """The surface of the object continues to its edge."""
    depth, image = board_scene()
    small = cv2.erode(BOARD.astype(np.uint8), np.ones((9, 9), np.uint8)).astype(bool)
    assert iou(small, BOARD) < 0.85
    assert iou(labels_of(depth, image, small).mask, BOARD) > 0.97


def test_pixels_without_readings_are_unknown_and_stay_in_the_mask():
    """A hole of the depth says nothing of the object."""
    depth, image = board_scene()
    hole = BOARD & (abs(ROWS - 110) < 12) & (COLUMNS > 120)
    depth[hole] = 0.0
    found = labels_of(depth, image, BOARD)
    assert (found.label[hole] == Label.UNKNOWN).all()
    assert found.mask[hole].all()
    assert not found.measured[hole].any()


def rod():
    """Return the pixels of a rod from above that touches the board, and its depth."""
    pixels = (abs(COLUMNS - 120) < 7) & (ROWS < 90)
    # It is as near as the board where it touches it.
    return pixels, 0.62 + 0.18 * np.clip(ROWS / 90.0, 0.0, 1.0)


@pytest.mark.parametrize('gap', [0, 4])
def test_a_rod_that_touches_the_object_is_an_occluder_up_to_the_contact(gap):
    """A suction cup is outside of the mask; the object continues behind it."""
    depth, image = board_scene()
    pixels, distance = rod()
    depth = np.where(pixels, distance, depth).astype(np.float32)
    image[pixels] = 20
    # Active stereo has no readings around thin things in front of others.
    around = cv2.dilate(pixels.astype(np.uint8), np.ones((2 * gap + 1,) * 2, np.uint8)) > 0
    depth[around & ~pixels] = 0.0
    found = labels_of(depth, image, BOARD & ~pixels)
    covered = pixels & BOARD
    assert found.occluder[covered].mean() > 0.9
    assert found.measured[pixels].mean() < 0.05


def test_a_piece_of_an_occluder_in_the_mask_is_an_occluder():
    """A mask that takes in a part of a rod has no readings of the rod."""
    depth, image = board_scene()
    pixels, distance = rod()
    depth = np.where(pixels, distance - 0.1, depth).astype(np.float32)
    image[pixels] = 20
    mask = BOARD & ~(pixels & (COLUMNS < 121))
    found = labels_of(depth, image, mask)
    inside = pixels & mask
    assert (found.label[inside] == Label.OCCLUDER).mean() > 0.9


def test_a_narrow_observation_has_no_occluder_outside_the_hull():
    """Methods that predict nothing beyond the hull of the mask get no occluder there."""
    depth, image = board_scene()
    beside = (abs(COLUMNS - 165) < 6) & (abs(ROWS - 110) < 50)
    depth[beside] = 0.6
    wide = labels_of(depth, image, BOARD)
    narrow = labels_of(depth, image, BOARD, wide=False)
    assert wide.occluder[beside].mean() > 0.9
    assert not narrow.occluder.any()


def test_a_wall_that_comes_nearer_elsewhere_is_no_occluder():
    """A wall or table beside the object is behind it there, however near it is elsewhere."""
    depth, image = board_scene()
    slanted = 0.9 - 0.004 * (COLUMNS - 160)
    depth = np.where(BOARD, depth, slanted).astype(np.float32)
    assert (depth[~BOARD] < 0.75).any()
    assert not labels_of(depth, image, BOARD).occluder.any()


def test_the_support_plane_is_labelled_and_leaves_the_mask():
    """On a table, a displaced mask holds the can and nothing of the table."""
    scene = make_scene(can(), 1, TABLE)
    mask = moved(scene.mask, 6, 5)
    seen, window = observed(scene, mask)
    true = scene.mask[window]
    assert iou(mask, scene.mask) < 0.85
    assert iou(seen.mask, true) > 0.93
    assert np.count_nonzero(seen.measured & ~true) < 0.005 * true.sum()
    readings = seen.readings > 0.0
    assert (seen.label[readings & ~true] == Label.PLANE).mean() > 0.9


def test_the_membrane_continues_a_plane_and_keeps_what_is_decoupled_apart():
    """Harmonic interpolation reproduces linear functions; no value crosses an edge."""
    linear = (0.4 + 0.002 * COLUMNS + 0.003 * ROWS).astype(np.float32)
    known = ~((abs(COLUMNS - 120) < 30) & (abs(ROWS - 100) < 25))
    filled = membrane(np.where(known, linear, 0.0), known.astype(np.float32))
    assert np.abs(filled - linear)[~known].max() < 0.01
    target = (COLUMNS < 101).astype(np.float32)
    seeds = ((COLUMNS < 5) | (COLUMNS > 235)).astype(np.float32)
    right = np.ones(target.shape, np.float32)
    right[:, 100] = 0.0
    halves = membrane(target, seeds, right)
    np.testing.assert_allclose(halves, target, atol=0.35)


@pytest.mark.parametrize('smooth', [False, True])
@pytest.mark.parametrize('shape', [(1, 30), (30, 1), (12, 12), (25, 24), (57, 90), (64, 33)])
def test_the_membrane_of_any_window_is_the_least_energy(shape, smooth):
    """Compared with the exact solution of the linear system; half of the resolution is coarser."""
    rng = np.random.default_rng(sum(shape))
    target = cv2.GaussianBlur(rng.random(shape, np.float32), (0, 0), 2.0)
    strength = np.full(shape, 0.3, np.float32)
    found = membrane(target, strength, smooth=smooth)
    number = np.arange(target.size).reshape(shape)
    matrix = np.diag(strength.ravel().astype(np.float64))
    for i, j in ((number[:, :-1], number[:, 1:]), (number[:-1], number[1:])):
        for a, b in zip(i.ravel(), j.ravel(), strict=True):
            matrix[[a, b], [a, b]] += 1.0
            matrix[[a, b], [b, a]] -= 1.0
    exact = np.linalg.solve(matrix, (strength * target).ravel()).reshape(shape)
    np.testing.assert_allclose(found, exact, atol=0.05 if smooth else 0.005)


def test_distances_are_those_to_the_nearest_pixels():
    """Checked against all pairs of pixels, also for a mask that touches the border."""
    rng = np.random.default_rng(3)
    known = cv2.GaussianBlur(rng.random((40, 31)), (0, 0), 2.0) > 0.52
    known[:, :3] = True
    v, u = np.indices(known.shape)
    away, rows, columns = nearest(known)
    apart = np.hypot(v[..., None] - v[known], u[..., None] - u[known]).min(axis=-1)
    np.testing.assert_allclose(away, apart, atol=1e-5)
    assert known[rows, columns].all()
    np.testing.assert_allclose(np.hypot(rows - v, columns - u), apart, atol=1e-5)
    inner = np.hypot(v[..., None] - v[~known], u[..., None] - u[~known]).min(axis=-1)
    np.testing.assert_allclose(inner_distance(known), inner, atol=1e-4)
    np.testing.assert_allclose(
        outline_distance(known), np.where(known, inner - 0.5, 0.5 - apart), atol=1e-4)
