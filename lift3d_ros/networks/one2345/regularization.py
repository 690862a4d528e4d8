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
The 3-D regularisation of One-2-3-45: a sparse U-Net, written with dense convolutions.

The published network runs on torchsparse, over the voxels that two pictures see. Here the volume
is dense and every other voxel is 0 before each convolution, which is equivalent: the inputs of
convolutions are 0 where there is no site, outputs are kept at the sites of the sparse network, and
norms take their statistics over the sites (One-2-3-45,
``reconstruction/tsparse/modules.py``; torchsparse 1.4.0, ``nn/functional``).
"""

from __future__ import annotations

import torch
from torch import nn
from torch import Tensor
from torch.nn import functional

from lift3d_ros.networks.one2345.feature_pyramid import ChannelNorm


class SiteNorm(ChannelNorm):
    """Batch norm and ReLU over the sites of a volume."""

    def forward(self, x: Tensor, sites: Tensor) -> Tensor:
        """Return (c, x, y, z), 0 outside of ``sites`` bool (x, y, z); the buffers are constant."""
        values = x[:, sites]
        if self.statistics == 'scene':
            variance, mean = torch.var_mean(values, dim=1, correction=0)
        else:
            mean, variance = self.running_mean, self.running_var
        scale = self.weight * torch.rsqrt(variance + self.eps)
        values = functional.relu((values - mean[:, None]) * scale[:, None] + self.bias[:, None])
        result = torch.zeros_like(x)
        result[:, sites] = values
        return result


class SparseKernel(nn.Module):
    """
    The weight of a 3 x 3 x 3 convolution in the layout of torchsparse.

    ``kernel`` is (27, inner, outer); its row for the offset (dx, dy, dz) is
    (dz + 1) 9 + (dy + 1) 3 + (dx + 1).
    """

    def __init__(self, inner: int, outer: int) -> None:
        """Initialise the weights as torchsparse."""
        super().__init__()
        bound = (27 * inner) ** -0.5
        self.kernel = nn.Parameter(torch.empty(27, inner, outer).uniform_(-bound, bound))


class SparseBlock(nn.Module):
    """A convolution, its norm and its activation, over the sites of one level or to the next."""

    def __init__(self, inner: int, outer: int) -> None:
        """Make the layers under their published names."""
        super().__init__()
        self.net = nn.ModuleList([SparseKernel(inner, outer), SiteNorm(outer)])

    def forward(self, x: Tensor, sites: Tensor) -> Tensor:
        """Convolve (inner, x, y, z) at one level."""
        return self.net[1](functional.conv3d(x[None], self._forward_weight(), padding=1)[0], sites)

    def down(self, x: Tensor, coarse_sites: Tensor) -> Tensor:
        """Convolve with stride 2, to ``coarse_sites``."""
        result = functional.conv3d(_odd(x)[None], self._forward_weight(), stride=2, padding=1)
        return self.net[1](result[0], coarse_sites)

    def up(self, x: Tensor, fine_sites: Tensor) -> Tensor:
        """Convolve to the finer level, to ``fine_sites``."""
        weight = dense_weight(self.net[0].get_parameter('kernel'))
        result = functional.conv_transpose3d(x[None], weight, stride=2, padding=1)
        nx, ny, nz = fine_sites.shape
        return self.net[1](result[0, :, :nx, :ny, :nz], fine_sites)

    def _forward_weight(self) -> Tensor:
        return dense_weight(self.net[0].get_parameter('kernel')).transpose(0, 1)


class SparseCostRegNet(nn.Module):
    """The network ``sparse_costreg_net`` of the published checkpoint."""

    def __init__(self, inner: int = 32, outer: int = 16) -> None:
        """Make the layers under their published names."""
        super().__init__()
        self.conv0 = SparseBlock(inner, outer)
        self.conv1 = SparseBlock(outer, 16)
        self.conv2 = SparseBlock(16, 16)
        self.conv3 = SparseBlock(16, 32)
        self.conv4 = SparseBlock(32, 32)
        self.conv5 = SparseBlock(32, 64)
        self.conv6 = SparseBlock(64, 64)
        self.conv7 = SparseBlock(64, 32)
        self.conv9 = SparseBlock(32, 16)
        self.conv11 = SparseBlock(16, outer)

    def forward(self, x: Tensor, sites: Tensor) -> Tensor:
        """
        Return the features (outer, x, y, z) of the sites, 0 elsewhere.

        ``x`` is (inner, x, y, z), 0 outside of ``sites``, bool (x, y, z).
        """
        half = coarser_sites(sites)
        quarter = coarser_sites(half)
        eighth = coarser_sites(quarter)
        conv0 = self.conv0(x, sites)
        conv2 = self.conv2(self.conv1.down(conv0, half), half)
        conv4 = self.conv4(self.conv3.down(conv2, quarter), quarter)
        deep = self.conv6(self.conv5.down(conv4, eighth), eighth)
        deep = conv4 + self.conv7.up(deep, quarter)
        deep = conv2 + self.conv9.up(deep, half)
        return conv0 + self.conv11.up(deep, sites)


def dense_weight(kernel: Tensor) -> Tensor:
    """Return the kernel (27, inner, outer) of ``SparseKernel`` as (inner, outer, x, y, z)."""
    return kernel.view(3, 3, 3, *kernel.shape[1:]).permute(3, 4, 2, 1, 0)


def coarser_sites(sites: Tensor) -> Tensor:
    """
    Return the sites of a level of half the resolution, bool.

    A voxel of even coordinates is a site of the coarser level if a site is within the kernel
    around it, unless one of its coordinates is below the least of all sites along that axis. There
    is no upper bound, so that 96 voxels become 49, 25 and 13 (torchsparse 1.4.0,
    ``spdownsample``).
    """
    padded = _odd(sites[None].float())
    result = functional.max_pool3d(padded[None], 3, stride=2, padding=1)[0, 0] > 0.0
    for axis in range(3):
        others = [other for other in range(3) if other != axis]
        present = torch.nonzero(sites.any(dim=others[1]).any(dim=others[0]))
        if len(present):
            least = int(present[0])
            result.narrow(axis, 0, (least + 1) // 2).fill_(False)
    return result


def _odd(x: Tensor) -> Tensor:
    """Return (c, x, y, z), axes of even length padded by a zero at the end."""
    pads: list[int] = []
    for length in reversed(x.shape[1:]):
        pads += [0, (length + 1) % 2]
    return functional.pad(x, pads)
