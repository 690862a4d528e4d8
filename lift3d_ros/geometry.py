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
Cameras, rigid transforms, spherical poses and upright boxes: the one convention of the package.

World and object frames are right-handed, z up, metres. Camera frames are OpenCV optical frames: x
right, y down, z forward (ROS ``*_optical_frame``, REP-103). ``T_a_b`` is a 4 x 4 matrix that maps
coordinates of frame b into frame a. Angles are degrees at the surface of the API and radians
inside; azimuth = atan2(y, x), elevation is measured up from the horizon.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: What functions take where the precision is the caller's choice.
Floats = NDArray[np.floating[Any]]

#: Horizontal field of view of the views that the Zero-1-to-3 family makes: a 35 mm lens before a
#: 32 mm sensor, 2 atan(16 / 35) (its rendering script).
ZERO123_FOV = float(np.degrees(2.0 * np.arctan(16.0 / 35.0)))

#: Turns OpenCV camera axes into OpenGL's (y up, z backward) and back.
OPENCV_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])


@dataclass(frozen=True)
class Camera:
    """
    A pinhole camera without distortion.

    ``fx, fy, cx, cy`` are pixels; the centre of the top-left pixel has the coordinates (0, 0), as
    in ROS and OpenCV.
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float

    def __post_init__(self) -> None:
        """
        Refuse what no picture can come from.

        Raises ``ValueError`` for an empty image, a focal length that is not positive, or numbers
        that are not finite.
        """
        if self.width < 1 or self.height < 1:
            raise ValueError(f'the image size {self.width} x {self.height} is empty')
        if not np.isfinite([self.fx, self.fy, self.cx, self.cy]).all():
            raise ValueError('the camera matrix has entries that are not finite')
        if self.fx <= 0.0 or self.fy <= 0.0:
            raise ValueError(f'the focal lengths {self.fx}, {self.fy} are not positive')

    @classmethod
    def from_matrix(cls, width: int, height: int, K: ArrayLike) -> Camera:
        """Make a camera from its 3 x 3 matrix; raises ``ValueError`` for one that has skew."""
        matrix = np.asarray(K, dtype=np.float64)
        if matrix.shape != (3, 3):
            raise ValueError(f'the camera matrix has the shape {matrix.shape}, not (3, 3)')
        if abs(matrix[0, 1]) > 1e-6 * max(abs(matrix[0, 0]), 1.0):
            raise ValueError(f'the camera matrix has the skew {matrix[0, 1]}; it must be 0')
        return cls(
            int(width),
            int(height),
            float(matrix[0, 0]),
            float(matrix[1, 1]),
            float(matrix[0, 2]),
            float(matrix[1, 2]),
        )

    @classmethod
    def from_fov(cls, width: int, height: int, fov: float) -> Camera:
        """Make a camera with square pixels that sees ``fov`` degrees across its width."""
        focal = 0.5 * width / np.tan(np.radians(fov) / 2.0)
        return cls(width, height, focal, focal, (width - 1) / 2.0, (height - 1) / 2.0)

    @property
    def K(self) -> Array:
        """The 3 x 3 camera matrix."""
        return np.array([[self.fx, 0.0, self.cx], [0.0, self.fy, self.cy], [0.0, 0.0, 1.0]])

    def project(self, points: ArrayLike) -> tuple[Array, Array, Array]:
        """
        Project points of the optical frame.

        ``points`` has the shape (..., 3), metres. Returns columns u and rows v in pixels and the
        depth z in metres, each of shape (...); u and v are NaN where z is not positive.
        """
        p = np.asarray(points)
        z = p[..., 2]
        with np.errstate(divide='ignore', invalid='ignore'):
            inverse = np.where(z > 0.0, 1.0 / z, np.nan)
        return self.fx * p[..., 0] * inverse + self.cx, self.fy * p[..., 1] * inverse + self.cy, z

    def unproject(self, u: ArrayLike, v: ArrayLike, z: ArrayLike) -> Array:
        """Return the points, shape (..., 3) metres, at depth ``z`` metres behind pixels (u, v)."""
        u, v, z = np.broadcast_arrays(
            np.asarray(u, np.float64), np.asarray(v, np.float64), np.asarray(z, np.float64)
        )
        return np.stack([(u - self.cx) / self.fx * z, (v - self.cy) / self.fy * z, z], axis=-1)

    def rays(self) -> Array:
        """Return for each pixel the direction with z = 1, shape (height, width, 3)."""
        u, v = np.meshgrid(np.arange(self.width), np.arange(self.height))
        return self.unproject(u, v, 1.0)

    def crop(
        self,
        left: float,
        top: float,
        width: int,
        height: int,
        scale_x: float = 1.0,
        scale_y: float = 1.0,
    ) -> Camera:
        """
        Return the camera of a window of the image, resized by ``scale_x`` and ``scale_y``.

        ``left`` and ``top`` are the window's outer border in pixels (-0.5 is the border of the
        image); ``width`` and ``height`` are the size of the result.
        """
        return Camera(
            width,
            height,
            self.fx * scale_x,
            self.fy * scale_y,
            (self.cx - left) * scale_x - 0.5,
            (self.cy - top) * scale_y - 0.5,
        )


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
    """Return vectors of shape (..., 3) at length 1; raises ``ValueError`` for a zero vector."""
    v = np.asarray(vector, dtype=np.float64)
    length = np.linalg.norm(v, axis=-1, keepdims=True)
    if not np.isfinite(length).all() or (length < 1e-12).any():
        raise ValueError('a direction has no length')
    return v / length


def look_at(eye: ArrayLike, target: ArrayLike, up: ArrayLike = (0.0, 0.0, 1.0)) -> Array:
    """
    Return ``T_world_camera`` of an optical frame at ``eye`` that looks at ``target``.

    Straight above or below the target, where ``up`` gives no direction, the image's right points
    along world +y, which is the limit of a camera that rises or sinks at azimuth 0.
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
    """Return ``T_object_camera`` of a camera on a sphere that looks at the object's origin."""
    return look_at(spherical(azimuth, elevation, radius), np.zeros(3))


