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

"""Ground-truth views, rendered for training and the benchmark."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from lift3d_ros.geometry import Array
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import invert
from lift3d_ros.geometry import transform
from lift3d_ros.geometry import ZERO123_FOV
from lift3d_ros.geometry.canonical import CanonicalFrame
from lift3d_ros.meshing.render import Light
from lift3d_ros.meshing.render import Raycaster


def object_from_canonical(
    canonical: CanonicalFrame, T_camera_object: Array, middle: Array
) -> Array:
    """
    Return the similarity (4, 4) from canonical coordinates to the object frame of the true mesh.

    ``T_camera_object`` is the pose of the object frame in the optical frame of the input;
    ``middle`` (3,) is the centre of the mesh in the object frame. Without depth the scale is
    unknown: the canonical origin is then placed at the depth of ``middle``.
    """
    S = canonical.camera_from_canonical
    if not canonical.metric:
        ratio = transform(T_camera_object, middle)[2] / S[2, 3]
        S = np.diag([ratio, ratio, ratio, 1.0]) @ S
    return invert(T_camera_object) @ S


def true_view(
    caster: Raycaster, T_object_canonical: Array, pose: Array, size: int, light: Light
) -> NDArray[np.uint8]:
    """
    Return the view of a camera at ``pose`` (canonical coordinates), uint8 RGBA (size, size, 4).

    ``caster`` has the true mesh in the object frame. The lens is that of Zero-1-to-3, the light
    casts no shadows, the background is white.
    """
    scale = float(np.cbrt(np.linalg.det(T_object_canonical[:3, :3])))
    T = T_object_canonical @ pose
    T[:3, :3] /= scale
    fine = Camera.from_fov(2 * size, 2 * size, ZERO123_FOV)
    picture = caster.render(fine, T, replace(light, shadows=False), supersampling=1)
    alpha = np.where(picture.instance >= 0, 255, 0).astype(np.uint8)
    rgba = np.dstack([picture.image, alpha])
    return np.asarray(cv2.resize(rgba, (size, size), interpolation=cv2.INTER_AREA), np.uint8)
