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
Shape alone: both surfaces normalised and aligned before they are compared.

What papers on single images report, because their predictions have neither scale nor pose. The
protocol, after TripoSR (2024, section 4: search over the rotation for the least chamfer distance,
then ICP) and InstantMesh (2024: cube [-1, 1]^3):

1. Both surfaces, 10,000 points each, are normalised: moved and scaled so that their bounding
   boxes, along the true object's axes (z up), are centred at 0 and the longest side is 2.
2. The prediction is turned about z by every multiple of 10 degrees and tipped about the
   horizontal axis across the camera's view by -30, -15, 0, 15 and 30 degrees, each time
   normalised anew; 512 points of each surface give the chamfer distance.
3. The three best are refined by point-to-point ICP (Besl and McKay, 1992), rigid, at most 40
   steps, pairs up to 0.4 apart, normalised again, since the box of a shape depends on its turn,
   and refined once more. Of all these the one with the least chamfer distance counts.

A similarity ICP (``similarity``) keeps metres and refines scale, rotation and translation from
where the prediction is; from boxes brought upon each other, too, for predictions of unknown scale.

CD is the mean of both directions' mean distances, unsquared. FS@t is the F-score at the distance
t in that cube: t = 0.1 is 5 % of the longest side. In a cube of side 1, as some papers take it,
that is F@0.05.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from lift3d_ros.bench.metrics import surfaces
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import Floats
from lift3d_ros.geometry import transform

#: Rotations of the search, degrees about z and about the horizontal axis.
AZIMUTHS = tuple(range(0, 360, 10))
TILTS = (0, -15, 15, -30, 30)

_SEARCH_POINTS = 512
_ICP_STARTS = 3
_ICP_POINTS = 2000
_ICP_MAX_DISTANCE = 0.4
_ICP_STEPS = 40

#: Steps of the similarity ICP at most, those from each start, and the relative gain of a step
#: below which it ends.
_SIMILARITY_STEPS, _FIRST_STEPS = 40, 6
_SIMILARITY_GAIN = 1e-3


@dataclass(frozen=True, eq=False)
class Alignment:
    """
    The prediction aligned with the truth, in the cube [-1, 1]^3.

    - ``predicted``, ``true``: points (n, 3) and (m, 3); ``distances``: between them.
    """

    predicted: Array
    true: Array
    distances: surfaces.Distances


def align(
    predicted: Floats, true: Floats, towards_camera: ArrayLike = (1.0, 0.0, 0.0)
) -> Alignment:
    """
    Return the aligned surfaces.

    ``predicted`` (n, 3) and ``true`` (m, 3) are points of both surfaces in a z-up frame of any
    unit; ``towards_camera`` (3,) is the direction in it to the camera, about whose horizontal
    normal the prediction is tipped. Raises ``ValueError`` for fewer than four points or a surface
    without extent.
    """
    moving, fixed = surfaces.normalise(predicted), surfaces.normalise(true)
    turns = _turns(towards_camera)
    errors = _search(moving[_spread(len(moving), _SEARCH_POINTS)],
                     fixed[_spread(len(fixed), _SEARCH_POINTS)], turns)
    # Where the closest points mislead, ICP makes it worse: every stage is a candidate.
    candidates = []
    for index in np.argsort(errors, kind='stable')[:_ICP_STARTS]:
        start = surfaces.normalise(moving @ turns[index].T)
        refined = _icp(start, fixed)
        again = surfaces.normalise(refined)
        candidates += [start, refined, again, _icp(again, fixed)]
    few = fixed[_spread(len(fixed), _ICP_POINTS)]
    rough = [surfaces.distances(c[_spread(len(c), _ICP_POINTS)], few).chamfer()
             for c in candidates]
    best = candidates[int(np.argmin(rough))]
    return Alignment(best, fixed, surfaces.distances(best, fixed))


