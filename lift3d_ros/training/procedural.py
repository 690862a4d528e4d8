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

"""Household-like objects by the hundred thousand, each made from one number.

Every mesh is closed, of one piece, metric, coloured at its vertices, z up with its lowest point at
z = 0. It serves training, the demo and the tests, so that none of them needs a file from outside.

Round things are lathed, boxes and shoes lofted through sections; where parts meet (a mug and its
handle, the limbs of a toy) the surface is the level set of a signed distance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from lift3d_ros.geometry import Array
from lift3d_ros.shape import Mesh

#: Signed distance in metres at points (n, 3), negative inside.
Distance = Callable[[NDArray[np.float32]], NDArray[np.float32]]

#: Colours 0..255 (n, 3) at points (n, 3).
Paint = Callable[[Array], Array]

#: Vertices around an axis of revolution, and along a profile.
_AROUND = 84
_ALONG = 60

#: Level sets are simplified to this; about as fine as the lathed shapes.
_LEVEL_SET_FACES = 12_000


def procedural_object(seed: int, family: str | None = None) -> Mesh:
    """Return the object of a seed; ``family``, one of ``FAMILIES``, else drawn from the seed.

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


# Families -----------------------------------------------------------------------------------------


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
    profile = _round_corners(outline, 0.012)
    if rng.random() < 0.35:
        # Ribs that stiffen a thin wall.
        r, z = profile.T
        profile = _resample(profile, _ALONG)
        r, z = profile.T
        body = (r > 0.6 * radius) & (z > 0.02) & (z < shoulder)
        wave = np.sin(2.0 * np.pi * z / rng.uniform(0.012, 0.03))
        profile = np.stack([np.where(body, r + 0.001 * wave, r), z], axis=1)
    oval = rng.uniform(0.55, 0.85) if rng.random() < 0.35 else 1.0
    mesh = _lathe(profile, _superellipse(rng.uniform(2.0, 3.5) if oval < 1.0 else 2.0))
    vertices = mesh.vertices * [1.0, oval, 1.0]
    glass, lid = _color(rng), _color(rng)
    start, end = np.sort(rng.uniform(0.08, 0.95, 2)) * shoulder
    colors = np.where(vertices[:, 2:] > cap - 1e-4, lid, glass)
    if end - start > 0.15 * height:
        colors = _wrap_label(colors, vertices, start, end, rng)
    return _painted(mesh, vertices, colors)


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
    mesh = _lathe(_round_corners(outline, 0.002))
    z = mesh.vertices[:, 2:]
    metal = np.full(3, rng.uniform(165.0, 205.0))
    side = (z > taper) & (z < height - taper) & (
        np.hypot(mesh.vertices[:, :1], mesh.vertices[:, 1:2]) > 0.98 * radius)
    colors = np.where(side, _color(rng), metal)
    if kind == 'tin':
        colors = np.where(z > height - 0.012, _color(rng), colors)
    colors = np.where(
        side, _wrap_label(colors, mesh.vertices, taper, height - taper, rng), colors
    )
    return _painted(mesh, mesh.vertices, colors)


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
    mesh = _lathe(
        _round_corners(outline, rng.uniform(0.003, 0.009)),
        _superellipse(rng.uniform(3.0, 6.0) if rng.random() < 0.3 else 2.0),
    )
    colors = np.where(mesh.vertices[:, 2:] > height - lid - 5e-4, _color(rng), _color(rng))
    colors = _wrap_label(colors, mesh.vertices, 0.12 * shoulder, 0.9 * shoulder, rng)
    return _painted(mesh, mesh.vertices, colors)


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
    mesh = _lathe(_round_corners(outline, 0.4 * wall))
    count = len(mesh.vertices)
    glaze, inside = _color(rng), _color(rng)
    # The lathe runs from the bottom outside over the rim to the bottom inside.
    rim = int(np.argmax(mesh.vertices[:, 2])) - _AROUND
    colors = np.where(np.arange(count)[:, None] < rim, glaze, inside)
    if rng.random() < 0.4:
        colors = np.where(np.arange(count)[:, None] < rim, glaze, glaze)
    colors = _decorate(colors, mesh.vertices, rng)
    return _painted(mesh, mesh.vertices, colors)


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

    body = _tabulated(solid, (-0.01, 1.25 * radius), (-0.01, height + 0.01))
    hollow = _tabulated(cavity, (-0.01, 1.25 * radius), (-0.01, height + 0.01))
    path = _tabulated_line(grip, (-0.01, radius + reach + 0.03), (-0.01, height + 0.01))

    def distance(p: NDArray[np.float32]) -> NDArray[np.float32]:
        r = np.hypot(p[:, 0], p[:, 1])
        outer, inner = body(r, p[:, 2]) - np.float32(edge), hollow(r, p[:, 2])
        handle = np.hypot(path(p[:, 0], p[:, 2]), flat * p[:, 1]) - np.float32(thick)
        joined = _smooth_union(outer, handle, 0.006)
        return _smooth_cut(joined, inner, 0.6 * wall)

    mesh = _level_set(
        distance,
        (-1.12 * radius, -1.12 * radius, -0.004),
        (radius + reach + 0.012, 1.12 * radius, height + 0.004),
        0.3 * wall,
    )
    v = mesh.vertices.astype(np.float64)
    r = np.hypot(v[:, 0], v[:, 1])
    glaze, inside, grip_color = _color(rng), _color(rng), None
    if rng.random() < 0.3:
        grip_color = _color(rng)
    middle = np.interp(v[:, 2], height * t, side) - 0.5 * wall
    within = ((r < middle - 0.35 * wall) & (v[:, 2] > 1.2 * wall))[:, None]
    colors = np.where(within, inside if rng.random() < 0.6 else glaze, glaze)
    on_body = (~within) & (r < middle + wall)[:, None]
    motif = rng.random()
    if motif < 0.45:
        span = np.sort(rng.uniform(0.05, 0.95, 2)) * height
        decorated = _wrap_label(colors, v, span[0], max(span[1], span[0] + 0.25 * height), rng)
    elif motif < 0.8:
        decorated = _decorate(colors, v, rng)
    else:
        decorated = colors
    colors = np.where(on_body, decorated, colors)
    if grip_color is not None:
        colors = np.where((r > middle + wall)[:, None], grip_color, colors)
    return _painted(mesh, v, colors)


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
    mesh = _rounded_box(size, rng.uniform(0.0012, 0.004))
    v = mesh.vertices.astype(np.float64)
    if kind == 'milk':
        # Above the eaves the walls lean in to a ridge along x.
        eaves = 0.78 * size[2]
        lean = np.clip((v[:, 2] - eaves) / (0.9 * size[2] - eaves), 0.0, 1.0)
        v[:, 1] *= 1.0 - 0.94 * lean
    colors = _print_box(v, size, rng, pages=kind == 'book')
    return _painted(mesh, v, colors)


