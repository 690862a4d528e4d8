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
Images of least energy between data and neighbours, by cascadic multigrid.

The same equation gives the probabilities of a Gaussian random field (random walker with prior
terms: Grady, Multilabel Random Walker Image Segmentation Using Prior Models, 2005) and the
harmonic interpolation of sparse readings.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

#: Longer side of the coarsest grid, which is solved directly, and relaxations on the finer ones.
COARSEST_SIDE, RELAXATIONS = 12, 8

#: Over-relaxation of the sweeps.
OVER_RELAXATION = 1.5

#: Smallest conductance, which keeps every pixel connected.
MIN_CONDUCTANCE = 1e-6


def membrane(
    target: NDArray[np.float32],
    strength: NDArray[np.float32],
    right: NDArray[np.float32] | None = None,
    down: NDArray[np.float32] | None = None,
    smooth: bool = False,
) -> NDArray[np.float32]:
    """
    Return x that minimises sum a (x - t)^2 + sum w (x_i - x_j)^2, float32 (height, width).

    ``target`` t and ``strength`` a >= 0 have one value a pixel; ``right`` and ``down`` are the
    conductances w >= 0 between a pixel and its right and lower neighbour (the last column and row
    are ignored), all 1 if None. A solution that is ``smooth`` where it matters is interpolated
    from the grid of half the resolution.
    """
    shape = target.shape
    if right is None:
        right = np.ones(shape, np.float32)
    if down is None:
        down = np.ones(shape, np.float32)
    # A pixel far from all data still has a value.
    strength = np.maximum(strength, np.float32(1e-7)).astype(np.float32)
    right = np.maximum(right, np.float32(MIN_CONDUCTANCE))
    down = np.maximum(down, np.float32(MIN_CONDUCTANCE))
    return _solve(strength, (strength * target).astype(np.float32), right, down, not smooth)


def _solve(
    a: NDArray[np.float32],
    b: NDArray[np.float32],
    right: NDArray[np.float32],
    down: NDArray[np.float32],
    relaxed: bool = True,
) -> NDArray[np.float32]:
    """
    Solve (diag(a) + Laplacian) x = b, from the coarsest grid to the finest.

    Unless ``relaxed``, the finest grid only interpolates.
    """
    height, width = a.shape
    if max(height, width) <= COARSEST_SIDE:
        return _solve_directly(a, b, right, down)
    # Cells of two by two pixels: their data add up. Two paths lead from the centre of a cell to
    # that of the next one, each through half of an edge, an edge, and half of an edge in series.
    pa, pb = _even(a, 0.0), _even(b, 0.0)
    coarse = _solve(_summed(pa), _summed(pb), *_in_series(_even(right, 1.0), _even(down, 1.0)))
    x = cv2.resize(coarse, pa.shape[::-1], interpolation=cv2.INTER_LINEAR)
    x = x[:height, :width]
    return _relax(x, a, b, right, down) if relaxed else x


def _even(image: NDArray[np.float32], value: float) -> NDArray[np.float32]:
    """Return an image with even sides, with a last row and column of ``value`` if need be."""
    bottom, side = (n % 2 for n in image.shape)
    if not bottom and not side:
        return image
    return cv2.copyMakeBorder(image, 0, bottom, 0, side, cv2.BORDER_CONSTANT, value=value)


