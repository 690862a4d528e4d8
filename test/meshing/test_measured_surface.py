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

"""The measured surface is the most probable one behind the readings, with its slope."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from lift3d_ros.geometry import Camera
from lift3d_ros.meshing.measured_surface import estimate_surface
from lift3d_ros.observation.cleaning import outline_distance
from lift3d_ros.observation.object_observation import Label
from lift3d_ros.observation.object_observation import ObjectObservation

CAMERA = Camera(200, 160, 300.0, 300.0, 100.0, 80.0)
RAYS = CAMERA.rays()


def plane(normal: tuple[float, float, float], distance: float = 0.5) -> np.ndarray:
    """Return the depth of a plane that the axis meets at a distance, metres."""
    n = np.array(normal) / np.linalg.norm(normal)
    return distance * n[2] / (RAYS @ n)


def observation(
    depth: np.ndarray, sigma: float, measured: np.ndarray | None = None
) -> ObjectObservation:
    shape = depth.shape
    mask = np.ones(shape, bool)
    measured = mask if measured is None else measured
    none = np.zeros(shape, bool)
    return ObjectObservation(
        camera=CAMERA, image=np.zeros((*shape, 3), np.uint8), mask=mask, occluder=none,
        depth=depth.astype(np.float32), measured=measured,
        surroundings=np.zeros(shape, np.float32), outline=outline_distance(mask),
        thickness=np.zeros(shape, np.float32),
        sigma=np.where(measured, np.float32(sigma), np.float32(np.inf)),
        detection=mask, readings=np.where(measured, depth, 0.0).astype(np.float32),
        label=np.where(measured, Label.OBJECT, Label.UNKNOWN).astype(np.uint8),
        probability=np.ones(shape, np.float32),
    )


def bumps(stddev: float, seed: int = 0) -> np.ndarray:
    """Return noise whose neighbours are correlated, as that of stereo cameras is."""
    noise = cv2.GaussianBlur(np.random.default_rng(seed).normal(size=(160, 200)), (0, 0), 2.5)
    return stddev * noise / noise.std()


@pytest.mark.parametrize('normal', [(0, 0, -1), (0.6, 0, -1), (0.5, 1.0, -1)])
def test_a_noisy_plane_becomes_a_plane(normal):
    true = plane(normal)
    seen = observation(true + bumps(0.001), 0.001)
    found = estimate_surface(seen)
    error = found.depth - true
    assert error.std() < 0.5 * 0.001
    assert np.abs(error).max() < 3.0 * 0.001


@pytest.mark.parametrize('normal', [(0, 0, -1), (0.6, 0, -1), (0.5, 1.0, -1)])
def test_distances_behind_a_plane_are_those_along_its_normal(normal):
    n = np.array(normal) / np.linalg.norm(normal)
    found = estimate_surface(observation(plane(normal) + bumps(0.0005), 0.0005))
    on_plane = 0.5 * RAYS[60:100:7, 70:130:7].reshape(-1, 3)
    on_plane = on_plane * (n[2] / (on_plane @ n) * 0.5)[:, None]
    behind, _ = found.thickness_at(on_plane - 0.01 * n)
    np.testing.assert_allclose(behind, 0.01, atol=0.0015)
    np.testing.assert_allclose(found.behind(on_plane - 0.01 * n), behind)
    assert (found.occupancy_bound(on_plane + 0.01 * n) < -0.008).all()


def test_the_edge_of_a_box_and_a_step_stay_where_they_are():
    ridge = np.maximum(plane((0.8, 0.0, -1.0)), plane((-0.8, 0.0, -1.0)))
    noise = bumps(0.0004)
    found = estimate_surface(observation(ridge + noise, 0.0004)).depth
    assert np.abs(found - ridge)[:, 95:105].max() < 0.0012
    step = np.where(np.arange(200) < 90, 0.45, 0.5) * np.ones((160, 1))
    found = estimate_surface(observation(step + noise, 0.0004)).depth
    assert np.abs(found - step).max() < 0.0013


def test_a_curved_surface_does_not_shrink():
    x = RAYS[..., 0] * 0.5
    cylinder = 0.5 - np.sqrt(np.maximum(0.2**2 - x**2, 0.0)) + 0.2
    found = estimate_surface(observation(cylinder + bumps(0.001), 0.001)).depth
    error = (found - cylinder)[20:-20, 20:-20]
    assert abs(error.mean()) < 0.00015
    assert error.std() < 0.0008


def test_exact_readings_stay():
    depth = 0.5 + 0.01 * np.sin(np.arange(200) / 12.0) * np.ones((160, 1))
    found = estimate_surface(observation(depth, 0.0002)).depth
    assert np.abs(found - depth).max() < 3.0 * 0.0002


def test_nothing_measured_and_no_depth_are_left_alone():
    seen = observation(plane((0, 0, -1)), 0.001, np.zeros((160, 200), bool))
    assert estimate_surface(seen) is seen
    without = replace(seen, depth=None)
    assert estimate_surface(without) is without


def test_space_in_front_of_readings_and_beside_the_mask_is_free():
    seen = observation(plane((0, 0, -1)), 0.001)
    mask = np.zeros((160, 200), bool)
    mask[40:120, 50:150] = True
    mask[70:80, 60:70] = False
    measured = mask.copy()
    measured[90:110, 90:120] = False
    seen = replace(
        seen, mask=mask, measured=measured, outline=outline_distance(mask),
        sigma=np.where(measured, np.float32(0.001), np.float32(np.inf)),
    )

    def free(u: float, v: float, z: float) -> bool:
        return bool(seen.seen_free(CAMERA.unproject(u, v, z)[None], 0.004)[0])

    assert free(75, 60, 0.48)
    assert not free(75, 60, 0.497)
    assert not free(75, 60, 0.52)
    # Behind the object, beside its outline, and through its hole.
    assert free(30, 60, 0.7)
    assert free(65, 75, 0.7)
    assert not free(51, 60, 0.7)
    # In front of a patch without readings, surface of the object may be as near as beside it.
    assert free(94, 94, 0.48)
    assert not free(105, 100, 0.48)
