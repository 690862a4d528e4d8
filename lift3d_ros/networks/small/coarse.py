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
The coarse network: one view, with or without depth, to a coarse coloured volume.

The features of the picture are unprojected along their rays into a voxel grid, together with the
evidence of mask and depth; a 3-D U-Net with attention at its coarsest level completes them. The
volume is rendered from the target views (``networks.small.volume``) to condition the denoiser of
the small weights, as in GeNVS (Chan et al., 2023) and SyncDreamer (Liu et al., 2023), here from
one view.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import nn
from torch import Tensor
from torch.nn import functional

from lift3d_ros.networks.small.layers import ascend
from lift3d_ros.networks.small.layers import AttentionLayer
from lift3d_ros.networks.small.layers import channels_to_space
from lift3d_ros.networks.small.layers import descend
from lift3d_ros.networks.small.layers import joined_channels
from lift3d_ros.networks.small.layers import make_levels
from lift3d_ros.networks.small.layers import ResidualBlock
from lift3d_ros.networks.small.layers import space_to_channels
from lift3d_ros.networks.small.layers import use_channels_last
from lift3d_ros.networks.small.volume import CoarseVolume
from lift3d_ros.networks.small.volume import project_to_grid
from lift3d_ros.networks.small.volume import voxel_grid


@dataclass(frozen=True)
class CoarseConfig:
    """
    Sizes of the network.

    - ``grid``: voxels along a side of the U-Net; the volume has twice as many.
    - ``pixels``: channels of the picture's features; ``widths``: channels at each level of the
      U-Net; ``layers``, ``heads``: of the attention at the coarsest level.
    - ``features``: channels of the volume beyond density and colour.
    """

    grid: int = 32
    pixels: int = 24
    widths: tuple[int, ...] = (32, 96, 192)
    layers: int = 3
    heads: int = 3
    features: int = 12


class CoarseNet(nn.Module):
    """The coarse network, about eight million parameters."""

    def __init__(self, config: CoarseConfig | None = None) -> None:
        """Make the layers."""
        super().__init__()
        self.config = config = config or CoarseConfig()
        widths = config.widths
        self.picture = PictureEncoder(config.pixels, widths[-1])
        # Features, colour and alpha along the ray; the four channels of evidence for each of the
        # eight voxels of a block; position, relative depth, flags.
        self.stem = nn.Conv3d(config.pixels + 4 + 8 * 4 + 6, widths[0], 3, padding=1)
        self.down, self.up = make_levels(widths)
        places = (config.grid >> (len(widths) - 1)) ** 3
        self.place = nn.Parameter(torch.empty(places, widths[-1]))
        self.pixel = nn.Parameter(torch.empty(64, widths[-1]))
        for parameter in (self.place, self.pixel):
            nn.init.normal_(parameter, std=0.02)
        self.middle = ResidualBlock(widths[-1])
        self.attention = nn.ModuleList(
            AttentionLayer(widths[-1], config.heads) for _ in range(config.layers)
        )
        self.density = nn.Conv3d(widths[0], 8, 3, padding=1)
        self.color = nn.Conv3d(widths[0], 24, 3, padding=1)
        self.feature = nn.Conv3d(widths[0], config.features, 1)
        # Most voxels are empty.
        nn.init.constant_(cast(Tensor, self.density.bias), -3.0)
        # ``CoarseVolume.sharpness``.
        self.sharpness = nn.Parameter(torch.tensor([4.0, 1.5]))
        use_channels_last(self)

    def forward(
        self,
        picture: Tensor,
        depth: Tensor,
        focal: Tensor,
        centre: Tensor,
        pose: Tensor,
        flags: Tensor,
    ) -> CoarseVolume:
        """
        Return the volume of each view.

        Shapes: ``picture`` (b, 4, 128, 128) RGBA in [0, 1], ``depth`` (b, 128, 128) in canonical
        units with 0 for none, ``focal`` and ``centre`` (b, 2) pixels, ``pose`` (b, 4, 4), the
        optical frame in canonical coordinates, ``flags`` (b, 2): depth known, gravity known.
        """
        config = self.config
        radius = pose[:, :3, 3].norm(dim=1)
        pixels, tokens = self.picture(picture, depth, radius)
        points = voxel_grid(2 * config.grid, picture.device)
        evidence, prior = _ray_evidence(points, picture, depth, focal, centre, pose)
        size = config.grid
        parts = _project_features(
            voxel_grid(size, picture.device), pixels, picture, focal, centre, pose, radius, flags)
        x = joined_channels([*parts, space_to_channels(evidence).flatten(2)], size)
        x = self.stem(x)
        x, skips = descend(self.down, x)
        x = self.middle(self._attend(x, tokens))
        x = functional.silu(ascend(self.up, x, skips))
        return CoarseVolume(
            density=channels_to_space(self.density(x)),
            # The network learns the residual to the colour of the pixel on the same ray.
            color=channels_to_space(self.color(x)) + prior,
            features=self.feature(x),
            sharpness=self.sharpness,
        )

    def _attend(self, x: Tensor, tokens: Tensor) -> Tensor:
        shape = x.shape
        places = x.flatten(2).transpose(1, 2) + self.place
        sequence = torch.cat([places, tokens + self.pixel], dim=1)
        for layer in self.attention:
            sequence = layer(sequence)
        attended = sequence[:, : places.shape[1]].transpose(1, 2).reshape(shape)
        return attended.contiguous(memory_format=torch.channels_last_3d)


