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

"""Depth sensors: the errors that each kind makes, and those that it does not."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import rigid
from lift3d_ros.geometry import unit
from lift3d_ros.synthetic.image_degradation import ImageErrors
from lift3d_ros.synthetic.masks import ColorSegmenter
from lift3d_ros.synthetic.masks import SegmenterErrors
from lift3d_ros.synthetic.sensors.active_stereo import ActiveStereo
from lift3d_ros.synthetic.sensors.registration import align_depth
from lift3d_ros.synthetic.sensors.structured_light import StructuredLight
from lift3d_ros.synthetic.sensors.surfaces import Dropout
from lift3d_ros.synthetic.sensors.surfaces import Surfaces
from lift3d_ros.synthetic.sensors.time_of_flight import SATURATED_M
from lift3d_ros.synthetic.sensors.time_of_flight import TimeOfFlight

CAMERA = Camera(200, 160, 400.0, 400.0, 99.5, 79.5)
EVERYWHERE = Dropout(0.0, 0.0, 0.1, 0.0, 0.1, 0.0)


def surfaces(depth, reflectance=0.8, normals=None, camera=CAMERA):
    """Return surfaces at a depth, a number or an image, that face the camera."""
    shape = (camera.height, camera.width)
    true = np.broadcast_to(np.float32(depth), shape).astype(np.float32)
    rays = unit(camera.rays())
    if normals is None:
        normals = -rays
    facing = -np.einsum('ijk,ijk->ij', normals, rays)
    return Surfaces(
        true, normals.astype(np.float32), np.maximum(facing, 0.0).astype(np.float32),
        np.full(shape, reflectance, np.float32), np.zeros(shape, np.float32))


def step(left=0.6, right=1.0):
    """Return depth with a step in the middle column."""
    depth = np.full((160, 200), right, np.float32)
    depth[:, :100] = left
    return depth


def test_the_error_of_stereo_grows_with_the_square_of_the_distance():
    sensor = ActiveStereo(dropout=EVERYWHERE, edge_dropout=0.0, subpixel=64, step_m=1e-4)
    spread = {}
    for distance in (0.6, 1.2):
        depth = np.concatenate([
            sensor.measure(surfaces(distance), CAMERA, np.random.default_rng(seed))[:, 40:]
            for seed in range(6)])
        spread[distance] = (depth - distance).std()
    assert spread[1.2] / spread[0.6] == pytest.approx(4.0, rel=0.15)
    # One pixel of disparity is z^2 / (f b) of depth.
    expected = 0.6**2 / (400.0 * 0.05) * np.hypot(0.12, 0.06) * 1.2
    assert spread[0.6] == pytest.approx(expected, rel=0.2)


def test_stereo_noise_is_bumps_and_a_temporal_filter_leaves_them():
    def roughness(frames):
        sensor = ActiveStereo(
            dropout=EVERYWHERE, edge_dropout=0.0, subpixel=64, step_m=1e-4, frames=frames)
        return sensor.measure(surfaces(0.8), CAMERA, np.random.default_rng(0))[:, 40:] - 0.8

    single, filtered = roughness(1), roughness(100)
    beside = np.corrcoef(filtered[:, :-2].ravel(), filtered[:, 2:].ravel())[0, 1]
    assert beside > 0.9
    assert np.diff(filtered).std() < 0.6 * np.diff(single).std()
    assert filtered.std() > 0.7 * single.std()


def test_near_surface_grows_over_an_edge_and_hides_background_from_the_other_imager():
    plain = ActiveStereo(
        dropout=EVERYWHERE, edge_dropout=0.0, fattening_px=0.0, shadow_filled=0.0)
    grown = replace(plain, fattening_px=4.0)
    # The second imager is at the right: it does not see what is left of a near surface.
    scene = surfaces(step(1.0, 0.6))
    width = 400.0 * 0.05 * (1.0 / 0.6 - 1.0)
    depth = plain.measure(scene, CAMERA, np.random.default_rng(0))
    hidden = np.count_nonzero(depth[:, 60:100] == 0.0) / 160
    assert hidden == pytest.approx(width, abs=2.5)
    depth = grown.measure(scene, CAMERA, np.random.default_rng(0))
    near = (depth[:, 90:100] > 0.5) & (depth[:, 90:100] < 0.7)
    assert 0.8 < near.sum() / 160 < 4.5


@pytest.mark.parametrize('sensor', [ActiveStereo(), StructuredLight()])
def test_dark_and_grazing_surface_has_holes(sensor):
    tilted = np.broadcast_to(unit((0.995, 0.0, -0.1)), (160, 200, 3))
    rng = np.random.default_rng(0)
    clear = sensor.measure(surfaces(0.8), CAMERA, rng)[:, 60:140]
    dark = sensor.measure(surfaces(0.8, reflectance=0.01), CAMERA, rng)[:, 60:140]
    grazing = sensor.measure(surfaces(0.8, normals=tilted), CAMERA, rng)[:, 60:140]
    assert (clear == 0.0).mean() < 0.03
    assert (dark == 0.0).mean() > 0.3
    assert (grazing == 0.0).mean() > 0.2


def test_a_glossy_surface_that_faces_the_projector_has_holes():
    scene = surfaces(0.8)
    glossy = replace(scene, highlight=np.full((160, 200), 0.5, np.float32))
    depth = ActiveStereo().measure(glossy, CAMERA, np.random.default_rng(0))
    assert (depth[:, 60:] == 0.0).mean() > 0.7


def test_readings_are_whole_steps_of_disparity_and_of_millimetres():
    sensor = StructuredLight(dropout=EVERYWHERE)
    depth = sensor.measure(surfaces(1.5), CAMERA, np.random.default_rng(0))
    readings = np.unique(depth[depth > 0.0])
    np.testing.assert_allclose(readings * 1000.0, np.rint(readings * 1000.0), atol=1e-3)
    disparity = 8.0 * 400.0 * 0.075 / readings
    # Half a millimetre at 1.5 m is 0.05 of a step.
    np.testing.assert_allclose(disparity, np.rint(disparity), atol=0.06)


@pytest.mark.parametrize('right', [True, False])
def test_the_shadow_of_structured_light_is_on_one_side(right):
    sensor = StructuredLight(dropout=EVERYWHERE, projector_right=right, jitter_px=0.0)
    depth = np.full((160, 200), 1.2, np.float32)
    depth[:, 80:120] = 0.6
    measured = sensor.measure(surfaces(depth), CAMERA, np.random.default_rng(0))
    sides = (measured[:, 45:80] == 0.0).mean(), (measured[:, 120:155] == 0.0).mean()
    assert sides[0 if right else 1] > 0.5
    assert sides[1 if right else 0] < 0.05


def test_light_between_two_walls_makes_a_corner_look_farther():
    u = np.arange(200) - 99.5
    slope = np.abs(u) / 400.0
    # Two walls at right angles: z + |x| = 1.
    depth = np.broadcast_to((1.0 / (1.0 + slope)).astype(np.float32), (160, 200))
    normals = np.zeros((160, 200, 3))
    normals[..., 0], normals[..., 2] = -np.sign(u) * np.sqrt(0.5), -np.sqrt(0.5)
    scene = surfaces(depth, normals=normals)
    quiet = TimeOfFlight(
        wiggle_m=0.0, bump_m=0.0, intensity_m=0.0, noise_m=1e-5, dropout=EVERYWHERE, step_m=1e-5)
    errors = {}
    for strength in (0.0, 1.0):
        sensor = replace(quiet, multipath=strength)
        measured = sensor.measure(scene, CAMERA, np.random.default_rng(0))
        errors[strength] = (measured - depth)[40:120, 20:180]
    assert abs(np.median(errors[0.0])) < 2e-4
    assert np.median(errors[1.0]) > 2e-3


def test_pixels_on_an_edge_mix_both_surfaces_unless_discarded():
    quiet = TimeOfFlight(
        wiggle_m=0.0, bump_m=0.0, intensity_m=0.0, noise_m=1e-4, multipath=0.0,
        dropout=EVERYWHERE, scatter_px=0.8)
    scene = surfaces(step())
    kept = replace(quiet, mixed_kept=1.0).measure(scene, CAMERA, np.random.default_rng(0))
    between = (kept > 0.63) & (kept < 0.97)
    assert between[:, 98:102].sum() / 160 > 0.8
    assert not between[:, :95].any()
    gone = replace(quiet, mixed_kept=0.0, mixed_px=2).measure(
        scene, CAMERA, np.random.default_rng(0))
    assert not ((gone > 0.63) & (gone < 0.97)).any()
    assert (gone[:, 98:102] == 0.0).mean() > 0.8


def test_an_edge_before_surface_too_dark_to_measure_is_not_mixed():
    quiet = TimeOfFlight(
        wiggle_m=0.0, bump_m=0.0, intensity_m=0.0, noise_m=1e-5, multipath=0.0,
        dropout=EVERYWHERE, scatter_px=0.3, mixed_kept=0.0, mixed_px=3)
    kept = {}
    for reflectance in (0.8, 0.01):
        scene = surfaces(step())
        scene.reflectance[:, 100:] = reflectance
        depth = quiet.measure(scene, CAMERA, np.random.default_rng(0))
        kept[reflectance] = (depth[:, 97:100] > 0.0).mean()
    assert kept[0.8] < 0.1
    assert kept[0.01] > 0.9


def test_what_reflects_too_little_has_no_reading_of_time_of_flight():
    sensor = TimeOfFlight(saturated=True)
    dark = sensor.measure(surfaces(1.5, reflectance=0.02), CAMERA, np.random.default_rng(0))
    assert (dark == np.float32(SATURATED_M)).all()
    bright = sensor.measure(surfaces(0.8), CAMERA, np.random.default_rng(0))
    assert (bright < 1.0).mean() > 0.95


# Registration


def test_aligned_depth_is_seen_from_the_image_and_displaced_by_the_error():
    color = Camera(400, 320, 800.0, 800.0, 199.5, 159.5)
    depth = np.full((160, 200), 1.0, np.float32)
    depth[60:100, 80:120] = 0.5
    T = rigid(np.eye(3), [-0.02, 0.0, 0.0])
    aligned = align_depth(depth, CAMERA, color, T)
    near = np.argwhere(np.isclose(aligned, 0.5))
    # 0.02 m at 0.5 m and a focal length of 800 px are 32 px to the left.
    assert near[:, 1].mean() == pytest.approx(199.5 - 32.0, abs=1.0)
    assert len(near) == pytest.approx(80 * 80, rel=0.04)
    # What the square hides from the depth camera has no reading: 16 px between 0.5 and 1 m.
    row = aligned[160, 100:300]
    assert np.count_nonzero(row == 0.0) == pytest.approx(16, abs=2)
    moved = align_depth(depth, CAMERA, color, T, (3.0, -2.0))
    shift = np.argwhere(np.isclose(moved, 0.5)).mean(axis=0) - near.mean(axis=0)
    np.testing.assert_allclose(shift, (-2.0, 3.0), atol=0.1)


# Masks and images


def disc(radius=40):
    """Return a disc in the middle of an image."""
    v, u = np.indices((200, 200))
    return np.hypot(v - 100, u - 100) < radius


NO_ERRORS = SegmenterErrors((0.0, 0.0), 0.0, 4.0, 0.0, 0, 0.0, missing=0.0, leak=0.0, shadow=0.0)


def test_a_segmenter_without_errors_returns_the_mask():
    mask = NO_ERRORS.apply(disc(), np.random.default_rng(0))
    assert np.count_nonzero(mask ^ disc()) < 0.01 * np.count_nonzero(disc())


@pytest.mark.parametrize(('errors', 'extra', 'lost'), [
    (replace(NO_ERRORS, bias_px=(3.0, 3.0)), (0.10, 0.22), (0.0, 0.0)),
    (replace(NO_ERRORS, bias_px=(-3.0, -3.0)), (0.0, 0.0), (0.10, 0.20)),
    (replace(NO_ERRORS, holes=1.0, hole_share=(0.05, 0.05)), (0.0, 0.0), (0.002, 0.2)),
    (replace(NO_ERRORS, missing=1.0, missing_share=(0.1, 0.1)), (0.0, 0.0), (0.08, 0.12)),
    (replace(NO_ERRORS, leak=1.0, leak_px=8.0), (0.005, 0.3), (0.0, 0.0)),
    (replace(NO_ERRORS, cells=6), (0.0, 0.2), (0.0, 0.2)),
])
def test_each_error_of_a_segmenter_adds_or_removes_what_it_says(errors, extra, lost):
    exact = disc()
    for seed in range(4):
        mask = errors.apply(exact, np.random.default_rng(seed))
        area = np.count_nonzero(exact)
        assert extra[0] <= np.count_nonzero(mask & ~exact) / area <= extra[1] + 0.01
        assert lost[0] <= np.count_nonzero(exact & ~mask) / area <= lost[1] + 0.01


def test_a_shadow_may_be_included():
    shadow = np.zeros((200, 200), bool)
    shadow[130:150, 90:170] = True
    mask = replace(NO_ERRORS, shadow=1.0).apply(disc(), np.random.default_rng(0), shadow)
    assert mask[shadow].all()


def test_a_shadow_far_from_the_object_is_not_included():
    shadow = np.zeros((200, 200), bool)
    shadow[160:185, 60:140] = True
    mask = replace(NO_ERRORS, shadow=1.0).apply(disc(), np.random.default_rng(0), shadow)
    assert not mask[shadow].any()
    # A held object may throw one part onto its neighbour, another far away.
    shadow[130:150, 90:170] = True
    mask = replace(NO_ERRORS, shadow=1.0).apply(disc(), np.random.default_rng(0), shadow)
    assert mask[130:150, 90:170].all()
    assert not mask[160:].any()


def test_a_mask_by_colour_misses_the_label_and_takes_background_of_the_same_colour():
    image = np.full((200, 200, 3), (90, 90, 90), np.uint8)
    image[disc()] = (220, 190, 20)
    image[100:112, 80:120] = (30, 60, 160)
    image[100:110, 138:150] = (220, 190, 20)
    mask = ColorSegmenter(filled=0.0).apply(disc(), image, np.random.default_rng(0))
    assert not mask[104:108, 92:108].any()
    assert mask[60:95, 100].mean() > 0.9
    assert not mask[100, 155:].any()
    grey = np.full((200, 200, 3), 90, np.uint8)
    assert ColorSegmenter().apply(disc(), grey, np.random.default_rng(0)) is None


def test_motion_blur_exposure_and_compression_change_an_image():
    image = np.zeros((120, 160, 3), np.uint8)
    image[40:80, 60:100] = (200, 80, 40)
    none = ImageErrors(0.0, (2.0, 2.0), 0.0, 0.0, (1.0, 1.0), 0.0, (0.0, 0.0), 0.0)
    np.testing.assert_allclose(
        none.apply(image, np.random.default_rng(0)).astype(int), image, atol=1)
    blurred = replace(none, blurred=1.0, blur_px=(7.0, 7.0))
    soft = blurred.apply(image, np.random.default_rng(1))
    assert cv2.Laplacian(soft, cv2.CV_32F).std() < 0.8 * cv2.Laplacian(image, cv2.CV_32F).std()
    dark = replace(none, exposure=1.0)
    means = {dark.apply(image, np.random.default_rng(seed)).mean().round() for seed in range(6)}
    assert len(means) > 3
    squeezed = replace(none, compressed=1.0, quality=(30, 31))
    assert (squeezed.apply(image, np.random.default_rng(0)) != image).any()