def block(rng: np.random.Generator) -> Mesh:
    """Return a plain block with round edges: soap, sponge, charger, wooden brick, speaker."""
    size = np.sort(rng.uniform(0.03, 0.16, 3))[::-1]
    size[0] = max(size[0], 0.055)
    radius = rng.uniform(0.1, 0.48) * size.min()
    mesh = _rounded_box(size, radius)
    v = mesh.vertices.astype(np.float64)
    colors = np.broadcast_to(_color(rng), v.shape)
    if rng.random() < 0.5:
        # A seam between two halves of another colour.
        colors = np.where(v[:, 2:] > size[2] * rng.uniform(-0.2, 0.3), _color(rng), colors)
    if rng.random() < 0.5:
        colors = _decorate(colors, v, rng)
    return _painted(mesh, v, colors)


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
    mesh = _lathe(np.stack([np.where(sine < 1e-6, 0.0, r), z], axis=1))
    v = mesh.vertices.astype(np.float64)
    turn = np.arctan2(v[:, 1], v[:, 0])
    lobes = 1.0 + 0.015 * np.sin(rng.integers(3, 6) * turn + rng.uniform(0.0, 6.0))
    v[:, :2] *= (lobes + 0.01 * _noise(v, 0.03, rng))[:, None]
    skin = _hsv(rng.uniform(*sorted(hue)) if kind != 'apple' else rng.choice(hue),
                rng.uniform(0.6, 0.95), rng.uniform(0.35 if kind == 'aubergine' else 0.7, 0.9))
    ripe = np.clip(0.5 + 0.8 * _noise(v, 0.04, rng), 0.0, 1.0)[:, None]
    other = _hsv(rng.uniform(0.05, 0.3), 0.7, 0.8)
    colors = skin + (other - skin) * ripe * rng.uniform(0.0, 0.5)
    stem = (v[:, 2] > 0.93 * v[:, 2].max()) & (np.hypot(v[:, 0], v[:, 1]) < 0.16 * radius)
    colors = np.where(stem[:, None], np.array([90.0, 70.0, 40.0]), colors)
    if kind in ('lemon', 'aubergine') or rng.random() < 0.3:
        v = v[:, [2, 0, 1]]
    return _painted(mesh, v, colors + 6.0 * _noise(v, 0.003, rng)[:, None])


def tool(rng: np.random.Generator) -> Mesh:
    """Return a tool with a handle, lying: screwdriver, hammer, spanner, spoon, brush, torch."""
    return rng.choice([_screwdriver, _hammer, _spanner, _spoon, _brush, _torch])(rng)


def toy(rng: np.random.Generator) -> Mesh:
    """Return a toy: an animal, a duck, a car, a bear, a skittle or a stack of rings."""
    return rng.choice([_animal, _animal, _duck, _car, _bear, _rings])(rng)


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
    mesh = _loft(rings)
    v = mesh.vertices.astype(np.float64)
    upper, rubber, accent = _color(rng), _color(rng, pale=0.6), _color(rng)
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
    colors = np.where(laces[:, None], _color(rng, pale=0.9), colors)
    colors = np.where((v[:, 2] < sole + spring.max() * (station > 0.8))[:, None], rubber, colors)
    colors = np.where(inside[:, None], 0.35 * upper + 15.0, colors)
    return _painted(mesh, v, colors + 5.0 * _noise(v, 0.004, rng)[:, None])


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


# Tools --------------------------------------------------------------------------------------------


def _screwdriver(rng: np.random.Generator) -> Mesh:
    length, grip = rng.uniform(0.16, 0.28), rng.uniform(0.09, 0.115)
    radius, shaft = rng.uniform(0.012, 0.018), rng.uniform(0.0028, 0.0042)
    outline = [
        (0.0, 0.0), (0.8 * radius, 0.0), (radius, 0.1 * grip), (radius, 0.55 * grip),
        (0.68 * radius, 0.78 * grip), (0.8 * radius, 0.92 * grip), (0.75 * radius, grip),
        (shaft, grip), (shaft, length - 0.012), (0.8 * shaft, length), (0.0, length),
    ]
    grooves = int(rng.integers(5, 9))
    mesh = _lathe(_round_corners(outline, 0.006))
    v = mesh.vertices.astype(np.float64)
    turn = np.arctan2(v[:, 1], v[:, 0])
    held = (v[:, 2] > 0.05 * grip) & (v[:, 2] < 0.6 * grip)
    v[:, :2] *= (1.0 + 0.06 * held * np.cos(grooves * turn))[:, None]
    # The blade is flat.
    flat = np.clip((v[:, 2] - (length - 0.014)) / 0.014, 0.0, 1.0)
    v[:, 1] *= 1.0 - 0.7 * flat
    colors = np.where(v[:, 2:] < grip, _color(rng), np.array([150.0, 150.0, 155.0]))
    band = (v[:, 2] > 0.6 * grip) & (v[:, 2] < 0.9 * grip)
    colors = np.where(band[:, None], _color(rng), colors)
    ribs = held & (np.cos(grooves * turn) < -0.3)
    colors = np.where(ribs[:, None], 0.4 * colors, colors)
    return _painted(mesh, v[:, [2, 0, 1]], colors)


