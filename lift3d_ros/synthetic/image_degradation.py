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

"""What cameras and networks do to an image: motion blur, exposure, white balance, JPEG."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ImageErrors:
    """
    Errors of the colour image of a robot's camera; ranges are drawn uniformly for each image.

    - ``blurred``: probability of motion blur; ``blur_px``: range of its length.
    - ``exposure``: standard deviation of the exposure in f-stops; what exceeds white is lost.
    - ``white_balance``: standard deviation of the gain of a channel.
    - ``gamma``: range of the exponent of the tone curve.
    - ``vignetting``: largest loss of brightness in the corners.
    - ``noise``: range of the standard deviation of the noise, grey levels.
    - ``compressed``: probability of JPEG; ``quality``: range of its quality.
    """

    blurred: float = 0.3
    blur_px: tuple[float, float] = (1.5, 6.0)
    exposure: float = 0.35
    white_balance: float = 0.06
    gamma: tuple[float, float] = (0.85, 1.2)
    vignetting: float = 0.25
    noise: tuple[float, float] = (0.5, 4.0)
    compressed: float = 0.7
    quality: tuple[int, int] = (60, 95)

    def apply(self, image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
        """Return the image, uint8 RGB (height, width, 3), with the errors."""
        height, width = image.shape[:2]
        gain = 1.0 + rng.normal(0.0, self.white_balance, 3)
        gain *= 2.0 ** rng.normal(0.0, self.exposure)
        gamma, corner = rng.uniform(*self.gamma), rng.uniform(0.0, self.vignetting)
        blurred, length = rng.random() < self.blurred, rng.uniform(*self.blur_px)
        angle, noise = rng.uniform(0.0, np.pi), rng.uniform(*self.noise)
        compressed, quality = rng.random() < self.compressed, rng.integers(*self.quality)

        light = image.astype(np.float32)
        if blurred:
            light = cv2.filter2D(light, -1, _motion_kernel(length, angle))
        across = (np.arange(width, dtype=np.float32) - width / 2.0) / (width / 2.0)
        down = (np.arange(height, dtype=np.float32) - height / 2.0) / (height / 2.0)
        radius = 0.5 * (across[None] ** 2 + down[:, None] ** 2)
        light *= (1.0 - np.float32(corner) * radius)[..., None]
        light *= gain.astype(np.float32)
        # The tone curve as a table with eight entries a grey level.
        tones = 255.0 * np.linspace(0.0, 1.0, 8 * 255 + 1, dtype=np.float32) ** np.float32(gamma)
        light = tones[np.clip(8.0 * light, 0.0, 8.0 * 255.0).astype(np.int16)]
        light += np.float32(noise) * rng.standard_normal(light.shape, dtype=np.float32)
        result = np.clip(np.rint(light), 0.0, 255.0).astype(np.uint8)
        if compressed:
            ok, code = cv2.imencode(
                '.jpg', result[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, int(quality)]
            )
            assert ok
            decoded = cv2.imdecode(code, cv2.IMREAD_COLOR)
            assert decoded is not None
            result = np.ascontiguousarray(decoded[..., ::-1]).astype(np.uint8)
        return result


def _motion_kernel(length: float, angle: float) -> NDArray[np.float32]:
    """Return the kernel of a straight motion of ``length`` pixels, of sum 1."""
    side = 2 * int(np.ceil(length / 2.0)) + 1
    kernel = np.zeros((side, side), np.float32)
    for along in np.linspace(-0.5, 0.5, 8 * side):
        u = (side - 1) / 2.0 + length * along * np.cos(angle)
        v = (side - 1) / 2.0 + length * along * np.sin(angle)
        kernel[int(np.clip(round(v), 0, side - 1)), int(np.clip(round(u), 0, side - 1))] += 1.0
    return kernel / kernel.sum()
