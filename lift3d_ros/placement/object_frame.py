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

"""The object frame of a mesh, and how sure it is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.fields.occupancy import Solid
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import invert
from lift3d_ros.geometry import rigid
from lift3d_ros.geometry import transform
from lift3d_ros.geometry.shape import Mesh

#: The far side of a guess: the centre is off by this share of the depth of what was not seen.
_GUESSED = 0.15

#: Levels of the probability between which two standard deviations of a normal distribution lie.
_LEVELS = (0.16, 0.84)

#: By how much more than its networks believe a box is off, and at the least, over a voxel: on 29
#: scenes of the train split, half of them with an occluder, and four sets of views.
_BEYOND, _LEAST = 1.4, 0.5

#: How an object is turned about the vertical is a convention, the azimuth of the camera.
_TURN = np.radians(10.0)


@dataclass(frozen=True, eq=False)
class BoxUncertainty:
    """Standard deviations (3,) in metres of the middle and the sides of an upright box."""

    centre: Array
    sides: Array


@dataclass(frozen=True, eq=False)
class ObjectFrame:
    """
    The frame of an object: origin in the middle of its upright box.

    - ``mesh``: in this frame; ``T_camera_object``: (4, 4), its pose in the optical frame.
    - ``covariance``: (6, 6), see ``Shape.pose_covariance``; ``scale_stddev``: relative, of the
      longest side.
    """

    mesh: Mesh
    T_camera_object: Array
    covariance: Array
    scale_stddev: float


def object_frame(
    mesh: Mesh, upright: Array, uncertainty: BoxUncertainty, tilt: float
) -> ObjectFrame:
    """
    Return the frame of a mesh in the optical frame.

    ``upright`` (4, 4) has the axes of the object frame, z up, x towards the camera; ``tilt`` is
    the standard deviation of its vertical in radians.
    """
    local = transform(invert(upright), mesh.vertices)
    low, high = local.min(axis=0), local.max(axis=0)
    T_camera_object = upright @ rigid(np.eye(3), 0.5 * (low + high))
    R = T_camera_object[:3, :3]
    covariance = np.zeros((6, 6))
    covariance[:3, :3] = R @ np.diag(uncertainty.centre**2) @ R.T
    covariance[3:, 3:] = R @ np.diag([tilt**2, tilt**2, _TURN**2]) @ R.T
    longest = int(np.argmax(high - low))
    return ObjectFrame(
        mesh.transformed(invert(T_camera_object)), T_camera_object, covariance,
        float(uncertainty.sides[longest] / (high - low)[longest]),
    )


def uncertainty_of_guess(
    mesh: Mesh, upright: Array, observed: NDArray[np.bool_], voxel: float
) -> BoxUncertainty:
    """Return how far a box may be off whose far side is a guess; ``voxel`` in metres."""
    depth = float(np.ptp(transform(invert(upright), mesh.vertices)[:, 0]))
    far = np.hypot(_GUESSED * depth * float(1.0 - observed.mean()), voxel)
    stddev = np.array([far, voxel, voxel])
    return BoxUncertainty(stddev, np.full(3, far))


def uncertainty_of_solid(solid: Solid, scale: float, voxel: float) -> BoxUncertainty:
    """
    Return how far a box may be off that holds a solid which is believed in.

    The solid is the mean over the samples of the synthesised views. A face of its box lies with
    the probability p beyond where the solid is at p at the most, so that between 0.16 and 0.84
    there are two standard deviations of it: what a sample is unsure of, and what the samples
    differ by. ``scale`` is metres of a canonical length, ``voxel`` in metres.
    """
    wide, even, narrow = (solid.bounds(level) for level in (_LEVELS[0], 0.5, _LEVELS[1]))
    assert wide is not None and even is not None, 'there is a solid'
    if narrow is None:
        middle = 0.5 * (even[0] + even[1])
        narrow = (middle, middle)
    low, high = (0.5 * scale * np.abs(a - b) for a, b in zip(wide, narrow, strict=True))
    sides = np.hypot(_BEYOND * np.hypot(low, high), _LEAST * voxel)
    return BoxUncertainty(np.hypot(0.5 * _BEYOND * np.hypot(low, high), _LEAST * voxel), sides)
