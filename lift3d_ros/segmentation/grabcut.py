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

"""Deterministic GrabCut, and the colour contrast of a mask's outline."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

#: Iterations of GrabCut; more iterations change less than 0.1 % of the pixels.
_ITERATIONS = 4

#: Smallest colour contrast across the outline of a mask, CIE Lab, absolute and relative to the
#: texture of the background.
MIN_CONTRAST, _MIN_CONTRAST_RATIO = 6.0, 1.5

#: Distance of the pixels whose colours are compared, pixels.
_PAIR_DISTANCE_PX = 4


def grab_cut(image: NDArray[np.uint8], labels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """
    Return the foreground by GrabCut (Rother et al., 2004), bool (h, w).

    ``image`` is uint8 RGB (h, w, 3), ``labels`` uint8 (h, w): cv2.GC_BGD, GC_FGD, ....
    """
    foreground = (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)
    if foreground.all() or not foreground.any():
        return foreground
    # The colour models are initialised by k-means, which uses the thread's random generator.
    cv2.setRNGSeed(0)
    labels = labels.copy()
    models = np.zeros((2, 1, 65))
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
    cv2.grabCut(lab, labels, None, models[0], models[1], _ITERATIONS, cv2.GC_INIT_WITH_MASK)
    return (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)


def outline_contrast(image: NDArray[np.uint8], mask: NDArray[np.bool_]) -> tuple[float, float]:
    """
    Return the colour contrast across the outline of a mask, and within the background.

    Both are in units of 8-bit CIE Lab: the median over pairs of pixels at a distance of four
    pixels, and the upper quartile over such pairs in the background.
    """
    lab = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2LAB), (0, 0), 1.0)
    lab = lab.astype(np.float32)
    outer = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 3)
    across, texture = [], []
    for dv, du in ((0, _PAIR_DISTANCE_PX), (_PAIR_DISTANCE_PX, 0)):
        a = np.s_[: lab.shape[0] - dv, : lab.shape[1] - du]
        b = np.s_[dv:, du:]
        difference = np.linalg.norm(lab[a] - lab[b], axis=-1)
        across.append(difference[mask[a] != mask[b]])
        texture.append(difference[(outer[a] > 2.0) & (outer[b] > 2.0)])
    contrast, noise = np.concatenate(across), np.concatenate(texture)
    if not len(contrast):
        return 0.0, 0.0
    return float(np.median(contrast)), float(np.percentile(noise, 75.0)) if len(noise) else 0.0


def stands_out(image: NDArray[np.uint8], mask: NDArray[np.bool_]) -> bool:
    """Return whether the colours differ across the outline of a mask by more than its texture."""
    contrast, texture = outline_contrast(image, mask)
    return contrast > max(MIN_CONTRAST, _MIN_CONTRAST_RATIO * texture)
