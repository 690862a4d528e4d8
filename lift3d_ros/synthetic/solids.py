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
Closed surfaces to model objects with: lathed, lofted, or the level set of a signed distance.

Lengths are metres. Signed distances are negative inside; those of the primitives are from I.
Quilez, "Distance functions", iquilezles.org/articles/distfunctions.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import ArrayLike
from numpy.typing import NDArray

from lift3d_ros.geometry import Array
from lift3d_ros.geometry.shape import Mesh

#: Signed distance in metres at points (n, 3), negative inside.
Distance = Callable[[NDArray[np.float32]], NDArray[np.float32]]

#: Vertices around an axis of revolution, and along a profile.
AROUND = 84
ALONG = 60

#: Level sets are simplified to this; about as fine as the lathed shapes.
LEVEL_SET_FACES = 12_000


def lathe(profile: ArrayLike, section: Array | None = None) -> Mesh:
    """
    Return the surface of revolution of a profile (k, 2) of radius and z, from axis to axis.

    ``section`` (n, 2) is the ring of radius 1 that is turned, a circle by default.
    """
    points = resample(np.asarray(profile, np.float64), ALONG)
    ring = superellipse(2.0) if section is None else section
    inner = points[1:-1]
    rings = np.empty((len(inner), len(ring), 3))
    rings[..., :2] = np.maximum(inner[:, :1, None], 2e-4) * ring
    rings[..., 2] = inner[:, 1:]
    return loft(rings, (0.0, 0.0, points[0, 1]), (0.0, 0.0, points[-1, 1]))


def loft(
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
    return outward(
        Mesh(
            vertices.astype(np.float32),
            faces.astype(np.int32),
            np.full((len(vertices), 3), 128, np.uint8),
        )
    )


def rounded_box(size: ArrayLike, radius: float) -> Mesh:
    """Return a box centred at the origin whose edges have ``radius``; finest at the edges."""
    extent = np.asarray(size, np.float64)
    core = extent / 2.0 - radius
    count = 30
    # A grid over the faces of a cube; its nodes go to the box, pressed towards the edges, and
    # those of the outermost cells round the edge.
    node = np.arange(count + 1)
    i, j = np.meshgrid(node, node, indexing='ij')
    quads: list[NDArray[np.intp]] = []
    points: list[NDArray[np.intp]] = []
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
    return outward(
        Mesh(
            vertices.astype(np.float32),
            faces.astype(np.int32),
            np.full((len(vertices), 3), 128, np.uint8),
        )
    )


def level_set(distance: Distance, low: ArrayLike, high: ArrayLike, cell: float) -> Mesh:
    """Return the zero level set inside a box, simplified; colours are grey yet."""
    import fast_simplification
    from skimage.measure import marching_cubes

    start = np.asarray(low, np.float64)
    counts = np.ceil((np.asarray(high, np.float64) - start) / cell).astype(int) + 2
    axes = [(start[k] + cell * np.arange(counts[k])).astype(np.float32) for k in range(3)]
    grid = np.empty((*counts, 3), np.float32)
    grid[..., 0], grid[..., 1], grid[..., 2] = (
        axes[0][:, None, None], axes[1][None, :, None], axes[2][None, None, :])
    whole = distance(grid.reshape(-1, 3)).reshape(counts)
    # Nothing may leave the box, or the surface would be open.
    field: NDArray[np.float32] = np.pad(whole[1:-1, 1:-1, 1:-1], 1, constant_values=cell)
    # A level just through a node makes slivers.
    field = np.where(np.abs(field) < 1e-3 * cell, np.float32(1e-3 * cell), field)
    vertices, faces, _, _ = marching_cubes(field, 0.0, spacing=(cell, cell, cell))
    vertices = _onto(distance, (vertices + start).astype(np.float32), cell)
    faces = faces.astype(np.int32)
    if len(faces) > LEVEL_SET_FACES:
        vertices, faces = fast_simplification.simplify(
            vertices, faces, target_count=LEVEL_SET_FACES, agg=3.0
        )
        vertices = _onto(distance, vertices.astype(np.float32), cell)
    grey = np.full((len(vertices), 3), 128, np.uint8)
    return outward(Mesh(vertices.astype(np.float32), faces.astype(np.int32), grey))


def bounds(distance: Distance) -> tuple[Array, Array]:
    """Return the corners of a box around the level set, which lies within 0.4 m of the origin."""
    step = 0.02
    axis = np.arange(-0.4, 0.4 + step, step, dtype=np.float32)
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing='ij'), axis=-1).reshape(-1, 3)
    # Cells whose nodes are this near may hold surface.
    near = grid[distance(grid) < 0.9 * step]
    return near.min(axis=0) - 0.1 * step, near.max(axis=0) + 0.1 * step


