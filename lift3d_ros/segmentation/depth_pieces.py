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

"""Depth segmentation: the plane behind an object, and connected surfaces in front of it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lift3d_ros.geometry import Array

#: Smallest depth step between two surfaces, share of the depth of neighbouring readings.
DEPTH_STEP = 0.02

#: Number of RANSAC samples of three readings, and of the readings that score each sample.
_SAMPLES, _SCORING_READINGS = 200, 2000

#: Smallest share of the readings around an object in its background plane.
MIN_PLANE_SHARE = 0.25

#: Smallest rise above the plane, in standard deviations of its readings and in metres: depth
#: cameras bend a plane by some millimetres.
_RISE_DEVIATIONS, _MIN_RISE_M = 4.0, 0.005


@dataclass(frozen=True, eq=False)
class ImagePlane:
    """
    A plane in the readings of a depth image, without a camera model.

    A plane in space is linear in inverse depth over the image: 1 / z = a u + b v + c.

    - ``coefficients``: a, b, c for u, v in pixels and z in metres.
    - ``stddev``: of the readings on it along z, as a share of z.
    """

    coefficients: Array
    stddev: float

    def depth(self, shape: tuple[int, ...]) -> Array:
        """Return its depth at every pixel (height, width), metres; inf where no ray meets it."""
        v, u = np.mgrid[: shape[0], : shape[1]]
        a, b, c = self.coefficients
        inverse = a * u + b * v + c
        return np.where(inverse > 1e-4, 1.0 / np.maximum(inverse, 1e-4), np.inf)

    def rise(self, depth: NDArray[np.float32]) -> Array:
        """Return the distance of readings (h, w) in front of it, metres; 0 without a reading."""
        rise = self.depth(depth.shape) - depth
        return np.where(depth > 0.0, rise, 0.0)

    def tolerance(self, depth: NDArray[np.float32]) -> Array:
        """Return the rise above which a reading is not on the plane, metres."""
        return np.maximum(_MIN_RISE_M, _RISE_DEVIATIONS * self.stddev * depth)


def find_image_plane(
    depth: NDArray[np.float32], around: NDArray[np.bool_], seed: int = 0
) -> ImagePlane | None:
    """
    Return the plane of most of the readings ``around`` an object, or None.

    ``depth`` is float32 metres (height, width), 0 without a reading; ``around`` is bool of the
    same shape. Random sample consensus (Fischler and Bolles, 1981), seeded by ``seed``.
    """
    rng = np.random.default_rng(seed)
    v, u = np.nonzero(around & (depth > 0.0))
    if len(u) < 50:
        return None
    chosen = rng.permutation(len(u))[:_SCORING_READINGS]
    u, v = u[chosen], v[chosen]
    z = depth[v, u].astype(np.float64)
    A = np.stack([u, v, np.ones(len(u))], axis=1).astype(np.float64)
    inverse = 1.0 / z
    corners = rng.integers(0, len(u), (_SAMPLES, 3))
    system = A[corners]
    good = np.abs(np.linalg.det(system)) > 1.0
    if not good.any():
        return None
    planes = np.linalg.solve(system[good], inverse[corners[good]][..., None])[..., 0]
    # (1/z - 1/z') z is the deviation along z relative to z, to first order.
    off = np.abs((A @ planes.T - inverse[:, None]) * z[:, None])
    inliers = off < 0.01
    best = int(np.argmax(inliers.sum(axis=0)))
    keep = inliers[:, best]
    if keep.mean() < MIN_PLANE_SHARE:
        return None
    plane = planes[best]
    spread = 0.01
    for _ in range(4):
        plane, *_ = np.linalg.lstsq(A[keep], inverse[keep], rcond=None)
        residual = (A @ plane - inverse) * z
        spread = float(np.clip(1.4826 * np.median(np.abs(residual[keep])), 0.0005, 0.01))
        keep = np.abs(residual) < 3.0 * spread
        if keep.sum() < 20:
            return None
    return ImagePlane(plane, spread)


def depth_pieces(depth: NDArray[np.float32]) -> tuple[NDArray[np.int32], int]:
    """Label the connected pieces of a depth map without steps (0 = none)."""
    valid = depth > 0.0
    high = cv2.dilate(depth, np.ones((3, 3), np.uint8))
    low = cv2.erode(np.where(valid, depth, np.float32(np.inf)), np.ones((3, 3), np.uint8))
    with np.errstate(invalid='ignore'):
        flat = valid & (high - low < DEPTH_STEP * depth)
    count, labels = cv2.connectedComponents(flat.astype(np.uint8), connectivity=4)
    # Readings on a step join the neighbouring piece with the nearest depth.
    result, around = np.pad(labels, 1).ravel(), np.pad(depth, 1).ravel()
    width = depth.shape[1] + 2
    at = np.flatnonzero(np.pad(valid & ~flat, 1))
    for _ in range(2):
        own = around[at]
        best = np.full(len(at), np.inf, np.float32)
        choice = np.zeros(len(at), np.int32)
        for step in (-width, -1, 1, width):
            label = result[at + step]
            gap = np.where(label > 0, np.abs(around[at + step] - own), np.float32(np.inf))
            better = gap < best
            best[better], choice[better] = gap[better], label[better]
        joins = best < DEPTH_STEP * own
        result[at[joins]] = choice[joins]
        at = at[~joins]
    return np.ascontiguousarray(result.reshape(-1, width)[1:-1, 1:-1]), count - 1


def nearest(
    known: NDArray[np.bool_],
) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.int32]]:
    """
    Return the distance of each pixel to the nearest one ``known``, pixels, and its row and column.

    All are (height, width); at least one pixel is known.
    """
    from scipy import ndimage

    # SciPy takes longer for the distances than for the places.
    rows, columns = ndimage.distance_transform_edt(
        ~known, return_distances=False, return_indices=True
    )
    height, width = known.shape
    down = (rows - np.arange(height, dtype=np.int32)[:, None]).astype(np.float32)
    right = (columns - np.arange(width, dtype=np.int32)).astype(np.float32)
    return np.sqrt(down * down + right * right), rows, columns
