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

"""Find the plane that the object stands on, and the vertical."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import replace

import numpy as np

from lift3d_ros.geometry import Array
from lift3d_ros.geometry import Floats
from lift3d_ros.geometry import unit
from lift3d_ros.geometry.frame import ObjectView
from lift3d_ros.geometry.shape import HELD
from lift3d_ros.geometry.shape import STANDING
from lift3d_ros.geometry.shape import UNKNOWN_SUPPORT
from lift3d_ros.observation.object_observation import ObjectObservation
from lift3d_ros.observation.support_state import held_probability

#: Elevation of the camera, degrees, if the vertical is unknown: robots look down at tables.
ASSUMED_ELEVATION = 30.0

#: Largest angle, degrees, between the vertical and the normal of a plane that carries objects.
MAX_TILT = 20.0

#: Smallest downward component in the image of the normal of a plane that carries objects only in a
#: rolled image, and the weight of its readings where the vertical is unknown.
MIN_DOWNWARD, DOWNWARD_WEIGHT = 0.1, 0.5

#: Probability of being held above which an object is, and below which it stands.
MIN_HELD_PROBABILITY, MAX_STANDING_PROBABILITY = 0.6, 0.4

#: Largest gap between an object and the plane, over the object's size, across which the networks
#: continue it.
MAX_GAP = 1.0


@dataclass(frozen=True, eq=False)
class Support:
    """
    The vertical and the support plane.

    - ``up``: unit vector in the optical frame.
    - ``offset``: ``up @ x`` of the points x of the plane in metres, None without a plane.
    - ``stddev``: of a reading about the plane, metres.
    - ``source``: of ``up``: ``gravity``, ``plane`` or ``assumed``.
    - ``held_probability``: probability that the object does not stand on the plane, but is held
      above it or stands on something else; None without a plane.
    """

    up: Array
    offset: float | None
    stddev: float
    source: str
    held_probability: float | None = None

    @property
    def state(self) -> str:
        """Whether the plane carries the object: ``standing``, ``held`` or ``unknown``."""
        if self.held_probability is None:
            return UNKNOWN_SUPPORT
        if self.held_probability > MIN_HELD_PROBABILITY:
            return HELD
        return STANDING if self.held_probability < MAX_STANDING_PROBABILITY else UNKNOWN_SUPPORT

    @property
    def carries(self) -> bool:
        """
        Whether the object is continued down to the plane where its foot is hidden.

        Most objects whose state is unknown stand.
        """
        return self.offset is not None and self.state != HELD

    def height(self, points: Floats) -> Array:
        """Return the height of points (..., 3) over the plane, metres; inf without a plane."""
        if self.offset is None:
            return np.full(np.shape(points)[:-1], np.inf)
        return np.asarray(points) @ self.up - self.offset

    def elevation(self, ray: Array) -> float:
        """Return the angle of a viewing ray of the optical frame below the horizon, degrees."""
        return float(np.degrees(np.arcsin(np.clip(-unit(ray) @ self.up, -1.0, 1.0))))


def assumed_up(elevation: float = ASSUMED_ELEVATION) -> Array:
    """Return the up direction of a camera without roll that looks down by ``elevation`` deg."""
    tilt = np.radians(elevation)
    return np.array([0.0, -np.cos(tilt), -np.sin(tilt)])


def find_support(
    observation: ObjectObservation, gravity: Array | None, rng: np.random.Generator
) -> Support:
    """
    Find the support plane around the object.

    Random sample consensus (Fischler and Bolles, 1981) over the readings off the mask. Accepts a
    plane if the object is above it, and if it is consistent with ``gravity`` (unit vector, optical
    frame, pointing down), if that is given.
    """
    vertical = None if gravity is None else -np.asarray(gravity, np.float64)
    fallback = Support(
        assumed_up() if vertical is None else vertical,
        None,
        0.0,
        'assumed' if vertical is None else 'gravity',
    )
    points, around = observation.points(), observation.surrounding_points()
    if len(points) < 3 or len(around) < 200:
        return fallback
    around = around[rng.permutation(len(around))[:4000]]
    points = points[rng.permutation(len(points))[:2000]]
    tolerance = max(0.004, 0.006 * float(np.median(around[:, 2])))
    plane = fit_plane(around, points, vertical, tolerance, rng)
    if plane is None:
        return fallback
    normal, offset, stddev = plane
    # Where readings are missing, the visible surface may be lower than the lowest reading.
    visible = observation.visible_points()
    visible = visible[:: max(1, len(visible) // 2000)]
    held = held_probability(observation, visible, normal, offset)
    # A measured plane is more exact than gravity from a tree of transforms.
    return Support(normal, offset, stddev, 'plane' if vertical is None else 'gravity', held)


def fit_plane(
    around: Array,
    points: Array,
    vertical: Array | None,
    tolerance: float,
    rng: np.random.Generator,
) -> tuple[Array, float, float] | None:
    """
    Return normal, offset and standard deviation of the plane below the object, or None.

    ``around`` (n, 3) are readings many of which are on the plane, ``points`` (m, 3) readings above
    it; ``vertical`` (3,) is the approximate normal, if known. ``tolerance`` is the largest error
    of a reading of the plane, metres.
    """
    corners = around[rng.integers(0, len(around), (400, 3))]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.linalg.norm(normals, axis=1)
    good = length > 1e-7
    normals, corners = normals[good] / length[good, None], corners[good]
    # The camera, at the origin, is above the plane.
    offsets = np.einsum('ij,ij->i', normals, corners[:, 0])
    flip = offsets > 0.0
    normals[flip], offsets[flip] = -normals[flip], -offsets[flip]
    if vertical is not None:
        upright = normals @ vertical > np.cos(np.radians(MAX_TILT))
        normals, offsets = normals[upright], offsets[upright]
    if not len(normals):
        return None
    distance = around @ normals.T
    distance -= offsets
    inliers = np.abs(distance, out=distance) < tolerance
    above = (points @ normals.T - offsets > -2.0 * tolerance).mean(axis=0)
    score = np.where(above > 0.9, inliers.mean(axis=0), 0.0)
    # Walls behind an object face the floor in the image.
    downward = (normals[:, 1] > MIN_DOWNWARD) & (vertical is None)
    best = int(np.argmax(np.where(downward, DOWNWARD_WEIGHT * score, score)))
    if score[best] < 0.2:
        return None
    normal, offset = normals[best], float(offsets[best])
    for _ in range(4):
        close = np.abs(around @ normal - offset) < tolerance
        centre = around[close].mean(axis=0)
        fitted = np.linalg.svd(around[close] - centre, full_matrices=False)[2][2]
        normal = fitted if fitted @ normal > 0.0 else -fitted
        offset = float(normal @ centre)
    residual = (around @ normal - offset)[np.abs(around @ normal - offset) < tolerance]
    if vertical is not None and normal @ vertical < np.cos(np.radians(MAX_TILT)):
        return None
    return normal, offset, float(residual.std())


def with_plane_below(
    view: ObjectView, observation: ObjectObservation, support: Support
) -> ObjectView:
    """
    Return a view whose depth shows a plane at the lowest place of the visible object.

    The networks were trained on objects that stand, and continue an object down to the plane that
    they see. For a held object, a plane at its lower end takes the place of the
    support plane; with a gap larger than the object, the networks do not reach the support plane,
    and the view is returned unchanged. ``observation`` is that of the view.
    """
    if view.frame.depth is None or support.offset is None or support.carries:
        return view
    points = observation.visible_points()
    low = float(np.percentile(support.height(points), 1.0))
    if low > MAX_GAP * float(np.ptp(points, axis=0).max()):
        return view
    rays = view.frame.camera.rays()
    start = support.height(np.zeros(3)) - low
    fall = -(rays @ support.up)
    with np.errstate(divide='ignore', invalid='ignore'):
        plane = np.where(fall > 0.0, start / fall, np.inf)
    depth = np.nan_to_num(view.frame.depth, posinf=0.0, neginf=0.0)
    hides = ~view.mask & np.isfinite(plane) & ((depth <= 0.0) | (depth > plane))
    # Products of matrices depend in their last digits on the number of threads.
    depth = np.where(hides, np.round(plane, 5), depth).astype(np.float32)
    return replace(view, frame=replace(view.frame, depth=depth))
