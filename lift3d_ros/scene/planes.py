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

"""Planes of a frame, such as tables, floors and walls, by random sample consensus."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lift3d_ros.geometry import Array
from lift3d_ros.geometry import Camera

#: Angle between the normal of a plane that carries objects and the vertical, degrees.
MAX_TILT = 15.0

#: Least share of the readings on a plane, and of the pixels in one connected piece of it.
MIN_SHARE, MIN_PIECE = 0.03, 0.004

#: Hypotheses for each plane, and readings that judge them.
HYPOTHESES, JUDGES = 500, 6000

#: Share of the image's width within which the three readings of a hypothesis lie.
REACH = 0.15


@dataclass(frozen=True, eq=False)
class ScenePlane:
    """
    A plane of a frame, in its optical frame: the points x with ``normal @ x = offset``.

    - ``normal``: unit, towards the camera; ``offset``: metres, negative.
    - ``stddev``: of its readings about it, metres.
    - ``pixels``: bool (height, width), which readings are on it.
    - ``carries``: whether objects can stand on it; None where gravity is unknown.
    """

    normal: Array
    offset: float
    stddev: float
    pixels: NDArray[np.bool_]
    carries: bool | None

    def depth(self, camera: Camera) -> NDArray[np.float32]:
        """Return its depth along each ray, float32 (height, width); inf where a ray misses it."""
        slope = camera.rays() @ self.normal
        with np.errstate(divide='ignore'):
            depth = np.where(slope < -1e-6, self.offset / slope, np.inf)
        return depth.astype(np.float32)


def depth_tolerance(depth: NDArray[np.floating]) -> NDArray[np.float32]:
    """
    Return the distance from a plane, metres, within which a reading is on it.

    ``depth`` in metres. It is three standard deviations of a stereo camera, whose error grows with
    the square of the depth, and at least that of quantised millimetres.
    """
    return np.maximum(0.004, 0.004 * depth + 0.0025 * np.square(depth)).astype(np.float32)


def find_planes(
    depth: NDArray[np.float32],
    camera: Camera,
    gravity: Array | None,
    rng: np.random.Generator,
    count: int = 6,
) -> tuple[ScenePlane, ...]:
    """
    Return up to ``count`` planes of a depth image, the largest first.

    ``depth`` (height, width) metres, 0 = no reading; ``gravity`` as in ``Frame``.
    """
    valid = depth > 0.0
    total = int(valid.sum())
    if total < 100:
        return ()
    points = camera.rays() * depth[..., None]
    tolerance = depth_tolerance(depth)
    found: list[ScenePlane] = []
    free = valid.copy()
    while len(found) < count and free.sum() >= max(100, MIN_SHARE * total):
        fit = _consensus(points, tolerance, free, rng)
        if fit is None:
            break
        normal, offset = fit
        away = np.abs(points @ normal - offset)
        inliers = _large_pieces(free & (away < tolerance), MIN_PIECE * total)
        if inliers.sum() < max(100, MIN_SHARE * total):
            break
        stddev = float(np.sqrt(np.mean(np.square(away[inliers]))))
        found.append(ScenePlane(normal, offset, stddev, inliers, _carries(normal, gravity)))
        # What lies near the plane is not evidence of another one.
        free &= ~(inliers | (away < tolerance))
    return tuple(found)


def _consensus(
    points: Array,
    tolerance: NDArray[np.float32],
    free: NDArray[np.bool_],
    rng: np.random.Generator,
) -> tuple[Array, float] | None:
    """Return the plane with the most readings of ``free``, refined to all of them."""
    v, u = np.nonzero(free)
    height, width = free.shape
    first = rng.integers(len(v), size=HYPOTHESES)
    reach = max(3, int(REACH * width))
    corners = [points[v[first], u[first]]]
    usable = np.ones(HYPOTHESES, bool)
    for _ in range(2):
        row = np.clip(v[first] + rng.integers(-reach, reach + 1, HYPOTHESES), 0, height - 1)
        column = np.clip(u[first] + rng.integers(-reach, reach + 1, HYPOTHESES), 0, width - 1)
        usable &= free[row, column]
        corners.append(points[row, column])
    normals = np.cross(corners[1] - corners[0], corners[2] - corners[0])
    length = np.linalg.norm(normals, axis=1)
    usable &= length > 1e-9
    if not usable.any():
        return None
    normals = normals[usable] / length[usable, None]
    offsets = np.einsum('ij,ij->i', normals, corners[0][usable])
    judges = rng.permutation(len(v))[:JUDGES]
    some, bound = points[v[judges], u[judges]], tolerance[v[judges], u[judges]]
    votes = (np.abs(some @ normals.T - offsets) < bound[:, None]).sum(axis=0)
    best = int(votes.argmax())
    normal, offset = normals[best], float(offsets[best])
    for _ in range(3):
        near = np.abs(some @ normal - offset) < bound
        if near.sum() < 3:
            return None
        # Readings far away are less exact.
        weight = 1.0 / np.square(bound[near])[:, None].astype(np.float64)
        centre = (weight * some[near]).sum(axis=0) / weight.sum()
        spread = (some[near] - centre) * np.sqrt(weight)
        normal = np.linalg.svd(spread, full_matrices=False)[2][2]
        offset = float(normal @ centre)
    return (normal, offset) if offset < 0.0 else (-normal, -offset)


def _carries(normal: Array, gravity: Array | None) -> bool | None:
    if gravity is None:
        return None
    return bool(-normal @ gravity > np.cos(np.radians(MAX_TILT)))


def _large_pieces(mask: NDArray[np.bool_], least: float) -> NDArray[np.bool_]:
    """Return the connected pieces with at least ``least`` pixels."""
    # A row of missing readings does not divide a plane.
    closed = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    _, labels, stats, _ = cv2.connectedComponentsWithStats(closed, connectivity=8)
    large = stats[:, cv2.CC_STAT_AREA] >= least
    large[0] = False
    return mask & large[labels]
