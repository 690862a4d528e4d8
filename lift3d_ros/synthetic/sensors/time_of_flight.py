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

"""Depth of a time-of-flight camera (Azure Kinect): multipath, mixed pixels, dark surface."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lift3d_ros.geometry import Camera
from lift3d_ros.synthetic.sensors.noise import coarse_noise
from lift3d_ros.synthetic.sensors.noise import local_range
from lift3d_ros.synthetic.sensors.surfaces import Dropout
from lift3d_ros.synthetic.sensors.surfaces import Surfaces
from lift3d_ros.synthetic.sensors.surfaces import to_readings

#: Speed of light, metres per second.
_LIGHT_M_S = 299_792_458.0

#: Pixels per cell of the grid on which indirect light is computed.
_CELL_PX = 8

#: Directions, and distances in cells, at which surface that reflects to a cell is sampled.
_DIRECTIONS = 12
_RINGS_CELLS = (1, 2, 4, 7)

#: What a camera writes into 16 bits of millimetres where it has no reading, metres.
SATURATED_M = 65.535


@dataclass(frozen=True)
class TimeOfFlight:
    """
    A continuous-wave time-of-flight camera.

    - ``modulation_hz``: frequency of the modulation that is equivalent to the camera's set.
    - ``scatter_px``: standard deviation of the spread of light in the lens: pixels at edges mix
      two surfaces (flying pixels).
    - ``mixed_px``: radius of the pixels around an edge that the camera discards as mixed;
      ``mixed_kept``: share that it fails to discard; ``mixed_step_m``: smallest step that it
      discards, metres, and the same share of the depth.
    - ``multipath``: strength of the light that comes over a second surface, 1 = of matt surface
      (one bounce; Fuchs, Multipath interference compensation in time-of-flight images, 2010).
    - ``wiggle_m``, ``wiggle_period_m``: amplitude and period of the cyclic error of demodulation
      (Lindner et al., Time-of-flight sensor calibration for accurate range sensing, 2010).
    - ``bump_m``, ``bump_length_px``: standard deviation and correlation length of the error that
      depends on the surface (subsurface scattering, gloss), metres at any distance.
    - ``intensity_m``: shift of dark surface relative to bright surface, metres (Lindner et al.).
    - ``noise_m``: standard deviation at 1 m on white surface facing the camera, metres; it is
      inversely proportional to the amplitude.
    - ``amplitude_floor``: amplitude, relative to the same white surface, below which readings are
      lost.
    - ``saturated``: no reading is ``SATURATED_M`` instead of 0.
    """

    modulation_hz: float = 20e6
    scatter_px: float = 0.6
    mixed_px: int = 1
    mixed_kept: float = 0.1
    mixed_step_m: float = 0.02
    multipath: float = 0.7
    wiggle_m: float = 0.0015
    wiggle_period_m: float = 0.25
    bump_m: float = 0.001
    bump_length_px: float = 12.0
    intensity_m: float = 0.002
    noise_m: float = 0.001
    amplitude_floor: float = 0.06
    step_m: float = 0.001
    range_m: tuple[float, float] = (0.2, 5.5)
    saturated: bool = False
    dropout: Dropout = Dropout(dark=0.0, grazing=0.5, grazing_below=0.2, highlight=0.5)

    def measure(
        self, surfaces: Surfaces, camera: Camera, rng: np.random.Generator
    ) -> NDArray[np.float32]:
        """Return the measured depth, float32 metres; 0 or ``SATURATED_M`` = no reading."""
        true = surfaces.depth
        shape = true.shape
        seen = true > 0.0
        amplitude = np.zeros(shape, np.float32)
        np.divide(surfaces.reflectance * surfaces.facing, true**2, out=amplitude, where=seen)

        depth = true + _indirect_bias(surfaces, camera, self.multipath)
        phase = rng.uniform(0.0, 2.0 * np.pi)
        wiggle = self.wiggle_m * np.sin(2.0 * np.pi * true / self.wiggle_period_m + phase)
        bumps = self.bump_m * coarse_noise(shape, self.bump_length_px, rng)
        intensity = self.intensity_m * (0.5 - surfaces.reflectance)
        depth = (depth + wiggle + bumps + intensity).astype(np.float32)

        # Light adds as phasors, so that a pixel on an edge measures a mixture.
        turn = np.float32(4.0 * np.pi * self.modulation_hz / _LIGHT_M_S)
        angle = turn * depth
        real = cv2.GaussianBlur(amplitude * np.cos(angle), (0, 0), self.scatter_px)
        imaginary = cv2.GaussianBlur(amplitude * np.sin(angle), (0, 0), self.scatter_px)
        mixed = np.mod(np.arctan2(imaginary, real), np.float32(2.0 * np.pi)) / turn
        power = np.hypot(real, imaginary)

        noise = coarse_noise(shape, 2.0, rng) * np.float32(0.5)
        noise += rng.standard_normal(shape, dtype=np.float32) * np.float32(0.85)
        spread = self.noise_m / np.clip(power, 0.2 * self.amplitude_floor, None)
        depth = mixed + spread.astype(np.float32) * noise

        kernel = np.ones((2 * self.mixed_px + 1,) * 2, np.uint8)
        # Surface too dark to measure has no part in a mixture: before it, edges keep readings.
        bright = seen & (power > self.amplitude_floor)
        nearest, farthest = local_range(np.where(bright, mixed, 0.0).astype(np.float32))
        step = self.mixed_step_m * (1.0 + true)
        edge = (farthest - nearest > step).astype(np.uint8)
        if self.mixed_px > 1:
            edge = cv2.dilate(edge, kernel[1:-1, 1:-1])
        lost = (edge > 0) & (rng.random(shape) > self.mixed_kept)
        # The noise decides at the limit.
        floor = self.amplitude_floor * np.maximum(1.0 + 0.3 * coarse_noise(shape, 3.0, rng), 0.5)
        lost |= (power < floor) | self.dropout.holes(surfaces, rng) | ~seen
        readings = to_readings(depth, self.step_m, self.range_m)
        readings[lost] = 0.0
        if self.saturated:
            readings[readings <= 0.0] = SATURATED_M
        return readings


def _indirect_bias(
    surfaces: Surfaces, camera: Camera, strength: float
) -> NDArray[np.float32]:
    """
    Return the error of depth by light that reaches a pixel over one other surface, metres.

    The light of the camera that surface j reflects to surface i has the form factor
    cos_i cos_j area_j / (pi distance^2). It adds to the direct light with the length of its path;
    the measured length is the mean, weighted by amplitude.
    """
    cells = np.s_[_CELL_PX // 2 :: _CELL_PX, _CELL_PX // 2 :: _CELL_PX]
    depth = surfaces.depth[cells]
    if strength <= 0.0 or min(depth.shape) < 3:
        return np.zeros(surfaces.depth.shape, np.float32)
    normals, facing = surfaces.normals[cells], surfaces.facing[cells]
    reflectance = surfaces.reflectance[cells]
    rays = camera.rays()[cells].astype(np.float32)
    points = rays * depth[..., None]
    length = np.linalg.norm(points, axis=2)
    seen = depth > 0.0
    direct = np.where(seen, facing / np.maximum(length, 0.05) ** 2, 0.0)
    # Area of the surface in a cell, limited for surface seen edge-on.
    side = depth * _CELL_PX / camera.fx
    area = side**2 / np.maximum(facing, 0.15)

    light = np.zeros_like(direct)
    path = np.zeros_like(direct)
    inner = 0.5
    for ring, outer in zip(_RINGS_CELLS, (1.5, 3.0, 5.5, 9.0), strict=True):
        # Cells that a sample of this ring stands for.
        count = np.pi * (outer**2 - inner**2) / _DIRECTIONS
        inner = outer
        for k in range(_DIRECTIONS):
            angle = 2.0 * np.pi * (k + 0.5 * (ring % 2)) / _DIRECTIONS
            du, dv = round(ring * np.cos(angle)), round(ring * np.sin(angle))
            other, here = _shifted(depth.shape, dv, du)
            offset = points[other] - points[here]
            square = np.einsum('ijk,ijk->ij', offset, offset)
            distance = np.sqrt(np.maximum(square, 1e-8))
            cosine_here = np.einsum('ijk,ijk->ij', normals[here], offset) / distance
            cosine_other = -np.einsum('ijk,ijk->ij', normals[other], offset) / distance
            both = np.maximum(cosine_here, 0.0) * np.maximum(cosine_other, 0.0)
            # Nearer than its own size, a cell is not a point.
            form = both * area[other] / (np.pi * np.maximum(np.maximum(square, area[other]), 1e-8))
            share = count * form * reflectance[other] * direct[other]
            share = np.where(seen[here] & seen[other], share, 0.0)
            light[here] += share
            path[here] += share * 0.5 * (length[other] + distance - length[here])
    light *= strength
    bias = strength * path / np.maximum(direct + light, 1e-9)
    size = (surfaces.depth.shape[1], surfaces.depth.shape[0])
    fine = cv2.resize(bias.astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
    return np.where(surfaces.depth > 0.0, fine, np.float32(0.0))


def _shifted(
    shape: tuple[int, ...], down: int, right: int
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Return the slices of the cells at an offset, and of the cells that they are offset from."""
    def part(down: int, right: int) -> tuple[slice, slice]:
        return (
            slice(max(down, 0), shape[0] + min(down, 0)),
            slice(max(right, 0), shape[1] + min(right, 0)),
        )

    return part(down, right), part(-down, -right)
