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

"""The radiance fields: a dense voxel grid, and a network on encoded positions."""

from __future__ import annotations

from dataclasses import asdict
from dataclasses import dataclass
import math
from typing import Any

import torch
from torch import nn
from torch import Tensor
from torch.nn import functional

from lift3d_ros.errors import bad_request
from lift3d_ros.fields.encodings import contract
from lift3d_ros.fields.encodings import FeatureVoxels
from lift3d_ros.fields.encodings import FeatureVoxelSettings
from lift3d_ros.fields.encodings import trilinear
from lift3d_ros.fields.encodings import Triplane
from lift3d_ros.fields.encodings import TriplaneSettings
from lift3d_ros.fields.grid_levels import HashGridSettings
from lift3d_ros.fields.hash_grid import HashGrid
from lift3d_ros.fields.heads import activate_density
from lift3d_ros.fields.heads import COLORS
from lift3d_ros.fields.heads import DENSITIES
from lift3d_ros.fields.heads import DensityBlob
from lift3d_ros.fields.heads import NEURALLIFT_BLOB
from lift3d_ros.fields.heads import PointNetwork
from lift3d_ros.fields.heads import REALFUSION_BLOB
from lift3d_ros.fields.heads import ZERO123_BLOB
from lift3d_ros.fields.heads import ZERONVS_BLOB
from lift3d_ros.fields.radiance import check_points
from lift3d_ros.fields.radiance import RadianceField

Encoding = HashGridSettings | TriplaneSettings | FeatureVoxelSettings

#: Settings of the encodings by their names in descriptions.
ENCODINGS = {
    'hash': HashGridSettings,
    'triplane': TriplaneSettings,
    'voxels': FeatureVoxelSettings,
}


def _check_bound(bound: float, channels: int, color: str) -> None:
    if not (0.0 < bound < math.inf) or channels < 1:
        raise ValueError(f'no field of the bound {bound} with {channels} channels')
    if color not in COLORS:
        raise ValueError(f'the colour {color!r} is none of {COLORS}')


@dataclass(frozen=True)
class VoxelFieldSettings:
    """
    A voxel grid of densities and colours; the defaults are those of Zero-1-to-3's 3drec.

    - ``bound``: half side in canonical units; ``resolution``: voxels a side.
    - ``channels``: 4 for latents; ``color``: ``none`` leaves them as they are, ``sigmoid`` maps
      them to [0, 1].
    - ``density_shift``: the density is softplus(value exp(log_scale) + density_shift + blob).
    - ``log_scale``: its initial value; it is learned. ``blob``: 3drec has none.
    """

    bound: float = 1.0
    resolution: int = 100
    channels: int = 4
    color: str = 'none'
    density_shift: float = -1.0
    log_scale: float = 0.0
    blob: DensityBlob | None = None

    def __post_init__(self) -> None:
        """Raise ``ValueError`` for settings out of range."""
        _check_bound(self.bound, self.channels, self.color)
        if not 2 <= self.resolution <= 1024:
            raise ValueError(f'no grid of {self.resolution} cubed')
        if not (math.isfinite(self.density_shift) and math.isfinite(self.log_scale)):
            raise ValueError('density_shift and log_scale of a voxel field are not finite')


