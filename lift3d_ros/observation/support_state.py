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

"""Whether an object stands on the plane below it, or is held above it."""

from __future__ import annotations

import numpy as np

from lift3d_ros.geometry import Array
from lift3d_ros.geometry import unit
from lift3d_ros.observation.object_observation import ObjectObservation
from lift3d_ros.observation.object_observation import sample

#: Coefficients of the logistic regression for ``held``, and its constant: of the gap over the
#: object's size, of the overhang over its width, and of the share of the space below it that the
#: camera saw to be free. Fitted on 160 scenes of scans of the train split and 28 of balls, half of
#: them with the object 2 to 25 cm above the table. Of the standing objects 3 scans of 160 are
#: taken for held; of the held ones, 33 of 160 for standing, most of them close to the table.
#: Values above ``_MAX_GAP`` and ``_MAX_OVERHANG`` add no evidence.
_GAP_WEIGHT, _OVERHANG_WEIGHT, _FREE_WEIGHT, _CONSTANT = 1.97, 2.49, 2.91, -2.26
_MAX_GAP, _MAX_OVERHANG = 1.0, 1.5

#: Weight of the gap where something holds the object; lowest height of a holder, over that of the
#: visible surface from its lower end; its distance from the object, over the object's size; and
#: its readings, over the pixels of the object.
_HOLDER_WEIGHT, _HOLDER_HEIGHT, _HOLDER_REACH, _MIN_HOLDER_SHARE = 3.0, 0.15, 0.25, 0.01

#: Gap below the visible surface, over its size, that no object behind an occluder fills.
_MAX_HIDDEN_GAP = 2.0

#: Part of the height of the visible surface whose rays give the overhang.
_LOWEST_PART = 0.25

#: Heights of the samples below the visible surface, over its lowest height.
_COLUMN_HEIGHTS = (0.1, 0.3, 0.5, 0.7, 0.9)

#: Distance of the samples further from the camera than the visible surface, over the width.
_COLUMN_SHIFTS = (0.0, 0.25, 0.5)

#: Distance, over the depth, by which a reading is behind a free place, or before a hidden one.
_DEPTH_TOLERANCE = 0.02

#: Smallest angle of a ray below the horizon, radians.
_MIN_ELEVATION = 0.05


def held_probability(
    observation: ObjectObservation, points: Array, up: Array, offset: float
) -> float:
    """
    Return the probability that an object does not stand on a plane below it.

    ``points`` (n, 3) are on the visible surface, in the optical frame; the plane is
    ``up @ x = offset``, metres. An object with a gap between its visible surface and the plane can
    only stand on what the surface hides: the larger the overhang that this needs, the less
    probable it is. A nearer object that hides the gap is no evidence for either, as objects do
    not float, unless the gap is larger than what is visible. What touches the object in front of
    it and ends above the plane rather holds it.
    """
    height = points @ up - offset
    low, high = np.percentile(height, (1.0, 99.0))
    low = max(float(low), 0.0)
    size = float(np.ptp(points, axis=0).max())
    away = points.mean(axis=0)
    away = away - (away @ up) * up
    if size <= 0.0 or np.linalg.norm(away) < 1e-6:
        return 0.5
    away = unit(away)
    width = max(float(np.ptp(points @ np.cross(up, away))), 1e-6)
    lowest = points[height <= low + _LOWEST_PART * (high - low)]
    elevation = float(np.arcsin(np.clip(-unit(lowest.mean(axis=0)) @ up, -1.0, 1.0)))
    # The ray below the visible surface meets the plane there; a hidden foot is further away.
    overhang = low / np.tan(max(elevation, _MIN_ELEVATION))
    free, occluded = _below(observation, points, height, low, width, up, away)
    gap = min(low / size, _MAX_GAP)
    holder = _has_holder(
        observation, points, up, offset, low + _HOLDER_HEIGHT * (high - low)
    )
    logit = (
        (_GAP_WEIGHT + _HOLDER_WEIGHT * holder) * gap
        + _OVERHANG_WEIGHT * min(overhang / width, _MAX_OVERHANG)
        + _FREE_WEIGHT * free
        + _CONSTANT
    )
    hidden = 1.0 - min(low / (_MAX_HIDDEN_GAP * size), 1.0) ** 2
    doubt = 0.0 if holder else (1.0 - (1.0 - occluded) ** 2) * hidden
    return float((1.0 - doubt) / (1.0 + np.exp(-logit)))


def _has_holder(
    observation: ObjectObservation, points: Array, up: Array, offset: float, height: float
) -> bool:
    """
    Return whether something touches the object that ends above a height over the plane.

    ``points`` (n, 3) are on the visible surface. What is far in front of the object only hides it.
    """
    from scipy.spatial import cKDTree

    v, u = np.nonzero(observation.occluder & (observation.surroundings > 0.0))
    fewest = max(_MIN_HOLDER_SHARE * np.count_nonzero(observation.mask), 1.0)
    if len(v) < fewest:
        return False
    others = observation.camera.unproject(u, v, observation.surroundings[v, u])
    if np.percentile(others @ up - offset, 5.0) < height:
        return False
    reach = _HOLDER_REACH * float(np.ptp(points, axis=0).max())
    distance, _ = cKDTree(points).query(others, distance_upper_bound=reach)
    return bool(np.count_nonzero(np.isfinite(distance)) >= fewest)


def _below(
    observation: ObjectObservation,
    points: Array,
    height: Array,
    low: float,
    width: float,
    up: Array,
    away: Array,
) -> tuple[float, float]:
    """
    Return shares of the space between an object and the plane: seen free, and occluded.

    Free: with a reading behind it, below places a quarter of the width behind the visible
    ``points`` (n, 3), where a ball hides the space below it. Occluded: by a nearer reading off the
    mask, below the visible surface or somewhat further from the camera.
    """
    foot = points - height[:, None] * up
    free, occluded = [], []
    for shift in _COLUMN_SHIFTS:
        places = np.concatenate(
            [foot + shift * width * away + share * low * up for share in _COLUMN_HEIGHTS]
        )
        u, v, z = (
            np.nan_to_num(a, nan=-1e6).astype(np.float32)
            for a in observation.camera.project(places)
        )
        # The outline includes occluders.
        outside = sample(observation.mask.astype(np.float32), u, v) < 0.5
        reading = sample(observation.surroundings, u, v)
        free.append(float((outside & (reading > (1.0 + _DEPTH_TOLERANCE) * z)).mean()))
        nearer = (reading > 0.0) & (reading < (1.0 - _DEPTH_TOLERANCE) * z)
        occluded.append(float((outside & nearer).mean()))
    return free[1], max(occluded)
