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

"""Hand tools and kitchen tools, lying on their sides."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.synthetic.procedural.assembly import assembled
from lift3d_ros.synthetic.procedural.assembly import Part
from lift3d_ros.synthetic.procedural.distances import box
from lift3d_ros.synthetic.procedural.distances import capsule
from lift3d_ros.synthetic.procedural.distances import cylinder
from lift3d_ros.synthetic.procedural.distances import ellipsoid
from lift3d_ros.synthetic.procedural.distances import smooth_cut
from lift3d_ros.synthetic.procedural.distances import smooth_union
from lift3d_ros.synthetic.procedural.paint import draw_color
from lift3d_ros.synthetic.procedural.paint import noise
from lift3d_ros.synthetic.procedural.paint import painted
from lift3d_ros.synthetic.procedural.surfaces import lathe
from lift3d_ros.synthetic.procedural.surfaces import level_set
from lift3d_ros.synthetic.procedural.surfaces import round_corners


def tool(rng: np.random.Generator) -> Mesh:
    """Return a tool with a handle, lying: screwdriver, hammer, spanner, spoon, brush, torch."""
    kinds = (_screwdriver, _hammer, _spanner, _spoon, _brush, _torch)
    return kinds[rng.integers(len(kinds))](rng)


def _screwdriver(rng: np.random.Generator) -> Mesh:
    length, grip = rng.uniform(0.16, 0.28), rng.uniform(0.09, 0.115)
    radius, shaft = rng.uniform(0.012, 0.018), rng.uniform(0.0028, 0.0042)
    outline = [
        (0.0, 0.0), (0.8 * radius, 0.0), (radius, 0.1 * grip), (radius, 0.55 * grip),
        (0.68 * radius, 0.78 * grip), (0.8 * radius, 0.92 * grip), (0.75 * radius, grip),
        (shaft, grip), (shaft, length - 0.012), (0.8 * shaft, length), (0.0, length),
    ]
    grooves = int(rng.integers(5, 9))
    mesh = lathe(round_corners(outline, 0.006))
    v = mesh.vertices.astype(np.float64)
    turn = np.arctan2(v[:, 1], v[:, 0])
    held = (v[:, 2] > 0.05 * grip) & (v[:, 2] < 0.6 * grip)
    v[:, :2] *= (1.0 + 0.06 * held * np.cos(grooves * turn))[:, None]
    # The blade is flat.
    flat = np.clip((v[:, 2] - (length - 0.014)) / 0.014, 0.0, 1.0)
    v[:, 1] *= 1.0 - 0.7 * flat
    colors = np.where(v[:, 2:] < grip, draw_color(rng), np.array([150.0, 150.0, 155.0]))
    band = (v[:, 2] > 0.6 * grip) & (v[:, 2] < 0.9 * grip)
    colors = np.where(band[:, None], draw_color(rng), colors)
    ribs = held & (np.cos(grooves * turn) < -0.3)
    colors = np.where(ribs[:, None], 0.4 * colors, colors)
    return painted(mesh, v[:, [2, 0, 1]], colors)


def _torch(rng: np.random.Generator) -> Mesh:
    length, radius = rng.uniform(0.12, 0.22), rng.uniform(0.012, 0.018)
    head = radius * rng.uniform(1.3, 1.8)
    outline = [
        (0.0, 0.0), (radius, 0.0), (radius, 0.62 * length), (head, 0.78 * length),
        (head, length), (0.88 * head, length), (0.8 * head, 0.97 * length),
        (0.0, 0.97 * length),
    ]
    mesh = lathe(round_corners(outline, 0.004))
    v = mesh.vertices.astype(np.float64)
    r = np.hypot(v[:, 0], v[:, 1])
    body = draw_color(rng)
    colors = np.broadcast_to(body, v.shape)
    knurl = (np.sin(v[:, 2] * 2.0 * np.pi / 0.008) > 0.2) & (v[:, 2] < 0.55 * length)
    colors = np.where(knurl[:, None], 0.65 * body, colors)
    lens = (v[:, 2] > 0.95 * length) & (r < 0.85 * head)
    colors = np.where(lens[:, None], np.array([235.0, 235.0, 215.0]), colors)
    switch = (np.abs(v[:, 2] - 0.5 * length) < 0.012) & (v[:, 0] > 0.75 * radius)
    colors = np.where(switch[:, None], draw_color(rng), colors)
    return painted(mesh, v[:, [2, 1, 0]], colors)


def _hammer(rng: np.random.Generator) -> Mesh:
    length, head = rng.uniform(0.22, 0.33), rng.uniform(0.08, 0.12)
    radius = rng.uniform(0.010, 0.014)
    face = radius * rng.uniform(1.0, 1.35)
    wood, grip, steel = draw_color(rng), draw_color(rng), np.full(3, rng.uniform(70.0, 160.0))
    end = length - face
    parts = [
        Part(capsule((0, 0, 0), (0.45 * length, 0, 0), 1.25 * radius, 0.9 * radius), grip),
        Part(capsule((0.4 * length, 0, 0), (end, 0, 0), 0.9 * radius, 0.75 * radius), wood),
        Part(cylinder((end, -0.3 * head, 0), (0, 1, 0), face, 0.3 * head, 0.002), steel),
        Part(
            box((end, 0.32 * head, 0), (0.6 * face, 0.34 * head, 0.5 * face), 0.003), steel),
    ]
    return assembled(parts, 0.003, rng, cell=0.0032)


def _spanner(rng: np.random.Generator) -> Mesh:
    length, jaw = rng.uniform(0.14, 0.26), rng.uniform(0.015, 0.022)
    thick = rng.uniform(0.0045, 0.007)
    steel = np.full(3, rng.uniform(120.0, 200.0)) if rng.random() < 0.7 else draw_color(rng)
    turn = np.radians(15.0)
    opening = np.array([np.cos(turn), np.sin(turn), 0.0])
    shaft = box((length / 2, 0, 0), (length / 2, 0.38 * jaw, 0.8 * thick), 0.002)
    open_end = cylinder((0, 0, 0), (0, 0, 1), 1.15 * jaw, thick, 0.0015)
    ring = cylinder((length, 0, 0), (0, 0, 1), jaw, thick, 0.0015)
    slot = box(tuple(-1.0 * jaw * opening), (1.1 * jaw, 0.48 * jaw, 1.0), 0.0, turn)
    hole = cylinder((length, 0, 0), (0, 0, 1), 0.58 * jaw, 1.0, 0.0)

    def distance(p: NDArray[np.float32]) -> NDArray[np.float32]:
        whole = smooth_union(smooth_union(shaft(p), open_end(p), 0.004), ring(p), 0.004)
        return smooth_cut(smooth_cut(whole, slot(p), 0.0005), hole(p), 0.0005)

    mesh = level_set(
        distance,
        (-1.3 * jaw, -1.3 * jaw, -1.4 * thick),
        (length + 1.15 * jaw, 1.3 * jaw, 1.4 * thick),
        0.3 * thick,
    )
    v = mesh.vertices.astype(np.float64)
    return painted(mesh, v, steel + 8.0 * noise(v, 0.006, rng)[:, None])


def _spoon(rng: np.random.Generator) -> Mesh:
    length, bowl_length = rng.uniform(0.17, 0.3), rng.uniform(0.05, 0.085)
    width, depth = bowl_length * rng.uniform(0.33, 0.42), rng.uniform(0.012, 0.02)
    grip = rng.uniform(0.005, 0.008)
    shell = 0.0055
    color, accent = draw_color(rng), draw_color(rng)
    outer = ellipsoid((0, 0, depth), (bowl_length / 2, width, depth))
    inner = ellipsoid(
        (0, 0, depth + 0.25 * shell), (bowl_length / 2 - shell, width - shell, depth - shell))
    stem = capsule(
        (bowl_length / 2 - 0.006, 0, depth), (length, 0, 1.6 * depth), 0.8 * grip, 1.15 * grip)

    def distance(p: NDArray[np.float32]) -> NDArray[np.float32]:
        half = np.maximum(outer(p), p[:, 2] - np.float32(depth + 0.002))
        scoop = smooth_cut(half, inner(p), 0.001)
        return smooth_union(scoop, stem(p), 0.006)

    mesh = level_set(
        distance,
        (-bowl_length / 2 - 0.005, -width - 0.005, -0.004),
        (length + 2.0 * grip, width + 0.005, 1.6 * depth + 2.0 * grip),
        0.0023,
    )
    v = mesh.vertices.astype(np.float64)
    colors = np.where(v[:, :1] > 0.55 * length, accent, color) if rng.random() < 0.6 else (
        np.broadcast_to(color, v.shape))
    return painted(mesh, v, colors + 4.0 * noise(v, 0.01, rng)[:, None])


def _brush(rng: np.random.Generator) -> Mesh:
    length, head = rng.uniform(0.16, 0.27), rng.uniform(0.05, 0.09)
    width, bristles = rng.uniform(0.012, 0.026), rng.uniform(0.015, 0.03)
    grip = rng.uniform(0.007, 0.011)
    body, hair = draw_color(rng), draw_color(rng, pale=0.4)
    parts = [
        Part(capsule((0, 0, 0), (length - head, 0, 0.004), grip, 0.75 * grip), body),
        Part(box((length - head / 2, 0, 0.004), (head / 2, width, 0.006), 0.005), body),
        Part(
            box(
                (length - head / 2, 0, -0.5 * bristles),
                (0.46 * head, 0.88 * width, 0.5 * bristles + 0.003),
                0.002,
            ),
            hair,
        ),
    ]
    return assembled(parts, 0.004, rng, cell=0.003, grain=12.0)
