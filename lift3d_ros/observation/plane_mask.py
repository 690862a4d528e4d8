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
from lift3d_ros.observation.support import MIN_DOWNWARD
from lift3d_ros.observation.support import Support
from lift3d_ros.segmentation.depth_pieces import find_image_plane
from lift3d_ros.segmentation.distance import distance_to_false
from lift3d_ros.segmentation.grabcut import stands_out

#: Largest height of a reading of the support plane, metres and standard deviations of its
#: readings; depth cameras bend a plane by some millimetres.
_MAX_PLANE_HEIGHT_M, _MAX_PLANE_DEVIATIONS = 0.004, 3.0

#: Share of the readings in a mask that lie in the support plane: above the first the mask gets a
#: note, above the second it is refused if it does not differ from the plane in height or colour.
_NOTE_PLANE_SHARE, _REFUSAL_PLANE_SHARE = 0.6, 0.95

#: Smallest measurable height of a mask above the plane around it, metres and as a share of its
#: distance. A card of 3 mm is higher at common distances.
_MIN_HEIGHT_M, _MIN_HEIGHT_SHARE = 0.001, 0.002

#: Width of the ring around a mask that is compared with it, pixels, and its smallest number of
#: readings.
_RING_WIDTH_PIXELS, _MIN_RING_READINGS = 12, 60

#: Smallest rise of the surroundings above an inverted mask, metres, and the share of them that
#: rises.
_INVERTED_RISE_M, _INVERTED_SHARE = 0.01, 0.5

#: Share of all pixels around a mask that rise from it where depth grows towards the camera.
#: Clutter, a hand or a gripper in front of an object reaches 0.58 in real frames.
_SURROUNDING_SHARE = 0.75

#: Cosine between the vertical and the plane normal below which a plane faces down: by more than 10
#: degrees.
_MIN_UP_COSINE = -0.17

#: Smallest angle, degrees, of the line of sight to a plane that may be a wall; cameras of robots
#: look down at tables by 20 to 65. Otherwise the normal of a table points up in the image:
#: sideways angle, degrees, above which it may be that of a wall.
_MIN_WALL_ELEVATION_DEG, _MAX_ROLL_DEG = 70.0, 30.0

#: Gap between an object and a plane, over the size of the object, above which the plane may be a
#: wall behind it.
_MIN_WALL_GAP = 3.0

#: Largest cosine between a wall and the plane that the object stands on, smallest cosine between
#: the normal of that plane and the upward direction of the image, and its smallest share of the
#: readings off the wall.
_MAX_WALL_COSINE, _MIN_IMAGE_UP_COSINE, _MIN_FLOOR_SHARE = 0.3, 0.7, 0.4

#: Largest number of readings for a plane fit.
_MAX_FIT_READINGS = 4000

#: Smallest hole that an object leaves in an inverted mask, as a share of the mask.
_MIN_HOLE_SHARE = 0.05


def plane_notes(observation: ObjectObservation, support: Support) -> tuple[str, ...]:
    """
    Return notes on a mask whose depth is mostly that of the support plane.

    ``observation`` has the unrefined mask. Raises ``LiftError(NO_DEPTH_IN_MASK)`` for a mask that
    differs from the plane around it neither in height nor in colour: a mask of the bare plane, or
    of a transparent object.
    """
    if observation.depth is None:
        return ()
    if _looks_inverted(observation):
        return (
            'The surroundings of the mask rise above it, so the mask seems to cover the '
            'background, not the object; check that it is not inverted, and that the depth does '
            'not increase towards the camera (disparity, inverse depth).',
        )
    if support.offset is None:
        if support.source == 'gravity' and _contradicts_gravity(observation, support.up):
            return (
                'With the given gravity, the plane under the object faces down; check its sign '
                'and frame: gravity points down, in the optical frame (x right, y down, z '
                'forward). An accelerometer at rest measures the opposite.',
            )
        return ()
    heights = support.height(observation.points())
    level = max(_MAX_PLANE_HEIGHT_M, _MAX_PLANE_DEVIATIONS * support.stddev)
    flat = float((np.abs(heights) < level).mean())
    if flat < _NOTE_PLANE_SHARE:
        return ()
    if flat > _REFUSAL_PLANE_SHARE and not _differs(observation, support, heights):
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


def wall_notes(observation: ObjectObservation, support: Support) -> tuple[str, ...]:
    """
    Return a note if the plane that is taken for the support may be a wall behind the object.

    Without gravity, a table seen from above and a wall seen from the front look the same, and so
    do a table in a rolled image and a wall seen from the side. It may be a wall if it is far
    behind the object, or if another plane extends below the object.
    """
    if support.source != 'plane' or support.offset is None:
        return ()
    points = observation.points()
    if len(points) < 3:
        return ()
    steep = support.elevation(points.mean(axis=0)) >= _MIN_WALL_ELEVATION_DEG
    tilted = abs(float(support.up[0])) > np.sin(np.radians(_MAX_ROLL_DEG))
    if not (steep or tilted or float(support.up[1]) > MIN_DOWNWARD):
        return ()
    gap = float(np.percentile(support.height(points), 1.0))
    far = gap > _MIN_WALL_GAP * float(np.ptp(points, axis=0).max())
    if not far and not _has_floor(observation, support, points):
        return ()
    return (
        'The plane behind the object was taken for the one that it stands on, but may be a wall, '
        'as it does not face up in the image. Give gravity, or the support plane.',
    )


