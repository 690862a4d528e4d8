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
The symmetry that completes what one view shows.

A symmetric object seen by one camera is seen by that camera's images under the symmetry too. Each
candidate is judged by what these virtual views say of the measured points (a point in the free
space of a virtual view contradicts the candidate) and by the size of what all views together
leave solid: without a prior for size the plainest contradiction-free symmetry is one far behind
the object.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.geometry import Array
from lift3d_ros.geometry import invert
from lift3d_ros.geometry import rigid
from lift3d_ros.geometry import transform
from lift3d_ros.surface.observation import Observation

#: Rotations of a solid of revolution that are looked at: more change the solid no more than a
#: voxel does.
REVOLUTION = 8


@dataclass(frozen=True, eq=False)
class Symmetry:
    """
    A group of rigid motions, less the identity, that map the object onto itself.

    - ``kind``: ``mirror``, ``half_turn`` or ``revolution``.
    - ``motions``: (k, 4, 4), in the optical frame; a mirror's has determinant -1.
    - ``violation``: 0 to 1, how much of the measured surface contradicts it.
    """

    kind: str
    motions: Array
    violation: float


def mirror(angle: float, distance: float) -> Array:
    """Return the reflection (1, 4, 4) at the vertical plane ``x cos a + y sin a = distance``."""
    n = np.array([np.cos(angle), np.sin(angle), 0.0])
    return rigid(np.eye(3) - 2.0 * np.outer(n, n), 2.0 * distance * n)[None]


def rotations(x: float, y: float, order: int) -> Array:
    """Return the rotations (order - 1, 4, 4) by 360 / order degrees about a vertical axis."""
    motions = []
    for k in range(1, order):
        a = 2.0 * np.pi * k / order
        R = np.array([[np.cos(a), -np.sin(a), 0.0], [np.sin(a), np.cos(a), 0.0], [0, 0, 1.0]])
        centre = np.array([x, y, 0.0])
        motions.append(rigid(R, centre - R @ centre))
    return np.stack(motions)


def combine(
    observation: Observation, motions: Array, points: NDArray[np.floating]
) -> NDArray[np.float32]:
    """Return how solid the virtual views alone let points (n, 3) be, (n,) metres, the least."""
    value = np.full(len(points), np.inf, np.float32)
    for motion in motions:
        np.minimum(value, observation.solid(transform(motion, points)), out=value)
    return value


@dataclass(frozen=True)
class SymmetrySearch:
    """
    How symmetries are looked for and weighed.

    - ``volume_prior``: median of volume / (area of the silhouette)^(3/2) of household objects, and
      ``volume_spread``, the standard deviation of its logarithm.
    - ``violation_weight``: of a fully contradicted symmetry against one standard deviation.
    """

    volume_prior: float = 0.45
    volume_spread: float = 0.45
    violation_weight: float = 12.0
    tolerance: float = 0.02
    points: int = 300
    cells: int = 1500


def find_symmetry(
    observation: Observation,
    T_camera_up: Array,
    area: float,
    lattice: Array,
    cell_volume: float,
    rng: np.random.Generator,
    search: SymmetrySearch | None = None,
) -> Symmetry:
    """
    Return the most plausible symmetry with a vertical plane or axis.

    ``T_camera_up`` is a frame with z up and its origin amid the measured points, ``area`` the
    silhouette's in square metres at the object's distance, ``lattice`` points (n, 3) of the
    optical frame that the view itself allows to be solid, each standing for ``cell_volume``.
    """
    search = search or SymmetrySearch()
    points = observation.points()
    points = points[rng.permutation(len(points))[: search.points]]
    cells = lattice[rng.permutation(len(lattice))[: search.cells]]
    share = cell_volume * len(lattice) / max(len(cells), 1)
    size = np.sqrt(area)
    T_up_camera = invert(T_camera_up)
    tolerance = search.tolerance * size

    def cost(motions: Array) -> tuple[float, float, Array]:
        motions = T_camera_up @ motions @ T_up_camera
        free = -combine(observation, motions, points) - tolerance
        violation = float(np.clip(free / (0.1 * size), 0.0, 1.0).mean())
        volume = share * np.count_nonzero(combine(observation, motions, cells) > 0.0)
        expected = search.volume_prior * area**1.5
        deviation = np.log(max(volume, 1e-3 * expected) / expected) / search.volume_spread
        return search.violation_weight * violation + 0.5 * deviation**2, violation, motions

    local = transform(T_up_camera, points)
    low, high = local.min(axis=0), local.max(axis=0)
    span = float(max(high[0] - low[0], high[1] - low[1], 0.5 * size))
    middle = 0.5 * (low[1] + high[1])
    # The origin is amid the front; the far side lies along -x, away from the camera.
    backs = np.linspace(high[0] - 0.05 * span, high[0] - 1.2 * span, 14)
    sides = middle + span * np.linspace(-0.3, 0.3, 5)
    candidates: list[tuple[str, tuple[float, ...]]] = [
        (kind, (x, y)) for kind in ('half_turn', 'revolution') for x in backs for y in sides
    ]
    for angle in np.radians(np.arange(-60.0, 61.0, 20.0)):
        along = local[:, 0] * np.cos(angle) + local[:, 1] * np.sin(angle)
        for d in np.linspace(along.max() - 0.05 * span, along.max() - 1.2 * span, 14):
            candidates.append(('mirror', (float(angle), float(d))))

    build = {
        'mirror': mirror,
        'half_turn': lambda x, y: rotations(x, y, 2),
        'revolution': lambda x, y: rotations(x, y, REVOLUTION),
    }
    ranked = sorted(
        ((cost(build[kind](*at))[0], kind, at) for kind, at in candidates), key=lambda c: c[0]
    )
    # Each kind's best is refined by a pattern search before the kinds are compared.
    winner: tuple[float, str, tuple[float, ...]] | None = None
    for kind in build:
        value, _, at = next(c for c in ranked if c[1] == kind)
        step = np.array([np.radians(10.0), 0.04 * span] if kind == 'mirror' else [0.04 * span] * 2)
        for _ in range(4):
            for axis in (0, 1):
                for sign in (-1.0, 1.0):
                    trial = list(at)
                    trial[axis] += sign * step[axis]
                    other = cost(build[kind](*trial))[0]
                    if other < value:
                        value, at = other, tuple(trial)
            step *= 0.5
        if winner is None or value < winner[0]:
            winner = value, kind, at
    assert winner is not None
    _, violation, motions = cost(build[winner[1]](*winner[2]))
    return Symmetry(winner[1], motions, violation)
