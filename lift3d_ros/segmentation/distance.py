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

"""Distances in masks, the same bits in every call."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray


def distance_to_false(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """
    Return the distance of each pixel to the nearest false one, pixels; 0 at false ones.

    Without a false pixel the distances are infinite or large, and have no meaning.
    """
    found = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    # The last bits of OpenCV's result depend on where its memory lies. Squares are whole numbers.
    # Without a false pixel they overflow.
    with np.errstate(over='ignore'):
        return np.sqrt(np.rint(np.square(found))).astype(np.float32)
