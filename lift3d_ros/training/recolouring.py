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

"""The pictures that networks learn from, in other colours and light."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray


def recoloured(
    pictures: NDArray[np.uint8], rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Return RGBA pictures (n, h, w, 4) in other colours and light, with the sensor's noise."""
    count = len(pictures)
    order = np.tile(np.arange(3), (count, 1))
    for index in np.flatnonzero(rng.random(count) < 0.3):
        order[index] = rng.permutation(3)
    grey = rng.random(count) < 0.2

    def drawn(low: float, high: float, *shape: int) -> NDArray[np.float32]:
        return rng.uniform(low, high, (count, *(shape or (1,)), 1)).astype(np.float32)

    # What becomes of each of the 256 values of a channel, (n, 3, 256): far fewer than of pixels.
    curve = np.linspace(0.0, 1.0, 256, dtype=np.float32).clip(1e-3) ** np.exp(drawn(-0.5, 0.5))
    middle = np.float32(0.5)
    curve = (curve - middle) * drawn(0.6, 1.2) + middle + drawn(-0.15, 0.15)
    curve = curve * drawn(0.85, 1.15, 3)
    found = np.empty_like(pictures)
    for index, picture in enumerate(pictures):
        colour = picture[..., :3]
        if grey[index]:
            colour = np.repeat(colour.mean(axis=-1, keepdims=True).astype(np.uint8), 3, axis=-1)
        noise = rng.standard_normal(colour.shape, np.float32)
        shuffled = np.ascontiguousarray(colour[..., order[index]])
        lit = cv2.LUT(shuffled, np.ascontiguousarray(curve[index].T[None]))
        lit += np.float32(rng.uniform(0.0, 0.03)) * noise
        alpha = picture[..., 3:].astype(np.float32) / np.float32(255.0)
        white = np.float32(255.0) * (1.0 - alpha)
        found[index, ..., :3] = np.rint(np.clip(lit, 0.0, 1.0) * (255.0 * alpha) + white)
        found[index, ..., 3] = picture[..., 3]
    return found
