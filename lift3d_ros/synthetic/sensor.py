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

"""Sensor model: the errors of stereo depth and of detected masks."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import unit
from lift3d_ros.meshing.render import Rendering


@dataclass(frozen=True)
class DepthSensor:
    """
    Errors of an active stereo camera of the RealSense class.

    The standard deviation of depth grows with the square of the distance, that of disparity is
    constant (Keselman et al., Intel RealSense Stereoscopic Depth Cameras, 2017).

    - ``stddev``: metres at 0.7 m; ``smoothness``: correlation length of the noise, pixels.
    - ``minimum``, ``maximum``: range in metres.
    - ``dropped_edges``, ``flying_pixels``: shares of the pixels at depth edges without a reading,
      and with a reading between both sides.
    - ``dark``: brightness 0..255 below which holes appear; ``grazing``: the same for the cosine
      between the ray and the normal; ``dropout``: share of such pixels without a reading.
    """

    stddev: float = 0.001
    smoothness: float = 1.2
    minimum: float = 0.15
    maximum: float = 6.0
    dropped_edges: float = 0.5
    flying_pixels: float = 0.15
    dark: float = 25.0
    grazing: float = 0.2
    dropout: float = 0.5

    def measure(
        self, picture: Rendering, camera: Camera, rng: np.random.Generator
    ) -> NDArray[np.float32]:
        """
        Return the measured depth, float32 metres in whole millimetres, 0 = none.

        ``picture`` is the rendering of the same camera.
        """
        from scipy.special import ndtri

        true = picture.depth
        shape = true.shape
        depth = true.astype(np.float64)

        # Matching compares windows, so that a part of the noise is correlated.
        patch, pixel = _smooth_noise(shape, self.smoothness, rng), rng.standard_normal(shape)
        noise = 0.8 * patch + 0.6 * pixel

        nearest, farthest = _local_range(true)
        # The threshold excludes slopes.
        edge = (true > 0.0) & (farthest - nearest > 0.01 + 0.02 * true)
        lottery = rng.random(shape)
        mixed = edge & (lottery > 1.0 - self.flying_pixels)
        blend = rng.random(shape)
        depth[mixed] = (nearest + blend * (farthest - nearest))[mixed]
        depth += self.stddev * (depth / 0.7) ** 2 * noise
        depth[edge & (lottery < self.dropped_edges)] = 0.0

        brightness = picture.image.mean(axis=2)
        facing = -np.einsum('ijk,ijk->ij', picture.normals, unit(camera.rays()))
        weak = (brightness < self.dark) | (facing < self.grazing)
        # Holes are patches, not single pixels.
        dropped = _smooth_noise(shape, 3.0, rng) > ndtri(1.0 - self.dropout)
        depth[weak & dropped] = 0.0

        depth[(true <= 0.0) | (depth < self.minimum) | (depth > self.maximum)] = 0.0
        millimetres = np.rint(depth * 1000.0)
        return (millimetres.astype(np.float32) * np.float32(0.001)).astype(np.float32)


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
        wobble = self.raggedness * _smooth_noise(mask.shape, 2.5, rng)
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
            # The part beyond a curved line is missing, as at a change of colour.
            v, u = np.nonzero(noisy)
            along = u * np.cos(direction) + v * np.sin(direction) + 2.0 * wobble[v, u]
            lost = along > np.quantile(along, 1.0 - share)
            noisy[v[lost], u[lost]] = False
        return _largest_part(noisy)


def _smooth_noise(
    shape: tuple[int, ...], sigma: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return noise of unit standard deviation, correlated over ``sigma`` pixels."""
    field = cv2.GaussianBlur(
        rng.standard_normal(shape), (0, 0), sigma, borderType=cv2.BORDER_REFLECT
    )
    # The analytic variance, 1 / (4 pi sigma^2), is inexact for narrow filters.
    return field / max(float(field.std()), 1e-12)


def _local_range(
    depth: NDArray[np.float32],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the minimum and the maximum reading of each 3 x 3 neighbourhood."""
    kernel = np.ones((3, 3), np.uint8)
    far = np.float32(depth.max(initial=0.0))
    nearest = cv2.erode(np.where(depth > 0.0, depth, far), kernel)
    return nearest, cv2.dilate(depth, kernel)


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
