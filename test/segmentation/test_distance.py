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
"""Distances in masks have the same bits wherever their memory lies."""

from __future__ import annotations

import cv2
import numpy as np
from scipy import ndimage

from lift3d_ros.segmentation.distance import distance_to_false


def test_distances_are_exact_and_the_same_in_every_call():
    mask = np.zeros((97, 131), np.uint8)
    cv2.ellipse(mask, (60, 50), (45, 30), 20.0, 0.0, 360.0, 1, -1)
    mask = mask.astype(bool)
    expected = ndimage.distance_transform_edt(mask).astype(np.float32)
    kept = []
    for length in range(40):
        # Memory of other lengths in between moves the next result.
        kept.append(np.empty(1 + 37 * length, np.uint8))
        np.testing.assert_array_equal(distance_to_false(mask), expected)
