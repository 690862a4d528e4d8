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
Hypotheses about the unobserved side of an object: symmetries and thicknesses, with weights.

A symmetry maps a view of an object to a valid virtual view, which bounds the unobserved side as
the real view bounds the observed side. No single symmetry is certain, so many symmetries vote,
weighted by their plausibility.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.geometry import Array
from lift3d_ros.geometry import Floats
from lift3d_ros.geometry import rigid
from lift3d_ros.geometry import transform
from lift3d_ros.observation.object_observation import ObjectObservation

#: Order of the rotational symmetry that approximates a solid of revolution.
REVOLUTION = 8

#: Kinds of hypotheses, in the order of ``Plausibility.kind``.
KINDS = ('none', 'half_turn', 'revolution', 'quarter_turns', 'mirror', 'two_mirrors')


@dataclass(frozen=True, eq=False)
class Hypothesis:
    """
    A hypothesis about the unobserved side of an object.

    - ``kind``: one of ``KINDS``.
    - ``motions``: (k, 4, 4) rigid motions of the optical frame that map the object onto itself,
      without the identity; those of a mirror have determinant -1. Empty for ``none``.
    - ``thickness``: the object ends at this multiple of the local thickness behind the measured
      surface (``ObjectObservation.thickness``); inf for no such bound.
    - ``weight``: share of the votes, 0 to 1.
    """

    kind: str
    motions: Array
    thickness: float
    weight: float

    def occupancy_bound(
        self, observation: ObjectObservation, points: Floats
    ) -> NDArray[np.float32]:
        """Return the depth of points (n, 3) inside the hypothetical object, (n,) metres."""
        value = virtual_views(observation, self.motions, points)
        if np.isfinite(self.thickness):
            np.minimum(value, thickness_left(observation, points, self.thickness), out=value)
        return value


@dataclass(frozen=True)
class Plausibility:
    """
    The constants of the energy of a hypothesis.

    energy = contradiction v + root_contradiction sqrt(v) - agreement s
             + (large | small) (ln(V / A^1.5) - log_volume)^2 + kind + bounded

    v is the share of the measured surface that the virtual views map into free space, s the share
    that they map onto measured surface, V the remaining volume, A the area of the silhouette at
    the object's distance; ``large`` applies above the expected volume, ``small`` below. The weight
    of a hypothesis is exp(-energy / temperature).

    The values minimise the error between the weighted votes and the volumes of the scans of the
    train split.
    """

    contradiction: float = 14.0
    root_contradiction: float = 3.0
    agreement: float = 1.0
    log_volume: float = -1.2
    large: float = 0.5
    small: float = 0.3
    kind: tuple[float, ...] = (3.0, 0.0, 0.5, 0.0, 0.8, 0.8)
    bounded: float = 1.0
    temperature: float = 1.0

    def energy(self, features: Array) -> Array:
        """Return the energies (n,) of features (n, 5): kind, bounded, v, s, ln(V / A^1.5)."""
        kind, bounded, v, s, volume = features.T
        deviation = volume - self.log_volume
        return (
            self.misfit(v, s)
            + np.where(deviation > 0.0, self.large, self.small) * deviation**2
            + np.asarray(self.kind)[kind.astype(int)]
            + self.bounded * bounded
        )

    def misfit(self, v: Array, s: Array) -> Array:
        """Return the terms of the energy that depend on v and s."""
        return (
            self.contradiction * v + self.root_contradiction * np.sqrt(v) - self.agreement * s
        )


def mirror(angle: float, distance: float) -> Array:
    """Return the reflection (1, 4, 4) at the vertical plane ``x cos a + y sin a = distance``."""
    n = np.array([np.cos(angle), np.sin(angle), 0.0])
    return rigid(np.eye(3) - 2.0 * np.outer(n, n), 2.0 * distance * n)[None]


def rotations(x: float, y: float, order: int) -> Array:
    """Return rotations (order - 1, 4, 4) by 360 / order degrees about the vertical at (x, y)."""
    a = 2.0 * np.pi * np.arange(1, order) / order
    motions = np.tile(np.eye(4), (order - 1, 1, 1))
    motions[:, 0, 0] = motions[:, 1, 1] = np.cos(a)
    motions[:, 1, 0] = np.sin(a)
    motions[:, 0, 1] = -np.sin(a)
    centre = np.array([x, y, 0.0])
    motions[:, :3, 3] = centre - motions[:, :3, :3] @ centre
    return motions


def two_mirrors(angle: float, x: float, y: float) -> Array:
    """Return two reflections at right angles through the vertical at (x, y), and their product."""
    c, s = np.cos(angle), np.sin(angle)
    return np.concatenate(
        [
            mirror(angle, c * x + s * y),
            mirror(angle + np.pi / 2.0, c * y - s * x),
            rotations(x, y, 2),
        ]
    )


def virtual_views(
    observation: ObjectObservation, motions: Array, points: Floats
) -> NDArray[np.float32]:
    """Return the smallest bound of the virtual views at points (n, 3), (n,) metres."""
    value = np.full(len(points), np.inf, np.float32)
    for motion in motions:
        np.minimum(value, observation.occupancy_bound(transform(motion, points)), out=value)
    return value


def thickness_left(
    observation: ObjectObservation, points: Floats, factor: float
) -> NDArray[np.float32]:
    """Return the distance of points (n, 3) from the back of an object of local thickness, (n,)."""
    behind, thickness = observation.thickness_at(points)
    return factor * thickness - behind


def candidates(points: Array, size: float) -> list[tuple[str, Array, float]]:
    """
    Return the kind, motions and thickness of every hypothesis.

    ``points`` (n, 3) are measured points, and the motions act, in a frame with z up and x towards
    the camera; ``size`` is the size of the object in metres.
    """
    low, high = points.min(axis=0), points.max(axis=0)
    span = horizontal_span(points, size)
    # The origin is in the observed part; the unobserved side is along -x.
    depths = np.linspace(0.05, 1.2, 16) * span
    backs = high[0] - depths
    sides = 0.5 * (low[1] + high[1]) + span * np.linspace(-0.25, 0.25, 5)
    symmetries: list[tuple[str, Array]] = []
    for x in backs:
        for y in sides:
            symmetries.append(('half_turn', rotations(x, y, 2)))
            symmetries.append(('quarter_turns', rotations(x, y, 4)))
            symmetries.append(('revolution', rotations(x, y, REVOLUTION)))
    for angle in np.radians(np.arange(-75.0, 76.0, 15.0)):
        along = points[:, 0] * np.cos(angle) + points[:, 1] * np.sin(angle)
        for depth in depths:
            symmetries.append(('mirror', mirror(angle, float(along.max()) - depth)))
    for angle in np.radians(np.arange(0.0, 90.0, 15.0)):
        for x in backs[::2]:
            for y in sides[1:4]:
                symmetries.append(('two_mirrors', two_mirrors(angle, x, y)))
    no_motions = np.zeros((0, 4, 4))
    bounded = [('none', no_motions, factor) for factor in (0.8, 1.0, 1.5)]
    return bounded + [(kind, m, t) for kind, m in symmetries for t in (1.5, np.inf)]


def horizontal_span(points: Array, size: float) -> float:
    """Return the largest horizontal extent of points (n, 3), at least half the ``size``."""
    return max(float(np.ptp(points[:, :2], axis=0).max()), 0.5 * size)