def _torch(rng: np.random.Generator) -> Mesh:
    length, radius = rng.uniform(0.12, 0.22), rng.uniform(0.012, 0.018)
    head = radius * rng.uniform(1.3, 1.8)
    outline = [
        (0.0, 0.0), (radius, 0.0), (radius, 0.62 * length), (head, 0.78 * length),
        (head, length), (0.88 * head, length), (0.8 * head, 0.97 * length),
        (0.0, 0.97 * length),
    ]
    mesh = _lathe(_round_corners(outline, 0.004))
    v = mesh.vertices.astype(np.float64)
    r = np.hypot(v[:, 0], v[:, 1])
    body = _color(rng)
    colors = np.broadcast_to(body, v.shape)
    knurl = (np.sin(v[:, 2] * 2.0 * np.pi / 0.008) > 0.2) & (v[:, 2] < 0.55 * length)
    colors = np.where(knurl[:, None], 0.65 * body, colors)
    lens = (v[:, 2] > 0.95 * length) & (r < 0.85 * head)
    colors = np.where(lens[:, None], np.array([235.0, 235.0, 215.0]), colors)
    switch = (np.abs(v[:, 2] - 0.5 * length) < 0.012) & (v[:, 0] > 0.75 * radius)
    colors = np.where(switch[:, None], _color(rng), colors)
    return _painted(mesh, v[:, [2, 1, 0]], colors)


def _hammer(rng: np.random.Generator) -> Mesh:
    length, head = rng.uniform(0.22, 0.33), rng.uniform(0.08, 0.12)
    radius = rng.uniform(0.010, 0.014)
    face = radius * rng.uniform(1.0, 1.35)
    wood, grip, steel = _color(rng), _color(rng), np.full(3, rng.uniform(70.0, 160.0))
    end = length - face
    parts = [
        _Part(_capsule((0, 0, 0), (0.45 * length, 0, 0), 1.25 * radius, 0.9 * radius), grip),
        _Part(_capsule((0.4 * length, 0, 0), (end, 0, 0), 0.9 * radius, 0.75 * radius), wood),
        _Part(_cylinder((end, -0.3 * head, 0), (0, 1, 0), face, 0.3 * head, 0.002), steel),
        _Part(
            _box((end, 0.32 * head, 0), (0.6 * face, 0.34 * head, 0.5 * face), 0.003), steel),
    ]
    return _assembled(parts, 0.003, rng, cell=0.0032)


def _spanner(rng: np.random.Generator) -> Mesh:
    length, jaw = rng.uniform(0.14, 0.26), rng.uniform(0.015, 0.022)
    thick = rng.uniform(0.0045, 0.007)
    steel = np.full(3, rng.uniform(120.0, 200.0)) if rng.random() < 0.7 else _color(rng)
    turn = np.radians(15.0)
    opening = np.array([np.cos(turn), np.sin(turn), 0.0])
    shaft = _box((length / 2, 0, 0), (length / 2, 0.38 * jaw, 0.8 * thick), 0.002)
    open_end = _cylinder((0, 0, 0), (0, 0, 1), 1.15 * jaw, thick, 0.0015)
    ring = _cylinder((length, 0, 0), (0, 0, 1), jaw, thick, 0.0015)
    slot = _box(tuple(-1.0 * jaw * opening), (1.1 * jaw, 0.48 * jaw, 1.0), 0.0, turn)
    hole = _cylinder((length, 0, 0), (0, 0, 1), 0.58 * jaw, 1.0, 0.0)

    def distance(p: NDArray[np.float32]) -> NDArray[np.float32]:
        whole = _smooth_union(_smooth_union(shaft(p), open_end(p), 0.004), ring(p), 0.004)
        return _smooth_cut(_smooth_cut(whole, slot(p), 0.0005), hole(p), 0.0005)

    mesh = _level_set(
        distance,
        (-1.3 * jaw, -1.3 * jaw, -1.4 * thick),
        (length + 1.15 * jaw, 1.3 * jaw, 1.4 * thick),
        0.3 * thick,
    )
    v = mesh.vertices.astype(np.float64)
    return _painted(mesh, v, steel + 8.0 * _noise(v, 0.006, rng)[:, None])


def _spoon(rng: np.random.Generator) -> Mesh:
    length, bowl_length = rng.uniform(0.17, 0.3), rng.uniform(0.05, 0.085)
    width, depth = bowl_length * rng.uniform(0.33, 0.42), rng.uniform(0.012, 0.02)
    grip = rng.uniform(0.005, 0.008)
    shell = 0.0055
    color, accent = _color(rng), _color(rng)
    outer = _ellipsoid((0, 0, depth), (bowl_length / 2, width, depth))
    inner = _ellipsoid(
        (0, 0, depth + 0.25 * shell), (bowl_length / 2 - shell, width - shell, depth - shell))
    stem = _capsule(
        (bowl_length / 2 - 0.006, 0, depth), (length, 0, 1.6 * depth), 0.8 * grip, 1.15 * grip)

    def distance(p: NDArray[np.float32]) -> NDArray[np.float32]:
        half = np.maximum(outer(p), p[:, 2] - np.float32(depth + 0.002))
        scoop = _smooth_cut(half, inner(p), 0.001)
        return _smooth_union(scoop, stem(p), 0.006)

    mesh = _level_set(
        distance,
        (-bowl_length / 2 - 0.005, -width - 0.005, -0.004),
        (length + 2.0 * grip, width + 0.005, 1.6 * depth + 2.0 * grip),
        0.0023,
    )
    v = mesh.vertices.astype(np.float64)
    colors = np.where(v[:, :1] > 0.55 * length, accent, color) if rng.random() < 0.6 else (
        np.broadcast_to(color, v.shape))
    return _painted(mesh, v, colors + 4.0 * _noise(v, 0.01, rng)[:, None])


def _brush(rng: np.random.Generator) -> Mesh:
    length, head = rng.uniform(0.16, 0.27), rng.uniform(0.05, 0.09)
    width, bristles = rng.uniform(0.012, 0.026), rng.uniform(0.015, 0.03)
    grip = rng.uniform(0.007, 0.011)
    body, hair = _color(rng), _color(rng, pale=0.4)
    parts = [
        _Part(_capsule((0, 0, 0), (length - head, 0, 0.004), grip, 0.75 * grip), body),
        _Part(_box((length - head / 2, 0, 0.004), (head / 2, width, 0.006), 0.005), body),
        _Part(
            _box(
                (length - head / 2, 0, -0.5 * bristles),
                (0.46 * head, 0.88 * width, 0.5 * bristles + 0.003),
                0.002,
            ),
            hair,
        ),
    ]
    return _assembled(parts, 0.004, rng, cell=0.003, grain=12.0)


