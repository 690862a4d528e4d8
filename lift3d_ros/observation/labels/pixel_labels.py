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

"""
What each pixel of a window shows: object, occluder, background, support plane, or unknown.

The mask, the depth, the plane and the colours are evidence of one probability that a pixel shows
the object: a Gaussian random field whose neighbours are coupled along continuous surfaces and
decoupled at steps of the depth and edges of the colour. A pixel of the mask that continues the
background around it, behind a step from the object, is background; one outside of the mask that
continues the object is object. What is not the object and lies in front of it is an occluder.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lift3d_ros.observation.labels.evidence import Evidence
from lift3d_ros.observation.labels.evidence import FLAT_MASK_SHARE
from lift3d_ros.observation.labels.evidence import histogram
from lift3d_ros.observation.labels.evidence import logistic
from lift3d_ros.observation.labels.evidence import values_in_cells
from lift3d_ros.observation.labels.occluders import convex_hull
from lift3d_ros.observation.labels.occluders import find_occluders
from lift3d_ros.observation.labels.occluders import find_unmeasured_occluders
from lift3d_ros.observation.object_observation import inner_distance
from lift3d_ros.observation.object_observation import Label
from lift3d_ros.segmentation.depth_pieces import depth_pieces
from lift3d_ros.segmentation.depth_pieces import DEPTH_STEP
from lift3d_ros.segmentation.depth_pieces import nearest
from lift3d_ros.segmentation.membrane import membrane

#: Distance over which the surface around a pixel outweighs its place in the mask, tolerances of
#: the mask's outline.
COUPLING_TOLERANCES = 4.0

#: Strengths of evidence, over that of the mask: of a reading in the support plane, of a reading
#: of another depth than the object's, and of one that continues the surface around the mask.
PLANE_STRENGTH, FAR_STRENGTH, BEHIND_STRENGTH = 40.0, 100.0, 2.0

#: Strengths over that of the mask: of the share in the mask of the object's surface, of that of
#: another surface, and of a reading in the mask above the plane.
OWN_STRENGTH, PIECE_STRENGTH, RAISED_STRENGTH = 3.0, 1.0, 1.0

#: Strength of the colour over that of the mask, its gain as a factor of other evidence, and cells
#: along the axes of CIE Lab.
COLOR_STRENGTH, COLOR_GAIN, COLOR_CELLS = 1.0, 5.0, (12, 24, 24)

#: Smallest share in and near the mask of the surface with most readings in it, if all of it is of
#: the object.
MIN_MAIN_SHARE = 0.8

#: Deviation from the continued background of a reading on it, share of its depth.
BEHIND_SCALE = 0.01

#: Distance of a reading behind the object from its surface, over the extent of the object; it is
#: further where surface in the mask leads there, in steps of ``CHAIN_STEP`` that each hold
#: ``MIN_CHAIN_SHARE`` of the readings deep in the mask.
MAX_BEHIND, MAX_CHAINED_BEHIND, CHAIN_STEP, MIN_CHAIN_SHARE = 0.7, 1.4, 0.1, 0.01

#: Strength of the mask where there is no reading, over that where there is one, and its growth
#: over the coupling distance away from the outline.
UNMEASURED_STRENGTH, DEEP_STRENGTH = 10.0, 2.0

#: Step of the depth that decouples neighbours, share of the depth; and colour difference, CIE Lab.
STEP_SCALE, COLOR_SCALE = 0.5 * DEPTH_STEP, 12.0

#: Coupling across an edge of the colour on one surface, and between pixels without readings.
COLOR_EDGE_COUPLING, UNMEASURED_COUPLING = 0.15, 0.5


@dataclass(frozen=True, eq=False)
class PixelLabels:
    """
    The estimate of what each pixel of a window shows, images (height, width).

    - ``label``: uint8, values of ``Label``; ``probability``: float32, of that label.
    - ``mask``: bool, pixels that show the object, with or without a reading.
    - ``occluder``: bool, pixels off ``mask`` where something nearer may hide a part of the object.
    """

    label: NDArray[np.uint8]
    probability: NDArray[np.float32]
    mask: NDArray[np.bool_]
    occluder: NDArray[np.bool_]

    @property
    def measured(self) -> NDArray[np.bool_]:
        """The readings of the object."""
        return np.asarray(self.label == Label.OBJECT)


def estimate_labels(evidence: Evidence, wide: bool = True) -> PixelLabels:
    """
    Return the labels of a window.

    Unless ``wide``, only occluders within the convex hull of the mask count.
    """
    valid = evidence.valid
    foreign = _foreign_readings(evidence)
    share = object_probability(evidence, foreign)
    mask = share > 0.5
    own = mask & valid
    own &= ~mixed_readings(inner_distance(mask) - np.float32(0.5), own, evidence)
    in_plane = evidence.in_plane > 0.5
    occluder = np.zeros_like(mask)
    if own.any():
        occluder = find_occluders(evidence, mask, own)
        if wide:
            occluder |= find_unmeasured_occluders(evidence, mask)
        else:
            occluder &= convex_hull(mask)
    label = np.select(
        [own, occluder & ~mask, valid & ~mask & in_plane, valid & ~mask],
        [Label.OBJECT, Label.OCCLUDER, Label.PLANE, Label.BACKGROUND],
        Label.UNKNOWN,
    ).astype(np.uint8)
    probability = np.where(mask, share, np.float32(1.0) - share)
    return PixelLabels(label, probability, mask, occluder & ~mask)


def object_probability(
    evidence: Evidence, foreign: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """
    Return the probability that a pixel shows the object, float32 (height, width).

    ``foreign``: bool, readings at another depth than the object's.
    """
    valid, outline = evidence.valid, evidence.outline
    unit = np.float32(1.0 / (COUPLING_TOLERANCES * evidence.tolerance) ** 2)
    # The mask: its outline is exact to its tolerance.
    prior = logistic(outline / np.float32(0.5 * evidence.tolerance))
    reach = np.float32(COUPLING_TOLERANCES * evidence.tolerance)
    certain = np.float32(1.0) + np.float32(DEEP_STRENGTH) * np.square(outline / reach)
    strength = unit * np.where(valid, certain, np.float32(UNMEASURED_STRENGTH) * certain)
    weighted = strength * prior

    def add(target: NDArray[np.float32], amount: NDArray[np.float32]) -> None:
        nonlocal strength, weighted
        strength = strength + unit * amount
        weighted = weighted + unit * amount * target

    zero = np.zeros_like(prior)
    # Deep inside the mask, the object is as low as the noise of the plane.
    shallow = np.exp(-np.square(np.maximum(outline, 0.0) / reach))
    certain_plane = np.maximum(2.0 * evidence.in_plane - 1.0, 0.0)
    add(zero, np.float32(PLANE_STRENGTH) * certain_plane * shallow)
    add(zero, np.where(foreign, np.float32(FAR_STRENGTH), np.float32(0.0)))
    colored = _colored_like_object(evidence)
    share, known, own = _piece_shares(evidence, foreign)
    # What touches the object without a step often has other colours.
    own_strength = np.float32(OWN_STRENGTH) * np.minimum(1.0, COLOR_GAIN * colored)
    add(logistic(np.float32(8.0) * (share - np.float32(0.5))),
        np.where(known, np.where(own, own_strength, np.float32(PIECE_STRENGTH)), zero))
    behind = np.where(own, zero, _continues_background(evidence, own) * shallow)
    add(zero, np.float32(BEHIND_STRENGTH) * behind)
    raised = evidence.mask & np.isfinite(evidence.height) & (evidence.in_plane < 0.5) & ~foreign
    add(zero + np.float32(1.0), np.where(raised, np.float32(RAISED_STRENGTH), zero))
    add(colored, np.float32(COLOR_STRENGTH) * np.abs(2.0 * colored - 1.0))
    right, down = _couplings(evidence)
    return membrane(weighted / strength, strength, right, down)


def _piece_shares(
    evidence: Evidence, foreign: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]:
    """
    Return the share of each pixel's continuous surface that is in the mask, and where known.

    Also returns which pixels are of the surface of the object, if it ends near the mask.
    """
    other = (evidence.in_plane > 0.5) | foreign
    surface = np.where(other, np.float32(0.0), evidence.readings)
    labels, count = depth_pieces(surface)
    total = np.bincount(labels.ravel(), minlength=count + 1)
    inside = np.bincount(labels[evidence.mask], minlength=count + 1)
    share = inside / np.maximum(total, 1)
    known = np.ones(count + 1, bool)
    known[0] = False
    # The surface of the object may continue in what it stands on or touches; otherwise it ends
    # near the mask, however small the mask is.
    main = int(np.argmax(inside[1:])) + 1 if count else 0
    own = labels == main
    reach = COUPLING_TOLERANCES * evidence.tolerance
    near = np.count_nonzero(own & (evidence.outline > -reach))
    known[main] = main > 0 and near > MIN_MAIN_SHARE * total[main]
    share[main] = 1.0
    own &= known[main]
    return share[labels].astype(np.float32), known[labels], own


def _couplings(evidence: Evidence) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the couplings of each pixel with its right and with its lower neighbour, 0 to 1."""
    readings, in_plane = evidence.readings, evidence.in_plane
    valid = readings > 0.0
    lab = cv2.cvtColor(cv2.GaussianBlur(evidence.image, (3, 3), 0), cv2.COLOR_RGB2LAB)
    channels = cv2.split(lab.astype(np.float32))
    couplings = []
    for axis in (1, 0):
        other = np.roll(readings, -1, axis)
        both = valid & np.roll(valid, -1, axis)
        step = np.abs(other - readings) / np.maximum(np.minimum(other, readings), 1e-6)
        smooth = np.exp(-np.square(step / STEP_SCALE))
        difference = np.zeros(readings.shape, np.float32)
        for channel in channels:
            difference += np.square(np.roll(channel, -1, axis) - channel)
        plain = np.exp(-difference / np.float32(2.0 * COLOR_SCALE**2))
        colored = COLOR_EDGE_COUPLING + (1.0 - COLOR_EDGE_COUPLING) * plain
        # The plane ends where the object begins, also without a step.
        level = np.float32(1.0) - np.abs(np.roll(in_plane, -1, axis) - in_plane)
        couplings.append(
            np.where(
                both, smooth * colored * level, UNMEASURED_COUPLING * plain
            ).astype(np.float32)
        )
    return couplings[0], couplings[1]


