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

"""Vertex colours of procedural objects: plain, patterned, printed like packaging."""

from __future__ import annotations

import colorsys

import cv2
import numpy as np
from numpy.typing import ArrayLike
from numpy.typing import NDArray

from lift3d_ros.geometry import Array
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.synthetic.procedural.surfaces import outward


def painted(mesh: Mesh, vertices: ArrayLike, colors: ArrayLike) -> Mesh:
    """Return the mesh with new vertices (n, 3) and colours (n, 3), 0..255."""
    return outward(
        Mesh(
            np.ascontiguousarray(vertices, np.float32),
            mesh.faces,
            np.clip(np.rint(colors), 0.0, 255.0).astype(np.uint8),
        )
    )


def hsv(hue: float, saturation: float, value: float) -> Array:
    """Return RGB 0..255 of hue, saturation and value in 0..1."""
    return 255.0 * np.array(colorsys.hsv_to_rgb(hue, saturation, value))


def draw_color(rng: np.random.Generator, pale: float = 0.25) -> Array:
    """Return a random colour; ``pale`` is the share of white, grey and black."""
    if rng.random() < pale:
        return hsv(rng.uniform(0.0, 1.0), rng.uniform(0.0, 0.12),
                    rng.choice([rng.uniform(0.12, 0.3), rng.uniform(0.75, 0.97)], p=[0.3, 0.7]))
    return hsv(rng.uniform(0.0, 1.0), rng.uniform(0.35, 0.9), rng.uniform(0.35, 0.95))


def noise(points: Array, scale: float, rng: np.random.Generator) -> Array:
    """Return smooth noise of unit variance at points (n, 3), features ``scale`` metres."""
    field = np.zeros(len(points))
    for _ in range(6):
        wave = rng.standard_normal(3)
        wave *= 2.0 * np.pi / (scale * rng.uniform(1.2, 3.0) * np.linalg.norm(wave))
        field += np.sin(points @ wave + rng.uniform(0.0, 2.0 * np.pi))
    return field / np.sqrt(3.0)


def decorate(colors: ArrayLike, vertices: ArrayLike, rng: np.random.Generator) -> Array:
    """Return colours with a random pattern of crockery."""
    v = np.asarray(vertices, np.float64)
    base = np.asarray(colors, np.float64)
    low, high = v[:, 2].min(), v[:, 2].max()
    height = (v[:, 2] - low) / max(high - low, 1e-9)
    turn = np.arctan2(v[:, 1], v[:, 0])
    ink = draw_color(rng)
    kind = rng.choice(['bands', 'stripes', 'dots', 'dip', 'fade', 'marble', 'speckle', 'plain'])
    amount: Array = np.zeros(len(v))
    if kind == 'bands':
        edges = np.sort(rng.uniform(0.05, 0.95, 2 * int(rng.integers(1, 4))))
        amount = (np.searchsorted(edges, height) % 2).astype(float)
    elif kind == 'stripes':
        amount = (np.sin(turn * rng.integers(4, 14)) > 0.2).astype(float)
    elif kind == 'dots':
        across, rows = int(rng.integers(5, 11)), int(rng.integers(2, 6))
        u = turn / (2.0 * np.pi) * across + 0.5 * np.floor(height * rows)
        away = np.hypot(u % 1.0 - 0.5, (height * rows) % 1.0 - 0.5)
        amount = np.clip((0.32 - away) * 12.0, 0.0, 1.0)
    elif kind == 'dip':
        line = rng.uniform(0.3, 0.7) + 0.04 * np.sin(turn * rng.integers(2, 6))
        amount = np.clip((height - line) * 25.0, 0.0, 1.0)
    elif kind == 'fade':
        amount = height
    elif kind == 'marble':
        amount = np.clip(0.5 + 0.7 * noise(v, rng.uniform(0.03, 0.08), rng), 0.0, 1.0)
    elif kind == 'speckle':
        amount = (noise(v, 0.006, rng) > 1.3).astype(float) * 0.8
    return base + (ink - base) * amount[:, None]


