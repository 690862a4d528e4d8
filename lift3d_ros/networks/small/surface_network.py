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
The small surface network: posed views over the coarse volume to a field of the solid.

The stages are those of One-2-3-45 (Liu et al., 2023): features of every view, their mean and
variance at each place of a volume, a 3-D network over it, the field of the surface. Three things
are a robot's: the volume is upright and sized to the object; what a camera saw (the input, and
further frames where there are some) is kept apart from what a network made up; and depth tells
surface, free space and what nobody knows. It begins with the coarse volume of the small view
weights, and learns by how much that is wrong.
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
from lift3d_ros.networks.small.files import made_as_stored
from lift3d_ros.networks.small.files import read_config
from lift3d_ros.networks.small.files import read_state
from lift3d_ros.networks.small.files import write_network
from lift3d_ros.networks.small.grids import channels_to_space
from lift3d_ros.networks.small.grids import sample_grid
from lift3d_ros.networks.small.grids import space_to_channels
from lift3d_ros.networks.small.grids import to_pixels
from lift3d_ros.networks.small.grids import voxel_grid
from lift3d_ros.networks.small.unet_levels import ascend
from lift3d_ros.networks.small.unet_levels import descend
from lift3d_ros.networks.small.unet_levels import make_levels
from lift3d_ros.networks.small.unet_levels import put_channels_last
from lift3d_ros.networks.small.unet_levels import ResidualBlock
from lift3d_ros.networks.small.volume import CoarseVolume

#: Places of the coarse volume that are solid with at least this logit belong to the object's box.
_BOX_LEVEL = -0.5

#: The box is longer than what it must hold by this share.
_BOX_MARGIN = 0.16

#: Smallest side of a box, canonical units.
_BOX_LEAST = 0.6


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
    - ``depths``: (b, v, h, h) along z, 0 = none; or None where no view has any.
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

    def places(self, unit: Tensor) -> Tensor:
        """Return canonical coordinates (b, n, 3) of places (n, 3) of the cube of ``EXTENT``."""
        scale = (self.side / EXTENT)[:, None, None]
        return self.centre[:, None] + unit.reshape(1, -1, 3) * scale

    def inside(self, places: Tensor) -> Tensor:
        """Undo ``places``, for (b, n, 3)."""
        return (places - self.centre[:, None]) * (EXTENT / self.side)[:, None, None]


