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
Interpretation of masks and label images, by the same rules for files and for messages.

A binary mask is 0 on the background. Alpha is the mask if it varies, else colour is. Soft edges,
and the values near 0 and 255 that JPEG leaves, are thresholded at the middle. A picture that is
not a mask is refused. A label image keeps every label; in a colour image each colour has the label
65536 red + 256 green + blue.
"""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lift3d_ros.errors import bad_image
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry.frame import MIN_MASK_PIXELS
from lift3d_ros.io.pictures import Picture
from lift3d_ros.io.pictures import turned

#: Smallest alpha of an object pixel.
_MIN_OBJECT_ALPHA = 128

#: Shares of the brightest value up to which a pixel is definite background, and from which it is
#: definite object.
_MAX_BACKGROUND, _MIN_OBJECT = 0.16, 0.84

#: Smallest share of such pixels in a mask with soft edges.
_MIN_DEFINITE_SHARE = 0.9

#: Smallest share of the pixels with other values that have neighbours of the same value, if these
#: values are labels: areas of one value instead of soft edges or compression noise.
_MIN_FLAT_SHARE = 0.35

#: Smallest number of different values near both ends that indicates compression noise.
_MIN_NOISE_LEVELS = 4

#: Largest values up to which floats of 2 and 4 bytes represent every integer (IEEE 754).
_MAX_EXACT_INTEGER = {2: 2.0**11, 4: 2.0**24}

#: Largest number of labels of an image, and of labels with few pixels among them.
MAX_LABELS = 4096
_MAX_TINY_LABELS = 64

#: In an image with at least so many pixels and more than so many labels, half of the labels must
#: have an area; otherwise the image was smoothed or compressed.
_MIN_PIXELS_FOR_AREAS = 4096
_MAX_LABELS_WITHOUT_AREAS = 16


@dataclass(frozen=True, eq=False)
class MaskPixels:
    """
    The uninterpreted pixels of a mask.

    - ``values``: numbers of shape (height, width), or of (height, width, channels): grey and
      alpha, RGB, or RGBA.
    - ``lossy``: whether a lossy compression changed their values.
    - ``labels``: the labels, if the file has them instead of ``values``: palette indices.
    - ``narrowed``: whether colours lost their lower bits.
    """

    values: NDArray[Any]
    lossy: bool = False
    labels: NDArray[Any] | None = None
    narrowed: bool = False

    @classmethod
    def of_picture(cls, picture: Picture) -> MaskPixels:
        """Return the pixels of a picture; a palette has labels where its first colour is black."""
        labels = None
        if picture.indices is not None and picture.palette is not None:
            if not picture.palette[0].any():
                labels = picture.indices
        elif picture.grey_step > 1:
            labels = picture.pixels // picture.grey_step
        return cls(picture.pixels, picture.lossy, labels, picture.narrowed)

    def turned(self, orientation: int) -> MaskPixels:
        """Return the pixels rotated by an EXIF orientation."""
        labels = None if self.labels is None else turned(self.labels, orientation)
        return replace(self, values=turned(self.values, orientation), labels=labels)


def read_binary(
    mask: MaskPixels, name: str = 'The mask'
) -> tuple[NDArray[np.bool_], tuple[str, ...]]:
    """
    Return the object pixels of a mask, bool (height, width), and notes on doubts.

    Raises ``LiftError(BAD_IMAGE)`` for a picture that is not a mask: one without background, or
    with intermediate values that are neither soft edges nor labels.
    """
    values = mask.values
    alpha = deciding_alpha(values)
    if alpha is not None:
        return alpha >= _MIN_OBJECT_ALPHA, ()
    if values.dtype == np.bool_:
        values = values.astype(np.uint8)
    grey = values if values.ndim == 2 else values[..., :3].max(axis=2)
    if values.ndim == 3 and values.shape[2] == 2:
        grey = values[..., 0]
    grey = _whole_numbers(grey, name)
    levels, counts = _levels(grey)
    if levels[-1] <= 0:
        return np.zeros(grey.shape, bool), ()
    coloured = values.ndim == 3 and values.shape[2] > 2 and not _is_grey(values)
    if grey.size < MIN_MASK_PIXELS:
        # It is refused later for its size.
        return grey > 0, ()
    if len(levels) == 1:
        raise _no_background(name, int(levels[0]))
    if len(levels) == 2 and levels[0] == 0 and not coloured:
        return grey > 0, ()
    full = _full_value(int(levels[-1]))
    dark, bright = levels <= _MAX_BACKGROUND * full, levels >= _MIN_OBJECT * full
    sure = int(counts[dark | bright].sum()) >= _MIN_DEFINITE_SHARE * grey.size
    has_ends = dark.any() and bright.any() and sure
    noisy = min(np.count_nonzero(dark), np.count_nonzero(bright)) >= _MIN_NOISE_LEVELS
    if levels[0] == 0 and not mask.lossy and not (has_ends and noisy):
        codes = pack_colors(values) if coloured else grey
        found, sizes = _levels(codes)
        if len(found) <= 2:
            return codes > 0, ()
        if len(found) <= MAX_LABELS and _has_labels(codes, found, sizes, grey, 0.5 * full):
            return codes > 0, (_labels_note(name, found[found > 0], coloured),)
    if has_ends:
        return grey > 0.5 * full, (_soft_note(name, len(levels)),)
    if levels[0] > _MAX_BACKGROUND * full:
        raise _no_background(name, int(levels[0]))
    raise bad_image(
        f'{name} has {len(levels)} values between {levels[0]} and {levels[-1]}, so it is a '
        'picture, not a mask; set the background to 0 and the object to 255, as PNG or mono8.')


def read_labels(mask: MaskPixels, name: str = 'The mask') -> NDArray[Any]:
    """
    Return a label image of integers, shape (height, width), 0 = background.

    Negative labels are background. If alpha varies, pixels with less than half opacity are
    background. Raises ``LiftError(BAD_IMAGE)`` for labels that were compressed as JPEG, are not
    integers, or are blurred.
    """
    if mask.lossy:
        raise bad_image(
            f'{name} is a label image with lossy compression, such as JPEG, which changes labels; '
            'publish it raw or as PNG.')
    values = mask.values if mask.labels is None else mask.labels
    if mask.narrowed:
        raise bad_image(
            f'{name} has 16-bit colours, which are not supported as labels; use 8 bits per '
            'channel, or one 16-bit channel.')
    if values.dtype == np.bool_:
        values = values.astype(np.uint8)
    if values.ndim == 2:
        labels = _whole_numbers(values, name, labels=True)
    elif values.dtype != np.uint8:
        raise bad_image(
            f'{name} has {values.shape[2]} channels of type {values.dtype}; publish labels in one '
            'channel, or one colour per label with 8 bits per channel (rgb8).')
    else:
        labels = values[..., 0] if values.shape[2] == 2 else pack_colors(values)
        found, sizes = _levels(labels)
        tiny = int(np.count_nonzero(sizes[found > 0] < MIN_MASK_PIXELS))
        large = int(np.count_nonzero(found > 0)) - tiny
        if len(found) > MAX_LABELS or tiny > max(_MAX_TINY_LABELS, 4 * large):
            raise bad_image(
                f'{name} has {len(found)} colours, {tiny} of them on fewer than {MIN_MASK_PIXELS} '
                'pixels: it was smoothed or compressed as JPEG. Use one colour per object, resize '
                'with nearest-neighbour interpolation, and save as PNG.')
    found, sizes = _levels(labels)
    if np.count_nonzero(found) > _MAX_LABELS_WITHOUT_AREAS:
        dense, flat = _flat(labels, found)
        if _without_areas(found, sizes, np.bincount(dense[flat], minlength=len(found))):
            raise bad_image(
                f'{name} has {len(found)} labels, and most of them have no area: it was smoothed '
                'or compressed as JPEG. Resize labels with nearest-neighbour interpolation, and '
                'save as PNG.')
    alpha = deciding_alpha(mask.values)
    return labels if alpha is None else np.where(alpha >= _MIN_OBJECT_ALPHA, labels, 0)


def fit_nearest(pixels: NDArray[Any], width: int, height: int) -> NDArray[Any]:
    """Return pixels (rows, columns) of any type at another size, by the nearest neighbour."""
    rows, columns = pixels.shape[:2]
    v = (2 * np.arange(height) + 1) * rows // (2 * height)
    u = (2 * np.arange(width) + 1) * columns // (2 * width)
    return pixels[v[:, None], u]


def pack_colors(values: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Return the label of each colour, 65536 red + 256 green + blue, shape (height, width)."""
    red, green, blue = (values[..., k].astype(np.int32) for k in range(3))
    return red << 16 | green << 8 | blue


