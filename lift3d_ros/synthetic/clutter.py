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

"""What surrounds an object: neighbours, clutter, a bin, a shelf, the table's edge and the room."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lift3d_ros.geometry import Array
from lift3d_ros.geometry import rigid
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.synthetic.appearance import table_top

#: Height of a table over the floor, metres.
_TABLE_HEIGHT_M = 0.74

#: Points of a surface from which distances between objects are taken.
_POINTS = 1500


def solid_mesh(parts: Sequence[Any], color: ArrayLike) -> Mesh:
    """Return trimesh solids as one mesh of one colour, RGB 0 to 255."""
    import trimesh

    whole: Any = trimesh.util.concatenate(list(parts))
    shade = np.clip(np.rint(np.asarray(color, np.float64)), 0, 255).astype(np.uint8)
    return Mesh(
        np.asarray(whole.vertices, np.float32),
        np.asarray(whole.faces, np.int32),
        np.tile(shade, (len(whole.vertices), 1)),
    )


def turn_about_z(angle: float) -> Array:
    """Return the 3 x 3 rotation by ``angle`` radians."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def standing_at(mesh: Mesh, x: float, y: float, angle: float) -> Mesh:
    """Return a z-up mesh turned by ``angle`` radians that stands on z = 0 above (x, y)."""
    low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
    rotation = turn_about_z(angle)
    middle = np.array([*(low + high)[:2] / 2.0, low[2]], np.float64)
    return mesh.transformed(rigid(rotation, np.array([x, y, 0.0]) - rotation @ middle))


def touching(
    posed: Mesh, other: Mesh, azimuth: float, gap: float, rng: np.random.Generator
) -> Mesh:
    """
    Return another object that stands beside a mesh, ``gap`` metres from it at the nearest place.

    ``azimuth``: radians from the origin, which the mesh is above.
    """
    from scipy.spatial import cKDTree

    direction = np.array([np.cos(azimuth), np.sin(azimuth), 0.0])
    place = standing_at(other, 0.0, 0.0, rng.uniform(0.0, 2.0 * np.pi))
    mine, its = _surface(posed, rng), _surface(place, rng)
    tree = cKDTree(mine)
    # Bisection between apart and overlapping boxes.
    far = float(np.linalg.norm(np.ptp(mine, axis=0)) + np.linalg.norm(np.ptp(its, axis=0)))
    near = 0.0
    for _ in range(14):
        middle = 0.5 * (near + far)
        distance = tree.query(its + middle * direction, k=1)[0].min()
        # Deep inside each other, surfaces are apart as well.
        apart = distance > gap and _beyond(mine, its + middle * direction, direction)
        near, far = (near, middle) if apart else (middle, far)
    return place.transformed(rigid(np.eye(3), far * direction))


def scattered(
    posed: Mesh, others: Sequence[Mesh], count: int, reach: float, rng: np.random.Generator
) -> list[Mesh]:
    """Return up to ``count`` other objects around a mesh, up to ``reach`` metres from its side."""
    radius = _radius(posed)
    taken: list[tuple[Array, float]] = [(np.zeros(2), radius)]
    placed = []
    for index in rng.permutation(len(others))[:count]:
        other = others[index]
        size = 0.5 * float(np.linalg.norm(np.ptp(other.vertices[:, :2], axis=0)))
        for _ in range(8):
            angle = rng.uniform(0.0, 2.0 * np.pi)
            distance = radius + size + rng.uniform(0.0, reach)
            place = distance * np.array([np.cos(angle), np.sin(angle)])
            if all(np.linalg.norm(place - at) > 0.9 * (size + r) for at, r in taken[1:]):
                taken.append((place, size))
                turn = rng.uniform(0.0, 2.0 * np.pi)
                placed.append(standing_at(other, place[0], place[1], turn))
                break
    return placed


