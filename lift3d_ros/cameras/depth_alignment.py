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
Check whether the depth and the mask of an object are aligned.

The depth jumps at the outline of an object with something farther away behind it. The outline of
the mask is shifted and scaled until it matches these jumps (chamfer matching: the mean of a
distance transform of the jumps along the outline). If the best match is far from the original
position, the depth is probably not registered to the image, or the mask has another stamp.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lift3d_ros.geometry.frame import ObjectView

#: Longer side of the object in the images that are compared, pixels.
_SIDE_PX = 80

#: Largest number of outline points that are compared.
_MAX_POINTS = 160

#: Smallest depth jump, metres and share of the depth; smaller steps occur within objects.
MIN_JUMP_M = 0.012
MIN_JUMP_SHARE = 0.025

#: Distance beyond which an outline point does not match a jump, pixels of the compared images.
_REACH_PX = 3.0

#: Search range: the parallax of the largest common baseline (0.06 m) at the depth.
_BASELINE_M = 0.06
_MAX_SHIFT_PX = 48

#: Ratios of the focal lengths of two cameras, such as those of 87 and 69 degrees.
_SCALE_STEP = 1.03
_SCALES = (0.70, 0.76, 0.82, 0.88, 0.94, 1.0, 1.06, 1.13, 1.21, 1.30, 1.40)

#: Shares of the outline that match jumps: the minimum at the displaced position, the maximum at
#: the original position, and the minimum gain. First for a shift, then for a shift with another
#: scale, then for mainly another scale, which a mask that is too wide resembles. Tuned on 186
#: scenes of the train split with exact and detector masks and on 22 real frames: none of these 394
#: gets a note.
_MOVED_SHARES = (0.55, 0.33, 0.22)
_BOTH_SHARES = (0.73, 0.33, 0.38)
_SCALED_SHARES = (0.75, 0.20, 0.45)

#: Smallest share of the displacement that counts as a shift.
_SHIFT_SHARE = 0.7

#: Tolerated displacement of a detector mask, pixels of the image and share of the object.
_TOLERANCE_PX = 3.0
_SCALED_TOLERANCE_PX = 3.6
_TOLERANCE_SHARE = 0.05


@dataclass(frozen=True)
class Displacement:
    """
    The displacement of the depth of an object relative to its mask.

    - ``right``, ``down``: pixels of the image.
    - ``scale``: size of the object in the depth over that of the mask.
    - ``met``, ``met_here``: shares of the outline that match depth jumps with and without the
      displacement.
    - ``mean``: mean displacement of the points of the outline, pixels of the image.
    """

    right: float
    down: float
    scale: float
    met: float
    met_here: float
    mean: float


def alignment_note(view: ObjectView) -> str | None:
    """Return a note if the depth is displaced relative to the mask of the object, else None."""
    found = find_displacement(view)
    if found is None or not is_displaced(found, view.longer_side()):
        return None
    parts = []
    if abs(found.right) >= 1.0:
        side = 'left' if found.right < 0 else 'right'
        parts.append(f'{_pixels(found.right)} to the {side}')
    if abs(found.down) >= 1.0:
        parts.append(f'{_pixels(found.down)} to the {"top" if found.down < 0 else "bottom"}')
    where = f'{", ".join(parts)} of its mask' if parts else ''
    if abs(found.scale - 1.0) > 0.05:
        where += (' and ' if where else '') + f'{found.scale:.2f} times as large as its mask'
    where = where or f'{found.mean:.0f} pixels beside its mask'
    return (
        f'In the depth, the object seems to be {where}; check that the depth is registered to the '
        'image, and that mask and depth have the same stamp.'
    )


def _pixels(shift: float) -> str:
    count = round(abs(shift))
    return f'{count} pixel{"" if count == 1 else "s"}'


def is_displaced(found: Displacement, side: int) -> bool:
    """Return whether a displacement exceeds that of a detector mask; ``side`` is the object's."""
    shift = float(np.hypot(found.right, found.down))
    tolerance = _TOLERANCE_PX
    if found.scale == 1.0:
        least, most, gain = _MOVED_SHARES
    elif shift >= _SHIFT_SHARE * found.mean:
        least, most, gain = _BOTH_SHARES
    else:
        # A mask that is wider all around looks the same.
        least, most, gain = _SCALED_SHARES
        tolerance = _SCALED_TOLERANCE_PX
    return (
        found.mean > max(tolerance, _TOLERANCE_SHARE * side)
        and found.met >= least
        and found.met_here <= most
        and found.met - found.met_here >= gain
    )