def deciding_alpha(values: NDArray[Any]) -> NDArray[Any] | None:
    """Return alpha, 0 to 255, if it separates an object from a background, else None."""
    if values.ndim != 3 or values.shape[2] not in (2, 4):
        return None
    alpha = values[..., -1]
    if alpha.dtype == np.uint16:
        alpha = alpha >> 8
    return alpha if alpha.min() < _MIN_OBJECT_ALPHA <= alpha.max() else None


def _whole_numbers(values: NDArray[Any], name: str, labels: bool = False) -> NDArray[Any]:
    """
    Return integers that are not negative.

    Floats must be integers; in a binary mask those from 0 to 1 become 0 to 255. Raises
    ``LiftError(BAD_IMAGE)``.
    """
    kind = values.dtype
    if kind.kind == 'f':
        values = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
        values = np.maximum(values, 0.0)
        whole = bool((values == np.rint(values)).all())
        top = float(values.max(initial=0.0))
        if not labels and not whole and top <= 1.0:
            return np.rint(255.0 * values).astype(np.uint8)
        if labels and kind.itemsize * 8 < 64 and top >= _MAX_EXACT_INTEGER[kind.itemsize]:
            raise bad_image(
                f'{name} has labels up to {top:.0f}, but floats of {8 * kind.itemsize} bits '
                f'represent integers exactly only up to {_MAX_EXACT_INTEGER[kind.itemsize]:.0f}, '
                'so labels may have been merged; publish 32SC1.')
        if not whole or top >= 2.0**31:
            raise bad_image(
                f'{name} has values that are not integers; publish labels as 16UC1 or 32SC1, and '
                'a binary mask as mono8.')
        values = values.astype(np.int32)
    return np.maximum(values, 0) if values.dtype.kind == 'i' else values


