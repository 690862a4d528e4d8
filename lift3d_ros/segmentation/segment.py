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
The mask of an object in a box or at a point of a frame.

GrabCut (Rother et al., GrabCut, 2004) with seeds from depth, if there is any: surfaces that rise
from the plane behind the object and lie inside the box are the object, surfaces that continue
beyond the box are not. Without depth only the colours are used.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from lift3d_ros.errors import bad_request
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry.frame import MIN_MASK_PIXELS
from lift3d_ros.segmentation.box_window import Box
from lift3d_ros.segmentation.box_window import BoxWindow
from lift3d_ros.segmentation.depth_pieces import depth_pieces
from lift3d_ros.segmentation.depth_pieces import DEPTH_STEP
from lift3d_ros.segmentation.depth_pieces import find_image_plane
from lift3d_ros.segmentation.depth_seeds import DepthSeeds
from lift3d_ros.segmentation.depth_seeds import piece_at
from lift3d_ros.segmentation.depth_seeds import seeds_by_depth
from lift3d_ros.segmentation.grabcut import grab_cut
from lift3d_ros.segmentation.grabcut import MIN_CONTRAST
from lift3d_ros.segmentation.grabcut import outline_contrast
from lift3d_ros.segmentation.grabcut import stands_out

#: Smallest share of valid depth inside a box for seeds from depth.
_MIN_DEPTH_SHARE = 0.1

#: Largest share of a side of the box along which the object extends beyond it without a note.
_MAX_CONTACT_SHARE = 0.25

#: Largest share of the surroundings of a mask at a point that rise from the plane without a note.
_MAX_ADJACENT_SHARE = 0.2

_NOTE_COLOR = (
    'The object was segmented by colour alone, because there is no depth to separate it from the '
    'background; check the mask, or give one.'
)
_NOTE_FLAT = (
    'Nothing in the box rises from the plane behind it; the object was segmented by colour alone. '
    'Check the mask, or give one.'
)
_NOTE_CONTACT = (
    'The object extends beyond its box; enlarge the box if it cuts the object, or give a mask if '
    'the object touches another object.'
)
_NOTE_PART = (
    'The segment at the point is adjacent to something else on the same plane; if that is a part '
    'of the object, choose a pixel nearer to the middle of the object, or give a box or a mask.'
)


def segment_box(
    image: NDArray[np.uint8], depth: NDArray[np.float32] | None, box: Box
) -> tuple[NDArray[np.bool_], tuple[str, ...]]:
    """
    Return the mask of the object in a box, bool (height, width), and notes on doubts.

    ``image`` is uint8 RGB (height, width, 3), ``depth`` float32 metres (height, width), 0 or NaN
    without a reading, or None. ``box`` is left, top, right, bottom in pixels, right and bottom
    exclusive; it is clipped to the image. The mask lies inside the box. Raises ``LiftError``:
    ``BAD_REQUEST`` for a box outside the image, ``MASK_TOO_SMALL`` for one of a few pixels,
    ``EMPTY_MASK`` if nothing in it stands out.
    """
    return _segment(image, depth, _clipped(box, image.shape), None)


def segment_point(
    image: NDArray[np.uint8], depth: NDArray[np.float32] | None, point: tuple[int, int]
) -> tuple[NDArray[np.bool_], tuple[str, ...]]:
    """
    Return the mask of the object at a pixel (column, row), and notes on doubts.

    As ``segment_box``. Raises ``LiftError``: ``BAD_REQUEST`` for a point outside the image,
    ``NO_OBJECT`` if no object stands out at the point.
    """
    u, v = point
    height, width = image.shape[:2]
    if not (0 <= u < width and 0 <= v < height):
        raise bad_request(
            f'The point ({u}, {v}) is outside the image of {width} x {height}; give the column '
            'and row of a pixel on the object.')
    box = None if depth is None else _box_by_depth(depth, point)
    if box is not None:
        try:
            return _segment(image, depth, box, point)
        except LiftError as error:
            if error.code is not ErrorCode.EMPTY_MASK:
                raise
    box = _box_by_color(image, point)
    if box is None:
        raise LiftError(
            ErrorCode.NO_OBJECT, f'No object stands out at the point ({u}, {v}); choose a pixel '
            'on the object, or give a box or a mask.')
    mask, notes = _segment(image, None, box, point)
    return mask, notes