def storage_bin(posed: Mesh, rng: np.random.Generator) -> list[Mesh]:
    """Return the walls of a bin around a mesh, which stands somewhere on its floor."""
    low, high = posed.vertices.min(axis=0)[:2], posed.vertices.max(axis=0)[:2]
    low = low - rng.uniform(0.005, 0.15, 2)
    high = high + rng.uniform(0.005, 0.15, 2)
    height, thick = rng.uniform(0.05, 0.16), rng.uniform(0.003, 0.008)
    middle, size = 0.5 * (low + high), high - low
    walls = []
    for axis in (0, 1):
        for side in (-1.0, 1.0):
            extents = np.array([*(size + 2.0 * thick), height])
            extents[axis] = thick
            centre = np.array([*middle, 0.5 * height])
            centre[axis] += side * 0.5 * (size[axis] + thick)
            walls.append(_box(extents, centre))
    return [solid_mesh(walls, rng.uniform(30.0, 230.0, 3))]


def shelf(posed: Mesh, azimuth: float, rng: np.random.Generator) -> list[Mesh]:
    """
    Return the back, the sides and the upper board of a shelf around a mesh.

    ``azimuth``: radians, where the shelf is open; the mesh is at the origin.
    """
    radius, top = _radius(posed), float(posed.vertices[:, 2].max())
    width, depth = 2.0 * radius + rng.uniform(0.3, 0.8), radius + rng.uniform(0.1, 0.25)
    height = top + rng.uniform(0.1, 0.3)
    behind = radius + rng.uniform(0.01, 0.1)
    boards = [
        _box((0.02, width, height), (-behind - 0.01, 0.0, 0.5 * height)),
        _box((depth + behind, width, 0.02), (0.5 * (depth - behind), 0.0, height + 0.01)),
    ]
    for side in (-1.0, 1.0):
        centre = (0.5 * (depth - behind), side * 0.5 * width, 0.5 * height)
        boards.append(_box((depth + behind, 0.02, height), centre))
    return [
        solid_mesh(boards, rng.uniform(60.0, 240.0, 3)).transformed(
            rigid(turn_about_z(azimuth), np.zeros(3))
        )
    ]


def room(
    posed: Mesh, half_side: float, rng: np.random.Generator, table_cells: int = 120
) -> list[Mesh]:
    """
    Return a table with the mesh somewhere on it, the floor, and two walls.

    ``half_side``: metres from the table's middle to its edges.
    """
    spare = max(half_side - _radius(posed) - 0.02, 0.0)
    # Beyond the middle of a side, so that edges are near the object in many scenes.
    offset = spare * rng.uniform(-1.0, 1.0, 2)
    turn = turn_about_z(rng.uniform(0.0, 2.0 * np.pi))
    table = table_top(rng, half_side, table_cells).transformed(
        rigid(turn, turn @ np.array([*offset, 0.0]))
    )
    ground = rigid(np.eye(3), [0.0, 0.0, -_TABLE_HEIGHT_M])
    floor = table_top(rng, 4.0, 60).transformed(ground)
    walls = []
    angle = rng.uniform(0.0, 2.0 * np.pi)
    for extra in (0.0, 0.5 * np.pi):
        away = half_side + 0.5 + rng.uniform(0.2, 2.5)
        wall = _box((0.05, 8.0, 4.0), (away, 0.0, 1.5 - _TABLE_HEIGHT_M))
        pose = rigid(turn_about_z(angle + extra), np.zeros(3))
        walls.append(solid_mesh([wall], rng.uniform(90.0, 235.0, 3)).transformed(pose))
    return [table, floor, *walls]


def _surface(mesh: Mesh, rng: np.random.Generator) -> Array:
    face, weights = mesh.sample(_POINTS, rng)
    corners = mesh.vertices[mesh.faces[face]].astype(np.float64)
    return np.einsum('ijk,ij->ik', corners, weights)


def _beyond(
    mine: Array, its: Array, direction: Array
) -> bool:
    """Return whether the middle of the second points lies beyond that of the first."""
    return float(its.mean(axis=0) @ direction) > float(mine.mean(axis=0) @ direction)


def _radius(mesh: Mesh) -> float:
    return float(np.linalg.norm(mesh.vertices[:, :2], axis=1).max())


def _box(extents: Any, centre: Any) -> Any:
    import trimesh

    solid = trimesh.creation.box(extents)
    solid.apply_translation(centre)
    return solid