def _levels(values: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.intp]]:
    """Return the different values of an image of integers that are not negative, and counts."""
    top = int(values.max())
    # Most masks have two values; bincount copies them in 64 bits, which takes ten times as long.
    counts = np.array([
        values.size - np.count_nonzero(values), np.count_nonzero(values == top)], np.intp)
    if top > 0 and counts.sum() == values.size:
        return np.array([0, top], np.intp)[counts > 0], counts[counts > 0]
    if top < 1 << 20:
        counts = np.bincount(values.reshape(-1))
        found = np.flatnonzero(counts)
        return found, counts[found]
    return np.unique(values, return_counts=True)


def _is_grey(values: NDArray[Any]) -> bool:
    red = values[..., 0]
    return bool((red == values[..., 1]).all() and (red == values[..., 2]).all())


def _full_value(top: int) -> int:
    """Return the value of a definite object pixel: 255 or 65535 if values are near it."""
    for full in (255, 65535):
        if _MIN_OBJECT * full <= top <= full:
            return full
    return top


def _has_labels(
    codes: NDArray[Any],
    found: NDArray[Any],
    sizes: NDArray[np.intp],
    grey: NDArray[Any],
    middle: float,
) -> bool:
    """
    Return whether the values of an image are labels, and not soft edges of one object.

    ``found`` are the values of ``codes`` and ``sizes`` their numbers of pixels. They are labels if
    many pixels of all but the two most frequent values equal their eight neighbours, or if a
    threshold at the ``middle`` would remove an area.
    """
    dense, flat = _flat(codes, found)
    inside = np.bincount(dense[flat], minlength=len(found))
    if _without_areas(found, sizes, inside):
        return False
    common = np.argsort(-sizes, kind='stable')[:2]
    others = (dense != common[0]) & (dense != common[1])
    count = int(np.count_nonzero(others))
    if count and np.count_nonzero(flat & others) >= _MIN_FLAT_SHARE * count:
        return True
    removed = (grey > 0) & (grey <= middle)
    inside = np.bincount(dense[removed & flat], minlength=len(found))
    return bool(((inside >= MIN_MASK_PIXELS) & (2 * inside >= sizes)).any())


def _flat(
    codes: NDArray[Any], found: NDArray[Any]
) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Return the indices of values in ``found``, and the pixels that equal their neighbours."""
    dense = np.searchsorted(found, codes)
    numbers, kernel = dense.astype(np.float32), np.ones((3, 3), np.uint8)
    return dense, cv2.erode(numbers, kernel) == cv2.dilate(numbers, kernel)


def _without_areas(
    found: NDArray[Any], sizes: NDArray[np.intp], inside: NDArray[np.intp]
) -> bool:
    """Return whether most of many labels have no area, by their pixels ``inside`` of it."""
    labels = found > 0
    if np.count_nonzero(labels) <= _MAX_LABELS_WITHOUT_AREAS or (
        sizes.sum() < _MIN_PIXELS_FOR_AREAS
    ):
        return False
    return bool(np.mean(10 * inside[labels] < sizes[labels]) > 0.5)


def _no_background(name: str, value: int) -> LiftError:
    return bad_image(
        f'{name} has no background: its smallest value is {value}, not 0. Set the background to 0 '
        'and the object to 255.')


def _soft_note(name: str, levels: int) -> str:
    return (
        f'{name} has {levels} values instead of only 0 and 255, as after JPEG compression or '
        'smoothing; it is thresholded at half of its brightest value. Use only 0 and 255, as PNG '
        'or mono8.'
    )


def _labels_note(name: str, labels: NDArray[Any], coloured: bool) -> str:
    several = f'{len(labels)} colours' if coloured else (
        f'{len(labels)} values (' + ', '.join(str(value) for value in labels[:8].tolist())
        + (', ...' if len(labels) > 8 else '') + ')'
    )
    return (
        f'{name} has {several} besides 0, and all of them are read as one binary mask. If each is '
        'a separate object, read it as a label image (mask_source "label" for the node, --label '
        'on the command line).'
    )