def wrap_label(
    colors: ArrayLike, vertices: ArrayLike, start: float, end: float, rng: np.random.Generator
) -> Array:
    """Return colours with a printed label around z, from height ``start`` to ``end`` metres."""
    v = np.asarray(vertices, np.float64)
    base = np.asarray(colors, np.float64)
    share = 1.0 if rng.random() < 0.6 else rng.uniform(0.3, 0.7)
    repeats = 2 if share == 1.0 and rng.random() < 0.5 else 1
    turn = (np.arctan2(v[:, 1], v[:, 0]) / (2.0 * np.pi) + rng.uniform(0.0, 1.0)) % 1.0
    across = turn / share
    up = (v[:, 2] - start) / (end - start)
    picture = draw_print(rng, 160 // repeats, 80)
    on = (across < 1.0) & (up >= 0.0) & (up <= 1.0)
    return np.where(on[:, None], sample(picture, (across * repeats) % 1.0, up), base)


def print_box(
    vertices: Array, size: ArrayLike, rng: np.random.Generator, pages: bool
) -> Array:
    """Return colours of a printed box; opposite faces have the same print."""
    extent = np.asarray(size, np.float64)
    place = vertices / extent + 0.5
    side = np.argmax(np.abs(vertices) / extent, axis=1)
    theme = (draw_color(rng), draw_color(rng), draw_color(rng))
    thin = int(np.argmin(extent))
    colors = np.empty(vertices.shape)
    for axis in range(3):
        across, up = {0: (1, 2), 1: (0, 2), 2: (0, 1)}[axis]
        ratio = extent[across] / extent[up]
        height = int(np.clip(96 / np.sqrt(ratio), 40, 160))
        width = int(np.clip(ratio * height, 32, 200))
        picture = draw_print(rng, width, height, theme, busy=axis == thin)
        on = side == axis
        u = np.where(vertices[:, axis] > 0.0, place[:, across], 1.0 - place[:, across])
        colors[on] = sample(picture, u[on], place[on, up])
    if pages:
        # The pages of a book, on three of its four narrow sides.
        paper = (np.abs(place[:, 2] - 0.5) < 0.4) & (side != 2) & (place[:, 0] > 0.04)
        colors[paper] = np.array([232.0, 226.0, 208.0])
    return colors


def draw_print(
    rng: np.random.Generator,
    width: int,
    height: int,
    theme: tuple[Array, Array, Array] | None = None,
    busy: bool = True,
) -> NDArray[np.uint8]:
    """
    Return an image of packaging print: fields, emblem, lettering, small print.

    The letters are random strokes of no script.
    """
    ground, ink, extra = theme or (draw_color(rng), draw_color(rng), draw_color(rng))
    picture = np.empty((height, width, 3), np.uint8)
    picture[:] = np.rint(ground)

    def tuple_of(color: Array) -> tuple[int, int, int]:
        return int(color[0]), int(color[1]), int(color[2])

    for _ in range(int(rng.integers(0, 3))):
        top, bottom = np.sort(rng.integers(0, height, 2))
        color = tuple_of(ink if rng.random() < 0.5 else extra)
        cv2.rectangle(picture, (0, int(top)), (width, int(bottom)), color, -1)
    if not busy:
        return picture
    for _ in range(int(rng.integers(1, 4))):
        center = (int(rng.integers(0, width)), int(rng.integers(0, height)))
        axes = [int(rng.integers(4, max(5, side // 3))) for side in (width, height)]
        color = tuple_of(draw_color(rng) if rng.random() < 0.4 else extra)
        cv2.ellipse(picture, center, axes, float(rng.uniform(0, 180)), 0, 360, color, -1)
    # The product name.
    letters = int(rng.integers(3, 7))
    size = int(min(height * 0.3, 0.9 * width / letters))
    left = int(rng.integers(0, max(1, width - letters * size)))
    top = int(rng.integers(0, max(1, height // 2)))
    color = tuple_of(np.full(3, 245.0) if ground.mean() < 110.0 else ink)
    for k in range(letters):
        corners = rng.integers(0, 3, (4, 2)) * (0.35 * size)
        points = np.rint(corners + [left + k * size, top]).astype(np.int32)
        cv2.polylines(picture, [points.reshape(-1, 1, 2)], False, color, max(1, size // 5))
    # Small print and a bar code.
    for line in range(int(rng.integers(0, 5))):
        y = int(height * 0.62) + 4 * line
        end = int(rng.integers(width // 4, width // 2 + 1))
        cv2.line(picture, (4, y), (4 + end, y), color, 1)
    if rng.random() < 0.4:
        x = int(width * 0.72)
        cv2.rectangle(picture, (x, height - 16), (width - 4, height - 4), (245, 245, 245), -1)
        for bar in range(x + 2, width - 5, 3):
            cv2.line(picture, (bar, height - 15), (bar, height - 5), (20, 20, 20), 1)
    return cv2.GaussianBlur(picture, (0, 0), 0.7)


def sample(picture: NDArray[np.uint8], across: Array, up: Array) -> Array:
    """Return the picture's colours at shares of its width (from left) and height (from below)."""
    height, width = picture.shape[:2]
    x = (across * (width - 1)).astype(np.float32)[:, None]
    y = ((1.0 - up) * (height - 1)).astype(np.float32)[:, None]
    if not len(x):
        return np.zeros((0, 3))
    return np.asarray(
        cv2.remap(picture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[:, 0],
        np.float64,
    )