def _colored_like_object(evidence: Evidence) -> NDArray[np.float32]:
    """
    Return the probability that a pixel has a colour of the object, float32 (height, width).

    Histograms of the colours well inside and well outside of the mask, smoothed.
    """
    from scipy import ndimage

    lab = cv2.cvtColor(evidence.image, cv2.COLOR_RGB2LAB)
    # A mask may be thinner than its tolerance.
    inner = min(evidence.tolerance, 0.5 * float(evidence.outline.max()))
    counts = []
    for where in (evidence.outline > inner, evidence.outline < -evidence.tolerance):
        smooth = ndimage.gaussian_filter(histogram(lab, where, COLOR_CELLS), 1.0)
        counts.append(smooth / max(float(smooth.sum()), 1.0))
    # A colour that neither has is no evidence.
    rare = np.float32(1e-4)
    share = (counts[0] + rare) / (counts[0] + counts[1] + 2.0 * rare)
    return np.asarray(values_in_cells(lab, share), np.float32)


def _foreign_readings(evidence: Evidence) -> NDArray[np.bool_]:
    """
    Return the readings further from the object's depth than the object is large.

    The object's depth is that of the continuous surface with most readings deep inside the mask,
    compared with its readings elsewhere.
    """
    mask, readings = evidence.mask, evidence.readings
    plane = evidence.in_plane > 0.5
    labels, count = depth_pieces(np.where(plane, np.float32(0.0), readings))
    weight = np.maximum(evidence.outline, 0.0).ravel()
    inside = np.bincount(labels.ravel(), weight, minlength=count + 1)
    total = np.maximum(np.bincount(labels.ravel(), minlength=count + 1), 1)
    within = np.bincount(labels[mask], minlength=count + 1)
    score = inside * within / total
    score[0] = 0.0
    main = mask & (labels == int(np.argmax(score)))
    if not main.any() or score.max() == 0.0:
        return np.zeros_like(mask)
    near, middle, far = np.percentile(readings[main], (1.0, 50.0, 99.0))
    camera = evidence.camera
    _, _, width, height = cv2.boundingRect(mask.astype(np.uint8))
    extent = max((width - 1) / camera.fx, (height - 1) / camera.fy) * middle
    # The foot of a tall object that is seen from above is far behind its top.
    deep = readings[mask & evidence.valid & ~plane & (evidence.outline > evidence.tolerance)]
    steps = far + extent * np.arange(0.0, MAX_CHAINED_BEHIND + 0.5 * CHAIN_STEP, CHAIN_STEP)
    counts, edges = np.histogram(deep, steps)
    gaps = np.flatnonzero(counts < MIN_CHAIN_SHARE * len(deep))
    chained = edges[gaps[0]] if len(gaps) else edges[-1]
    far_off = (readings > max(far + MAX_BEHIND * extent, chained)) | (readings < near - extent)
    return np.asarray(evidence.valid & far_off)


