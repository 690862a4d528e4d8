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
Small errors in the poses of further cameras, told by what the views have in common.

A pose by a robot's kinematics is off by a degree and some millimetres, which at arm's length is a
tenth of a mug. The points that two cameras measured, their outlines and the table under them say
by how much; where they do not, the given pose stands.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace

import numpy as np

from lift3d_ros.geometry import Array
from lift3d_ros.geometry import invert
from lift3d_ros.geometry import rigid
from lift3d_ros.geometry import rotate
from lift3d_ros.geometry import transform
from lift3d_ros.observation.object_observation import Observation
from lift3d_ros.observation.sighting import Sighting
from lift3d_ros.observation.support import Support

#: Standard deviations of a given pose: rotation in radians, and translation in metres beside what
#: that rotation moves the object by.
POSE_STDDEV = (np.radians(1.0), 0.005)

#: Of a measured point, over the size of the object; farther ones count linearly.
_POINT_STDDEV = 0.02

#: So much do all points of a pair of views weigh together, in points: their errors go together.
_WEIGHT = 40.0

#: Points of each view, and of the table around it.
_POINTS = 300

#: Readings this far apart, over the size of the object, may be the same surface.
_GATE = 0.2

#: A surface is seen where the angle between its normal and the sight has at least this cosine.
_FACING = 0.25

#: Steps of Gauss and Newton, and of the finite differences in them (radians, shares of the size).
_STEPS = 12
_DIFFERENCE = 1e-3


@dataclass(frozen=True, eq=False)
class _Patch:
    """Measured points (n, 3) and their normals, in the optical frame of their camera."""

    points: Array
    normals: Array


def mended_pose(
    fresh: Sighting, known: Sequence[Sighting], support: Support, size: float
) -> tuple[Array, float]:
    """
    Return ``T_first_own`` of a sighting, moved so that it agrees with those that are known.

    With it comes how far it was moved, in standard deviations of a given pose.

    Point-to-plane distances where two cameras saw the same surface (Chen and Medioni, 1992),
    distances out of what the other allows elsewhere, and heights of the table, under a
    pseudo-Huber loss, with the given pose as a prior of ``POSE_STDDEV``. ``size`` is that of the
    object.
    """
    from scipy.spatial.transform import Rotation

    patches = [_patch(one.seen) for one in known]
    mine = _patch(fresh.seen)
    centre = _centre(known[0].seen)
    table = _table(fresh, support, 0.3 * size)
    reach = np.linalg.norm(centre - fresh.T_first_own[:3, 3])
    metric = known[0].seen.depth is not None
    stddev = np.repeat(
        [POSE_STDDEV[0], (POSE_STDDEV[1] if metric else 0.05 * size) + POSE_STDDEV[0] * reach], 3
    )

    def moved(x: Array) -> Sighting:
        R = Rotation.from_rotvec(x[:3]).as_matrix()
        correction = rigid(R, centre - R @ centre + size * x[3:])
        return replace(fresh, T_first_own=correction @ fresh.T_first_own)

    def residuals(x: Array) -> Array:
        candidate = moved(x)
        parts = [x * np.repeat([1.0, size], 3) / stddev]
        for one, patch in zip(known, patches, strict=True):
            for seeing, shown, what in ((one, candidate, mine), (candidate, one, patch)):
                if len(what.points):
                    parts.append(_weighed(_gaps(seeing, shown, what, _GATE * size), size))
        if len(table):
            parts.append(_weighed(support.height(transform(candidate.T_first_own, table)), size))
        return np.concatenate(parts)

    x = _minimum(residuals)
    strain = float(np.linalg.norm(x * np.repeat([1.0, size], 3) / stddev))
    return moved(x).T_first_own, strain


def contradiction(a: Sighting, b: Sighting, share: float = 0.9) -> float:
    """
    Return by how much two sightings contradict each other, metres.

    That ``share`` of the points that one measured lies less outside of what the other allows to be
    solid; the larger of both ways.
    """
    found = [0.0]
    for seeing, shown in ((a, b), (b, a)):
        points = _patch(shown.seen).points
        if len(points):
            local = seeing.own(transform(shown.T_first_own, points))
            found.append(float(np.quantile(np.maximum(-seeing.room(local), 0.0), share)))
    return max(found)


