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
Thin and hollow things that one view tells little about: boxes without lids, racks, frames, clamps.

Walls and bars have a drawn thickness, from one to six millimetres.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from numpy.typing import NDArray

from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.synthetic.procedural.distances import box
from lift3d_ros.synthetic.procedural.distances import capsule
from lift3d_ros.synthetic.procedural.distances import cylinder
from lift3d_ros.synthetic.procedural.distances import Distance
from lift3d_ros.synthetic.procedural.distances import ellipsoid
from lift3d_ros.synthetic.procedural.distances import smooth_union
from lift3d_ros.synthetic.procedural.distances import torus
from lift3d_ros.synthetic.procedural.families import closed_object
from lift3d_ros.synthetic.procedural.paint import decorate
from lift3d_ros.synthetic.procedural.paint import draw_color
from lift3d_ros.synthetic.procedural.paint import painted
from lift3d_ros.synthetic.procedural.surfaces import level_set

#: Cells along the longest side at most, which bounds the time of a level set.
_MAX_CELLS = 120


def thin_object(seed: int, family: str | None = None) -> Mesh:
    """
    Return the object of a seed; ``family`` is one of ``THIN_FAMILIES``, by default drawn.

    It is closed, in one piece, metric, z up with its lowest point at z = 0. Raises ``ValueError``
    for an unknown family, and for a seed that makes no closed object.
    """
    names = list(THIN_FAMILIES)
    if family is None:
        family = names[int(np.random.default_rng([seed, 0x7A1]).integers(len(names)))]
    if family not in THIN_FAMILIES:
        raise ValueError(f'there is no family "{family}"; choose one of {", ".join(names)}')
    return closed_object(family, THIN_FAMILIES[family], [seed, names.index(family), 0x7A1])


def open_box(rng: np.random.Generator) -> Mesh:
    """Return a box, crate or tray without a lid, with or without holes for hands."""
    size = np.array([rng.uniform(0.08, 0.28), rng.uniform(0.06, 0.20), rng.uniform(0.03, 0.16)])
    wall = rng.uniform(0.0025, 0.006)
    half = 0.5 * size
    edge = 0.4 * wall
    outer = box((0.0, 0.0, half[2]), half, edge)
    inner = box(
        (0.0, 0.0, size[2]), (half[0] - wall, half[1] - wall, size[2] - wall), edge)
    cuts = [inner]
    if rng.random() < 0.4 and size[2] > 0.06:
        grip = (0.5 * min(0.08, size[0]), 2.0 * size[1], 0.012)
        cuts.append(box((0.0, 0.0, 0.75 * size[2]), grip, 0.006))
    return _made(_cut(outer, cuts), -half - 0.003 + [0, 0, half[2]],
                 half + 0.003 + [0, 0, half[2]], wall, rng)


def rack(rng: np.random.Generator) -> Mesh:
    """Return a rack or basket of bars on a frame."""
    length, width = rng.uniform(0.12, 0.28), rng.uniform(0.08, 0.2)
    height, radius = rng.uniform(0.02, 0.14), rng.uniform(0.002, 0.004)
    x, y = 0.5 * length, 0.5 * width
    bars = []
    for z in (radius, height) if rng.random() < 0.7 else (height,):
        bars += _loop([(-x, -y, z), (x, -y, z), (x, y, z), (-x, y, z)], radius)
    bars += [capsule((a, b, radius), (a, b, height), radius, radius)
             for a in (-x, x) for b in (-y, y)]
    count = int(rng.integers(3, 9))
    level = height if rng.random() < 0.5 else radius
    if level == radius:
        # Bars at the foot need a frame there.
        bars += _loop([(-x, -y, radius), (x, -y, radius), (x, y, radius), (-x, y, radius)], radius)
    for place in np.linspace(-x, x, count + 2)[1:-1]:
        bars.append(capsule((place, -y, level), (place, y, level), radius, radius))
    return _made(
        _union(bars), (-x - 0.006, -y - 0.006, -0.003), (x + 0.006, y + 0.006, height + 0.007),
        2.0 * radius, rng)


