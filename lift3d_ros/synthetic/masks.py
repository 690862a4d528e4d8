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

"""Masks of detectors and segmenters, made from the true mask."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lift3d_ros.synthetic.sensors.noise import blobs
from lift3d_ros.synthetic.sensors.noise import coarse_noise
from lift3d_ros.synthetic.sensors.noise import smooth_noise

#: Least area of a further part of a mask over that of the largest one.
_MIN_PART = 0.08

#: A mask by colour is used if it has this share of the object, and not more than this of others:
#: eight real masks by colour have an IoU of 0.80 to 0.89 with the whole object.
_MIN_COLOR_KEPT, _MAX_COLOR_EXTRA = 0.8, 0.12

#: Share of the object that every mask of a segmenter keeps.
_MIN_KEPT = 0.65


@dataclass(frozen=True)
class MaskErrors:
    """
    Errors of detectors at the border of a mask.

    - ``minimum``, ``maximum``: pixels by which the mask shrinks or grows.
    - ``raggedness``: standard deviation of the border, pixels.
    - ``missing``: probability of a missing part; ``missing_share``: its largest share of the area.
    """

    minimum: float = 2.0
    maximum: float = 5.0
    raggedness: float = 1.0
    missing: float = 0.35
    missing_share: float = 0.15

    def apply(self, mask: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.bool_]:
        """
        Return the mask, bool (height, width), with the errors of a detection.

        A mask too thin to shrink grows instead, so that no mask becomes empty.
        """
        shift = rng.uniform(self.minimum, self.maximum) * rng.choice([-1.0, 1.0])
        wobble = self.raggedness * smooth_noise(mask.shape, 2.5, rng)
        cut = rng.random() < self.missing
        direction = rng.uniform(0.0, 2.0 * np.pi)
        share = rng.uniform(0.3, 1.0) * self.missing_share
        if not mask.any():
            return mask.copy()

        level = _signed_distance(mask) + wobble
        noisy = level + shift > 0.0
        if np.count_nonzero(noisy) < 0.4 * np.count_nonzero(mask):
            noisy = level + abs(shift) > 0.0
        if cut:
            # As at a change of colour.
            noisy &= ~_one_end(noisy, share, direction, wobble)
        return _largest_part(noisy)


@dataclass(frozen=True)
class SegmenterErrors:
    """
    Errors of a segmenter whose mask follows the object's outline.

    Ranges are drawn uniformly for each mask; shares are of the area of the object.

    - ``bias_px``: range of the growth of the mask; negative: it shrinks.
    - ``wobble_px``, ``wobble_length_px``: standard deviation and correlation length of the border.
    - ``shift_px``: standard deviation of the displacement of the whole mask, along each axis: of
      a mask of another frame or of the depth camera.
    - ``cells``: cells along the bounding box at which the mask is predicted; 0 = pixels. Mask
      R-CNN (He et al., 2017) predicts 28.
    - ``holes``: probability of holes; ``hole_share``: range of their share.
    - ``missing``: probability of a missing part at one end; ``missing_share``: range of its share.
    - ``leak``: probability of bits of what is beside the object; ``leak_px``: how far they reach.
    - ``shadow``: probability that the object's shadow is included.
    """

    bias_px: tuple[float, float] = (-1.0, 1.5)
    wobble_px: float = 0.7
    wobble_length_px: float = 4.0
    shift_px: float = 0.0
    cells: int = 0
    holes: float = 0.1
    hole_share: tuple[float, float] = (0.005, 0.04)
    missing: float = 0.1
    missing_share: tuple[float, float] = (0.02, 0.15)
    leak: float = 0.08
    leak_px: float = 6.0
    shadow: float = 0.04

    def apply(
        self,
        mask: NDArray[np.bool_],
        rng: np.random.Generator,
        shadow: NDArray[np.bool_] | None = None,
    ) -> NDArray[np.bool_]:
        """
        Return the mask, bool (height, width), with the errors.

        ``shadow`` are the pixels of the object's shadow, of which parts that touch the mask can be
        included. Errors that would leave less than 65 % of the object are not made.
        """
        across, down = np.rint(rng.normal(0.0, self.shift_px, 2)).astype(int)
        bias = float(rng.uniform(*self.bias_px))
        chances = rng.random(4)
        wobble = self.wobble_px * coarse_noise(mask.shape, max(self.wobble_length_px, 2.0), rng)
        if not mask.any():
            return mask.copy()
        level = _signed_distance(_moved(mask, across, down))
        if self.cells:
            level = _coarsened(level, self.cells)
        level = level + wobble
        result = level + bias > 0.0
        if np.count_nonzero(result & mask) < _MIN_KEPT * np.count_nonzero(mask):
            result = level + abs(bias) > 0.0
        if chances[0] < self.leak:
            near = level + max(bias, 0.0) > -self.leak_px
            result |= near & blobs(mask.shape, 0.15, self.leak_px, rng)
        if chances[1] < self.shadow and shadow is not None:
            result |= _touching(shadow, result)
        lost = np.zeros(mask.shape, bool)
        if chances[2] < self.holes:
            share = float(rng.uniform(*self.hole_share))
            size = 0.06 * float(np.sqrt(np.count_nonzero(mask)))
            lost |= blobs(mask.shape, share, size, rng)
        if chances[3] < self.missing:
            share = float(rng.uniform(*self.missing_share))
            lost |= _one_end(result, share, rng.uniform(0.0, 2.0 * np.pi), wobble)
        if np.count_nonzero(result & ~lost & mask) >= _MIN_KEPT * np.count_nonzero(mask):
            result &= ~lost
        return _large_parts(result)


@dataclass(frozen=True)
class ColorSegmenter:
    """
    A mask by colour: the pixels near the object's main colours.

    Labels, highlights and dark sides are missing, and background of the same colour is included.

    - ``tolerance``: distance in the a-b plane of CIELAB, which lightness enters with the weight
      ``lightness``.
    - ``reach_px``: pixels around the object where background is included.
    - ``closing_px``: size of the gaps that are closed; ``filled``: probability that holes are.
    """

    tolerance: float = 22.0
    lightness: float = 0.25
    reach_px: float = 6.0
    closing_px: int = 5
    filled: float = 0.7

    def apply(
        self, mask: NDArray[np.bool_], image: NDArray[np.uint8], rng: np.random.Generator
    ) -> NDArray[np.bool_] | None:
        """Return the mask, None where the object has no main colour that sets it apart."""
        filled = rng.random() < self.filled
        lab = cv2.cvtColor(cv2.GaussianBlur(image, (0, 0), 0.8), cv2.COLOR_RGB2LAB)
        features = lab.astype(np.float32) * np.array([self.lightness, 1.0, 1.0], np.float32)
        inside = features[mask]
        if len(inside) < 64:
            return None
        # Seeds of the mean shift: colours of random pixels; the one with most neighbours counts.
        seeds = inside[rng.integers(len(inside), size=24)]
        sample = inside[rng.integers(len(inside), size=400)]
        distance = np.linalg.norm(seeds[:, None] - sample[None], axis=2)
        main = seeds[int((distance < self.tolerance).sum(axis=1).argmax())]
        near = np.linalg.norm(features - main, axis=2) < self.tolerance
        result = near & (_signed_distance(mask) > -self.reach_px)
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (self.closing_px,) * 2)
        result = cv2.morphologyEx(result.astype(np.uint8), cv2.MORPH_CLOSE, kernel) > 0
        result = cv2.morphologyEx(result.astype(np.uint8), cv2.MORPH_OPEN, kernel) > 0
        result = _large_parts(result)
        if filled:
            result = _without_holes(result)
        kept = np.count_nonzero(result & mask) / np.count_nonzero(mask)
        extra = np.count_nonzero(result & ~mask) / np.count_nonzero(mask)
        return result if kept > _MIN_COLOR_KEPT and extra < _MAX_COLOR_EXTRA else None


def _signed_distance(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the distance in pixels to the border of the mask, positive inside."""
    inside = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5)
    outside = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5)
    return np.where(mask, inside - 0.5, 0.5 - outside).astype(np.float32)