# Toys ---------------------------------------------------------------------------------------------


def _animal(rng: np.random.Generator) -> Mesh:
    size = rng.uniform(0.05, 0.09)
    length, girth = size * rng.uniform(0.65, 1.0), size * rng.uniform(0.36, 0.52)
    leg, limb = size * rng.uniform(0.45, 0.85), size * rng.uniform(0.13, 0.2)
    neck, skull = size * rng.uniform(0.1, 0.8), size * rng.uniform(0.3, 0.42)
    coat, dark, pale = _color(rng), _color(rng), _color(rng, pale=0.8)
    head = np.array([length + 0.25 * skull, 0.0, 0.35 * girth + neck])
    nose = head + [rng.uniform(0.7, 1.3) * skull, 0.0, -0.25 * skull]
    parts = [
        _Part(_ellipsoid((0, 0, 0), (length, girth, girth)), coat),
        _Part(_capsule((0.7 * length, 0, 0), tuple(head), 0.7 * girth, 0.7 * skull), coat),
        _Part(_ellipsoid(tuple(head), (1.1 * skull, 0.9 * skull, skull)), coat),
        _Part(_capsule(tuple(head), tuple(nose), 0.6 * skull, 0.42 * skull), pale),
        _Part(
            _capsule(
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
            parts.append(_Part(_capsule(hip, foot, 1.2 * limb, limb), coat))
            parts.append(_Part(_ellipsoid(
                (foot[0] + 0.3 * limb, foot[1], foot[2]), (1.4 * limb, 1.1 * limb, 0.9 * limb)
            ), dark))
    ear = rng.uniform(0.35, 1.1) * skull
    for side in (-1.0, 1.0):
        tip = (head[0] - 0.3 * skull, side * 0.75 * skull, head[2] + 0.6 * skull + ear)
        root = (head[0] - 0.1 * skull, side * 0.5 * skull, head[2] + 0.5 * skull)
        parts.append(_Part(_capsule(root, tip, 0.32 * skull, 0.2 * skull), dark))
        parts.append(_Part(_ball(
            (head[0] + 0.75 * skull, side * 0.55 * skull, head[2] + 0.4 * skull), 0.17 * skull
        ), np.array([25.0, 25.0, 25.0])))
    return _assembled(parts, 0.12 * size, rng, spots=0.5)


def _duck(rng: np.random.Generator) -> Mesh:
    size = rng.uniform(0.03, 0.06)
    body, beak, wing = _color(rng), _hsv(rng.uniform(0.03, 0.1), 0.9, 0.95), _color(rng)
    head = (0.75 * size, 0, 1.25 * size)
    parts = [
        _Part(_ellipsoid((0, 0, 0), (1.25 * size, 0.85 * size, 0.75 * size)), body),
        _Part(_ball(head, 0.62 * size), body),
        _Part(_capsule((-0.9 * size, 0, 0.2 * size), (-1.45 * size, 0, 0.7 * size),
                       0.45 * size, 0.15 * size), body),
        _Part(_ellipsoid((1.4 * size, 0, 1.15 * size), (0.35 * size, 0.3 * size, 0.12 * size)),
              beak),
    ]
    for side in (-1.0, 1.0):
        parts.append(_Part(_ellipsoid((-0.2 * size, side * 0.8 * size, 0.15 * size),
                                      (0.7 * size, 0.2 * size, 0.4 * size)), wing))
        parts.append(_Part(_ball((1.2 * size, side * 0.33 * size, 1.45 * size), 0.11 * size),
                           np.array([20.0, 20.0, 20.0])))
    return _assembled(parts, 0.10 * size, rng)


def _bear(rng: np.random.Generator) -> Mesh:
    size = rng.uniform(0.04, 0.075)
    fur, pale, shirt = _color(rng), _color(rng, pale=0.8), _color(rng)
    parts = [
        _Part(_ellipsoid((0, 0, 0), (0.8 * size, 0.85 * size, size)), shirt),
        _Part(_ball((0.1 * size, 0, 1.5 * size), 0.72 * size), fur),
        _Part(_ellipsoid((0.7 * size, 0, 1.35 * size), (0.3 * size, 0.34 * size, 0.26 * size)),
              pale),
        _Part(_ball((0.98 * size, 0, 1.42 * size), 0.11 * size), np.array([20.0, 20.0, 20.0])),
    ]
    for side in (-1.0, 1.0):
        parts += [
            _Part(_ball((0, side * 0.6 * size, 2.05 * size), 0.28 * size), fur),
            _Part(_capsule((0.2 * size, side * 0.7 * size, 0.55 * size),
                           (0.7 * size, side * 1.15 * size, -0.1 * size),
                           0.3 * size, 0.26 * size), fur),
            _Part(_capsule((0.2 * size, side * 0.5 * size, -0.7 * size),
                           (1.25 * size, side * 0.65 * size, -0.85 * size),
                           0.36 * size, 0.32 * size), fur),
            _Part(_ball((0.66 * size, side * 0.28 * size, 1.68 * size), 0.1 * size),
                  np.array([20.0, 20.0, 20.0])),
        ]
    return _assembled(parts, 0.10 * size, rng, grain=10.0)


def _car(rng: np.random.Generator) -> Mesh:
    length = rng.uniform(0.07, 0.2)
    width, height = length * rng.uniform(0.38, 0.5), length * rng.uniform(0.13, 0.18)
    wheel = length * rng.uniform(0.1, 0.14)
    paint, glass, tyre = _color(rng), np.array([40.0, 55.0, 70.0]), np.full(3, 30.0)
    cabin = rng.uniform(0.1, 0.35) * length
    parts = [
        _Part(_box((0, 0, 0), (length / 2, width / 2, height / 2), 0.35 * height), paint),
        _Part(_box((-0.06 * length, 0, 0.85 * height), (cabin, 0.43 * width, 0.6 * height),
                   0.45 * height), glass),
        _Part(_box((-0.06 * length, 0, 1.38 * height), (0.85 * cabin, 0.38 * width,
                                                        0.12 * height), 0.1 * height), paint),
    ]
    for along in (-0.3, 0.3):
        for side in (-1.0, 1.0):
            parts.append(_Part(_cylinder(
                (along * length, side * 0.47 * width, -0.4 * height), (0, 1, 0), wheel,
                0.09 * width, 0.15 * wheel), tyre))
    return _assembled(parts, 0.03 * length, rng)


def _rings(rng: np.random.Generator) -> Mesh:
    radius, tube = rng.uniform(0.03, 0.06), rng.uniform(0.009, 0.015)
    count = int(rng.integers(3, 7))
    parts = [_Part(_cylinder((0, 0, 0.0), (0, 0, 1), 1.1 * radius, 0.006, 0.004), _color(rng))]
    z = 0.004
    for k in range(count):
        at = radius * (1.0 - 0.55 * k / count)
        z += 1.55 * tube if k else tube
        parts.append(_Part(_torus((0, 0, z), at - 0.5 * tube, tube), _color(rng)))
    parts.append(_Part(_capsule((0, 0, 0), (0, 0, z), 0.9 * tube, 0.9 * tube), _color(rng)))
    parts.append(_Part(_ball((0, 0, z + 1.3 * tube), 1.3 * tube), _color(rng)))
    return _assembled(parts, 0.003, rng)


# Signed distances: I. Quilez, "Distance functions", iquilezles.org/articles/distfunctions ----------


@dataclass(frozen=True)
class _Part:
    """A piece of an assembled object, with its colour."""

    distance: Distance
    color: Array


def _ball(center: Sequence[float], radius: float) -> Distance:
    middle = np.asarray(center, np.float32)
    return lambda p: _length(p - middle) - np.float32(radius)


def _ellipsoid(center: Sequence[float], radii: Sequence[float]) -> Distance:
    middle, r = np.asarray(center, np.float32), np.asarray(radii, np.float32)

    def distance(p: NDArray[np.float32]) -> NDArray[np.float32]:
        scaled = (p - middle) / r
        k0 = _length(scaled)
        # A bound, exact to first order at the surface.
        return k0 * (k0 - np.float32(1.0)) / np.maximum(_length(scaled / r), np.float32(1e-6))

    return distance


def _capsule(a: Sequence[float], b: Sequence[float], ra: float, rb: float) -> Distance:
    """Return a rod from ``a`` to ``b`` whose radius changes from ``ra`` to ``rb``."""
    start = np.asarray(a, np.float32)
    axis = np.asarray(b, np.float32) - start
    square = float(axis @ axis)

    def distance(p: NDArray[np.float32]) -> NDArray[np.float32]:
        t = np.clip((p - start) @ axis / np.float32(square), 0.0, 1.0)
        return _length(p - start - t[:, None] * axis) - (
            np.float32(ra) + np.float32(rb - ra) * t)

    return distance


def _box(
    center: Sequence[float], half: Sequence[float], radius: float, turn: float = 0.0
) -> Distance:
    """Return a box with round edges, turned about z by ``turn`` radians."""
    middle = np.asarray(center, np.float32)
    core = np.asarray(half, np.float32) - np.float32(radius)
    c, s = np.cos(turn), np.sin(turn)
    rotation = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]], np.float32)

    def distance(p: NDArray[np.float32]) -> NDArray[np.float32]:
        q = np.abs((p - middle) @ rotation) - core
        return _length(np.maximum(q, np.float32(0.0))) + np.minimum(
            q.max(axis=1), np.float32(0.0)) - np.float32(radius)

    return distance


