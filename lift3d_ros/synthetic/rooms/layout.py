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

"""Random rooms: a table, a shelf or a whole room, with objects, cartons and walls."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.geometry import Array
from lift3d_ros.geometry import Floats
from lift3d_ros.geometry import rigid
from lift3d_ros.geometry import transform
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.meshing.render import Light
from lift3d_ros.meshing.render import Raycaster
from lift3d_ros.synthetic.appearance import draw_light
from lift3d_ros.synthetic.clutter import standing_at
from lift3d_ros.synthetic.clutter import turn_about_z
from lift3d_ros.synthetic.rooms import furniture
from lift3d_ros.synthetic.rooms.furniture import Cuboid

#: Kinds of rooms: what the camera looks at.
KINDS = ('table', 'shelf', 'room')

#: Gap between two things that stand side by side, metres.
_GAP_M = 0.015

#: Longest side of an object of a data set, metres; a larger one is scaled to it.
_LONGEST_M = 0.4


@dataclass(frozen=True, eq=False)
class Room:
    """
    A room with z up, the floor at z = 0, metres.

    - ``kind``: of ``KINDS``; ``furniture``: full boxes; ``objects``: closed meshes.
    - ``focus``: (3,), the middle of what the camera looks at, which opens towards -y;
      ``reach``: half the extent of that, metres.
    - ``light``: in the frame of the room.
    """

    kind: str
    furniture: tuple[Cuboid, ...]
    objects: tuple[Mesh, ...]
    focus: Array
    reach: float
    light: Light
    seed: int

    @cached_property
    def meshes(self) -> list[Mesh]:
        """The surfaces: those of the objects, then those of the furniture."""
        rng = np.random.default_rng([self.seed, 0xC0102])
        return [*self.objects, *(part.mesh(rng) for part in self.furniture)]

    @cached_property
    def raycaster(self) -> Raycaster:
        """All surfaces; the instance of an object is its index."""
        return Raycaster(self.meshes)

    def contains(self, points: Floats) -> NDArray[np.bool_]:
        """Return which points (n, 3) are inside of something, bool (n,)."""
        points = np.asarray(points, np.float64)
        inside = np.zeros(len(points), bool)
        for part in self.furniture:
            inside |= part.contains(points)
        for mesh in self.objects:
            low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
            near = np.flatnonzero(((points >= low) & (points <= high)).all(axis=1) & ~inside)
            if len(near):
                inside[near] = Raycaster([mesh]).contains(points[near], 3)
        return inside


def make_room(
    seed: int,
    draw_object: Callable[[np.random.Generator], Mesh],
    kind: str | None = None,
    objects: tuple[int, int] = (3, 7),
) -> Room:
    """
    Return a random room of a seed.

    ``draw_object`` returns closed z-up meshes in metres; ``objects`` are the least and the largest
    number of them. ``kind`` is drawn unless it is given.
    """
    rng = np.random.default_rng([seed, 0x8007])
    kind = str(rng.choice(KINDS, p=(0.5, 0.2, 0.3))) if kind is None else kind
    count = int(rng.integers(objects[0], objects[1] + 1))
    things = [_small(draw_object(rng)) for _ in range(count)]
    make = {'table': _table_top, 'shelf': _shelf, 'room': _whole_room}[kind]
    parts, placed, focus, reach = make(things, rng)
    return Room(kind, tuple(parts), tuple(placed), focus, reach, draw_light(rng), seed)


_Made = tuple[list[Cuboid], list[Mesh], Array, float]


def _table_top(things: Sequence[Mesh], rng: np.random.Generator) -> _Made:
    """Return a table with objects and cartons, seen from near."""
    width, depth, height = rng.uniform(0.7, 1.5), rng.uniform(0.5, 0.9), rng.uniform(0.6, 0.95)
    parts = furniture.table((width, depth, height), rng)
    objects, cartons = _on_top(things, width, depth, height, rng, int(rng.integers(0, 4)))
    turn = rng.uniform(-0.5, 0.5)
    parts = furniture.moved([*parts, *cartons], 0.0, 0.0, turn)
    objects = [mesh.transformed(rigid(turn_about_z(turn), np.zeros(3))) for mesh in objects]
    # The wall is behind the corners of the table.
    away = 0.5 * float(np.hypot(width, depth)) + rng.uniform(0.0, 1.6)
    side = 0.5 * float(np.hypot(width, depth)) + rng.uniform(0.05, 2.0)
    parts += furniture.shell(side, away, 3.0, rng.uniform(2.3, 3.0), rng)
    parts += _along_the_wall(side, away, away - 0.5 * np.hypot(width, depth), rng)
    focus = np.array([*rng.uniform(-0.12, 0.12, 2), height + 0.06])
    return parts, objects, focus, 0.4 * width


def _shelf(things: Sequence[Mesh], rng: np.random.Generator) -> _Made:
    """Return a shelf with objects and cartons on its boards."""
    width, depth = rng.uniform(0.6, 1.2), rng.uniform(0.24, 0.42)
    boards = int(rng.integers(3, 6))
    spacing = rng.uniform(0.26, 0.42)
    height = (boards - 1) * spacing + furniture.BOARD_M
    parts = furniture.shelf((width, depth, height), boards, rng)
    objects: list[Mesh] = []
    share = np.array_split(rng.permutation(len(things)), boards)
    for board in range(boards):
        level = board * spacing + furniture.BOARD_M
        low = [things[i] for i in share[board]
               if np.ptp(things[i].vertices[:, 2]) < spacing - furniture.BOARD_M - 0.02]
        stood, cartons = _on_top(
            low, width, depth, level, rng, int(rng.integers(0, 3)),
            spacing - furniture.BOARD_M - 0.02)
        objects += stood
        parts += cartons
    ahead = 0.5 * depth + 0.012 + rng.uniform(0.0, 0.1)
    side = 0.5 * width + furniture.BOARD_M + rng.uniform(0.02, 1.5)
    parts += furniture.shell(side, ahead, 3.0, rng.uniform(2.3, 3.0), rng)
    focus = np.array([0.0, 0.0, np.clip(rng.uniform(0.5, 0.8) * height, 0.3, 1.3)])
    return parts, objects, focus, 0.5 * width


def _whole_room(things: Sequence[Mesh], rng: np.random.Generator) -> _Made:
    """Return a table, cartons on the floor, cabinets and a shelf in a room."""
    width, depth, height = rng.uniform(0.7, 1.4), rng.uniform(0.5, 0.8), rng.uniform(0.5, 0.85)
    objects, cartons = _on_top(things, width, depth, height, rng, int(rng.integers(0, 4)))
    turn = rng.uniform(-0.8, 0.8)
    parts = furniture.moved(
        [*furniture.table((width, depth, height), rng), *cartons], 0.0, 0.0, turn)
    objects = [mesh.transformed(rigid(turn_about_z(turn), np.zeros(3))) for mesh in objects]
    radius = 0.5 * float(np.hypot(width, depth))
    away, side = radius + rng.uniform(0.3, 1.6), radius + rng.uniform(0.5, 1.8)
    parts += furniture.shell(side, away, 4.0, rng.uniform(2.3, 3.0), rng)
    parts += _along_the_wall(side, away, away - radius, rng)
    taken: list[tuple[Array, float]] = [(np.zeros(2), radius)]
    for _ in range(int(rng.integers(1, 5))):
        size, material = furniture.carton(rng, 0.15, 0.6)
        place = _free_place(taken, size, (-side, -1.2), (side, away), rng)
        if place is not None:
            parts.append(furniture.cuboid(
                size, (*place, 0.0), material, rng.uniform(0.0, np.pi)))
    focus = np.array([*rng.uniform(-0.3, 0.3, 2), rng.uniform(0.6, 1.0) * height])
    return parts, objects, focus, 0.8


def _along_the_wall(
    side: float, away: float, space: float, rng: np.random.Generator
) -> list[Cuboid]:
    """Return a cabinet or a shelf before the far wall where there is space for it."""
    depth = rng.uniform(0.22, 0.45)
    if space < depth + 0.1 or rng.random() < 0.35:
        return []
    width = min(rng.uniform(0.5, 1.4), 1.8 * side)
    x = rng.uniform(-1.0, 1.0) * max(side - 0.5 * width - 0.05, 0.0)
    y = away - 0.5 * depth - 0.02
    if rng.random() < 0.5:
        size = (width, depth, rng.uniform(0.6, 2.0))
        return [furniture.cuboid(size, (x, y, 0.0), furniture.draw_material(rng))]
    boards = int(rng.integers(3, 6))
    parts = furniture.shelf((width, depth, rng.uniform(0.9, 2.0)), boards, rng)
    return furniture.moved(parts, x, y, 0.0)


def _on_top(
    things: Sequence[Mesh], width: float, depth: float, height: float, rng: np.random.Generator,
    cartons: int, highest: float = 0.35,
) -> tuple[list[Mesh], list[Cuboid]]:
    """Return objects and cartons that stand on a top around the z axis, apart from each other."""
    taken: list[tuple[Array, float]] = []
    objects: list[Mesh] = []
    boxes: list[Cuboid] = []
    low, high = (-0.5 * width, -0.5 * depth), (0.5 * width, 0.5 * depth)
    for mesh in things:
        place = _free_place(taken, np.ptp(mesh.vertices, axis=0), low, high, rng)
        if place is not None:
            x, y = place
            stood = standing_at(mesh, float(x), float(y), rng.uniform(0.0, 2.0 * np.pi))
            objects.append(stood.transformed(rigid(np.eye(3), (0.0, 0.0, height))))
    for _ in range(cartons):
        size, material = furniture.carton(rng, 0.06, 0.28)
        size[2] = min(size[2], highest)
        place = _free_place(taken, size, low, high, rng)
        if place is not None:
            boxes.append(furniture.cuboid(
                size, (*place, height), material, rng.uniform(0.0, np.pi)))
    return objects, boxes


def _free_place(
    taken: list[tuple[Array, float]], size: Array, low: Sequence[float], high: Sequence[float],
    rng: np.random.Generator,
) -> Array | None:
    """Return a place (2,) for something in a rectangle, apart from what is there; enter it."""
    radius = 0.5 * float(np.hypot(*size[:2])) + _GAP_M
    least, most = np.asarray(low) + radius, np.asarray(high) - radius
    if (least > most).any():
        return None
    for _ in range(20):
        place = rng.uniform(least, most)
        if all(np.linalg.norm(place - at) > radius + other for at, other in taken):
            taken.append((place, radius))
            return place
    return None


def _small(mesh: Mesh) -> Mesh:
    """Return a mesh no longer than the objects of a table."""
    longest = float(np.ptp(mesh.vertices, axis=0).max())
    if longest <= _LONGEST_M:
        return mesh
    scale = np.diag([*[_LONGEST_M / longest] * 3, 1.0])
    return Mesh(
        transform(scale, mesh.vertices).astype(np.float32), mesh.faces, mesh.colors)
