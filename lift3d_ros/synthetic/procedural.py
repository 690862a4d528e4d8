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

"""
Household-like objects by the hundred thousand, each made from one number.

Every mesh is closed, of one piece, metric, coloured at its vertices, z up with its lowest point at
z = 0. It serves training, the demo and the tests, so that none of them needs a file from outside.

Round things are lathed, boxes and shoes lofted through sections; where parts meet (a mug and its
handle, the limbs of a toy) the surface is the level set of a signed distance.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lift3d_ros.geometry import Array
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.synthetic.paint import decorate
from lift3d_ros.synthetic.paint import draw_color
from lift3d_ros.synthetic.paint import hsv
from lift3d_ros.synthetic.paint import noise
from lift3d_ros.synthetic.paint import painted
from lift3d_ros.synthetic.paint import print_box
from lift3d_ros.synthetic.paint import wrap_label
from lift3d_ros.synthetic.solids import ALONG
from lift3d_ros.synthetic.solids import AROUND
from lift3d_ros.synthetic.solids import ball
from lift3d_ros.synthetic.solids import bounds
from lift3d_ros.synthetic.solids import box
from lift3d_ros.synthetic.solids import capsule
from lift3d_ros.synthetic.solids import cylinder
from lift3d_ros.synthetic.solids import Distance
from lift3d_ros.synthetic.solids import ellipsoid
from lift3d_ros.synthetic.solids import lathe
from lift3d_ros.synthetic.solids import level_set
from lift3d_ros.synthetic.solids import loft
from lift3d_ros.synthetic.solids import resample
from lift3d_ros.synthetic.solids import round_corners
from lift3d_ros.synthetic.solids import rounded_box
from lift3d_ros.synthetic.solids import smooth_cut
from lift3d_ros.synthetic.solids import smooth_union
from lift3d_ros.synthetic.solids import superellipse
from lift3d_ros.synthetic.solids import tabulated
from lift3d_ros.synthetic.solids import tabulated_line
from lift3d_ros.synthetic.solids import torus


def procedural_object(seed: int, family: str | None = None) -> Mesh:
    """
    Return the object of a seed; ``family``, one of ``FAMILIES``, else drawn from the seed.

    Raises ``ValueError`` for an unknown family.
    """
    if family is None:
        family = family_of(seed)
    if family not in FAMILIES:
        raise ValueError(f'there is no family "{family}"; choose one of {", ".join(FAMILIES)}')
    for attempt in range(8):
        rng = np.random.default_rng([seed, list(FAMILIES).index(family), attempt])
        mesh = _stand(FAMILIES[family](rng))
        # Simplification can pinch a thin place; another draw does not.
        if mesh.is_watertight() and _pieces(mesh) == 1 and _in_range(mesh):
            return mesh
    raise ValueError(f'seed {seed} makes no closed {family}')


def family_of(seed: int) -> str:
    """Return the family that ``procedural_object`` draws for a seed."""
    names = list(FAMILIES)
    return names[int(np.random.default_rng([seed, 0xFA]).integers(len(names)))]


def bottle(rng: np.random.Generator) -> Mesh:
    """Return a bottle of drink, oil or shampoo, with its cap and label."""
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
        # Ribs that stiffen a thin wall.
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
    """Return a bowl, plate, cup without handle, or vase: an open vessel with a wall."""
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
    count = len(mesh.vertices)
    glaze, inside = draw_color(rng), draw_color(rng)
    # The lathe runs from the bottom outside over the rim to the bottom inside.
    rim = int(np.argmax(mesh.vertices[:, 2])) - AROUND
    colors = np.where(np.arange(count)[:, None] < rim, glaze, inside)
    if rng.random() < 0.4:
        colors = np.where(np.arange(count)[:, None] < rim, glaze, glaze)
    colors = decorate(colors, mesh.vertices, rng)
    return painted(mesh, mesh.vertices, colors)


def mug(rng: np.random.Generator) -> Mesh:
    """Return a mug or a jug: an open vessel with a handle at +x."""
    jug = rng.random() < 0.2
    radius = rng.uniform(0.045, 0.06) if jug else rng.uniform(0.034, 0.046)
    height = radius * (rng.uniform(2.8, 3.8) if jug else rng.uniform(1.9, 2.7))
    wall = rng.uniform(0.0042, 0.006)
    foot = radius * rng.uniform(0.72, 1.0)
    belly = rng.uniform(-0.06, 0.10) * radius
    t = np.linspace(0.0, 1.0, 13)
    side = foot + (radius - foot) * t + belly * np.sin(np.pi * t)
    # Smaller by the radius of its edges, which the distance grows again.
    edge = 0.4 * wall
    levels = edge + (height - 2.0 * edge) * t
    solid = np.concatenate(
        [[(-radius, edge)], np.stack([side - edge, levels], 1), [(-radius, height - edge)]]
    )
    # The cavity is open upward, far past the rim.
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
        # Above the eaves the walls lean in to a ridge along x.
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
        # A seam between two halves of another colour.
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
    # Apples are either green or red, not what lies between.
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


def tool(rng: np.random.Generator) -> Mesh:
    """Return a tool with a handle, lying: screwdriver, hammer, spanner, spoon, brush, torch."""
    kinds = (_screwdriver, _hammer, _spanner, _spoon, _brush, _torch)
    return kinds[rng.integers(len(kinds))](rng)


def toy(rng: np.random.Generator) -> Mesh:
    """Return a toy: an animal, a duck, a car, a bear or a stack of rings."""
    kinds = (_animal, _animal, _duck, _car, _bear, _rings)
    return kinds[rng.integers(len(kinds))](rng)


def shoe(rng: np.random.Generator) -> Mesh:
    """Return a shoe: sections swept from heel to toe, with an opening for the foot."""
    length = rng.uniform(0.16, 0.31)
    width = length * rng.uniform(0.34, 0.39)
    sole = rng.uniform(0.012, 0.03)
    ankle = sole + length * (rng.uniform(0.35, 0.5) if rng.random() < 0.25
                             else rng.uniform(0.2, 0.28))
    toe = sole + length * rng.uniform(0.12, 0.17)
    count, around = 64, 72
    # Stations crowd together at both ends, where the outline turns round.
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
    # The opening: the top of the sections at heel and instep sinks to the insole.
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


#: Every family by its name; seeds are spread over them evenly.
FAMILIES: dict[str, Callable[[np.random.Generator], Mesh]] = {
    'bottle': bottle,
    'can': can,
    'jar': jar,
    'bowl': bowl,
    'mug': mug,
    'carton': carton,
    'block': block,
    'fruit': fruit,
    'tool': tool,
    'toy': toy,
    'shoe': shoe,
}


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
    return _assembled(parts, 0.003, rng, cell=0.0032)


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
    return _assembled(parts, 0.004, rng, cell=0.003, grain=12.0)


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
    return _assembled(parts, 0.12 * size, rng, spots=0.5)


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
    return _assembled(parts, 0.10 * size, rng)


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
    return _assembled(parts, 0.10 * size, rng, grain=10.0)


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
    return _assembled(parts, 0.03 * length, rng)


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
    return _assembled(parts, 0.003, rng)


@dataclass(frozen=True)
class Part:
    """A piece of an assembled object, with its colour."""

    distance: Distance
    color: Array


def _assembled(
    parts: Sequence[Part],
    blend: float,
    rng: np.random.Generator,
    cell: float | None = None,
    grain: float = 3.0,
    spots: float = 0.0,
) -> Mesh:
    """Return the smooth union of parts, each vertex in the colour of the nearest part."""

    def distance(p: NDArray[np.float32]) -> NDArray[np.float32]:
        whole = parts[0].distance(p)
        for part in parts[1:]:
            whole = smooth_union(whole, part.distance(p), blend)
        return whole

    low, high = bounds(distance)
    mesh = level_set(distance, low, high, cell or float((high - low).max()) / 46.0)
    v = mesh.vertices.astype(np.float64)
    nearest = np.argmin([part.distance(mesh.vertices) for part in parts], axis=0)
    colors = np.stack([part.color for part in parts])[nearest]
    if rng.random() < spots:
        marks = noise(v, rng.uniform(0.012, 0.03), rng) > 0.8
        colors = np.where(marks[:, None] & (nearest == 0)[:, None], draw_color(rng), colors)
    return painted(mesh, v, colors + grain * noise(v, 0.004, rng)[:, None])


def _stand(mesh: Mesh) -> Mesh:
    """Return the mesh with its lowest point at z = 0 and its middle over the origin."""
    low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
    shift = np.array([(low[0] + high[0]) / 2.0, (low[1] + high[1]) / 2.0, low[2]], np.float32)
    return Mesh(mesh.vertices - shift, mesh.faces, mesh.colors)


def _pieces(mesh: Mesh) -> int:
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    a, b = mesh.faces[:, [0, 1]].ravel(), mesh.faces[:, [1, 2]].ravel()
    count = len(mesh.vertices)
    graph = coo_matrix((np.ones(len(a), bool), (a, b)), shape=(count, count))
    return int(connected_components(graph, directed=False, return_labels=False))


def _in_range(mesh: Mesh) -> bool:
    longest = float(np.ptp(mesh.vertices, axis=0).max())
    return 0.05 <= longest <= 0.35 and mesh.volume() > 0.0
