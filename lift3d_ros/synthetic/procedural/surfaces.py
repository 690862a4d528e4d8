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

"""Closed surfaces in metres: lathed, lofted, or the level set of a signed distance."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from numpy.typing import NDArray

from lift3d_ros.geometry import Array
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.synthetic.procedural.distances import Distance

#: Vertices around an axis of revolution and along a profile.
AROUND = 84


ALONG = 60


#: Faces of a simplified level set, as many as a lathed surface has.
LEVEL_SET_FACES = 12_000


def lathe(profile: ArrayLike, section: Array | None = None) -> Mesh:
    """
    Return the surface of revolution of a profile (k, 2) of radius and z, from axis to axis.

    ``section`` (n, 2) is the cross-section of unit radius, a circle by default.
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
    """Return the closed surface through rings (k, n, 3), each end closed by a pole."""
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
    """Return a box centred at the origin with edges of ``radius``, finest at the edges."""
    extent = np.asarray(size, np.float64)
    core = extent / 2.0 - radius
    count = 30
    # A grid over the faces of a cube, mapped to the box: its outermost cells form the edges.
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
    # The three outermost steps of each axis span the edge, the rest the flat.
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
    """Return the simplified zero level set inside a box, in grey."""
    import fast_simplification
    from skimage.measure import marching_cubes

    start = np.asarray(low, np.float64)
    counts = np.ceil((np.asarray(high, np.float64) - start) / cell).astype(int) + 2
    axes = [(start[k] + cell * np.arange(counts[k])).astype(np.float32) for k in range(3)]
    grid = np.empty((*counts, 3), np.float32)
    grid[..., 0], grid[..., 1], grid[..., 2] = (
        axes[0][:, None, None], axes[1][None, :, None], axes[2][None, None, :])
    whole = distance(grid.reshape(-1, 3)).reshape(counts)
    # A surface that crosses the border of the box would be open.
    field: NDArray[np.float32] = np.pad(whole[1:-1, 1:-1, 1:-1], 1, constant_values=cell)
    # A level set through a node has sliver triangles.
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
    """Return the corners of a box around a level set within 0.4 m of the origin."""
    step = 0.02
    axis = np.arange(-0.4, 0.4 + step, step, dtype=np.float32)
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing='ij'), axis=-1).reshape(-1, 3)
    near = grid[distance(grid) < 0.9 * step]
    return near.min(axis=0) - 0.1 * step, near.max(axis=0) + 0.1 * step


def superellipse(power: float) -> Array:
    """Return a ring (n, 2): |x|^p + |y|^p = 1, a circle for 2, nearly a square for 6."""
    angle = 2.0 * np.pi * np.arange(AROUND) / AROUND
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return ring / (np.abs(ring) ** power).sum(axis=1, keepdims=True) ** (1.0 / power)


def round_corners(line: ArrayLike, radius: float) -> Array:
    """Return a polyline (n, 2) with sharp corners replaced by parabolas ``radius`` wide."""
    points = np.asarray(line, np.float64)
    rounded = [points[:1]]
    t = np.linspace(0.0, 1.0, 4)[:, None]
    for before, corner, after in zip(points[:-2], points[1:-1], points[2:], strict=True):
        into, out = corner - before, after - corner
        cosine = into @ out / max(float(np.linalg.norm(into) * np.linalg.norm(out)), 1e-12)
        if cosine > 0.94:
            # Bends below 20 degrees are part of a curve.
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
    """Return a polyline with its corners and about ``count`` evenly spaced points."""
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
    """Return the mesh with outward normals."""
    if mesh.volume() >= 0.0:
        return mesh
    return Mesh(mesh.vertices, np.ascontiguousarray(mesh.faces[:, ::-1]), mesh.colors)


def _onto(
    distance: Distance, vertices: NDArray[np.float32], cell: float
) -> NDArray[np.float32]:
    """Return vertices (n, 3) projected on the level set by a Newton step of a quarter cell."""
    step = np.float32(0.05 * cell)
    value = distance(vertices)
    slope = np.stack(
        [distance(vertices + step * axis) - value for axis in np.eye(3, dtype=np.float32)], axis=1
    ) / step
    square = np.maximum(np.einsum('ij,ij->i', slope, slope), np.float32(0.25))
    limit = np.float32(0.25 * cell)
    return vertices - np.clip(value / square, -limit, limit)[:, None] * slope
