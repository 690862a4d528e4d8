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
The multiresolution hash grid encoding (Mueller et al. 2022) in torch.

Tables, indices and weights are those of tiny-cuda-nn, bit by bit; sums are in the type of the
parameters, in another order. Where tinycudann is installed and the grid is on a GPU, it computes
the encoding with the same parameters.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from itertools import groupby
from typing import Any

import torch
from torch import nn
from torch import Tensor

from lift3d_ros.fields.grid_levels import grid_levels
from lift3d_ros.fields.grid_levels import GridLevel
from lift3d_ros.fields.grid_levels import HashGridSettings
from lift3d_ros.fields.radiance import check_points

#: Factors of y and z in the hash, as signed 32-bit numbers; that of x is 1.
PRIMES = (2654435761 - 2**32, 805459861)

#: Half the range of the initial features.
INITIAL_RANGE = 1e-4

BACKENDS = ('auto', 'torch', 'tinycudann')


class HashGrid(nn.Module):
    """
    An encoding of positions in the unit cube by interpolated features.

    - ``params``: all features in one vector, level by level, entry by entry: the parameters of
      tinycudann's encoding; reshaped to (-1, features), ``embeddings`` of gridencoder.
    - ``width``: number of features of a point.
    - ``active_levels``: the features of finer levels are 0 (coarse to fine, RealFusion).
    """

    def __init__(
        self, settings: HashGridSettings, seed: int = 0, backend: str = 'auto'
    ) -> None:
        """
        Make the tables with initial values from ``seed``.

        ``backend``: ``torch``, ``tinycudann``, or ``auto`` for tinycudann where it can be used.
        Raises ``ValueError`` for an unknown one, and for tinycudann with another rule.
        """
        super().__init__()
        if backend not in BACKENDS:
            raise ValueError(f'the backend {backend!r} of a hash grid is none of {BACKENDS}')
        if backend == 'tinycudann' and settings.rule != 'tinycudann':
            raise ValueError(f'tinycudann has no rule {settings.rule!r}')
        self.settings = settings
        self.levels = grid_levels(settings)
        self.backend = backend
        self.active_levels = settings.levels
        count = self.levels[-1].offset + self.levels[-1].entries
        values = torch.rand(
            count * settings.features, generator=torch.Generator().manual_seed(seed)
        )
        self.params = nn.Parameter((2.0 * values - 1.0) * INITIAL_RANGE)
        # Not a submodule: its parameters are those of this module.
        self._native: list[Any] = []

    @property
    def width(self) -> int:
        """Number of features of a point."""
        return self.settings.levels * self.settings.features

    def forward(self, points: Tensor) -> Tensor:
        """
        Return the features (n, width) of points (n, 3), whose unit cube is [0, 1].

        Outside of it, the tables of tinycudann continue periodically, and gridencoder
        returns 0. Raises ``ValueError`` for another shape and for points that the backend
        tinycudann cannot take, and ``ModuleNotFoundError`` if it is not installed.
        """
        check_points(points)
        if self._use_native(points):
            return self._native_features(points)
        inside = ((points >= 0.0) & (points <= 1.0)).all(dim=1)
        # Indices in 32 bits take half the time; on a GPU the test would wait for all before it.
        narrow = points.device.type == 'cpu' and bool(inside.all())
        runs = [
            self._features(points, list(run), narrow)
            for _, run in groupby(
                self.levels[: self.active_levels], key=lambda level: level.hashed
            )
        ]
        result = torch.cat(runs) if len(runs) > 1 else runs[0]
        result = result.transpose(0, 1).flatten(1)
        if self.active_levels < self.settings.levels:
            result = nn.functional.pad(result, (0, self.width - result.shape[1]))
        if self.settings.rule != 'tinycudann' and not narrow:
            result = result * inside[:, None]
        return result

    def _features(self, points: Tensor, levels: Sequence[GridLevel], narrow: bool) -> Tensor:
        """Return the features (levels, n, features) of levels that are all hashed, or none is."""
        corners, fraction = self._cells(points, levels)
        kind = torch.int32 if narrow or levels[0].hashed else torch.int64
        index = table_index(
            corners.to(kind), levels, narrow, self.settings.interpolation == 'nearest',
            self.settings.rule == 'gridencoder_clamped',
        )
        table = self.params.view(-1, self.settings.features)
        values = _Lookup.apply(table, index.reshape(-1)).view(*index.shape, table.shape[1])
        if self.settings.interpolation == 'nearest':
            return values[:, 0]
        if self.settings.interpolation == 'smoothstep':
            fraction = fraction * fraction * (3.0 - 2.0 * fraction)
        sides = torch.stack([1.0 - fraction, fraction], dim=1)
        x, y, z = sides.unbind(2)
        weights = (x[:, None, None] * y[:, None, :, None]) * z[:, :, None, None]
        return (values * weights.view(*index.shape, 1)).sum(dim=1)

    def _cells(self, points: Tensor, levels: Sequence[GridLevel]) -> tuple[Tensor, Tensor]:
        """Return the lower corners and the fractions of points in cells, both (levels, 3, n)."""
        # The product of two single numbers is exact in double precision, so that the only
        # rounding is that of a fused multiplication and addition.
        scale = _column([level.scale for level in levels], points).double()
        at = points.T.double() * scale + levels[0].shift
        if self.settings.rule == 'gridencoder_clamped':
            top = _column([level.resolution - 1.0 for level in levels], points).double()
            at = torch.minimum(at.clamp(min=0.0), top)
        at = at.to(points.dtype)
        corners = at.detach().floor()
        return corners, at - corners

    def _use_native(self, points: Tensor) -> bool:
        if self.backend == 'torch' or self.settings.rule != 'tinycudann' or not len(points):
            return False
        if self.backend == 'tinycudann':
            return True
        whole = self.active_levels == self.settings.levels
        return points.is_cuda and points.dtype == torch.float32 and whole and _importable()

    def _native_features(self, points: Tensor) -> Tensor:
        if not self._native:
            self._native.append(_tinycudann_encoding(self.settings))
        if not points.is_cuda:
            raise ValueError('the backend tinycudann takes points on a CUDA device')
        native = self._native[0]
        # The optimizer and the checkpoint know the parameters of this module only.
        native.params = self.params
        result: Tensor = native(points.float()).to(points.dtype)
        active = self.active_levels * self.settings.features
        return nn.functional.pad(result[:, :active], (0, self.width - active))


