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

"""The observation of an object in one view: occupied, free and unknown space."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lift3d_ros.geometry import Array
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import Floats

#: Error of the outline of a detector's mask in pixels, in an image of that width.
MASK_TOLERANCE, MASK_TOLERANCE_WIDTH = 3.0, 640


@dataclass(frozen=True, eq=False)
class ObjectObservation:
    """
    One view of an object in a window of bounded size, cleaned.

    All images have the shape (height, width) of ``camera``, whose optical frame is the frame's.

    - ``mask``: bool, the object.
    - ``occluder``: bool, pixels where something nearer may hide a part of the object.
    - ``depth``: float32 metres, the readings of the object, continued to every pixel from the
      nearest one; that of the occluder where there is one. None without a depth image.
    - ``measured``: bool, where ``depth`` is a reading.
    - ``surroundings``: float32 metres, readings off the object, 0 where there is none.
    - ``outline``: float32 pixels, distance to the outline of the mask, positive inside. Occluders
      count as inside.
    - ``thickness``: float32 metres, of the object at a pixel if its cross-section is as deep as
      wide.
    - ``image``: uint8 RGB (height, width, 3).
    - ``tolerance``: error of the outline of the mask, pixels.
    """

    camera: Camera
    image: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    occluder: NDArray[np.bool_]
    depth: NDArray[np.float32] | None
    measured: NDArray[np.bool_]
    surroundings: NDArray[np.float32]
    outline: NDArray[np.float32]
    thickness: NDArray[np.float32]
    tolerance: float = MASK_TOLERANCE

    def points(self) -> Array:
        """Return the measured points of the object, (n, 3) metres, optical frame."""
        if self.depth is None:
            return np.zeros((0, 3))
        v, u = np.nonzero(self.measured)
        return self.camera.unproject(u, v, self.depth[v, u])

    def outline_points(self) -> Array:
        """
        Return the measured points; without depth, the mask's pixels at the nominal distance.

        The nominal distance makes the longer side of the mask one metre long.
        """
        if self.depth is not None:
            return self.points()
        v, u = np.nonzero(self.mask)
        side = float(max(np.ptp(u) / self.camera.fx, np.ptp(v) / self.camera.fy))
        return self.camera.unproject(u, v, 1.0 / max(side, 1e-6))

    def surrounding_points(self) -> Array:
        """Return the measured points off the object, (n, 3) metres, optical frame."""
        v, u = np.nonzero(self.surroundings)
        return self.camera.unproject(u, v, self.surroundings[v, u])

    def occupancy_bound(self, points: Floats) -> NDArray[np.float32]:
        """
        Return the largest depth inside the object that the view allows at points, (n,) metres.

        ``points`` (n, 3) are in the optical frame. The value is positive behind the measured
        surface and inside the outline, where a point may be occupied; a negative value is the
        distance into free space. It is the intersection of the signed distance of a depth map
        (Curless and Levoy, A Volumetric Method, 1996) and the cone of the outline, exact at zero.
        """
        u, v, z = (a.astype(np.float32) for a in self.camera.project(points))
        behind = z > 1e-6
        np.nan_to_num(u, copy=False, nan=-1e6)
        np.nan_to_num(v, copy=False, nan=-1e6)
        value = sample(self.outline, u, v) * z * np.float32(1.0 / self.camera.fx)
        if self.depth is not None:
            np.minimum(value, z - sample(self.depth, u, v), out=value)
        return np.where(behind, value, np.float32(-1.0))

    def behind(self, points: Floats) -> NDArray[np.float32]:
        """
        Return the distance along z of points (n, 3) behind the measured surface, (n,) metres.

        NaN without a reading near the point's pixel.
        """
        u, v, z = (a.astype(np.float32) for a in self.camera.project(points))
        np.nan_to_num(u, copy=False, nan=-1e6)
        np.nan_to_num(v, copy=False, nan=-1e6)
        if self.depth is None:
            return np.full(len(z), np.nan, np.float32)
        measured = sample(self.measured.astype(np.float32), u, v) > 0.5
        return np.where(measured, z - sample(self.depth, u, v), np.float32(np.nan))

    def thickness_at(
        self, points: Floats
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """
        Return the distance of points (n, 3) behind the surface, and the thickness there, metres.

        The surface is the continued one, so that every point has a value. Raises ``ValueError``
        for an observation without depth.
        """
        if self.depth is None:
            raise ValueError('the thickness needs an observation with depth')
        u, v, z = (a.astype(np.float32) for a in self.camera.project(points))
        np.nan_to_num(u, copy=False, nan=-1e6)
        np.nan_to_num(v, copy=False, nan=-1e6)
        return z - sample(self.depth, u, v), sample(self.thickness, u, v)

    def clear_of_occluders(self, points: Floats) -> NDArray[np.bool_]:
        """Return whether points (n, 3) project off every occluder, (n,)."""
        if not self.occluder.any():
            return np.ones(len(points), bool)
        u, v, _ = (a.astype(np.float32) for a in self.camera.project(points))
        np.nan_to_num(u, copy=False, nan=-1e6)
        np.nan_to_num(v, copy=False, nan=-1e6)
        return sample(self.occluder.astype(np.float32), u, v) < 0.5

    def colors(self, points: Floats) -> NDArray[np.float32]:
        """Return the image's colours at points (n, 3) of the optical frame, float32 (n, 3)."""
        u, v, _ = (a.astype(np.float32) for a in self.camera.project(points))
        return sample(self.image.astype(np.float32), u, v)


def mask_tolerance(camera: Camera, stride: int = 1) -> float:
    """
    Return the error of the outline of a detector's mask, pixels.

    ``camera`` is that of the whole image; the pixels are those of a window with every
    ``stride``-th one.
    """
    longer = max(camera.width, camera.height)
    return max(1.0, MASK_TOLERANCE * longer / MASK_TOLERANCE_WIDTH / stride)


def sample(
    image: NDArray[np.float32], u: NDArray[np.float32], v: NDArray[np.float32]
) -> NDArray[np.float32]:
    """
    Return the image at pixels (u, v), float32 (n,) or (n, channels), bilinear.

    Outside of the image the value is that of its border.
    """
    # cv2.remap takes no side over 32767 pixels, so that the list is folded into rows.
    row = 1024
    count = len(u)
    rows = -(-count // row)
    folded = np.zeros((2, rows * row), np.float32)
    folded[0, :count] = np.clip(u, -1.0, image.shape[1])
    folded[1, :count] = np.clip(v, -1.0, image.shape[0])
    if not count:
        return np.zeros((0, *image.shape[2:]), np.float32)
    out = cv2.remap(
        image,
        folded[0].reshape(rows, row),
        folded[1].reshape(rows, row),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return out.reshape(rows * row, *image.shape[2:])[:count]
