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

"""Losses of the input view: its colours, mask and depth, and the order of depths."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def masked_mse(color: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """
    Return the mean square of (color - target) x mask.

    Colours (..., 3) in [0, 1], ``mask`` (...) in [0, 1]; the mean is over all pixels (RealFusion,
    ``nerf/trainer.py``).
    """
    return ((color - target) * mask[..., None]).square().mean()


def masked_l1(color: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """
    Return the mean absolute difference of masked colours.

    Arguments as ``masked_mse`` (NeuralLift-360, ``nerf/utils_neurallift.py``).
    """
    return ((color - target) * mask[..., None]).abs().mean()


def mask_mse(opacity: Tensor, mask: Tensor) -> Tensor:
    """
    Return the mean squared difference of opacity and mask, both (...) in [0, 1].

    RealFusion, ``nerf/trainer.py``; threestudio, ``systems/zero123.py``.
    """
    return functional.mse_loss(opacity, mask.to(opacity))


def outside_mask(opacity: Tensor, mask: Tensor) -> Tensor:
    """
    Return the mean opacity (...) of the pixels outside the mask (...); 0 if there are none.

    NeuralLift-360, ``nerf/utils_neurallift.py``.
    """
    outside = (mask < 0.5).to(opacity)
    return (opacity * outside).sum() / outside.sum().clamp_min(1.0)


def depth_l1(depth: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """
    Return the mean absolute difference to measured depth within the mask, all (...).

    ``target`` is 0 or NaN where there is no reading; the result is 0 without any
    (stable-dreamfusion, ``nerf/utils.py``, with measured depth in place of monocular depth).
    """
    valid = (target > 0.0) & (mask > 0.5)
    difference = torch.where(valid, depth - torch.nan_to_num(target), torch.zeros_like(depth))
    return difference.abs().sum() / valid.sum().clamp_min(1)


def depth_ranking(
    depth: Tensor,
    order: Tensor,
    mask: Tensor,
    pairs: int,
    generator: torch.Generator,
    margin: float = 0.0,
) -> Tensor:
    """
    Return how far rendered depths of random pairs of pixels contradict the order of ``order``.

    ``depth`` (n,) is rendered, ``order`` (n,) increases with the distance, in any unit, and
    ``mask`` (n,) is the foreground. A pair i, j of it costs
    max(0, margin - sign(order_j - order_i) (depth_j - depth_i)); the mean is over ``pairs``
    drawn pairs (NeuralLift-360, ``nerf/utils_neurallift.py``: all pairs, margin 0). Pixels
    without a finite ``order`` and pairs of equal order are left out; the result is 0 without any.
    ``generator`` is on the CPU.
    """
    inside = torch.nonzero((mask > 0.5) & torch.isfinite(order)).flatten()
    if len(inside) < 2:
        return 0.0 * depth.sum()
    i, j = inside[
        torch.randint(len(inside), (2, pairs), generator=generator).to(inside.device)]
    sign = torch.sign(order[j] - order[i])
    cost = functional.relu(margin - sign * (depth[j] - depth[i]))
    differs = sign != 0.0
    return torch.where(differs, cost, torch.zeros_like(cost)).sum() / differs.sum().clamp_min(1)
