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

"""Views of a scene from elsewhere, filled where nothing is known, without a network."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lift3d_ros.scene.prior.inputs import completed
from lift3d_ros.scene.prior.inputs import KnownView
from lift3d_ros.scene.prior.inputs import MAX_INVERSE

#: Smallest inverse depth of a prediction, in units of the inverse scale.
LEAST_INVERSE = 0.02

#: Relative distance of a pixel from a plane on which it is; pixels of its visible part at least.
_ON_PLANE, _LEAST_PIXELS = 0.015, 12

#: Distance in the image, as a share of its side, over which a plane is continued.
_FARTHEST = 0.5

#: Largest integer of an inpainted inverse depth.
_INTEGERS = 60_000.0

#: Error of a depth within which it is right, metres.
TOLERANCE_M = 0.02

#: Confidence of a continued plane and of the depth of the nearest known pixel beside it, and the
#: metres from it at which the confidence is 1 / e of that
#: (``python -m lift3d_ros.bench.rooms.calibration``).
CONTINUED_CONFIDENCE, CONTINUED_REACH = 0.98, 0.78
NEAREST_CONFIDENCE, NEAREST_REACH = 0.98, 0.07


@dataclass(frozen=True, eq=False)
class FilledView:
    """
    What a fill predicts of a view, each array (height, width), known pixels included.

    - ``color``: uint8 RGB (height, width, 3); ``depth``: float32 metres.
    - ``confidence``: float32, the expected share of depths within ``TOLERANCE_M`` of the truth.
    - ``away``: float32, metres across the image from the known pixel that the depth is from, 0
      where there is none; ``on_plane``: bool, whether it is from a continued plane.
    """

    color: NDArray[np.uint8]
    depth: NDArray[np.float32]
    confidence: NDArray[np.float32]
    away: NDArray[np.float32]
    on_plane: NDArray[np.bool_]


def known_channels(view: KnownView) -> NDArray[np.float32]:
    """Return the inputs of the network that are known, float32 (KNOWN, h, w)."""
    color, inverse = completed(view)
    flags = [view.inverse > 0.0, view.observed, view.object]
    return np.concatenate([
        color, inverse[None], np.stack(flags).astype(np.float32), view.exit[None],
        view.last[None]]).astype(np.float32)


def fill_planes(view: KnownView, scale: float) -> FilledView:
    """
    Return the view with holes on the continued planes of the scene, without a network.

    A hole is on the plane of which a visible part is nearest in the image, among those that leave
    observed free space free; without one it is as the nearest known pixel.
    """
    color, inverse = completed(view)
    hole = view.inverse <= 0.0
    best = np.full(hole.shape, _FARTHEST * max(hole.shape), np.float32)
    on_plane = np.zeros(hole.shape, bool)
    for plane in view.planes:
        part = ~hole & (plane > 0.0) & (np.abs(view.inverse - plane) < _ON_PLANE * plane)
        if part.sum() < _LEAST_PIXELS:
            continue
        away, labels = cv2.distanceTransformWithLabels(
            (~part).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
        nearer = hole & (plane > 0.0) & (away < best)
        if view.exit.any():
            nearer &= (view.exit <= 0.0) | (plane < view.exit * (1.0 + 2.0 * _ON_PLANE))
        source = np.zeros(int(labels.max()) + 1, np.intp)
        source[labels[part]] = np.flatnonzero(part)
        best[nearer], inverse[nearer], on_plane[nearer] = away[nearer], plane[nearer], True
        color[:, nearer] = color.reshape(3, -1)[:, source[labels[nearer]]]
    depth = (scale / np.maximum(inverse, LEAST_INVERSE)).astype(np.float32)
    away = np.where(on_plane, best, _pixels_from_known(view)) * _metres_per_pixel(view, depth)
    confidence = np.where(
        on_plane, CONTINUED_CONFIDENCE * np.exp(-away / CONTINUED_REACH), _nearest(away))
    return FilledView(
        as_image(color), depth, confidence.astype(np.float32), away.astype(np.float32), on_plane)


def fill_nearest(view: KnownView, scale: float) -> FilledView:
    """Return the view with holes as the nearest known pixel has it, without a network."""
    color, inverse = completed(view)
    return _beside_known(view, as_image(color), inverse, scale)


def _beside_known(
    view: KnownView, color: NDArray[np.uint8], inverse: NDArray[np.float32], scale: float
) -> FilledView:
    depth = (scale / np.maximum(inverse, LEAST_INVERSE)).astype(np.float32)
    away = (_pixels_from_known(view) * _metres_per_pixel(view, depth)).astype(np.float32)
    return FilledView(color, depth, _nearest(away), away, np.zeros(depth.shape, bool))


def _nearest(away: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return the confidence of the depth of a known pixel at a distance, metres."""
    return (NEAREST_CONFIDENCE * np.exp(-away / NEAREST_REACH)).astype(np.float32)


def _pixels_from_known(view: KnownView) -> NDArray[np.float32]:
    hole = (view.inverse <= 0.0).astype(np.uint8)
    return np.asarray(cv2.distanceTransform(hole, cv2.DIST_L2, 5), np.float32)


def _metres_per_pixel(view: KnownView, depth: NDArray[np.float32]) -> NDArray[np.float32]:
    # The vector of the pose ends with the field of view, its sine and its cosine.
    return (depth * (2.0 * np.tan(0.5 * view.pose[16]) / depth.shape[1])).astype(np.float32)


def as_image(color: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return uint8 RGB (h, w, 3) of colour (3, h, w) in [-1, 1]."""
    scaled = np.rint((color.transpose(1, 2, 0) + 1.0) * 127.5)
    return np.clip(scaled, 0.0, 255.0).astype(np.uint8)


def fill_inpainted(view: KnownView, scale: float) -> FilledView:
    """Return the view with holes filled by OpenCV's inpainting of colour and inverse depth."""
    known = view.inverse > 0.0
    # Only background is continued: next to a hole, what is nearer than its surroundings is not.
    window = np.ones((7, 7), np.uint8)
    least = cv2.erode(np.where(known, view.inverse, np.float32(MAX_INVERSE)), window)
    beside = cv2.dilate((~known).astype(np.uint8), window) > 0
    source = known & ~(beside & (view.inverse > 1.05 * least))
    hole = (~source).astype(np.uint8)
    radius = 3.0
    color = cv2.inpaint(view.color, hole, radius, cv2.INPAINT_TELEA)
    # Telea's method rounds as for integers, even floats.
    scaled = np.rint(view.inverse * (_INTEGERS / MAX_INVERSE)).astype(np.uint16)
    inverse = cv2.inpaint(scaled, hole, radius, cv2.INPAINT_TELEA) * (MAX_INVERSE / _INTEGERS)
    inverse = np.where(known, view.inverse, inverse).astype(np.float32)
    # Background: a hole is not nearer than what leaves it open.
    bounded = ~known & (view.exit > 0.0)
    inverse = np.where(bounded, np.minimum(inverse, view.exit), inverse)
    filled = np.where(known[..., None], view.color, color).astype(np.uint8)
    return _beside_known(view, filled, inverse, scale)