def frame(rng: np.random.Generator) -> Mesh:
    """Return a picture frame, a ring or a roll of tape, standing or lying."""
    if rng.random() < 0.5:
        size = np.array([rng.uniform(0.1, 0.25), rng.uniform(0.008, 0.03), rng.uniform(0.1, 0.25)])
        border = rng.uniform(0.008, 0.03)
        outer = box((0.0, 0.0, 0.0), 0.5 * size, 0.0015)
        cut = (0.5 * size[0] - border, size[1], 0.5 * size[2] - border)
        cuts = [box((0.0, 0.0, 0.0), cut, 0.001)]
        distance = _cut(outer, cuts)
        if rng.random() < 0.5:
            back = box(
                (0.0, 0.3 * size[1], 0.0), (0.5 * size[0] - 0.001, 0.002, 0.5 * size[2] - 0.001),
                0.0005)
            distance = _union([distance, back])
        corner = 0.5 * size + 0.003
        return _made(distance, -corner, corner, min(border, float(size[1]), 0.004), rng)
    radius, half = rng.uniform(0.03, 0.08), rng.uniform(0.004, 0.03)
    wall = rng.uniform(0.003, 0.4 * radius)
    axis = (0.0, 0.0, 1.0) if rng.random() < 0.5 else (0.0, 1.0, 0.0)
    outer = cylinder((0.0, 0.0, 0.0), axis, radius, half, 0.001)
    hole = cylinder((0.0, 0.0, 0.0), axis, radius - wall, 3.0 * half, 0.0005)
    bound = np.where(np.array(axis) > 0.5, half, radius) + 0.003
    return _made(_cut(outer, [hole]), -bound, bound, wall, rng)


def clamp(rng: np.random.Generator) -> Mesh:
    """Return a clamp of C shape with its screw, lying or standing."""
    gap, depth = rng.uniform(0.03, 0.12), rng.uniform(0.03, 0.08)
    bar, thick = rng.uniform(0.004, 0.009), rng.uniform(0.004, 0.009)
    half = (0.5 * depth, bar, thick)
    parts = [
        box((0.5 * depth, 0.0, 0.0), half, 0.0015),
        box((0.5 * depth, gap, 0.0), half, 0.0015),
        box((0.0, 0.5 * gap, 0.0), (bar, 0.5 * gap + bar, thick), 0.0015),
    ]
    at = 0.85 * depth
    travel = rng.uniform(0.2, 0.9) * gap
    reach = rng.uniform(0.03, 0.08)
    shaft = rng.uniform(0.0025, 0.004)
    end = gap + bar + reach
    parts += [
        cylinder((at, 0.5 * (gap - travel + end), 0.0), (0.0, 1.0, 0.0), shaft,
                 0.5 * (end - gap + travel), 0.0008),
        cylinder((at, gap - travel, 0.0), (0.0, 1.0, 0.0), 2.2 * shaft, 0.003, 0.0008),
        capsule((at - 0.02, end, 0.0), (at + 0.02, end, 0.0), 0.003, 0.003),
    ]
    flat = rng.random() < 0.7
    low = np.array([-bar - 0.004, -bar - 0.004, -thick - 0.004])
    high = np.array([max(depth, at + 0.02) + 0.006, end + 0.006, thick + 0.004])
    mesh = _made(_union(parts), low, high, 2.0 * shaft, rng)
    return mesh if flat else _turned(mesh)


