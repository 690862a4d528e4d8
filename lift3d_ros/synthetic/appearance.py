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

"""The appearance of synthetic scenes: table, light, background, exposure of the camera."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import spherical
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.meshing.render import Light


def table_top(rng: np.random.Generator, half_side: float = 1.0, cells: int = 160) -> Mesh:
    """
    Return a square table in the plane z = 0, metres, of a random material.

    Wood, cloth, speckled stone, tiles or a plain colour.
    """
    axis = np.linspace(-half_side, half_side, cells + 1)
    x, y = np.meshgrid(axis, axis)
    base = rng.uniform(60.0, 225.0) * (1.0 + rng.uniform(-0.18, 0.18, 3))
    turn = rng.uniform(0.0, np.pi)
    along, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    kind = rng.choice(['plain', 'wood', 'cloth', 'stone', 'tiles'])
    fine = rng.standard_normal(x.shape)
    coarse = cv2.GaussianBlur(rng.standard_normal(x.shape), (0, 0), 6.0) * 20.0
    shade = 0.03 * coarse
    if kind == 'wood':
        shade = 0.12 * np.sin(along * 8.0 + 60.0 * across + 1.5 * coarse) + 0.03 * fine
    elif kind == 'cloth':
        period = 2.0 * np.pi / rng.uniform(0.03, 0.10)
        shade = 0.10 * (np.sin(along * period) + np.sin(across * period)) + 0.03 * fine
    elif kind == 'stone':
        shade = 0.10 * fine + 0.05 * coarse
    elif kind == 'tiles':
        side = rng.uniform(0.08, 0.2)
        shade = 0.2 * ((np.floor(along / side) + np.floor(across / side)) % 2) + 0.02 * fine
    colors = np.clip(np.rint(base * (1.0 + shade[..., None])), 0, 255).astype(np.uint8)
    corner = np.arange((cells + 1) * cells).reshape(cells, cells + 1)[:, :-1].ravel()
    right, up = corner + 1, corner + cells + 1
    faces = np.concatenate(
        [np.stack([corner, right, up + 1], axis=1), np.stack([corner, up + 1, up], axis=1)]
    )
    vertices = np.stack([x.ravel(), y.ravel(), np.zeros(x.size)], axis=1)
    return Mesh(
        vertices.astype(np.float32), faces.astype(np.int32), colors.reshape(-1, 3)
    )


def draw_light(rng: np.random.Generator) -> Light:
    """Return a light from above with an ambient term."""
    direction = spherical(rng.uniform(-180.0, 180.0), rng.uniform(35.0, 80.0), 1.0)
    ambient = float(rng.uniform(0.40, 0.65))
    return Light(
        (float(direction[0]), float(direction[1]), float(direction[2])),
        ambient,
        float(rng.uniform(0.95, 1.2) - ambient),
        shadows=True,
    )


def draw_background(camera: Camera, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return the background beyond the table, uint8 RGB: a room out of focus."""
    small = rng.uniform(0.0, 1.0, (6, 8, 1)) * 0.7 + rng.uniform(0.0, 1.0, (6, 8, 3)) * 0.3
    room = cv2.resize(small, (camera.width, camera.height), interpolation=cv2.INTER_CUBIC)
    return np.clip(rng.uniform(60.0, 200.0) + 90.0 * (room - 0.5), 0.0, 255.0).astype(np.uint8)


def expose(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return the image with random gain, white balance and noise of a small camera."""
    gain = rng.uniform(0.9, 1.1) * rng.normal(1.0, 0.02, 3)
    noise = rng.standard_normal(image.shape, dtype=np.float32) * np.float32(rng.uniform(0.5, 2.5))
    lit = image.astype(np.float32) * gain.astype(np.float32) + noise
    return np.clip(np.rint(lit), 0.0, 255.0).astype(np.uint8)
