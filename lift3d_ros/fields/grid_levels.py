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
The levels of a multiresolution hash grid (Mueller et al. 2022): scale, resolution, index.

Three published rules exist, and their parameters are not exchangeable:

- ``tinycudann``: grid.h and common_device.h of tiny-cuda-nn.
- ``gridencoder``: that of RealFusion and NeuralLift-360, from an early torch-ngp. Its tiled levels
  ignore z, and the finest even y, where the strides exceed the table.
- ``gridencoder_clamped``: that of later stable-dreamfusion, without the border beyond the cube.
"""

from __future__ import annotations

from dataclasses import dataclass
import math

import numpy as np

RULES = ('tinycudann', 'gridencoder', 'gridencoder_clamped')
STORAGES = ('hash', 'tiled', 'dense')
INTERPOLATIONS = ('linear', 'smoothstep', 'nearest')

#: The largest resolution whose cube is below 2^32; tiny-cuda-nn computes no strides above it.
_MAX_STRIDE_RESOLUTION = 0x659

#: Entries of all levels together, such that an index fits in 32 bits with its sign.
_MAX_ENTRIES = 2**31 - 1


@dataclass(frozen=True)
class HashGridSettings:
    """
    The shape of a multiresolution grid.

    - ``levels``; ``features`` of each; ``log2_entries``: of the largest table of a level.
    - ``base``: resolution of the coarsest level; ``growth``: ratio of the next level to it.
    - ``storage``: ``hash``, ``tiled`` (tables repeat in space) or ``dense`` (tinycudann only).
    - ``interpolation``: ``linear``, ``smoothstep`` (continuous derivatives) or ``nearest``.
    - ``rule``: one of ``RULES``.
    """

    levels: int = 16
    features: int = 2
    log2_entries: int = 19
    base: int = 16
    growth: float = 2.0
    storage: str = 'hash'
    interpolation: str = 'linear'
    rule: str = 'tinycudann'

    def __post_init__(self) -> None:
        """Raise ``ValueError`` for settings that make no grid."""
        for name, value, known in (
            ('rule', self.rule, RULES),
            ('storage', self.storage, STORAGES),
            ('interpolation', self.interpolation, INTERPOLATIONS),
        ):
            if value not in known:
                raise ValueError(f'the {name} {value!r} of a hash grid is none of {known}')
        if self.rule != 'tinycudann' and (
            self.storage == 'dense' or self.interpolation == 'nearest'
        ):
            raise ValueError(f'{self.rule} has no {self.storage} grid with {self.interpolation}')
        if self.features not in (1, 2, 4, 8):
            raise ValueError(f'{self.features} features a level; it must be 1, 2, 4 or 8')
        if not (1 <= self.levels <= 32 and 3 <= self.log2_entries <= 28 and self.base >= 2):
            raise ValueError(
                f'{self.levels} levels of 2^{self.log2_entries} entries from the resolution '
                f'{self.base} are out of range'
            )
        if not 1.0 <= self.growth <= 8.0:
            raise ValueError(f'the growth {self.growth} is not between 1 and 8')
        last = grid_levels(self)[-1]
        if last.offset + last.entries > _MAX_ENTRIES or last.scale > 2**24:
            raise ValueError('the levels of the hash grid are too large')


@dataclass(frozen=True)
class GridLevel:
    """
    A level of a grid.

    - ``scale``, ``shift``: a position x in [0, 1] has the grid coordinate ``scale x + shift``.
    - ``resolution``: grid points a side.
    - ``entries``: of its table, which begins at the entry ``offset``.
    - ``strides``: of the axes in its table; ``hashed``: whether the hash replaces them.
    """

    scale: float
    shift: float
    resolution: int
    entries: int
    offset: int
    strides: tuple[int, int, int]
    hashed: bool


def growth_to(finest: float, base: int, levels: int) -> float:
    """Return the growth with which the last of ``levels`` has the resolution ``finest``."""
    return 2.0 ** (math.log2(finest / base) / max(levels - 1, 1))


def grid_levels(settings: HashGridSettings) -> tuple[GridLevel, ...]:
    """Return the levels of a grid, the coarsest first."""
    result: list[GridLevel] = []
    offset = 0
    for number in range(settings.levels):
        make = _tinycudann_level if settings.rule == 'tinycudann' else _gridencoder_level
        level = make(settings, number, offset)
        result.append(level)
        offset += level.entries
    return tuple(result)


def _power(settings: HashGridSettings, number: int) -> np.float32:
    """Return ``base growth^number`` as float32 arithmetic gives it with a correct exp2."""
    exponent = np.float32(number) * np.log2(np.float32(settings.growth))
    return np.float32(np.exp2(np.float64(exponent))) * np.float32(settings.base)


def _to_8(count: int) -> int:
    return -(-count // 8) * 8


def _tinycudann_level(settings: HashGridSettings, number: int, offset: int) -> GridLevel:
    scale = _power(settings, number) - np.float32(1.0)
    resolution = int(np.ceil(scale)) + 1
    entries = _to_8(resolution**3)
    if settings.storage == 'hash':
        entries = min(entries, 2**settings.log2_entries)
    elif settings.storage == 'tiled':
        entries = min(entries, _to_8(settings.base**3))
    if resolution <= _MAX_STRIDE_RESOLUTION:
        strides, volume = (1, resolution, resolution**2), resolution**3
    else:
        strides, volume = (0, 0, 0), 0xFFFFFFFF
    hashed = settings.storage == 'hash' and entries < volume
    return GridLevel(float(scale), 0.5, resolution, entries, offset, strides, hashed)


def _gridencoder_level(settings: HashGridSettings, number: int, offset: int) -> GridLevel:
    clamped = settings.rule == 'gridencoder_clamped'
    border = 0 if clamped else 1
    # The size of the table is computed in double precision, the resolution in single.
    side = math.ceil(settings.base * settings.growth**number) + border
    entries = _to_8(min(2**settings.log2_entries, side**3))
    power = _power(settings, number)
    if clamped:
        resolution = int(np.ceil(power))
        scale, shift = float(resolution), -0.5
    else:
        resolution = int(np.ceil(power - np.float32(1.0))) + 1
        scale, shift = float(power - np.float32(1.0)), 0.5
    strides = [0, 0, 0]
    stride = 1
    for axis in range(3):
        if stride > entries:
            break
        strides[axis] = stride
        stride *= resolution + border
    hashed = settings.storage == 'hash' and stride > entries
    return GridLevel(
        scale, shift, resolution, entries, offset, (strides[0], strides[1], strides[2]), hashed
    )


#: The grids of threestudio and ZeroNVS, and of ZeroNVS's proposal field.
THREESTUDIO_GRID = HashGridSettings(growth=1.447269237440378)
ZERONVS_PROPOSAL_GRID = HashGridSettings(levels=5, log2_entries=17, growth=1.681792830507429)

#: NeuralLift-360. Its authors ask for smoothstep interpolation, which their code drops.
NEURALLIFT_GRID = HashGridSettings(rule='gridencoder', growth=growth_to(2048, 16, 16))

#: RealFusion. The levels from 256 points on have no detail along z; the storage ``hash`` has.
REALFUSION_GRID = HashGridSettings(
    rule='gridencoder', storage='tiled', log2_entries=16, growth=growth_to(1536, 16, 16)
)
