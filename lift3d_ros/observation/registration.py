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
Register source views to the reference view: check their poses and refine them.

A pose by a robot's kinematics is off by a degree and some millimetres, which at arm's length is a
tenth of a mug. The points that two cameras measured, their outlines and the support plane around
them correct it; where they give no information, the given pose stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace

import numpy as np

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import invert
from lift3d_ros.geometry import rigid
from lift3d_ros.geometry import rotate
from lift3d_ros.geometry import transform
from lift3d_ros.geometry.frame import ObjectView
from lift3d_ros.geometry.frame import SourceView
from lift3d_ros.observation.cleaning import observe
from lift3d_ros.observation.cleaning import refine_mask
from lift3d_ros.observation.cleaning import with_holes_open
from lift3d_ros.observation.object_observation import ObjectObservation
from lift3d_ros.observation.registered_view import RegisteredView
from lift3d_ros.observation.support import Support

#: Standard deviations of a given pose: rotation in radians, and translation in metres beside what
#: that rotation moves the object by.
POSE_STDDEV = (np.radians(1.0), 0.005)

#: Standard deviation of a measured point, as a share of the object's size; the loss of larger
#: distances is linear.
POINT_STDDEV = 0.02

#: Number of independent points that all points of a pair of views count as: their errors are
#: correlated.
EFFECTIVE_POINTS = 40.0

#: Points of each view, and of the support plane around the object.
MAX_POINTS = 300

#: Largest distance between two readings of the same surface, as a share of the object's size.
MAX_PAIR_DISTANCE = 0.2

#: Smallest cosine between normal and line of sight of a surface that a camera sees.
MIN_FACING_COSINE = 0.25

#: Finite differences of a pose (radians, shares of the size): large against the quantisation of
#: images, which are sampled bilinearly.
POSE_DIFFERENCE = 1e-3

#: Relative change of the cost below which a pose is final; the residuals are noisier than that.
COST_TOLERANCE = 1e-3

#: Evaluations of the residuals at most, half a millisecond each; 100 are usual.
MAX_EVALUATIONS = 300

#: Mahalanobis distance of a refined pose from the given one above which the view is refused.
MAX_MAHALANOBIS = 4.0

#: Inconsistency above which a view is refused, as a share of the object's size, at the quantile
#: ``REFUSAL_QUANTILE`` of the points. Not at a higher one: of wires and grids one reading in ten
#: may be of what is behind them.
MAX_INCONSISTENCY = 0.15
REFUSAL_QUANTILE = 0.75

#: Inconsistency due to the noise of depth and masks, as a share of the object's size.
NOISE_INCONSISTENCY = 0.01


def register_views(
    view: ObjectView,
    reference: ObjectObservation,
    support: Support,
    sources: Sequence[SourceView],
) -> tuple[ObjectObservation, tuple[RegisteredView, ...]]:
    """
    Return the reference observation and the registered source views.

    ``reference`` is the cleaned observation of ``view``, ``support`` its support plane. With
    source views, depth is no longer continued far from readings, because another view may have
    measured there. Raises ``LiftError(BAD_REQUEST)``, which names the view, for a source view
    without usable depth readings of the object, and for one that is inconsistent with another.
    """
    if not sources:
        return reference, ()
    reference = with_holes_open(reference)
    name = 'the first view' if view.frame.depth is None else 'the first view with depth'
    known = [RegisteredView(reference, view, np.eye(4), name)]
    size = _size(reference)
    for number, source in enumerate(sources, 1):
        name = source.name or f'source view {number}'
        try:
            observation = with_holes_open(observe(source.view))
        except LiftError as error:
            # Not NO_DEPTH_IN_MASK: the depth of the reference view may be good.
            raise LiftError(
                ErrorCode.BAD_REQUEST, f'In {name}: {error.message}'
            ) from error
        fresh = RegisteredView(observation, source.view, source.T_ref_src, name)
        gaps = [inconsistency(fresh, other, REFUSAL_QUANTILE) for other in known]
        T, mahalanobis = refine_pose(fresh, known, support, size)
        fresh = replace(fresh, T_ref_src=T)
        refined = refine_mask(fresh.observation, _support_in(support, fresh))
        fresh = replace(fresh, observation=with_holes_open(refined))
        if mahalanobis <= MAX_MAHALANOBIS:
            gaps = [inconsistency(fresh, other, REFUSAL_QUANTILE) for other in known]
        worst = int(np.argmax(gaps))
        if mahalanobis > MAX_MAHALANOBIS or gaps[worst] > MAX_INCONSISTENCY * size:
            raise LiftError(
                ErrorCode.BAD_REQUEST,
                f'{name[0].upper()}{name[1:]} contradicts {known[worst].name}: a quarter of the '
                'points that one of them measured on the object are at least '
                f'{_length(gaps[worst], reference)} from the mask or the depth of the other. '
                'Check that its pose is that of its optical frame at the stamp of its image, in '
                'metres, and that its mask shows the same object, which has not moved.',
            )
        gap = min(
            max(inconsistency(fresh, other) for other in known), MAX_INCONSISTENCY * size
        )
        tolerance = max(gap - NOISE_INCONSISTENCY * size, 0.0)
        known.append(replace(fresh, inconsistency=gap, tolerance=tolerance))
    return reference, tuple(known[1:])