def superellipse(power: float) -> Array:
    """Return a ring (n, 2): |x|^p + |y|^p = 1, a circle for 2, nearly a square for 6."""
    angle = 2.0 * np.pi * np.arange(AROUND) / AROUND
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return ring / (np.abs(ring) ** power).sum(axis=1, keepdims=True) ** (1.0 / power)


def round_corners(line: ArrayLike, radius: float) -> Array:
    """Return a polyline (n, 2) whose sharp corners are cut by parabolas ``radius`` wide."""
    points = np.asarray(line, np.float64)
    rounded = [points[:1]]
    t = np.linspace(0.0, 1.0, 4)[:, None]
    for before, corner, after in zip(points[:-2], points[1:-1], points[2:], strict=True):
        into, out = corner - before, after - corner
        cosine = into @ out / max(float(np.linalg.norm(into) * np.linalg.norm(out)), 1e-12)
        if cosine > 0.94:
            # A bend of less than 20 degrees is part of a curve.
            rounded.append(corner[None])
            continue
        reach = []
        for other in (before, after):
            length = float(np.linalg.norm(other - corner))
            share = min(radius, 0.45 * length) / max(length, 1e-9)
            reach.append(corner + (other - corner) * share)
        rounded.append(
            (1.0 - t) ** 2 * reach[0] + 2.0 * t * (1.0 - t) * corner + t ** 2 * reach[1])
    return np.concatenate([*rounded, points[-1:]])


def resample(line: Array, count: int) -> Array:
    """Return a polyline with all its corners and about ``count`` points, evenly spread."""
    steps = np.linalg.norm(np.diff(line, axis=0), axis=1)
    line = line[np.concatenate([[True], steps > 1e-6])]
    steps = steps[steps > 1e-6]
    spacing = steps.sum() / max(count - 0.5 * len(steps), 0.4 * count)
    counts = np.maximum(np.rint(steps / spacing), 1)
    pieces = [
        a + (b - a) * np.arange(count)[:, None] / count
        for a, b, count in zip(line[:-1], line[1:], counts, strict=True)
    ]
    return np.concatenate([*pieces, line[-1:]])


def outward(mesh: Mesh) -> Mesh:
    if mesh.volume() >= 0.0:
        return mesh
    return Mesh(mesh.vertices, np.ascontiguousarray(mesh.faces[:, ::-1]), mesh.colors)


def ball(center: Sequence[float], radius: float) -> Distance:
    middle = np.asarray(center, np.float32)
    return lambda p: _length(p - middle) - np.float32(radius)


def ellipsoid(center: Sequence[float], radii: Sequence[float]) -> Distance:
    middle, r = np.asarray(center, np.float32), np.asarray(radii, np.float32)

    def distance(p: NDArray[np.float32]) -> NDArray[np.float32]:
        scaled = (p - middle) / r
        k0 = _length(scaled)
        # A bound, exact to first order at the surface.
        return k0 * (k0 - np.float32(1.0)) / np.maximum(_length(scaled / r), np.float32(1e-6))

    return distance


def capsule(a: Sequence[float], b: Sequence[float], ra: float, rb: float) -> Distance:
    """Return a rod from ``a`` to ``b`` whose radius changes from ``ra`` to ``rb``."""
    start = np.asarray(a, np.float32)
    axis = np.asarray(b, np.float32) - start
    square = float(axis @ axis)

    def distance(p: NDArray[np.float32]) -> NDArray[np.float32]:
        q = p - start
        t: NDArray[np.float32] = np.clip(q @ axis / np.float32(square), 0.0, 1.0)
        radius = np.float32(ra) + np.float32(rb - ra) * t
        return _length(q - t[:, None] * axis) - radius

    return distance


