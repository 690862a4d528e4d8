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

"""What holds an object: a parallel gripper, a suction cup, a hand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lift3d_ros.geometry import Array
from lift3d_ros.geometry import rigid
from lift3d_ros.geometry import transform
from lift3d_ros.geometry import unit
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.synthetic.clutter import solid_mesh

#: Names of what can hold an object.
HOLDERS = ('gripper', 'suction_cup', 'hand')

#: Points of the object's surface that a grasp is fitted to.
_POINTS = 4000

#: Widest opening of the jaws of a large gripper (Robotiq 2F-140) and of a hand, metres.
_OPENING_M = {'gripper': 0.14, 'hand': 0.12}


@dataclass(frozen=True)
class Grasp:
    """
    Where two opposite sides are touched, in the frame of the object.

    - ``axes``: (3, 3), columns: closing direction, direction along the palm, approach.
    - ``centre``: (3,) the middle between the contacts, at the front of the object.
    - ``low``, ``high``: contacts along the closing direction from the centre, metres.
    - ``palm``, ``tip``: along the approach from the centre: the palm's face, the fingertips.
    """

    axes: Array
    centre: Array
    low: float
    high: float
    palm: float
    tip: float

    def place(self, points: ArrayLike) -> Array:
        """Return points (..., 3), closing, along and approach, in the frame of the object."""
        return transform(rigid(self.axes, self.centre), points)

    def pose(self, closing: float, along: float, approach: float) -> Array:
        """Return the pose (4, 4) of a part at these coordinates, with the axes of the grasp."""
        return rigid(self.axes, self.place((closing, along, approach)))


def holders(
    kind: str, posed: Mesh, rng: np.random.Generator, count: int = 8
) -> Iterator[list[Mesh]]:
    """
    Yield up to ``count`` ways to hold a mesh, each the meshes of the holder, in its frame.

    ``posed`` has z up; ``kind`` is one of ``HOLDERS``. None is yielded for an object that is too
    large for the holder from every side.
    """
    face, weights = posed.sample(_POINTS, rng)
    corners: Array = posed.vertices[posed.faces[face]].astype(np.float64)
    points = np.einsum('ijk,ij->ik', corners, weights)
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-20)
    for _ in range(count):
        if kind == 'suction_cup':
            yield _suction_cup(points, normals, rng)
            continue
        grasp = _find_grasp(points, _OPENING_M[kind], rng)
        if grasp is not None:
            yield _gripper(grasp, rng) if kind == 'gripper' else _hand(grasp, points, rng)


def _find_grasp(
    points: Array, opening: float, rng: np.random.Generator
) -> Grasp | None:
    """Return a grasp near the middle of the object, None where it is too wide for 20 draws."""
    middle = (points.min(axis=0) + points.max(axis=0)) / 2.0
    for _ in range(20):
        turn = rng.uniform(0.0, 2.0 * np.pi)
        if rng.random() < 0.4:
            approach = unit([0.3 * rng.normal(), 0.3 * rng.normal(), -1.0])
        else:
            approach = unit([np.cos(turn), np.sin(turn), rng.uniform(-0.6, 0.1)])
        other = rng.normal(size=3)
        if rng.random() < 0.7:
            # Closing horizontally.
            other = np.cross(approach, (0.0, 0.0, 1.0)) + 1e-3 * other
        closing = unit(other - approach * (approach @ other))
        axes = np.stack([closing, np.cross(approach, closing), approach], axis=1)
        local = (points - middle) @ axes
        along = rng.uniform(-0.25, 0.25) * float(np.ptp(local[:, 1]))
        local[:, 1] -= along
        slab = np.abs(local[:, 1]) < 0.012
        if np.count_nonzero(slab) < 20:
            continue
        front = float(np.quantile(local[slab, 2], 0.02))
        reach = float(rng.uniform(0.02, 0.05))
        pad = slab & (local[:, 2] < front + reach)
        low, high = float(local[pad, 0].min()), float(local[pad, 0].max())
        if high - low > opening:
            continue
        shift = 0.5 * (low + high)
        over = (np.abs(local[:, 1]) < 0.045) & (np.abs(local[:, 0] - shift) < 0.07)
        centre = middle + axes @ np.array([shift, along, front])
        palm = min(float(local[over, 2].min()) - front, 0.0) - rng.uniform(0.004, 0.03)
        return Grasp(axes, centre, low - shift, high - shift, palm, reach)
    return None


def _gripper(grasp: Grasp, rng: np.random.Generator) -> list[Mesh]:
    """Return a parallel gripper: two fingers, a palm, a wrist and the robot's forearm."""
    import trimesh

    creation = trimesh.creation
    thick, wide = rng.uniform(0.006, 0.014), rng.uniform(0.014, 0.028)
    length = grasp.tip - grasp.palm
    parts = []
    for contact, side in ((grasp.high, 1.0), (grasp.low, -1.0)):
        pose = grasp.pose(contact + side * (0.5 * thick + 0.001), 0.0, grasp.tip - 0.5 * length)
        parts.append(creation.box((thick, wide, length), pose))
    body = rng.uniform(0.05, 0.09)
    width = max(rng.uniform(0.08, 0.13), grasp.high - grasp.low + 2.0 * thick)
    height = rng.uniform(0.04, 0.07)
    palm = creation.box((width, height, body), grasp.pose(0.0, 0.0, grasp.palm - 0.5 * body))
    radius = rng.uniform(0.03, 0.045)
    wrist = grasp.palm - body
    elbow = np.array([*rng.normal(0.0, 0.12, 2), wrist - rng.uniform(0.25, 0.5)])
    ends = grasp.place(np.array([(0.0, 0.0, wrist), (0.0, 0.0, wrist - 0.08), elbow]))
    arm = [_tube(ends[0], ends[1], radius), _capsule(ends[1], ends[2], 1.4 * radius)]
    metal = _shade(rng.choice([35.0, 60.0, 150.0]), rng)
    return [
        solid_mesh(parts, _shade(rng.choice([30.0, 50.0, 160.0]), rng)),
        solid_mesh([palm], metal),
        solid_mesh(arm, _shade(rng.choice([40.0, 120.0, 200.0, 225.0]), rng)),
    ]


