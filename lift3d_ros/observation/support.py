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

import numpy as np

from lift3d_ros.geometry import Array
from lift3d_ros.geometry import Floats
from lift3d_ros.geometry import unit
from lift3d_ros.observation.object_observation import ObjectObservation
from lift3d_ros.observation.object_observation import sample

#: Elevation of the camera, degrees, if the vertical is unknown: robots look down at tables.
ASSUMED_ELEVATION = 30.0

#: Largest angle, degrees, between the vertical and the normal of a plane that carries objects.
MAX_TILT = 20.0

#: Distance by which a reading is nearer than a place that it hides, over the object's size.
MIN_OCCLUDER_DISTANCE = 0.1


@dataclass(frozen=True, eq=False)
class Support:
    """
    The vertical and the support plane.

    - ``up``: unit vector in the optical frame.
    - ``offset``: ``up @ x`` of the points x of the plane in metres, None without a plane.
    - ``stddev``: of a reading about the plane, metres.
    - ``source``: of ``up``: ``gravity``, ``plane`` or ``assumed``.
    """

    up: Array
    offset: float | None
    stddev: float
    source: str

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
    plane if the object is above it and reaches down to it, and if it is consistent with
    ``gravity`` (unit vector, optical frame, pointing down), if that is given.
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
    size = float(np.ptp(points, axis=0).max())
    tolerance = max(0.004, 0.006 * float(np.median(around[:, 2])))
    plane = fit_plane(around, points, vertical, tolerance, rng)
    if plane is None:
        return fallback
    normal, offset, stddev = plane
    low = float(np.percentile(points @ normal - offset, 1.0))
    if low > max(0.02, 0.15 * size) and not _hides_its_foot(observation, points, normal, offset):
        # The object is held above the plane or stands on something else. Without gravity, the
        # plane still gives the vertical.
        if vertical is None:
            return Support(normal, None, stddev, 'plane')
        return fallback
    # A measured plane is more exact than gravity from a tree of transforms.
    return Support(normal, offset, stddev, 'plane' if vertical is None else 'gravity')


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
    inliers = np.abs(around @ normals.T - offsets) < tolerance
    above = (points @ normals.T - offsets > -2.0 * tolerance).mean(axis=0)
    score = np.where(above > 0.9, inliers.mean(axis=0), 0.0)
    best = int(np.argmax(score))
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


def _hides_its_foot(
    observation: ObjectObservation, points: Array, normal: Array, offset: float
) -> bool:
    """
    Return whether the object, or an occluder, can hide its contact with a plane below.

    From above, a ball or a bowl hides its own foot. Projects the visible points (n, 3) vertically
    onto the plane, there and somewhat further from the camera. If none of these places is behind
    the mask or behind a nearer reading, the camera would see the foot, and the object is above the
    plane.
    """
    dropped = points - (points @ normal - offset)[:, None] * normal
    away = points.mean(axis=0)
    away = away - (away @ normal) * normal
    length = float(np.linalg.norm(away))
    if length < 1e-6:
        return True
    size = float(np.ptp(points, axis=0).max())
    for share in (0.0, 0.25, 0.5):
        u, v, z = observation.camera.project(dropped + share * size / length * away)
        column, row = (np.nan_to_num(a, nan=-1e6).astype(np.float32) for a in (u, v))
        behind = sample(observation.outline, column, row) > 0.0
        reading = sample(observation.surroundings, column, row)
        behind |= (reading > 0.0) & (reading < z - MIN_OCCLUDER_DISTANCE * size)
        if behind.mean() > 0.4:
            return True
    return False
