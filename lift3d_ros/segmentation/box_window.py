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

"""The part of a frame around a box, at the resolution of the segmentation."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

#: left, top, right, bottom in pixels, right and bottom exclusive.
Box = tuple[int, int, int, int]

#: Largest side of a box in its window, pixels; bounds the time of GrabCut.
_MAX_BOX_SIDE_PX = 240

#: Margin of the window around the box, as a share of its longer side, and its minimum, pixels.
_MARGIN_SHARE, _MIN_MARGIN_PX = 0.3, 12


@dataclass(frozen=True, eq=False)
class BoxWindow:
    """
    A box and its surroundings, at reduced resolution.

    - ``rows``, ``columns``: of the image; ``stride``: pixels of it per pixel of the window.
    - ``image``: uint8 RGB (h, w, 3); ``depth``: float32 metres (h, w), 0 = none, or None.
    - ``box``: left, top, right, bottom in the window; ``inside``: bool (h, w).
    - ``point``: a pixel on the object, column and row in the window, or None.
    - ``focal``: approximate focal length, pixels of the window.
    """

    rows: slice
    columns: slice
    stride: int
    image: NDArray[np.uint8]
    depth: NDArray[np.float32] | None
    box: Box
    inside: NDArray[np.bool_]
    point: tuple[int, int] | None
    focal: float

    @classmethod
    def of(
        cls,
        image: NDArray[np.uint8],
        depth: NDArray[np.float32] | None,
        box: Box,
        point: tuple[int, int] | None,
    ) -> BoxWindow:
        """Return the window of a box that is inside the image."""
        left, top, right, bottom = box
        side = max(right - left, bottom - top)
        stride = -(-side // _MAX_BOX_SIDE_PX)
        margin = max(int(np.ceil(_MARGIN_SHARE * side)), _MIN_MARGIN_PX)
        height, width = image.shape[:2]
        # The corner of the box falls on a pixel of the window.
        first_row = top - stride * min(top // stride, -(-margin // stride))
        first_column = left - stride * min(left // stride, -(-margin // stride))
        rows = slice(first_row, min(bottom + margin, height))
        columns = slice(first_column, min(right + margin, width))
        part = np.ascontiguousarray(image[rows, columns])
        if stride > 1:
            part = cv2.blur(part, (stride, stride))[::stride, ::stride]
        readings = None
        if depth is not None:
            readings = np.nan_to_num(
                depth[rows, columns][::stride, ::stride], nan=0.0, posinf=0.0, neginf=0.0
            )
        window_box = (
            (left - first_column) // stride,
            (top - first_row) // stride,
            -(-(right - first_column) // stride),
            -(-(bottom - first_row) // stride),
        )
        inside = np.zeros(part.shape[:2], bool)
        inside[window_box[1]:window_box[3], window_box[0]:window_box[2]] = True
        window_point = None
        if point is not None:
            window_point = (
                (point[0] - first_column) // stride, (point[1] - first_row) // stride
            )
        return cls(
            rows,
            columns,
            stride,
            np.ascontiguousarray(part),
            readings,
            window_box,
            inside,
            window_point,
            max(height, width) / stride,
        )

    def full(self, mask: NDArray[np.bool_], box: Box, shape: tuple[int, ...]) -> NDArray[np.bool_]:
        """Return a mask of the window as a mask of the image, clipped to the box."""
        height, width = self.rows.stop - self.rows.start, self.columns.stop - self.columns.start
        part = mask
        if self.stride > 1:
            size = (mask.shape[1] * self.stride, mask.shape[0] * self.stride)
            soft = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
            part = soft[:height, :width] > 0.5
        whole = np.zeros(shape[:2], bool)
        whole[self.rows, self.columns] = part
        outside = np.ones(shape[:2], bool)
        outside[box[1]:box[3], box[0]:box[2]] = False
        whole[outside] = False
        return whole