def _largest_part(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    if count <= 2:
        return mask
    largest = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    return np.asarray(labels == largest)


def _large_parts(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the largest part of a mask, and others: something in front may divide an object."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    if count <= 2:
        return mask
    areas = stats[:, cv2.CC_STAT_AREA]
    large = areas >= _MIN_PART * areas[1:].max()
    large[0] = False
    return np.asarray(large[labels])


def _touching(
    region: NDArray[np.bool_], mask: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Return the parts of a region that touch a mask: a held object's shadow is far from it."""
    _, labels = cv2.connectedComponents(region.astype(np.uint8))
    near = cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    return region & np.isin(labels, np.unique(labels[near & region]))


def _moved(mask: NDArray[np.bool_], right: int, down: int) -> NDArray[np.bool_]:
    """Return the mask moved by pixels; what leaves the image is lost."""
    moved = np.zeros_like(mask)
    height, width = mask.shape
    moved[max(down, 0) : height + min(down, 0), max(right, 0) : width + min(right, 0)] = mask[
        max(-down, 0) : height + min(-down, 0), max(-right, 0) : width + min(-right, 0)
    ]
    return moved if moved.any() else mask


def _coarsened(level: NDArray[np.float32], cells: int) -> NDArray[np.float32]:
    """Return a level set predicted on a grid over the box around its inside, 5 % wider."""
    x, y, width, height = cv2.boundingRect((level > 0.0).astype(np.uint8))
    margin = max(2, round(0.05 * max(width, height)))
    rows = slice(max(y - margin, 0), min(y + height + margin, level.shape[0]))
    columns = slice(max(x - margin, 0), min(x + width + margin, level.shape[1]))
    part = level[rows, columns]
    # A network predicts probabilities, which saturate within a cell of the border.
    cell = max(part.shape) / cells
    soft = np.clip(part / np.float32(cell), -1.0, 1.0)
    small = cv2.resize(soft, (cells, cells), interpolation=cv2.INTER_AREA)
    fine = cv2.resize(small, part.shape[::-1], interpolation=cv2.INTER_LINEAR)
    result = level.copy()
    result[rows, columns] = fine * np.float32(cell)
    return result


def _one_end(
    mask: NDArray[np.bool_], share: float, direction: float, wobble: NDArray[np.floating]
) -> NDArray[np.bool_]:
    """Return the ``share`` of a mask beyond a curved line, in a direction in radians."""
    lost = np.zeros_like(mask)
    v, u = np.nonzero(mask)
    along = u * np.cos(direction) + v * np.sin(direction) + 2.0 * wobble[v, u]
    beyond = along > np.quantile(along, 1.0 - share)
    lost[v[beyond], u[beyond]] = True
    return lost


def _without_holes(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    contours, _ = cv2.findContours(
        mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
    )
    filled = np.zeros(mask.shape, np.uint8)
    cv2.drawContours(filled, contours, -1, 1, cv2.FILLED)
    return filled > 0