def _summed(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the sums of cells of two by two pixels."""
    half = image.shape[1] // 2, image.shape[0] // 2
    return np.float32(4.0) * cv2.resize(image, half, interpolation=cv2.INTER_AREA)


def _in_series(
    right: NDArray[np.float32], down: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the conductances between cells of two by two pixels and their neighbours."""
    inner, between = _columns(np.float32(1.0) / right)
    inner *= np.float32(0.5)
    between += inner
    between[:, :-1] += inner[:, 1:]
    conductance = np.float32(1.0) / between
    coarse_right = conductance[0::2] + conductance[1::2]
    resistance = np.float32(1.0) / down
    inner, between = np.float32(0.5) * resistance[0::2], resistance[1::2]
    between = between + inner
    between[:-1] += inner[1:]
    even, odd = _columns(np.float32(1.0) / between)
    return coarse_right, even + odd


def _columns(image: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the even and the odd columns of an image of even width, each contiguous."""
    height, width = image.shape
    even, odd = cv2.split(image.reshape(height, width // 2, 2))
    return even, odd


def _relax(
    x: NDArray[np.float32],
    a: NDArray[np.float32],
    b: NDArray[np.float32],
    right: NDArray[np.float32],
    down: NDArray[np.float32],
) -> NDArray[np.float32]:
    """
    Return x after ``RELAXATIONS`` sweeps of red-black successive over-relaxation.

    Even and odd columns are images of their own, in whose rows the pixels of one colour and their
    neighbours are contiguous.
    """
    height, width = x.shape
    more = width % 2
    none = cv2.BORDER_CONSTANT
    beside = cv2.copyMakeBorder(right[:, :-1], 1, 1, 1, 2 + more, none)
    below = cv2.copyMakeBorder(down[:-1], 1, 2, 1, 1 + more, none)
    east, west = beside[1:-1, 1:-1], beside[1:-1, :-2]
    south, north = below[1:-1, 1:-1], below[:-2, 1:-1]
    data, diagonal, start = (
        cv2.copyMakeBorder(image, 0, 0, 0, more, none, value=value)
        for image, value in ((b, 0.0), (a, 1.0), (x, 0.0))
    )
    scale = np.float32(OVER_RELAXATION) / (diagonal + east + south + west + north)
    terms = [_columns(scale * image) for image in (data, east, west, south, north)]
    # The border around them has no conductance.
    values = [cv2.copyMakeBorder(half, 1, 1, 1, 1, none) for half in _columns(start)]
    parts = []
    # The pixels whose row and column add up to odd numbers come first.
    for row, column in ((0, 1), (1, 0), (0, 0), (1, 1)):
        same, other = values[column], values[1 - column]
        rows = slice(1 + row, 1 + height, 2)
        shift = column - 1
        neighbours = (
            other[rows, 2 + shift : other.shape[1] + shift],
            other[rows, 1 + shift : other.shape[1] - 1 + shift],
            same[2 + row : 2 + height : 2, 1:-1],
            same[row:height:2, 1:-1],
        )
        constant, *conductances = (term[column][row::2] for term in terms)
        products = list(zip(conductances, neighbours, strict=True))
        parts.append((same[rows, 1:-1], constant, products))
    for _ in range(RELAXATIONS):
        for own, constant, products in parts:
            if own.size:
                cv2.scaleAdd(own, 1.0 - OVER_RELAXATION, constant, own)
                for conductance, neighbour in products:
                    cv2.accumulateProduct(conductance, neighbour, own)
    both = cv2.merge([half[1:-1, 1:-1] for half in values])
    return np.ascontiguousarray(both.reshape(height, width + more)[:, :width])


def _solve_directly(
    a: NDArray[np.float32],
    b: NDArray[np.float32],
    right: NDArray[np.float32],
    down: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Return the solution x of a small grid."""
    number = np.arange(a.size).reshape(a.shape)
    matrix = np.diag(a.ravel().astype(np.float64))
    for first, second, conductance in (
        (number[:, :-1], number[:, 1:], right[:, :-1]), (number[:-1], number[1:], down[:-1])
    ):
        i, j, w = first.ravel(), second.ravel(), conductance.ravel()
        matrix[i, j] -= w
        matrix[j, i] -= w
        np.add.at(matrix, (i, i), w)
        np.add.at(matrix, (j, j), w)
    x = np.linalg.solve(matrix, b.ravel().astype(np.float64))
    return x.reshape(a.shape).astype(np.float32)
