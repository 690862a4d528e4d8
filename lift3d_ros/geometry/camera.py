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

"""A pinhole camera."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from lift3d_ros.geometry.transforms import Array


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
        Raise ``ValueError`` for invalid parameters.

        These are an empty image, a focal length that is not positive, and numbers that are not
        finite.
        """
        if self.width < 1 or self.height < 1:
            raise ValueError(f'the image size {self.width} x {self.height} is empty')
        if not np.isfinite([self.fx, self.fy, self.cx, self.cy]).all():
            raise ValueError('the camera matrix has entries that are not finite')
        if self.fx <= 0.0 or self.fy <= 0.0:
            raise ValueError(f'the focal lengths {self.fx}, {self.fy} are not positive')

    @classmethod
    def from_matrix(cls, width: int, height: int, K: ArrayLike) -> Camera:
        """Make a camera from its 3 x 3 matrix; raises ``ValueError`` for a skew."""
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
        """Make a camera with square pixels and a horizontal field of view of ``fov`` degrees."""
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
        """Return the ray of each pixel with z = 1, shape (height, width, 3)."""
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
