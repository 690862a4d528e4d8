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

"""Cartons, blocks, fruit and shoes."""

from __future__ import annotations

import cv2
import numpy as np

from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.synthetic.procedural.paint import decorate
from lift3d_ros.synthetic.procedural.paint import draw_color
from lift3d_ros.synthetic.procedural.paint import hsv
from lift3d_ros.synthetic.procedural.paint import noise
from lift3d_ros.synthetic.procedural.paint import painted
from lift3d_ros.synthetic.procedural.paint import print_box
from lift3d_ros.synthetic.procedural.surfaces import lathe
from lift3d_ros.synthetic.procedural.surfaces import loft
from lift3d_ros.synthetic.procedural.surfaces import rounded_box


def carton(rng: np.random.Generator) -> Mesh:
    """Return a printed box: cereal, medicine, tea, a book, or a milk carton with a gable."""
    kind = rng.choice(['tall', 'flat', 'small', 'cube', 'book', 'milk'])
    size = {
        'tall': rng.uniform((0.12, 0.04, 0.18), (0.21, 0.08, 0.32)),
        'flat': rng.uniform((0.12, 0.08, 0.03), (0.24, 0.18, 0.06)),
        'small': rng.uniform((0.06, 0.025, 0.05), (0.12, 0.06, 0.11)),
        'cube': np.repeat(rng.uniform(0.06, 0.14), 3) * rng.uniform(0.85, 1.15, 3),
        'book': rng.uniform((0.11, 0.16, 0.012), (0.17, 0.24, 0.04)),
        'milk': rng.uniform((0.06, 0.06, 0.17), (0.09, 0.09, 0.24)),
    }[kind]
    mesh = rounded_box(size, rng.uniform(0.0012, 0.004))
    v = mesh.vertices.astype(np.float64)
    if kind == 'milk':
        # The gable narrows to a ridge along x.
        eaves = 0.78 * size[2]
        lean = np.clip((v[:, 2] - eaves) / (0.9 * size[2] - eaves), 0.0, 1.0)
        v[:, 1] *= 1.0 - 0.94 * lean
    colors = print_box(v, size, rng, pages=kind == 'book')
    return painted(mesh, v, colors)


def block(rng: np.random.Generator) -> Mesh:
    """Return a plain block with round edges: soap, sponge, charger, wooden brick, speaker."""
    size = np.sort(rng.uniform(0.03, 0.16, 3))[::-1]
    size[0] = max(size[0], 0.055)
    radius = rng.uniform(0.1, 0.48) * size.min()
    mesh = rounded_box(size, radius)
    v = mesh.vertices.astype(np.float64)
    colors = np.broadcast_to(draw_color(rng), v.shape)
    if rng.random() < 0.5:
        # Two halves of different colours.
        colors = np.where(v[:, 2:] > size[2] * rng.uniform(-0.2, 0.3), draw_color(rng), colors)
    if rng.random() < 0.5:
        colors = decorate(colors, v, rng)
    return painted(mesh, v, colors)


def fruit(rng: np.random.Generator) -> Mesh:
    """Return a fruit or vegetable: apple, orange, pear, lemon, aubergine."""
    kind = rng.choice(['apple', 'orange', 'pear', 'lemon', 'aubergine'])
    angle = np.linspace(0.0, np.pi, 40)
    sine, cosine = np.sin(angle), -np.cos(angle)
    radius, height, hue = {
        'apple': (rng.uniform(0.033, 0.042), 0.95, (0.30, 0.98)),
        'orange': (rng.uniform(0.033, 0.044), 0.97, (0.08, 0.10)),
        'pear': (rng.uniform(0.032, 0.04), 1.35, (0.15, 0.22)),
        'lemon': (rng.uniform(0.025, 0.031), 1.35, (0.13, 0.16)),
        'aubergine': (rng.uniform(0.032, 0.042), 2.6, (0.78, 0.82)),
    }[kind]
    r, z = radius * sine, height * radius * cosine
    if kind == 'apple':
        # Dimples at stem and blossom.
        r = radius * sine * (1.0 + 0.10 * cosine)
        z = z * (1.0 - 0.30 * np.exp(-((sine / 0.28) ** 2)))
    elif kind in ('pear', 'aubergine'):
        r = r * (1.0 - rng.uniform(0.25, 0.4) * (1.0 + cosine) / 2.0)
    elif kind == 'lemon':
        z = z * (1.0 + 0.16 * np.exp(-((sine / 0.18) ** 2)))
    mesh = lathe(np.stack([np.where(sine < 1e-6, 0.0, r), z], axis=1))
    v = mesh.vertices.astype(np.float64)
    turn = np.arctan2(v[:, 1], v[:, 0])
    lobes = 1.0 + 0.015 * np.sin(rng.integers(3, 6) * turn + rng.uniform(0.0, 6.0))
    v[:, :2] *= (lobes + 0.01 * noise(v, 0.03, rng))[:, None]
    # Apples are green or red, without the hues between.
    tint = rng.choice(hue) if kind == 'apple' else rng.uniform(hue[0], hue[1])
    darkest = 0.35 if kind == 'aubergine' else 0.7
    skin = hsv(tint, rng.uniform(0.6, 0.95), rng.uniform(darkest, 0.9))
    ripe = np.clip(0.5 + 0.8 * noise(v, 0.04, rng), 0.0, 1.0)[:, None]
    other = hsv(rng.uniform(0.05, 0.3), 0.7, 0.8)
    colors = skin + (other - skin) * ripe * rng.uniform(0.0, 0.5)
    stem = (v[:, 2] > 0.93 * v[:, 2].max()) & (np.hypot(v[:, 0], v[:, 1]) < 0.16 * radius)
    colors = np.where(stem[:, None], np.array([90.0, 70.0, 40.0]), colors)
    if kind in ('lemon', 'aubergine') or rng.random() < 0.3:
        v = v[:, [2, 0, 1]]
    return painted(mesh, v, colors + 6.0 * noise(v, 0.003, rng)[:, None])


