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
What can be had without completing anything: the observed cloud, its hull, its mirror image.

They need depth, and set the bars that a method must clear.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.spatial import QhullError

from lift3d_ros.bench.prediction import Contender
from lift3d_ros.bench.prediction import Prediction
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import frame_from_up
from lift3d_ros.geometry.frame import Frame
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.observation.support import assumed_up

#: Readings that are kept at the most; more of them add nothing to a hull or a mirror image.
_MAX_POINTS = 20_000

_MIN_POINTS = 16

_GREY = 170

#: Planes of symmetry that are tried: their turn about the vertical from square to the view,
#: degrees, and their place between the nearest (0) and the farthest (1) reading along the view.
_TURNS = (-20.0, -10.0, 0.0, 10.0, 20.0)
_PLACES = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


class PartialCloud:
    """The depth readings in the mask, nothing more."""

    needs_depth = True

    def predict(self, frame: Frame, mask: NDArray[np.bool_], seed: int) -> Prediction:
        """Return the points; raises ``LiftError(NO_DEPTH_IN_MASK)``."""
        return Prediction(points=observed_points(frame, mask))


class ConvexHull:
    """The convex hull of the depth readings in the mask."""

    needs_depth = True

    def predict(self, frame: Frame, mask: NDArray[np.bool_], seed: int) -> Prediction:
        """Return the hull; raises ``LiftError``: ``NO_DEPTH_IN_MASK``, ``NO_SURFACE``."""
        return Prediction(mesh=hull(observed_points(frame, mask)))


class MirroredCloud:
    """
    The depth readings and their mirror image in the most plausible vertical plane.

    Plausible is what the view does not contradict: mirrored points neither in front of the
    measured surface nor beside the mask (Bohg et al., Mind the Gap, 2011).
    """

    needs_depth = True

    def predict(self, frame: Frame, mask: NDArray[np.bool_], seed: int) -> Prediction:
        """Return both sets of points; raises ``LiftError(NO_DEPTH_IN_MASK)``."""
        points = observed_points(frame, mask)
        axes = frame_from_up(up_direction(frame), points.mean(axis=0))
        beside = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5)
        tried = points[:: max(len(points) // 2000, 1)]
        best, least = points, np.inf
        for turn in np.radians(_TURNS):
            normal = axes @ [np.cos(turn), np.sin(turn), 0.0]
            along = points @ normal
            near, far = np.percentile(along, [1.0, 99.0])
            for place in _PLACES:
                offset = near + place * (far - near)
                contradiction = _contradiction(_mirror(tried, normal, offset), frame, beside)
                if contradiction < least:
                    best, least = _mirror(points, normal, offset), contradiction
        return Prediction(points=np.concatenate([points, best]))


#: Baselines that need no preparation, by name.
BASELINES: dict[str, Callable[[], Contender]] = {
    'partial': PartialCloud,
    'hull': ConvexHull,
    'mirrored': MirroredCloud,
}


def observed_points(frame: Frame, mask: NDArray[np.bool_]) -> Array:
    """
    Return the depth readings in the mask, (n, 3) metres, without lone outliers.

    A reading counts as one where its mean distance to its 16 neighbours is more than two standard
    deviations above the mean (Rusu et al., Towards 3D Point Cloud Based Object Maps, 2008).
    Raises ``LiftError(NO_DEPTH_IN_MASK)``.
    """
    depth = np.zeros(mask.shape) if frame.depth is None else np.nan_to_num(frame.depth, posinf=0.0)
    v, u = np.nonzero(mask & (depth > 0.0))
    if len(u) <= _MIN_POINTS:
        raise LiftError(ErrorCode.NO_DEPTH_IN_MASK, 'There are no depth readings in the mask.')
    step = -(-len(u) // _MAX_POINTS)
    u, v = u[::step], v[::step]
    points = frame.camera.unproject(u, v, depth[v, u])
    spacing = cKDTree(points).query(points, k=_MIN_POINTS + 1)[0][:, 1:].mean(axis=1)
    return points[spacing <= spacing.mean() + 2.0 * spacing.std()]


def hull(points: Array) -> Mesh:
    """Return the grey convex hull of points (n, 3); raises ``LiftError(NO_SURFACE)``."""
    import trimesh

    try:
        solid = trimesh.convex.convex_hull(points)
    except QhullError as error:
        raise LiftError(ErrorCode.NO_SURFACE, 'The points lie in one plane.') from error
    vertices = np.asarray(solid.vertices, np.float32)
    mesh = Mesh(
        vertices, np.asarray(solid.faces, np.int32), np.full(vertices.shape, _GREY, np.uint8)
    )
    if mesh.volume() < 1e-6 * float(np.linalg.norm(np.ptp(points, axis=0))) ** 3:
        raise LiftError(ErrorCode.NO_SURFACE, 'The points lie in one plane.')
    return mesh


def up_direction(frame: Frame) -> Array:
    """Return the unit vector upwards in the optical frame, assumed where gravity is unknown."""
    return assumed_up() if frame.gravity is None else -frame.gravity


def _mirror(points: Array, normal: Array, offset: float) -> Array:
    return np.asarray(points - 2.0 * (points @ normal - offset)[:, None] * normal)


def _contradiction(points: Array, frame: Frame, beside: NDArray[np.float32]) -> float:
    """Return by how many metres, on average, points are where the view saw nothing."""
    assert frame.depth is not None
    camera = frame.camera
    column, row, z = camera.project(points)
    u = np.clip(np.nan_to_num(np.rint(column)), 0, camera.width - 1).astype(int)
    v = np.clip(np.nan_to_num(np.rint(row)), 0, camera.height - 1).astype(int)
    measured = np.nan_to_num(frame.depth[v, u], posinf=0.0)
    before = np.where(measured > 0.0, np.maximum(measured - z, 0.0), 0.0)
    return float(np.mean(before + beside[v, u] * z / camera.fx))
