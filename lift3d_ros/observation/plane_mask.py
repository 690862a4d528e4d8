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

"""Masks that show the support plane instead of an object."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Array
from lift3d_ros.observation.object_observation import ObjectObservation
from lift3d_ros.observation.support import fit_plane
from lift3d_ros.observation.support import Support
from lift3d_ros.segmentation.depth_pieces import find_image_plane
from lift3d_ros.segmentation.grabcut import stands_out

#: Largest height of a reading of the support plane, metres and standard deviations of its
#: readings; depth cameras bend a plane by some millimetres.
_FLAT_M, _FLAT_DEVIATIONS = 0.004, 3.0

#: Share of the readings in a mask that lie in the support plane: above the first the mask gets a
#: note, above the second it is refused if it does not differ from the plane in height or colour.
_MAX_FLAT, _ALL_FLAT = 0.6, 0.95

#: Smallest measurable height of a mask above the plane around it, metres and as a share of its
#: distance. A card of 3 mm is higher at common distances.
_NO_HEIGHT_M, _NO_HEIGHT = 0.001, 0.002

#: Width of the ring around a mask that is compared with it, pixels, and readings needed in it.
_AROUND_PIXELS, _MIN_AROUND = 12, 60

#: Rise of the surroundings above an inverted mask: metres, and share of the surroundings.
_INVERTED_M, _INVERTED = 0.01, 0.5

#: Share of all pixels around a mask that rise from it where depth grows towards the camera.
#: Clutter, a hand or a gripper in front of an object reaches 0.58 in real frames.
_ALL_AROUND = 0.75

#: Cosine between the vertical and the normal of a plane that faces down by more than 10 degrees.
_FACES_DOWN = -0.17

#: Largest number of readings for a plane fit.
_FITTED = 4000

#: Size of the hole that an object leaves in an inverted mask, as a share of the mask.
_MIN_HOLE = 0.05


def plane_notes(seen: ObjectObservation, support: Support) -> tuple[str, ...]:
    """
    Return notes on a mask whose depth is mostly that of the support plane.

    ``seen`` is the observation with the given mask. Raises ``LiftError(NO_DEPTH_IN_MASK)`` for a
    mask that differs from the plane around it neither in height nor in colour: a mask of the bare
    plane, or of a transparent object.
    """
    if seen.depth is None:
        return ()
    if _looks_inverted(seen):
        return (
            'The surroundings of the mask rise above it, so the mask seems to cover the '
            'background, not the object; check that it is not inverted, and that the depth does '
            'not increase towards the camera (disparity, inverse depth).',
        )
    if support.offset is None:
        if support.source == 'gravity' and _contradicts_gravity(seen, support.up):
            return (
                'With the given gravity, the plane under the object faces down; check its sign '
                'and frame: gravity points down, in the optical frame (x right, y down, z '
                'forward). An accelerometer at rest measures the opposite.',
            )
        return ()
    heights = support.height(seen.points())
    level = max(_FLAT_M, _FLAT_DEVIATIONS * support.stddev)
    flat = float((np.abs(heights) < level).mean())
    if flat < _MAX_FLAT:
        return ()
    if flat > _ALL_FLAT and not _differs(seen, support, heights):
        raise LiftError(
            ErrorCode.NO_DEPTH_IN_MASK,
            'The depth inside the mask is that of the support plane around it, and so are the '
            'colours; check that the mask shows the object. If the object is transparent, leave '
            'the depth out.',
        )
    return (
        f'{100.0 * flat:.0f} % of the depth inside the mask lies in the support plane; if the '
        'object is not flat, check the mask, which then covers part of the plane, or leave the '
        'depth out for a transparent object.',
    )


def _differs(seen: ObjectObservation, support: Support, heights: NDArray[np.float64]) -> bool:
    """Return whether a mask differs from its surroundings in height or colour."""
    ring = _ring(seen.mask) & (seen.surroundings > 0.0)
    if np.count_nonzero(ring) < _MIN_AROUND:
        return True
    v, u = np.nonzero(ring)
    around = support.height(seen.camera.unproject(u, v, seen.surroundings[v, u]))
    distance = float(np.median(seen.surroundings[ring]))
    rise = abs(float(np.median(heights)) - float(np.median(around)))
    return rise > max(_NO_HEIGHT_M, _NO_HEIGHT * distance) or stands_out(seen.image, seen.mask)


def _looks_inverted(seen: ObjectObservation) -> bool:
    """Return whether the surroundings of a flat mask, or its holes, lie in front of its plane."""
    assert seen.depth is not None
    own = np.where(seen.measured, seen.depth, np.float32(0.0))
    around = _ring(seen.mask)
    ring = around & (seen.surroundings > 0.0)
    if np.count_nonzero(ring) < _MIN_AROUND:
        return False
    plane = find_image_plane(own, seen.mask)
    if plane is None:
        return False
    rise = plane.rise(own)[seen.measured]
    if (np.abs(rise) < plane.tolerance(own)[seen.measured]).mean() < _MAX_FLAT:
        return False
    higher = np.count_nonzero(plane.rise(seen.surroundings)[ring] > _INVERTED_M)
    if higher > _ALL_AROUND * np.count_nonzero(around):
        return True
    # Occluders and hands are next to an object; only a background surrounds them.
    return _surrounds(seen.mask) and higher > _INVERTED * np.count_nonzero(ring)


def _surrounds(mask: NDArray[np.bool_]) -> bool:
    """Return whether a mask has a large hole, or reaches at least three borders of its image."""
    borders = [mask[0], mask[-1], mask[:, 0], mask[:, -1]]
    if sum(bool(border.any()) for border in borders) >= 3:
        return True
    _, parts, stats, _ = cv2.connectedComponentsWithStats((~mask).astype(np.uint8))
    edge = np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]])
    holes = np.setdiff1d(np.arange(1, len(stats)), edge)
    area = int(stats[holes, cv2.CC_STAT_AREA].max(initial=0))
    return area > _MIN_HOLE * np.count_nonzero(mask)


def _contradicts_gravity(seen: ObjectObservation, up: Array) -> bool:
    """Return whether the object is on a plane that faces down, given the ``up`` of the frame."""
    rng = np.random.default_rng(0)
    points, around = seen.points(), seen.surrounding_points()
    if len(points) < 3 or len(around) < 200:
        return False
    around = around[rng.permutation(len(around))[:_FITTED]]
    points = points[rng.permutation(len(points))[:_FITTED]]
    tolerance = max(_FLAT_M, 0.006 * float(np.median(around[:, 2])))
    found = fit_plane(around, points, None, tolerance, rng)
    return found is not None and float(found[0] @ up) < _FACES_DOWN


def _ring(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the pixels around a mask, without those at its edge."""
    away = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray((away > 3.0) & (away <= 3.0 + _AROUND_PIXELS))