@dataclass(frozen=True, eq=False)
class _Patch:
    """Measured points (n, 3) and their normals, in the optical frame of their camera."""

    points: Array
    normals: Array


def refine_pose(
    fresh: RegisteredView, known: Sequence[RegisteredView], support: Support, size: float
) -> tuple[Array, float]:
    """
    Return the refined ``T_ref_src`` of a view and its Mahalanobis distance from the given one.

    ``known`` are registered views, the reference view first; ``support`` is the support plane in
    its frame, ``size`` the object's longest side in metres. Minimises the point-to-plane distances
    of readings of the same surface (Chen and Medioni, 1992), the distances of readings outside
    another view's occupancy bound, and those of the plane's readings from the plane, under a
    pseudo-Huber loss, with the given pose as a prior of ``POSE_STDDEV``.
    """
    from scipy.optimize import least_squares
    from scipy.spatial.transform import Rotation

    patches = [_patch(other.observation) for other in known]
    own_patch = _patch(fresh.observation)
    centre = np.median(known[0].observation.outline_points(), axis=0)
    plane_points = _plane_points(fresh, support, 0.3 * size)
    reach = np.linalg.norm(centre - fresh.T_ref_src[:3, 3])
    metric = known[0].observation.depth is not None
    stddev = np.repeat(
        [POSE_STDDEV[0], (POSE_STDDEV[1] if metric else 0.05 * size) + POSE_STDDEV[0] * reach], 3
    )
    # The unknowns are a rotation vector and a translation over the size.
    scaling = np.repeat([1.0, size], 3) / stddev

    def moved(x: Array) -> RegisteredView:
        R = Rotation.from_rotvec(x[:3]).as_matrix()
        correction = rigid(R, centre - R @ centre + size * x[3:])
        return replace(fresh, T_ref_src=correction @ fresh.T_ref_src)

    def residuals(x: Array) -> Array:
        candidate = moved(x)
        parts = [x * scaling]
        for other, patch in zip(known, patches, strict=True):
            for target, source, points in (
                (other, candidate, own_patch), (candidate, other, patch)
            ):
                if len(points.points):
                    parts.append(_robust(_gaps(target, source, points, size), size))
        if len(plane_points):
            at = transform(candidate.T_ref_src, plane_points)
            parts.append(_robust(support.height(at), size))
        return np.concatenate(parts)

    # The solver's differences are relative to its unknowns, which are therefore 1 + x.
    x = least_squares(
        lambda unknown: residuals(unknown - 1.0), np.ones(6),
        method='lm', diff_step=POSE_DIFFERENCE, ftol=COST_TOLERANCE, max_nfev=MAX_EVALUATIONS,
    ).x - 1.0
    return moved(x).T_ref_src, float(np.linalg.norm(x * scaling))