def cutlery(rng: np.random.Generator) -> Mesh:
    """Return a fork, knife, spatula or ladle, lying."""
    length, thick = rng.uniform(0.15, 0.3), rng.uniform(0.0015, 0.0035)
    wide = rng.uniform(0.008, 0.013)
    neck = 0.45 * length
    parts = [box((0.3 * length, 0.0, 0.0), (0.32 * length, 0.5 * wide, thick), 0.8 * thick)]
    kind = rng.choice(['fork', 'knife', 'spatula', 'ladle'])
    span = 0.5 * wide
    if kind == 'fork':
        span = wide * rng.uniform(0.9, 1.2)
        root = 0.72 * length
        parts.append(box((0.5 * (neck + root), 0.0, 0.0), (0.5 * (root - neck) + 0.01, 0.4 * wide,
                                                           thick), 0.8 * thick))
        parts.append(box((root, 0.0, 0.0), (0.012, span, thick), 0.8 * thick))
        for y in np.linspace(-span + 0.0018, span - 0.0018, int(rng.integers(3, 5))):
            parts.append(capsule((root, y, 0.0), (length, y, 0.004), 1.1 * thick, 0.8 * thick))
    elif kind == 'knife':
        span = rng.uniform(0.5, 1.6) * wide
        parts.append(box(
            (0.75 * length, 0.3 * span, 0.0), (0.27 * length, 0.6 * span, 0.7 * thick),
            0.5 * thick))
    elif kind == 'spatula':
        span = rng.uniform(0.02, 0.045)
        parts.append(box((0.8 * length, 0.0, 0.0), (0.2 * length, span, thick), 0.8 * thick))
    else:
        span = rng.uniform(0.02, 0.045)
        bowl = _cut(
            ellipsoid((length, 0.0, 0.0), (1.2 * span, span, 0.6 * span)),
            [ellipsoid((length, 0.0, thick), (1.2 * span - 2 * thick, span - 2 * thick,
                                              0.6 * span - 2 * thick)),
             box((length, 0.0, 0.5), (1.0, 1.0, 0.5), 0.0)])
        # The handle ends at the rim.
        parts.append(capsule((0.5 * length, 0, 0), (length - 1.1 * span, 0, -thick),
                             1.5 * thick, 1.5 * thick))
        parts.append(bowl)
    low = np.array([-0.03 * length, -span - 0.008, -0.65 * span - 0.006])
    high = np.array([1.05 * length + 1.25 * span, span + 0.014, 0.012])
    return _made(_union(parts, 0.002), low, high, 2.0 * thick, rng)


def spray_bottle(rng: np.random.Generator) -> Mesh:
    """Return a bottle with a trigger head."""
    half = np.array([rng.uniform(0.025, 0.04), rng.uniform(0.02, 0.035), rng.uniform(0.05, 0.08)])
    neck, lift = rng.uniform(0.009, 0.014), rng.uniform(0.02, 0.04)
    top = 2.0 * half[2] + lift
    reach = rng.uniform(0.03, 0.05)
    parts = [
        box((0.0, 0.0, half[2]), half, rng.uniform(0.4, 0.95) * min(half[:2])),
        cylinder((0.0, 0.0, 2.0 * half[2] + 0.4 * lift), (0, 0, 1), neck, 0.9 * lift, 0.002),
        box((0.35 * reach, 0.0, top), (0.7 * reach, 0.011, 0.012), 0.004),
        capsule((0.6 * reach, 0.0, top), (0.75 * reach, 0.0, top - rng.uniform(0.03, 0.05)),
                0.004, 0.003),
        cylinder((1.05 * reach, 0.0, top + 0.002), (1, 0, 0), 0.007, 0.008, 0.001),
    ]
    low = np.array([-half[0] - 0.004, -half[1] - 0.004, -0.003])
    high = np.array([max(half[0], 1.25 * reach) + 0.01, half[1] + 0.004, top + 0.018])
    low[0] = min(low[0], -0.4 * reach - 0.004)
    return _made(_union(parts, 0.008), low, high, 0.006, rng)


def pan(rng: np.random.Generator) -> Mesh:
    """Return a pan, pot or colander with one handle or two."""
    radius, height = rng.uniform(0.06, 0.12), rng.uniform(0.03, 0.11)
    wall = rng.uniform(0.002, 0.004)
    outer = cylinder((0.0, 0.0, 0.5 * height), (0, 0, 1), radius, 0.5 * height, 0.4 * wall)
    inner = cylinder(
        (0.0, 0.0, height), (0, 0, 1), radius - wall, height - wall, 0.3 * height)
    parts = [_cut(outer, [inner])]
    level = rng.uniform(0.7, 0.9) * height
    grip = rng.uniform(0.004, 0.008)
    reach = 0.0
    if rng.random() < 0.6:
        reach = rng.uniform(0.08, 0.14)
        parts.append(capsule(
            (radius - 0.3 * wall, 0.0, level), (radius + reach, 0.0, level + 0.015), grip, grip))
    else:
        for side in (-1.0, 1.0):
            ring = torus((side * (radius + 0.004), 0.0, level), 0.022, 0.6 * grip)
            parts.append(_cut(ring, [cylinder(
                (0.0, 0.0, level), (0, 0, 1), radius - 0.6 * wall, 0.1, 0.0)]))
    low = np.array([-radius - 0.035, -radius - 0.004, -0.003])
    high = np.array([radius + max(reach, 0.03) + 0.012, radius + 0.004, height + 0.03])
    return _made(_union(parts, 0.001), low, high, wall, rng)


