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

"""A field sampled on a regular grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.geometry import Array
from lift3d_ros.geometry import Floats


@dataclass(frozen=True, eq=False)
class OccupancyGrid:
    """
    A ``Field`` at the voxel centres of a grid, trilinear between them.

    - ``values``: float32 (nx, ny, nz), the probability of being inside, axes x, y, z.
    - ``origin``: (3,), centre of the first voxel, canonical units.
    - ``voxel``: edge of a voxel, canonical units.
    - ``rgb``: float32 RGB in [0, 1], (3, nx, ny, nz); None without colour.
    """

    values: NDArray[np.float32]
    origin: Array
    voxel: float
    rgb: NDArray[np.float32] | None = None

    @classmethod
    def of_cube(
        cls, values: NDArray[np.float32], rgb: NDArray[np.float32], centre: Array, side: float
    ) -> OccupancyGrid:
        """Return the grid of a cube with the given centre (3,) and edge, canonical units."""
        voxel = side / values.shape[0]
        return cls(values, centre - 0.5 * voxel * (values.shape[0] - 1), voxel, rgb)

    @property
    def centre(self) -> Array:
        """Centre (3,) of the grid, canonical units."""
        return self.origin + 0.5 * self.voxel * (np.array(self.values.shape) - 1)

    @property
    def side(self) -> float:
        """Longest edge of the grid, canonical units."""
        return self.voxel * max(self.values.shape)

    def occupancy(self, points: Floats) -> NDArray[np.float32]:
        """Return the probability at canonical points (n, 3), 0 outside the grid."""
        return self._at(self.values, points, 'constant')

    def colors(self, points: Floats) -> NDArray[np.uint8] | None:
        """Return uint8 RGB (n, 3) at canonical points (n, 3); see ``Field``."""
        if self.rgb is None:
            return None
        values = np.stack([self._at(channel, points, 'nearest') for channel in self.rgb], axis=1)
        return np.clip(np.rint(255.0 * values), 0.0, 255.0).astype(np.uint8)

    def bounds(self, level: float) -> tuple[Array, Array] | None:
        """Return the corners (3,) of the box of all voxels >= ``level``; None if it is empty."""
        index = np.argwhere(self.values >= level)
        if not len(index):
            return None
        corner = self.origin - 0.5 * self.voxel
        return (
            corner + index.min(axis=0) * self.voxel, corner + (index.max(axis=0) + 1) * self.voxel
        )

    def inside(self) -> Array:
        """Return the centres (n, 3) of the voxels with a probability above 0.5."""
        return self.origin + self.voxel * np.argwhere(self.values > 0.5)

    def _at(self, grid: NDArray[np.float32], points: Floats, mode: str) -> NDArray[np.float32]:
        from scipy import ndimage

        index = (np.asarray(points) - self.origin) / self.voxel
        return np.asarray(
            ndimage.map_coordinates(grid, index.T, order=1, mode=mode, cval=0.0), np.float32
        )
