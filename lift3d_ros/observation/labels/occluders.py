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

from lift3d_ros.observation.labels.evidence import Evidence
from lift3d_ros.observation.labels.evidence import histogram
from lift3d_ros.observation.labels.evidence import values_in_cells
from lift3d_ros.segmentation.depth_pieces import depth_pieces
from lift3d_ros.segmentation.depth_pieces import DEPTH_STEP
from lift3d_ros.segmentation.depth_pieces import nearest

#: Width of the holes of the depth around an occluder, over the root of the mask's area.
RIM_WIDTH = 0.12

#: Radius of the largest hole of the depth that is noise, over the root of the mask's area.
NOISE_RADIUS = 0.06

#: Smallest share of the pixels around a hole with readings, and largest share of its pixels with
#: the colours of the support plane, if it is an occluder.
MIN_MEASURED_AROUND, MAX_PLANE_COLORED = 0.4, 0.5

#: Smallest share of the readings of an occluder that are high above the support plane.
MIN_HIGH_SHARE = 0.1

#: Height of an occluder above the support plane, in tolerances of the plane.
OCCLUDER_HEIGHT_TOLERANCES = 2.0

#: Distance behind the object of a reading that still belongs to the occluder joined to it, share
#: of the depth.
CONTACT_STEP = 0.25 * DEPTH_STEP

#: Distance from the object's readings of what is beside it, over the root of its area. Share of
#: the readings beside it that are in front of it, and their number over those behind it, if a
#: piece of surface is an occluder.
CONTACT_WIDTH, MIN_AHEAD_SHARE, MIN_AHEAD_RATIO = 0.2, 0.1, 2.0

#: Cells along the axes of CIE Lab, and the share of the plane's pixels in those of its colours.
COLOR_CELLS, PLANE_COLOR_SHARE = (8, 32, 32), 0.95


def find_occluders(
    evidence: Evidence, mask: NDArray[np.bool_], own: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """
    Return the pixels off the object of occluders with readings, bool (height, width).

    An occluder is nearer than the object, rises from the support plane and touches the object in
    the image. What is joined to it and not behind the object belongs to it, and so do the holes
    of the depth at its edge. A table or a wall is somewhere in front of the object, too: beside
    the object, a piece of surface must be rather in front of than behind it. ``mask`` are the
    pixels of the object, ``own`` its readings, bool (height, width).
    """
    readings, valid = evidence.readings, evidence.valid
    away, rows, columns = nearest(own)
    front = readings[rows, columns]
    other = valid & ~mask
    nearer = other & (readings < (1.0 - DEPTH_STEP) * front)
    ahead, behind = _neighbours(evidence, other, front, away)
    raised = tall = ahead
    if np.isfinite(evidence.height).any():
        raised = ~behind & (evidence.height > evidence.plane_tolerance)
        tall = raised & (evidence.height > OCCLUDER_HEIGHT_TOLERANCES * evidence.plane_tolerance)
    nearer &= raised
    if not nearer.any():
        return nearer
    # Where it touches the object, an occluder is hardly nearer.
    width = 2 * int(RIM_WIDTH * np.sqrt(np.count_nonzero(mask))) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width))
    rim = cv2.dilate(nearer.astype(np.uint8), disc).astype(bool)
    # Between parts of the object, what is not behind it is something that touches it: a finger.
    hull = convex_hull(mask)
    joined = (rim | hull) & other & raised & (readings < (1.0 + CONTACT_STEP) * front)
    hole = ~valid & ~mask
    between = hull & cv2.dilate(joined.astype(np.uint8), disc).astype(bool)
    hiding = nearer | joined | ((rim | between) & hole)
    for piece, around in _pieces(hole, mask, mask | nearer):
        # Dark or inclined occluders have readings at their edges alone.
        # A hole larger than the object is a background out of range.
        small = np.count_nonzero(piece) < np.count_nonzero(mask)
        if small and nearer[around].mean() > MIN_MEASURED_AROUND:
            hiding |= piece
    near = cv2.dilate(mask.astype(np.uint8), np.ones((9, 9), np.uint8)).astype(bool)
    _, labels = cv2.connectedComponents(hiding.astype(np.uint8), connectivity=8)
    # A bump of the plane is no occluder: a part of an occluder is high.
    touching = np.unique(labels[near & (labels > 0)])
    high = np.bincount(labels[nearer & tall], minlength=int(labels.max()) + 1)
    part = np.bincount(labels[nearer], minlength=len(high))
    proven = (part[touching] > 0) & (high[touching] >= MIN_HIGH_SHARE * part[touching])
    return np.isin(labels, touching[proven])


def _neighbours(
    evidence: Evidence,
    other: NDArray[np.bool_],
    front: NDArray[np.float32],
    away: NDArray[np.float32],
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """
    Return the pieces of surface beside the object that are in front of it, and those behind it.

    ``front`` is the nearest reading of the object, ``away`` its distance in pixels; ``other`` are
    the readings off the object.
    """
    other = other & (evidence.in_plane < 0.5)
    labels, count = depth_pieces(np.where(other, evidence.readings, np.float32(0.0)))
    beside = other & (away < CONTACT_WIDTH * np.sqrt(np.count_nonzero(evidence.mask)))
    step = 0.5 * DEPTH_STEP * front
    before = beside & (evidence.readings < front - step)
    past = beside & (evidence.readings > front + step)
    contact, ahead, behind = (
        np.bincount(labels[which], minlength=count + 1) for which in (beside, before, past)
    )
    in_front = (ahead > MIN_AHEAD_SHARE * contact) & (ahead > MIN_AHEAD_RATIO * behind)
    at_back = ~in_front & (contact > 0)
    in_front[0] = at_back[0] = False
    return np.asarray(in_front[labels]), np.asarray(at_back[labels])


def find_unmeasured_occluders(
    evidence: Evidence, mask: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """
    Return the pixels off the object of occluders without readings, bool (height, width).

    Shiny, black and very near surfaces have none. Far backgrounds and the shadow of the object in
    the depth have none either: a hole is an occluder if it is wide, touches the mask, hides the
    support plane, has readings around it, and has other colours than the plane.
    """
    support, readings = evidence.support, evidence.readings
    # Around a held object, holes of the depth are of the surface below it.
    if support is None or not support.carries:
        return np.zeros_like(mask)
    rays = evidence.camera.rays()
    start = support.height(np.zeros(3))
    fall = start - support.height(rays)
    with np.errstate(divide='ignore', invalid='ignore'):
        expected = np.where(fall > 0.0, start / fall, np.inf)
        off = np.abs(readings - expected) * fall
        flat = evidence.valid & ~mask & (off < evidence.plane_tolerance)
    if not flat.any():
        return flat
    hole = ~evidence.valid & ~mask & (expected < np.percentile(readings[flat], 99.0))
    plain = _colored_like(evidence.image, flat)
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
    counts = histogram(lab, known, COLOR_CELLS)
    falling = np.sort(counts, axis=None)[::-1]
    min_count = falling[np.searchsorted(np.cumsum(falling), PLANE_COLOR_SHARE * falling.sum())]
    return np.asarray(values_in_cells(lab, counts >= max(min_count, 1.0)), bool)


def convex_hull(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the convex hull of a mask."""
    hull = cv2.convexHull(cv2.findNonZero(mask.astype(np.uint8)))
    return cv2.fillConvexPoly(np.zeros(mask.shape, np.uint8), hull, 1).astype(bool)
