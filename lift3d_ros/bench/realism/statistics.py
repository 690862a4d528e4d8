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

"""Errors of the depth and the mask of a frame whose object is known."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field

import cv2
import numpy as np
from numpy.typing import NDArray

from lift3d_ros.geometry import Array
from lift3d_ros.geometry import unit
from lift3d_ros.geometry.frame import Frame
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.meshing.render import Raycaster

#: Limits of the cosine between the surface's normal and the ray, for the share of lost readings.
FACING = (0.0, 0.3, 0.5, 0.7, 0.85, 1.0)

#: Limits of the histogram of residuals, millimetres.
RESIDUAL_MM = np.linspace(-15.0, 15.0, 31)

#: Pixels from the outline within which a residual is one of registration and mask.
_BORDER_PX = 3

#: A reading is of something else if it is this far from the object's surface, metres.
_OFF_OBJECT_M = 0.02

#: Largest displacement that is searched along each axis, pixels.
_MAX_SHIFT_PX = 6

#: Error of a pixel in that search, metres: at most, and without a reading.
_SHIFT_CAP_M, _SHIFT_LOST_M = 0.02, 0.01

#: Largest lag of the correlation of residuals, pixels.
_MAX_LAG_PX = 40


@dataclass(frozen=True, eq=False)
class FrameStatistics:
    """
    Errors of one frame; lengths in millimetres or pixels, the rest shares.

    Residuals are the reading less the true depth, on the object, in the mask and some pixels from
    the outline; their median, which the pose of the truth is fitted to, is taken off.

    - ``name``; ``distance_m``: median depth of the object.
    - ``spread_mm``: 1.48 times the median absolute residual; ``far_share``: of more than 10 mm.
    - ``correlation_mm``: length on the object at which the correlation of residuals is 1/e.
    - ``dropout``: share of the object's pixels without a reading; ``dropout_by_slope``: the same
      for the intervals of ``FACING``, NaN for those with few pixels.
    - ``off_object``: share of the readings in the mask that are not of the object.
    - ``mask_error_px``: mean distance of the mask's outline from the true one;
      ``mask_bias_px``: the same, positive outside; ``mask_iou``: intersection over union.
    - ``shift_px``: displacement of the depth in the image, (right, down).
    - ``residuals_mm``: the histogram, shares by ``RESIDUAL_MM``.
    """

    name: str
    distance_m: float
    spread_mm: float
    far_share: float
    correlation_mm: float
    dropout: float
    dropout_by_slope: NDArray[np.float64]
    off_object: float
    mask_error_px: float
    mask_bias_px: float
    mask_iou: float
    shift_px: tuple[int, int]
    residuals_mm: NDArray[np.float64] = field(repr=False)

    @property
    def shift_length_px(self) -> float:
        """Length of the displacement, pixels."""
        return float(np.hypot(*self.shift_px))


def frame_statistics(
    name: str, frame: Frame, mask: NDArray[np.bool_], mesh: Mesh
) -> FrameStatistics:
    """
    Return the errors of a frame with depth.

    ``mask`` is that of the segmenter, bool (height, width); ``mesh`` the true object in the
    optical frame. What is in front of the object counts as an error of mask and depth, in real
    and in rendered frames alike. Raises ``ValueError`` where depth and object do not overlap.
    """
    if frame.depth is None:
        raise ValueError(f'{name} has no depth')
    picture = Raycaster([mesh]).render(frame.camera, np.eye(4), supersampling=1)
    true = picture.depth
    silhouette = true > 0.0
    depth = np.nan_to_num(frame.depth)
    shift = _find_shift(depth, true)
    inner = cv2.erode(
        (silhouette & mask).astype(np.uint8), np.ones((2 * _BORDER_PX + 1,) * 2, np.uint8)
    ) > 0
    measured = inner & (depth > 0.0)
    if np.count_nonzero(measured) < 50:
        raise ValueError(f'{name} has no readings on the object')
    residual = 1000.0 * (depth - true)
    median = float(np.median(residual[measured]))
    values = residual[measured] - median
    facing = -np.einsum('ijk,ijk->ij', picture.normals, unit(frame.camera.rays()))
    visible = silhouette & mask
    readings = mask & (depth > 0.0)
    off = readings & (~silhouette | (np.abs(depth - true) > _OFF_OBJECT_M))
    signed = _outline_error(mask, silhouette)
    distance = float(np.median(true[silhouette]))
    # Of a pixel of the image, of which the sides differ.
    pixel_mm = 1000.0 * distance / np.sqrt(frame.camera.fx * frame.camera.fy)
    lag = _correlation_length(np.where(measured, residual - median, 0.0), measured)
    return FrameStatistics(
        name=name,
        distance_m=distance,
        spread_mm=float(1.4826 * np.median(np.abs(values))),
        far_share=float(np.mean(np.abs(values) > 10.0)),
        correlation_mm=lag * float(pixel_mm),
        dropout=float(np.mean(depth[visible] <= 0.0)),
        dropout_by_slope=np.array([
            _share(depth[visible & (facing >= low) & (facing < high)] <= 0.0)
            for low, high in zip(FACING, (*FACING[1:-1], 1.01), strict=False)
        ]),
        off_object=float(np.count_nonzero(off) / max(np.count_nonzero(readings), 1)),
        mask_error_px=float(np.abs(signed).mean()),
        mask_bias_px=float(signed.mean()),
        mask_iou=float(
            np.count_nonzero(mask & silhouette) / np.count_nonzero(mask | silhouette)),
        shift_px=shift,
        residuals_mm=np.histogram(np.clip(values, -14.9, 14.9), RESIDUAL_MM)[0] / len(values),
    )


def _share(lost: NDArray[np.bool_]) -> float:
    return float(lost.mean()) if lost.size >= 30 else float('nan')


def _outline_error(mask: NDArray[np.bool_], silhouette: NDArray[np.bool_]) -> Array:
    """Return the distance of each outline pixel of the mask from the true outline, signed."""
    inside = cv2.distanceTransform(silhouette.astype(np.uint8), cv2.DIST_L2, 5)
    outside = cv2.distanceTransform((~silhouette).astype(np.uint8), cv2.DIST_L2, 5)
    level = np.where(silhouette, 0.5 - inside, outside - 0.5)
    kernel = np.ones((3, 3), np.uint8)
    outline = mask & (cv2.erode(mask.astype(np.uint8), kernel) == 0)
    return level[outline].astype(np.float64)


def _find_shift(depth: NDArray[np.float32], true: NDArray[np.float32]) -> tuple[int, int]:
    """
    Return the displacement of the depth at which it agrees best with the true one, pixels.

    The error of a pixel is capped, so that holders and holes do not decide.
    """
    v, u = np.nonzero(true > 0.0)
    expected = true[v, u]
    best, shift = np.inf, (0, 0)
    steps = range(-_MAX_SHIFT_PX, _MAX_SHIFT_PX + 1)
    # Pixels beside the object must not have its depth.
    ring = cv2.dilate((true > 0.0).astype(np.uint8), np.ones((13, 13), np.uint8)) > 0
    ring &= true <= 0.0
    ring_v, ring_u = np.nonzero(ring)
    near = cv2.dilate(true, np.ones((13, 13), np.uint8))[ring_v, ring_u]
    for down in steps:
        for right in steps:
            found = _sampled(depth, u + right, v + down)
            error = np.abs(found - expected)
            error = np.where(found > 0.0, np.minimum(error, _SHIFT_CAP_M), _SHIFT_LOST_M)
            beside = _sampled(depth, ring_u + right, ring_v + down)
            wrong = (beside > 0.0) & (np.abs(beside - near) < _SHIFT_CAP_M)
            total = float(error.sum()) + _SHIFT_LOST_M * float(np.count_nonzero(wrong))
            if total < best:
                best, shift = total, (right, down)
    return shift


def _sampled(
    depth: NDArray[np.float32], u: NDArray[np.intp], v: NDArray[np.intp]
) -> NDArray[np.float32]:
    height, width = depth.shape
    return depth[np.clip(v, 0, height - 1), np.clip(u, 0, width - 1)]


def _correlation_length(residual: NDArray[np.floating], known: NDArray[np.bool_]) -> float:
    """Return the lag in pixels at which the correlation of the known residuals is 1/e."""
    x, y, width, height = cv2.boundingRect(known.astype(np.uint8))
    part = np.s_[y : y + height, x : x + width]
    values = np.where(known, np.clip(residual, -15.0, 15.0), 0.0)[part]
    weights = known[part].astype(np.float64)
    values = values - weights * values.sum() / weights.sum()
    shape = (2 * height, 2 * width)
    power = np.abs(np.fft.rfft2(values, shape)) ** 2
    pairs = np.abs(np.fft.rfft2(weights, shape)) ** 2
    products, counts = np.fft.irfft2(power, shape), np.fft.irfft2(pairs, shape)
    rows = np.fft.fftfreq(shape[0], 1.0 / shape[0])
    columns = np.fft.fftfreq(shape[1], 1.0 / shape[1])
    lag = np.rint(np.hypot(rows[:, None], columns)).astype(int)
    last = min(_MAX_LAG_PX, width // 2, height // 2)
    near = lag <= last
    sums = np.bincount(lag[near], products[near])
    totals = np.bincount(lag[near], counts[near])
    correlation = sums / np.maximum(totals, 1.0)
    correlation = correlation / max(float(correlation[0]), 1e-12)
    below = np.flatnonzero(correlation < np.exp(-1.0))
    if not len(below):
        return float(last)
    first = int(below[0])
    upper, lower = correlation[first - 1], correlation[first]
    return first - 1 + float((upper - np.exp(-1.0)) / max(upper - lower, 1e-12))