def _hand(
    grasp: Grasp, points: Array, rng: np.random.Generator
) -> list[Mesh]:
    """Return a hand of capsules: four fingers opposite a thumb, a palm and a forearm."""
    import trimesh

    scale = rng.uniform(0.85, 1.1)
    local = (points - grasp.centre) @ grasp.axes
    parts = []
    root = grasp.palm - 0.012 * scale
    side = rng.choice([-1.0, 1.0])
    for along, radius, reach in (
        (0.030, 0.0075, 0.8), (0.010, 0.0085, 1.0), (-0.010, 0.0085, 0.95), (-0.030, 0.008, 0.85),
        (0.012, 0.0105, 0.7),
    ):
        thumb = radius > 0.01
        y, r = along * scale, radius * scale
        tip = root + reach * (grasp.tip - root)
        slab = (np.abs(local[:, 1] - y) < r) & (local[:, 2] < tip + r)
        across = side * local[slab, 0]
        if thumb:
            across = -across
        contact = float(across.max()) if slab.any() else 0.5 * (grasp.high - grasp.low)
        sign = -side if thumb else side
        wide = contact + r + 0.010 * scale
        corners = grasp.place(
            [
                (sign * (wide - 0.5 * r), y, root),
                (sign * wide, y + 0.002, 0.5 * (root + tip)),
                (sign * (contact + 0.8 * r), y, tip),
            ]
        )
        parts += [
            _capsule(corners[0], corners[1], r), _capsule(corners[1], corners[2], 0.92 * r)
        ]
    palm = trimesh.creation.icosphere(2, 1.0)
    half = 0.5 * (grasp.high - grasp.low) + 0.022 * scale
    palm.apply_scale((half, 0.046 * scale, 0.022 * scale))
    palm.apply_transform(grasp.pose(0.0, 0.0, root - 0.020 * scale))
    wrist = root - 0.06 * scale
    elbow = np.array([*rng.normal(0.0, 0.08, 2), wrist - rng.uniform(0.25, 0.45)])
    ends = grasp.place(np.array([(0.0, 0.0, root - 0.02), (0.0, 0.0, wrist), elbow]))
    parts += [palm, _capsule(ends[0], ends[1], 0.028 * scale)]
    # From pale to dark brown.
    skin = np.array([224.0, 180.0, 152.0]) * rng.uniform(0.35, 1.05)
    sleeve = skin if rng.random() < 0.5 else rng.uniform(30.0, 220.0, 3)
    forearm = _capsule(ends[1], ends[2], 0.036 * scale)
    return [solid_mesh(parts, skin), solid_mesh([forearm], sleeve)]


def _suction_cup(
    points: Array, normals: Array, rng: np.random.Generator
) -> list[Mesh]:
    """Return a suction cup on a tube, on a place that faces up if there is one."""
    import trimesh

    middle = points.mean(axis=0)
    reach = np.ptp(points, axis=0).max()
    # A plan prefers places above the centre of mass that face up.
    offset = np.linalg.norm((points - middle)[:, :2], axis=1) / reach
    outward = np.einsum('ij,ij->i', points - middle, normals) > 0.0
    rank = normals[:, 2] - 1.5 * offset + 0.4 * rng.random(len(points)) - 2.0 * ~outward
    best = int(rank.argmax())
    normal = unit(normals[best] + 0.1 * rng.normal(size=3))
    radius = rng.uniform(0.008, 0.02)
    ends = [points[best] + along * normal for along in (-0.002, 0.01, 0.022)]
    parts = [
        trimesh.creation.cylinder(radius, segment=ends[:2], sections=24),
        trimesh.creation.cylinder(0.75 * radius, segment=ends[1:], sections=24),
    ]
    direction = unit(normal + np.array([*rng.normal(0.0, 0.25, 2), 0.6]))
    tube = ends[2] + rng.uniform(0.3, 0.7) * direction
    rod = rng.uniform(0.004, 0.013)
    shade = _shade(rng.choice([35.0, 60.0, 170.0]), rng)
    return [
        solid_mesh(parts, rng.uniform(20.0, 120.0, 3)),
        solid_mesh([_tube(ends[2] - 0.002 * direction, tube, rod)], shade),
    ]


def _tube(start: Array, end: Array, radius: float) -> Any:
    import trimesh

    return trimesh.creation.cylinder(radius, segment=[start, end], sections=24)


def _capsule(start: Array, end: Array, radius: float) -> Any:
    """Return a cylinder between two points (3,) with round ends."""
    import trimesh

    length = float(np.linalg.norm(end - start))
    solid = trimesh.creation.capsule(length, radius, count=[12, 16])
    # Along z; whether its middle or its start is at the origin depends on the version of trimesh.
    solid.apply_translation(-solid.bounds.mean(axis=0))
    solid.apply_transform(trimesh.geometry.align_vectors((0.0, 0.0, 1.0), (end - start) / length))
    solid.apply_translation(0.5 * (start + end))
    return solid


def _shade(grey: float, rng: np.random.Generator) -> Array:
    return np.clip(grey * (1.0 + rng.normal(0.0, 0.08, 3)), 8.0, 245.0)
