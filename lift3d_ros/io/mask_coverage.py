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

"""Checks of the mask of one object: background, inversion, and rectangles of detectors."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.errors import bad_image
from lift3d_ros.geometry.frame import MIN_MASK_PIXELS

#: Shares of the image above which a mask is refused, and gets a note.
_MAX_COVERAGE, _NOTED_COVERAGE = 0.95, 0.8

#: A mask with at least this shorter side, pixels, that fills this share of its bounding box is the
#: box of a detector: the outlines of real boxes are rotated, or have rounded corners.
_MIN_RECTANGLE_PX, _MIN_RECTANGLE_SHARE = 16, 0.995

#: Share of the image border in the mask above which object and background are swapped.
_MIN_INVERTED_BORDER_SHARE = 0.95


def check_coverage(mask: NDArray[np.bool_], name: str = 'The mask') -> tuple[str, ...]:
    """
    Return notes on the mask of one object that covers most of the image or touches its borders.

    Raises ``LiftError(BAD_IMAGE)`` for a mask without background, and for one in which object and
    background are swapped.
    """
    pixels = int(np.count_nonzero(mask))
    if pixels < MIN_MASK_PIXELS:
        return ()
    rectangle = _rectangle_notes(mask, pixels, name)
    share = pixels / mask.size
    sides = [mask[0], mask[-1], mask[:, 0], mask[:, -1]]
    if share > _MAX_COVERAGE:
        raise bad_image(
            f'{name} covers {100.0 * share:.0f} % of the image, so it does not outline the '
            'object; set the background to 0.')
    if not all(side.any() for side in sides):
        if share > _NOTED_COVERAGE:
            return (_coverage_note(name, share), *rectangle)
        return rectangle
    if float(np.concatenate(sides).mean()) >= _MIN_INVERTED_BORDER_SHARE:
        raise bad_image(
            f'{name} covers the whole border of the image but not its interior: object and '
            'background are swapped. Invert it so that the background is 0.')
    note = (
        f'{name} touches all four borders of the image; check that it is not inverted (the '
        'background is 0), or move the camera back.'
    )
    return (note, _coverage_note(name, share)) if share > _NOTED_COVERAGE else (note,)


def _rectangle_notes(mask: NDArray[np.bool_], pixels: int, name: str) -> tuple[str, ...]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    height, width = int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1
    if min(width, height) < _MIN_RECTANGLE_PX or pixels < _MIN_RECTANGLE_SHARE * width * height:
        return ()
    # A rectangle that spans the image is not the box of a detector.
    if width == mask.shape[1] or height == mask.shape[0]:
        return ()
    return (
        f'{name} is a filled rectangle; if it is the bounding box of a detector and not the '
        'outline of the object, pass it as a box (--box on the command line, detections or the '
        'mode BOX for the node) so that the object is segmented.',
    )


def _coverage_note(name: str, share: float) -> str:
    return (
        f'{name} covers {100.0 * share:.0f} % of the image; check that its background is 0.'
    )