def _continues_background(
    evidence: Evidence, own: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """
    Return the probability that a reading in the mask continues the surface around the mask.

    ``own``: pixels of the surface of the object. The other readings around the mask are
    continued harmonically in inverse depth, in which planes are linear. Where most of the mask
    continues them, the object is flat, and this is no evidence.
    """
    mask, readings, valid = evidence.mask, evidence.readings, evidence.valid
    around = valid & ~own & (evidence.outline < -evidence.tolerance)
    none = np.zeros(mask.shape, np.float32)
    if not around.any():
        return none
    inverse = np.where(valid, 1.0 / np.where(valid, readings, 1.0), 0.0).astype(np.float32)
    behind = membrane(inverse, around.astype(np.float32), smooth=True)
    deviation = np.where(mask & valid, np.abs(behind - inverse) * readings, np.inf)
    likely = np.exp(-np.square(deviation / np.float32(BEHIND_SCALE))).astype(np.float32)
    if likely.sum() > FLAT_MASK_SHARE * np.count_nonzero(mask & valid):
        return none
    return likely


def mixed_readings(
    outline: NDArray[np.float32],
    measured: NDArray[np.bool_],
    evidence: Evidence,
) -> NDArray[np.bool_]:
    """
    Return the readings near the outline of a mask that are not on a surface with its inside.

    Depth cameras blend both sides of an edge into points between them, and a mask that is some
    pixels too wide includes these points. Compares a reading within the tolerance of the outline
    with the nearest one further inside; keeps it if there is none nearby. ``outline`` is as in
    ``ObjectObservation`` inside the mask.
    """
    tolerance, readings = evidence.tolerance, evidence.readings
    inside = measured & (outline > tolerance + 0.5)
    mixed = np.zeros(measured.shape, bool)
    if not inside.any():
        return mixed
    # The depth of a sphere changes by this much across the band at its rim.
    radius = float(outline.max())
    left, top, width, height = cv2.boundingRect(measured.astype(np.uint8))
    part = slice(top, top + height), slice(left, left + width)
    outline, measured, inside = outline[part], measured[part], inside[part]
    readings = readings[part]
    away, rows, columns = nearest(inside)
    step = np.abs(readings - readings[rows, columns])
    band = measured & (outline <= tolerance + 0.5) & (away < 2.0 * tolerance + 1.5)
    rim = np.sqrt(2.0 * radius * (tolerance + 1.5)) / evidence.camera.fx
    mixed[part] = band & (step > max(DEPTH_STEP, rim) * readings)
    return mixed
