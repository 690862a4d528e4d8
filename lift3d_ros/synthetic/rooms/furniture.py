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

"""Furniture of synthetic rooms: cuboids with a material, and what is made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike
from numpy.typing import NDArray

from lift3d_ros.geometry import Array
from lift3d_ros.geometry import Floats
from lift3d_ros.geometry import invert
from lift3d_ros.geometry import rigid
from lift3d_ros.geometry import transform
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.synthetic.clutter import turn_about_z

#: Side of the cells of a surface that carry its colours, metres, and cells along a side at most.
_CELL_M, _MAX_CELLS = 0.04, 48

#: Thickness of the boards of tables and shelves, metres.
BOARD_M = 0.025


@dataclass(frozen=True)
class Material:
    """
    Colours of a surface at each of its points.

    - ``base``: RGB 0 to 255; ``kind``: of ``KINDS``.
    - ``period``: metres; ``turn``: radians of the pattern; ``contrast``: share of the base.
    """

    base: tuple[float, float, float]
    kind: str = 'plain'
    period: float = 0.2
    turn: float = 0.0
    contrast: float = 0.1

    def colors(self, points: Array, rng: np.random.Generator) -> NDArray[np.uint8]:
        """Return the colours (n, 3) at points (n, 3), metres."""
        c, s = np.cos(self.turn), np.sin(self.turn)
        x, y, z = points.T / self.period
        # The height takes part, so that the pattern goes on around the edges.
        along, across = c * x + s * y + 0.3 * z, c * y - s * x + z
        if self.kind == 'boards':
            shade = np.sin(2.0 * np.pi * across + 0.7 * np.sin(along))
        elif self.kind == 'tiles':
            shade = 1.0 - 2.0 * ((np.floor(along) + np.floor(across)) % 2)
        elif self.kind == 'speckled':
            shade = rng.standard_normal(len(points))
        else:
            shade = np.zeros(len(points))
        value = np.asarray(self.base) * (1.0 + self.contrast * shade[:, None])
        return np.clip(np.rint(value), 0, 255).astype(np.uint8)


#: Kinds of materials.
KINDS = ('plain', 'boards', 'tiles', 'speckled')


def draw_material(rng: np.random.Generator, low: float = 50.0, high: float = 235.0) -> Material:
    """Return a random material, half of them plain."""
    kind = str(rng.choice(KINDS, p=(0.5, 0.2, 0.12, 0.18)))
    base = rng.uniform(low, high) * (1.0 + rng.uniform(-0.25, 0.25, 3))
    r, g, b = np.clip(base, 0.0, 255.0)
    return Material(
        (float(r), float(g), float(b)), kind, float(rng.uniform(0.12, 0.5)),
        float(rng.uniform(0.0, np.pi)), float(rng.uniform(0.03, 0.18)))


@dataclass(frozen=True, eq=False)
class Cuboid:
    """
    A full box with a material.

    - ``size``: (3,) metres along its axes; ``T_room_box``: (4, 4), its middle and axes.
    """

    size: Array
    T_room_box: Array
    material: Material

    def moved(self, T: Array) -> Cuboid:
        """Return it in the frame that ``T`` (4, 4) maps to."""
        return replace(self, T_room_box=T @ self.T_room_box)

    def contains(self, points: Floats, margin: float = 0.0) -> NDArray[np.bool_]:
        """Return which points (n, 3) are inside, or up to ``margin`` metres from it."""
        local = np.abs(transform(invert(self.T_room_box), points))
        return np.asarray((local <= 0.5 * self.size + margin).all(axis=1))

    def mesh(self, rng: np.random.Generator) -> Mesh:
        """Return its surface, closed but for the seams between its sides."""
        vertices, faces, count = [], [], 0
        for axis in range(3):
            u, v = (axis + 1) % 3, (axis + 2) % 3
            cells = [
                int(np.clip(np.ceil(self.size[side] / _CELL_M), 1, _MAX_CELLS)) for side in (u, v)]
            a, b = np.meshgrid(
                *(np.linspace(-0.5, 0.5, n + 1) for n in cells), indexing='ij')
            corner = np.arange((cells[0] + 1) * (cells[1] + 1)).reshape(a.shape)
            p, q = corner[:-1, :-1].ravel(), corner[1:, :-1].ravel()
            r, s = corner[1:, 1:].ravel(), corner[:-1, 1:].ravel()
            for sign in (1.0, -1.0):
                points = np.empty((a.size, 3))
                points[:, axis] = 0.5 * sign * self.size[axis]
                points[:, u] = a.ravel() * self.size[u]
                points[:, v] = b.ravel() * self.size[v]
                turned = np.concatenate(
                    [np.stack([p, q, r], axis=1), np.stack([p, r, s], axis=1)])
                vertices.append(points)
                faces.append((turned if sign > 0.0 else turned[:, ::-1]) + count)
                count += len(points)
        local = np.concatenate(vertices)
        return Mesh(
            transform(self.T_room_box, local).astype(np.float32),
            np.concatenate(faces).astype(np.int32), self.material.colors(local, rng))


def cuboid(size: ArrayLike, bottom: ArrayLike, material: Material, turn: float = 0.0) -> Cuboid:
    """Return a box from the middle (3,) of its lower side, turned by ``turn`` radians."""
    size = np.asarray(size, np.float64)
    middle = np.asarray(bottom, np.float64) + (0.0, 0.0, 0.5 * size[2])
    return Cuboid(size, rigid(turn_about_z(turn), middle), material)


def table(size: ArrayLike, rng: np.random.Generator) -> list[Cuboid]:
    """Return a table of ``size`` (3,) metres around the z axis: legs or a body under its top."""
    width, depth, height = np.asarray(size, np.float64)
    top, rest = draw_material(rng), draw_material(rng)
    parts = [cuboid((width, depth, BOARD_M), (0.0, 0.0, height - BOARD_M), top)]
    if rng.random() < 0.35:
        inset = rng.uniform(0.0, 0.05)
        parts.append(cuboid(
            (width - inset, depth - inset, height - BOARD_M), (0.0, 0.0, 0.0), rest))
        return parts
    leg = rng.uniform(0.03, 0.07)
    for x in (-1.0, 1.0):
        for y in (-1.0, 1.0):
            place = (0.5 * x * (width - leg), 0.5 * y * (depth - leg), 0.0)
            parts.append(cuboid((leg, leg, height - BOARD_M), place, rest))
    return parts


def shelf(size: ArrayLike, boards: int, rng: np.random.Generator) -> list[Cuboid]:
    """
    Return a shelf of ``size`` (3,) metres around the z axis that is open towards -y.

    The first ``boards`` parts are its boards, from below; then come the sides and the back.
    """
    width, depth, height = np.asarray(size, np.float64)
    material = draw_material(rng)
    levels = np.linspace(0.0, height - BOARD_M, boards)
    parts = [
        cuboid((width, depth, BOARD_M), (0.0, 0.0, level), material) for level in levels]
    for side in (-1.0, 1.0):
        parts.append(cuboid(
            (BOARD_M, depth, height), (0.5 * side * (width + BOARD_M), 0.0, 0.0), material))
    back = material if rng.random() < 0.6 else draw_material(rng)
    parts.append(cuboid(
        (width + 2.0 * BOARD_M, 0.012, height), (0.0, 0.5 * depth + 0.006, 0.0), back))
    return parts


def shell(
    half_width: float, ahead: float, behind: float, height: float, rng: np.random.Generator
) -> list[Cuboid]:
    """Return floor and four walls; the far wall is at y = ``ahead``, metres."""
    thick = 0.12
    floor, wall = draw_material(rng), draw_material(rng, 110.0, 245.0)
    middle, length = 0.5 * (ahead - behind), ahead + behind
    parts = [cuboid((2.0 * half_width + 1.0, length + 1.0, thick), (0.0, middle, -thick), floor)]
    for sign in (-1.0, 1.0):
        parts.append(cuboid(
            (thick, length, height), (sign * (half_width + 0.5 * thick), middle, 0.0),
            wall if rng.random() < 0.6 else draw_material(rng, 110.0, 245.0)))
    for y in (ahead + 0.5 * thick, -behind - 0.5 * thick):
        parts.append(cuboid((2.0 * (half_width + thick), thick, height), (0.0, y, 0.0), wall))
    return parts


def carton(rng: np.random.Generator, low: float, high: float) -> tuple[Array, Material]:
    """Return the size of a carton, each side from ``low`` to ``high`` metres, and its material."""
    return rng.uniform(low, high, 3), draw_material(rng)


def moved(parts: Sequence[Cuboid], x: float, y: float, turn: float) -> list[Cuboid]:
    """Return parts turned by ``turn`` radians about z and moved to (x, y)."""
    T = rigid(turn_about_z(turn), (x, y, 0.0))
    return [part.moved(T) for part in parts]
