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

"""Triangles of one layer of depth: an open surface, cut where the depth jumps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.geometry import Array
from lift3d_ros.geometry import Camera
from lift3d_ros.scene.planes import depth_tolerance

#: Steepest surface towards a ray, degrees, that two neighbouring readings can be on.
MAX_SLANT = 82.0


def triangulate(
    depth: NDArray[np.float32], camera: Camera, valid: NDArray[np.bool_] | None = None
) -> tuple[Array, NDArray[np.int32], NDArray[np.intp]]:
    """
    Return vertices (n, 3) in the optical frame, faces (m, 3) and pixels (n,) of a depth image.

    ``depth`` (height, width) in metres, 0 = none; ``valid`` restricts it. ``pixels`` are indices
    of the flattened image. Faces point to the camera; a vertex without a face is left out.
    """
    height, width = depth.shape
    present = depth > 0.0
    if valid is not None:
        present &= valid
    index = np.arange(height * width).reshape(height, width)
    a, b = index[:-1, :-1], index[:-1, 1:]
    c, d = index[1:, :-1], index[1:, 1:]
    z = depth.ravel()
    triangles = np.concatenate([
        np.stack([a, c, b], axis=-1).reshape(-1, 3), np.stack([b, c, d], axis=-1).reshape(-1, 3)])
    corner = z[triangles]
    nearest, farthest = corner.min(axis=1), corner.max(axis=1)
    footprint = farthest / min(camera.fx, camera.fy)
    step = np.tan(np.radians(MAX_SLANT)) * footprint + depth_tolerance(farthest)
    kept = present.ravel()[triangles].all(axis=1) & (farthest - nearest < step)
    faces = triangles[kept]
    pixels, inverse = np.unique(faces, return_inverse=True)
    v, u = np.divmod(pixels, width)
    vertices = camera.unproject(u, v, z[pixels])
    return vertices, inverse.reshape(-1, 3).astype(np.int32), pixels
