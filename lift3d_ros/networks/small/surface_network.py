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
The small surface network: posed views and the coarse volume to an occupancy field.

The stages are those of One-2-3-45 (Liu et al., 2023): features of every view, a cost volume of
their mean and variance, a 3-D network over it, the field of the surface. Three things differ: the
volume is upright and fitted to the object; camera views (the input and source views) and
synthesised views have separate cost volumes; depth adds evidence of surface, free and unknown
space. The network predicts the residual to the coarse volume of the small view weights.
"""

from __future__ import annotations

from dataclasses import asdict
from dataclasses import dataclass
import math
from pathlib import Path
from typing import cast

import torch
from torch import nn
from torch import Tensor
from torch.nn import functional

from lift3d_ros.geometry import ZERO123_FOV
from lift3d_ros.networks.small.coarse_inputs import EXTENT
from lift3d_ros.networks.small.files import read_network
from lift3d_ros.networks.small.files import write_network
from lift3d_ros.networks.small.layers import ascend
from lift3d_ros.networks.small.layers import channels_to_space
from lift3d_ros.networks.small.layers import descend
from lift3d_ros.networks.small.layers import joined_channels
from lift3d_ros.networks.small.layers import make_levels
from lift3d_ros.networks.small.layers import ResidualBlock
from lift3d_ros.networks.small.layers import space_to_channels
from lift3d_ros.networks.small.layers import use_channels_last
from lift3d_ros.networks.small.volume import CoarseVolume
from lift3d_ros.networks.small.volume import project_to_grid
from lift3d_ros.networks.small.volume import sample_grid
from lift3d_ros.networks.small.volume import voxel_grid

#: Logit of the coarse occupancy from which a voxel is part of the object's box; below 0, for the
#: box must contain the voxels that the coarse volume misses.
_MIN_BOX_LOGIT = -0.5

#: Share by which the box is longer than these voxels.
_BOX_MARGIN = 0.16

#: Smallest side of a box, canonical units.
_MIN_BOX_SIDE = 0.6

#: Channels at the fine resolution: the coarse logit, ``_evidence``, ``_mask_moments``.
_FINE_CHANNELS = 1 + 6 + 2


@dataclass(frozen=True)
class SurfaceConfig:
    """
    Sizes of the network.

    - ``grid``: voxels along a side of the U-Net; the field has twice as many.
    - ``pixels``: channels of the features of a view; ``widths``: channels of the levels.
    - ``features``: channels of the coarse volume beyond density and colour.
    """

    grid: int = 32
    pixels: int = 12
    widths: tuple[int, ...] = (32, 64, 112)
    features: int = 12


@dataclass(frozen=True, eq=False)
class Sources:
    """
    Views of b objects from v cameras, canonical units.

    - ``pictures``: (b, v, 4, h, h) RGBA in [0, 1], the object on white.
    - ``focal``, ``centre``: (b, v, 2) pixels; ``poses``: (b, v, 4, 4), the optical frames.
    - ``depths``: (b, v, h, h) along z, 0 = none; None if no view has depth.
    """

    pictures: Tensor
    focal: Tensor
    centre: Tensor
    poses: Tensor
    depths: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Box:
    """Cubes in canonical coordinates: ``centre`` (b, 3) and ``side`` (b,)."""

    centre: Tensor
    side: Tensor

    def to_canonical(self, unit: Tensor) -> Tensor:
        """Map points (n, 3) of the cube of ``EXTENT`` to canonical coordinates (b, n, 3)."""
        scale = (self.side / EXTENT)[:, None, None]
        return self.centre[:, None] + unit.reshape(1, -1, 3) * scale

    def from_canonical(self, points: Tensor) -> Tensor:
        """Map canonical coordinates (b, n, 3) to the cube of ``EXTENT``."""
        return (points - self.centre[:, None]) * (EXTENT / self.side)[:, None, None]


@dataclass(frozen=True, eq=False)
class SurfaceField:
    """
    Occupancy and colour in ``box``, axes x, y, z.

    - ``logit``: (b, 1, n, n, n), of the occupancy; ``color``: (b, 3, n, n, n), logits of RGB.
    """

    logit: Tensor
    color: Tensor
    box: Box

    def as_volume(self, sharpness: Tensor, poses: Tensor) -> tuple[CoarseVolume, Tensor]:
        """Return the field as a volume of the cube of ``EXTENT``, and ``poses`` in that cube."""
        inside = poses.clone()
        inside[..., :3, 3] = self.box.from_canonical(poses[..., :3, 3])
        return CoarseVolume(self.logit, self.color, self.logit[:, :0], sharpness), inside


def posed_sources(pictures: Tensor, poses: Tensor) -> Sources:
    """Return views (b, v, 4, h, h) through the lens of Zero-1-to-3 as sources."""
    b, v, size = *pictures.shape[:2], pictures.shape[-1]
    focal = 0.5 * size / math.tan(math.radians(ZERO123_FOV / 2.0))
    return Sources(
        pictures.float(),
        torch.full((b, v, 2), focal, device=pictures.device),
        torch.full((b, v, 2), 0.5 * (size - 1.0), device=pictures.device),
        poses.to(pictures.device),
    )


def object_box(logit: Tensor) -> Box:
    """
    Return the cube around the occupied voxels of coarse logits (b, 1, n, n, n).

    It is the whole cube of ``EXTENT`` for an empty volume.
    """
    b, n = logit.shape[0], logit.shape[-1]
    occupied = logit[:, 0] > _MIN_BOX_LOGIT
    centres, sides = [], []
    for index in range(b):
        at = occupied[index].nonzero()
        if not len(at):
            centres.append(torch.zeros(3, device=logit.device))
            sides.append(torch.tensor(EXTENT, device=logit.device))
            continue
        low, high = at.amin(dim=0).float(), at.amax(dim=0).float() + 1.0
        centres.append(((low + high) / (2.0 * n) - 0.5) * EXTENT)
        side = (high - low).max() / n * EXTENT * (1.0 + _BOX_MARGIN)
        sides.append(side.clamp(_MIN_BOX_SIDE, EXTENT))
    return Box(torch.stack(centres), torch.stack(sides))


class SurfaceNet(nn.Module):
    """The surface network, about 1.5 million parameters."""

    def __init__(self, config: SurfaceConfig | None = None) -> None:
        """Make the layers; the untrained field is the coarse volume."""
        super().__init__()
        self.config = config = config or SurfaceConfig()
        widths, pixels = config.widths, config.pixels
        self.encoder = ViewEncoder(pixels)
        # Two cost volumes with the share of views; the coarse features; position, size, flags.
        channels = 8 * _FINE_CHANNELS + 2 * (2 * pixels + 1) + config.features + 3 + 1 + 2
        self.stem = nn.Conv3d(channels, widths[0], 3, padding=1)
        self.down, self.up = make_levels(widths)
        # Without a norm the inputs of the heads are unbounded and training diverges.
        self.norm = nn.GroupNorm(8, widths[0])
        self.logit = nn.Conv3d(widths[0], 8, 3, padding=1)
        self.color = nn.Conv3d(widths[0], 24, 3, padding=1)
        for head in (self.logit, self.color):
            nn.init.zeros_(head.weight)
            nn.init.zeros_(cast(Tensor, head.bias))
        use_channels_last(self)

    def forward(
        self,
        volume: CoarseVolume,
        box: Box,
        captured: Sources,
        synthesized: Sources | None,
        flags: Tensor,
    ) -> SurfaceField:
        """
        Return the field inside ``box``.

        ``volume`` is the coarse one; ``captured`` are the views of cameras, the input first;
        ``synthesized`` those of the view model; ``flags`` (b, 2): depth known, gravity known.
        """
        size = self.config.grid
        device = flags.device
        b = len(flags)
        unit = voxel_grid(size, device)
        coarse_points = box.to_canonical(unit)
        points = box.to_canonical(voxel_grid(2 * size, device))
        prior = torch.cat([volume.density, volume.color], dim=1).float()
        prior = sample_grid(prior, points)
        no_masks = torch.zeros_like(prior[:, :2])
        evidence = torch.cat(
            [
                (0.25 * prior[:, :1]).clamp(-2.0, 2.0),
                _evidence(captured, points),
                no_masks if synthesized is None else _mask_moments(synthesized, points),
            ],
            dim=1,
        ).reshape(b, _FINE_CHANNELS, 2 * size, 2 * size, 2 * size)
        no_views = torch.zeros((b, 2 * self.config.pixels + 1, size**3), device=device)
        parts = [
            self.cost_volume(captured, coarse_points),
            no_views if synthesized is None else self.cost_volume(synthesized, coarse_points),
            sample_grid(volume.features.float(), coarse_points),
            unit.reshape(1, -1, 3).transpose(1, 2).expand(b, 3, -1),
            box.side.log()[:, None, None].expand(b, 1, size**3),
            flags[:, :, None].expand(b, 2, size**3),
            space_to_channels(evidence).flatten(2),
        ]
        x = joined_channels(parts, size)
        x = self.stem(x)
        x, skips = descend(self.down, x)
        x = functional.silu(self.norm(ascend(self.up, x, skips)))
        prior = prior.reshape(b, 4, 2 * size, 2 * size, 2 * size)
        return SurfaceField(
            prior[:, :1] + channels_to_space(self.logit(x)).float(),
            prior[:, 1:] + channels_to_space(self.color(x)).float(),
            box,
        )

    def cost_volume(self, sources: Sources, points: Tensor) -> Tensor:
        """
        Return the mean and variance of the views' features at points (b, n, 3), (b, 2 p + 1, n).

        The last channel is the share of views whose image contains the point. Views are added one
        by one, so that the memory does not grow with their number.
        """
        b, v = sources.pictures.shape[:2]
        total = square = count = torch.zeros((), device=points.device)
        for index in range(v):
            features = self.encoder(2.0 * sources.pictures[:, index] - 1.0)
            grid, z = _project(sources, index, points)
            sampled = functional.grid_sample(
                features.float(), grid[:, None], align_corners=False
            )[:, :, 0]
            valid = ((grid.abs() <= 1.0).all(dim=-1) & (z > 0.0)).float()[:, None]
            total = total + sampled * valid
            square = square + sampled.square() * valid
            count = count + valid
        divisor = count.clamp_min(1.0)
        mean = total / divisor
        return torch.cat([mean, square / divisor - mean.square(), count / v], dim=1)


class ViewEncoder(nn.Module):
    """Features of a view at half its size."""

    def __init__(self, features: int) -> None:
        """Make the layers."""
        super().__init__()
        self.fine = nn.Conv2d(4, 16, 5, stride=2, padding=2)
        self.down = nn.Conv2d(16, 32, 3, stride=2, padding=1)
        self.block = ResidualBlock(32, flat=True)
        self.up = nn.Conv2d(32, 16, 1)
        self.out = nn.Conv2d(16, features, 3, padding=1)

    def forward(self, pictures: Tensor) -> Tensor:
        """Return features (b, f, h / 2, h / 2) of RGBA pictures (b, 4, h, h) in [-1, 1]."""
        fine = self.fine(pictures.contiguous(memory_format=torch.channels_last))
        deep = self.block(self.down(functional.silu(fine)))
        deep = functional.interpolate(self.up(deep), scale_factor=2.0)
        return self.out(functional.silu(fine + deep))


def _project(sources: Sources, index: int, points: Tensor) -> tuple[Tensor, Tensor]:
    return project_to_grid(
        points, sources.focal[:, index], sources.centre[:, index], sources.poses[:, index],
        sources.pictures.shape[-1],
    )


def _mask(sources: Sources, index: int, grid: Tensor) -> Tensor:
    return functional.grid_sample(
        sources.pictures[:, index, 3:], grid[:, None], align_corners=False
    )[:, 0, 0]


def _evidence(sources: Sources, points: Tensor) -> Tensor:
    """
    Return the evidence of camera views at points (b, n, 3), (b, 6, n).

    Mean, variance and minimum of the masks: a point outside of one mask is empty. Mean distance
    behind the measured surface clipped at a small scale, minimum of the same at a large scale: a
    point in front of one measured surface is empty. Share of views with a reading.
    """
    masks, scales = [], []
    for index in range(sources.pictures.shape[1]):
        grid, z = _project(sources, index, points)
        # The mask of a point outside of the image is unknown.
        outside = (grid.abs() > 1.0).any(dim=-1)
        masks.append(torch.where(outside, 0.5, _mask(sources, index, grid)))
        if sources.depths is None:
            continue
        reading = functional.grid_sample(
            sources.depths[:, index, None], grid[:, None], mode='nearest', align_corners=False
        )[:, 0, 0]
        valid = reading > 0.0
        behind = z - reading
        scales.append(
            torch.stack([
                torch.where(valid, (behind / 0.05).clamp(-1.0, 1.0), 0.0),
                torch.where(valid, (behind / 0.4).clamp(-1.0, 1.0), 1.0),
                valid.float(),
            ])
        )
    mask = torch.stack(masks)
    # The variance of one view is 0, which torch takes long to find.
    spread = mask.var(dim=0, correction=0) if len(masks) > 1 else torch.zeros_like(mask[0])
    channels = [mask.mean(dim=0), spread, mask.amin(dim=0)]
    if scales:
        depth = torch.stack(scales)
        count = depth[:, 2].sum(dim=0)
        least = torch.where(count > 0.0, depth[:, 1].amin(dim=0), 0.0)
        channels += [
            depth[:, 0].sum(dim=0) / count.clamp_min(1.0), least, count / len(scales)
        ]
    else:
        channels += [torch.zeros_like(mask[0])] * 3
    return torch.stack(channels, dim=1)


def _mask_moments(sources: Sources, points: Tensor) -> Tensor:
    """Return mean and variance of the masks of views at points (b, n, 3), (b, 2, n)."""
    total = square = torch.zeros((), device=points.device)
    v = sources.pictures.shape[1]
    for index in range(v):
        mask = _mask(sources, index, _project(sources, index, points)[0])
        total = total + mask
        square = square + mask.square()
    mean = total / v
    return torch.stack([mean, square / v - mean.square()], dim=1)


def write_surface(folder: Path, network: SurfaceNet) -> None:
    """Write the network into a folder, in half precision."""
    write_network(folder, network, asdict(network.config))


def read_surface(folder: Path, device: torch.device | str = 'cpu') -> SurfaceNet:
    """Return the network of a folder; errors as ``read_network``."""
    return read_network(folder, lambda settings: SurfaceNet(SurfaceConfig(**settings)), device)
