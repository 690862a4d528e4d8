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
A radiance field as a ``Field``: the occupancy and the colours from which a mesh is extracted.

The occupancy is the opacity of a path of ``length`` through the density at a point,
1 - exp(-density length). Rendering does not see cavities that are enclosed by opaque surface, and
leaves any density in them; they count as occupied.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

from lift3d_ros.fields.radiance import RadianceField
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import Floats

#: Path whose opacity is the occupancy, canonical units: at the occupancy of one half, a part as
#: thick as 10 % of the object's longest side is half opaque. The density there is 6.9. Hash grids
#: fitted to 16 true views of six scans of the train split have the volume IoU 0.608, 0.717, 0.738,
#: 0.726, 0.710 with the lengths 0.02, 0.05, 0.1, 0.2, 0.4; that of tri-planes is best at 0.1, too.
OPACITY_LENGTH = 0.1

#: Cells along a side of the grid in which bounds and enclosed cavities are determined.
GRID_CELLS = 64

#: Occupancy of the surface that encloses a cavity.
ENCLOSING_LEVEL = 0.5

#: Points that are evaluated at once.
CHUNK = 2**16


class RadianceOccupancy:
    """
    A ``Field`` over the cube of a radiance field, with its parameters as they are now.

    Bounds and cavities are determined once: a field that is trained further needs another.
    """

    def __init__(
        self,
        field: RadianceField,
        length: float = OPACITY_LENGTH,
        cells: int = GRID_CELLS,
        to_rgb: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        """
        Keep the field; ``to_rgb`` maps its albedo (n, channels) to RGB (n, 3) in [0, 1].

        Raises ``ValueError`` for a length that is not positive, fewer than 2 cells, and a field of
        latents without ``to_rgb``.
        """
        if not length > 0.0 or cells < 2:
            raise ValueError(f'no occupancy over paths of {length} in {cells} cells')
        if field.channels != 3 and to_rgb is None:
            raise ValueError('a field of latents has no colours')
        self.field, self.length, self.cells = field, length, cells
        self._to_rgb = to_rgb if to_rgb is not None else lambda albedo: albedo

    @property
    def centre(self) -> Array:
        """Centre (3,) of the cube, the origin."""
        return np.zeros(3)

    @property
    def side(self) -> float:
        """Edge of the cube, canonical units."""
        return 2.0 * self.field.bound

    @property
    def voxel(self) -> float:
        """Edge of a cell, canonical units."""
        return self.side / self.cells

    def occupancy(self, points: Floats) -> NDArray[np.float32]:
        """Return the occupancy (n,) at canonical points (n, 3), 0 outside of the cube."""
        from scipy import ndimage

        points = np.asarray(points)
        value = self._opacity(points)
        filled = self._filled
        if filled.any():
            index = (points + self.field.bound) / self.voxel - 0.5
            value = np.maximum(
                value, ndimage.map_coordinates(filled, index.T, order=1, mode='constant')
            )
        return value

    @torch.no_grad()
    def colors(self, points: Floats) -> NDArray[np.uint8] | None:
        """Return uint8 RGB (n, 3) at canonical points (n, 3)."""
        parts = [
            self._to_rgb(self.field.albedo(part)).clamp(0.0, 1.0) for part in self._parts(points)
        ]
        if not parts:
            return np.zeros((0, 3), np.uint8)
        return np.rint(255.0 * torch.cat(parts).detach().cpu().numpy()).astype(np.uint8)

    def bounds(self, level: float) -> tuple[Array, Array] | None:
        """Return the corners (3,) of the box of all cells >= ``level``; None if it is empty."""
        index = np.argwhere(np.maximum(self._grid, self._filled) >= level)
        if not len(index):
            return None
        corner = np.full(3, -self.field.bound)
        return (
            corner + index.min(axis=0) * self.voxel, corner + (index.max(axis=0) + 1) * self.voxel
        )

    @cached_property
    def _grid(self) -> NDArray[np.float32]:
        """Occupancy in the middles of the cells, axes x, y, z, without cavities."""
        axis = (np.arange(self.cells) + 0.5) * self.voxel - self.field.bound
        points = np.stack(np.meshgrid(axis, axis, axis, indexing='ij'), axis=-1)
        return self._opacity(points.reshape(-1, 3)).reshape(points.shape[:3])

    @cached_property
    def _filled(self) -> NDArray[np.float32]:
        """One in enclosed cavities and in the cells of the surface beside them, else 0."""
        from scipy import ndimage

        surface = self._grid >= ENCLOSING_LEVEL
        cavities = ndimage.binary_fill_holes(surface) & ~surface
        grown = ndimage.binary_dilation(cavities, np.ones((3, 3, 3)))
        return (cavities | (grown & surface)).astype(np.float32)

    @torch.no_grad()
    def _opacity(self, points: Floats) -> NDArray[np.float32]:
        parts = [
            -torch.expm1(-self.length * self.field.density(part)) * self.field.inside(part)
            for part in self._parts(points)
        ]
        if not parts:
            return np.zeros(0, np.float32)
        values = torch.cat(parts).detach().cpu().numpy().astype(np.float32)
        return np.nan_to_num(values, copy=False, nan=0.0)

    def _parts(self, points: Floats) -> list[Tensor]:
        """Return points as tensors of at most ``CHUNK``, where and as the field is."""
        like = next(self.field.parameters())
        whole = torch.as_tensor(np.ascontiguousarray(points)).to(like.device, like.dtype)
        return list(whole.split(CHUNK)) if len(whole) else []
