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

"""Depth of a structured-light camera (Kinect, Xtion): blocks, steps of disparity, shadow."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lift3d_ros.geometry import Camera
from lift3d_ros.synthetic.sensors.noise import coarse_noise
from lift3d_ros.synthetic.sensors.noise import hidden_from_right
from lift3d_ros.synthetic.sensors.surfaces import Dropout
from lift3d_ros.synthetic.sensors.surfaces import Surfaces
from lift3d_ros.synthetic.sensors.surfaces import to_readings


@dataclass(frozen=True)
class StructuredLight:
    """
    A camera with a fixed dot pattern.

    Disparity is that of a place some pixels beside the ray, has normal noise, and is rounded to
    eighths of a pixel (Barron and Malik, Intrinsic Scene Properties from a Single RGB-D Image,
    2013); the noise is that of blocks of pixels, which share dots.

    - ``baseline_m``: metres from the imager to the projector; ``projector_right``: its side.
    - ``block_px``: side of a block.
    - ``jitter_px``: standard deviation of the place; ``noise_px``: of the disparity.
    - ``bump_px``, ``bump_length_px``: standard deviation and correlation length of the error of
      the calibration and of the matching, which stays.
    - ``subpixel``: steps of disparity per pixel.
    - ``step_m``: step of depth; ``range_m``: metres.
    """

    baseline_m: float = 0.075
    projector_right: bool = False
    block_px: int = 3
    jitter_px: float = 0.7
    noise_px: float = 0.06
    bump_px: float = 0.05
    bump_length_px: float = 12.0
    subpixel: int = 8
    step_m: float = 0.001
    range_m: tuple[float, float] = (0.4, 4.5)
    dropout: Dropout = Dropout(dark=0.7, dark_below=0.08, grazing_below=0.2, size_px=3.0)

    def measure(
        self, surfaces: Surfaces, camera: Camera, rng: np.random.Generator
    ) -> NDArray[np.float32]:
        """Return the measured depth, float32 metres (height, width), 0 = none."""
        shape = surfaces.depth.shape
        gain = camera.fx * self.baseline_m
        disparity = surfaces.disparity(gain)
        if self.projector_right:
            hidden = hidden_from_right(disparity)
        else:
            hidden = hidden_from_right(disparity[:, ::-1])[:, ::-1]

        v, u = np.indices(shape, dtype=np.float32)
        u += self._blocks(shape, self.jitter_px, rng)
        v += self._blocks(shape, self.jitter_px, rng)
        found = cv2.remap(
            cv2.medianBlur(disparity, 5), u, v, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE
        )
        lost = cv2.remap(hidden.view(np.uint8), u, v, cv2.INTER_NEAREST) > 0
        found += self._blocks(shape, self.noise_px, rng)
        found += np.float32(self.bump_px) * coarse_noise(shape, self.bump_length_px, rng)
        found = np.rint(found * self.subpixel) / np.float32(self.subpixel)
        lost |= (found <= 0.5) | self.dropout.holes(surfaces, rng)
        depth = gain / np.maximum(found, np.float32(0.5))
        depth[lost] = 0.0
        return to_readings(depth, self.step_m, self.range_m)

    def _blocks(
        self, shape: tuple[int, ...], stddev: float, rng: np.random.Generator
    ) -> NDArray[np.float32]:
        """Return noise that is constant in each block."""
        small = [-(-n // self.block_px) for n in shape]
        noise = np.float32(stddev) * rng.standard_normal(small, dtype=np.float32)
        return np.repeat(np.repeat(noise, self.block_px, 0), self.block_px, 1)[
            : shape[0], : shape[1]
        ]
