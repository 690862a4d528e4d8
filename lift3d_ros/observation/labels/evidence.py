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

"""The evidence of what a window of a frame shows: mask, depth, plane and colours."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from lift3d_ros.geometry import Camera
from lift3d_ros.observation.object_observation import outline_distance
from lift3d_ros.observation.support import Support

#: Largest height of a reading of the support plane, standard deviations and metres: depth cameras
#: bend a plane by some millimetres.
PLANE_DEVIATIONS, MIN_PLANE_TOLERANCE_M = 4.0, 0.005

#: Height of a reading that is as probably in the plane as not, over the largest one, and the scale
#: of its logistic.
PLANE_MIDDLE, PLANE_SCALE = 0.7, 0.2

#: Largest error of the outline of a detector's mask, as a share of the root of its area.
MAX_MASK_ERROR = 0.08

#: Smallest share of the mask that its core has if the core can tell whether the object is flat.
MIN_CORE_SHARE = 0.15

#: Shares of the readings in the support plane, in the core of a mask and in a thin mask without a
#: core, above which the object is as flat as the plane's noise.
FLAT_CORE_SHARE, FLAT_MASK_SHARE = 0.2, 0.6


@dataclass(frozen=True, eq=False)
class Evidence:
    """
    What a window shows, images (height, width).

    - ``camera``: of the window; ``image``: uint8 RGB (height, width, 3).
    - ``mask``: bool, of the detector; ``tolerance``: error of its outline, pixels.
    - ``readings``: float32 metres, 0 = none.
    - ``support``: the support plane, None if it is not known yet.
    """

    camera: Camera
    image: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    tolerance: float
    readings: NDArray[np.float32]
    support: Support | None = None

    @cached_property
    def valid(self) -> NDArray[np.bool_]:
        """Where there is a reading."""
        return self.readings > 0.0

    @cached_property
    def outline(self) -> NDArray[np.float32]:
        """Distance to the outline of the mask, pixels, positive inside."""
        return outline_distance(self.mask)

    @cached_property
    def plane_tolerance(self) -> float:
        """Largest height of a reading of the support plane, metres."""
        stddev = 0.0 if self.support is None else self.support.stddev
        return max(PLANE_DEVIATIONS * stddev, MIN_PLANE_TOLERANCE_M)

    @cached_property
    def height(self) -> NDArray[np.float32]:
        """Height of the readings above the support plane, metres; inf where unknown."""
        height = np.full(self.mask.shape, np.inf, np.float32)
        if self.support is not None and self.support.offset is not None:
            v, u = np.nonzero(self.valid)
            points = self.camera.unproject(u, v, self.readings[v, u])
            height[v, u] = self.support.height(points)
        return height

    @cached_property
    def flat(self) -> bool:
        """Whether the object is as flat as the noise of the plane that it lies on."""
        reach = MAX_MASK_ERROR * float(np.sqrt(np.count_nonzero(self.mask)))
        known = self.mask & np.isfinite(self.height)
        core = known & (self.outline >= reach)
        # Around a thin object, a mask that is some pixels too wide shows the plane.
        if np.count_nonzero(core) > MIN_CORE_SHARE * np.count_nonzero(self.mask):
            return bool((self.height[core] < self.plane_tolerance).mean() > FLAT_CORE_SHARE)
        low = self.height[known] < self.plane_tolerance
        return bool(known.any() and low.mean() > FLAT_MASK_SHARE)

    @cached_property
    def in_plane(self) -> NDArray[np.float32]:
        """The probability that a reading is one of the support plane, 0 without a reading."""
        high = self.height / np.float32(self.plane_tolerance) - np.float32(PLANE_MIDDLE)
        high /= np.float32(PLANE_SCALE)
        share = np.where(np.isfinite(self.height), logistic(-high), np.float32(0.0))
        if self.flat:
            # The mask is more exact than the depth.
            share[self.mask] = 0.0
        return share


def logistic(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return 1 / (1 + exp(-x)) without overflow."""
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(x, -30.0, 30.0))), np.float32)


def histogram(
    lab: NDArray[np.uint8], where: NDArray[np.bool_], cells: tuple[int, int, int]
) -> NDArray[np.float32]:
    """Return the number of pixels ``where`` in ``cells`` of the axes of CIE Lab."""
    ranges = [0, 256] * 3
    return cv2.calcHist([lab], [0, 1, 2], where.astype(np.uint8), list(cells), ranges)


def values_in_cells(lab: NDArray[np.uint8], values: NDArray[np.generic]) -> NDArray[np.generic]:
    """Return the values (n, m, k) of cells of CIE Lab at the pixels of an image."""
    index = np.zeros(lab.shape[:2], np.int32)
    for channel, count in zip(cv2.split(lab), values.shape, strict=True):
        cell = (np.arange(256) * count // 256).astype(np.uint8)
        index *= count
        index += cv2.LUT(channel, cell)
    return values.ravel()[index]