def _segment(
    image: NDArray[np.uint8],
    depth: NDArray[np.float32] | None,
    box: Box,
    point: tuple[int, int] | None,
) -> tuple[NDArray[np.bool_], tuple[str, ...]]:
    """Return the mask in a box inside the image, and notes; raises ``LiftError``."""
    window = BoxWindow.of(image, depth, box, point)
    notes = []
    seeds, measured = None, False
    if window.depth is not None:
        readings = window.depth[window.inside] > 0.0
        measured = bool(readings.mean() > _MIN_DEPTH_SHARE)
        seeds = seeds_by_depth(window) if measured else None
    if seeds is None:
        mask = _by_color(window)
        notes.append(_NOTE_FLAT if measured else _NOTE_COLOR)
        keep = None
    else:
        mask = grab_cut(window.image, seeds.labels)
        keep = seeds.main
    mask = _cleaned(mask, keep, window)
    whole = window.full(mask, box, image.shape)
    if np.count_nonzero(whole) < MIN_MASK_PIXELS:
        raise _empty_box(box)
    if _exceeds_box(window, mask, seeds) or (seeds is not None and seeds.cut):
        notes.append(_NOTE_CONTACT)
    elif point is not None and seeds is not None and _has_adjacent_part(window, mask, seeds):
        notes.append(_NOTE_PART)
    return whole, tuple(notes)