@dataclass(frozen=True, eq=False)
class SurfaceField:
    """
    The solid inside ``box``, whose sides hold n voxels, axes x, y, z.

    - ``logit``: (b, 1, n, n, n) of a place being inside the object; ``color``: (b, 3, n, n, n)
      logits of RGB.
    """

    logit: Tensor
    color: Tensor
    box: Box

    def rendered_as(self, sharpness: Tensor, poses: Tensor) -> tuple[CoarseVolume, Tensor]:
        """Return the field as a volume of the cube of ``EXTENT``, and ``poses`` in that cube."""
        inside = poses.clone()
        inside[..., :3, 3] = self.box.inside(poses[..., :3, 3])
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
    Return the cube around what a coarse volume (b, 1, n, n, n) holds, as logits.

    It is the whole cube of ``EXTENT`` where the volume is empty.
    """
    b, n = logit.shape[0], logit.shape[-1]
    solid = logit[:, 0] > _BOX_LEVEL
    centres, sides = [], []
    for index in range(b):
        at = solid[index].nonzero()
        if not len(at):
            centres.append(torch.zeros(3, device=logit.device))
            sides.append(torch.tensor(EXTENT, device=logit.device))
            continue
        low, high = at.amin(dim=0).float(), at.amax(dim=0).float() + 1.0
        centres.append(((low + high) / (2.0 * n) - 0.5) * EXTENT)
        side = (high - low).max() / n * EXTENT * (1.0 + _BOX_MARGIN)
        sides.append(side.clamp(_BOX_LEAST, EXTENT))
    return Box(torch.stack(centres), torch.stack(sides))


class SurfaceNet(nn.Module):
    """See the module; about one and a half million parameters."""

    def __init__(self, config: SurfaceConfig | None = None) -> None:
        """Make the layers; untrained, the field is that of the coarse volume."""
        super().__init__()
        self.config = config = config or SurfaceConfig()
        widths, pixels = config.widths, config.pixels
        self.encoder = ViewEncoder(pixels)
        # Of each kind of source mean, variance and share; the coarse features; place, size, flags.
        channels = 8 * _FINE + 2 * (2 * pixels + 1) + config.features + 3 + 1 + 2
        self.stem = nn.Conv3d(channels, widths[0], 3, padding=1)
        self.down, self.up = make_levels(widths)
        # Without it nothing bounds what reaches the heads, and training comes to a dead end.
        self.norm = nn.GroupNorm(8, widths[0])
        self.logit = nn.Conv3d(widths[0], 8, 3, padding=1)
        self.color = nn.Conv3d(widths[0], 24, 3, padding=1)
        for head in (self.logit, self.color):
            nn.init.zeros_(head.weight)
            nn.init.zeros_(cast(Tensor, head.bias))
        put_channels_last(self)

    def forward(
        self, volume: CoarseVolume, box: Box, seen: Sources, made: Sources | None, flags: Tensor
    ) -> SurfaceField:
        """
        Return the field inside ``box``.

        ``volume`` is the coarse one; ``seen`` are what cameras saw, the input first; ``made`` are
        synthesised views, None without any; ``flags`` (b, 2) tell whether depth and gravity are
        known.
        """
        size = self.config.grid
        device = flags.device
        b = len(flags)
        unit = voxel_grid(size, device)
        coarse_places = box.places(unit)
        places = box.places(voxel_grid(2 * size, device))
        before = torch.cat([volume.density, volume.color], dim=1).float()
        before = sample_grid(before, places)
        told = torch.cat(
            [
                (0.25 * before[:, :1]).clamp(-2.0, 2.0),
                _evidence(seen, places),
                torch.zeros_like(before[:, :2]) if made is None else _silhouettes(made, places),
            ],
            dim=1,
        ).reshape(b, _FINE, 2 * size, 2 * size, 2 * size)
        nothing = torch.zeros((b, 2 * self.config.pixels + 1, size**3), device=device)
        x = torch.cat(
            [
                self._cost_volume(seen, coarse_places),
                nothing if made is None else self._cost_volume(made, coarse_places),
                sample_grid(volume.features.float(), coarse_places),
                unit.reshape(1, -1, 3).transpose(1, 2).expand(b, 3, -1),
                box.side.log()[:, None, None].expand(b, 1, size**3),
                flags[:, :, None].expand(b, 2, size**3),
            ],
            dim=1,
        ).reshape(b, -1, size, size, size)
        x = torch.cat([x, space_to_channels(told)], dim=1)
        x = x.contiguous(memory_format=torch.channels_last_3d)
        x = self.stem(x)
        x, skips = descend(self.down, x)
        x = functional.silu(self.norm(ascend(self.up, x, skips)))
        before = before.reshape(b, 4, 2 * size, 2 * size, 2 * size)
        return SurfaceField(
            before[:, :1] + channels_to_space(self.logit(x)).float(),
            before[:, 1:] + channels_to_space(self.color(x)).float(),
            box,
        )

    def _cost_volume(self, sources: Sources, places: Tensor) -> Tensor:
        """
        Return mean and variance of the views' features at places (b, n, 3), and their share.

        (b, 2 p + 1, n). The views are added one by one, so that the memory does not grow with
        their number.
        """
        b, v = sources.pictures.shape[:2]
        total = square = count = torch.zeros((), device=places.device)
        for index in range(v):
            features = self.encoder(2.0 * sources.pictures[:, index] - 1.0)
            grid, z = _pixels_of(sources, index, places)
            seen = functional.grid_sample(
                features.float(), grid[:, None], align_corners=False
            )[:, :, 0]
            valid = ((grid.abs() <= 1.0).all(dim=-1) & (z > 0.0)).float()[:, None]
            total = total + seen * valid
            square = square + seen.square() * valid
            count = count + valid
        some = count.clamp_min(1.0)
        mean = total / some
        return torch.cat([mean, square / some - mean.square(), count / v], dim=1)


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


#: Channels of ``told``: the coarse logit, ``_evidence``, ``_silhouettes``.
_FINE = 1 + 6 + 2


def _pixels_of(sources: Sources, index: int, places: Tensor) -> tuple[Tensor, Tensor]:
    return to_pixels(
        places, sources.focal[:, index], sources.centre[:, index], sources.poses[:, index],
        sources.pictures.shape[-1],
    )


def _evidence(sources: Sources, places: Tensor) -> Tensor:
    """
    Return what cameras saw of places (b, n, 3), (b, 6, n).

    The mean, the variance and the least of the masks: a place beside one mask is empty. The mean
    distance behind the measured surface at a small scale, the least at a large one: a place before
    one measured surface is empty. The share of views that measured anything.
    """
    masks, scales = [], []
    for index in range(sources.pictures.shape[1]):
        grid, z = _pixels_of(sources, index, places)
        mask = functional.grid_sample(
            sources.pictures[:, index, 3:], grid[:, None], align_corners=False
        )[:, 0, 0]
        # What lies beyond a picture, it says nothing of.
        outside = (grid.abs() > 1.0).any(dim=-1)
        masks.append(torch.where(outside, 0.5, mask))
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
    found = [mask.mean(dim=0), mask.var(dim=0, correction=0), mask.amin(dim=0)]
    if scales:
        depth = torch.stack(scales)
        count = depth[:, 2].sum(dim=0)
        least = torch.where(count > 0.0, depth[:, 1].amin(dim=0), 0.0)
        found += [
            depth[:, 0].sum(dim=0) / count.clamp_min(1.0), least, count / len(scales)
        ]
    else:
        found += [torch.zeros_like(mask[0])] * 3
    return torch.stack(found, dim=1)


def _silhouettes(sources: Sources, places: Tensor) -> Tensor:
    """Return mean and variance of the masks of views at places (b, n, 3), (b, 2, n)."""
    total = square = torch.zeros((), device=places.device)
    v = sources.pictures.shape[1]
    for index in range(v):
        grid, _ = _pixels_of(sources, index, places)
        mask = functional.grid_sample(
            sources.pictures[:, index, 3:], grid[:, None], align_corners=False
        )[:, 0, 0]
        total = total + mask
        square = square + mask.square()
    mean = total / v
    return torch.stack([mean, square / v - mean.square()], dim=1)


def write_surface(folder: Path, network: SurfaceNet) -> None:
    """Write the network into a folder, in half precision."""
    write_network(folder, network, asdict(network.config))


def read_surface(folder: Path, device: torch.device | str = 'cpu') -> SurfaceNet:
    """
    Return the network of a folder in float32.

    Raises ``LiftError``: ``WEIGHTS_MISSING``, ``WEIGHTS_CORRUPT``.
    """
    settings = read_config(folder)
    network = made_as_stored(folder, lambda: SurfaceNet(SurfaceConfig(**settings)))
    read_state(folder, network)
    return network.eval().requires_grad_(False).to(device)