def shoe(rng: np.random.Generator) -> Mesh:
    """Return a shoe, lofted from heel to toe, with an opening for the foot."""
    length = rng.uniform(0.16, 0.31)
    width = length * rng.uniform(0.34, 0.39)
    sole = rng.uniform(0.012, 0.03)
    ankle = sole + length * (rng.uniform(0.35, 0.5) if rng.random() < 0.25
                             else rng.uniform(0.2, 0.28))
    toe = sole + length * rng.uniform(0.12, 0.17)
    count, around = 64, 72
    # Sections are denser at both ends, where the outline curves.
    s = (1.0 - np.cos(np.linspace(0.02, np.pi - 0.02, count))) / 2.0
    half = width / 2.0 * (
        np.interp(s, [0.0, 0.2, 0.45, 0.7, 0.9, 1.0], [0.72, 0.74, 0.72, 1.0, 0.97, 0.95]))
    half = cv2.GaussianBlur(half[:, None], (1, 9), 0, borderType=cv2.BORDER_REPLICATE)[:, 0]
    half *= np.sqrt(np.clip(1.0 - np.clip((s - 0.80) / 0.20, 0.0, 1.0) ** 2.6, 0.02, 1.0))
    half *= np.sqrt(np.clip(1.0 - np.clip((0.12 - s) / 0.12, 0.0, 1.0) ** 2.6, 0.02, 1.0))
    top = np.interp(s, [0.0, 0.3, 0.42, 0.68, 0.92, 1.0],
                    [ankle, ankle * 0.96, ankle * 0.92, toe * 1.12, 0.9 * toe, 0.6 * toe])
    top = cv2.GaussianBlur(top[:, None], (1, 7), 0, borderType=cv2.BORDER_REPLICATE)[:, 0]
    bend = length * rng.uniform(0.02, 0.04) * np.sin(np.pi * s)
    spring = 0.06 * toe * np.clip((s - 0.75) / 0.25, 0.0, 1.0) ** 2

    angle = 2.0 * np.pi * (np.arange(around) + 0.5) / around - np.pi / 2.0
    power = 0.62
    across = np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** power
    up = np.sign(np.sin(angle)) * np.abs(np.sin(angle)) ** power
    y = half[:, None] * across * (1.0 - 0.16 * np.maximum(up, 0.0))
    z = top[:, None] * (up + 1.0) / 2.0
    # The opening: at heel and instep the top of the sections is lowered to the insole.
    entry = np.clip(np.minimum((s - 0.07) / 0.03, (0.46 - s) / 0.05), 0.0, 1.0)[:, None]
    hole = entry * np.clip((0.80 - np.abs(across)) / 0.10, 0.0, 1.0) * (up > 0.0)
    floor = sole + 0.25 * (top[:, None] - sole) * s[:, None]
    z = z + (np.minimum(floor, z) - z) * hole
    rings = np.stack(
        [
            np.broadcast_to(length * (s - 0.5)[:, None], y.shape),
            y + bend[:, None],
            z + spring[:, None],
        ],
        axis=2,
    )
    mesh = loft(rings)
    v = mesh.vertices.astype(np.float64)
    upper, rubber, accent = draw_color(rng), draw_color(rng, pale=0.6), draw_color(rng)
    inside = np.append(hole.ravel() > 0.5, [False, False])
    colors = np.broadcast_to(upper, v.shape)
    station = v[:, 0] / length + 0.5
    if rng.random() < 0.7:
        slant = station + 0.6 * v[:, 2] / length
        stripe = (np.sin(slant * 2.0 * np.pi * rng.uniform(5.0, 9.0)) > 0.3) & (
            np.abs(station - 0.5) < 0.14)
        colors = np.where(stripe[:, None], accent, colors)
    if rng.random() < 0.6:
        colors = np.where(((station > 0.86) | (station < 0.1))[:, None], accent, colors)
    laces = (np.abs(v[:, 1]) < 0.5 * width * 0.45) & (station > 0.46) & (station < 0.68) & (
        np.sin(station * 2.0 * np.pi * 24.0) > 0.0) & (v[:, 2] > 0.6 * toe)
    colors = np.where(laces[:, None], draw_color(rng, pale=0.9), colors)
    colors = np.where((v[:, 2] < sole + spring.max() * (station > 0.8))[:, None], rubber, colors)
    colors = np.where(inside[:, None], 0.35 * upper + 15.0, colors)
    return painted(mesh, v, colors + 5.0 * noise(v, 0.004, rng)[:, None])