class PictureEncoder(nn.Module):
    """A 2-D pyramid: features at half the picture's size, and an 8 x 8 grid of tokens."""

    def __init__(self, features: int, width: int) -> None:
        """Make the layers for ``features`` channels of pixels and ``width`` of tokens."""
        super().__init__()
        channels = (32, 48, 96, width)
        self.stem = nn.Conv2d(6, channels[0], 5, stride=2, padding=2)
        self.down = nn.ModuleList(
            nn.Conv2d(a, b, 3, stride=2, padding=1)
            for a, b in zip(channels, channels[1:], strict=False)
        )
        self.blocks = nn.ModuleList(ResidualBlock(c, flat=True) for c in channels)
        self.side = nn.ModuleList(nn.Conv2d(c, features, 1) for c in channels)
        self.out = nn.Conv2d(features, features, 3, padding=1)

    def forward(self, picture: Tensor, depth: Tensor, radius: Tensor) -> tuple[Tensor, Tensor]:
        """Return features (b, f, 64, 64) and tokens (b, 64, width); see ``CoarseNet``."""
        valid = depth > 0.0
        relative = torch.where(valid, depth - radius[:, None, None], 0.0).clamp(-1.5, 1.5)
        x = torch.cat([2.0 * picture - 1.0, relative[:, None], valid[:, None].float()], dim=1)
        x = self.stem(x.contiguous(memory_format=torch.channels_last))
        levels = []
        for index, block in enumerate(self.blocks):
            x = block(x if index == 0 else self.down[index - 1](x))
            levels.append(x)
        merged = self.side[-1](levels[-1])
        for level, side in zip(reversed(levels[:-1]), reversed(self.side[:-1]), strict=True):
            merged = functional.interpolate(merged, scale_factor=2.0) + side(level)
        return self.out(functional.silu(merged)), levels[-1].flatten(2).transpose(1, 2)


def _ray_evidence(
    points: Tensor, picture: Tensor, depth: Tensor, focal: Tensor, centre: Tensor, pose: Tensor
) -> tuple[Tensor, Tensor]:
    """
    Return mask and depth evidence (b, 4, s, s, s) at points (s, s, s, 3), and their colour.

    The evidence is alpha, the distance behind the measured surface clipped at two scales, and
    whether there is a reading. The colour is that of the pixel on the same ray, (b, 3, s, s, s)
    logits of RGB, 0 off the object.
    """
    b, size = picture.shape[0], points.shape[0]
    grid, z = project_to_grid(points.reshape(-1, 3), focal, centre, pose, picture.shape[-1])
    rgba = functional.grid_sample(picture, grid[:, None], align_corners=False)[:, :, 0]
    color, alpha = rgba[:, :3], rgba[:, 3]
    color = torch.where(alpha[:, None] > 0.5, torch.logit(color, eps=0.02), 0.0)
    reading = functional.grid_sample(
        depth[:, None], grid[:, None], mode='nearest', align_corners=False
    )[:, 0, 0]
    valid = reading > 0.0
    behind = torch.where(valid, z - reading, 0.0)
    evidence = torch.stack(
        [
            alpha,
            (behind / 0.05).clamp(-1.0, 1.0),
            (behind / 0.4).clamp(-1.0, 1.0),
            valid.to(alpha.dtype),
        ],
        dim=1,
    )
    shape = (size, size, size)
    return evidence.reshape(b, 4, *shape), color.reshape(b, 3, *shape)


def _project_features(
    points: Tensor,
    pixels: Tensor,
    picture: Tensor,
    focal: Tensor,
    centre: Tensor,
    pose: Tensor,
    radius: Tensor,
    flags: Tensor,
) -> list[Tensor]:
    """
    Return the picture's features along their rays, position, depth and flags.

    Each is (b, c, n) for the points (s, s, s, 3), n of them.
    """
    b = picture.shape[0]
    flat = points.reshape(-1, 3)
    grid, z = project_to_grid(flat, focal, centre, pose, picture.shape[-1])
    sampled = [
        functional.grid_sample(image.float(), grid[:, None], align_corners=False)[:, :, 0]
        for image in (pixels, picture)
    ]
    position = flat.T.expand(b, 3, -1)
    depth = (z - radius[:, None])[:, None]
    flags = flags[:, :, None].expand(b, 2, flat.shape[0])
    return [*sampled, position, depth, flags]