def _cylinder(
    center: Sequence[float], axis: Sequence[float], radius: float, half: float, edge: float
) -> Distance:
    """Return a cylinder of length ``2 half`` whose edges have the radius ``edge``."""
    middle, direction = np.asarray(center, np.float32), np.asarray(axis, np.float32)

    def distance(p: NDArray[np.float32]) -> NDArray[np.float32]:
        q = p - middle
        along = q @ direction
        across = _length(q - along[:, None] * direction) - np.float32(radius - edge)
        beyond = np.abs(along) - np.float32(half - edge)
        zero = np.float32(0.0)
        return np.hypot(np.maximum(across, zero), np.maximum(beyond, zero)) + np.minimum(
            np.maximum(across, beyond), zero) - np.float32(edge)

    return distance


def _torus(center: Sequence[float], radius: float, tube: float) -> Distance:
    """Return a ring about z."""
    middle = np.asarray(center, np.float32)

    def distance(p: NDArray[np.float32]) -> NDArray[np.float32]:
        q = p - middle
        return np.hypot(np.hypot(q[:, 0], q[:, 1]) - np.float32(radius), q[:, 2]) - (
            np.float32(tube))

    return distance


def _length(p: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(np.sqrt(np.einsum('ij,ij->i', p, p)))


def _smooth_union(
    a: NDArray[np.float32], b: NDArray[np.float32], width: float
) -> NDArray[np.float32]:
    """Return the union whose seam is rounded over ``width`` (the polynomial smooth minimum)."""
    k = np.float32(max(width, 1e-9))
    h = np.maximum(k - np.abs(a - b), np.float32(0.0)) / k
    return np.asarray(np.minimum(a, b) - h * h * k * np.float32(0.25))


def _smooth_cut(
    a: NDArray[np.float32], b: NDArray[np.float32], width: float
) -> NDArray[np.float32]:
    """Return ``a`` without ``b``, the edge rounded over ``width``."""
    return -_smooth_union(-a, b, width)


def _tabulated(
    polygon: ArrayLike, first: tuple[float, float], second: tuple[float, float]
) -> Callable[[NDArray[np.float32], NDArray[np.float32]], NDArray[np.float32]]:
    """Return the signed distance to a plane polygon (n, 2), from a fine table over a range."""
    corners = np.asarray(polygon, np.float64)
    u, v, table = _distance_table(np.vstack([corners, corners[:1]]), first, second)
    contour = np.stack(
        [(corners[:, 0] - u[0]) / (u[1] - u[0]), (corners[:, 1] - v[0]) / (v[1] - v[0])], axis=1
    )
    # Even-odd rule over the polygon's edges, for each node of the table.
    inside = np.zeros(table.shape, bool)
    x, y = np.meshgrid(np.arange(len(u)), np.arange(len(v)))
    for (ax, ay), (bx, by) in zip(contour, np.roll(contour, -1, axis=0)):
        crosses = (ay > y) != (by > y)
        if ay != by:
            inside ^= crosses & (x < (bx - ax) * (y - ay) / (by - ay) + ax)
    return _lookup(u, v, np.where(inside, -table, table).astype(np.float32))


def _tabulated_line(
    line: ArrayLike, first: tuple[float, float], second: tuple[float, float]
) -> Callable[[NDArray[np.float32], NDArray[np.float32]], NDArray[np.float32]]:
    """Return the distance to a plane polyline (n, 2), from a fine table over a range."""
    u, v, table = _distance_table(np.asarray(line, np.float64), first, second)
    return _lookup(u, v, table.astype(np.float32))


def _distance_table(
    line: Array, first: tuple[float, float], second: tuple[float, float]
) -> tuple[Array, Array, Array]:
    step = 0.0007
    u, v = np.arange(*first, step), np.arange(*second, step)
    x, y = np.meshgrid(u.astype(np.float32), v.astype(np.float32))
    best = np.full(x.shape, np.inf, np.float32)
    for a, b in zip(line[:-1].astype(np.float32), line[1:].astype(np.float32)):
        axis = b - a
        square = max(float(axis @ axis), 1e-12)
        t = np.clip(((x - a[0]) * axis[0] + (y - a[1]) * axis[1]) / square, 0.0, 1.0)
        np.minimum(best, (x - a[0] - t * axis[0]) ** 2 + (y - a[1] - t * axis[1]) ** 2, out=best)
    return u, v, np.sqrt(best)


def _lookup(
    u: Array, v: Array, table: NDArray[np.float32]
) -> Callable[[NDArray[np.float32], NDArray[np.float32]], NDArray[np.float32]]:
    scale_u, scale_v = np.float32(1.0 / (u[1] - u[0])), np.float32(1.0 / (v[1] - v[0]))

    def distance(x: NDArray[np.float32], y: NDArray[np.float32]) -> NDArray[np.float32]:
        # remap takes at most 32767 rows of an image.
        at = [((x - np.float32(u[0])) * scale_u), ((y - np.float32(v[0])) * scale_v)]
        rows = -(-len(x) // 1024)
        padded = [np.resize(values, rows * 1024).reshape(rows, 1024) for values in at]
        values = cv2.remap(
            table, padded[0], padded[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        return np.asarray(values.reshape(-1)[:len(x)])

    return distance


# Surfaces -----------------------------------------------------------------------------------------


def _assembled(
    parts: Sequence[_Part],
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
            whole = _smooth_union(whole, part.distance(p), blend)
        return whole

    low, high = _bounds(distance)
    mesh = _level_set(distance, low, high, cell or float((high - low).max()) / 46.0)
    v = mesh.vertices.astype(np.float64)
    nearest = np.argmin([part.distance(mesh.vertices) for part in parts], axis=0)
    colors = np.stack([part.color for part in parts])[nearest]
    if rng.random() < spots:
        marks = _noise(v, rng.uniform(0.012, 0.03), rng) > 0.8
        colors = np.where(marks[:, None] & (nearest == 0)[:, None], _color(rng), colors)
    return _painted(mesh, v, colors + grain * _noise(v, 0.004, rng)[:, None])


def _bounds(distance: Distance) -> tuple[Array, Array]:
    """Return the corners of a box around the level set, which lies within 0.4 m of the origin."""
    step = 0.02
    axis = np.arange(-0.4, 0.4 + step, step, dtype=np.float32)
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing='ij'), axis=-1).reshape(-1, 3)
    # Cells whose nodes are this near may hold surface.
    near = grid[distance(grid) < 0.9 * step]
    return near.min(axis=0) - 0.1 * step, near.max(axis=0) + 0.1 * step


def _level_set(distance: Distance, low: ArrayLike, high: ArrayLike, cell: float) -> Mesh:
    """Return the zero level set inside a box, simplified; colours are grey yet."""
    import fast_simplification
    from skimage.measure import marching_cubes

    start = np.asarray(low, np.float64)
    counts = np.ceil((np.asarray(high, np.float64) - start) / cell).astype(int) + 2
    axes = [(start[k] + cell * np.arange(counts[k])).astype(np.float32) for k in range(3)]
    grid = np.empty((*counts, 3), np.float32)
    grid[..., 0], grid[..., 1], grid[..., 2] = (
        axes[0][:, None, None], axes[1][None, :, None], axes[2][None, None, :])
    field = distance(grid.reshape(-1, 3)).reshape(counts)
    # Nothing may leave the box, or the surface would be open.
    field = np.pad(field[1:-1, 1:-1, 1:-1], 1, constant_values=cell)
    # A level just through a node makes slivers.
    field = np.where(np.abs(field) < 1e-3 * cell, np.float32(1e-3 * cell), field)
    vertices, faces, _, _ = marching_cubes(field, 0.0, spacing=(cell, cell, cell))
    vertices = _onto(distance, (vertices + start).astype(np.float32), cell)
    faces = faces.astype(np.int32)
    if len(faces) > _LEVEL_SET_FACES:
        vertices, faces = fast_simplification.simplify(
            vertices, faces, target_count=_LEVEL_SET_FACES, agg=3.0
        )
        vertices = _onto(distance, vertices.astype(np.float32), cell)
    grey = np.full((len(vertices), 3), 128, np.uint8)
    return _outward(Mesh(vertices.astype(np.float32), faces.astype(np.int32), grey))


def _onto(
    distance: Distance, vertices: NDArray[np.float32], cell: float
) -> NDArray[np.float32]:
    """Return vertices (n, 3) moved onto the level set by one Newton step, a quarter cell long."""
    step = np.float32(0.05 * cell)
    value = distance(vertices)
    slope = np.stack(
        [distance(vertices + step * axis) - value for axis in np.eye(3, dtype=np.float32)], axis=1
    ) / step
    square = np.maximum(np.einsum('ij,ij->i', slope, slope), np.float32(0.25))
    limit = np.float32(0.25 * cell)
    return vertices - np.clip(value / square, -limit, limit)[:, None] * slope


def _lathe(profile: ArrayLike, section: Array | None = None) -> Mesh:
    """Return the surface of revolution of a profile (k, 2) of radius and z, from axis to axis.

    ``section`` (n, 2) is the ring of radius 1 that is turned, a circle by default.
    """
    points = _resample(np.asarray(profile, np.float64), _ALONG)
    ring = _superellipse(2.0) if section is None else section
    inner = points[1:-1]
    rings = np.empty((len(inner), len(ring), 3))
    rings[..., :2] = np.maximum(inner[:, :1, None], 2e-4) * ring
    rings[..., 2] = inner[:, 1:]
    return _loft(rings, (0.0, 0.0, points[0, 1]), (0.0, 0.0, points[-1, 1]))


def _loft(
    rings: Array, first: ArrayLike | None = None, last: ArrayLike | None = None
) -> Mesh:
    """Return the closed surface through rings (k, n, 3), ends drawn together to a point each."""
    count, around = rings.shape[:2]
    poles = [
        np.asarray(pole if pole is not None else ring.mean(axis=0), np.float64)
        for pole, ring in ((first, rings[0]), (last, rings[-1]))
    ]
    corner = np.arange(count * around).reshape(count, around)
    beside = np.roll(corner, -1, axis=1)
    a, b, c, d = corner[:-1], beside[:-1], beside[1:], corner[1:]
    bottom, top = count * around, count * around + 1
    faces = np.concatenate(
        [
            np.stack([a, b, c], axis=-1).reshape(-1, 3),
            np.stack([a, c, d], axis=-1).reshape(-1, 3),
            np.stack([beside[0], corner[0], np.full(around, bottom)], axis=-1),
            np.stack([corner[-1], beside[-1], np.full(around, top)], axis=-1),
        ]
    )
    vertices = np.concatenate([rings.reshape(-1, 3), np.stack(poles)])
    return _outward(
        Mesh(
            vertices.astype(np.float32),
            faces.astype(np.int32),
            np.full((len(vertices), 3), 128, np.uint8),
        )
    )


def _rounded_box(size: ArrayLike, radius: float) -> Mesh:
    """Return a box centred at the origin whose edges have ``radius``; finest at the edges."""
    extent = np.asarray(size, np.float64)
    core = extent / 2.0 - radius
    count = 30
    # A grid over the faces of a cube; its nodes go to the box, pressed towards the edges, and
    # those of the outermost cells round the edge.
    node = np.arange(count + 1)
    i, j = np.meshgrid(node, node, indexing='ij')
    quads, points = [], []
    for axis in range(3):
        for end in (0, count):
            grid = np.empty((count + 1, count + 1, 3), np.intp)
            grid[..., axis] = end
            grid[..., (axis + 1) % 3], grid[..., (axis + 2) % 3] = i, j
            index = np.arange(grid[..., 0].size).reshape(i.shape) + len(points) * i.size
            quad = np.stack(
                [index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]], axis=-1)
            quads.append((quad if end else quad[..., ::-1]).reshape(-1, 4))
            points.append(grid.reshape(-1, 3))
    nodes, back = np.unique(np.concatenate(points), axis=0, return_inverse=True)
    quad = back.reshape(-1)[np.concatenate(quads)]
    faces = np.concatenate([quad[:, [0, 1, 2]], quad[:, [0, 2, 3]]])
    # The three outermost steps of each axis span the rounding, the rest the flat.
    bend = np.tan(np.linspace(-1.0, 1.0, 2 * 3 + 1)[3:] * np.pi / 4.0)
    ramp = np.empty((3, count + 1))
    shell = np.empty(count + 1)
    shell[:4], shell[-4:], shell[4:-4] = -bend[::-1], bend, 0.0
    for axis in range(3):
        ramp[axis] = 0.0
        ramp[axis, 3:-3] = np.linspace(-core[axis], core[axis], count - 5)
        ramp[axis, :3], ramp[axis, -3:] = -core[axis], core[axis]
    inside = np.stack([ramp[k][nodes[:, k]] for k in range(3)], axis=1)
    direction = np.stack([shell[nodes[:, k]] for k in range(3)], axis=1)
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    vertices = inside + radius * direction
    return _outward(
        Mesh(
            vertices.astype(np.float32),
            faces.astype(np.int32),
            np.full((len(vertices), 3), 128, np.uint8),
        )
    )


def _superellipse(power: float) -> Array:
    """Return a ring (n, 2): |x|^p + |y|^p = 1, a circle for 2, nearly a square for 6."""
    angle = 2.0 * np.pi * np.arange(_AROUND) / _AROUND
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return ring / (np.abs(ring) ** power).sum(axis=1, keepdims=True) ** (1.0 / power)


def _round_corners(line: ArrayLike, radius: float) -> Array:
    """Return a polyline (n, 2) whose sharp corners are cut by parabolas ``radius`` wide."""
    points = np.asarray(line, np.float64)
    rounded = [points[:1]]
    t = np.linspace(0.0, 1.0, 4)[:, None]
    for before, corner, after in zip(points[:-2], points[1:-1], points[2:]):
        into, out = corner - before, after - corner
        cosine = into @ out / max(float(np.linalg.norm(into) * np.linalg.norm(out)), 1e-12)
        if cosine > 0.94:
            # A bend of less than 20 degrees is part of a curve.
            rounded.append(corner[None])
            continue
        reach = []
        for other in (before, after):
            length = float(np.linalg.norm(other - corner))
            reach.append(corner + (other - corner) * min(radius, 0.45 * length) / max(length, 1e-9))
        rounded.append(
            (1.0 - t) ** 2 * reach[0] + 2.0 * t * (1.0 - t) * corner + t ** 2 * reach[1])
    return np.concatenate([*rounded, points[-1:]])


def _resample(line: Array, count: int) -> Array:
    """Return a polyline with all its corners and about ``count`` points, evenly spread."""
    steps = np.linalg.norm(np.diff(line, axis=0), axis=1)
    line = line[np.concatenate([[True], steps > 1e-6])]
    steps = steps[steps > 1e-6]
    spacing = steps.sum() / max(count - 0.5 * len(steps), 0.4 * count)
    pieces = [
        a + (b - a) * np.arange(number)[:, None] / number
        for a, b, number in zip(line[:-1], line[1:], np.maximum(np.rint(steps / spacing), 1))
    ]
    return np.concatenate([*pieces, line[-1:]])


def _stand(mesh: Mesh) -> Mesh:
    """Return the mesh with its lowest point at z = 0 and its middle over the origin."""
    low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
    shift = np.array([(low[0] + high[0]) / 2.0, (low[1] + high[1]) / 2.0, low[2]], np.float32)
    return Mesh(mesh.vertices - shift, mesh.faces, mesh.colors)


def _outward(mesh: Mesh) -> Mesh:
    if mesh.volume() >= 0.0:
        return mesh
    return Mesh(mesh.vertices, np.ascontiguousarray(mesh.faces[:, ::-1]), mesh.colors)


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


# Colour -------------------------------------------------------------------------------------------


def _painted(mesh: Mesh, vertices: ArrayLike, colors: ArrayLike) -> Mesh:
    return _outward(
        Mesh(
            np.ascontiguousarray(vertices, np.float32),
            mesh.faces,
            np.clip(np.rint(colors), 0.0, 255.0).astype(np.uint8),
        )
    )


def _hsv(hue: float, saturation: float, value: float) -> Array:
    """Return RGB 0..255 of hue, saturation and value in 0..1."""
    k = (np.array([5.0, 3.0, 1.0]) + 6.0 * hue) % 6.0
    return 255.0 * value * (1.0 - saturation * np.clip(np.minimum(k, 4.0 - k), 0.0, 1.0))


def _color(rng: np.random.Generator, pale: float = 0.25) -> Array:
    """Return a colour that things are sold in; ``pale`` is the share of whites, greys, blacks."""
    if rng.random() < pale:
        return _hsv(rng.uniform(0.0, 1.0), rng.uniform(0.0, 0.12),
                    rng.choice([rng.uniform(0.12, 0.3), rng.uniform(0.75, 0.97)], p=[0.3, 0.7]))
    return _hsv(rng.uniform(0.0, 1.0), rng.uniform(0.35, 0.9), rng.uniform(0.35, 0.95))


def _noise(points: Array, scale: float, rng: np.random.Generator) -> Array:
    """Return a smooth field of deviation about 1 at points (n, 3), features ``scale`` metres."""
    field = np.zeros(len(points))
    for _ in range(6):
        wave = rng.standard_normal(3)
        wave *= 2.0 * np.pi / (scale * rng.uniform(1.2, 3.0) * np.linalg.norm(wave))
        field += np.sin(points @ wave + rng.uniform(0.0, 2.0 * np.pi))
    return field / np.sqrt(3.0)


def _decorate(colors: ArrayLike, vertices: ArrayLike, rng: np.random.Generator) -> Array:
    """Return colours with a pattern of the kinds that crockery has."""
    v = np.asarray(vertices, np.float64)
    base = np.asarray(colors, np.float64)
    low, high = v[:, 2].min(), v[:, 2].max()
    height = (v[:, 2] - low) / max(high - low, 1e-9)
    turn = np.arctan2(v[:, 1], v[:, 0])
    ink = _color(rng)
    kind = rng.choice(['bands', 'stripes', 'dots', 'dip', 'fade', 'marble', 'speckle', 'plain'])
    amount = np.zeros(len(v))
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
        amount = np.clip(0.5 + 0.7 * _noise(v, rng.uniform(0.03, 0.08), rng), 0.0, 1.0)
    elif kind == 'speckle':
        amount = (_noise(v, 0.006, rng) > 1.3).astype(float) * 0.8
    return base + (ink - base) * amount[:, None]


def _wrap_label(
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
    picture = _print(rng, 160 // repeats, 80)
    on = (across < 1.0) & (up >= 0.0) & (up <= 1.0)
    return np.where(on[:, None], _sample(picture, (across * repeats) % 1.0, up), base)


def _print_box(
    vertices: Array, size: ArrayLike, rng: np.random.Generator, pages: bool
) -> Array:
    """Return colours of a printed box: big faces alike, the others in its second colour."""
    extent = np.asarray(size, np.float64)
    place = vertices / extent + 0.5
    side = np.argmax(np.abs(vertices) / extent, axis=1)
    theme = (_color(rng), _color(rng), _color(rng))
    thin = int(np.argmin(extent))
    colors = np.empty(vertices.shape)
    for axis in range(3):
        # On upright faces the print stands upright.
        across, up = {0: (1, 2), 1: (0, 2), 2: (0, 1)}[axis]
        ratio = extent[across] / extent[up]
        height = int(np.clip(96 / np.sqrt(ratio), 40, 160))
        width = int(np.clip(ratio * height, 32, 200))
        picture = _print(rng, width, height, theme, busy=axis == thin)
        on = side == axis
        u = np.where(vertices[:, axis] > 0.0, place[:, across], 1.0 - place[:, across])
        colors[on] = _sample(picture, u[on], place[on, up])
    if pages:
        # Paper between the covers, on three of the four narrow sides.
        paper = (np.abs(place[:, 2] - 0.5) < 0.4) & (side != 2) & (place[:, 0] > 0.04)
        colors[paper] = np.array([232.0, 226.0, 208.0])
    return colors


def _print(
    rng: np.random.Generator,
    width: int,
    height: int,
    theme: tuple[Array, Array, Array] | None = None,
    busy: bool = True,
) -> NDArray[np.uint8]:
    """Return a picture like the print on packaging: fields, emblem, lettering, small print.

    The letters are strokes of no script, so that nothing real is copied.
    """
    ground, ink, extra = theme or (_color(rng), _color(rng), _color(rng))
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
        axes = (int(rng.integers(4, max(5, width // 3))), int(rng.integers(4, max(5, height // 3))))
        color = tuple_of(_color(rng) if rng.random() < 0.4 else extra)
        cv2.ellipse(picture, center, axes, float(rng.uniform(0, 180)), 0, 360, color, -1)
    # The name in big letters.
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


def _sample(picture: NDArray[np.uint8], across: Array, up: Array) -> Array:
    """Return the picture's colours at shares of its width from the left and height from below."""
    height, width = picture.shape[:2]
    x = (across * (width - 1)).astype(np.float32)[:, None]
    y = ((1.0 - up) * (height - 1)).astype(np.float32)[:, None]
    if not len(x):
        return np.zeros((0, 3))
    return np.asarray(
        cv2.remap(picture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[:, 0],
        np.float64,
    )
