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

"""Readings inside a mask that are of the background behind the object."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from lift3d_ros.observation.labels.evidence import Evidence
from lift3d_ros.observation.object_observation import ObjectObservation
from lift3d_ros.observation.object_observation import outline_distance
from lift3d_ros.observation.support import Support
from lift3d_ros.segmentation.depth_pieces import depth_pieces

#: Height over the tolerance of the plane above which a reading is certainly not of the plane.
_RAISED_TOLERANCES = 2.0

#: Largest median height of readings of the plane above the plane around the mask, over its
#: tolerance: a flat part of an object is higher.
_MAX_RISE_TOLERANCES = 0.5

#: Largest share of the readings of a surface of the background that are inside the mask.
_MAX_INSIDE_SHARE = 0.5

#: Step of the depth from the object back to the background, share of the depth: its median along
#: the boundary, and the share of the boundary with at least a third of it. The bottom of a bowl
#: and the base of a laptop join what rises from them: at most 0.042 on 17 real frames and 64
#: scenes of the train split; where the depth camera sees through an object, at least 0.058.
_MIN_STEP, _MIN_STEP_SHARE = 0.05, 0.6

#: Distance across which readings are compared, pixels: at edges there are none.
_STEP_REACH_PX = 4.0

#: Distance inside the outline that such a part reaches, shares of the root of the mask's area and
#: of the largest distance, the smaller one: nearer to the outline the mask is displaced, which
#: ``refine_mask`` mends.
_MIN_INSIDE_SIDE, _MIN_INSIDE_SHARE = 0.15, 0.8

#: Width of the ring around the mask whose plane is compared, pixels.
_RING_WIDTH_PX = 20.0

#: Smallest part that counts, pixels.
_MIN_PART_PX = 20

#: Share of the readings well inside the mask above which they get a note; at most 0.03 on 17 real
#: frames and 64 scenes of the train split.
_NOTE_SHARE = 0.1

#: Area of the object's surface beside the mask, and that of the background inside it, over the
#: area of the mask, both at least, if the object moved between image and depth; their distance
#: from the outline, over its tolerance; and the largest area of the surface over that of the mask,
#: above which it is joined with something else. At most 0.05 on 17 real frames, 64 scenes of the
#: train split and 48 with the sensors and masks of real ones.
_MIN_MOVED_SHARE, _MOVED_TOLERANCES, _MAX_SURFACE_SHARE = 0.08, 1.5, 2.0


@dataclass(frozen=True, eq=False)
class SeeThrough:
    """
    Readings well inside a mask that are of the background behind the object.

    - ``pixels``: bool (height, width).
    - ``beside``: area of the object's surface beside the mask, over the area of the mask, if the
      object moved between image and depth; 0 otherwise.
    """

    pixels: NDArray[np.bool_]
    beside: float = 0.0

    def __bool__(self) -> bool:
        """Return whether there are such readings."""
        return bool(self.pixels.any())


def find_see_through(observation: ObjectObservation, support: Support) -> SeeThrough:
    """
    Return the readings well inside the mask that are of the background behind the object.

    A depth camera sees through a transparent object in places: there the depth steps back from the
    object to the support plane, or to a surface most of which is outside the mask. With depth of
    another moment the object is elsewhere: its surface extends beside the mask, and the background
    into it, also without a step where it stands. None for an object that is flat.
    """
    evidence = Evidence(
        observation.camera, observation.image, observation.detection, observation.tolerance,
        observation.readings, support,
    )
    mask, valid, height = evidence.mask, evidence.valid, evidence.height
    tolerance = evidence.plane_tolerance
    low = valid & (height < tolerance)
    pieces = depth_pieces(np.where(low, np.float32(0.0), evidence.readings))
    background = low | _background_pieces(evidence, *pieces)
    through = mask & background & (evidence.outline > evidence.tolerance)
    front = mask & valid & ~background & (height > _RAISED_TOLERANCES * tolerance)
    if min(np.count_nonzero(through), np.count_nonzero(front)) < _MIN_PART_PX:
        return SeeThrough(np.zeros_like(mask))
    beside = _share_beside(evidence, background, *pieces)
    if beside > 0.0:
        return SeeThrough(through, beside)
    around = low & (height > -tolerance) & _ring(evidence)
    base = float(np.median(height[around])) if around.any() else 0.0
    steps = _steps(evidence.readings, through, front)
    inside = min(
        _MIN_INSIDE_SIDE * float(np.sqrt(np.count_nonzero(mask))),
        _MIN_INSIDE_SHARE * float(evidence.outline.max()),
    )
    # Small parts join across the gaps of the depth.
    joined = cv2.dilate(through.astype(np.uint8), np.ones((5, 5), np.uint8))
    count, labels = cv2.connectedComponents(joined)
    labels[~through] = 0
    for label in range(1, count):
        part = labels == label
        step = steps[part & np.isfinite(steps)]
        flat = part & low
        rise = float(np.median(height[flat])) - base if flat.any() else 0.0
        if (
            np.count_nonzero(part) < _MIN_PART_PX
            or evidence.outline[part].max() < inside
            or not len(step)
            or np.median(step) < _MIN_STEP
            or (step > _MIN_STEP / 3.0).mean() < _MIN_STEP_SHARE
            or rise > _MAX_RISE_TOLERANCES * tolerance
        ):
            through[part] = False
    return SeeThrough(through)


def _share_beside(
    evidence: Evidence, background: NDArray[np.bool_], labels: NDArray[np.int32], count: int
) -> float:
    """Return ``SeeThrough.beside`` for pieces of surface off the plane."""
    mask = evidence.mask
    inside = np.bincount(labels[mask], minlength=count + 1)
    inside[0] = 0
    surface = labels == int(np.argmax(inside))
    area = np.count_nonzero(mask)
    if not inside.any() or np.count_nonzero(surface) > _MAX_SURFACE_SHARE * area:
        return 0.0
    away = _MOVED_TOLERANCES * evidence.tolerance
    beside = np.count_nonzero(surface & (evidence.outline < -away)) / area
    within = np.count_nonzero(background & ~surface & (evidence.outline > away)) / area
    return beside if min(beside, within) > _MIN_MOVED_SHARE else 0.0


def _ring(evidence: Evidence) -> NDArray[np.bool_]:
    """Return the pixels around the mask: depth cameras bend a plane over longer distances."""
    outline = evidence.outline + np.float32(evidence.tolerance)
    return np.asarray((outline < -3.0) & (outline > -3.0 - _RING_WIDTH_PX))


def _background_pieces(
    evidence: Evidence, labels: NDArray[np.int32], count: int
) -> NDArray[np.bool_]:
    """Return the surfaces, apart from the plane, most of whose readings are off the mask."""
    total = np.bincount(labels.ravel(), minlength=count + 1)
    inside = np.bincount(labels[evidence.mask], minlength=count + 1)
    inside[0] = 0
    outer = inside < _MAX_INSIDE_SHARE * total
    # The object touches other things.
    outer[[0, int(np.argmax(inside))]] = False
    return np.asarray(outer[labels])


def _steps(
    readings: NDArray[np.float32], through: NDArray[np.bool_], front: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Return by how much readings are behind the nearest one in front; inf far from one."""
    from scipy import ndimage

    away, (rows, columns) = ndimage.distance_transform_edt(~front, return_indices=True)
    beside = through & (away <= _STEP_REACH_PX)
    ratio = readings / np.maximum(readings[rows, columns], np.float32(1e-6))
    return np.where(beside, ratio - np.float32(1.0), np.float32(np.inf))


