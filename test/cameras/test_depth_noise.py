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

"""The standard deviation of readings, estimated from the frame."""

from __future__ import annotations

import numpy as np
import pytest

from lift3d_ros.cameras.depth_noise import depth_stddev
from lift3d_ros.geometry import Camera

GREY = np.full((120, 160, 3), 120, np.uint8)


def plane(tilt_deg, distance=0.8):
    """Return the depth of a plane that is tilted against the image, float64 metres."""
    normal = np.array([0.0, np.sin(np.radians(tilt_deg)), np.cos(np.radians(tilt_deg))])
    return distance * normal[2] / (Camera.from_fov(160, 120, 50.0).rays() @ normal)


@pytest.mark.parametrize('disparity_stddev', [0.001, 0.004])
def test_the_noise_of_a_plane_is_found(disparity_stddev):
    """Independent noise of the inverse depth comes back, at every distance of the plane."""
    true = plane(20.0)
    noise = disparity_stddev * true**2
    rng = np.random.default_rng(0)
    readings = (true + noise * rng.standard_normal(true.shape)).astype(np.float32)
    sigma = depth_stddev(readings, GREY)
    ratio = sigma / noise
    assert 0.9 < np.median(ratio) < 1.6
    assert sigma[0].mean() / sigma[-1].mean() == pytest.approx(
        (true[0].mean() / true[-1].mean()) ** 2, rel=0.3)


def test_noise_is_larger_on_slopes_and_dark_surfaces_and_infinite_without_a_reading():
    """A surface at 75 degrees is steeper than the pixel is exact."""
    rng = np.random.default_rng(0)
    level, steep = (
        (plane(tilt) * (1.0 + 0.0002 * rng.standard_normal((120, 160)))).astype(np.float32)
        for tilt in (0.0, 75.0)
    )
    middle = np.s_[50:70]
    assert np.median(depth_stddev(steep, GREY)[middle] / steep[middle]**2) > 1.3 * np.median(
        depth_stddev(level, GREY)[middle] / level[middle]**2)
    dark = depth_stddev(level, np.zeros_like(GREY))
    np.testing.assert_allclose(dark, 2.0 * depth_stddev(level, GREY))
    level[10:20, 30:50] = 0.0
    sigma = depth_stddev(level, GREY)
    np.testing.assert_array_equal(np.isinf(sigma), level == 0.0)


def test_a_step_between_two_surfaces_is_no_noise():
    """The readings on both sides of an edge are as exact as the others."""
    rng = np.random.default_rng(0)
    depth = np.full((120, 160), 0.8)
    depth[:, 80:] = 1.2
    readings = (depth + 0.001 * rng.standard_normal(depth.shape)).astype(np.float32)
    sigma = depth_stddev(readings, GREY)
    assert np.median(sigma[:, 77:80]) < 2.0 * np.median(sigma[:, :60])
