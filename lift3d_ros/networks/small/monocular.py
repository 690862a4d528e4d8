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
A small network that tells the depth of what one picture shows, where no sensor measured it.

Edges and shades within an object say how it is made, and its outline how large it may be: a 2-D
network learns that from many times the pictures that a network of volumes could. The coarse
network takes what it says as it takes a sensor's readings, but for the flag that there are none.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import nn
from torch import Tensor
from torch.nn import functional

from lift3d_ros.networks.small.attention import AttentionLayer
from lift3d_ros.networks.small.augmented_view import joined
from lift3d_ros.networks.small.augmented_view import Look
from lift3d_ros.networks.small.coarse_inputs import PICTURE_SIZE
from lift3d_ros.networks.small.files import made_as_stored
from lift3d_ros.networks.small.files import read_config
from lift3d_ros.networks.small.files import read_state
from lift3d_ros.networks.small.files import write_network
from lift3d_ros.networks.small.unet_levels import put_channels_last
from lift3d_ros.networks.small.unet_levels import ResidualBlock

#: The depths have one value for each square of so many pixels of the picture.
STRIDE = 2

#: The length is asked of looks that are turned by so much (radians), too, through a shorter lens.
_TURNS, _ZOOM = (0.1, -0.1), 0.94

#: RGBA, the vertical, how far each ray climbs, its slopes, whether the vertical is known.
_CHANNELS = 4 + 3 + 1 + 2 + 1


@dataclass(frozen=True)
class MonocularConfig:
    """
    Sizes of the network.

    - ``widths``: channels at 1/2, 1/4 and so on of the picture.
    - ``layers``, ``heads``: of the attention between the places of the coarsest level.
    """

    widths: tuple[int, ...] = (16, 64, 128, 192)
    layers: int = 3
    heads: int = 3


