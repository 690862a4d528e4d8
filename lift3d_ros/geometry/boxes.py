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

"""Upright boxes around points."""

from __future__ import annotations

import cv2
import numpy as np

from lift3d_ros.geometry.transforms import Array
from lift3d_ros.geometry.transforms import Floats


def upright_sides(vertices: Floats, up: Array) -> Array:
    """
    Return the sides (3,) of the smallest upright box around points (n, 3).

    The longer and the shorter level one and the height. The box stands along ``up`` (3,) and is
    turned about it as it fits best: how the object is turned before the camera does not change
    its size.
    """
    points = np.asarray(vertices, np.float64)
    other = np.eye(3)[np.argmin(np.abs(up))]
    x = np.cross(up, other)
    x /= np.linalg.norm(x)
    flat = np.stack([points @ x, points @ np.cross(up, x)], axis=1)
    _, sides, _ = cv2.minAreaRect(flat.astype(np.float32))
    return np.array([max(sides), min(sides), np.ptp(points @ up)])


def longest_side(vertices: Floats, up: Array) -> float:
    """Return the longest of ``upright_sides``, which is what a known size is of."""
    return float(upright_sides(vertices, up).max())