def frame_from_up(up: ArrayLike, towards: ArrayLike) -> Array:
    """
    Return a 3 x 3 rotation whose columns are the axes of a z-up frame.

    z is ``up``; x is ``towards`` made horizontal. Both are vectors of the outer frame.

    Raises ``ValueError`` where ``up`` has no length.
    """
    z = unit(up)
    x = np.asarray(towards, np.float64) - z * np.dot(z, towards)
    if np.linalg.norm(x) < 1e-6 * max(float(np.linalg.norm(towards)), 1e-12):
        # Looking straight down: any horizontal direction will do, the same one every time.
        other = np.eye(3)[np.argmin(np.abs(z))]
        x = other - z * np.dot(z, other)
    x = unit(x)
    return np.stack([x, np.cross(z, x), z], axis=1)


def zero123_pose(
    azimuth: ArrayLike, elevation: ArrayLike, radius: ArrayLike, input_elevation: ArrayLike
) -> Array:
    """
    Return the pose vector of Zero-1-to-3, shape (..., 4).

    ``azimuth`` and ``radius`` are differences target minus input (degrees, lengths of the
    normalised object), both elevations absolute in degrees. The vector is [polar difference, sin,
    cos of the azimuth difference, radius difference]: polar grows downwards, so a camera that
    moves up has a negative first entry (Zero-1-to-3, ``ldm/data/simple.py``).
    """
    polar = -np.radians(np.asarray(elevation) - np.asarray(input_elevation))
    turn = np.radians(azimuth)
    return np.stack(
        np.broadcast_arrays(polar, np.sin(turn), np.cos(turn), np.asarray(radius, np.float64)),
        axis=-1,
    )


def stable_zero123_pose(
    azimuth: ArrayLike, elevation: ArrayLike, input_elevation: ArrayLike
) -> Array:
    """
    Return the pose vector of Stable-Zero123, shape (..., 4); arguments as ``zero123_pose``.

    The fourth entry is the absolute polar angle of the input view in radians instead of the
    radius difference (threestudio, ``stable_zero123_guidance.py``).
    """
    pose = zero123_pose(azimuth, elevation, 0.0, input_elevation)
    pose[..., 3] = np.radians(90.0 - np.asarray(input_elevation, np.float64))
    return pose


def zeronvs_pose(
    T_world_target: ArrayLike, T_world_input: ArrayLike, scale: float, fov: float
) -> Array:
    """
    Return the pose vector of ZeroNVS, shape (..., 19).

    ``T_world_target`` (..., 4, 4) and ``T_world_input`` (4, 4) are optical frames in any world,
    ``scale`` the size of the scene in the same length, ``fov`` in degrees. The vector is the
    target's 4 x 4 pose in the input's OpenGL frame, row by row, and [fov in radians, sin, cos].
    Its translation t is divided by the scale and squashed to 5 tanh(t / 10): half of it for a
    small motion, never more than 5 (ZeroNVS, ``ldm/data/common.py``). Entries that are not finite
    stay so, where ZeroNVS makes them 0 and a wrong pose a plausible one.
    """
    target = np.asarray(T_world_target, dtype=np.float64)
    pose = OPENCV_OPENGL @ invert(T_world_input) @ target @ OPENCV_OPENGL
    pose[..., :3, 3] = 5.0 * np.tanh(pose[..., :3, 3] / max(scale, 0.01) / 10.0)
    angle = np.radians(fov)
    lens = np.broadcast_to([angle, np.sin(angle), np.cos(angle)], (*pose.shape[:-2], 3))
    return np.concatenate([pose.reshape(*pose.shape[:-2], 16), lens], axis=-1)


def upright_sides(vertices: Floats, up: Array) -> Array:
    """
    Return the sides (3,) of the smallest upright box around points (n, 3).

    The longer and the shorter level one and the height. The box stands along ``up`` (3,) and is
    turned about it as it fits best: how the object is turned before the camera does not change
    its size.
    """
    points = np.asarray(vertices, np.float64)
    other = np.eye(3)[np.argmin(np.abs(up))]
    x = np.cross(up, other)
    x /= np.linalg.norm(x)
    flat = np.stack([points @ x, points @ np.cross(up, x)], axis=1)
    _, sides, _ = cv2.minAreaRect(flat.astype(np.float32))
    return np.array([max(sides), min(sides), np.ptp(points @ up)])


def longest_side(vertices: Floats, up: Array) -> float:
    """Return the longest of ``upright_sides``, which is what a known size is of."""
    return float(upright_sides(vertices, up).max())
