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

"""The pose vector of each model family, by which a diffusion model is conditioned."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from lift3d_ros.geometry.transforms import Array
from lift3d_ros.geometry.transforms import invert

#: Horizontal field of view of the views of the Zero-1-to-3 family: a 35 mm lens before a
#: 32 mm sensor, 2 atan(16 / 35) (its rendering script).
ZERO123_FOV = float(np.degrees(2.0 * np.arctan(16.0 / 35.0)))

#: Lengths of the pose vectors of the families. ``small`` are the weights of this package, with the
#: vector of Zero-1-to-3.
POSE_DIMS = {'zero123': 4, 'stable_zero123': 4, 'zeronvs': 19, 'small': 4}

#: Maps OpenCV camera axes to OpenGL's (y up, z backward) and back.
OPENCV_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])


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
    Its translation t is divided by the scale and compressed to 5 tanh(t / 10): t / 2 for a small
    motion, at most 5 (ZeroNVS, ``ldm/data/common.py``). Entries that are not finite stay so;
    ZeroNVS sets them to 0, which makes a wrong pose a plausible one.
    """
    target = np.asarray(T_world_target, dtype=np.float64)
    pose = OPENCV_OPENGL @ invert(T_world_input) @ target @ OPENCV_OPENGL
    pose[..., :3, 3] = 5.0 * np.tanh(pose[..., :3, 3] / max(scale, 0.01) / 10.0)
    angle = np.radians(fov)
    lens = np.broadcast_to([angle, np.sin(angle), np.cos(angle)], (*pose.shape[:-2], 3))
    return np.concatenate([pose.reshape(*pose.shape[:-2], 16), lens], axis=-1)


def family_pose(
    family: str,
    T_object_target: ArrayLike,
    T_object_input: ArrayLike,
    fov: float = ZERO123_FOV,
    scale: float | None = None,
) -> Array:
    """
    Return the pose vectors of a model family, shape (n, POSE_DIMS[family]).

    ``T_object_target`` (n, 4, 4) and ``T_object_input`` (4, 4) are optical frames in canonical
    coordinates, aimed at the origin; ``fov`` in degrees and ``scale`` in canonical units are for
    ZeroNVS; without a scale it is that of an object as long as the unit. Raises ``KeyError`` for
    an unknown family.
    """
    targets = np.asarray(T_object_target, np.float64)
    own = np.asarray(T_object_input, np.float64)
    if POSE_DIMS[family] != 4:
        # The 20th percentile of the input's depth is about half a length before its centre.
        if scale is None:
            scale = float(np.linalg.norm(own[:3, 3])) - 0.5
        return zeronvs_pose(targets, own, scale, fov)
    azimuth, elevation, radius = _spherical(targets[:, :3, 3])
    azimuth_0, elevation_0, radius_0 = _spherical(own[:3, 3])
    turn = azimuth - azimuth_0
    if family == 'stable_zero123':
        return stable_zero123_pose(turn, elevation, elevation_0)
    # The views of the small weights are at one distance, whatever that of the input is.
    step = np.zeros_like(radius) if family == 'small' else radius - radius_0
    return zero123_pose(turn, elevation, step, elevation_0)


def _spherical(positions: Array) -> tuple[Array, Array, Array]:
    """Return azimuth and elevation in degrees and the radius of positions (..., 3)."""
    x, y, z = np.moveaxis(positions, -1, 0)
    return (
        np.degrees(np.arctan2(y, x)), np.degrees(np.arctan2(z, np.hypot(x, y))),
        np.linalg.norm(positions, axis=-1),
    )
