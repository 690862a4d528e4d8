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


"""The protocol of synthesised views: target cameras, groups of azimuths, and metrics of images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.geometry import Array
from lift3d_ros.geometry import orbit_pose

#: Distance of the target cameras from the canonical origin, canonical units; their lens is that
#: of Zero-1-to-3.
RADIUS = 1.7

#: Side of the images that are compared, pixels.
SIZE = 128

#: Azimuths of the target cameras relative to the input camera, degrees: two of 22.5 degrees
#: distance, two each of 67.5 and 112.5, two of 157.5, one on either side.
AZIMUTHS = (22.5, 67.5, 112.5, 157.5, -157.5, -112.5, -67.5, -22.5)

#: Elevations of every second target camera; the others are as high as the input camera.
ELEVATIONS = (0.0, 20.0, 40.0, 60.0)

#: Groups of views by the distance of their azimuth from the input, [from, to) in degrees.
RANGES = {
    '0 to 45': (0.0, 45.0),
    '45 to 135': (45.0, 135.0),
    '135 to 180': (135.0, 180.1),
    'beyond 45': (45.0, 180.1),
}

#: The group of the unobserved side, whose means are the figures of a row.
UNOBSERVED = 'beyond 45'

#: PSNR of identical images, dB; no rendered pair reaches it.
MAX_PSNR = 60.0

#: Metrics of a view, by their keys in a row.
FIGURES = ('psnr', 'ssim', 'iou')


@dataclass(frozen=True)
class Target:
    """A target camera: azimuth from the input camera's; elevation, None = that of the input."""

    azimuth: float
    elevation: float | None


def targets(number: int) -> list[Target]:
    """
    Return the eight target cameras of a scene.

    ``number`` rotates the four fixed elevations, so that over many scenes each azimuth has each
    of them.
    """
    return [
        Target(azimuth, None if k % 2 == 0 else ELEVATIONS[(k // 2 + number) % len(ELEVATIONS)])
        for k, azimuth in enumerate(AZIMUTHS)
    ]


def all_targets() -> list[Target]:
    """Return every target camera of any scene, each once, in a fixed order."""
    return sorted(
        {target for number in range(len(ELEVATIONS)) for target in targets(number)},
        key=lambda t: (t.azimuth, -1.0 if t.elevation is None else t.elevation),
    )


def elevations(chosen: Sequence[Target], own: float) -> Array:
    """Return the elevations (n,) of target cameras; ``own`` is that of the input, degrees."""
    return np.array([own if t.elevation is None else t.elevation for t in chosen])


def poses(chosen: Sequence[Target], own: float) -> Array:
    """Return the poses (n, 4, 4) of target cameras in the canonical frame."""
    heights = elevations(chosen, own)
    return np.stack([
        orbit_pose(t.azimuth, e, RADIUS) for t, e in zip(chosen, heights, strict=True)
    ])


def in_range(azimuth: float, name: str) -> bool:
    """Return whether a relative azimuth, degrees, belongs to a group of ``RANGES``."""
    distance = abs((azimuth + 180.0) % 360.0 - 180.0)
    low, high = RANGES[name]
    return low <= distance < high


def score_views(
    images: NDArray[np.uint8], alphas: NDArray[np.uint8], truth: NDArray[np.uint8]
) -> list[dict[str, float]]:
    """
    Return PSNR, SSIM and mask IoU of each image.

    ``images`` are uint8 RGB (n, size, size, 3) on white, ``alphas`` uint8 (n, size, size),
    ``truth`` uint8 RGBA (n, size, size, 4) on white. Raises ``ValueError`` where shapes differ.
    """
    if images.shape != truth[..., :3].shape or alphas.shape != truth.shape[:-1]:
        raise ValueError(
            f'images {images.shape} with alphas {alphas.shape} do not fit the true ones '
            f'{truth.shape}'
        )
    return [
        {
            'psnr': round(psnr(image, true[..., :3]), 4),
            'ssim': round(ssim(image, true[..., :3]), 5),
            'iou': round(mask_iou(alpha, true[..., 3]), 5),
        }
        for image, alpha, true in zip(images, alphas, truth, strict=True)
    ]


def psnr(image: NDArray[np.uint8], truth: NDArray[np.uint8]) -> float:
    """Return the peak signal-to-noise ratio of a whole image, dB, ``MAX_PSNR`` at most."""
    error = np.mean(np.square(image.astype(np.float64) - truth))
    return float(min(20.0 * np.log10(255.0) - 10.0 * np.log10(max(error, 1e-12)), MAX_PSNR))


def ssim(image: NDArray[np.uint8], truth: NDArray[np.uint8]) -> float:
    """
    Return the structural similarity of RGB images, mean over pixels and channels.

    The settings are those of Wang et al. (2004): a Gaussian window of standard deviation 1.5,
    K1 = 0.01, K2 = 0.03.
    """
    from skimage.metrics import structural_similarity

    return float(structural_similarity(
        truth, image, channel_axis=2, data_range=255, gaussian_weights=True, sigma=1.5,
        use_sample_covariance=False,
    ))


def mask_iou(alpha: NDArray[np.uint8], truth: NDArray[np.uint8]) -> float:
    """Return the intersection over union of two alphas cut at one half; 1 where both are empty."""
    mask, true = alpha > 127, truth > 127
    union = np.count_nonzero(mask | true)
    return float(np.count_nonzero(mask & true) / union) if union else 1.0