class MonocularNet(nn.Module):
    """
    A 2-D U-Net (Ronneberger et al., 2015) from a picture and its camera to depths.

    Attention between the places of its coarsest level sees the object as a whole.
    """

    def __init__(self, config: MonocularConfig | None = None) -> None:
        """Make the layers."""
        super().__init__()
        self.config = config = config or MonocularConfig()
        widths = config.widths
        pairs = list(zip(widths, widths[1:], strict=False))
        self.stem = nn.Conv2d(_CHANNELS, widths[0], 5, stride=STRIDE, padding=2)
        self.down = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairs)
        self.blocks = nn.ModuleList(ResidualBlock(c, flat=True) for c in widths)
        self.middle = ResidualBlock(widths[-1], flat=True)
        self.whole = nn.Linear(widths[-1], widths[-1])
        side = PICTURE_SIZE // STRIDE >> len(pairs)
        self.place = nn.Parameter(torch.zeros(side * side, widths[-1]))
        self.attention = nn.ModuleList(
            AttentionLayer(widths[-1], config.heads) for _ in range(config.layers)
        )
        self.sides = nn.Sequential(
            nn.Linear(2 * widths[-1], widths[-1]), nn.SiLU(), nn.Linear(widths[-1], 3)
        )
        self.side = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in pairs)
        self.up = nn.ModuleList(ResidualBlock(c, flat=True) for c in widths[:-1])
        self.norm = nn.GroupNorm(8, widths[0])
        self.out = nn.Conv2d(widths[0], 1, 3, padding=1)
        put_channels_last(self)

    def forward(
        self, picture: Tensor, focal: Tensor, centre: Tensor, pose: Tensor, flags: Tensor
    ) -> tuple[Tensor, Tensor]:
        """
        Return what the picture tells of the object, canonical units.

        By how much each place lies behind the middle of the object, (b, h / 2, w / 2), along z of
        the optical frame; and the logarithms of the sides of its upright box, (b, 3), in the order
        of ``geometry.upright_sides``. Arguments as ``CoarseNet`` has them.
        """
        x = self.stem(_told(picture, focal, centre, pose, flags))
        levels = []
        for index, block in enumerate(cast(Iterable[nn.Module], self.blocks)):
            x = block(x if index == 0 else self.down[index - 1](x))
            levels.append(x)
        x = self.middle(x + self.whole(x.mean(dim=(2, 3)))[:, :, None, None])
        places = x.flatten(2).transpose(1, 2) + self.place
        for layer in self.attention:
            places = layer(places)
        sides = self.sides(torch.cat([places.mean(dim=1), places.amax(dim=1)], dim=1))
        x = places.transpose(1, 2).reshape(x.shape)
        for index in reversed(range(len(self.up))):
            wide = functional.interpolate(self.side[index](x), scale_factor=2.0)
            x = self.up[index](wide + levels[index])
        return self.out(functional.silu(self.norm(x)))[:, 0], sides

    def depth(
        self, picture: Tensor, focal: Tensor, centre: Tensor, pose: Tensor, flags: Tensor
    ) -> Tensor:
        """
        Return the depth of each pixel of the object, (b, 128, 128), 0 beside it.

        Along z of the optical frame, canonical units; arguments as ``CoarseNet`` has them. It is
        the mean of what the network sees in the picture and in its mirror image, which is nearer
        to the truth than either.
        """
        behind, _ = self._both_ways(Look(picture, focal, centre, pose), flags)
        behind = functional.interpolate(behind[:, None], scale_factor=float(STRIDE),
                                        mode='bilinear')[:, 0]
        depth = behind + middle_depth(focal, centre, pose)[:, None, None]
        return torch.where(picture[:, 3] > 0.5, depth, 0.0)

    def length(
        self, picture: Tensor, focal: Tensor, centre: Tensor, pose: Tensor, flags: Tensor
    ) -> Tensor:
        """
        Return the length of the object's longest side, (b,), canonical units.

        Arguments as ``CoarseNet`` has them. It is the mean over the picture and turned ones, and
        over the mirror images of all.
        """
        straight = Look(picture, focal, centre, pose)
        zoom = torch.full_like(focal[:, 0], _ZOOM)
        looks = [straight, *(straight.turned(torch.full_like(zoom, a), zoom) for a in _TURNS)]
        _, sides = self._both_ways(joined(looks), flags.repeat(len(looks), 1))
        return sides.reshape(len(looks), -1, 3).mean(dim=0).amax(dim=1).exp()

    def _both_ways(self, look: Look, flags: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean of what the pictures and their mirror images tell; see ``forward``."""
        both = joined([look, look.mirrored()])
        behind, sides = self(both.picture, both.focal, both.centre, both.pose, flags.repeat(2, 1))
        count = len(look.picture)
        behind, sides = behind.float(), sides.float()
        return (
            0.5 * (behind[:count] + behind[count:].flip(-1)),
            0.5 * (sides[:count] + sides[count:]),
        )


def with_guessed_depth(
    told: dict[str, Tensor], network: MonocularNet | None
) -> dict[str, Tensor]:
    """Return the arguments of ``CoarseNet`` with the network's depth where none was measured."""
    measured = told['flags'][:, 0] > 0.5
    if network is None or bool(measured.all()):
        return told
    depth = network.depth(**_pictures(told))
    return {**told, 'depth': torch.where(measured[:, None, None], told['depth'], depth)}


def guessed_length(told: dict[str, Tensor], network: MonocularNet | None) -> Tensor | None:
    """Return the lengths (b,) of ``MonocularNet.length``, None where all depths are measured."""
    if network is None or bool((told['flags'][:, 0] > 0.5).all()):
        return None
    return network.length(**_pictures(told))


def _pictures(told: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: told[name] for name in ('picture', 'focal', 'centre', 'pose', 'flags')}


def middle_depth(focal: Tensor, centre: Tensor, pose: Tensor) -> Tensor:
    """Return the depth of the canonical origin, which lies amid the picture, (b,)."""
    slope = (0.5 * (PICTURE_SIZE - 1.0) - centre) / focal
    distance = pose[:, :3, 3].norm(dim=1)
    return distance / (1.0 + slope.square().sum(dim=1)).sqrt()


def _told(
    picture: Tensor, focal: Tensor, centre: Tensor, pose: Tensor, flags: Tensor
) -> Tensor:
    """Return the picture with what is known of its camera, (b, _CHANNELS, h, w)."""
    b, _, h, w = picture.shape
    v, u = torch.meshgrid(
        torch.arange(h, device=picture.device), torch.arange(w, device=picture.device),
        indexing='ij',
    )
    slopes = (torch.stack([u, v]) - centre[:, :, None, None]) / focal[:, :, None, None]
    # The canonical z axis in the optical frame, along the rays of unit length.
    up = pose[:, 2, :3, None, None]
    climb = up[:, 0] * slopes[:, 0] + up[:, 1] * slopes[:, 1] + up[:, 2]
    climb = (climb * (1.0 + slopes.square().sum(dim=1)).rsqrt())[:, None]
    told = [
        2.0 * picture - 1.0, up.expand(b, 3, h, w), climb, 2.0 * slopes,
        flags[:, 1, None, None, None].expand(b, 1, h, w),
    ]
    return torch.cat(told, dim=1).contiguous(memory_format=torch.channels_last)


def write_monocular(
    folder: Path, network: MonocularNet, dtype: torch.dtype = torch.float16
) -> None:
    """Write the network into a folder, which is made where it is missing."""
    write_network(folder, network, asdict(network.config), dtype)


def read_monocular(folder: Path, device: torch.device | str = 'cpu') -> MonocularNet:
    """
    Return the network of a folder in float32.

    Raises ``LiftError``: ``WEIGHTS_MISSING``, ``WEIGHTS_CORRUPT``.
    """
    settings = read_config(folder)
    network = made_as_stored(folder, lambda: MonocularNet(MonocularConfig(**settings)))
    read_state(folder, network)
    return network.eval().requires_grad_(False).to(device)
