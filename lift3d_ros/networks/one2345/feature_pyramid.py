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
The feature pyramid of One-2-3-45: image features at three resolutions.

Three levels of convolutions, merged from coarse to fine (One-2-3-45,
``reconstruction/models/featurenet.py``). The norm after each convolution is equivalent to
InPlaceABN.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch import Tensor
from torch.nn import functional

#: Source of the mean and variance of norms: the pictures or voxels of the scene, or the running
#: averages of training. The published program stays in training mode, which is ``scene``.
NORM_STATISTICS = ('scene', 'running')

#: Channels of a fused map: 32 of the coarse level, 16 of the middle one, 8 of the fine one.
FUSED_CHANNELS = 56


class ChannelNorm(nn.Module):
    """Scale, shift and statistics of each channel; the keys of the published checkpoint."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        """Initialise scale 1 and shift 0."""
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer('running_mean', torch.zeros(channels))
        self.register_buffer('running_var', torch.ones(channels))
        self.eps = eps
        self.statistics = NORM_STATISTICS[0]


class ActivatedNorm(ChannelNorm):
    """
    Batch norm and leaky ReLU, equivalent to InPlaceABN.

    The scale is ``|weight| + eps``, for the original inverts the layer in its backward pass;
    the slope below zero is 0.01 (inplace_abn, ``inplace_abn/functions.py``).
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, channels, h, w) normalised and activated; the buffers stay as they are."""
        scene = self.statistics == 'scene'
        x = functional.batch_norm(
            x,
            None if scene else self.running_mean,
            None if scene else self.running_var,
            self.weight.abs() + self.eps,
            self.bias,
            training=scene,
            eps=self.eps,
        )
        return functional.leaky_relu(x, 0.01, inplace=True)


class ConvNorm(nn.Module):
    """A convolution without bias, followed by norm and activation."""

    def __init__(self, inner: int, outer: int, kernel: int = 3, stride: int = 1) -> None:
        """Pad so that only the stride changes the size."""
        super().__init__()
        self.conv = nn.Conv2d(inner, outer, kernel, stride, padding=kernel // 2, bias=False)
        self.bn = ActivatedNorm(outer)

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, outer, h / stride, w / stride)."""
        return self.bn(self.conv(x))


@dataclass(frozen=True, eq=False)
class FeatureMaps:
    """
    The features of n pictures of h x w pixels, each level at its own size.

    ``coarse`` (n, 32, h / 4, w / 4), ``middle`` (n, 16, h / 2, w / 2), ``fine`` (n, 8, h, w).
    """

    coarse: Tensor
    middle: Tensor
    fine: Tensor

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.fine)

    def fused(self, index: int) -> Tensor:
        """
        Return all features of one picture at its full size, (56, h, w), the coarse ones first.

        They are computed on demand: those of 32 pictures take half a gigabyte.
        """
        size = self.fine.shape[2:]
        levels = [
            functional.interpolate(level[index:index + 1], size, mode='bilinear',
                                   align_corners=True)
            for level in (self.coarse, self.middle)
        ]
        return torch.cat([*levels, self.fine[index:index + 1]], dim=1)[0]


class FeaturePyramid(nn.Module):
    """The network ``pyramid_feature_network`` of the published checkpoint."""

    def __init__(self) -> None:
        """Make the layers under their published names."""
        super().__init__()
        self.conv0 = nn.Sequential(ConvNorm(3, 8), ConvNorm(8, 8))
        self.conv1 = nn.Sequential(ConvNorm(8, 16, 5, 2), ConvNorm(16, 16), ConvNorm(16, 16))
        self.conv2 = nn.Sequential(ConvNorm(16, 32, 5, 2), ConvNorm(32, 32), ConvNorm(32, 32))
        self.toplayer = nn.Conv2d(32, 32, 1)
        self.lat1 = nn.Conv2d(16, 32, 1)
        self.lat0 = nn.Conv2d(8, 32, 1)
        self.smooth1 = nn.Conv2d(32, 16, 3, padding=1)
        self.smooth0 = nn.Conv2d(32, 8, 3, padding=1)

    def forward(self, images: Tensor) -> FeatureMaps:
        """
        Return the features of ``images``, (n, 3, h, w) in [0, 1], h and w multiples of 4.

        All pictures share the statistics of the norms; layers without norm run picture by picture
        to save memory.
        """
        fine = self.conv0(images)
        middle = self.conv1(fine)
        top = self.toplayer(self.conv2(middle))
        merged = _upsampled(top) + self.lat1(middle)
        finest = [
            self.smooth0(_upsampled(merged[i:i + 1]) + self.lat0(fine[i:i + 1]))
            for i in range(len(images))
        ]
        return FeatureMaps(top, self.smooth1(merged), torch.cat(finest))


def _upsampled(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2.0, mode='bilinear', align_corners=True)
