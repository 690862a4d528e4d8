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
A small network that estimates the elevation of the camera from one picture of an object.

Its input is the picture alone, without depth, gravity or the position in the frame. Its output is
a distribution over elevations, for a box from above and a box on its side look alike. On disk it
is a folder with ``config.json`` and ``model.safetensors`` in half precision.
"""

from __future__ import annotations

from dataclasses import asdict
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray
import torch
from torch import nn
from torch import Tensor
from torch.nn import functional

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry.frame import ObjectView
from lift3d_ros.networks.small.coarse_inputs import PICTURE_SIZE
from lift3d_ros.networks.small.coarse_inputs import rgba_picture
from lift3d_ros.networks.small.files import read_network
from lift3d_ros.networks.small.files import write_network


@dataclass(frozen=True)
class ElevationConfig:
    """
    Sizes of the network.

    - ``size``: side of the input picture, pixels; ``widths``: channels at 1/2, 1/4 and
      so on of it; ``blocks``: residual blocks at each.
    - ``low``, ``high``: degrees, the centres of the first and the last bin; ``bins``: how many.
    - ``stddev_factor``: factor of the spread of the distribution; calibrated so that 68 % of
      the errors on other objects are within one standard deviation.
    """

    size: int = 64
    widths: tuple[int, ...] = (48, 96, 128)
    blocks: int = 2
    low: float = -30.0
    high: float = 90.0
    bins: int = 31
    stddev_factor: float = 1.0

    def __post_init__(self) -> None:
        """Raise ``ValueError`` for sizes that make no network."""
        if self.size % 2 ** len(self.widths) or self.size < 2 ** len(self.widths):
            raise ValueError(f'a picture of {self.size} cannot be halved {len(self.widths)} times')
        if not self.widths or min(self.widths) < 1 or self.blocks < 0:
            raise ValueError(f'widths {self.widths} and {self.blocks} blocks are no network')
        if self.bins < 2 or not self.low < self.high:
            raise ValueError(f'{self.bins} bins of {self.low} to {self.high} hold no elevation')
        if not 0.0 < self.stddev_factor < np.inf:
            raise ValueError(f'the factor {self.stddev_factor} of the stddev is not positive')


class ElevationNet(nn.Module):
    """A residual network from RGBA pictures to a distribution over elevations."""

    def __init__(self, config: ElevationConfig | None = None) -> None:
        """Make the layers."""
        super().__init__()
        self.config = config or ElevationConfig()
        widths = self.config.widths
        stages: list[nn.Module] = []
        before = 4
        for width in widths:
            stages.append(nn.Conv2d(before, width, 2, stride=2, bias=False))
            stages.append(nn.BatchNorm2d(width))
            stages += [_Residual(width) for _ in range(self.config.blocks)]
            before = width
        self.stages = nn.Sequential(*stages)
        # The position in the picture is informative: lids are above, shadows below.
        side = self.config.size // 2 ** len(widths)
        self.place = nn.Parameter(torch.zeros(1, before, side, side))
        self.weigh = nn.Conv2d(before, 4, 1)
        self.head = nn.Sequential(nn.Dropout(0.2), nn.Linear(5 * before, self.config.bins))
        # Convolutions in half precision are twice as fast channels last on CPUs.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def centres(self) -> Tensor:
        """The centres of the bins, degrees, (bins,)."""
        config = self.config
        return torch.linspace(config.low, config.high, config.bins).to(self.place.device)

    def forward(self, picture: Tensor) -> Tensor:
        """
        Return the logits (n, bins) of the elevation.

        ``picture`` is RGBA (n, 4, h, w) in [0, 1], the object on white, square, of at least
        ``config.size``.
        """
        size = self.config.size
        if picture.shape[-1] != size:
            picture = functional.interpolate(picture, (size, size), mode='area')
        inputs = (2.0 * picture - 1.0).contiguous(memory_format=torch.channels_last)
        features = functional.relu(self.stages(inputs) + self.place)
        shares = self.weigh(features).flatten(2).softmax(dim=-1)
        pooled = torch.einsum('nkp,ncp->nkc', shares, features.flatten(2))
        mean = features.flatten(2).mean(dim=-1)
        return cast(Tensor, self.head(torch.cat([mean, pooled.flatten(1)], dim=1)))

    def distribution(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        """
        Return elevation and standard deviation (n,) each, degrees, of pictures as in ``forward``.

        The distribution is the mean of those of the picture and its mirror image. The elevation is
        its median, which minimises the absolute error of a bimodal distribution.
        """
        both = torch.stack([self(picture), self(picture.flip(-1))])
        share = both.float().softmax(dim=-1).mean(dim=0)
        until = share.cumsum(dim=-1)
        middle = (until < 0.5).sum(dim=-1, keepdim=True).clamp_max(self.config.bins - 1)
        own = share.gather(-1, middle)
        into = (0.5 - until.gather(-1, middle) + own) / own
        width = (self.config.high - self.config.low) / (self.config.bins - 1)
        centres = self.centres
        degrees = centres[middle[:, 0]] + width * (into[:, 0] - 0.5)
        degrees = degrees.clamp(self.config.low, self.config.high)
        spread = (share * (centres - degrees[:, None]) ** 2).sum(dim=-1).sqrt()
        return degrees, self.config.stddev_factor * spread

    def estimate(self, picture: NDArray[np.uint8]) -> tuple[float, float]:
        """
        Return the elevation of the camera over the object's horizon and its stddev, degrees.

        ``picture`` is that of ``CoarseInputs``: uint8 RGBA (PICTURE_SIZE, PICTURE_SIZE, 4), the
        object on white, its box ``VIEW_FILL`` long. Raises ``LiftError``: ``BAD_IMAGE`` for
        another type or shape, ``EMPTY_MASK`` where alpha is nowhere above 127.
        """
        expected = (PICTURE_SIZE, PICTURE_SIZE, 4)
        if picture.dtype != np.uint8 or picture.shape != expected:
            raise LiftError(
                ErrorCode.BAD_IMAGE,
                f'The picture has the type {picture.dtype} and the shape {picture.shape}; it must '
                f'be uint8 RGBA, {expected}.',
            )
        if not (picture[..., 3] > 127).any():
            raise LiftError(
                ErrorCode.EMPTY_MASK, 'The picture shows no object: its alpha channel is empty.'
            )
        tensor = torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)))
        training = self.training
        self.eval()
        try:
            with torch.no_grad():
                degrees, stddev = self.distribution(
                    tensor[None].to(self.place.device).float() / 255.0
                )
        finally:
            self.train(training)
        return float(degrees), float(stddev)

    def estimate_view(self, view: ObjectView) -> tuple[float, float]:
        """Return the result of ``estimate`` for the view of an object."""
        return self.estimate(rgba_picture(view))


class _Residual(nn.Module):
    """A residual block of two convolutions; untrained it is the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.second = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.scale = nn.BatchNorm2d(width)
        nn.init.zeros_(self.scale.weight)

    def forward(self, x: Tensor) -> Tensor:
        inner = functional.relu(self.norm(self.first(functional.relu(x))))
        return x + cast(Tensor, self.scale(self.second(inner)))


def write_elevation(
    folder: Path, network: ElevationNet, dtype: torch.dtype = torch.float16
) -> None:
    """Write the network into a folder, which is created if missing."""
    write_network(folder, network, asdict(network.config), dtype)


def read_elevation(folder: Path, device: torch.device | str = 'cpu') -> ElevationNet:
    """Return the network of a folder; errors as ``read_network``."""
    return read_network(folder, lambda settings: ElevationNet(ElevationConfig(**settings)), device)
