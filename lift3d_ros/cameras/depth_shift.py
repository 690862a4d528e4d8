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
Estimate and correct a common shift of the depth against the image, some pixels.

Depth is registered to the image with an extrinsic calibration that is off by a little, or the two
have stamps some milliseconds apart: both are then shifted by a few pixels. Where the depth jumps,
the image has an edge. The shift is the one at which the image's gradients across the jumps are
largest; it is corrected only if that maximum is distinct and in both directions.
"""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from lift3d_ros.geometry.frame import ObjectView

#: Largest shift that is searched and corrected, pixels in an image of up to that width: larger
#: ones have other causes, which ``depth_alignment`` reports.
MAX_SHIFT_PX, SHIFT_WIDTH = 6, 640

#: Longer side of the object in the images that are compared, pixels, and margin around it as a
#: share of it.
SIDE_PX, MARGIN_SHARE = 240, 0.5

#: Smallest jump of the depth, metres and share of the depth.
MIN_JUMP_M, MIN_JUMP_SHARE = 0.015, 0.025

#: Largest gap between the two sides of a jump, pixels.
MAX_GAP_PX = 14

#: Smallest number of pixels on jumps of each direction, and smallest share of those along an axis.
MIN_JUMP_PIXELS, MIN_SIDE_SHARE = 15, 0.15

#: Distance from the outline of the mask at which a jump agrees with it, pixels.
OUTLINE_REACH_PX = 4.0

#: Smallest shift that is corrected, pixels.
MIN_SHIFT_PX = 1.0

#: Smallest gain of the agreement by a shift that is corrected, over the spread of the agreement
#: over all shifts. On 42 scenes of the train split without a shift the largest is 0.63.
MIN_GAIN = 1.4

#: Smallest cosine of the angle between a shift that is corrected and that against the mask.
MIN_COSINE = 0.3


@dataclass(frozen=True)
class DepthShift:
    """
    A shift of the depth against the image.

    - ``right``, ``down``: pixels of the image by which the depth is displaced.
    - ``gain``: of the agreement with the image, over its spread over all shifts.
    - ``cosine``: of the angle between the shift and that of the depth against the mask.
    """

    right: float
    down: float
    gain: float
    cosine: float


def find_shift(view: ObjectView) -> DepthShift | None:
    """Return the most probable shift of the depth around an object; None with too few jumps."""
    depth = view.frame.depth
    if depth is None:
        return None
    box, camera = view.window(SIDE_PX, int(MARGIN_SHARE * view.longer_side()) + 12)
    stride = view.frame.camera.fx / camera.fx
    z = np.where(np.isfinite(depth[box]), depth[box], np.float32(0.0))
    limit = round(max(MAX_SHIFT_PX, MAX_SHIFT_PX * max(depth.shape) / SHIFT_WIDTH) / stride)
    limit = max(limit, 2)
    # Sensors widen or narrow what is in front. Both sides of it weigh the same, lest this count as
    # a shift.
    score = np.zeros((2 * limit + 1, 2 * limit + 1), np.float32)
    jumps = np.zeros(z.shape, np.float32)
    for gradient, sides in zip(_gradients(view.frame.image[box]), _jumps(z), strict=True):
        counts = [float(side[limit:-limit, limit:-limit].sum()) for side in sides]
        if min(counts) < MIN_JUMP_PIXELS or min(counts) < MIN_SIDE_SHARE * sum(counts):
            return None
        for side, count in zip(sides, counts, strict=True):
            score += _correlation(gradient, side, limit) / np.float32(count)
            jumps = np.maximum(jumps, side)
    score = cv2.GaussianBlur(score, (0, 0), 1.0)
    best = np.unravel_index(int(np.argmax(score)), score.shape)
    if not all(0 < i < n - 1 for i, n in zip(best, score.shape, strict=True)):
        return None
    row, column = (int(i) for i in best)
    spread = float(score.std())
    gain = float(score[row, column] - score[limit, limit]) / max(spread, 1e-9)
    right = column - limit + _vertex(score[row, column - 1 : column + 2])
    down = row - limit + _vertex(score[row - 1 : row + 2, column])
    # The image has its edges at the shifted place, so that the depth is displaced the other way.
    outline = _outline_shares(view.mask[box], jumps, limit)
    outline = cv2.GaussianBlur(outline, (0, 0), 1.0)
    mask_row, mask_column = np.unravel_index(int(np.argmax(outline)), outline.shape)
    by_mask = float(mask_column) - limit, float(mask_row) - limit
    cosine = (right * by_mask[0] + down * by_mask[1]) / max(
        float(np.hypot(right, down) * np.hypot(*by_mask)), 1e-9
    )
    return DepthShift(-right * stride, -down * stride, gain, float(cosine))


def _outline_shares(
    mask: NDArray[np.bool_], jumps: NDArray[np.float32], limit: int
) -> NDArray[np.float32]:
    """Return the agreement of moved jumps with the mask's outline, for each move, 0 to 1."""
    inner = cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8))
    distance = cv2.distanceTransform(1 - (mask & (inner == 0)).astype(np.uint8), cv2.DIST_L2, 3)
    near = np.maximum(0.0, 1.0 - distance / np.float32(OUTLINE_REACH_PX)).astype(np.float32)
    # Jumps of other objects are as many at every move.
    around = cv2.dilate(mask.astype(np.uint8), np.ones((4 * limit + 1,) * 2, np.uint8))
    own = np.where(around > 0, jumps, np.float32(0.0))
    return _correlation(near, own, limit) / max(float(np.count_nonzero(own)), 1.0)


