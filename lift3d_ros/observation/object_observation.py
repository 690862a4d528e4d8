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
from enum import IntEnum
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from lift3d_ros.geometry import Array
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import Floats
from lift3d_ros.segmentation.distance import distance_to_false

#: Error of the outline of a detector's mask in pixels, in an image of that width.
MASK_TOLERANCE, MASK_TOLERANCE_WIDTH = 3.0, 640

#: Distance from the mask beyond which rays pass the object, pixels; number of pixels of a hole in
#: the mask, and side of a hole in the readings, from which on they are not just noise.
FREE_PIXELS, MIN_MASK_HOLE, HOLE_SIDE = 1.0, 12, 5


class Label(IntEnum):
    """What a pixel shows; ``UNKNOWN`` is a pixel without a reading that is in no other class."""

    UNKNOWN = 0
    OBJECT = 1
    OCCLUDER = 2
    BACKGROUND = 3
    PLANE = 4


@dataclass(frozen=True, eq=False)
class ObjectObservation:
    """
    One view of an object in a window of bounded size, cleaned.

    All images have the shape (height, width) of ``camera``, whose optical frame is the frame's.

    - ``detection``: bool, the mask of the detector; ``readings``: float32 metres, all readings.
    - ``label``: uint8, what each pixel shows, values of ``Label``; ``probability``: float32, of
      that label. All that follows is derived from the labels.
    - ``mask``: bool, the object, with or without a reading.
    - ``occluder``: bool, pixels where something nearer may hide a part of the object.
    - ``depth``: float32 metres, the readings of the object, continued to every pixel: smoothly
      within the mask, from the nearest one off it; that of the occluder where there is one. None
      without a depth image.
    - ``measured``: bool, where ``depth`` is a reading.
    - ``sigma``: float32 metres, standard deviation along z of each reading, also those of
      ``surroundings``; inf where there is none.
    - ``surroundings``: float32 metres, readings off the object, 0 where there is none.
    - ``outline``: float32 pixels, distance to the outline of the mask, positive inside. Occluders
      count as inside.
    - ``thickness``: float32 metres, of the object at a pixel if its cross-section is as deep as
      wide.
    - ``image``: uint8 RGB (height, width, 3).
    - ``tolerance``: error of the outline of the mask, pixels.
    - ``cosine``: float32, between the normal of the surface and the line of sight, by which
      distances along z become distances along the normal; None before the surface is estimated.
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
    sigma: NDArray[np.float32]
    detection: NDArray[np.bool_]
    readings: NDArray[np.float32]
    label: NDArray[np.uint8]
    probability: NDArray[np.float32]
    tolerance: float = MASK_TOLERANCE
    cosine: NDArray[np.float32] | None = None

    def points(self) -> Array:
        """Return the measured points of the object, (n, 3) metres, optical frame."""
        if self.depth is None:
            return np.zeros((0, 3))
        v, u = np.nonzero(self.measured)
        return self.camera.unproject(u, v, self.depth[v, u])

    def visible_points(self) -> Array:
        """
        Return points of the visible surface, (n, 3) metres, optical frame.

        The measured points, and those of the continued surface at pixels without a reading that
        are certainly in the mask. None without depth.
        """
        if self.depth is None:
            return np.zeros((0, 3))
        certain = self.mask & ~self.occluder & (self.outline > self.tolerance)
        v, u = np.nonzero(self.measured | certain)
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
            np.minimum(value, self._along_normal(z - sample(self.depth, u, v), u, v), out=value)
        return np.where(behind, value, np.float32(-1.0))

    def seen_free(self, points: Floats, margin: float) -> NDArray[np.bool_]:
        """
        Return whether points (n, 3) of the optical frame lie in space that rays crossed, (n,).

        Rays cross the space in front of a reading, and beside the mask. Where a larger patch of
        the mask has no readings, they cross what is in front of all readings beside it. ``margin``
        in metres is the distance from a reading up to which a point may belong to its surface, in
        addition to two standard deviations of the reading.
        """
        u, v, z = (a.astype(np.float32) for a in self.camera.project(points))
        np.nan_to_num(u, copy=False, nan=-1e6)
        np.nan_to_num(v, copy=False, nan=-1e6)
        outline = sample(self.outline, u, v)
        height, width = self.mask.shape
        row = np.rint(v).clip(0, height - 1).astype(np.intp)
        column = np.rint(u).clip(0, width - 1).astype(np.intp)
        free = (outline < -FREE_PIXELS) | self._mask_holes[row, column]
        if self.depth is not None:
            nearest = self._nearest_surface[row, column]
            free |= self._along_normal(nearest - z, u, v) > margin
        return np.asarray(free | (z <= 0.0))

    def behind(self, points: Floats) -> NDArray[np.float32]:
        """
        Return the distance of points (n, 3) behind the measured surface, (n,) metres.

        Along z, or along the normal if that is estimated. NaN without a reading near the point's
        pixel.
        """
        u, v, z = (a.astype(np.float32) for a in self.camera.project(points))
        np.nan_to_num(u, copy=False, nan=-1e6)
        np.nan_to_num(v, copy=False, nan=-1e6)
        if self.depth is None:
            return np.full(len(z), np.nan, np.float32)
        measured = sample(self.measured.astype(np.float32), u, v) > 0.5
        behind = self._along_normal(z - sample(self.depth, u, v), u, v)
        return np.where(measured, behind, np.float32(np.nan))

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
        behind = self._along_normal(z - sample(self.depth, u, v), u, v)
        return behind, sample(self.thickness, u, v)

    @cached_property
    def _mask_holes(self) -> NDArray[np.bool_]:
        """Where something behind the object shows inside its outline."""
        count, labels, stats, _ = cv2.connectedComponentsWithStats(
            (~self.mask & ~self.occluder).astype(np.uint8), connectivity=4
        )
        border = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
        large = stats[:, cv2.CC_STAT_AREA] >= MIN_MASK_HOLE
        large[0] = large[np.unique(border)] = False
        return np.asarray(large[labels])

    @cached_property
    def _nearest_surface(self) -> NDArray[np.float32]:
        """The continued readings less two standard deviations; the least around larger holes."""
        assert self.depth is not None
        known = self.measured | self.occluder
        sigma = np.where(self.measured, self.sigma, np.float32(0.0))
        depth = (self.depth - 2.0 * sigma).astype(np.float32)
        hole = (self.mask & ~known).astype(np.uint8)
        hole = cv2.morphologyEx(hole, cv2.MORPH_OPEN, np.ones((HOLE_SIDE, HOLE_SIDE), np.uint8))
        around = cv2.erode(
            np.where(known, depth, np.float32(np.inf)), np.ones((2 * HOLE_SIDE + 1,) * 2, np.uint8)
        )
        around = np.where(np.isfinite(around), around, np.float32(-np.inf))
        depth = np.where(self.occluder, np.float32(-np.inf), depth)
        return np.where(hole > 0, around, depth).astype(np.float32)

    def _along_normal(
        self, behind: NDArray[np.float32], u: NDArray[np.float32], v: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Return distances along the normal, (n,) metres, of distances along z at pixels."""
        return behind if self.cosine is None else behind * sample(self.cosine, u, v)

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


def outline_distance(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the distance to the outline in pixels, positive inside the mask."""
    outside = distance_to_false(~mask)
    # Without an outline the distances are unbounded.
    outside = np.minimum(outside, np.float32(np.hypot(mask.shape[0], mask.shape[1])))
    # The outline runs between the pixels, half a pixel from the centres on both sides.
    return np.where(mask, inner_distance(mask) - 0.5, 0.5 - outside).astype(np.float32)


def inner_distance(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the distance of the pixels of a mask to the nearest one off it, pixels; 0 there."""
    # No pixel off the mask is nearer than those around its bounding box.
    left, top, width, height = cv2.boundingRect(mask.astype(np.uint8))
    part = (
        slice(max(top - 1, 0), top + height + 1), slice(max(left - 1, 0), left + width + 1)
    )
    inside = np.zeros(mask.shape, np.float32)
    inside[part] = distance_to_false(mask[part])
    # A mask that fills the image has no outline, and the distance is unbounded.
    return np.minimum(inside, np.float32(np.hypot(mask.shape[0], mask.shape[1])))
