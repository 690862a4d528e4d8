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

"""The object frame of a mesh, and its uncertainty."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lift3d_ros.fields.field import BoxUncertainty
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import invert
from lift3d_ros.geometry import rigid
from lift3d_ros.geometry import transform
from lift3d_ros.geometry.shape import Mesh

#: Standard deviation of the rotation of the object about the vertical. This rotation is a
#: convention: the azimuth of the camera.
YAW_STDDEV_RAD = np.radians(10.0)


@dataclass(frozen=True, eq=False)
class ObjectFrame:
    """
    The frame of an object: origin at the centre of its upright box.

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
    Return the object frame of a mesh that is in the optical frame.

    ``upright`` (4, 4) has the axes of the object frame, z up, x towards the camera; ``tilt`` is
    the standard deviation of its vertical in radians.
    """
    local = transform(invert(upright), mesh.vertices)
    low, high = local.min(axis=0), local.max(axis=0)
    T_camera_object = upright @ rigid(np.eye(3), 0.5 * (low + high))
    R = T_camera_object[:3, :3]
    covariance = np.zeros((6, 6))
    covariance[:3, :3] = R @ np.diag(uncertainty.centre**2) @ R.T
    covariance[3:, 3:] = R @ np.diag([tilt**2, tilt**2, YAW_STDDEV_RAD**2]) @ R.T
    longest = int(np.argmax(high - low))
    return ObjectFrame(
        mesh.transformed(invert(T_camera_object)), T_camera_object, covariance,
        float(uncertainty.sides[longest] / (high - low)[longest]),
    )
