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

import numpy as np
from numpy.typing import NDArray


def recoloured(
    pictures: NDArray[np.uint8], rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Return RGBA pictures (n, h, w, 4) in other colours and light, with the sensor's noise."""
    count = len(pictures)
    colour = pictures[..., :3].astype(np.float32) / np.float32(255.0)
    alpha = pictures[..., 3:].astype(np.float32) / np.float32(255.0)
    for index in np.flatnonzero(rng.random(count) < 0.3):
        colour[index] = colour[index][..., rng.permutation(3)]
    for index in np.flatnonzero(rng.random(count) < 0.2):
        colour[index] = colour[index].mean(axis=-1, keepdims=True)

    def drawn(low: float, high: float, *shape: int) -> NDArray[np.float32]:
        return rng.uniform(low, high, (count, 1, 1, *(shape or (1,)))).astype(np.float32)

    colour = np.maximum(colour, 1e-3) ** np.exp(drawn(-0.5, 0.5))
    middle = np.float32(0.5)
    colour = (colour - middle) * drawn(0.6, 1.2) + middle + drawn(-0.15, 0.15)
    colour *= drawn(0.85, 1.15, 3)
    colour += drawn(0.0, 0.03) * rng.standard_normal(colour.shape, np.float32)
    colour = np.clip(colour, 0.0, 1.0) * alpha + (1.0 - alpha)
    rgba = np.concatenate([colour, alpha], axis=-1)
    return np.rint(np.float32(255.0) * rgba).astype(np.uint8)
