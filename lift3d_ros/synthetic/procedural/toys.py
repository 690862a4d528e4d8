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

"""Toys: animals, cars, stacked rings."""

from __future__ import annotations

import numpy as np

from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.synthetic.procedural.assembly import assembled
from lift3d_ros.synthetic.procedural.assembly import Part
from lift3d_ros.synthetic.procedural.distances import ball
from lift3d_ros.synthetic.procedural.distances import box
from lift3d_ros.synthetic.procedural.distances import capsule
from lift3d_ros.synthetic.procedural.distances import cylinder
from lift3d_ros.synthetic.procedural.distances import ellipsoid
from lift3d_ros.synthetic.procedural.distances import torus
from lift3d_ros.synthetic.procedural.paint import draw_color
from lift3d_ros.synthetic.procedural.paint import hsv


def toy(rng: np.random.Generator) -> Mesh:
    """Return a toy: an animal, a duck, a car, a bear or a stack of rings."""
    kinds = (_animal, _animal, _duck, _car, _bear, _rings)
    return kinds[rng.integers(len(kinds))](rng)


def _animal(rng: np.random.Generator) -> Mesh:
    size = rng.uniform(0.05, 0.09)
    length, girth = size * rng.uniform(0.65, 1.0), size * rng.uniform(0.36, 0.52)
    leg, limb = size * rng.uniform(0.45, 0.85), size * rng.uniform(0.13, 0.2)
    neck, skull = size * rng.uniform(0.1, 0.8), size * rng.uniform(0.3, 0.42)
    coat, dark, pale = draw_color(rng), draw_color(rng), draw_color(rng, pale=0.8)
    head = np.array([length + 0.25 * skull, 0.0, 0.35 * girth + neck])
    nose = head + [rng.uniform(0.7, 1.3) * skull, 0.0, -0.25 * skull]
    parts = [
        Part(ellipsoid((0, 0, 0), (length, girth, girth)), coat),
        Part(capsule((0.7 * length, 0, 0), tuple(head), 0.7 * girth, 0.7 * skull), coat),
        Part(ellipsoid(tuple(head), (1.1 * skull, 0.9 * skull, skull)), coat),
        Part(capsule(tuple(head), tuple(nose), 0.6 * skull, 0.42 * skull), pale),
        Part(
            capsule(
                (-0.9 * length, 0, 0.2 * girth),
                (-1.25 * length, 0, rng.uniform(-0.6, 1.0) * size),
                0.8 * limb,
                0.6 * limb,
            ),
            dark,
        ),
    ]
    for fore in (-0.62, 0.62):
        for side in (-1.0, 1.0):
            hip = (fore * length, 0.55 * side * girth, -0.3 * girth)
            foot = (fore * length * 1.1, 0.65 * side * girth, -0.55 * girth - leg)
            parts.append(Part(capsule(hip, foot, 1.2 * limb, limb), coat))
            parts.append(Part(ellipsoid(
                (foot[0] + 0.3 * limb, foot[1], foot[2]), (1.4 * limb, 1.1 * limb, 0.9 * limb)
            ), dark))
    ear = rng.uniform(0.35, 1.1) * skull
    for side in (-1.0, 1.0):
        tip = (head[0] - 0.3 * skull, side * 0.75 * skull, head[2] + 0.6 * skull + ear)
        root = (head[0] - 0.1 * skull, side * 0.5 * skull, head[2] + 0.5 * skull)
        parts.append(Part(capsule(root, tip, 0.32 * skull, 0.2 * skull), dark))
        parts.append(Part(ball(
            (head[0] + 0.75 * skull, side * 0.55 * skull, head[2] + 0.4 * skull), 0.17 * skull
        ), np.array([25.0, 25.0, 25.0])))
    return assembled(parts, 0.12 * size, rng, spots=0.5)