def handled(rng: np.random.Generator) -> Mesh:
    """Return a cup, jug or watering can with a handle, and perhaps a spout, on any side."""
    radius, height = rng.uniform(0.03, 0.07), rng.uniform(0.06, 0.16)
    wall = rng.uniform(0.003, 0.006)
    outer = cylinder((0.0, 0.0, 0.5 * height), (0, 0, 1), radius, 0.5 * height, 0.006)
    full = rng.random() < 0.25
    inner = cylinder((0.0, 0.0, height), (0, 0, 1), radius - wall, height - 1.5 * wall, 0.003)
    hollow = outer if full else _cut(outer, [inner])
    thick, reach = rng.uniform(0.004, 0.007), rng.uniform(0.024, 0.045)
    low_end, high_end = rng.uniform(0.12, 0.3) * height, rng.uniform(0.7, 0.95) * height
    root = radius - 0.4 * wall
    nodes = [(root, 0.0, low_end), (radius + reach, 0.0, low_end + 0.2 * (high_end - low_end)),
             (radius + reach, 0.0, high_end - 0.1 * (high_end - low_end)), (root, 0.0, high_end)]
    parts = [hollow] + [
        capsule(a, b, thick, thick) for a, b in zip(nodes, nodes[1:], strict=False)]
    far = radius
    if rng.random() < 0.4:
        far = radius + rng.uniform(0.03, 0.06)
        parts.append(capsule(
            (-radius + 0.3 * wall, 0.0, 0.4 * height), (-far, 0.0, 0.95 * height), 0.009, 0.006))
    bound = _union(parts, 0.004)
    if not full:
        # Handle and spout end at the wall.
        bound = _cut(bound, [cylinder(
            (0.0, 0.0, height), (0, 0, 1), radius - wall, height - 1.5 * wall, 0.003)])
    turn = rng.uniform(-np.pi, np.pi)
    mesh = _made(
        bound, (-far - 0.014, -radius - 0.004, -0.003),
        (radius + reach + 0.012, radius + 0.004, height + 0.012), wall, rng)
    c, s = np.cos(turn), np.sin(turn)
    rotation = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
    return painted(mesh, mesh.vertices @ rotation.T, mesh.colors)


#: The families by name; the families of seeds are evenly distributed.
THIN_FAMILIES: dict[str, Callable[[np.random.Generator], Mesh]] = {
    make.__name__: make
    for make in (open_box, rack, frame, clamp, cutlery, spray_bottle, pan, handled)
}


def _union(parts: Sequence[Distance], blend: float = 0.0) -> Distance:
    def distance(p: NDArray[np.float32]) -> NDArray[np.float32]:
        whole = parts[0](p)
        for part in parts[1:]:
            other = part(p)
            whole = smooth_union(whole, other, blend) if blend else np.minimum(whole, other)
        return whole

    return distance


def _cut(whole: Distance, cuts: Sequence[Distance]) -> Distance:
    def distance(p: NDArray[np.float32]) -> NDArray[np.float32]:
        value = whole(p)
        for cut in cuts:
            value = np.maximum(value, -cut(p))
        return value

    return distance


def _loop(corners: Sequence[tuple[float, float, float]], radius: float) -> list[Distance]:
    """Return the bars around a polygon."""
    return [
        capsule(a, b, radius, radius)
        for a, b in zip(corners, [*corners[1:], corners[0]], strict=True)
    ]


def _made(
    distance: Distance, low: ArrayLike, high: ArrayLike, wall: float, rng: np.random.Generator
) -> Mesh:
    """Return the painted level set; cells are small enough for walls of this thickness."""
    start, end = np.asarray(low, np.float64), np.asarray(high, np.float64)
    cell = max(0.4 * wall, float((end - start).max()) / _MAX_CELLS)
    mesh = level_set(distance, start, end, cell)
    base = np.broadcast_to(draw_color(rng), mesh.vertices.shape)
    colors = decorate(base, mesh.vertices, rng) if rng.random() < 0.4 else base
    return painted(mesh, mesh.vertices, colors)


def _turned(mesh: Mesh) -> Mesh:
    """Return the mesh with its y axis upright."""
    return painted(mesh, mesh.vertices[:, [2, 0, 1]], mesh.colors)