def _by_color(window: BoxWindow) -> NDArray[np.bool_]:
    """
    Return the mask of the region whose colours differ from the surroundings of the box.

    Raises ``LiftError(EMPTY_MASK)`` if nothing stands out.
    """
    labels = np.where(window.inside, cv2.GC_PR_FGD, cv2.GC_BGD).astype(np.uint8)
    if not (~window.inside).any():
        # The box is the whole image: its border is the background.
        margin = max(1, min(labels.shape) // 20)
        labels[:margin] = labels[-margin:] = cv2.GC_BGD
        labels[:, :margin] = labels[:, -margin:] = cv2.GC_BGD
    if window.point is not None:
        cv2.circle(labels, window.point, max(1, min(labels.shape) // 40), cv2.GC_FGD, -1)
    mask = grab_cut(window.image, labels)
    if not stands_out(window.image, mask):
        raise _empty_box(_image_box(window))
    return mask


def _cleaned(
    mask: NDArray[np.bool_], main: NDArray[np.bool_] | None, window: BoxWindow
) -> NDArray[np.bool_]:
    """Return the components of a mask that belong to the object, without specks and pinholes."""
    mask = mask & window.inside
    count, parts, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    if count < 2:
        return mask
    area = stats[:, cv2.CC_STAT_AREA].astype(np.float64)
    area[0] = 0.0
    largest = 1 + int(np.argmax(area[1:]))
    if main is not None and (main & mask).any():
        largest = int(np.argmax(np.bincount(parts[main & mask], minlength=count)))
    if window.point is not None:
        largest = piece_at(parts, window.point) or largest
    # A thin occluder splits an object into several large parts.
    keep = area > 0.1 * area[largest] if main is not None else np.zeros(count, bool)
    keep[0], keep[largest] = False, True
    mask = keep[parts]
    holes, parts, stats, _ = cv2.connectedComponentsWithStats((~mask).astype(np.uint8))
    small = stats[:, cv2.CC_STAT_AREA] < max(9.0, 0.002 * np.count_nonzero(mask))
    return np.asarray(mask | (small[parts] & ~mask))


def _exceeds_box(window: BoxWindow, mask: NDArray[np.bool_], seeds: DepthSeeds | None) -> bool:
    """Return whether the object extends beyond a side of its box, along a large part of it."""
    left, top, right, bottom = window.box
    height, width = mask.shape
    lab = cv2.blur(cv2.cvtColor(window.image, cv2.COLOR_RGB2LAB), (3, 3)).astype(np.float32)
    sides = (
        (np.s_[top:bottom, left], np.s_[top:bottom, left - 3], left >= 3),
        (np.s_[top:bottom, right - 1], np.s_[top:bottom, min(right + 2, width - 1)],
         right + 2 < width),
        (np.s_[top, left:right], np.s_[top - 3, left:right], top >= 3),
        (np.s_[bottom - 1, left:right], np.s_[min(bottom + 2, height - 1), left:right],
         bottom + 2 < height),
    )
    for edge, beyond, known in sides:
        if not known:
            continue
        touching = mask[edge]
        same = np.linalg.norm(lab[edge] - lab[beyond], axis=-1) < MIN_CONTRAST
        if seeds is not None and window.depth is not None:
            inner, outer = window.depth[edge], window.depth[beyond]
            continuous = np.abs(inner - outer) < DEPTH_STEP * inner
            both = (inner > 0.0) & (outer > 0.0)
            same = np.where(both, continuous & seeds.rising[beyond], same)
        if (touching & same).mean() > _MAX_CONTACT_SHARE:
            return True
    return False


def _has_adjacent_part(window: BoxWindow, mask: NDArray[np.bool_], seeds: DepthSeeds) -> bool:
    """Return whether much of the surroundings of a mask rises from the plane."""
    ring = cv2.dilate(mask.astype(np.uint8), np.ones((7, 7), np.uint8)).astype(bool) & ~mask
    return bool((seeds.rising & ring).sum() > _MAX_ADJACENT_SHARE * max(1, ring.sum()))


def _box_by_depth(depth: NDArray[np.float32], point: tuple[int, int]) -> Box | None:
    """Return a box around the surface at a point that rises from the plane behind it."""
    height, width = depth.shape
    stride = -(-max(height, width) // 320)
    small = np.nan_to_num(depth[::stride, ::stride], nan=0.0, posinf=0.0, neginf=0.0)
    plane = find_image_plane(small, np.ones(small.shape, bool))
    if plane is None:
        return None
    rising = plane.rise(small) > plane.tolerance(small)
    labels, _ = depth_pieces(np.where(rising, small, np.float32(0.0)))
    label = piece_at(labels, (point[0] // stride, point[1] // stride))
    if not label:
        return None
    v, u = np.nonzero(labels == label)
    if len(u) > 0.5 * small.size:
        return None
    left, top, right, bottom = u.min(), v.min(), u.max() + 1, v.max() + 1
    margin = 2 + int(0.08 * max(right - left, bottom - top))
    return (
        max(0, int(left - margin) * stride),
        max(0, int(top - margin) * stride),
        min(width, int(right + margin) * stride),
        min(height, int(bottom + margin) * stride),
    )


def _box_by_color(image: NDArray[np.uint8], point: tuple[int, int]) -> Box | None:
    """
    Return a box around the region at a point that differs in colour, or None.

    GrabCut is initialised with discs of several sizes; the mask whose outline has the highest
    contrast is the object.
    """
    height, width = image.shape[:2]
    scale = min(1.0, 200.0 / max(height, width))
    size = (max(1, round(scale * width)), max(1, round(scale * height)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    u, v = int(scale * point[0]), int(scale * point[1])
    best, best_contrast = None, 0.0
    for share in (0.06, 0.12, 0.2, 0.3):
        radius = share * max(size)
        y, x = np.mgrid[: size[1], : size[0]]
        distance = np.hypot(x - u, y - v)
        labels = np.full(distance.shape, cv2.GC_BGD, np.uint8)
        labels[distance < 2.5 * radius] = cv2.GC_PR_BGD
        labels[distance < radius] = cv2.GC_PR_FGD
        labels[distance < 2.0] = cv2.GC_FGD
        mask = grab_cut(small, labels)
        _, parts = cv2.connectedComponents(mask.astype(np.uint8))
        mask = (parts == parts[v, u]) & mask
        if np.count_nonzero(mask) < 20 or (mask & (distance > 2.3 * radius)).any():
            continue
        if not stands_out(small, mask):
            continue
        contrast, _ = outline_contrast(small, mask)
        if contrast > best_contrast:
            best, best_contrast = mask, contrast
    if best is None:
        return None
    rows, columns = np.flatnonzero(best.any(axis=1)), np.flatnonzero(best.any(axis=0))
    margin = 2 + int(0.08 * max(np.ptp(rows), np.ptp(columns)))
    return (
        max(0, int((columns[0] - margin) / scale)),
        max(0, int((rows[0] - margin) / scale)),
        min(width, int((columns[-1] + 1 + margin) / scale)),
        min(height, int((rows[-1] + 1 + margin) / scale)),
    )


def _image_box(window: BoxWindow) -> Box:
    left, top, right, bottom = window.box
    s, x, y = window.stride, window.columns.start, window.rows.start
    return left * s + x, top * s + y, right * s + x, bottom * s + y


def _clipped(box: Box, shape: tuple[int, ...]) -> Box:
    """Return a box clipped to an image (height, width); raises ``LiftError``."""
    height, width = shape[:2]
    left, top, right, bottom = (int(value) for value in box)
    if right <= left or bottom <= top:
        raise bad_request(
            f'The box ({left}, {top}) to ({right}, {bottom}) is empty; give its upper-left corner '
            'and a width and height of at least 3 pixels.')
    left, right = max(0, left), min(width, right)
    top, bottom = max(0, top), min(height, bottom)
    if right <= left or bottom <= top:
        raise bad_request(
            f'The box lies outside the image of {width} x {height}; give it in pixels of this '
            'image.')
    if min(right - left, bottom - top) < 3 or (right - left) * (bottom - top) < MIN_MASK_PIXELS:
        raise LiftError(
            ErrorCode.MASK_TOO_SMALL, f'The box is {right - left} x {bottom - top} pixels; at '
            f'least {MIN_MASK_PIXELS} and 3 x 3 are needed. Move the camera closer, or use a '
            'higher resolution.')
    return left, top, right, bottom


def _empty_box(box: Box) -> LiftError:
    left, top, right, bottom = box
    return LiftError(
        ErrorCode.EMPTY_MASK, f'Nothing in the box ({left}, {top}) to ({right}, {bottom}) stands '
        'out from its surroundings; check that the object is in the box, or give a mask.')