def box(
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


def cylinder(
    center: Sequence[float], axis: Sequence[float], radius: float, half: float, edge: float
) -> Distance:
    """Return a cylinder of length ``2 half`` whose edges have the radius ``edge``."""
    middle, direction = np.asarray(center, np.float32), np.asarray(axis, np.float32)

    def distance(p: NDArray[np.float32]) -> NDArray[np.float32]:
        q = p - middle
        along = np.asarray(q @ direction, np.float32)
        across = _length(q - along[:, None] * direction) - np.float32(radius - edge)
        beyond = np.abs(along) - np.float32(half - edge)
        zero = np.float32(0.0)
        return np.hypot(np.maximum(across, zero), np.maximum(beyond, zero)) + np.minimum(
            np.maximum(across, beyond), zero) - np.float32(edge)

    return distance


def torus(center: Sequence[float], radius: float, tube: float) -> Distance:
    """Return a ring about z."""
    middle = np.asarray(center, np.float32)

    def distance(p: NDArray[np.float32]) -> NDArray[np.float32]:
        q = p - middle
        return np.hypot(np.hypot(q[:, 0], q[:, 1]) - np.float32(radius), q[:, 2]) - (
            np.float32(tube))

    return distance


def smooth_union(
    a: NDArray[np.float32], b: NDArray[np.float32], width: float
) -> NDArray[np.float32]:
    """Return the union whose seam is rounded over ``width`` (the polynomial smooth minimum)."""
    k = np.float32(max(width, 1e-9))
    h = np.maximum(k - np.abs(a - b), np.float32(0.0)) / k
    return np.asarray(np.minimum(a, b) - h * h * k * np.float32(0.25))


def smooth_cut(
    a: NDArray[np.float32], b: NDArray[np.float32], width: float
) -> NDArray[np.float32]:
    """Return ``a`` without ``b``, the edge rounded over ``width``."""
    return -smooth_union(-a, b, width)


def tabulated(
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
    for (ax, ay), (bx, by) in zip(contour, np.roll(contour, -1, axis=0), strict=True):
        crosses = (ay > y) != (by > y)
        if ay != by:
            inside ^= crosses & (x < (bx - ax) * (y - ay) / (by - ay) + ax)
    return _lookup(u, v, np.where(inside, -table, table))


def tabulated_line(
    line: ArrayLike, first: tuple[float, float], second: tuple[float, float]
) -> Callable[[NDArray[np.float32], NDArray[np.float32]], NDArray[np.float32]]:
    """Return the distance to a plane polyline (n, 2), from a fine table over a range."""
    u, v, table = _distance_table(np.asarray(line, np.float64), first, second)
    return _lookup(u, v, table)


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


def _length(p: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(np.sqrt(np.einsum('ij,ij->i', p, p)))


def _distance_table(
    line: Array, first: tuple[float, float], second: tuple[float, float]
) -> tuple[Array, Array, NDArray[np.float32]]:
    """Return the nodes of a table along both axes, and the distance to a polyline at each."""
    step = 0.0007
    u, v = np.arange(*first, step), np.arange(*second, step)
    x, y = np.meshgrid(u.astype(np.float32), v.astype(np.float32))
    best = np.full(x.shape, np.inf, np.float32)
    nodes = line.astype(np.float32)
    for a, b in zip(nodes[:-1], nodes[1:], strict=True):
        axis = b - a
        square = max(float(axis @ axis), 1e-12)
        t = np.clip(((x - a[0]) * axis[0] + (y - a[1]) * axis[1]) / square, 0.0, 1.0)
        np.minimum(best, (x - a[0] - t * axis[0]) ** 2 + (y - a[1] - t * axis[1]) ** 2, out=best)
    return u.astype(np.float64), v.astype(np.float64), np.sqrt(best)


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