def table_index(
    corners: Tensor,
    levels: Sequence[GridLevel],
    narrow: bool,
    nearest: bool = False,
    clamped: bool = False,
) -> Tensor:
    """
    Return the entries (levels, 8, n) of the corners of cells; (levels, 1, n) with ``nearest``.

    ``corners`` (levels, 3, n) are the lower corners, int32 or int64. Corner c takes the upper side
    of axis d if its bit d is set. ``levels`` are all hashed, or none is; ``narrow``: all points
    are in the unit cube. With ``clamped`` the upper corners stay in the grid.
    """
    sides = corners[:, None] if nearest else torch.stack([corners, corners + 1], dim=1)
    if clamped:
        top = _column([level.resolution - 1 for level in levels], sides)
        sides = torch.minimum(sides, top[:, None])
    hashed = levels[0].hashed
    factors = [(1, *PRIMES) if hashed else level.strides for level in levels]
    x, y, z = (
        sides[:, :, axis] * _column([factor[axis] for factor in factors], sides)
        for axis in range(3)
    )
    x, y, z = x[:, None, None], y[:, None, :, None], z[:, :, None, None]
    index = (x ^ y) ^ z if hashed else (x + y) + z
    index = index.reshape(len(levels), 1 if nearest else 8, sides.shape[-1])
    entries = [level.entries for level in levels]
    last = [level.resolution * sum(level.strides) for level in levels]
    if all(count & (count - 1) == 0 for count in entries):
        # As for an unsigned number, whatever the sign.
        index = index & _column([count - 1 for count in entries], index)
    elif narrow and not hashed and all(a < 2 * b for a, b in zip(last, entries, strict=True)):
        size = _column(entries, index)
        index = torch.where(index >= size, index - size, index)
    else:
        index = (index.long() & 0xFFFFFFFF) % _column(entries, index).long()
    return index + _column([level.offset for level in levels], index)


def _column(values: Sequence[float], like: Tensor) -> Tensor:
    """Return values (levels, 1, 1) of the type and device of a tensor."""
    return torch.tensor(values, dtype=like.dtype, device=like.device)[:, None, None]


class _Lookup(torch.autograd.Function):
    """Rows of a table (entries, features) at indices (m,); several times faster than indexing."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(index)
        ctx.entries = len(table)
        return _from_scalars(_as_scalars(table).index_select(0, index))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (index,) = ctx.saved_tensors
        return _Accumulate.apply(gradient, index, ctx.entries), None


class _Accumulate(torch.autograd.Function):
    """The sums (entries, features) of rows (m, features) by index: the transpose of a lookup."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, index: Tensor, entries: int) -> Tensor:
        ctx.save_for_backward(index)
        scalars = _as_scalars(rows)
        result = scalars.new_zeros((entries, *scalars.shape[1:]))
        if scalars.ndim == 1:
            result.index_add_(0, index, scalars)
        else:
            # Addition of rows starts a loop for each of them; that of numbers is one loop.
            for feature in range(scalars.shape[1]):
                result[:, feature].index_add_(0, index, scalars[:, feature])
        return _from_scalars(result)

    @staticmethod
    def backward(
        ctx: Any, gradient: Tensor
    ) -> tuple[Tensor, None, None]:
        (index,) = ctx.saved_tensors
        return _Lookup.apply(gradient, index), None, None


def _as_scalars(rows: Tensor) -> Tensor:
    """Return rows of two real numbers as complex numbers (m,), others as they are."""
    return torch.view_as_complex(rows.contiguous()) if rows.shape[1] == 2 else rows


def _from_scalars(scalars: Tensor) -> Tensor:
    return torch.view_as_real(scalars) if scalars.is_complex() else scalars


@cache
def _importable() -> bool:
    return find_spec('tinycudann') is not None


def _tinycudann_encoding(settings: HashGridSettings) -> Any:
    """Return tinycudann's encoding in single precision; its parameters are to be replaced."""
    try:
        import tinycudann
    except ImportError as error:
        raise ModuleNotFoundError(
            'The backend tinycudann needs a CUDA GPU and the package: pip install '
            'git+https://github.com/NVlabs/tiny-cuda-nn/#subdirectory=bindings/torch'
        ) from error
    return tinycudann.Encoding(3, tinycudann_config(settings), dtype=torch.float32)


def tinycudann_config(settings: HashGridSettings) -> dict[str, Any]:
    """Return the JSON configuration of the encoding for tinycudann."""
    return {
        'otype': 'Grid',
        'type': settings.storage.capitalize(),
        'n_levels': settings.levels,
        'n_features_per_level': settings.features,
        'log2_hashmap_size': settings.log2_entries,
        'base_resolution': settings.base,
        'per_level_scale': settings.growth,
        'interpolation': settings.interpolation.capitalize(),
    }