def correct_shift(view: ObjectView) -> tuple[ObjectView, tuple[str, ...]]:
    """Return a view with the depth where the image has it, and a note if that was a change."""
    found = find_shift(view)
    if found is None or found.gain < MIN_GAIN or found.cosine < MIN_COSINE:
        return view, ()
    right, down = round(found.right), round(found.down)
    if np.hypot(right, down) < MIN_SHIFT_PX:
        return view, ()
    assert view.frame.depth is not None
    height, width = view.frame.depth.shape
    # Whole pixels: interpolation would put readings between two surfaces.
    depth = cv2.warpAffine(
        view.frame.depth,
        np.array([[1.0, 0.0, -right], [0.0, 1.0, -down]]),
        (width, height),
        flags=cv2.INTER_NEAREST,
        borderValue=0.0,
    )
    note = (
        f'The depth was displaced against the image by {right} pixels to the right and {down} '
        'pixels down, which was corrected; check the registration of the depth and its stamp.'
    )
    frame = replace(view.frame, depth=np.asarray(depth, np.float32))
    return replace(view, frame=frame), (note,)


def _gradients(
    image: NDArray[np.uint8],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the gradients across columns and rows, relative to those around, saturated at 1."""
    lab = cv2.cvtColor(cv2.GaussianBlur(image, (0, 0), 1.0), cv2.COLOR_RGB2LAB).astype(np.float32)
    found = []
    for dx, dy in ((1, 0), (0, 1)):
        gradient = np.maximum.reduce([
            np.abs(channel) for channel in cv2.split(cv2.Scharr(lab, cv2.CV_32F, dx, dy))])
        usual = cv2.blur(gradient, (31, 31)) + np.float32(20.0)
        found.append(np.minimum(gradient / (2.0 * usual), 1.0).astype(np.float32))
    return found[0], found[1]


def _jumps(
    z: NDArray[np.float32],
) -> tuple[tuple[NDArray[np.float32], ...], tuple[NDArray[np.float32], ...]]:
    """
    Return the near sides of the jumps of depth, 0 or 1, between columns and between rows.

    Each is a pair: of jumps whose near side comes first, and of the others. Between both sides
    there may be a gap, such as the shadow of a stereo camera.
    """
    rows = _row_jumps(np.ascontiguousarray(z.T))
    return _row_jumps(z), (rows[0].T.copy(), rows[1].T.copy())


def _row_jumps(z: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the near sides of the jumps along rows, those on the left first."""
    first, second = np.zeros(z.shape, np.float32), np.zeros(z.shape, np.float32)
    # Readings that follow one another in a row, with or without a gap between them.
    at = np.flatnonzero(z > 0.0)
    width = z.shape[1]
    reading, row = z.ravel()[at], at // width
    step, gap = np.diff(reading), np.diff(at)
    near = np.minimum(reading[1:], reading[:-1])
    jump = np.abs(step) > np.maximum(MIN_JUMP_M, MIN_JUMP_SHARE * near)
    jump &= (gap <= MAX_GAP_PX) & (row[1:] == row[:-1])
    first.ravel()[at[:-1][jump & (step > 0.0)]] = 1.0
    second.ravel()[at[1:][jump & (step < 0.0)]] = 1.0
    return first, second


def _correlation(
    gradient: NDArray[np.float32], jumps: NDArray[np.float32], limit: int
) -> NDArray[np.float32]:
    """Return the sums of the gradient at jumps moved by -limit to limit pixels, (down, right)."""
    # Few pixels are on jumps.
    rows, columns = np.nonzero(jumps[limit:-limit, limit:-limit])
    around = np.lib.stride_tricks.sliding_window_view(gradient, (2 * limit + 1,) * 2)
    return np.asarray(around[rows, columns].sum(axis=0))


def _vertex(values: NDArray[np.float32]) -> float:
    """Return the place of the vertex of a parabola through three values, -0.5 to 0.5."""
    low, middle, high = (float(v) for v in values)
    curvature = low - 2.0 * middle + high
    return 0.0 if curvature >= 0.0 else float(np.clip(0.5 * (low - high) / curvature, -0.5, 0.5))
