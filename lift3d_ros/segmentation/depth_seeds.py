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

"""GrabCut seeds from depth: definite or probable object, or background."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lift3d_ros.segmentation.box_window import BoxWindow
from lift3d_ros.segmentation.depth_pieces import depth_pieces
from lift3d_ros.segmentation.depth_pieces import find_image_plane
from lift3d_ros.segmentation.depth_pieces import ImagePlane

#: Shares of a depth piece inside the box: below the first it is another object that the box cuts,
#: above the second it is a part of the object.
_MAX_CUT_SHARE, _MIN_INSIDE_SHARE = 0.5, 0.8


@dataclass(frozen=True, eq=False)
class DepthSeeds:
    """
    Seeds from the depth of a window.

    - ``labels``: uint8 (h, w), of cv2.grabCut.
    - ``main``: bool (h, w), the largest surface of the object.
    - ``rising``: bool (h, w), the readings in front of the plane.
    - ``cut``: whether a large part of that surface is outside the box.
    """

    labels: NDArray[np.uint8]
    main: NDArray[np.bool_]
    rising: NDArray[np.bool_]
    cut: bool = False


def seeds_by_depth(window: BoxWindow) -> DepthSeeds | None:
    """Return the seeds from the depth of a window, or None if nothing in it rises."""
    from scipy import ndimage

    depth, inside = window.depth, window.inside
    assert depth is not None
    plane = _background(window)
    rising = depth > 0.0 if plane is None else plane.rise(depth) > plane.tolerance(depth)
    labels, count = depth_pieces(np.where(rising, depth, np.float32(0.0)))
    if count == 0:
        return None
    total = np.bincount(labels.ravel(), minlength=count + 1).astype(np.float64)
    within = np.bincount(labels[inside], minlength=count + 1).astype(np.float64)
    weight = np.bincount(
        labels.ravel(), (_central(window) * inside).ravel(), minlength=count + 1)
    total[0], within[0], weight[0] = 1.0, 0.0, 0.0
    share = within / np.maximum(total, 1.0)
    score = weight * np.square(share)
    main = int(np.argmax(score))
    if window.point is not None:
        main = piece_at(labels, window.point) or main
    if within[main] < max(12.0, 0.01 * np.count_nonzero(inside)):
        return None
    surface = (labels == main) & inside
    near, far = np.percentile(depth[surface], (2.0, 98.0))
    left, top, right, bottom = window.box
    # The focal length of most cameras is about the longer side of their images.
    extent = max(right - left, bottom - top) * float(np.median(depth[surface])) / window.focal
    means = ndimage.mean(depth, labels, np.arange(count + 1))
    at_depth = (means > near - extent) & (means < far + extent)
    belongs = (share > _MIN_INSIDE_SHARE) & at_depth & (within >= 8.0)
    belongs[0] = False
    other = (share < _MAX_CUT_SHARE) | ~at_depth
    other[[0, main]] = False
    belongs[main] = True

    core = cv2.erode(surface.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    if share[main] < _MIN_INSIDE_SHARE:
        # Another object touches the surface without a depth step: only its centre is definite.
        core &= _central(window) > 0.5
    if not core.any():
        return None
    body = belongs[labels] & inside
    seeds = np.full(depth.shape, cv2.GC_PR_BGD, np.uint8)
    seeds[body] = cv2.GC_PR_FGD
    seeds[_hull(body) & (depth == 0.0)] = cv2.GC_PR_FGD
    if plane is not None:
        _seed_plane(seeds, body, (depth > 0.0) & ~rising)
    seeds[other[labels]] = cv2.GC_BGD
    seeds[core] = cv2.GC_FGD
    seeds[~inside] = cv2.GC_BGD
    cut = plane is not None and bool(share[main] < _MIN_INSIDE_SHARE)
    return DepthSeeds(seeds, surface, rising, cut)


def _seed_plane(
    seeds: NDArray[np.uint8], body: NDArray[np.bool_], plane: NDArray[np.bool_]
) -> None:
    """Set the seeds of the plane: definite background, probable near the object."""
    near = cv2.dilate(body.astype(np.uint8), np.ones((7, 7), np.uint8)).astype(bool)
    seeds[plane & ~near] = cv2.GC_BGD
    seeds[plane & near] = cv2.GC_PR_BGD


def _background(window: BoxWindow) -> ImagePlane | None:
    """Return the plane behind the object: around the box, else along its border."""
    depth = window.depth
    assert depth is not None
    left, top, right, bottom = window.box
    margin = max(1, min(right - left, bottom - top) // 20)
    border = window.inside.copy()
    border[top + margin:bottom - margin, left + margin:right - margin] = False
    return find_image_plane(depth, ~window.inside | border) or find_image_plane(depth, border)


def _central(window: BoxWindow) -> NDArray[np.float64]:
    """Return a weight that decreases from 1 at the centre of the box to its corners."""
    left, top, right, bottom = window.box
    v, u = np.mgrid[: window.inside.shape[0], : window.inside.shape[1]]
    x = (u - 0.5 * (left + right - 1)) / (0.5 * (right - left))
    y = (v - 0.5 * (top + bottom - 1)) / (0.5 * (bottom - top))
    return np.asarray(np.exp(-1.5 * (x**2 + y**2)))


def _hull(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    v, u = np.nonzero(mask)
    if not len(u):
        return mask
    hull = cv2.convexHull(np.stack([u, v], axis=1).astype(np.int32))
    return cv2.fillConvexPoly(np.zeros(mask.shape, np.uint8), hull, 1).astype(bool)


def piece_at(labels: NDArray[np.int32], point: tuple[int, int]) -> int:
    """Return the label at a pixel, or the nearest one within three pixels, else 0."""
    u, v = point
    reach = np.s_[max(0, v - 3):v + 4, max(0, u - 3):u + 4]
    part = labels[reach]
    rows, columns = np.nonzero(part)
    if not len(rows):
        return 0
    distance = np.hypot(rows - (v - reach[0].start), columns - (u - reach[1].start))
    nearest = int(np.argmin(distance))
    return int(part[rows[nearest], columns[nearest]])
