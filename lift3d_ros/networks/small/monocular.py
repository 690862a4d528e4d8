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
A monocular depth network for views without a depth image.

It also predicts the sides of the object's box. A 2-D network can be trained on many more pictures
than a network of volumes. The coarse network takes the predicted depth in the place of readings,
with the flag of a view without depth.
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

from lift3d_ros.networks.small.augmented_view import AugmentedView
from lift3d_ros.networks.small.augmented_view import concatenate_views
from lift3d_ros.networks.small.coarse_inputs import PICTURE_SIZE
from lift3d_ros.networks.small.files import read_network
from lift3d_ros.networks.small.files import write_network
from lift3d_ros.networks.small.layers import AttentionLayer
from lift3d_ros.networks.small.layers import ResidualBlock
from lift3d_ros.networks.small.layers import use_channels_last

#: Pixels of the picture along the side of a pixel of the predicted depth.
STRIDE = 2

#: Test-time augmentation of the length: rolls of the camera, radians, and factor of its focal
#: length.
_ROLLS, _ZOOM = (0.1, -0.1), 0.94

#: Input channels: RGBA, the vertical, each ray's component along it and slopes, gravity known.
_CHANNELS = 4 + 3 + 1 + 2 + 1


@dataclass(frozen=True)
class MonocularConfig:
    """
    Sizes of the network.

    - ``widths``: channels at 1/2, 1/4 and so on of the picture.
    - ``layers``, ``heads``: of the attention at the coarsest level.
    """

    widths: tuple[int, ...] = (16, 64, 128, 192)
    layers: int = 3
    heads: int = 3


class MonocularNet(nn.Module):
    """
    A 2-D U-Net (Ronneberger et al., 2015) from a picture and its camera to depth.

    Its coarsest level has self-attention.
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
        use_channels_last(self)

    def forward(
        self, picture: Tensor, focal: Tensor, centre: Tensor, pose: Tensor, flags: Tensor
    ) -> tuple[Tensor, Tensor]:
        """
        Return the relative depth and the logarithms of the sides of the object, canonical units.

        The depth (b, h / 2, w / 2) is along z of the optical frame, relative to the object's
        centre; the sides (b, 3) are in the order of ``geometry.upright_sides``. Arguments are
        those of ``CoarseNet``.
        """
        x = self.stem(_input_channels(picture, focal, centre, pose, flags))
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
        Return the depth of each pixel of the object, (b, 128, 128), 0 for background.

        Along z of the optical frame, canonical units; arguments are those of ``CoarseNet``. The
        result is the mean of the predictions for the picture and its mirror image.
        """
        relative, _ = self._mirror_mean(AugmentedView(picture, focal, centre, pose), flags)
        relative = functional.interpolate(
            relative[:, None], scale_factor=float(STRIDE), mode='bilinear'
        )[:, 0]
        depth = relative + origin_depth(focal, centre, pose)[:, None, None]
        return torch.where(picture[:, 3] > 0.5, depth, 0.0)

    def length(
        self, picture: Tensor, focal: Tensor, centre: Tensor, pose: Tensor, flags: Tensor
    ) -> Tensor:
        """
        Return the length of the object's longest side, (b,), canonical units.

        Arguments are those of ``CoarseNet``. The result is the mean over the picture, rolled
        pictures, and the mirror images of all.
        """
        view = AugmentedView(picture, focal, centre, pose)
        zoom = torch.full_like(focal[:, 0], _ZOOM)
        views = [view, *(view.rolled(torch.full_like(zoom, angle), zoom) for angle in _ROLLS)]
        _, sides = self._mirror_mean(concatenate_views(views), flags.repeat(len(views), 1))
        return sides.reshape(len(views), -1, 3).mean(dim=0).amax(dim=1).exp()

    def _mirror_mean(self, view: AugmentedView, flags: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean of ``forward`` over the pictures and their mirror images."""
        both = concatenate_views([view, view.mirrored()])
        relative, sides = self(
            both.picture, both.focal, both.centre, both.pose, flags.repeat(2, 1)
        )
        count = len(view.picture)
        relative, sides = relative.float(), sides.float()
        return (
            0.5 * (relative[:count] + relative[count:].flip(-1)),
            0.5 * (sides[:count] + sides[count:]),
        )


def with_predicted_depth(
    inputs: dict[str, Tensor], network: MonocularNet | None
) -> dict[str, Tensor]:
    """Return the arguments of ``CoarseNet``, missing depth replaced by the prediction."""
    measured = inputs['flags'][:, 0] > 0.5
    if network is None or bool(measured.all()):
        return inputs
    depth = network.depth(**_without_depth(inputs))
    return {**inputs, 'depth': torch.where(measured[:, None, None], inputs['depth'], depth)}


def predicted_length(inputs: dict[str, Tensor], network: MonocularNet | None) -> Tensor | None:
    """Return the lengths (b,) of ``MonocularNet.length``, None where every depth is measured."""
    if network is None or bool((inputs['flags'][:, 0] > 0.5).all()):
        return None
    return network.length(**_without_depth(inputs))


def _without_depth(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in inputs.items() if name != 'depth'}


def origin_depth(focal: Tensor, centre: Tensor, pose: Tensor) -> Tensor:
    """Return the depth of the canonical origin, which projects to the middle pixel, (b,)."""
    slope = (0.5 * (PICTURE_SIZE - 1.0) - centre) / focal
    distance = pose[:, :3, 3].norm(dim=1)
    return distance / (1.0 + slope.square().sum(dim=1)).sqrt()


def _input_channels(
    picture: Tensor, focal: Tensor, centre: Tensor, pose: Tensor, flags: Tensor
) -> Tensor:
    """Return the picture and the channels of its camera, (b, _CHANNELS, h, w)."""
    b, _, h, w = picture.shape
    v, u = torch.meshgrid(
        torch.arange(h, device=picture.device), torch.arange(w, device=picture.device),
        indexing='ij',
    )
    slopes = (torch.stack([u, v]) - centre[:, :, None, None]) / focal[:, :, None, None]
    # The canonical z axis in the optical frame, and its dot product with the unit rays.
    up = pose[:, 2, :3, None, None]
    climb = up[:, 0] * slopes[:, 0] + up[:, 1] * slopes[:, 1] + up[:, 2]
    climb = (climb * (1.0 + slopes.square().sum(dim=1)).rsqrt())[:, None]
    channels = [
        2.0 * picture - 1.0, up.expand(b, 3, h, w), climb, 2.0 * slopes,
        flags[:, 1, None, None, None].expand(b, 1, h, w),
    ]
    return torch.cat(channels, dim=1).contiguous(memory_format=torch.channels_last)


def write_monocular(
    folder: Path, network: MonocularNet, dtype: torch.dtype = torch.float16
) -> None:
    """Write the network into a folder, which is created if missing."""
    write_network(folder, network, asdict(network.config), dtype)


def read_monocular(folder: Path, device: torch.device | str = 'cpu') -> MonocularNet:
    """Return the network of a folder; errors as ``read_network``."""
    return read_network(folder, lambda settings: MonocularNet(MonocularConfig(**settings)), device)
