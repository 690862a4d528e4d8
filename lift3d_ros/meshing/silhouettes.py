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


"""How well the silhouette of a mesh agrees with the pictures that it was made of."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from lift3d_ros.geometry import Floats

#: A pixel is background where all channels are above this (One-2-3-45).
WHITE = 245

#: Bits of the fractions of pixels with which triangles are drawn.
_FRACTION = 4


def silhouette(
    vertices: Floats, faces: NDArray[np.integer], projection: Floats, size: tuple[int, int]
) -> NDArray[np.bool_]:
    """
    Return the pixels that a mesh covers, bool of ``size`` (height, width).

    ``projection`` (3, 4) takes vertices (n, 3) to pixels times depth. A face that reaches behind
    the camera is left out.
    """
    return draw_faces(vertices, faces, projection, size) >= 0


def draw_faces(
    vertices: Floats, faces: NDArray[np.integer], projection: Floats, size: tuple[int, int]
) -> NDArray[np.int32]:
    """
    Return which face of a mesh is seen at each pixel, int32 of ``size``, -1 where none is.

    Arguments as of ``silhouette``. Faces are painted from the farthest to the nearest, by their
    middles: where they are small against the depth of the mesh that is the order of sight.
    """
    image = vertices @ projection[:, :3].T + projection[:, 3]
    front = np.flatnonzero((image[faces, 2] > 1e-6).all(axis=1))
    front = front[np.argsort(-image[faces[front], 2].sum(axis=1), kind='stable')]
    with np.errstate(divide='ignore', invalid='ignore'):
        pixels = image[:, :2] / image[:, 2:]
    # Coordinates far outside would not fit the drawing's integers.
    pixels = np.clip(np.nan_to_num(pixels), -4.0 * max(size), 4.0 * max(size))
    corners = np.rint(pixels * 2**_FRACTION).astype(np.int32)[faces[front]]
    drawn = np.full(size, -1, np.int32)
    for triangle, face in zip(corners, front.tolist(), strict=True):
        cv2.fillConvexPoly(drawn, triangle, face, shift=_FRACTION)
    return drawn


def mask_iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """Return the intersection of two masks over their union, 0 where both are empty."""
    union = np.count_nonzero(a | b)
    return np.count_nonzero(a & b) / union if union else 0.0


def median_mask_iou(
    vertices: Floats,
    faces: NDArray[np.integer],
    projections: Floats,
    images: NDArray[np.uint8],
) -> float:
    """
    Return the median, over pictures, of the IoU of the mesh's silhouette and what is not white.

    ``projections`` (n, 3, 4) take vertices to pixels of ``images``, uint8 (n, h, w, 3). 0 where
    both are empty.
    """
    shares = []
    for projection, image in zip(projections, images, strict=True):
        shown = (image <= WHITE).any(axis=2)
        covered = silhouette(vertices, faces, projection, (image.shape[0], image.shape[1]))
        shares.append(mask_iou(shown, covered))
    return float(np.median(shares))
