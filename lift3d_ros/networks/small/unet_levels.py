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

"""The levels of the 3-D U-Nets (Ronneberger et al., 2015; in space, Cicek et al., 2016)."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any
from typing import cast

import torch
from torch import nn
from torch import Tensor
from torch.nn import functional


class ResidualBlock(nn.Module):
    """Two convolutions beside an identity; in the plane where ``flat``, else in space."""

    def __init__(self, channels: int, flat: bool = False, normed: bool = True) -> None:
        """Make the layers; without norms, which cost as much as the rest on large grids."""
        super().__init__()
        conv = nn.Conv2d if flat else nn.Conv3d
        self.norm1 = nn.GroupNorm(8, channels) if normed else nn.Identity()
        self.conv1 = conv(channels, channels, 3, padding=1)
        self.norm2 = nn.GroupNorm(8, channels) if normed else nn.Identity()
        self.conv2 = conv(channels, channels, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Return the features, of the same shape."""
        y = self.conv1(functional.silu(self.norm1(x)))
        return x + self.conv2(functional.silu(self.norm2(y)))


def make_levels(widths: Sequence[int]) -> tuple[nn.ModuleList, nn.ModuleList]:
    """
    Return the ways down and up between grids of so many channels, each of half the size.

    The levels are dictionaries of ``sample`` and ``block``, so that the keys of a state dict are
    such as ``down.0.sample.weight``. The finest level has no norms.
    """
    down, up = nn.ModuleList(), nn.ModuleList()
    for narrow, wide in zip(widths, widths[1:], strict=False):
        down.append(
            nn.ModuleDict({
                'sample': nn.Conv3d(narrow, wide, 2, stride=2),
                'block': ResidualBlock(wide),
            })
        )
        up.append(
            nn.ModuleDict({
                'sample': nn.ConvTranspose3d(wide, narrow, 2, stride=2),
                'block': ResidualBlock(narrow, normed=narrow > widths[0]),
            })
        )
    return down, up


def descend(down: nn.ModuleList, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Return features (b, c, n, n, n) at the coarsest level, and those before each level."""
    skips = []
    for level in cast(Iterable[Any], down):
        skips.append(x)
        x = level['block'](level['sample'](x))
    return x, skips


def ascend(up: nn.ModuleList, x: Tensor, skips: Sequence[Tensor]) -> Tensor:
    """Undo ``descend``, with what it left at each level added."""
    levels = cast(Iterable[Any], reversed(up))
    for level, skip in zip(levels, reversed(skips), strict=True):
        x = level['block'](level['sample'](x) + skip)
    return x


def put_channels_last(network: nn.Module) -> None:
    """Store convolutions with the channels last: on CPUs they are up to four times as fast."""
    for module in network.modules():
        # The stubs of torch do not know that a module takes a memory format.
        convertible = cast(Any, module)
        if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
            convertible.to(memory_format=torch.channels_last_3d)
        elif isinstance(module, nn.Conv2d):
            convertible.to(memory_format=torch.channels_last)
