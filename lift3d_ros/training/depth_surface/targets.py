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

"""True occupancy of an object: a solid in its own box, and points with signed distances."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.geometry import Array
from lift3d_ros.geometry import transform
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.meshing.render import Raycaster

#: Points near the surface, half of them at each standard deviation of their distance from it
#: (canonical units), and points in the box.
NEAR_POINTS, NEAR_STDDEVS, BOX_POINTS = 24_000, (0.01, 0.04), 8_000

#: Voxels along a side of ``solid_in_box``.
SOLID_SIDE = 128

#: Directions of the rays that decide whether a point is inside; three tolerate small holes.
_RAYS = 3

#: Points at which ``solid_agreement`` compares, and faces times points at once.
_CHECKED_POINTS, _CHUNK = 200, 1 << 20


@dataclass(frozen=True, eq=False)
class TruePoints:
    """
    Points with ground truth, canonical units.

    - ``points``: float32 (n, 3), first those near the surface, then those in the box.
    - ``distance``: float32 (n,), signed, negative inside.
    """

    points: NDArray[np.float32]
    distance: NDArray[np.float32]


def true_points(
    mesh: Mesh, caster: Raycaster, T_object_canonical: Array, low: Array, high: Array,
    rng: np.random.Generator,
) -> TruePoints:
    """
    Return points near the surface of a closed mesh, and in the box from ``low`` to ``high``.

    ``caster`` has the mesh; ``T_object_canonical`` is a similarity; the corners (3,) of the box
    are in canonical coordinates.
    """
    unit = float(np.cbrt(np.linalg.det(T_object_canonical[:3, :3])))
    face, weights = mesh.sample(NEAR_POINTS, rng)
    surface = np.einsum('ijk,ij->ik', mesh.vertices[mesh.faces[face]].astype(np.float64), weights)
    surface = transform(np.linalg.inv(T_object_canonical), surface)
    spread = np.repeat(NEAR_STDDEVS, NEAR_POINTS // len(NEAR_STDDEVS))
    near = surface + spread[:, None] * rng.standard_normal(surface.shape)
    points = np.concatenate([near, rng.uniform(low, high, (BOX_POINTS, 3))])
    local = transform(T_object_canonical, points)
    distance = caster.distance(local) / np.float32(unit)
    inside = caster.contains(local, _RAYS)
    return TruePoints(
        points.astype(np.float32), np.where(inside, -distance, distance).astype(np.float32))


def solid_in_box(mesh: Mesh, side: int = SOLID_SIDE) -> tuple[NDArray[np.bool_], Array, float]:
    """
    Return the occupancy of a closed mesh in the cube around its own box, with one voxel of margin.

    Bool (side, side, side) at the voxel centres, axes x, y, z; the centre of the first voxel (3,)
    and the edge of a voxel, in the units of the mesh.
    """
    low, high = (bound.astype(np.float64) for bound in (
        mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)))
    voxel = float((high - low).max()) / (side - 2)
    origin = 0.5 * (low + high) - 0.5 * voxel * (side - 1)
    axes = [origin[k] + voxel * np.arange(side) for k in range(3)]
    points = np.stack(np.meshgrid(*axes, indexing='ij'), axis=-1).reshape(-1, 3)
    inside = Raycaster([mesh]).contains(points, _RAYS)
    return inside.reshape(side, side, side), origin, voxel


def winding_number(mesh: Mesh, points: Array) -> Array:
    """
    Return the generalised winding number of points (n, 3), (n,): 1 inside, 0 outside.

    Jacobson et al., Robust inside-outside segmentation, 2013, with the solid angle of Van Oosterom
    and Strackee (1983).
    """
    corners = mesh.vertices[mesh.faces].astype(np.float32)
    total = np.empty(len(points))
    step = max(1, _CHUNK // max(len(corners), 1))
    for first in range(0, len(points), step):
        at = np.asarray(points[first:first + step], np.float32)
        a, b, c = (corners[None, :, k] - at[:, None] for k in range(3))
        la, lb, lc = (np.sqrt(np.einsum('ijk,ijk->ij', v, v)) for v in (a, b, c))
        determinant = np.einsum('ijk,ijk->ij', a, np.cross(b, c))
        dots = [np.einsum('ijk,ijk->ij', u, v) for u, v in ((a, b), (b, c), (c, a))]
        divisor = la * lb * lc + dots[0] * lc + dots[1] * la + dots[2] * lb
        total[first:first + step] = np.arctan2(determinant, divisor).sum(axis=1, dtype=np.float64)
    return total / (2.0 * np.pi)


def solid_agreement(mesh: Mesh, seed: int = 0) -> float:
    """
    Return the share of points near the surface where rays and the winding number agree.

    It is 1 for a closed mesh with outward faces, and less for an open one and for one with inner
    walls, whose occupancy must not be learnt.
    """
    rng = np.random.default_rng(seed)
    face, weights = mesh.sample(_CHECKED_POINTS, rng)
    surface = np.einsum('ijk,ij->ik', mesh.vertices[mesh.faces[face]].astype(np.float64), weights)
    longest = float(np.ptp(mesh.vertices, axis=0).max())
    points = surface + 0.02 * longest * rng.standard_normal(surface.shape)
    inside = Raycaster([mesh]).contains(points, _RAYS)
    return float((inside == (winding_number(mesh, points) > 0.5)).mean())
