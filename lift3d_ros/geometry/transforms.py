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

"""Rigid transforms, directions, poses on a sphere, and upright boxes around points."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: Arguments of either precision.
Floats = NDArray[np.floating[Any]]


def transform(T_a_b: ArrayLike, points: ArrayLike) -> Array:
    """Map points of shape (..., 3) from frame b into frame a."""
    T = np.asarray(T_a_b, dtype=np.float64)
    return np.asarray(points, dtype=np.float64) @ T[:3, :3].T + T[:3, 3]


def rotate(T_a_b: ArrayLike, directions: ArrayLike) -> Array:
    """Map directions of shape (..., 3) from frame b into frame a."""
    return np.asarray(directions, dtype=np.float64) @ np.asarray(T_a_b, np.float64)[:3, :3].T


def invert(T_a_b: ArrayLike) -> Array:
    """Return ``T_b_a`` of a rigid transform."""
    T = np.asarray(T_a_b, dtype=np.float64)
    inverse = np.eye(4)
    inverse[:3, :3] = T[:3, :3].T
    inverse[:3, 3] = -T[:3, :3].T @ T[:3, 3]
    return inverse


def is_rigid(T_a_b: ArrayLike) -> bool:
    """Return whether a 4 x 4 matrix is a rotation and a translation, to a thousandth."""
    T = np.asarray(T_a_b, dtype=np.float64)
    return bool(
        T.shape == (4, 4)
        and np.isfinite(T).all()
        # Larger entries are not those of a rotation, and their product may overflow.
        and np.abs(T[:3, :3]).max() < 2.0
        and np.allclose(T[:3, :3] @ T[:3, :3].T, np.eye(3), atol=1e-3)
        and np.linalg.det(T[:3, :3]) > 0.0
        and np.allclose(T[3], (0.0, 0.0, 0.0, 1.0))
    )


def rigid(rotation: ArrayLike, translation: ArrayLike) -> Array:
    """Return the 4 x 4 matrix of a 3 x 3 rotation and a translation."""
    T = np.eye(4)
    T[:3, :3] = rotation
    T[:3, 3] = translation
    return T


def unit(vector: ArrayLike) -> Array:
    """Return unit vectors, shape (..., 3); raises ``ValueError`` for a zero vector."""
    v = np.asarray(vector, dtype=np.float64)
    # A length that overflows is refused below.
    with np.errstate(over='ignore'):
        length = np.linalg.norm(v, axis=-1, keepdims=True)
    if not np.isfinite(length).all() or (length < 1e-12).any():
        raise ValueError('a direction has no length')
    return v / length


def look_at(eye: ArrayLike, target: ArrayLike, up: ArrayLike = (0.0, 0.0, 1.0)) -> Array:
    """
    Return ``T_world_camera`` of an optical frame at ``eye`` that looks at ``target``.

    Straight above or below the target, where ``up`` defines no direction, the image's right points
    along world +y: the limit of a camera that rises or sinks at azimuth 0.
    """
    forward = unit(np.asarray(target, np.float64) - np.asarray(eye, np.float64))
    right = np.cross(forward, np.asarray(up, np.float64))
    if np.linalg.norm(right) < 1e-9:
        right = np.cross(forward, (-1.0, 0.0, 0.0) if forward[2] < 0.0 else (1.0, 0.0, 0.0))
    right = unit(right)
    return rigid(np.stack([right, np.cross(forward, right), forward], axis=1), eye)


def spherical(azimuth: ArrayLike, elevation: ArrayLike, radius: ArrayLike) -> Array:
    """Return points (..., 3) at azimuth and elevation in degrees and ``radius`` metres."""
    a, e = np.radians(azimuth), np.radians(elevation)
    r = np.asarray(radius, dtype=np.float64)
    return np.stack(
        np.broadcast_arrays(r * np.cos(a) * np.cos(e), r * np.sin(a) * np.cos(e), r * np.sin(e)),
        axis=-1,
    )


def orbit_pose(azimuth: float, elevation: float, radius: float) -> Array:
    """Return ``T_object_camera`` of a camera on a sphere, looking at the object's origin."""
    return look_at(spherical(azimuth, elevation, radius), np.zeros(3))


def frame_from_up(up: ArrayLike, towards: ArrayLike) -> Array:
    """
    Return a 3 x 3 rotation whose columns are the axes of a z-up frame.

    z is ``up``; x is the horizontal part of ``towards``. Both are vectors of the outer frame.

    Raises ``ValueError`` if ``up`` is zero.
    """
    z = unit(up)
    x = np.asarray(towards, np.float64) - z * np.dot(z, towards)
    if np.linalg.norm(x) < 1e-6 * max(float(np.linalg.norm(towards)), 1e-12):
        # Looking straight down: any fixed horizontal direction.
        other = np.eye(3)[np.argmin(np.abs(z))]
        x = other - z * np.dot(z, other)
    x = unit(x)
    return np.stack([x, np.cross(z, x), z], axis=1)


def upright_sides(vertices: Floats, up: Array) -> Array:
    """
    Return the sides (3,) of the smallest upright box around points (n, 3).

    They are the longer and the shorter horizontal side, and the height along ``up`` (3,). The
    rotation about ``up`` is the one with the smallest box, so that the orientation of the object
    does not change its size.
    """
    import cv2

    points = np.asarray(vertices, np.float64)
    other = np.eye(3)[np.argmin(np.abs(up))]
    x = np.cross(up, other)
    x /= np.linalg.norm(x)
    flat = np.stack([points @ x, points @ np.cross(up, x)], axis=1)
    _, sides, _ = cv2.minAreaRect(flat.astype(np.float32))
    return np.array([max(sides), min(sides), np.ptp(points @ up)])


def longest_side(vertices: Floats, up: Array) -> float:
    """Return the longest of ``upright_sides``, which a known size refers to."""
    return float(upright_sides(vertices, up).max())
