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
The start from another field, such as a feed-forward reconstruction.

A radiance field is fitted to the occupancy and the colours of a ``Field`` at sampled points. The
same points anchor it later where the input view did not see: losses of the input view alone damage
a good start there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.fields.field import Field
from lift3d_ros.fields.radiance import RadianceField
from lift3d_ros.fields.radiance_fields import VoxelField
from lift3d_ros.fields.radiance_occupancy import OPACITY_LENGTH
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import Floats

#: Share of the points that lie near the surface of the source; the others are in its whole cube.
SURFACE_SHARE = 0.7

#: Occupancies that voxels of a start can have: beyond them the density has no gradient.
FILL_RANGE = (0.002, 0.998)

#: Points a step of the fit and of the anchoring.
BATCH = 8192

#: Points whose values are computed between two checks for a cancellation.
PART = 65_536


@dataclass(frozen=True, eq=False)
class InterruptibleField:
    """A field whose values are computed in parts; ``check`` runs before each, and may raise."""

    field: Field
    check: Callable[[], None]

    @property
    def centre(self) -> Array:
        """As that of the field."""
        return self.field.centre

    @property
    def side(self) -> float:
        """As that of the field."""
        return self.field.side

    @property
    def voxel(self) -> float:
        """As that of the field."""
        return self.field.voxel

    def occupancy(self, points: Floats) -> NDArray[np.float32]:
        """Return the occupancy (n,) at canonical points (n, 3)."""
        found = []
        for start in range(0, max(len(points), 1), PART):
            self.check()
            found.append(self.field.occupancy(points[start:start + PART]))
        return np.concatenate(found)

    def colors(self, points: Floats) -> NDArray[np.uint8] | None:
        """Return uint8 RGB (n, 3) at canonical points (n, 3), or None."""
        found = []
        for start in range(0, max(len(points), 1), PART):
            self.check()
            colors = self.field.colors(points[start:start + PART])
            if colors is None:
                return None
            found.append(colors)
        return np.concatenate(found)

    def bounds(self, level: float) -> tuple[Array, Array] | None:
        """As that of the field."""
        return self.field.bounds(level)


@dataclass(frozen=True, eq=False)
class FieldSamples:
    """
    A field at n points.

    - ``points``: (n, 3) canonical; ``occupancy``: (n,) in [0, 1]; ``colors``: (n, 3) RGB in
      [0, 1], or None for a field without.
    - ``weights``: (n,), by which the points count.
    """

    points: Tensor
    occupancy: Tensor
    colors: Tensor | None
    weights: Tensor

    @classmethod
    def of_field(
        cls, source: Field, bound: float, count: int, seed: int = 0,
        device: torch.device | str = 'cpu',
    ) -> FieldSamples:
        """
        Sample a field in the cube of half side ``bound``, mostly near its surface.

        Raises ``LiftError(NO_SURFACE)`` for a source that is empty in the cube.
        """
        rng = np.random.default_rng(seed)
        whole = rng.uniform(-bound, bound, (count, 3))
        value = source.occupancy(whole)
        if not (value > 0.5).any():
            raise LiftError(
                ErrorCode.NO_SURFACE, 'The field to start from is empty; start from scratch.')
        jitter = 0.5 * source.voxel + 0.01 * bound
        near = _surface(source, whole, value)
        chosen = near[rng.integers(len(near), size=int(SURFACE_SHARE * count))]
        chosen = np.clip(chosen + rng.normal(0.0, jitter, chosen.shape), -bound, bound)
        points = np.concatenate([whole[:count - len(chosen)], chosen])
        colors = source.colors(points)

        def tensor(values: Floats) -> Tensor:
            return torch.tensor(values, dtype=torch.float32, device=device)

        return cls(
            tensor(points), tensor(source.occupancy(points)).clamp(0.0, 1.0),
            None if colors is None else tensor(colors / 255.0),
            torch.ones(count, device=device))

    def unseen_from(self, source: Field, eye: Array, steps: int = 48) -> FieldSamples:
        """
        Return the samples with weight 0 where a camera at ``eye`` (3,) sees them.

        It sees a point if the source leaves more than half of the light between them.
        """
        points = self.points.cpu().numpy().astype(np.float64)
        seen = visible_from(source, eye, points, steps)
        weights = self.weights * torch.from_numpy(~seen).to(self.weights)
        return replace(self, weights=weights)

    def loss(
        self, field: RadianceField, index: Tensor, length: float = OPACITY_LENGTH
    ) -> Tensor:
        """
        Return the weighted cross-entropy of the occupancies of ``index`` (m,), and of the colours.

        The occupancy of a field is the opacity of a path of ``length``. Colours count by their
        squared error where the source is occupied. It is 0 for the field itself.
        """
        density, albedo = field(self.points[index])
        target, weights = self.occupancy[index], self.weights[index]
        # The offset bounds the gradient of the logarithm where the field is empty.
        thick = length * density + 1e-4
        entropy = (1.0 - target) * thick - target * torch.log(-torch.expm1(-thick))
        entropy = entropy + torch.xlogy(target, target) + torch.xlogy(1.0 - target, 1.0 - target)
        total = (weights * entropy).mean()
        if self.colors is not None and field.channels == 3:
            squares = (albedo - self.colors[index]).square().sum(-1)
            total = total + (weights * target * squares).mean()
        return total

    def draw(self, generator: torch.Generator, count: int = BATCH) -> Tensor:
        """Return ``count`` random indices; ``generator`` is on the CPU."""
        return torch.randint(
            len(self.points), (count,), generator=generator).to(self.points.device)


