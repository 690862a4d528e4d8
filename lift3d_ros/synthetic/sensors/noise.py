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

"""Correlated noise and the neighbourhoods of depth images."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray


def smooth_noise(
    shape: tuple[int, ...], sigma: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return noise of unit standard deviation, correlated over ``sigma`` pixels."""
    field = cv2.GaussianBlur(
        rng.standard_normal(shape), (0, 0), sigma, borderType=cv2.BORDER_REFLECT
    )
    # The analytic variance, 1 / (4 pi sigma^2), is inexact for narrow filters.
    return field / max(float(field.std()), 1e-12)


def local_range(
    depth: NDArray[np.float32],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the minimum and the maximum reading of each 3 x 3 neighbourhood."""
    kernel = np.ones((3, 3), np.uint8)
    far = np.float32(depth.max(initial=0.0))
    nearest = cv2.erode(np.where(depth > 0.0, depth, far), kernel)
    return nearest, cv2.dilate(depth, kernel)


def coarse_noise(
    shape: tuple[int, ...], sigma: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """
    Return noise of unit variance, correlated over ``sigma`` pixels, 2 or more.

    It is made on a coarse grid and interpolated: the cost does not grow with ``sigma``. The
    variance is that of the process; the one sample need not have it.
    """
    step = max(sigma / 2.0, 1.0)
    small = tuple(int(np.ceil(n / step)) + 8 for n in shape)
    grid = rng.standard_normal(small, dtype=np.float32)
    width = sigma / step
    grid = cv2.GaussianBlur(grid, (0, 0), width) * np.float32(2.0 * np.sqrt(np.pi) * width)
    # A random part of a grid step, so that the grid is not tied to the image.
    left, top = rng.uniform(2.0, 4.0, 2)
    across = (np.arange(shape[1], dtype=np.float32) / step + left).astype(np.float32)
    down = (np.arange(shape[0], dtype=np.float32) / step + top).astype(np.float32)
    u, v = np.meshgrid(across, down)
    return np.asarray(cv2.remap(grid, u, v, cv2.INTER_CUBIC))


def blobs(
    shape: tuple[int, ...],
    share: float | NDArray[np.float32],
    sigma: float,
    rng: np.random.Generator,
) -> NDArray[np.bool_]:
    """Return blobs of ``sigma`` pixels that cover the ``share``, 0 to 1, also of each place."""
    from scipy.special import ndtri

    noise = coarse_noise(shape, max(sigma, 2.0), rng)
    quantile = ndtri(np.clip(np.asarray(share, np.float32), 0.0, 1.0))
    return np.asarray(noise < quantile)


def hidden_from_right(disparity: NDArray[np.float32]) -> NDArray[np.bool_]:
    """
    Return the pixels that a second eye at the right does not see, bool (height, width).

    A pixel's column in the second eye's image is its column less the disparity, pixels: of two
    pixels of a row that meet there, the one farther right is nearer.
    """
    position = np.arange(disparity.shape[1], dtype=np.float32) - disparity
    right_most = np.minimum.accumulate(position[:, ::-1], axis=1)[:, ::-1]
    hidden = np.zeros(position.shape, bool)
    hidden[:, :-1] = right_most[:, 1:] <= position[:, :-1]
    return hidden
