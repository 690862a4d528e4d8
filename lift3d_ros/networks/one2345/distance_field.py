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
The signed distance of One-2-3-45: an MLP over position and features of the volume.

Three linear layers with weight norm; the features of the regularised volume join the input of the
second and the third (One-2-3-45, ``LatentSDFLayer`` of
``reconstruction/models/sparse_sdf_network.py``).
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch import Tensor
from torch.nn import functional

#: Frequencies of the positional encoding, which has 39 channels with the position itself.
FREQUENCIES = 6


def encode_places(points: Tensor) -> Tensor:
    """Return (n, 39): x, then sin and cos of 2^k x, k rising."""
    parts = [points]
    for k in range(FREQUENCIES):
        parts += [torch.sin(2.0**k * points), torch.cos(2.0**k * points)]
    return torch.cat(parts, dim=-1)


def sample_volume(volume: Tensor, points: Tensor) -> Tensor:
    """
    Return the trilinear samples (n, c) of a volume (c, x, y, z) at points (n, 3) in [-1, 1].

    The first and the last voxel of an axis are at -1 and 1. Samples beyond them are zero, and at
    -1 itself, as in the published kernel.
    """
    # grid_sample takes the coordinate along the last axis first.
    samples = functional.grid_sample(
        volume[None], points.flip(-1)[None, None, None], mode='bilinear', padding_mode='zeros',
        align_corners=True,
    )
    return samples[0, :, 0, 0].T * (points > -1.0).all(dim=1, keepdim=True)


class WeightNormLinear(nn.Module):
    """A linear layer whose rows are ``weight_g weight_v / |weight_v|`` (Salimans, Kingma 2016)."""

    def __init__(self, inner: int, outer: int) -> None:
        """Create the parameters under their published names."""
        super().__init__()
        self.weight_g = nn.Parameter(torch.ones(outer, 1))
        self.weight_v = nn.Parameter(torch.empty(outer, inner))
        self.bias = nn.Parameter(torch.zeros(outer))

    def start(self, weight: Tensor, bias: float) -> None:
        """Initialise as the linear layer with this weight (outer, inner) and bias."""
        with torch.no_grad():
            self.weight_v.copy_(weight)
            self.weight_g.copy_(weight.norm(dim=1, keepdim=True))
            self.bias.fill_(bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, outer)."""
        length = self.weight_v.norm(dim=1, keepdim=True)
        return functional.linear(x, self.weight_v * (self.weight_g / length), self.bias)


class DistanceField(nn.Module):
    """The network ``sdf_layer`` of the published checkpoint."""

    def __init__(self, width: int = 128, latent: int = 16, radius: float = 0.5) -> None:
        """Initialise as a sphere of ``radius`` (Atzmon and Lipman 2020)."""
        super().__init__()
        encoded = 3 + 6 * FREQUENCIES
        self.lin0 = WeightNormLinear(encoded, width)
        self.lin1 = WeightNormLinear(width + latent, width)
        self.lin2 = WeightNormLinear(width + latent, width)
        first = torch.zeros(width, encoded)
        first[:, :3].normal_(0.0, math.sqrt(2.0 / width))
        second = torch.zeros(width, width + latent)
        second[:, :width].normal_(0.0, math.sqrt(2.0 / width))
        third = torch.zeros(width, width + latent)
        third[:, :width].normal_(math.sqrt(math.pi / (width + latent)), 1e-4)
        self.lin0.start(first, 0.0)
        self.lin1.start(second, 0.0)
        self.lin2.start(third, -radius)

    def forward(self, points: Tensor, latent: Tensor) -> Tensor:
        """
        Return the signed distance and 127 features, (n, 128).

        ``points`` (n, 3) are in [-1, 1], ``latent`` (n, 16) is the volume's sample there; the
        distance is negative inside, in the units of the points.
        """
        x = functional.softplus(self.lin0(encode_places(points)), beta=100.0)
        x = functional.softplus(self.lin1(torch.cat([x, latent], dim=1)), beta=100.0)
        return self.lin2(torch.cat([x, latent], dim=1))

    def distance(self, points: Tensor, volume: Tensor) -> Tensor:
        """Return the signed distance (n,) at points (n, 3) in a volume (16, x, y, z)."""
        return self(points, sample_volume(volume, points))[:, 0]

    def normals(self, points: Tensor, volume: Tensor) -> Tensor:
        """Return the unit gradients of the distance at points, (n, 3), outwards."""
        with torch.enable_grad():
            variable = points.detach().requires_grad_(True)
            (gradient,) = torch.autograd.grad(self.distance(variable, volume).sum(), variable)
        return functional.normalize(gradient, dim=1, eps=1e-6)