def fit_field(
    field: RadianceField,
    samples: FieldSamples,
    steps: int = 200,
    rate: float = 0.02,
    seed: int = 0,
    check: Callable[[], None] = lambda: None,
) -> None:
    """
    Fit a radiance field to samples in place.

    ``rate`` is the basic learning rate of Adam; ``check`` is called in each step and may raise.
    """
    optimizer = torch.optim.Adam(field.parameter_groups(rate), betas=(0.9, 0.99), fused=True)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        check()
        optimizer.zero_grad(set_to_none=True)
        samples.loss(field, samples.draw(generator)).backward()
        optimizer.step()


def start_field(
    field: RadianceField,
    source: Field,
    samples: FieldSamples,
    steps: int = 40,
    rate: float = 0.02,
    seed: int = 0,
    check: Callable[[], None] = lambda: None,
) -> None:
    """
    Give a radiance field the occupancy and the colours of a source, in place.

    Voxels of colours take the values of the source at their middles, and are fitted to the
    ``samples`` of the source between them; other fields are fitted alone.
    """
    if isinstance(field, VoxelField):
        fill_voxels(field, source)
    fit_field(field, samples, steps, rate, seed, check)


@torch.no_grad()
def fill_voxels(field: VoxelField, source: Field) -> None:
    """Set the voxels of a field to the source at their middles; colours only of RGB fields."""
    n = field.settings.resolution
    axis = ((np.arange(n) + 0.5) * 2.0 / n - 1.0) * field.bound
    # The grids have the axes z, y, x.
    z, y, x = np.meshgrid(axis, axis, axis, indexing='ij')
    points = np.stack([x, y, z], axis=-1).reshape(-1, 3)
    like = field.density_grid
    occupancy = torch.as_tensor(source.occupancy(points)).to(like).clamp(*FILL_RANGE)
    density = -torch.log1p(-occupancy) / OPACITY_LENGTH
    # The inverse of softplus.
    raw = density + torch.log(-torch.expm1(-density))
    raw = (raw - field.settings.density_shift) / field.log_scale.exp()
    like.copy_(raw.view_as(like))
    colors = source.colors(points) if field.settings.color == 'sigmoid' else None
    if colors is not None:
        rgb = torch.as_tensor(colors).to(like) / 255.0
        field.color_grid.copy_(torch.logit(rgb, 0.02).T.reshape_as(field.color_grid))


def visible_from(
    source: Field, eye: Array, points: Floats, steps: int = 48
) -> NDArray[np.bool_]:
    """
    Return which points (n, 3) a camera at ``eye`` (3,) sees, bool (n,).

    The occupancy of the source is sampled ``steps`` times between them; the last length of two
    voxels before a point does not hide it.
    """
    way = np.asarray(points) - eye
    distance = np.linalg.norm(way, axis=1, keepdims=True)
    # Only the part in the cube of the source can hide anything.
    first = np.maximum(distance - np.sqrt(3.0) * source.side, 0.0)
    last = np.maximum(distance - 2.0 * source.voxel, first)
    hidden: Floats = np.zeros(len(way), np.float32)
    for share in (np.arange(steps) + 0.5) / steps:
        at = eye + way / distance * (first + share * (last - first))
        hidden = np.maximum(hidden, source.occupancy(at))
    return hidden < 0.5


def _surface(source: Field, points: Floats, value: NDArray[np.float32]) -> Array:
    """Return points on the surface, by bisection between points inside and outside."""
    inside, outside = points[value > 0.5], points[value <= 0.5]
    n = min(len(inside), len(outside))
    a, b = inside[:n].astype(np.float64), outside[:n].astype(np.float64)
    for _ in range(8):
        middle = 0.5 * (a + b)
        solid = (source.occupancy(middle) > 0.5)[:, None]
        a, b = np.where(solid, middle, a), np.where(solid, b, middle)
    return 0.5 * (a + b)
