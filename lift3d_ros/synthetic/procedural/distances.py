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
Signed distance functions of solids, in metres, negative inside.

The primitives are those of I. Quilez, "Distance functions",
iquilezles.org/articles/distfunctions.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import ArrayLike
from numpy.typing import NDArray

from lift3d_ros.geometry import Array

#: Signed distance in metres at points (n, 3), negative inside.
Distance = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def ball(center: Sequence[float], radius: float) -> Distance:
    """Return a ball."""
    middle = np.asarray(center, np.float32)
    return lambda p: _length(p - middle) - np.float32(radius)


def ellipsoid(center: Sequence[float], radii: Sequence[float]) -> Distance:
    """Return an ellipsoid; the distance is exact to first order at its surface."""
    middle, r = np.asarray(center, np.float32), np.asarray(radii, np.float32)

    def distance(p: NDArray[np.float32]) -> NDArray[np.float32]:
        scaled = (p - middle) / r
        k0 = _length(scaled)
        return k0 * (k0 - np.float32(1.0)) / np.maximum(_length(scaled / r), np.float32(1e-6))

    return distance


def capsule(a: Sequence[float], b: Sequence[float], ra: float, rb: float) -> Distance:
    """Return a capsule from ``a`` with radius ``ra`` to ``b`` with ``rb``."""
    start = np.asarray(a, np.float32)
    axis = np.asarray(b, np.float32) - start
    square = float(axis @ axis)

    def distance(p: NDArray[np.float32]) -> NDArray[np.float32]:
        q = p - start
        t: NDArray[np.float32] = np.clip(q @ axis / np.float32(square), 0.0, 1.0)
        radius = np.float32(ra) + np.float32(rb - ra) * t
        return _length(q - t[:, None] * axis) - radius

    return distance


def box(
    center: ArrayLike, half: ArrayLike, radius: float, turn: float = 0.0
) -> Distance:
    """Return a box with edges of ``radius``, rotated about z by ``turn`` radians."""
    middle = np.asarray(center, np.float32)
    core = np.asarray(half, np.float32) - np.float32(radius)
    c, s = np.cos(turn), np.sin(turn)
    rotation = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]], np.float32)

    def distance(p: NDArray[np.float32]) -> NDArray[np.float32]:
        q = np.abs((p - middle) @ rotation) - core
        return _length(np.maximum(q, np.float32(0.0))) + np.minimum(
            q.max(axis=1), np.float32(0.0)) - np.float32(radius)

    return distance


def cylinder(
    center: Sequence[float], axis: Sequence[float], radius: float, half: float, edge: float
) -> Distance:
    """Return a cylinder of length ``2 half`` with edges of radius ``edge``."""
    middle, direction = np.asarray(center, np.float32), np.asarray(axis, np.float32)

    def distance(p: NDArray[np.float32]) -> NDArray[np.float32]:
        q = p - middle
        along = np.asarray(q @ direction, np.float32)
        across = _length(q - along[:, None] * direction) - np.float32(radius - edge)
        beyond = np.abs(along) - np.float32(half - edge)
        zero = np.float32(0.0)
        return np.hypot(np.maximum(across, zero), np.maximum(beyond, zero)) + np.minimum(
            np.maximum(across, beyond), zero) - np.float32(edge)

    return distance


def torus(center: Sequence[float], radius: float, tube: float) -> Distance:
    """Return a torus about z."""
    middle = np.asarray(center, np.float32)

    def distance(p: NDArray[np.float32]) -> NDArray[np.float32]:
        q = p - middle
        return np.hypot(np.hypot(q[:, 0], q[:, 1]) - np.float32(radius), q[:, 2]) - (
            np.float32(tube))

    return distance


def smooth_union(
    a: NDArray[np.float32], b: NDArray[np.float32], width: float
) -> NDArray[np.float32]:
    """Return the union, blended over ``width`` (the polynomial smooth minimum)."""
    k = np.float32(max(width, 1e-9))
    h = np.maximum(k - np.abs(a - b), np.float32(0.0)) / k
    return np.asarray(np.minimum(a, b) - h * h * k * np.float32(0.25))