def _gaps(seeing: Sighting, shown: Sighting, what: _Patch, gate: float) -> Array:
    """Return how far points of ``shown`` are from where ``seeing`` may see them, (n,) metres."""
    T = invert(seeing.T_first_own) @ shown.T_first_own
    points, normals = transform(T, what.points), rotate(T, what.normals)
    outside = np.minimum(seeing.room(points), 0.0)
    facing = -np.einsum('ij,ij->i', normals, points) / np.linalg.norm(points, axis=1)
    behind = seeing.seen.behind(points)
    with np.errstate(invalid='ignore'):
        same = (facing > _FACING) & (np.abs(behind) < gate)
    return np.where(same, np.nan_to_num(behind) * facing, outside)


def _weighed(gaps: Array, size: float) -> Array:
    """Return residuals whose squares are a pseudo-Huber loss of gaps (n,) in metres."""
    scaled = gaps / (_POINT_STDDEV * size)
    robust = np.sign(scaled) * np.sqrt(2.0 * (np.sqrt(1.0 + scaled**2) - 1.0))
    return robust * np.sqrt(_WEIGHT / len(gaps))


def _minimum(residuals: Callable[[Array], Array]) -> Array:
    """Return where the sum of squares is least, near 0 (Gauss and Newton, with a line search)."""
    x = np.zeros(6)
    now = residuals(x)
    for _ in range(_STEPS):
        slopes = np.stack(
            [(residuals(x + _DIFFERENCE * axis) - now) / _DIFFERENCE for axis in np.eye(6)], axis=1
        )
        # The prior makes it regular.
        step = -np.linalg.solve(slopes.T @ slopes, slopes.T @ now)
        for _ in range(4):
            then = residuals(x + step)
            if then @ then < now @ now:
                break
            step = 0.4 * step
        else:
            return x
        x, now = x + step, then
        if np.abs(step).max() < 2e-4:
            return x
    return x


def _patch(seen: Observation) -> _Patch:
    """Return some of the measured points with their normals, spread over the object."""
    if seen.depth is None:
        return _Patch(np.zeros((0, 3)), np.zeros((0, 3)))
    v, u = np.nonzero(seen.measured)
    places = seen.camera.rays() * seen.depth[..., None]
    # Over some pixels, so that the noise of single readings does not tilt the surface.
    span = max(2, round(0.02 * np.sqrt(len(v))))
    height, width = seen.depth.shape
    left, right = np.maximum(u - span, 0), np.minimum(u + span, width - 1)
    above, below = np.maximum(v - span, 0), np.minimum(v + span, height - 1)
    normals = np.cross(places[below, u] - places[above, u], places[v, right] - places[v, left])
    length = np.linalg.norm(normals, axis=1)
    good = np.flatnonzero(length > 0.0)
    good = good[:: max(1, len(good) // _POINTS)]
    points, normals = places[v[good], u[good]], normals[good] / length[good, None]
    away = (normals * points).sum(axis=1, keepdims=True) > 0.0
    return _Patch(points, np.where(away, -normals, normals))


def _centre(seen: Observation) -> Array:
    """Return about where the object is, in the optical frame."""
    return np.median(seen.outline_points(), axis=0)


def _table(fresh: Sighting, support: Support, reach: float) -> Array:
    """Return readings of a camera near the support plane, (n, 3) in its own frame."""
    points = fresh.seen.surrounding_points()
    if support.offset is None or not len(points):
        return np.zeros((0, 3))
    points = points[:: max(1, len(points) // 4000)]
    height = support.height(transform(fresh.T_first_own, points))
    near = points[np.abs(height) < reach]
    # Where few readings are near it, it is not the table that this camera saw.
    return near[:: max(1, len(near) // _POINTS)] if len(near) > 200 else np.zeros((0, 3))