def find_displacement(view: ObjectView) -> Displacement | None:
    """Return the displacement of the depth jumps from the outline, None with too little data."""
    depth = view.frame.depth
    if depth is None:
        return None
    margin = max(12, view.longer_side() // 2)
    box, camera = view.window(_SIDE_PX, margin)
    z, mask = depth[box], view.mask[box]
    valid = np.isfinite(z) & (z > 0.0)
    if np.count_nonzero(valid) < 0.3 * valid.size or min(mask.shape) < 8:
        return None
    z = with_far_gaps(np.where(valid, z, np.float32(0.0)))
    jumps = _near_sides(z)
    outline = _outline(mask)
    if len(outline) < 24 or np.count_nonzero(jumps) < 12:
        return None
    near = float(np.median(z[z > 0.0]))
    limit = int(np.clip(camera.fx * _BASELINE_M / near, 4, _MAX_SHIFT_PX))
    distance = cv2.distanceTransform((~jumps).astype(np.uint8), cv2.DIST_L2, 3)
    score = np.maximum(0.0, 1.0 - distance / np.float32(_REACH_PX)).astype(np.float32)
    # There is no data outside the window.
    pad = limit + int(0.25 * max(mask.shape)) + 4
    score = np.pad(score, pad)
    center = outline.mean(axis=0)
    here = float(_sampled(score, outline + pad))
    best, best_score = (1.0, 0, 0), here
    step = max(1, limit // 16)
    scales = list(_SCALES)
    for scale in scales:
        points = center + scale * (outline - center) + pad
        shift, value = _best_shift(score, points, limit, step)
        if value > best_score + 0.02 * (scale != 1.0 and best[0] == 1.0):
            best, best_score = (scale, *shift), value
        if scale == _SCALES[-1] and best[0] != 1.0:
            # Refine between the steps after the last one.
            scales += [best[0] * _SCALE_STEP, best[0] / _SCALE_STEP]
    scale, right, down = best
    moved = center + scale * (outline - center) + (right, down) - outline
    stride = view.frame.camera.fx / camera.fx
    return Displacement(
        right * stride,
        down * stride,
        scale,
        best_score,
        here,
        float(np.linalg.norm(moved, axis=1).mean()) * stride,
    )


def with_far_gaps(z: NDArray[np.float32]) -> NDArray[np.float32]:
    """
    Return depth without gaps: each gap takes its farther neighbour in the row.

    The shadow of a stereo camera is next to the nearer surface and belongs to the farther one.
    """
    filled = [_carried(z), _carried(z[:, ::-1])[:, ::-1]]
    return np.where(z > 0.0, z, np.maximum(*filled))


def _carried(z: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return rows in which each gap has the reading before it."""
    place = np.where(z > 0.0, np.arange(z.shape[1]), 0)
    return np.take_along_axis(z, np.maximum.accumulate(place, axis=1), axis=1)


def _near_sides(z: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return the pixels beside which the depth jumps away from the camera."""
    kernel = np.ones((3, 3), np.uint8)
    z = cv2.medianBlur(z, 3)
    rise = cv2.dilate(z, kernel) - z
    return (rise > np.maximum(MIN_JUMP_M, MIN_JUMP_SHARE * z)) & (z > 0.0)


def _outline(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return points (n, 2) of the outline, column and row, without those at the border."""
    inner = cv2.erode(
        mask.astype(np.uint8), np.ones((3, 3), np.uint8), borderType=cv2.BORDER_REPLICATE
    )
    rows, columns = np.nonzero(mask & (inner == 0))
    every = max(1, -(-len(rows) // _MAX_POINTS))
    return np.stack([columns, rows], axis=1).astype(np.float64)[::every]


def _sampled(score: NDArray[np.float32], points: NDArray[np.float64]) -> np.float32:
    place = np.rint(points).astype(np.int64)
    return np.float32(score[place[:, 1], place[:, 0]].mean())


def _best_shift(
    score: NDArray[np.float32], points: NDArray[np.float64], limit: int, step: int
) -> tuple[tuple[int, int], float]:
    """Return the shift right and down at which the points meet best, and the mean score."""
    place = np.rint(points).astype(np.int64)
    flat = place[:, 1] * score.shape[1] + place[:, 0]
    values = score.ravel()
    best, best_value, centre, reach = (0, 0), -1.0, (0, 0), limit
    while True:
        offsets = np.arange(-reach, reach + 1, step)
        across = np.clip(centre[0] + offsets, -limit, limit)
        down = np.clip(centre[1] + offsets, -limit, limit)
        moves = (down[:, None] * score.shape[1] + across).ravel()
        means = values[flat[:, None] + moves].mean(axis=0)
        index = int(means.argmax())
        if means[index] > best_value:
            best_value = float(means[index])
            best = int(across[index % len(across)]), int(down[index // len(across)])
        if step == 1:
            return best, best_value
        centre, reach, step = best, step, max(1, step // 2)
