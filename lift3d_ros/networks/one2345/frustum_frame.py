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
The frame of the volume of One-2-3-45: the reference camera's axes, a cube about all frusta.

The axis-aligned box of the corners of all viewing frusta, in the optical frame of the reference
camera, defines the centre, and half its longest side, times a margin, the unit; the volume is
[-1, 1]^3 (One-2-3-45, ``reconstruction/data/One2345_eval_new_data.py`` and ``scene.py``). It is
independent of the size of the object.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from numpy.typing import NDArray

from lift3d_ros.geometry import Array
from lift3d_ros.geometry import invert
from lift3d_ros.geometry import transform

#: Size of the cube over that of the box of the frusta.
MARGIN = 1.1


@dataclass(frozen=True, eq=False)
class FrustumFrame:
    """
    The pose and scale of the volume, and the projections of the pictures.

    - ``T_world_reference``: pose of the reference camera, optical axes.
    - ``center``: (3,), the volume's centre in the reference camera's frame; ``scale``: length of
      1 of the volume's coordinates, both in the units of the world.
    - ``projections``: float32 (n, 3, 4), volume coordinates to pixels times depth.
    - ``camera_centers``: (n, 3), in volume coordinates.
    """

    T_world_reference: Array
    center: Array
    scale: float
    projections: NDArray[np.float32]
    camera_centers: Array

    def to_world(self, points: ArrayLike) -> Array:
        """Map volume coordinates (..., 3) into the world."""
        scaled = np.asarray(points, np.float64) * self.scale + self.center
        return transform(self.T_world_reference, scaled)

    def from_world(self, points: ArrayLike) -> Array:
        """Map world coordinates (..., 3) into the volume."""
        return (transform(invert(self.T_world_reference), points) - self.center) / self.scale


def frustum_frame(
    reference: ArrayLike,
    poses: ArrayLike,
    K: ArrayLike,
    size: tuple[int, int],
    near: float,
    far: float,
) -> FrustumFrame:
    """
    Return the frame of pictures of one lens.

    ``reference`` (4, 4) and ``poses`` (n, 4, 4) are optical frames in the world; the frustum of
    the reference camera is included. ``K`` is the 3 x 3 camera matrix, ``size`` height and width
    in pixels, ``near`` and ``far`` bound the frusta, in the units of the world.
    """
    T_world_reference = np.asarray(reference, np.float64)
    K = np.asarray(K, np.float64)
    to_reference = invert(T_world_reference)
    height, width = size
    # As published, the corners are at pixels 0 and width, not at the outer borders.
    u, v, depth = (
        a.ravel() for a in np.meshgrid([0.0, width], [0.0, height], [near, far], indexing='ij'))
    corners = np.stack(
        [(u - K[0, 2]) / K[0, 0] * depth, (v - K[1, 2]) / K[1, 1] * depth, depth], axis=1)
    in_reference = [to_reference @ pose for pose in np.asarray(poses, np.float64)]
    frusta = np.concatenate([corners] + [transform(pose, corners) for pose in in_reference])
    low, high = frusta.min(axis=0), frusta.max(axis=0)
    center, scale = (low + high) / 2.0, float((high - low).max() / 2.0 * MARGIN)
    projections, centers = [], []
    for pose in in_reference:
        extrinsic = invert(pose)
        # x_camera / scale = R x + (R center + t) / scale: depths are in volume units.
        offset = (extrinsic[:3, :3] @ center + extrinsic[:3, 3]) / scale
        projections.append(K @ np.column_stack([extrinsic[:3, :3], offset]))
        centers.append((pose[:3, 3] - center) / scale)
    return FrustumFrame(
        T_world_reference=T_world_reference,
        center=center,
        scale=scale,
        projections=np.stack(projections).astype(np.float32),
        camera_centers=np.stack(centers),
    )
