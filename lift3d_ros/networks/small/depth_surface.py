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
The surface network for one view with measured depth, with a decoder of points.

Without source views and synthesised views the surface network (``surface_network.py``) has fewer
inputs; this is that case as a network of its own: the trunk over the coarse volume, the view and
the depth, with the evidence of symmetries, and a decoder (an implicit function, as in Peng et al.,
Convolutional Occupancy Networks, 2020) that adds what the evidence at a point says to the
interpolated grid. Trunk and decoder are trained together on occupancy at points, so that walls
thinner than a voxel count.
"""

from __future__ import annotations

from dataclasses import asdict
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import nn
from torch import Tensor
from torch.nn import functional

from lift3d_ros.networks.small.files import read_network
from lift3d_ros.networks.small.files import write_network
from lift3d_ros.networks.small.layers import ascend
from lift3d_ros.networks.small.layers import channels_to_space
from lift3d_ros.networks.small.layers import descend
from lift3d_ros.networks.small.layers import make_levels
from lift3d_ros.networks.small.layers import space_to_channels
from lift3d_ros.networks.small.layers import use_channels_last
from lift3d_ros.networks.small.surface_network import Box
from lift3d_ros.networks.small.surface_network import SurfaceNet
from lift3d_ros.networks.small.surface_network import ViewEncoder
from lift3d_ros.networks.small.symmetry_evidence import SYMMETRY_CHANNELS
from lift3d_ros.networks.small.symmetry_evidence import symmetry_evidence
from lift3d_ros.networks.small.volume import CoarseVolume
from lift3d_ros.networks.small.volume import project_to_grid
from lift3d_ros.networks.small.volume import sample_grid
from lift3d_ros.networks.small.volume import voxel_grid

#: Channels of ``view_evidence``: mask, two distances behind the reading, whether there is one.
EVIDENCE_CHANNELS = 4

#: Magnitude of the interpolated logit up to which a point is in the band that is decoded.
BAND_LOGIT = 3.0

#: Points that are decoded at once, to bound the memory.
_CHUNK = 1 << 16


@dataclass(frozen=True)
class DepthSurfaceConfig:
    """
    Sizes of the network.

    - ``grid``: voxels along a side of the U-Net; ``widths``: channels of its levels; ``pixels``:
      channels of the features of the view; ``features``: channels of the coarse volume beyond
      density and colour; ``decoder``: width of the decoder.
    - ``field``: points along a side of the decoded grid.
    """

    grid: int = 32
    pixels: int = 12
    widths: tuple[int, ...] = (32, 64, 112)
    features: int = 12
    decoder: int = 64
    field: int = 96


@dataclass(frozen=True, eq=False)
class DepthInputs:
    """
    What the trunk reads of b objects, in ``box``.

    - ``fine``: (b, 1 + 4, 2 n, 2 n, 2 n): the coarse logit and ``view_evidence``.
    - ``coarse``: (b, c, n, n, n): features of the view and whether its image contains the voxel,
      features of the coarse volume.
    - ``symmetry``: (b, 9, n, n, n): ``symmetry_evidence``.
    - ``flags``: (b, 2): depth known, gravity known.
    """

    fine: Tensor
    coarse: Tensor
    symmetry: Tensor
    box: Box
    flags: Tensor


@dataclass(frozen=True, eq=False)
class DepthField:
    """
    The output of the trunk: ``logit`` (b, 1, 2 n, 2 n, 2 n) of the occupancy and ``features``.

    ``features`` (b, c, n, n, n) are those of the trunk with the symmetries.
    """

    logit: Tensor
    features: Tensor
    inputs: DepthInputs


class DepthSurfaceNet(nn.Module):
    """The network, about 1.4 million parameters."""

    def __init__(self, config: DepthSurfaceConfig | None = None) -> None:
        """Make the layers; the untrained field is the coarse volume."""
        super().__init__()
        self.config = config = config or DepthSurfaceConfig()
        widths = config.widths
        self.encoder = ViewEncoder(config.pixels)
        channels = config.pixels + 1 + config.features + 3 + 1 + 2 + 8 * (1 + EVIDENCE_CHANNELS)
        self.stem = nn.Conv3d(channels, widths[0], 3, padding=1)
        self.symmetry = nn.Conv3d(SYMMETRY_CHANNELS, widths[0], 3, padding=1, bias=False)
        self.down, self.up = make_levels(widths)
        self.norm = nn.GroupNorm(8, widths[0])
        self.logit = nn.Conv3d(widths[0], 8, 3, padding=1)
        inputs = widths[0] + SYMMETRY_CHANNELS + 2 + EVIDENCE_CHANNELS + 1
        self.decoder = nn.Sequential(
            nn.Linear(inputs, config.decoder), nn.SiLU(),
            nn.Linear(config.decoder, config.decoder), nn.SiLU(),
            nn.Linear(config.decoder, 1),
        )
        for layer in (self.symmetry, self.logit, self.decoder[-1]):
            nn.init.zeros_(cast(Tensor, layer.weight))
        for layer in (self.logit, self.decoder[-1]):
            nn.init.zeros_(cast(Tensor, layer.bias))
        use_channels_last(self)

    @classmethod
    def from_surface(cls, surface: SurfaceNet) -> DepthSurfaceNet:
        """Return the network whose field is that of a surface network with one view with depth."""
        own = surface.config
        network = cls(DepthSurfaceConfig(own.grid, own.pixels, own.widths, own.features))
        state = surface.state_dict()
        p, f = own.pixels, own.features
        weight = state['stem.weight']
        # Of one view the variances are 0, and mean and minimum of its mask are equal.
        evidence = weight[:, -8 * 9:].unflatten(1, (9, 8))
        fine = torch.stack([
            evidence[:, 0], evidence[:, 1] + evidence[:, 3], evidence[:, 4], evidence[:, 5],
            evidence[:, 6],
        ], dim=1).flatten(1, 2)
        first = 2 * (2 * p + 1)
        stem = torch.cat([
            weight[:, :p], weight[:, 2 * p:2 * p + 1], weight[:, first:first + f + 6], fine,
        ], dim=1)
        kept = {
            name: value for name, value in state.items()
            if not name.startswith(('color.', 'stem.weight'))
        }
        missing, unexpected = network.load_state_dict(
            {**kept, 'stem.weight': stem}, strict=False)
        assert not unexpected, unexpected
        assert all(name.startswith(('symmetry.', 'decoder.')) for name in missing), missing
        return network

    @torch.no_grad()
    def observe(
        self, inputs: dict[str, Tensor], volume: CoarseVolume, box: Box
    ) -> DepthInputs:
        """Return what the trunk reads, from the inputs of the coarse network and its volume."""
        n, b, device = self.config.grid, len(box.side), box.side.device
        points = box.to_canonical(voxel_grid(n, device))
        finer = box.to_canonical(voxel_grid(2 * n, device))
        features = self.encoder(2.0 * inputs['picture'] - 1.0).float()
        grid, z = project_to_grid(
            points, inputs['focal'], inputs['centre'], inputs['pose'],
            inputs['picture'].shape[-1])
        valid = ((grid.abs() <= 1.0).all(dim=-1) & (z > 0.0)).float()[:, None]
        sampled = functional.grid_sample(features, grid[:, None], align_corners=False)[:, :, 0]
        fine = torch.cat([
            sample_grid(volume.density.float(), finer), view_evidence(inputs, finer),
        ], dim=1)
        coarse = torch.cat([
            sampled * valid, valid, sample_grid(volume.features.float(), points),
        ], dim=1)
        symmetry = symmetry_evidence(
            inputs['picture'][:, 3], inputs['depth'], inputs['focal'], inputs['centre'],
            inputs['pose'], volume.density, points)
        return DepthInputs(
            fine.reshape(b, -1, 2 * n, 2 * n, 2 * n), coarse.reshape(b, -1, n, n, n),
            symmetry.reshape(b, -1, n, n, n), box, inputs['flags'])

    def forward(self, inputs: DepthInputs) -> DepthField:
        """Return the output of the trunk."""
        n, b = self.config.grid, len(inputs.flags)
        device = inputs.flags.device
        prior = inputs.fine[:, :1].float()
        evidence = torch.cat(
            [(0.25 * prior).clamp(-2.0, 2.0), inputs.fine[:, 1:].float()], dim=1)
        whole = (b, -1, n, n, n)
        x = torch.cat([
            inputs.coarse.float(),
            voxel_grid(n, device).permute(3, 0, 1, 2)[None].expand(whole),
            inputs.box.side.log()[:, None, None, None, None].expand(whole),
            inputs.flags[:, :, None, None, None].expand(whole[0], 2, *whole[2:]),
            space_to_channels(evidence),
        ], dim=1)
        symmetry = inputs.symmetry.float()
        x = self.stem(x.contiguous(memory_format=torch.channels_last_3d)) + self.symmetry(
            symmetry.contiguous(memory_format=torch.channels_last_3d))
        x, skips = descend(self.down, x)
        x = functional.silu(self.norm(ascend(self.up, x, skips)))
        return DepthField(
            prior + channels_to_space(self.logit(x)).float(),
            torch.cat([x.float(), symmetry], dim=1), inputs)

    def decode(self, field: DepthField, unit: Tensor, evidence: Tensor) -> Tensor:
        """
        Return the logits at points (b, m, 3) of the cube of ``EXTENT`` that the box is, (b, m).

        ``evidence`` (b, 4, m) is the ``view_evidence`` there.
        """
        grids = torch.cat([field.logit, field.inputs.fine[:, :1].float()], dim=1)
        logits = sample_grid(grids, unit)
        side = field.inputs.box.side.log()[:, None, None].expand(-1, 1, unit.shape[1])
        x = torch.cat([
            sample_grid(field.features, unit), (0.25 * logits).clamp(-2.0, 2.0),
            evidence.float(), side,
        ], dim=1)
        return logits[:, 0] + self.decoder(x.transpose(1, 2))[..., 0].float()

    @torch.no_grad()
    def decode_grid(self, field: DepthField, inputs: dict[str, Tensor]) -> Tensor:
        """
        Return the probability of the occupancy of one object on its grid, (n, n, n).

        ``inputs`` are those of ``observe``. Only the band around the surface is decoded; beyond
        it the grid of the trunk is interpolated.
        """
        size = self.config.field
        unit = voxel_grid(size, field.logit.device).reshape(1, -1, 3)
        logit = functional.interpolate(
            field.logit, size=size, mode='trilinear', align_corners=False)
        flat = logit.reshape(-1)
        for part in (flat.abs() < BAND_LOGIT).nonzero()[:, 0].split(_CHUNK):
            at = unit[:, part]
            evidence = view_evidence(inputs, field.inputs.box.to_canonical(at[0]))
            flat[part] = self.decode(field, at, evidence)[0]
        return flat.sigmoid().reshape(size, size, size)


def view_evidence(inputs: dict[str, Tensor], points: Tensor) -> Tensor:
    """
    Return the evidence of the input view at canonical points (b, n, 3), (b, 4, n).

    The mask, the distance behind the reading clipped at a small and at a large scale, and whether
    there is a reading; as ``_evidence`` of the surface network for one view.
    """
    size = inputs['picture'].shape[-1]
    grid, z = project_to_grid(points, inputs['focal'], inputs['centre'], inputs['pose'], size)
    outside = (grid.abs() > 1.0).any(dim=-1)
    mask = functional.grid_sample(
        inputs['picture'][:, 3:], grid[:, None], align_corners=False)[:, 0, 0]
    reading = functional.grid_sample(
        inputs['depth'][:, None], grid[:, None], mode='nearest', align_corners=False)[:, 0, 0]
    valid = reading > 0.0
    behind = z - reading
    return torch.stack([
        torch.where(outside, 0.5, mask),
        torch.where(valid, (behind / 0.05).clamp(-1.0, 1.0), 0.0),
        # Where nothing was measured the surface network reads 0.
        torch.where(valid, (behind / 0.4).clamp(-1.0, 1.0), 0.0),
        valid.float(),
    ], dim=1)


def write_depth_surface(folder: Path, network: DepthSurfaceNet) -> None:
    """Write the network into a folder, in half precision."""
    write_network(folder, network, asdict(network.config))


def read_depth_surface(folder: Path, device: torch.device | str = 'cpu') -> DepthSurfaceNet:
    """Return the network of a folder; errors as ``read_network``."""
    return read_network(
        folder, lambda settings: DepthSurfaceNet(DepthSurfaceConfig(**settings)), device)
