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

"""Smoothness of rendered images, of normals in space, and of voxel grids."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def depth_smoothness(depth: Tensor) -> Tensor:
    """
    Return the mean of half the absolute differences of neighbouring depths (..., h, w).

    Both directions count (Zero-1-to-3, ``3drec/``).
    """
    across = depth.diff(dim=-1).abs().mean()
    return 0.5 * (across + depth.diff(dim=-2).abs().mean())


def inverse_depth_smoothness(inverse_depth: Tensor, image: Tensor) -> Tensor:
    """
    Return the edge-aware smoothness of an inverse depth (b, 1, h, w).

    Differences of neighbours are weighted by exp(-|difference of the colours|), the mean over the
    channels of ``image`` (b, c, h, w) (Godard et al., 2017, and kornia's
    ``inverse_depth_smoothness_loss``; NeuralLift-360 gives it depth).
    """
    total = inverse_depth.new_zeros(())
    for axis in (-1, -2):
        edge = torch.exp(-image.diff(dim=axis).abs().mean(dim=1, keepdim=True))
        total = total + (inverse_depth.diff(dim=axis).abs() * edge).mean()
    return total


def nearby_views(
    color: Tensor, color_near: Tensor, depth: Tensor, depth_near: Tensor
) -> Tensor:
    """
    Return the mean absolute differences of colours and of depths between nearby views.

    The renderings have equal shapes; ``cameras.nearby`` makes the second camera (Zero-1-to-3,
    ``3drec/``).
    """
    return (color - color_near).abs().mean() + (depth - depth_near).abs().mean()


def normal_difference(normals: Tensor) -> Tensor:
    """
    Return the sum over both directions of the mean squared difference of neighbouring normals.

    ``normals`` (b, 3, h, w) is a rendered image (threestudio, ``systems/zero123.py``).
    """
    return normals.diff(dim=-1).square().mean() + normals.diff(dim=-2).square().mean()


def normal_blur(normals: Tensor, size: int = 9, sigma: float = 1.7) -> Tensor:
    """
    Return the mean squared difference of normals and their Gaussian blur, without its gradient.

    ``normals`` (b, 3, h, w); the kernel has 9 x 9 pixels (RealFusion, ``nerf/trainer.py``). Its
    width is not published: ``sigma`` is the usual 0.15 size + 0.35 pixels.
    """
    half = size // 2
    at = torch.arange(-half, half + 1, dtype=normals.dtype, device=normals.device)
    kernel = torch.exp(-0.5 * (at / sigma).square())
    kernel = (kernel / kernel.sum()).expand(normals.shape[1], 1, 1, -1)
    with torch.no_grad():
        blurred = functional.pad(normals, (half,) * 4, mode='replicate')
        blurred = functional.conv2d(blurred, kernel, groups=normals.shape[1])
        blurred = functional.conv2d(
            blurred, kernel.transpose(-1, -2), groups=normals.shape[1])
    return functional.mse_loss(normals, blurred)


def normal_jitter(normals: Tensor, jittered: Tensor) -> Tensor:
    """
    Return the mean absolute difference of normals (n, 3) in space and near it.

    ``jittered`` are the normals at points displaced by 0.01 N(0, 1) in each axis (threestudio,
    ``systems/zero123.py``, ``3d_normal_smooth``).
    """
    return (normals - jittered).abs().mean()


def total_variation(grid: Tensor, power: int = 2) -> Tensor:
    """
    Return the total variation of a voxel grid (..., x, y, z).

    It is the sum over the three axes of the mean of |difference of neighbours|^power; 1 keeps
    edges (Rudin et al., 1992), 2 is smoother (Plenoxels, Fridovich-Keil et al., 2022).
    """
    axes = [grid.diff(dim=axis).abs().pow(power).mean() for axis in (-1, -2, -3)]
    return torch.stack(axes).sum()