def smooth_cut(
    a: NDArray[np.float32], b: NDArray[np.float32], width: float
) -> NDArray[np.float32]:
    """Return ``a`` minus ``b``, blended over ``width``."""
    return -smooth_union(-a, b, width)


def tabulated(
    polygon: ArrayLike, first: tuple[float, float], second: tuple[float, float]
) -> Callable[[NDArray[np.float32], NDArray[np.float32]], NDArray[np.float32]]:
    """Return the signed distance to a polygon (n, 2), interpolated from a table over a range."""
    corners = np.asarray(polygon, np.float64)
    u, v, table = _distance_table(np.vstack([corners, corners[:1]]), first, second)
    contour = np.stack(
        [(corners[:, 0] - u[0]) / (u[1] - u[0]), (corners[:, 1] - v[0]) / (v[1] - v[0])], axis=1
    )
    # Even-odd rule.
    inside = np.zeros(table.shape, bool)
    x, y = np.meshgrid(np.arange(len(u)), np.arange(len(v)))
    for (ax, ay), (bx, by) in zip(contour, np.roll(contour, -1, axis=0), strict=True):
        crosses = (ay > y) != (by > y)
        if ay != by:
            inside ^= crosses & (x < (bx - ax) * (y - ay) / (by - ay) + ax)
    return _lookup(u, v, np.where(inside, -table, table))


def tabulated_line(
    line: ArrayLike, first: tuple[float, float], second: tuple[float, float]
) -> Callable[[NDArray[np.float32], NDArray[np.float32]], NDArray[np.float32]]:
    """Return the distance to a polyline (n, 2), interpolated from a table over a range."""
    u, v, table = _distance_table(np.asarray(line, np.float64), first, second)
    return _lookup(u, v, table)


def _length(p: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(np.sqrt(np.einsum('ij,ij->i', p, p)))


def _distance_table(
    line: Array, first: tuple[float, float], second: tuple[float, float]
) -> tuple[Array, Array, NDArray[np.float32]]:
    """Return the nodes of a table along both axes and its distances to a polyline."""
    step = 0.0007
    u, v = np.arange(*first, step), np.arange(*second, step)
    x, y = np.meshgrid(u.astype(np.float32), v.astype(np.float32))
    best = np.full(x.shape, np.inf, np.float32)
    nodes = line.astype(np.float32)
    for a, b in zip(nodes[:-1], nodes[1:], strict=True):
        axis = b - a
        square = max(float(axis @ axis), 1e-12)
        t = np.clip(((x - a[0]) * axis[0] + (y - a[1]) * axis[1]) / square, 0.0, 1.0)
        np.minimum(best, (x - a[0] - t * axis[0]) ** 2 + (y - a[1] - t * axis[1]) ** 2, out=best)
    return u.astype(np.float64), v.astype(np.float64), np.sqrt(best)


def _lookup(
    u: Array, v: Array, table: NDArray[np.float32]
) -> Callable[[NDArray[np.float32], NDArray[np.float32]], NDArray[np.float32]]:
    scale_u, scale_v = np.float32(1.0 / (u[1] - u[0])), np.float32(1.0 / (v[1] - v[0]))

    def distance(x: NDArray[np.float32], y: NDArray[np.float32]) -> NDArray[np.float32]:
        # remap takes at most 32767 rows of an image.
        at = [((x - np.float32(u[0])) * scale_u), ((y - np.float32(v[0])) * scale_v)]
        rows = -(-len(x) // 1024)
        padded = [np.resize(values, rows * 1024).reshape(rows, 1024) for values in at]
        values = cv2.remap(
            table, padded[0], padded[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        return np.asarray(values.reshape(-1)[:len(x)])

    return distance
