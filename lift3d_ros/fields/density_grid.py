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

"""Empty space in a radiance field, which rendering skips (Mueller et al. 2022, appendix C)."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch import Tensor
from torch.nn import functional

from lift3d_ros.fields.encodings import contract
from lift3d_ros.fields.encodings import uncontract
from lift3d_ros.fields.radiance import RadianceField

#: Share of the cells that are empty so far which a refresh samples after the warm-up.
EXPLORED_SHARE = 0.25


class DensityGrid(nn.Module):
    """
    The largest recent density in the cells of a grid over a field.

    A cell is occupied if its density, or that of a neighbour, makes ``min_alpha`` of a sample's
    interval opaque, or exceeds half the mean of all cells. The buffers belong to a checkpoint that
    is to be resumed. For a contracted field the cells divide contracted space.
    """

    values: Tensor
    occupied: Tensor
    corners: Tensor

    def __init__(
        self,
        field: RadianceField,
        interval: float,
        resolution: int = 32,
        decay: float = 0.6,
        every: int = 16,
        warm_up: int = 256,
        min_alpha: float = 0.01,
    ) -> None:
        """
        Make a grid of which all cells are occupied.

        - ``interval``: typical length of a sample's interval, canonical units.
        - ``every``: steps between refreshes, which multiply old densities by ``decay`` (0.95 in
          Instant-NGP, which takes 400 steps to find empty space; optimizations here have 100).
        - ``warm_up``: steps until which a refresh samples all cells, afterwards the occupied ones
          and ``EXPLORED_SHARE`` of the others.

        Raises ``ValueError`` for values out of range.
        """
        super().__init__()
        if not (2 <= resolution <= 512 and 0.0 < decay <= 1.0 and every >= 1 and interval > 0.0):
            raise ValueError(
                f'no density grid of {resolution} cubed with the decay {decay} every {every} '
                f'steps and intervals of {interval}'
            )
        if not 0.0 < min_alpha < 1.0:
            raise ValueError(f'the opacity {min_alpha} is not between 0 and 1')
        self.bound, self.contracted = field.bound, field.contracted
        self.resolution, self.decay, self.every = resolution, decay, every
        self.warm_up = warm_up
        self.threshold = -math.log1p(-min_alpha) / interval
        shape = (resolution,) * 3
        self.register_buffer('values', torch.zeros(shape))
        self.register_buffer('occupied', torch.ones(shape, dtype=torch.bool))
        self.register_buffer('corners', torch.tensor([[-1.0] * 3, [1.0] * 3]) * field.bound)

    @property
    def share(self) -> float:
        """Share of the cells that are occupied."""
        return float(self.occupied.float().mean())

    def update(
        self, field: RadianceField, step: int, generator: torch.Generator | None = None
    ) -> bool:
        """Refresh the grid if ``step`` is due; return whether it was."""
        if step % self.every:
            return False
        self.refresh(field, generator, whole=step < self.warm_up)
        return True

    @torch.no_grad()
    def refresh(
        self, field: RadianceField, generator: torch.Generator | None = None, whole: bool = True
    ) -> None:
        """
        Sample the density at a random point of each cell; without a generator at its middle.

        Without ``whole`` only of the occupied cells and a share of the others.
        """
        flat = self.values.view(-1)
        device = flat.device
        if whole:
            cells = torch.arange(len(flat), device=device)
        else:
            chosen = torch.rand(len(flat), generator=generator, device=device) < EXPLORED_SHARE
            cells = (chosen | self.occupied.view(-1)).nonzero()[:, 0]
        n = self.resolution
        index = torch.stack([cells // (n * n), cells // n % n, cells % n], dim=1)
        offset: Tensor | float = 0.5
        if generator is not None:
            offset = torch.rand(index.shape, generator=generator, device=device)
        points = (index + offset) * (2.0 / n) - 1.0
        if self.contracted:
            points = uncontract(2.0 * points)
        density = field.density(points * self.bound).to(flat.dtype)
        flat[cells] = torch.maximum(flat[cells] * self.decay, density.nan_to_num(nan=0.0))
        self._mark()

    @torch.no_grad()
    def fill(
        self,
        field: RadianceField,
        generator: torch.Generator | None = None,
        samples: int = 8,
    ) -> None:
        """Forget the old densities and sample each cell at ``samples`` random points."""
        self.values.zero_()
        if generator is None:
            generator = torch.Generator(self.values.device).manual_seed(0)
        for _ in range(samples):
            # A maximum over samples of the same field has no decay.
            self.values /= self.decay
            self.refresh(field, generator)

    def at(self, points: Tensor) -> Tensor:
        """Return which canonical points (n, 3) are in occupied cells, bool (n,)."""
        n = self.resolution
        unit = points / self.bound
        if self.contracted:
            unit = 0.5 * contract(unit)
        index = ((unit + 1.0) * (0.5 * n)).to(torch.int32).clamp_(0, n - 1)
        flat = (index[:, 0] * n + index[:, 1]) * n + index[:, 2]
        return self.occupied.view(-1).index_select(0, flat)

    def _mark(self) -> None:
        """Mark the occupied cells, and the corners (2, 3) of their box in canonical units."""
        # Below the mean, as all cells of a constant density have the same.
        limit = (0.5 * self.values.mean()).clamp(max=self.threshold)
        occupied = (self.values > limit).float()[None, None]
        self.occupied = functional.max_pool3d(occupied, 3, 1, 1)[0, 0] > 0.5
        if self.contracted:
            return
        index = self.occupied.nonzero()
        if len(index):
            ends = torch.stack([index.amin(0), index.amax(0) + 1])
            self.corners = (ends * (2.0 / self.resolution) - 1.0) * self.bound
        else:
            self.corners = torch.zeros_like(self.corners)
