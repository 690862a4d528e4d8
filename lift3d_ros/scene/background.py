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
The background behind objects and other near surfaces: a second layer of depth and colour.

A ray continues behind what it hits. A plane goes on behind an object between the parts that are
seen of it. Elsewhere the background is interpolated from what surrounds an object in the image.
Both are guesses: their confidence falls with the distance from what was measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lift3d_ros.geometry import Camera
from lift3d_ros.scene.planes import depth_tolerance
from lift3d_ros.scene.planes import ScenePlane
from lift3d_ros.segmentation.distance import distance_to_false
from lift3d_ros.segmentation.membrane import membrane

#: Metres from the nearest measured point of the background at which the confidence of a guess is
#: 1 / e of the value beside it, for planes and for interpolated depth. Confidence is the share
#: within 2 cm of a true surface (``python -m lift3d_ros.bench.rooms.calibration --rooms 16``).
PLANE_REACH, INTERPOLATED_REACH = 20.0, 0.22

#: Confidence of a guess beside a measured point.
PLANE_CONFIDENCE, INTERPOLATED_CONFIDENCE = 0.97, 0.98

#: Largest predicted depth over the largest measured one.
_BEYOND = 1.1

#: Strength of a known pixel over that of the tie between neighbours: it keeps its value.
_STRENGTH = np.float32(1e3)


@dataclass(frozen=True, eq=False)
class Layer:
    """
    One surface along each ray of a camera.

    - ``depth``: float32 (height, width) metres, 0 where there is none.
    - ``color``: uint8 RGB (height, width, 3).
    - ``confidence``: float32 (height, width), 0 to 1.
    - ``distance``: float32 (height, width), metres across the image from what was measured of it.
    - ``plane``: int16 (height, width), the index of the plane it is on, -1 for none.
    """

    depth: NDArray[np.float32]
    color: NDArray[np.uint8]
    confidence: NDArray[np.float32]
    distance: NDArray[np.float32]
    plane: NDArray[np.int16]


def hidden_layer(
    depth: NDArray[np.float32],
    color: NDArray[np.uint8],
    camera: Camera,
    foreground: NDArray[np.bool_],
    planes: Sequence[ScenePlane],
) -> Layer:
    """
    Return the nearest surface behind the measured one, where there is a reason to expect one.

    - ``depth``: (height, width) metres, 0 = no reading; ``color``: of the same size, uint8 RGB.
    - ``foreground``: bool, the pixels of objects that do not belong to the background. Behind them
      there is always a guess.
    - ``planes``: of that depth.
    """
    height, width = depth.shape
    hidden = np.full((height, width), np.inf, np.float32)
    # A plane seen at a grazing angle would go on without end.
    farthest = _BEYOND * depth.max(initial=0.0)
    label = np.full((height, width), -1, np.int16)
    # Where there is no reading, the plane is the best guess between its visible parts.
    front = np.where(depth > 0.0, depth + 2.0 * depth_tolerance(depth), np.float32(0.0))
    for index, plane in enumerate(planes):
        behind = plane.depth(camera)
        seen = plane.pixels & ~foreground
        nearer = _between(seen) & ~seen & np.isfinite(behind) & (behind > front)
        nearer &= (behind < hidden) & (behind < farthest)
        hidden[nearer] = behind[nearer]
        label[nearer] = index
    confidence, distance = np.zeros((2, height, width), np.float32)
    for index, plane in enumerate(planes):
        on = label == index
        if on.any():
            away = _metres_from(plane.pixels & ~foreground, hidden, camera)
            distance[on] = away[on]
            confidence[on] = PLANE_CONFIDENCE * np.exp(-away[on] / PLANE_REACH)
    known = (depth > 0.0) & ~_grown(foreground)
    rest = foreground & (label < 0)
    if rest.any() and known.any():
        between = _interpolated_depth(depth, known, foreground)
        # The background cannot be in front of what hides it.
        between = np.maximum(between, np.where(depth > 0.0, depth, 0.0))
        away = _metres_from(known, between, camera)
        hidden[rest], distance[rest] = between[rest], away[rest]
        confidence[rest] = INTERPOLATED_CONFIDENCE * np.exp(-away[rest] / INTERPOLATED_REACH)
    present = np.isfinite(hidden)
    hidden[~present] = 0.0
    return Layer(hidden, _hidden_color(color, depth, hidden, foreground, planes, label),
                 confidence, distance, label)


def _between(seen: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the pixels between the visible parts of a plane: its convex hull in the image."""
    points = cv2.findNonZero(seen.astype(np.uint8))
    hull = np.zeros(seen.shape, np.uint8)
    if points is not None:
        cv2.fillConvexPoly(hull, cv2.convexHull(points), 1)
    return hull.astype(bool)


def _grown(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return a mask with a margin for its own errors and those of the depth at its edge."""
    return cv2.dilate(mask.astype(np.uint8), np.ones((9, 9), np.uint8)).astype(bool)


def _metres_from(
    known: NDArray[np.bool_], depth: NDArray[np.float32], camera: Camera
) -> NDArray[np.float32]:
    """Return the distance across the image from the nearest known pixel, at a depth."""
    pixels = distance_to_false(~known)
    with np.errstate(invalid='ignore'):
        return (pixels * depth / camera.fx).astype(np.float32)


def _interpolated_depth(
    depth: NDArray[np.float32], known: NDArray[np.bool_], wanted: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Return the depth at ``wanted`` pixels, harmonic in its inverse between known ones."""
    inverse = np.where(known, 1.0 / np.where(known, depth, 1.0), 0.0).astype(np.float32)
    least = inverse[known].min()
    filled = membrane(inverse, _STRENGTH * known.astype(np.float32))
    return np.where(wanted, 1.0 / np.maximum(filled, least), depth).astype(np.float32)


def _hidden_color(
    color: NDArray[np.uint8],
    depth: NDArray[np.float32],
    hidden: NDArray[np.float32],
    foreground: NDArray[np.bool_],
    planes: Sequence[ScenePlane],
    label: NDArray[np.int16],
) -> NDArray[np.uint8]:
    """Return the colour of the hidden layer: each plane continues its own colours."""
    result = color.copy()
    for index, plane in enumerate(planes):
        on = label == index
        if on.any():
            result[on] = _interpolated_color(color, plane.pixels & ~_grown(foreground), on)
    rest = (hidden > 0.0) & (label < 0)
    if rest.any():
        result[rest] = _interpolated_color(color, (depth > 0.0) & ~_grown(foreground), rest)
    return result


def _interpolated_color(
    color: NDArray[np.uint8], source: NDArray[np.bool_], target: NDArray[np.bool_]
) -> NDArray[np.uint8]:
    """Return colours of ``target`` (n, 3), interpolated from those of ``source``."""
    if not source.any():
        return color[target]
    strength = _STRENGTH * source.astype(np.float32)
    channels = [
        membrane(color[..., channel].astype(np.float32), strength)[target] for channel in range(3)]
    return np.rint(np.clip(np.stack(channels, axis=1), 0.0, 255.0)).astype(np.uint8)
