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

"""Depth that is missing within an object continues its surface."""

from __future__ import annotations

import numpy as np
import pytest

from lift3d_ros.geometry import Camera
from lift3d_ros.geometry.frame import crop_object
from lift3d_ros.geometry.frame import Frame
from lift3d_ros.observation.cleaning import observe
from lift3d_ros.observation.object_observation import ObjectObservation

CAMERA = Camera.from_fov(320, 240, 60.0)
V, U = np.indices((240, 320))
PLANE = (1.0 / (1.6 + 0.004 * (U - 160.0) + 0.002 * (V - 120.0))).astype(np.float32)
MASK = (np.abs(U - 160) < 70) & (np.abs(V - 120) < 50)


def observation(lost: np.ndarray) -> ObjectObservation:
    """Return the observation of an inclined face before a wall, without the readings ``lost``."""
    depth = np.where(MASK, PLANE, np.float32(2.0))
    depth[lost] = 0.0
    image = np.where(MASK[..., None], np.uint8([180, 60, 40]), np.uint8([90, 90, 90]))
    return observe(crop_object(Frame(image, CAMERA, depth, np.array([0.0, 1.0, 0.0])), MASK))


@pytest.mark.parametrize('radius', [8, 30])
def test_a_hole_in_a_face_is_continued_by_the_face(radius):
    lost = np.hypot(U - 150, V - 125) < radius
    whole, holed = observation(np.zeros_like(MASK)), observation(lost)
    hole = whole.measured & ~holed.measured
    assert np.count_nonzero(hole) > 150
    error = np.abs(holed.depth - whole.depth)[hole]
    # The depth of the face changes by more than that from the edge of the hole to its middle.
    change = 0.5 * float(np.ptp(PLANE[lost]))
    assert error.max() < 0.1 * change


def test_the_end_of_a_face_without_readings_has_a_plausible_depth():
    holed = observation(MASK & (U > 190))
    depth = holed.depth[holed.mask]
    assert depth.min() > 0.8 * PLANE[MASK].min()
    assert depth.max() < 1.2 * PLANE[MASK].max()
