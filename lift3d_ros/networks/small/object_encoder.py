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
A small encoder of pictures of objects: near embeddings for views of one object.

It takes the place of CLIP's image encoder in CLIP guidance and as a measure of likeness.
"""

from __future__ import annotations

from dataclasses import asdict
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch import Tensor
from torch.nn import functional

from lift3d_ros.networks.small.files import read_network
from lift3d_ros.networks.small.files import write_network
from lift3d_ros.networks.small.layers import ResidualBlock


@dataclass(frozen=True)
class ObjectEncoderConfig:
    """
    The shape of the network.

    - ``size``: side of the pictures that it sees, pixels; ``widths``: channels of its levels,
      multiples of 8, each of half the resolution of the one before; ``embedding``: numbers of an
      embedding.
    """

    size: int = 64
    widths: tuple[int, ...] = (32, 64, 96, 128)
    embedding: int = 128


class ObjectEncoder(nn.Module):
    """The network; it is an ``ImageEncoder`` of pictures on white, differentiable."""

    def __init__(self, config: ObjectEncoderConfig | None = None) -> None:
        """Make the layers."""
        super().__init__()
        self.config = config = config or ObjectEncoderConfig()
        self.levels = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(before, width, 3, stride=2, padding=1),
                ResidualBlock(width, flat=True), nn.SiLU(),
            )
            for before, width in zip((3, *config.widths), config.widths, strict=False)
        )
        self.head = nn.Linear(2 * (3 + sum(config.widths)), config.embedding)

    def forward(self, images: Tensor) -> Tensor:
        """
        Return embeddings (n, embedding) of length 1 of RGB (n, 3, size, size) in [-1, 1].

        They are linear in mean and standard deviation of the colours and of the features of every
        level over the pixels that are not white.
        """
        # White background is what most pixels are, and differs with the size of the object.
        weight = (1.0 - images).abs().amax(dim=1, keepdim=True)
        moments = _moments(images, weight)
        x = images
        for level in self.levels:
            x = level(x)
            weight = functional.adaptive_avg_pool2d(weight, x.shape[-1])
            moments += _moments(x, weight)
        return functional.normalize(self.head(torch.cat(moments, dim=1)), dim=1)

    def embed(self, images: Tensor) -> Tensor:
        """Return embeddings (n, embedding) of RGB or RGBA on white (n, c, h, w) in [-1, 1]."""
        size = (self.config.size, self.config.size)
        images = images[:, :3].to(self.head.weight)
        if images.shape[-2:] != size:
            images = functional.interpolate(images, size, mode='bilinear', antialias=True)
        embeddings: Tensor = self(images)
        return embeddings


def _moments(x: Tensor, weight: Tensor) -> list[Tensor]:
    """Return weighted mean and standard deviation (n, c) of x (n, c, h, w), float32."""
    x, weight = x.float(), weight.float() + 1e-3
    total = weight.sum(dim=(2, 3))
    mean = (weight * x).sum(dim=(2, 3)) / total
    variance = (weight * (x - mean[..., None, None]).square()).sum(dim=(2, 3)) / total
    return [mean, (variance + 1e-5).sqrt()]


def write_object_encoder(
    folder: Path, network: ObjectEncoder, dtype: torch.dtype = torch.float16
) -> None:
    """Write the network into a folder."""
    write_network(folder, network, asdict(network.config), dtype)


def read_object_encoder(folder: Path, device: torch.device | str = 'cpu') -> ObjectEncoder:
    """
    Return the network of a folder, ready for inference.

    Raises ``LiftError``: ``WEIGHTS_MISSING``, ``WEIGHTS_CORRUPT``.
    """
    return read_network(
        folder, lambda config: ObjectEncoder(ObjectEncoderConfig(**config)), device)
