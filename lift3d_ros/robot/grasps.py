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


"""Antipodal grasps of a mesh for a parallel jaw; the mesh is in a frame with z up, metres."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lift3d_ros.geometry import Array
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.meshing.solid import sample_with_normals
from lift3d_ros.meshing.solid import Solid


@dataclass(frozen=True)
class Jaw:
    """
    A parallel jaw gripper, open until it closes, of boxes.

    Lengths in metres, of the size of a common two-finger hand: ``opening`` between the open
    fingers; each finger is ``thickness`` x ``width`` x ``length`` and its tip reaches ``depth``
    past the line of contact; the palm behind them is ``palm`` thick. ``friction``: Coulomb's
    coefficient between finger and object.
    """

    opening: float = 0.080
    thickness: float = 0.010
    width: float = 0.020
    length: float = 0.045
    depth: float = 0.010
    palm: float = 0.030
    friction: float = 0.5

    def boxes(self) -> Array:
        """
        Return fingers and palm as boxes, (3, 2, 3): low and high corner.

        In the frame of a grasp: x along the closing direction, z along the approach, the origin
        between the contacts.
        """
        inner, outer = self.opening / 2.0, self.opening / 2.0 + self.thickness
        half, tip = self.width / 2.0, self.depth
        root = tip - self.length
        return np.array(
            [
                [[inner, -half, root], [outer, half, tip]],
                [[-outer, -half, root], [-inner, half, tip]],
                [[-outer, -half, root - self.palm], [outer, half, root]],
            ]
        )


@dataclass(frozen=True, eq=False)
class Grasp:
    """``centre`` (3,) between the fingers; ``axes`` (3, 3), columns closing, side, approach."""

    centre: Array
    axes: Array


#: Candidates of a first contact, and directions of approach around each closing axis.
_CONTACT_CANDIDATES = 400
_APPROACHES = 12

#: Points of the surface in collision tests, about 3 mm apart on an object of 15 cm.
OBSTACLE_POINTS = 4000

#: Least distance of a finger from the table, metres.
_TABLE_CLEARANCE_M = 0.001

#: Duplicate grasps: least distance of the centres, metres, and cosine of the least angle between
#: the closing axes.
_MIN_DISTANCE_M = 0.01
_MAX_AXIS_COSINE = float(np.cos(np.radians(30.0)))


def plan(mesh: Mesh, jaw: Jaw, count: int = 10, seed: int = 0) -> list[Grasp]:
    """
    Return up to ``count`` grasps of a mesh that stands on its lowest point, best first.

    Antipodal pairs (Chen and Burdick, Finding Antipodal Point Grasps on Irregularly Shaped
    Objects, 1993): from points drawn on the surface a ray goes through the object along the
    inward normal; the pair is taken if the line between both points lies in both friction cones
    and is short enough. The steepest approach without collision is chosen. The score prefers pairs
    perpendicular to the surface, near the object's middle and approached from above.
    """
    solid = Solid(mesh)
    points, normals = sample_with_normals(mesh, _CONTACT_CANDIDATES, seed)
    first, second, squareness = _pairs(solid, points, normals, jaw)
    centres = 0.5 * (first + second)
    middle = 0.5 * (solid.low + solid.high)
    size = float(np.linalg.norm(solid.high - solid.low))
    obstacles, _ = sample_with_normals(mesh, OBSTACLE_POINTS, seed + 1)
    floor = float(solid.low[2])
    quality = squareness - np.linalg.norm(centres - middle, axis=1) / size
    ranked: list[tuple[float, Grasp]] = []
    for index in np.argsort(-quality, kind='stable'):
        if len(ranked) >= 3 * count:
            break
        frames = _approaches(second[index] - first[index])
        if any(_same(grasp, centres[index], frames[0][:, 0]) for _, grasp in ranked):
            continue
        for axes in frames:
            grasp = Grasp(centres[index], axes)
            if is_free(grasp, jaw, obstacles, floor):
                steepness = -float(axes[2, 2])
                ranked.append((float(quality[index]) + 0.3 * steepness, grasp))
                break
    ranked.sort(key=lambda entry: -entry[0])
    return [grasp for _, grasp in ranked[:count]]


def is_free(grasp: Grasp, jaw: Jaw, obstacles: Array, floor: float) -> bool:
    """Return whether the open jaw touches neither points (n, 3) nor the table at ``floor``."""
    boxes = jaw.boxes()
    corners = np.stack(
        np.meshgrid(*[[boxes[:, 0, k].min(), boxes[:, 1, k].max()] for k in range(3)]), axis=-1
    ).reshape(-1, 3)
    if (grasp.centre[2] + corners @ grasp.axes[2] < floor + _TABLE_CLEARANCE_M).any():
        return False
    local = (obstacles - grasp.centre) @ grasp.axes
    inside = (local > boxes[:, None, 0]).all(axis=2) & (local < boxes[:, None, 1]).all(axis=2)
    return not inside.any()


def _pairs(solid: Solid, points: Array, normals: Array, jaw: Jaw) -> tuple[Array, Array, Array]:
    """Return both contacts (n, 3) of antipodal pairs, and how square they are, 0 to 1."""
    # The ray starts inside, so that the first hit is the opposite contact.
    start = points - 1e-4 * normals
    distance, other = solid.cast(start, -normals)
    width = distance + 1e-4
    square = np.abs(np.einsum('ij,ij->i', other, normals))
    good = np.isfinite(distance) & (width < 0.95 * jaw.opening) & (width > 0.002)
    good &= square > friction_cosine(jaw.friction)
    return points[good], (points - width[:, None] * normals)[good], square[good]


def _same(grasp: Grasp, centre: Array, closing: Array) -> bool:
    near = float(np.linalg.norm(grasp.centre - centre)) < _MIN_DISTANCE_M
    return near and abs(float(grasp.axes[:, 0] @ closing)) > _MAX_AXIS_COSINE


def _approaches(closing: Array) -> list[Array]:
    """Return the axes of grasps about a closing direction, the steepest approach first."""
    x = closing / np.linalg.norm(closing)
    side = np.cross(x, [0.0, 0.0, 1.0] if abs(x[2]) < 0.99 else [1.0, 0.0, 0.0])
    side /= np.linalg.norm(side)
    lift = np.cross(side, x)
    frames = []
    for angle in np.arange(_APPROACHES) * (2.0 * np.pi / _APPROACHES):
        z = np.cos(angle) * lift + np.sin(angle) * side
        frames.append(np.stack([x, np.cross(z, x), z], axis=1))
    return sorted(frames, key=lambda axes: float(axes[2, 2]))


def friction_cosine(friction: float) -> float:
    """Return the cosine of the half angle of the friction cone."""
    return float(np.cos(np.arctan(friction)))
