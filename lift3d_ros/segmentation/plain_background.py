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

"""The mask of an object on a plain background, such as that of a generated picture."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from lift3d_ros.errors import bad_image
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry.frame import MIN_MASK_PIXELS

#: Share of the shorter side that is border, where the background is.
_BORDER_SHARE = 0.03

#: Distances from the colour of the background in CIELAB; 2.3 is just noticeable. Beyond the first
#: a pixel is object, unless the background varies more; beyond the second it is not plain.
_MIN_DISTANCE = 7.0
_MAX_SPREAD = 12.0

#: Percentile of the distances in the border that is their spread: an object may reach the border.
_SPREAD_PERCENTILE = 80.0

#: Parts with less than this share of the largest are specks.
_MIN_PART_SHARE = 0.1

#: Enclosed share of the object in the colour of the background that gets a note.
_ENCLOSED_SHARE = 0.01

_MAX_SHARE = 0.9


def segment_plain_background(
    image: NDArray[np.uint8],
) -> tuple[NDArray[np.bool_], tuple[str, ...]]:
    """
    Return the mask of what is not background, bool (height, width), and notes.

    ``image`` is uint8 RGB. The background has the colour of the border, and is connected with it:
    what the object encloses is object. Raises ``LiftError``: ``BAD_IMAGE`` for a background that
    is not plain, ``EMPTY_MASK`` if nothing or everything differs from it.
    """
    lab = cv2.cvtColor(image.astype(np.float32) / 255.0, cv2.COLOR_RGB2LAB)
    height, width = image.shape[:2]
    margin = max(2, round(_BORDER_SHARE * min(height, width)))
    inner = np.s_[margin:height - margin, margin:width - margin]
    is_border = np.ones((height, width), bool)
    is_border[inner] = False
    distance = np.linalg.norm(lab - np.median(lab[is_border], axis=0), axis=2)
    spread = float(np.percentile(distance[is_border], _SPREAD_PERCENTILE))
    if spread > _MAX_SPREAD:
        raise bad_image(
            'The background of the picture is not plain; make another picture (another seed or '
            'text), or give a segmentation model.'
        )
    differs = (distance > max(_MIN_DISTANCE, 2.0 * spread)).astype(np.uint8)
    differs = cv2.morphologyEx(differs, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    # The parts of the background that reach the border of the picture.
    _, parts = cv2.connectedComponents(1 - differs, connectivity=4)
    reached = np.unique(parts[is_border & (differs == 0)])
    mask = _large_parts(~np.isin(parts, reached[reached > 0]))
    pixels = int(np.count_nonzero(mask))
    if pixels < MIN_MASK_PIXELS or pixels > _MAX_SHARE * mask.size:
        raise LiftError(
            ErrorCode.EMPTY_MASK,
            'No object stands out from the background of the picture; make another picture '
            '(another seed or text), or give a segmentation model.',
        )
    notes = []
    if np.count_nonzero(mask & (differs == 0)) > _ENCLOSED_SHARE * pixels:
        notes.append(
            'Parts of the object have the colour of the background: openings in it are taken for '
            'surface; a segmentation model separates them.'
        )
    if cv2.connectedComponents(mask.astype(np.uint8))[0] > 2:
        notes.append(
            'The picture shows several separate parts, which are lifted as one object.'
        )
    return mask, tuple(notes)


def _large_parts(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    count, parts, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    if count < 2:
        return np.zeros_like(mask)
    area = stats[1:, cv2.CC_STAT_AREA]
    kept = 1 + np.flatnonzero(area >= _MIN_PART_SHARE * area.max())
    return np.isin(parts, kept)