def similarity(predicted: Floats, true: Floats) -> Array:
    """
    Return the transform (4, 4), scale included, that brings the prediction upon the truth.

    ``predicted`` (n, 3) and ``true`` (m, 3) are points of both surfaces in one frame. ICP (Besl
    and McKay, 1992) with pairs of both directions and, in each step, the transform and symmetric
    scale of Horn (Closed-Form Solution of Absolute Orientation, 1987); neither lets the prediction
    shrink into the truth. It starts from the identity and from boxes brought upon each other; the
    result, the starts included, of least chamfer distance counts. Raises ``ValueError`` for fewer
    than four points or a surface without extent.
    """
    surfaces.normalise(predicted)
    moving, fixed = (
        np.asarray(points, np.float64)[_spread(len(points), _ICP_POINTS)]
        for points in (predicted, true))
    tree = cKDTree(fixed)

    def best(candidates: list[Array]) -> Array:
        errors = [surfaces.distances(transform(T, moving), fixed, tree).chamfer()
                  for T in candidates]
        return candidates[int(np.argmin(errors))]

    starts = [np.eye(4), _box_transform(moving, fixed)]
    start = best(starts + [
        _similarity_icp(moving, fixed, tree, start, _FIRST_STEPS) for start in starts])
    return best([start, _similarity_icp(moving, fixed, tree, start, _SIMILARITY_STEPS)])


def _similarity_icp(
    moving: Array, fixed: Array, tree: cKDTree, start: Array, steps: int
) -> Array:
    """Return the transform after ICP with pairs of both directions."""
    from trimesh.registration import procrustes

    T, before = start, np.inf
    for _ in range(steps):
        moved = transform(T, moving)
        forth, onto = tree.query(moved)
        back, source = cKDTree(moved).query(fixed)
        error = float(np.mean(forth**2) + np.mean(back**2))
        if error > (1.0 - _SIMILARITY_GAIN) * before:
            break
        before = error
        T = procrustes(
            np.concatenate([moving, moving[source]]), np.concatenate([fixed[onto], fixed]),
            reflection=False, return_cost=False)
    return T


def _box_transform(moving: Array, fixed: Array) -> Array:
    """Return the transform that brings one bounding box upon the other, axes kept."""
    (low_a, high_a), (low_b, high_b) = (
        (points.min(axis=0), points.max(axis=0)) for points in (moving, fixed))
    T = np.eye(4)
    T[:3, :3] *= np.linalg.norm(high_b - low_b) / np.linalg.norm(high_a - low_a)
    T[:3, 3] = 0.5 * (low_b + high_b) - T[0, 0] * 0.5 * (low_a + high_a)
    return T


def _turns(towards_camera: ArrayLike) -> Array:
    """Return the rotations that are tried, (k, 3, 3)."""
    across = np.cross([0.0, 0.0, 1.0], np.asarray(towards_camera, np.float64))
    length = np.linalg.norm(across)
    across = np.array([0.0, 1.0, 0.0]) if length < 1e-9 else across / length
    return np.stack(
        [
            Rotation.from_rotvec([0.0, 0.0, np.radians(azimuth)]).as_matrix()
            @ Rotation.from_rotvec(np.radians(tilt) * across).as_matrix()
            for tilt in TILTS
            for azimuth in AZIMUTHS
        ]
    )


def _search(moving: Array, fixed: Array, turns: Array) -> Array:
    """Return the chamfer distance at each rotation, (k,)."""
    turned = moving @ turns.transpose(0, 2, 1)
    low, high = turned.min(axis=1, keepdims=True), turned.max(axis=1, keepdims=True)
    middle, scale = 0.5 * (low + high), 2.0 / (high - low).max(axis=2, keepdims=True)
    forth = cKDTree(fixed).query((turned - middle) * scale)[0].mean(axis=1)
    # Turning one set is turning the other backwards, so that either tree is built once.
    back = cKDTree(moving).query((fixed / scale + middle) @ turns)[0].mean(axis=1)
    return 0.5 * (forth + back * scale[:, 0, 0])


def _icp(moving: Array, fixed: Array) -> Array:
    """Return ``moving`` after rigid point-to-point ICP onto ``fixed``."""
    import open3d as o3d

    registration = o3d.pipelines.registration
    clouds = [
        o3d.geometry.PointCloud(o3d.utility.Vector3dVector(p[_spread(len(p), _ICP_POINTS)]))
        for p in (moving, fixed)
    ]
    result = registration.registration_icp(
        clouds[0],
        clouds[1],
        _ICP_MAX_DISTANCE,
        np.eye(4),
        registration.TransformationEstimationPointToPoint(),
        registration.ICPConvergenceCriteria(max_iteration=_ICP_STEPS),
    )
    return transform(result.transformation, moving)


def _spread(size: int, count: int) -> slice:
    """Return a choice of about ``count`` of ``size`` points, which are in the order of area."""
    return slice(None, None, max(size // count, 1))
