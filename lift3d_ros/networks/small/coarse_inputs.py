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

"""The inputs of the coarse network: arrays of fixed size in canonical units."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lift3d_ros.geometry import Array
from lift3d_ros.geometry.canonical import CanonicalFrame
from lift3d_ros.geometry.frame import ObjectView
from lift3d_ros.geometry.frame import VIEW_SIZE

#: Side of the pictures that the networks take, pixels.
PICTURE_SIZE = 128

#: Side of the cube of space that the networks cover, canonical units; it contains 95 % of the
#: objects of the train split.
EXTENT = 1.7


@dataclass(frozen=True, eq=False)
class CoarseInputs:
    """
    A view in canonical units.

    - ``picture``: uint8 RGBA (128, 128, 4), the object on white.
    - ``depth``: float32 (128, 128) along z, 0 where there is no reading; of the whole scene, so
      that support and occluders are distinguishable from free space.
    - ``focal``, ``centre``: float32 (2,), of the camera of both, pixels.
    - ``pose``: float32 (4, 4), its optical frame in canonical coordinates.
    - ``flags``: float32 (2,): whether depth, whether gravity is known.
    """

    picture: NDArray[np.uint8]
    depth: NDArray[np.float32]
    focal: NDArray[np.float32]
    centre: NDArray[np.float32]
    pose: NDArray[np.float32]
    flags: NDArray[np.float32]


def coarse_inputs(
    view: ObjectView, canonical: CanonicalFrame, gravity_known: bool
) -> CoarseInputs:
    """Return the inputs of the network for a view."""
    shrink = PICTURE_SIZE / VIEW_SIZE
    camera = view.camera.crop(-0.5, -0.5, PICTURE_SIZE, PICTURE_SIZE, shrink, shrink)
    depth = np.zeros((PICTURE_SIZE, PICTURE_SIZE), np.float32)
    if canonical.metric and view.frame.depth is not None:
        # Interpolation would put readings between two surfaces.
        own = view.frame.camera
        rays = camera.rays()
        map_x = (own.fx * rays[..., 0] + own.cx).astype(np.float32)
        map_y = (own.fy * rays[..., 1] + own.cy).astype(np.float32)
        readings = np.nan_to_num(view.frame.depth, nan=0.0, posinf=0.0, neginf=0.0)
        depth = cv2.remap(
            readings, map_x, map_y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT
        ) / np.float32(canonical.scale)
    return CoarseInputs(
        picture=rgba_picture(view),
        depth=depth.astype(np.float32),
        focal=np.array([camera.fx, camera.fy], np.float32),
        centre=np.array([camera.cx, camera.cy], np.float32),
        pose=canonical.input_pose.astype(np.float32),
        flags=np.array([canonical.metric, gravity_known], np.float32),
    )


def rgba_picture(view: ObjectView) -> NDArray[np.uint8]:
    """Return the picture of a view in the size of the networks, uint8 RGBA (128, 128, 4)."""
    rgba = np.dstack([view.image, view.alpha])
    size = (PICTURE_SIZE, PICTURE_SIZE)
    return np.asarray(cv2.resize(rgba, size, interpolation=cv2.INTER_AREA), np.uint8)


def voxel_centres(size: int) -> Array:
    """Return the canonical coordinates (size, size, size, 3) of a grid's voxel centres."""
    axis = ((np.arange(size) + 0.5) / size - 0.5) * EXTENT
    return np.stack(np.meshgrid(axis, axis, axis, indexing='ij'), axis=-1)