def _duck(rng: np.random.Generator) -> Mesh:
    size = rng.uniform(0.03, 0.06)
    body, beak, wing = draw_color(rng), hsv(rng.uniform(0.03, 0.1), 0.9, 0.95), draw_color(rng)
    head = (0.75 * size, 0, 1.25 * size)
    parts = [
        Part(ellipsoid((0, 0, 0), (1.25 * size, 0.85 * size, 0.75 * size)), body),
        Part(ball(head, 0.62 * size), body),
        Part(capsule((-0.9 * size, 0, 0.2 * size), (-1.45 * size, 0, 0.7 * size),
                       0.45 * size, 0.15 * size), body),
        Part(ellipsoid((1.4 * size, 0, 1.15 * size), (0.35 * size, 0.3 * size, 0.12 * size)),
              beak),
    ]
    for side in (-1.0, 1.0):
        parts.append(Part(ellipsoid((-0.2 * size, side * 0.8 * size, 0.15 * size),
                                      (0.7 * size, 0.2 * size, 0.4 * size)), wing))
        parts.append(Part(ball((1.2 * size, side * 0.33 * size, 1.45 * size), 0.11 * size),
                           np.array([20.0, 20.0, 20.0])))
    return assembled(parts, 0.10 * size, rng)


def _bear(rng: np.random.Generator) -> Mesh:
    size = rng.uniform(0.04, 0.075)
    fur, pale, shirt = draw_color(rng), draw_color(rng, pale=0.8), draw_color(rng)
    parts = [
        Part(ellipsoid((0, 0, 0), (0.8 * size, 0.85 * size, size)), shirt),
        Part(ball((0.1 * size, 0, 1.5 * size), 0.72 * size), fur),
        Part(ellipsoid((0.7 * size, 0, 1.35 * size), (0.3 * size, 0.34 * size, 0.26 * size)),
              pale),
        Part(ball((0.98 * size, 0, 1.42 * size), 0.11 * size), np.array([20.0, 20.0, 20.0])),
    ]
    for side in (-1.0, 1.0):
        parts += [
            Part(ball((0, side * 0.6 * size, 2.05 * size), 0.28 * size), fur),
            Part(capsule((0.2 * size, side * 0.7 * size, 0.55 * size),
                           (0.7 * size, side * 1.15 * size, -0.1 * size),
                           0.3 * size, 0.26 * size), fur),
            Part(capsule((0.2 * size, side * 0.5 * size, -0.7 * size),
                           (1.25 * size, side * 0.65 * size, -0.85 * size),
                           0.36 * size, 0.32 * size), fur),
            Part(ball((0.66 * size, side * 0.28 * size, 1.68 * size), 0.1 * size),
                  np.array([20.0, 20.0, 20.0])),
        ]
    return assembled(parts, 0.10 * size, rng, grain=10.0)


def _car(rng: np.random.Generator) -> Mesh:
    length = rng.uniform(0.07, 0.2)
    width, height = length * rng.uniform(0.38, 0.5), length * rng.uniform(0.13, 0.18)
    wheel = length * rng.uniform(0.1, 0.14)
    paint, glass, tyre = draw_color(rng), np.array([40.0, 55.0, 70.0]), np.full(3, 30.0)
    cabin = rng.uniform(0.1, 0.35) * length
    parts = [
        Part(box((0, 0, 0), (length / 2, width / 2, height / 2), 0.35 * height), paint),
        Part(box((-0.06 * length, 0, 0.85 * height), (cabin, 0.43 * width, 0.6 * height),
                   0.45 * height), glass),
        Part(box((-0.06 * length, 0, 1.38 * height), (0.85 * cabin, 0.38 * width,
                                                        0.12 * height), 0.1 * height), paint),
    ]
    for along in (-0.3, 0.3):
        for side in (-1.0, 1.0):
            parts.append(Part(cylinder(
                (along * length, side * 0.47 * width, -0.4 * height), (0, 1, 0), wheel,
                0.09 * width, 0.15 * wheel), tyre))
    return assembled(parts, 0.03 * length, rng)


def _rings(rng: np.random.Generator) -> Mesh:
    radius, tube = rng.uniform(0.03, 0.06), rng.uniform(0.009, 0.015)
    count = int(rng.integers(3, 7))
    parts = [Part(cylinder((0, 0, 0.0), (0, 0, 1), 1.1 * radius, 0.006, 0.004), draw_color(rng))]
    z = 0.004
    for k in range(count):
        at = radius * (1.0 - 0.55 * k / count)
        z += 1.55 * tube if k else tube
        parts.append(Part(torus((0, 0, z), at - 0.5 * tube, tube), draw_color(rng)))
    parts.append(Part(capsule((0, 0, 0), (0, 0, z), 0.9 * tube, 0.9 * tube), draw_color(rng)))
    parts.append(Part(ball((0, 0, z + 1.3 * tube), 1.3 * tube), draw_color(rng)))
    return assembled(parts, 0.003, rng)
