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


"""How near synthesised pictures come to the true ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: PSNR of pictures that do not differ; no real pair reaches it.
MAX_PSNR = 60.0

#: Figures of a view, as a row names them.
FIGURES = ('psnr', 'ssim', 'iou')


def score_views(
    images: NDArray[np.uint8], alphas: NDArray[np.uint8], truth: NDArray[np.uint8]
) -> list[dict[str, float]]:
    """
    Return PSNR, SSIM and mask IoU of each picture.

    ``images`` are uint8 RGB (n, size, size, 3) on white, ``alphas`` uint8 (n, size, size),
    ``truth`` uint8 RGBA (n, size, size, 4) on white. Raises ``ValueError`` where shapes differ.
    """
    if images.shape != truth[..., :3].shape or alphas.shape != truth.shape[:-1]:
        raise ValueError(
            f'pictures {images.shape} with alphas {alphas.shape} do not fit the true ones '
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
    """Return the peak signal-to-noise ratio of a whole picture, dB, ``MAX_PSNR`` at most."""
    error = np.mean(np.square(image.astype(np.float64) - truth))
    return float(min(20.0 * np.log10(255.0) - 10.0 * np.log10(max(error, 1e-12)), MAX_PSNR))


def ssim(image: NDArray[np.uint8], truth: NDArray[np.uint8]) -> float:
    """
    Return the structural similarity of RGB pictures, mean over pixels and channels.

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
