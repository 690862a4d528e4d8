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

"""Bottles, cans, jars, bowls and mugs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.synthetic.procedural.distances import smooth_cut
from lift3d_ros.synthetic.procedural.distances import smooth_union
from lift3d_ros.synthetic.procedural.distances import tabulated
from lift3d_ros.synthetic.procedural.distances import tabulated_line
from lift3d_ros.synthetic.procedural.paint import decorate
from lift3d_ros.synthetic.procedural.paint import draw_color
from lift3d_ros.synthetic.procedural.paint import painted
from lift3d_ros.synthetic.procedural.paint import wrap_label
from lift3d_ros.synthetic.procedural.surfaces import ALONG
from lift3d_ros.synthetic.procedural.surfaces import AROUND
from lift3d_ros.synthetic.procedural.surfaces import lathe
from lift3d_ros.synthetic.procedural.surfaces import level_set
from lift3d_ros.synthetic.procedural.surfaces import resample
from lift3d_ros.synthetic.procedural.surfaces import round_corners
from lift3d_ros.synthetic.procedural.surfaces import superellipse


def bottle(rng: np.random.Generator) -> Mesh:
    """Return a drink, oil or shampoo bottle with cap and label."""
    height = rng.uniform(0.15, 0.32)
    radius = height * rng.uniform(0.11, 0.19)
    neck = min(rng.uniform(0.011, 0.016), 0.55 * radius)
    shoulder = height * rng.uniform(0.50, 0.72)
    neck_start = min(shoulder + height * rng.uniform(0.08, 0.2), 0.86 * height)
    cap = height - rng.uniform(0.015, 0.03)
    bulge = rng.uniform(0.2, 0.8)
    outline = [
        (0.0, 0.004), (0.7 * radius, 0.0), (radius, 0.012), (radius, shoulder),
        (neck + (radius - neck) * bulge, shoulder + (neck_start - shoulder) * (1.0 - 0.6 * bulge)),
        (neck, neck_start), (neck, cap), (1.15 * neck, cap), (1.15 * neck, height), (0.0, height),
    ]
    profile = round_corners(outline, 0.012)
    if rng.random() < 0.35:
        # Stiffening ribs.
        r, z = profile.T
        profile = resample(profile, ALONG)
        r, z = profile.T
        body = (r > 0.6 * radius) & (z > 0.02) & (z < shoulder)
        wave = np.sin(2.0 * np.pi * z / rng.uniform(0.012, 0.03))
        profile = np.stack([np.where(body, r + 0.001 * wave, r), z], axis=1)
    oval = rng.uniform(0.55, 0.85) if rng.random() < 0.35 else 1.0
    mesh = lathe(profile, superellipse(rng.uniform(2.0, 3.5) if oval < 1.0 else 2.0))
    vertices = mesh.vertices * [1.0, oval, 1.0]
    glass, lid = draw_color(rng), draw_color(rng)
    start, end = np.sort(rng.uniform(0.08, 0.95, 2)) * shoulder
    colors = np.where(vertices[:, 2:] > cap - 1e-4, lid, glass)
    if end - start > 0.15 * height:
        colors = wrap_label(colors, vertices, start, end, rng)
    return painted(mesh, vertices, colors)


def can(rng: np.random.Generator) -> Mesh:
    """Return a can: drink, soup, tuna or a tin with a plastic lid."""
    kind = rng.choice(['drink', 'soup', 'flat', 'tin'])
    radius, height = {
        'drink': (rng.uniform(0.026, 0.034), rng.uniform(0.11, 0.17)),
        'soup': (rng.uniform(0.033, 0.045), rng.uniform(0.09, 0.125)),
        'flat': (rng.uniform(0.040, 0.055), rng.uniform(0.03, 0.05)),
        'tin': (rng.uniform(0.038, 0.065), rng.uniform(0.10, 0.20)),
    }[kind]
    rim = 0.87 * radius if kind == 'drink' else radius
    taper = 0.012 if kind == 'drink' else 0.001
    outline = [
        (0.0, 0.006), (0.75 * rim, 0.006), (0.8 * rim, 0.0), (0.86 * rim, 0.0),
        (radius, taper), (radius, height - taper), (rim, height - 0.002), (rim, height),
        (rim - 0.002, height), (rim - 0.003, height - 0.004), (0.0, height - 0.004),
    ]
    mesh = lathe(round_corners(outline, 0.002))
    z = mesh.vertices[:, 2:]
    metal = np.full(3, rng.uniform(165.0, 205.0))
    side = (z > taper) & (z < height - taper) & (
        np.hypot(mesh.vertices[:, :1], mesh.vertices[:, 1:2]) > 0.98 * radius)
    colors = np.where(side, draw_color(rng), metal)
    if kind == 'tin':
        colors = np.where(z > height - 0.012, draw_color(rng), colors)
    colors = np.where(
        side, wrap_label(colors, mesh.vertices, taper, height - taper, rng), colors
    )
    return painted(mesh, mesh.vertices, colors)


def jar(rng: np.random.Generator) -> Mesh:
    """Return a jar with a screw lid."""
    radius = rng.uniform(0.028, 0.05)
    height = radius * rng.uniform(1.8, 3.6)
    lid = rng.uniform(0.012, 0.022)
    neck = radius * rng.uniform(0.75, 0.95)
    shoulder = height - lid - rng.uniform(0.006, 0.02)
    outline = [
        (0.0, 0.002), (0.8 * radius, 0.0), (radius, 0.006), (radius, shoulder),
        (neck, height - lid - 0.002), (neck, height - lid), (neck + 0.003, height - lid),
        (neck + 0.003, height), (0.0, height),
    ]
    mesh = lathe(
        round_corners(outline, rng.uniform(0.003, 0.009)),
        superellipse(rng.uniform(3.0, 6.0) if rng.random() < 0.3 else 2.0),
    )
    colors = np.where(mesh.vertices[:, 2:] > height - lid - 5e-4, draw_color(rng), draw_color(rng))
    colors = wrap_label(colors, mesh.vertices, 0.12 * shoulder, 0.9 * shoulder, rng)
    return painted(mesh, mesh.vertices, colors)


def bowl(rng: np.random.Generator) -> Mesh:
    """Return a bowl, plate, cup without handle, or vase."""
    kind = rng.choice(['bowl', 'plate', 'cup', 'vase'])
    wall = rng.uniform(0.003, 0.0055)
    radius, height = {
        'bowl': (rng.uniform(0.055, 0.11), rng.uniform(0.04, 0.09)),
        'plate': (rng.uniform(0.08, 0.14), rng.uniform(0.018, 0.03)),
        'cup': (rng.uniform(0.032, 0.046), rng.uniform(0.07, 0.13)),
        'vase': (rng.uniform(0.04, 0.07), rng.uniform(0.15, 0.28)),
    }[kind]
    t = np.linspace(0.0, 1.0, 14)
    if kind == 'bowl':
        foot = radius * rng.uniform(0.35, 0.55)
        side = foot + (radius - foot) * t ** rng.uniform(0.4, 0.8)
    elif kind == 'plate':
        foot = radius * rng.uniform(0.55, 0.7)
        side = foot + (radius - foot) * t ** rng.uniform(0.5, 0.9)
    elif kind == 'cup':
        foot = radius * rng.uniform(0.65, 0.95)
        side = foot + (radius - foot) * t
    else:
        foot = radius * rng.uniform(0.5, 0.8)
        phase, depth = rng.uniform(0.0, 1.0), rng.uniform(0.15, 0.35)
        side = radius * (1.0 - depth * (1.0 + np.cos(2.0 * np.pi * (t + 0.2 * phase))) / 1.6)
        side = np.maximum(side, 0.35 * radius)
        foot = side[0]
    z = height * t
    inner = np.stack([np.maximum(side - wall, 0.004), np.maximum(z, wall + 0.003)], axis=1)[::-1]
    outline = np.concatenate(
        [
            [(0.0, 0.003), (0.85 * foot, 0.003), (0.9 * foot, 0.0)],
            np.stack([side, z], axis=1),
            inner[:-1],
            [(0.9 * inner[-1, 0], wall + 0.003), (0.0, wall + 0.003)],
        ]
    )
    mesh = lathe(round_corners(outline, 0.4 * wall))
    glaze, inside = draw_color(rng), draw_color(rng)
    if rng.random() < 0.4:
        inside = glaze
    # The profile runs up the outside to the rim and down the inside.
    rim = int(np.argmax(mesh.vertices[:, 2])) - AROUND
    colors = np.where(np.arange(len(mesh.vertices))[:, None] < rim, glaze, inside)
    colors = decorate(colors, mesh.vertices, rng)
    return painted(mesh, mesh.vertices, colors)


def mug(rng: np.random.Generator) -> Mesh:
    """Return a mug or a jug, its handle at +x."""
    jug = rng.random() < 0.2
    radius = rng.uniform(0.045, 0.06) if jug else rng.uniform(0.034, 0.046)
    height = radius * (rng.uniform(2.8, 3.8) if jug else rng.uniform(1.9, 2.7))
    wall = rng.uniform(0.0042, 0.006)
    foot = radius * rng.uniform(0.72, 1.0)
    belly = rng.uniform(-0.06, 0.10) * radius
    t = np.linspace(0.0, 1.0, 13)
    side = foot + (radius - foot) * t + belly * np.sin(np.pi * t)
    # Offset inwards by the radius of the edges; the distance is offset outwards.
    edge = 0.4 * wall
    levels = edge + (height - 2.0 * edge) * t
    solid = np.concatenate(
        [[(-radius, edge)], np.stack([side - edge, levels], 1), [(-radius, height - edge)]]
    )
    # The cavity extends far above the rim.
    cavity = np.concatenate(
        [
            [(-radius, 1.6 * wall)],
            np.stack([side - wall, np.maximum(height * t, 1.6 * wall)], axis=1),
            [(side[-1] - wall, 1.5 * height), (-radius, 1.5 * height)],
        ]
    )
    thick = rng.uniform(0.0045, 0.0065)
    low, high = np.array([0.16, 0.86]) * height + rng.uniform(-0.03, 0.03, 2) * height
    reach = rng.uniform(0.026, 0.036)
    # Half of a superellipse from the upper to the lower root.
    angle = np.linspace(-np.pi / 2.0, np.pi / 2.0, 16)
    power = rng.uniform(0.55, 0.95)
    across = reach * np.cos(angle) ** power
    along = np.sign(np.sin(angle)) * np.abs(np.sin(angle)) ** power
    roots = np.interp([low, high], height * t, side) - 0.5 * wall
    grip = np.stack(
        [
            np.linspace(roots[0], roots[1], len(angle)) + across,
            (low + high) / 2.0 + (high - low) / 2.0 * along,
        ],
        axis=1,
    )
    flat = rng.uniform(0.55, 1.0)

    body = tabulated(solid, (-0.01, 1.25 * radius), (-0.01, height + 0.01))
    hollow = tabulated(cavity, (-0.01, 1.25 * radius), (-0.01, height + 0.01))
    path = tabulated_line(grip, (-0.01, radius + reach + 0.03), (-0.01, height + 0.01))

    def distance(p: NDArray[np.float32]) -> NDArray[np.float32]:
        r = np.hypot(p[:, 0], p[:, 1])
        outer, inner = body(r, p[:, 2]) - np.float32(edge), hollow(r, p[:, 2])
        handle = np.hypot(path(p[:, 0], p[:, 2]), flat * p[:, 1]) - np.float32(thick)
        joined = smooth_union(outer, handle, 0.006)
        return smooth_cut(joined, inner, 0.6 * wall)

    mesh = level_set(
        distance,
        (-1.12 * radius, -1.12 * radius, -0.004),
        (radius + reach + 0.012, 1.12 * radius, height + 0.004),
        0.3 * wall,
    )
    v = mesh.vertices.astype(np.float64)
    r = np.hypot(v[:, 0], v[:, 1])
    glaze, inside, grip_color = draw_color(rng), draw_color(rng), None
    if rng.random() < 0.3:
        grip_color = draw_color(rng)
    middle = np.interp(v[:, 2], height * t, side) - 0.5 * wall
    within = ((r < middle - 0.35 * wall) & (v[:, 2] > 1.2 * wall))[:, None]
    colors = np.where(within, inside if rng.random() < 0.6 else glaze, glaze)
    on_body = (~within) & (r < middle + wall)[:, None]
    motif = rng.random()
    if motif < 0.45:
        span = np.sort(rng.uniform(0.05, 0.95, 2)) * height
        decorated = wrap_label(colors, v, span[0], max(span[1], span[0] + 0.25 * height), rng)
    elif motif < 0.8:
        decorated = decorate(colors, v, rng)
    else:
        decorated = colors
    colors = np.where(on_body, decorated, colors)
    if grip_color is not None:
        colors = np.where((r > middle + wall)[:, None], grip_color, colors)
    return painted(mesh, v, colors)