def without_see_through(
    observation: ObjectObservation, through: SeeThrough
) -> ObjectObservation:
    """
    Return an observation without the readings of what is behind the object; see ``refine_mask``.

    Its mask stays: the object has no readings there.
    """
    return replace(
        observation,
        readings=np.where(through.pixels, np.float32(0.0), observation.readings),
        measured=observation.measured & ~through.pixels,
    )


def see_through_notes(
    observation: ObjectObservation, through: SeeThrough
) -> tuple[str, ...]:
    """Return a note if many of the readings in a mask are not those of the object."""
    well_inside = outline_distance(observation.detection) > observation.tolerance
    inside = well_inside & (observation.readings > 0.0)
    share = np.count_nonzero(through.pixels) / max(np.count_nonzero(inside), 1)
    if through.beside > 0.0:
        return (
            f'The object seems to have moved between image and depth: {100.0 * share:.0f} % of '
            'the depth inside the mask shows what is behind the object, and was left out, and the '
            f'object extends over {100.0 * through.beside:.0f} % of the area of the mask beside '
            'it. Check that mask and depth show the same moment and are registered.',
        )
    if share < _NOTE_SHARE:
        return ()
    return (
        f'{100.0 * share:.0f} % of the depth inside the mask shows what is behind the object, and '
        'was left out. Check that mask and depth show the same moment and are registered; for a '
        'transparent or shiny object, leave the depth out.',
    )
