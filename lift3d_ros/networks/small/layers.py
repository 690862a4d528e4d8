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
Layers of the small networks: attention, residual blocks, the levels of their U-Nets.

The U-Nets are those of Ronneberger et al. (2015), in space of Cicek et al. (2016).
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any
from typing import cast

import torch
from torch import nn
from torch import Tensor
from torch.nn import functional


class AttentionLayer(nn.Module):
    """A pre-norm transformer layer."""

    def __init__(self, width: int, heads: int) -> None:
        """Make the layers."""
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 3 * width), nn.GELU(), nn.Linear(3 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the sequence (b, n, width) after attention."""
        b, n, width = x.shape
        qkv = self.qkv(self.norm1(x)).view(b, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2])
        x = x + self.out(attended.transpose(1, 2).reshape(b, n, width))
        return x + self.mlp(self.norm2(x))


class ResidualBlock(nn.Module):
    """A residual block of two convolutions, 2-D with ``flat``, else 3-D."""

    def __init__(self, channels: int, flat: bool = False, normed: bool = True) -> None:
        """Make the layers; norms cost as much as the convolutions on large grids."""
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
    Return the downsampling and upsampling levels of a 3-D U-Net with these channels.

    Each level halves the grid. A level is a dictionary of ``sample`` and ``block``, so that the
    keys of a state dict are ``down.0.sample.weight`` and so on. The finest level has no norms.
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
    """Return the coarsest features of (b, c, n, n, n), and the input of each level."""
    skips = []
    for level in cast(Iterable[Any], down):
        skips.append(x)
        x = level['block'](level['sample'](x))
    return x, skips


def ascend(up: nn.ModuleList, x: Tensor, skips: Sequence[Tensor]) -> Tensor:
    """Return the features at the finest level; ``skips`` of ``descend`` are added at each."""
    levels = cast(Iterable[Any], reversed(up))
    for level, skip in zip(levels, reversed(skips), strict=True):
        x = level['block'](level['sample'](x) + skip)
    return x


def use_channels_last(network: nn.Module) -> None:
    """Store the weights of convolutions channels last, up to four times as fast on CPUs."""
    for module in network.modules():
        # The stubs of torch do not know that a module takes a memory format.
        convertible = cast(Any, module)
        if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
            convertible.to(memory_format=torch.channels_last_3d)
        elif isinstance(module, nn.Conv2d):
            convertible.to(memory_format=torch.channels_last)


def joined_channels(parts: Sequence[Tensor], size: int) -> Tensor:
    """
    Return parts (b, c, size ** 3) as the input of a convolution, (b, c, size, size, size).

    It is channels last, in the precision in which the convolution computes: that makes the copies
    smaller.
    """
    kind = parts[0].device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else parts[0].dtype
    joined = torch.cat([part.to(dtype) for part in parts], dim=1)
    joined = joined.reshape(*joined.shape[:2], size, size, size)
    return joined.contiguous(memory_format=torch.channels_last_3d)


def space_to_channels(x: Tensor) -> Tensor:
    """Rearrange each 2 x 2 x 2 block of (b, c, 2n, 2n, 2n) into channels, (b, 8c, n, n, n)."""
    b, c, n = x.shape[0], x.shape[1], x.shape[2] // 2
    x = x.reshape(b, c, n, 2, n, 2, n, 2).permute(0, 1, 3, 5, 7, 2, 4, 6)
    return x.reshape(b, 8 * c, n, n, n)


def channels_to_space(x: Tensor) -> Tensor:
    """Undo ``space_to_channels``."""
    b, c, n = x.shape[0], x.shape[1] // 8, x.shape[2]
    x = x.reshape(b, c, 2, 2, 2, n, n, n).permute(0, 1, 5, 2, 6, 3, 7, 4)
    return x.reshape(b, c, 2 * n, 2 * n, 2 * n)