class VoxelField(RadianceField):
    """
    Densities and colours in the middles of voxels, trilinear between them (SJC, Wang et al. 2023).

    ``density_grid`` is (1, 1, z, y, x), initially 0; ``color_grid`` (1, channels, z, y, x),
    initially normal.
    """

    kind = 'voxels'
    separate_albedo = True

    def __init__(self, settings: VoxelFieldSettings, seed: int = 0) -> None:
        """Make the grids."""
        super().__init__()
        self.settings = settings
        self.bound, self.channels = settings.bound, settings.channels
        shape = [settings.resolution] * 3
        generator = torch.Generator().manual_seed(seed)
        self.density_grid = nn.Parameter(torch.zeros(1, 1, *shape))
        self.color_grid = nn.Parameter(
            torch.randn(1, settings.channels, *shape, generator=generator)
        )
        self.log_scale = nn.Parameter(torch.tensor(settings.log_scale))

    def forward(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return density (n,) and albedo (n, channels); see ``RadianceField``."""
        return self.density(points), self.albedo(points)

    def density(self, points: Tensor) -> Tensor:
        """Return the density (n,) at canonical points (n, 3)."""
        check_points(points)
        value = trilinear(self.density_grid, points / self.bound, align_corners=False)[:, 0]
        raw = value * self.log_scale.exp() + self.settings.density_shift
        if self.settings.blob is not None:
            raw = raw + self.settings.blob(points)
        return functional.softplus(raw) * self.inside(points)

    def albedo(self, points: Tensor) -> Tensor:
        """Return the colours (n, channels) at canonical points (n, 3)."""
        check_points(points)
        value = trilinear(self.color_grid, points / self.bound, align_corners=False)
        return torch.sigmoid(value) if self.settings.color == 'sigmoid' else value

    def describe(self) -> dict[str, Any]:
        """Return the settings and the kind."""
        return {'kind': self.kind, 'settings': asdict(self.settings)}

    @classmethod
    def from_description(cls, description: dict[str, Any]) -> VoxelField:
        """Return a field with initial values; see ``RadianceField``."""
        try:
            settings = dict(description['settings'])
            if settings.get('blob') is not None:
                settings['blob'] = DensityBlob(**settings['blob'])
            return cls(VoxelFieldSettings(**settings))
        except (KeyError, TypeError, ValueError) as error:
            raise bad_request(f'No voxel field has this description: {error}') from error


@dataclass(frozen=True)
class EncodedFieldSettings:
    """
    A network on encoded positions.

    - ``bound``: half side in canonical units; ``contracted``: see ``RadianceField``.
    - ``hidden`` layers of ``width``; ``activation``: ``relu`` or ``silu``; ``residual``; ``bias``.
    - ``density``: ``trunc_exp`` or ``softplus``, of the output plus ``density_bias`` and ``blob``.
    - ``color``: ``sigmoid``, or ``none`` for latents.
    - ``encoding_rate``: ratio of the learning rate of the encoding to that of the network.
    """

    bound: float = 1.0
    contracted: bool = False
    channels: int = 3
    hidden: int = 2
    width: int = 64
    activation: str = 'relu'
    residual: bool = False
    bias: bool = True
    density: str = 'trunc_exp'
    density_bias: float = 0.0
    blob: DensityBlob | None = None
    color: str = 'sigmoid'
    encoding_rate: float = 10.0

    def __post_init__(self) -> None:
        """Raise ``ValueError`` for settings out of range."""
        _check_bound(self.bound, self.channels, self.color)
        if self.density not in DENSITIES:
            raise ValueError(f'the density {self.density!r} is none of {DENSITIES}')
        if not math.isfinite(self.density_bias) or not 0.0 < self.encoding_rate < math.inf:
            raise ValueError('density_bias or encoding_rate of a field is out of range')


class EncodedField(RadianceField):
    """A hash grid, tri-plane or voxel grid of features, and a network on them."""

    kind = 'encoded'

    def __init__(
        self, encoding: Encoding, settings: EncodedFieldSettings, seed: int = 0
    ) -> None:
        """Make the encoding and the network."""
        super().__init__()
        self.encoding_settings, self.settings = encoding, settings
        self.bound, self.channels = settings.bound, settings.channels
        self.contracted = settings.contracted
        self.encoding: HashGrid | Triplane | FeatureVoxels
        if isinstance(encoding, HashGridSettings):
            self.encoding = HashGrid(encoding, seed)
        elif isinstance(encoding, TriplaneSettings):
            self.encoding = Triplane(encoding, seed)
        else:
            self.encoding = FeatureVoxels(encoding, seed)
        self.network = PointNetwork(
            self.encoding.width, 1 + settings.channels, settings.hidden, settings.width,
            # Other numbers than those of the encoding.
            seed + 1, settings.activation, settings.residual, settings.bias,
        )

    def forward(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return density (n,) and albedo (n, channels); see ``RadianceField``."""
        check_points(points)
        unit = points / self.bound
        # threestudio's coordinates: contracted space has the radius 2.
        unit = 0.25 * contract(unit) + 0.5 if self.contracted else 0.5 * unit + 0.5
        outside = None
        if not self.contracted:
            inside = self.inside(points)
            if not bool(inside.all()):
                outside = ~inside
                unit = unit.clamp(0.0, 1.0)
        out = self.network(self.encoding(unit))
        raw = out[:, 0] + self.settings.density_bias
        if self.settings.blob is not None:
            raw = raw + self.settings.blob(points)
        density = activate_density(raw, self.settings.density)
        if outside is not None:
            density = density.masked_fill(outside, 0.0)
        albedo = out[:, 1:]
        return density, torch.sigmoid(albedo) if self.settings.color == 'sigmoid' else albedo

    def parameter_groups(self, rate: float) -> list[dict[str, Any]]:
        """Return the groups of the encoding and of the network; see ``RadianceField``."""
        return [
            {
                'params': list(self.encoding.parameters()),
                'lr': rate * self.settings.encoding_rate,
            },
            {'params': list(self.network.parameters()), 'lr': rate},
        ]

    def describe(self) -> dict[str, Any]:
        """Return the settings and the kinds of field and encoding."""
        (name,) = (
            name for name, kind in ENCODINGS.items() if type(self.encoding_settings) is kind
        )
        return {
            'kind': self.kind,
            'encoding': {'kind': name, **asdict(self.encoding_settings)},
            'settings': asdict(self.settings),
        }

    @classmethod
    def from_description(cls, description: dict[str, Any]) -> EncodedField:
        """Return a field with initial values; see ``RadianceField``."""
        try:
            encoding = dict(description['encoding'])
            make = ENCODINGS[encoding.pop('kind')]
            settings = dict(description['settings'])
            if settings.get('blob') is not None:
                settings['blob'] = DensityBlob(**settings['blob'])
            return cls(make(**encoding), EncodedFieldSettings(**settings))
        except (KeyError, TypeError, ValueError) as error:
            raise bad_request(f'No encoded field has this description: {error}') from error


#: The published networks, in the units of their scenes. Those of threestudio have no biases and
#: one learning rate.
REALFUSION_FIELD = EncodedFieldSettings(bound=0.75, blob=REALFUSION_BLOB)
NEURALLIFT_FIELD = EncodedFieldSettings(
    width=96, activation='silu', residual=True, blob=NEURALLIFT_BLOB
)
ZERO123_FIELD = EncodedFieldSettings(
    bound=2.0, bias=False, density='softplus', blob=ZERO123_BLOB, encoding_rate=1.0
)
ZERONVS_FIELD = EncodedFieldSettings(
    bound=2.0, contracted=True, width=32, bias=False, density='softplus', blob=ZERONVS_BLOB,
    encoding_rate=1.0,
)
