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

"""A probability of being inside, and a colour, over a cube of canonical space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.geometry import Array
from lift3d_ros.geometry import Floats


class Solid(Protocol):
    """A solid that is believed in: how probably a canonical place is inside, and its colour."""

    @property
    def centre(self) -> Array:
        """Middle (3,) of the cube that it lies in, canonical units."""

    @property
    def side(self) -> float:
        """Edge of that cube, beyond which the probability is 0, canonical units."""

    @property
    def voxel(self) -> float:
        """Over about this length the probability falls at the surface, canonical units."""

    def probability_at(self, points: Floats) -> NDArray[np.float32]:
        """Return the probability of being inside, (n,), at canonical points (n, 3)."""

    def color_at(self, points: Floats) -> NDArray[np.uint8]:
        """Return uint8 RGB (n, 3) at canonical points (n, 3)."""

    def bounds(self, level: float) -> tuple[Array, Array] | None:
        """Return the corners (3,) of the box of what is at or over ``level``; None: no such."""


@dataclass(frozen=True, eq=False)
class SolidField:
    """
    What a network believes of a solid, sampled at the voxel centres of a cube.

    - ``probability``: float32 (n, n, n), of a place being inside, axes x, y, z.
    - ``color``: float32 RGB in [0, 1], (3, n, n, n).
    - ``centre``: (3,) and ``side``: of the cube, canonical units.
    """

    probability: NDArray[np.float32]
    color: NDArray[np.float32]
    centre: Array
    side: float

    @property
    def voxel(self) -> float:
        """Edge of a voxel, canonical units."""
        return self.side / self.probability.shape[0]

    def probability_at(self, points: Floats) -> NDArray[np.float32]:
        """Return the probability at canonical points (n, 3), 0 beyond the cube."""
        return self._at(self.probability, points, 'constant')

    def color_at(self, points: Floats) -> NDArray[np.uint8]:
        """Return uint8 RGB (n, 3) at canonical points (n, 3)."""
        found = np.stack([self._at(channel, points, 'nearest') for channel in self.color], axis=1)
        return np.clip(np.rint(255.0 * found), 0.0, 255.0).astype(np.uint8)

    def bounds(self, level: float) -> tuple[Array, Array] | None:
        """Return the corners (3,) of the box of all voxels at or over ``level``; None: no such."""
        at = np.argwhere(self.probability >= level)
        if not len(at):
            return None
        corner = self.centre - 0.5 * self.side
        return corner + at.min(axis=0) * self.voxel, corner + (at.max(axis=0) + 1) * self.voxel

    def _at(self, field: NDArray[np.float32], points: Floats, mode: str) -> NDArray[np.float32]:
        from scipy import ndimage

        index = (np.asarray(points) - self.centre) / self.voxel + 0.5 * (field.shape[0] - 1)
        return np.asarray(
            ndimage.map_coordinates(field, index.T, order=1, mode=mode, cval=0.0), np.float32
        )
