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

"""Depth of an active stereo camera (RealSense D4xx): the errors of matching windows."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lift3d_ros.geometry import Camera
from lift3d_ros.synthetic.sensors.noise import blobs
from lift3d_ros.synthetic.sensors.noise import coarse_noise
from lift3d_ros.synthetic.sensors.noise import hidden_from_right
from lift3d_ros.synthetic.sensors.surfaces import Dropout
from lift3d_ros.synthetic.sensors.surfaces import Surfaces
from lift3d_ros.synthetic.sensors.surfaces import to_readings

#: A step of disparity that is an edge between two surfaces, pixels.
_EDGE_PX = 1.5


@dataclass(frozen=True)
class ActiveStereo:
    """
    An active stereo camera; all errors arise in disparity, pixels of the depth image.

    Errors of disparity have a constant standard deviation, so that those of depth grow with the
    square of the distance (Keselman et al., Intel RealSense Stereoscopic Depth Cameras, 2017).
    Windows that straddle an edge match the nearer surface, which grows by up to half the window
    (Scharstein and Szeliski, 2002: foreground fattening).

    - ``baseline_m``: metres between the two imagers.
    - ``bump_px``, ``bump_length_px``: standard deviation and correlation length of the error that
      stays in time: the projected pattern is matched with the same error in every frame.
    - ``noise_px``: standard deviation of the error of one frame, correlated over 1.2 pixels;
      ``frames``: frames that the temporal filter averages.
    - ``dark_gain``: how much larger both are on surface without reflectance.
    - ``fattening_px``: largest growth of a near surface over an edge; ``fattening_length_px``:
      length along the edge over which the growth varies.
    - ``subpixel``: steps of disparity per pixel.
    - ``step_m``: step of depth, metres; ``range_m``: metres.
    - ``shadow_filled``: share of the pixels hidden from the second imager that get a reading.
    - ``edge_dropout``: share of the pixels on an edge without a reading.
    """

    baseline_m: float = 0.05
    bump_px: float = 0.12
    bump_length_px: float = 7.0
    noise_px: float = 0.06
    frames: int = 1
    dark_gain: float = 1.0
    fattening_px: float = 3.0
    fattening_length_px: float = 4.0
    subpixel: int = 16
    step_m: float = 0.001
    range_m: tuple[float, float] = (0.15, 6.0)
    shadow_filled: float = 0.1
    edge_dropout: float = 0.2
    dropout: Dropout = Dropout()

    def measure(
        self, surfaces: Surfaces, camera: Camera, rng: np.random.Generator
    ) -> NDArray[np.float32]:
        """Return the measured depth, float32 metres (height, width), 0 = none."""
        true = surfaces.depth
        shape = true.shape
        gain = camera.fx * self.baseline_m
        disparity = surfaces.disparity(gain)
        hidden = hidden_from_right(disparity)
        hidden &= ~blobs(shape, self.shadow_filled, 4.0, rng)
        grown = self._grow(disparity, rng)
        fattened = grown > disparity + _EDGE_PX
        # A median is what a window of one surface matches: corners are rounded, wires vanish.
        matched = cv2.medianBlur(grown, 5)

        weak = 1.0 + self.dark_gain * (1.0 - surfaces.reflectance)
        bumps = self.bump_px * coarse_noise(shape, self.bump_length_px, rng)
        noise = self.noise_px / np.sqrt(self.frames) * coarse_noise(shape, 2.0, rng)
        matched = matched + (weak * (bumps + noise)).astype(np.float32)
        matched = np.rint(matched * self.subpixel) / np.float32(self.subpixel)

        kernel = np.ones((3, 3), np.uint8)
        edge = cv2.dilate(grown, kernel) - cv2.erode(grown, kernel) > _EDGE_PX
        lost = self.dropout.holes(surfaces, rng) & ~fattened
        lost |= hidden & ~fattened
        lost |= edge & ~blobs(shape, 1.0 - self.edge_dropout, 2.0, rng)
        lost |= (true <= 0.0) & ~fattened
        depth = gain / np.maximum(matched, np.float32(1e-3))
        depth[lost | (matched <= 0.0)] = 0.0
        return to_readings(depth, self.step_m, self.range_m)

    def _grow(
        self, disparity: NDArray[np.float32], rng: np.random.Generator
    ) -> NDArray[np.float32]:
        """Return the disparity with near surfaces grown by a radius that varies along edges."""
        noise = coarse_noise(disparity.shape, self.fattening_length_px, rng)
        radius = self.fattening_px * np.clip(0.5 + 0.35 * noise, 0.0, 1.0)
        grown = disparity.copy()
        for pixels in range(1, int(np.ceil(self.fattening_px)) + 1):
            kernel = cv2.getStructuringElement(
                cv2.MORPH_ELLIPSE, (2 * pixels + 1, 2 * pixels + 1)
            )
            wider = cv2.dilate(disparity, kernel)
            # A slope is not an edge: there a larger disparity near by is the same surface.
            use = (radius >= pixels - 0.5) & (wider > disparity + _EDGE_PX)
            grown[use] = wider[use]
        return grown
