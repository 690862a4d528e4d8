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

"""Find occluders: what is in front of an object and may hide a part of it."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from lift3d_ros.observation.object_observation import ObjectObservation
from lift3d_ros.observation.support import Support
from lift3d_ros.segmentation.depth_pieces import DEPTH_STEP

#: Width of the holes of the depth around an occluder, over the root of the mask's area.
RIM_WIDTH = 0.12

#: Radius of the largest hole of the depth that is noise, over the root of the mask's area.
NOISE_RADIUS = 0.06

#: Smallest share of the pixels around a hole with readings, and largest share of its pixels with
#: the colours of the support plane, if it is an occluder.
MIN_MEASURED_AROUND, MAX_PLANE_COLORED = 0.4, 0.5

#: Smallest share of the readings of an occluder that are high above the support plane.
MIN_HIGH_SHARE = 0.1

#: Cells along the axes of CIE Lab, and the share of the plane's pixels in those of its colours.
COLOR_CELLS, PLANE_COLOR_SHARE = (8, 32, 32), 0.95


def find_occluders(
    mask: NDArray[np.bool_],
    depth: NDArray[np.float32],
    surroundings: NDArray[np.float32],
    raised: tuple[NDArray[np.bool_], NDArray[np.bool_]] | None,
) -> NDArray[np.bool_]:
    """
    Return the pixels off the mask of occluders with readings, bool (height, width).

    An occluder is nearer than the object, rises from the support plane and touches the mask in the
    image; the holes of the depth at its edge belong to it. Without a plane the table in front of
    the object would be one, so that only nearer readings within the hull of the mask count.
    ``raised`` are two images, bool (height, width): surface above the plane, and surface high
    enough to be an occluder.
    """
    nearer = (surroundings > 0.0) & (surroundings < (1.0 - DEPTH_STEP) * depth) & ~mask
    if raised is None:
        if not nearer.any():
            return nearer
        v, u = np.nonzero(mask)
        hull = cv2.convexHull(np.stack([u, v], axis=1).astype(np.int32))
        inside = cv2.fillConvexPoly(np.zeros(mask.shape, np.uint8), hull, 1).astype(bool)
        return nearer & inside
    above, tall = raised
    nearer &= above
    if not nearer.any():
        return nearer
    width = 2 * int(RIM_WIDTH * np.sqrt(np.count_nonzero(mask))) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width))
    rim = cv2.dilate(nearer.astype(np.uint8), disc).astype(bool)
    hole = (surroundings == 0.0) & ~mask
    hiding = nearer | (rim & hole)
    for piece, around in _pieces(hole, mask, mask | nearer):
        # Dark or inclined occluders have readings at their edges alone.
        if nearer[around].mean() > MIN_MEASURED_AROUND:
            hiding |= piece
    near = cv2.dilate(mask.astype(np.uint8), np.ones((9, 9), np.uint8)).astype(bool)
    _, labels = cv2.connectedComponents(hiding.astype(np.uint8), connectivity=8)
    # A bump of the plane is no occluder: a part of an occluder is high.
    touching = np.unique(labels[near & (labels > 0)])
    high = np.bincount(labels[nearer & tall], minlength=int(labels.max()) + 1)
    part = np.bincount(labels[nearer], minlength=len(high))
    return np.isin(labels, touching[high[touching] >= MIN_HIGH_SHARE * part[touching]])


def find_unmeasured_occluders(
    observation: ObjectObservation,
    mask: NDArray[np.bool_],
    readings: NDArray[np.float32],
    support: Support,
    tolerance: float,
) -> NDArray[np.bool_]:
    """
    Return the pixels off the mask of occluders without readings, bool (height, width).

    Shiny, black and very near surfaces have none. Far backgrounds and the shadow of the object in
    the depth have none either: a hole is an occluder if it is wide, touches the mask, hides the
    support plane, has readings around it, and has other colours than the plane.
    """
    rays = observation.camera.rays()
    start = support.height(np.zeros(3))
    fall = start - support.height(rays)
    with np.errstate(divide='ignore', invalid='ignore'):
        expected = np.where(fall > 0.0, start / fall, np.inf)
        flat = (readings > 0.0) & ~mask & (np.abs(readings - expected) * fall < tolerance)
    if not flat.any():
        return flat
    hole = (readings == 0.0) & ~mask & (expected < np.percentile(readings[flat], 99.0))
    plain = _colored_like(observation.image, flat)
    occluder = np.zeros(mask.shape, bool)
    for piece, around in _pieces(hole, mask, mask):
        if plain[piece].mean() >= MAX_PLANE_COLORED:
            continue
        if (readings[around] > 0.0).mean() > MIN_MEASURED_AROUND:
            occluder |= piece
    return occluder


def _pieces(
    hole: NDArray[np.bool_], mask: NDArray[np.bool_], touched: NDArray[np.bool_]
) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """
    Yield the wide holes of the depth beside ``touched``, and the pixels around each off the mask.

    Narrower holes than ``NOISE_RADIUS`` are noise.
    """
    radius = max(1, round(NOISE_RADIUS * float(np.sqrt(np.count_nonzero(mask)))))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    opened = cv2.morphologyEx(hole.astype(np.uint8), cv2.MORPH_OPEN, disc)
    # The pixels between the hole and what it touches belong to it.
    opened = cv2.dilate(opened, disc) & hole.astype(np.uint8)
    _, labels = cv2.connectedComponents(opened, connectivity=8)
    near = cv2.dilate(touched.astype(np.uint8), np.ones((9, 9), np.uint8)).astype(bool)
    for label in np.unique(labels[near & (opened > 0)]):
        piece = labels == label
        around = cv2.dilate(piece.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool)
        around &= ~piece & ~mask
        if around.any():
            yield piece, around


def _colored_like(image: NDArray[np.uint8], known: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return where an RGB image (height, width, 3) has the common colours of pixels ``known``."""
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
    ranges = [0, 256] * 3
    counts = cv2.calcHist([lab], [0, 1, 2], known.astype(np.uint8), list(COLOR_CELLS), ranges)
    falling = np.sort(counts, axis=None)[::-1]
    min_count = falling[np.searchsorted(np.cumsum(falling), PLANE_COLOR_SHARE * falling.sum())]
    cell = [lab[..., k].astype(np.int64) * n // 256 for k, n in enumerate(COLOR_CELLS)]
    return counts[cell[0], cell[1], cell[2]] >= max(min_count, 1.0)