def inconsistency(a: RegisteredView, b: RegisteredView, quantile: float = 0.9) -> float:
    """
    Return the inconsistency of two views, metres.

    It is the ``quantile`` of the distances by which points that one measured lie outside the
    occupancy bound of the other; the larger one of both directions.
    """
    gaps = [0.0]
    for target, source in ((a, b), (b, a)):
        points = _patch(source.observation).points
        if len(points):
            local = target.to_camera(transform(source.T_ref_src, points))
            outside = np.maximum(-target.occupancy_bound(local), 0.0)
            gaps.append(float(np.quantile(outside, quantile)))
    return max(gaps)


def _gaps(target: RegisteredView, source: RegisteredView, patch: _Patch, size: float) -> Array:
    """Return distances (n,) of the source's points from where the target allows them, metres."""
    T = invert(target.T_ref_src) @ source.T_ref_src
    points, normals = transform(T, patch.points), rotate(T, patch.normals)
    outside = np.minimum(target.occupancy_bound(points), 0.0)
    facing = -np.einsum('ij,ij->i', normals, points) / np.linalg.norm(points, axis=1)
    behind = target.observation.behind(points)
    with np.errstate(invalid='ignore'):
        paired = (facing > MIN_FACING_COSINE) & (np.abs(behind) < MAX_PAIR_DISTANCE * size)
    return np.where(paired, np.nan_to_num(behind) * facing, outside)


def _robust(gaps: Array, size: float) -> Array:
    """Return residuals whose squares are a pseudo-Huber loss of gaps (n,) in metres."""
    scaled = gaps / (POINT_STDDEV * size)
    robust = np.sign(scaled) * np.sqrt(2.0 * (np.sqrt(1.0 + scaled**2) - 1.0))
    return robust * np.sqrt(EFFECTIVE_POINTS / len(gaps))


def _patch(observation: ObjectObservation) -> _Patch:
    """Return some of the measured points with their normals, spread over the object."""
    if observation.depth is None:
        return _Patch(np.zeros((0, 3)), np.zeros((0, 3)))
    v, u = np.nonzero(observation.measured)
    places = observation.camera.rays() * observation.depth[..., None]
    # Differences over several pixels, so that the noise of single readings does not tilt normals.
    span = max(2, round(0.02 * np.sqrt(len(v))))
    height, width = observation.depth.shape
    left, right = np.maximum(u - span, 0), np.minimum(u + span, width - 1)
    above, below = np.maximum(v - span, 0), np.minimum(v + span, height - 1)
    normals = np.cross(places[below, u] - places[above, u], places[v, right] - places[v, left])
    length = np.linalg.norm(normals, axis=1)
    good = np.flatnonzero(length > 0.0)
    good = good[:: max(1, len(good) // MAX_POINTS)]
    points, normals = places[v[good], u[good]], normals[good] / length[good, None]
    away = (normals * points).sum(axis=1, keepdims=True) > 0.0
    return _Patch(points, np.where(away, -normals, normals))


def _plane_points(fresh: RegisteredView, support: Support, reach: float) -> Array:
    """Return readings within ``reach`` metres of the support plane, (n, 3), in their own frame."""
    points = fresh.observation.surrounding_points()
    if support.offset is None or not len(points):
        return np.zeros((0, 3))
    points = points[:: max(1, len(points) // 4000)]
    height = support.height(transform(fresh.T_ref_src, points))
    near = points[np.abs(height) < reach]
    # With few readings near it, this camera saw another surface.
    return near[:: max(1, len(near) // MAX_POINTS)] if len(near) > 200 else np.zeros((0, 3))


def _support_in(support: Support, view: RegisteredView) -> Support:
    """Return the support plane in the frame of another camera."""
    offset = support.offset
    if offset is not None:
        offset -= float(support.up @ view.T_ref_src[:3, 3])
    return replace(support, up=rotate(invert(view.T_ref_src), support.up), offset=offset)


def _size(reference: ObjectObservation) -> float:
    """Return the longest side of the object's visible part in the reference view's units."""
    # Without depth the longer side of the mask is one unit long, at the nominal distance.
    return 1.0 if reference.depth is None else float(np.ptp(reference.points(), axis=0).max())


def _length(metres: float, reference: ObjectObservation) -> str:
    if reference.depth is None:
        return f'{100.0 * metres:.0f} % of its length'
    return f'{1000.0 * metres:.0f} mm'
