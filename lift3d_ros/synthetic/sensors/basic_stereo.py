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

"""A simple model of stereo depth: noise, edges, holes, whole millimetres."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import unit
from lift3d_ros.meshing.render import Rendering
from lift3d_ros.synthetic.sensors.noise import local_range
from lift3d_ros.synthetic.sensors.noise import smooth_noise


@dataclass(frozen=True)
class DepthSensor:
    """
    Errors of an active stereo camera of the RealSense class, as the track ``rgbd`` measures with.

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
        patch, pixel = smooth_noise(shape, self.smoothness, rng), rng.standard_normal(shape)
        noise = 0.8 * patch + 0.6 * pixel

        nearest, farthest = local_range(true)
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
        dropped = smooth_noise(shape, 3.0, rng) > ndtri(1.0 - self.dropout)
        depth[weak & dropped] = 0.0

        depth[(true <= 0.0) | (depth < self.minimum) | (depth > self.maximum)] = 0.0
        millimetres = np.rint(depth * 1000.0)
        return (millimetres.astype(np.float32) * np.float32(0.001)).astype(np.float32)
