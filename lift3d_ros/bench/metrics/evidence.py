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
Evidence of the frame against a prediction: volume off the mask, and surface before the readings.

The camera saw past such parts, so they are wrong whatever the true shape is; no truth is needed.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from lift3d_ros.bench.metrics.solid import LATTICE
from lift3d_ros.bench.metrics.solid import lattice_points
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import Floats
from lift3d_ros.meshing.solid import Solid
from lift3d_ros.observation.object_observation import mask_tolerance

#: Standard deviation of a depth camera of the RealSense class at a distance, metres. It grows with
#: the square of the distance (Keselman et al., Intel RealSense Stereoscopic Depth Cameras, 2017).
DEPTH_STDDEV_M, DEPTH_STDDEV_AT_M = 0.001, 0.7

#: A vertex is a spike if it is before the readings by more than so many standard deviations.
SPIKE_DEVIATIONS = 3.0


def depth_stddev(depth: Floats) -> Array:
    """Return the standard deviation in metres of readings at ``depth`` metres, of any shape."""
    return DEPTH_STDDEV_M * (np.asarray(depth, np.float64) / DEPTH_STDDEV_AT_M) ** 2


def off_mask_share(
    predicted: Solid, camera: Camera, mask: NDArray[np.bool_], lattice: int = LATTICE
) -> float:
    """
    Return the share of the predicted volume on rays that miss the object, 0 to 1.

    The solid, in the optical frame, is probed at ``lattice`` points along each side of its box;
    points whose pixels are off ``mask``, bool (height, width), by more than its tolerance
    (``observation.mask_tolerance``) count. Rays outside of the image tell nothing. A solid without
    volume has the share 0.
    """
    points = lattice_points(predicted.low, predicted.high, lattice)
    points = points[predicted.contains(points)]
    if not len(points):
        return 0.0
    u, v, _ = _pixels(camera, points)
    allowed = cv2.dilate(mask.astype(np.uint8), _disc(camera)).astype(bool)
    return float(np.count_nonzero(~allowed[v, u])) / len(points)


def spikes(
    vertices: Floats, camera: Camera, depth: NDArray[np.float32], mask: NDArray[np.bool_]
) -> tuple[float, float]:
    """
    Return the share of vertices before the readings, 0 to 1, and the farthest such distance.

    ``vertices`` (n, 3) are in the optical frame, ``depth`` is (height, width) in
    metres, 0 or NaN without a reading. A vertex counts if its pixel has a reading in ``mask`` and
    it is nearer than every such reading within the tolerance of the mask, in pixels, by more than
    ``SPIKE_DEVIATIONS`` standard deviations. The distance is to the nearest of these readings, in
    metres along z, 0 without a spike. Readings beyond the farthest vertex are of the background:
    there the mask is wrong, not the prediction.
    """
    measured = mask & np.isfinite(depth) & (depth > 0.0)
    readings = np.where(measured, depth, np.inf).astype(np.float32)
    nearest = cv2.erode(readings, _disc(camera))
    u, v, inside = _pixels(camera, vertices)
    places = np.asarray(vertices, np.float64)[:, 2]
    reading = np.where(measured, nearest, 0.0)[v, u].astype(np.float64)
    limit = SPIKE_DEVIATIONS * depth_stddev(reading)
    before = reading - places[inside]
    before = before[(before > limit) & (reading <= places.max() + limit)]
    return len(before) / len(vertices), float(before.max(initial=0.0))


def _pixels(
    camera: Camera, points: Floats
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.bool_]]:
    """Return columns and rows of the points in the image (k,), and which points these are (n,)."""
    u, v, _ = camera.project(points)
    with np.errstate(invalid='ignore'):
        inside = (u > -0.5) & (u < camera.width - 0.5) & (v > -0.5) & (v < camera.height - 0.5)
    return (np.rint(u[inside]).astype(np.intp), np.rint(v[inside]).astype(np.intp), inside)


def _disc(camera: Camera) -> NDArray[np.uint8]:
    """Return a disc with the radius of the tolerance of the mask."""
    width = 2 * round(mask_tolerance(camera)) + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width)))