def _has_floor(observation: ObjectObservation, support: Support, points: Array) -> bool:
    """Return whether a plane below ``points`` in the image meets the support plane."""
    rng = np.random.default_rng(0)
    around = observation.surrounding_points()
    level = max(_MAX_PLANE_HEIGHT_M, _MAX_PLANE_DEVIATIONS * support.stddev)
    around = around[support.height(around) > 3.0 * level]
    if len(around) < _MIN_RING_READINGS:
        return False
    around = around[rng.permutation(len(around))[:_MAX_FIT_READINGS]]
    points = points[rng.permutation(len(points))[:_MAX_FIT_READINGS]]
    tolerance = max(_MAX_PLANE_HEIGHT_M, 0.006 * float(np.median(around[:, 2])))
    plane = fit_plane(around, points, None, tolerance, rng)
    if plane is None:
        return False
    normal, offset, _ = plane
    share = float((np.abs(around @ normal - offset) < tolerance).mean())
    return bool(
        share > _MIN_FLOOR_SHARE
        and abs(float(normal @ support.up)) < _MAX_WALL_COSINE
        and -float(normal[1]) > _MIN_IMAGE_UP_COSINE
    )


def _differs(
    observation: ObjectObservation, support: Support, heights: NDArray[np.float64]
) -> bool:
    """Return whether a mask differs from its surroundings in height or colour."""
    ring = _ring(observation.mask) & (observation.surroundings > 0.0)
    if np.count_nonzero(ring) < _MIN_RING_READINGS:
        return True
    v, u = np.nonzero(ring)
    around = support.height(observation.camera.unproject(u, v, observation.surroundings[v, u]))
    distance = float(np.median(observation.surroundings[ring]))
    rise = abs(float(np.median(heights)) - float(np.median(around)))
    if rise > max(_MIN_HEIGHT_M, _MIN_HEIGHT_SHARE * distance):
        return True
    return stands_out(observation.image, observation.mask)


def _looks_inverted(observation: ObjectObservation) -> bool:
    """Return whether the surroundings of a flat mask, or its holes, lie in front of its plane."""
    assert observation.depth is not None
    depth = np.where(observation.measured, observation.depth, np.float32(0.0))
    around = _ring(observation.mask)
    ring = around & (observation.surroundings > 0.0)
    if np.count_nonzero(ring) < _MIN_RING_READINGS:
        return False
    plane = find_image_plane(depth, observation.mask)
    if plane is None:
        return False
    rise = plane.rise(depth)[observation.measured]
    if (np.abs(rise) < plane.tolerance(depth)[observation.measured]).mean() < _NOTE_PLANE_SHARE:
        return False
    higher = np.count_nonzero(plane.rise(observation.surroundings)[ring] > _INVERTED_RISE_M)
    if higher > _SURROUNDING_SHARE * np.count_nonzero(around):
        return True
    # Occluders and hands are next to an object; only a background surrounds them.
    return _surrounds(observation.mask) and higher > _INVERTED_SHARE * np.count_nonzero(ring)


def _surrounds(mask: NDArray[np.bool_]) -> bool:
    """Return whether a mask has a large hole, or reaches at least three borders of its image."""
    borders = [mask[0], mask[-1], mask[:, 0], mask[:, -1]]
    if sum(bool(border.any()) for border in borders) >= 3:
        return True
    _, parts, stats, _ = cv2.connectedComponentsWithStats((~mask).astype(np.uint8))
    edge = np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]])
    holes = np.setdiff1d(np.arange(1, len(stats)), edge)
    area = int(stats[holes, cv2.CC_STAT_AREA].max(initial=0))
    return area > _MIN_HOLE_SHARE * np.count_nonzero(mask)


def _contradicts_gravity(observation: ObjectObservation, up: Array) -> bool:
    """Return whether the object is on a plane that faces down, given the ``up`` of the frame."""
    rng = np.random.default_rng(0)
    points, around = observation.points(), observation.surrounding_points()
    if len(points) < 3 or len(around) < 200:
        return False
    around = around[rng.permutation(len(around))[:_MAX_FIT_READINGS]]
    points = points[rng.permutation(len(points))[:_MAX_FIT_READINGS]]
    tolerance = max(_MAX_PLANE_HEIGHT_M, 0.006 * float(np.median(around[:, 2])))
    plane = fit_plane(around, points, None, tolerance, rng)
    return plane is not None and float(plane[0] @ up) < _MIN_UP_COSINE


def _ring(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return a ring around a mask, without the pixels next to its outline."""
    distance = distance_to_false(~mask)
    return np.asarray((distance > 3.0) & (distance <= 3.0 + _RING_WIDTH_PIXELS))
