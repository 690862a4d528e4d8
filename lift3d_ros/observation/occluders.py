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

"""What stands before an object and may hide a part of it."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from lift3d_ros.observation.object_observation import ObjectObservation
from lift3d_ros.observation.support import Support
from lift3d_ros.segmentation.depth_pieces import DEPTH_STEP

#: How far holes of the depth reach around what stands before an object, as a share of the root of
#: the mask's area.
_RIM = 0.12

#: Holes of the depth narrower than twice this share of the root of the mask's area are noise. A
#: wider one hides the object if so much of what lies around it was measured, and less than so much
#: of it has the plane's colours.
_NOISE, _AROUND, _PLAIN = 0.06, 0.4, 0.5

#: Share of the readings of an occluder that rise high.
_HIGH_SHARE = 0.1

#: Cells of CIE Lab along each of its axes; those that hold so much of the plane are its colours.
_CELLS, _COMMON = (8, 32, 32), 0.95


def find_occluders(
    mask: NDArray[np.bool_],
    depth: NDArray[np.float32],
    surroundings: NDArray[np.float32],
    raised: tuple[NDArray[np.bool_], NDArray[np.bool_]] | None,
) -> NDArray[np.bool_]:
    """
    Return the pixels off the mask where something before the object may hide a part of it.

    Something nearer that rises from the support plane and touches the mask in the image, with the
    holes of the depth at its edge. Without a plane the table before the object would be taken for
    it, so that only what is nearer within the hull of the mask counts. ``raised`` are two images
    bool (height, width): what rises from the plane, and what rises high enough to hide something.
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
    width = 2 * int(_RIM * np.sqrt(np.count_nonzero(mask))) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width))
    rim = cv2.dilate(nearer.astype(np.uint8), disc).astype(bool)
    hole = (surroundings == 0.0) & ~mask
    hiding = nearer | (rim & hole)
    for piece, around in _pieces(hole, mask, mask | nearer):
        # What has readings at its edges alone, where it is lighter or less inclined.
        if nearer[around].mean() > _AROUND:
            hiding |= piece
    near = cv2.dilate(mask.astype(np.uint8), np.ones((9, 9), np.uint8)).astype(bool)
    _, labels = cv2.connectedComponents(hiding.astype(np.uint8), connectivity=8)
    # A bump of the plane is no occluder: what hides something is high, for a part at least.
    touching = np.unique(labels[near & (labels > 0)])
    high = np.bincount(labels[nearer & tall], minlength=int(labels.max()) + 1)
    part = np.bincount(labels[nearer], minlength=len(high))
    return np.isin(labels, touching[high[touching] >= _HIGH_SHARE * part[touching]])


def find_silent(
    observation: ObjectObservation,
    mask: NDArray[np.bool_],
    readings: NDArray[np.float32],
    support: Support,
    tolerance: float,
) -> NDArray[np.bool_]:
    """
    Return the pixels off the mask where something without readings may hide a part of it.

    What shines, is black or too near gives none. But holes of the depth are far backgrounds and
    the object's own shade, too: only a wide one counts, that touches the mask, where the support
    plane should have been measured and lies around it, and that has other colours than the plane.
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
    silent = np.zeros(mask.shape, bool)
    for piece, around in _pieces(hole, mask, mask):
        if (readings[around] > 0.0).mean() > _AROUND and plain[piece].mean() < _PLAIN:
            silent |= piece
    return silent


def _pieces(
    hole: NDArray[np.bool_], mask: NDArray[np.bool_], touched: NDArray[np.bool_]
) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """
    Yield the wide holes of the depth that touch something, and what lies around each off the mask.

    Wide is meant against the root of the mask's area.
    """
    radius = max(1, round(_NOISE * float(np.sqrt(np.count_nonzero(mask)))))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    wide = cv2.morphologyEx(hole.astype(np.uint8), cv2.MORPH_OPEN, disc)
    # With it goes what lies between it and what it touches.
    wide = cv2.dilate(wide, disc) & hole.astype(np.uint8)
    _, labels = cv2.connectedComponents(wide, connectivity=8)
    near = cv2.dilate(touched.astype(np.uint8), np.ones((9, 9), np.uint8)).astype(bool)
    for label in np.unique(labels[near & (wide > 0)]):
        piece = labels == label
        around = cv2.dilate(piece.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool)
        around &= ~piece & ~mask
        if around.any():
            yield piece, around


def _colored_like(image: NDArray[np.uint8], known: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return where an RGB image (height, width, 3) has the usual colours of pixels ``known``."""
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
    ranges = [0, 256] * 3
    counts = cv2.calcHist([lab], [0, 1, 2], known.astype(np.uint8), list(_CELLS), ranges)
    falling = np.sort(counts, axis=None)[::-1]
    least = falling[np.searchsorted(np.cumsum(falling), _COMMON * falling.sum())]
    cell = [lab[..., k].astype(np.int64) * n // 256 for k, n in enumerate(_CELLS)]
    return counts[cell[0], cell[1], cell[2]] >= max(least, 1.0)
