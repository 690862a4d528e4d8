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
The colour of a surface point, blended from the pictures that it is in (IBRNet, Wang et al. 2021).

From what the pictures show there, how they differ, and how directly each looks at the point, a
network weighs the pictures. The weights are positive with the sum 1, so that a colour is always
between colours that were seen (One-2-3-45, ``reconstruction/models/rendering_network.py`` and
``projector.py``).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch import Tensor

from lift3d_ros.networks.one2345.feature_pyramid import FUSED_CHANNELS

#: Colour and features of a picture at a point.
_SEEN_CHANNELS = 3 + FUSED_CHANNELS

#: What stands for minus infinity in the logits of pictures that do not see a point. Where none
#: does, all weigh the same.
_UNSEEN = -1e9


class ColorBlending(nn.Module):
    """The network ``rendering_network_lod0`` of the published checkpoint."""

    def __init__(self, latent: int = 16) -> None:
        """Make the layers under their published names."""
        super().__init__()
        self.s = nn.Parameter(torch.tensor(0.2))
        self.ray_dir_fc = _layers((4, 16, _SEEN_CHANNELS), nn.ELU())
        self.base_fc = _layers((3 * _SEEN_CHANNELS + latent, 64, 32), nn.ELU())
        self.vis_fc = _layers((32, 32, 33), nn.ELU())
        self.vis_fc2 = _layers((32, 32, 1), nn.Sigmoid())
        self.rgb_fc = _layers((32 + 1 + 4, 16, 8, 1), None)

    def forward(self, latent: Tensor, seen: Tensor, directions: Tensor, visible: Tensor) -> Tensor:
        """
        Return the colours (p, 3), RGB in [0, 1].

        - ``latent``: (p, 16), of the regularised volume at the points.
        - ``seen``: (p, v, 59), colour and features in each picture.
        - ``directions``: (p, v, 4), of ``direction_differences``.
        - ``visible``: bool (p, v), which pictures take part.
        """
        mask = visible[..., None].to(seen.dtype)
        colors = seen[..., :3]
        seen = seen + self.ray_dir_fc(directions)
        likeness = torch.exp(self.s.abs() * (directions[..., 3:] - 1.0))
        weight = (likeness - likeness.amin(dim=1, keepdim=True)) * mask
        weight = weight / (weight.sum(dim=1, keepdim=True) + 1e-8)
        mean = (seen * weight).sum(dim=1, keepdim=True)
        variance = (weight * (seen - mean).square()).sum(dim=1, keepdim=True)
        shared = torch.cat([latent[:, None], mean, variance], dim=-1).expand(
            -1, seen.shape[1], -1)
        x = self.base_fc(torch.cat([shared, seen], dim=-1))
        residual, logit = self.vis_fc(x * weight).split([32, 1], dim=-1)
        trust = torch.sigmoid(logit) * mask
        x = x + residual
        trust = self.vis_fc2(x * trust) * mask
        logits = self.rgb_fc(torch.cat([x, trust, directions], dim=-1))
        blend = torch.softmax(logits.masked_fill(mask == 0.0, _UNSEEN), dim=1)
        return (colors * blend).sum(dim=1)


def direction_differences(points: Tensor, normals: Tensor, centers: Tensor) -> Tensor:
    """
    Return how each camera looks at each point, (p, v, 4).

    ``points`` and unit ``normals`` are (p, 3), the cameras' ``centers`` (v, 3). The first three
    numbers are the unit difference of the normal and the direction to the camera, the last is
    their dot product; for pictures in training the direction to the rendered camera is in place of
    the normal.
    """
    to_camera = centers - points[:, None]
    to_camera = to_camera / (to_camera.norm(dim=-1, keepdim=True) + 1e-6)
    difference = normals[:, None] - to_camera
    length = difference.norm(dim=-1, keepdim=True).clamp(min=1e-6)
    dot = (normals[:, None] * to_camera).sum(dim=-1, keepdim=True)
    return torch.cat([difference / length, dot], dim=-1)


def _layers(widths: Sequence[int], last: nn.Module | None) -> nn.Sequential:
    """Return linear layers with ELU between them, and ``last`` behind."""
    layers: list[nn.Module] = []
    for inner, outer in zip(widths, widths[1:], strict=False):
        linear = nn.Linear(inner, outer)
        nn.init.kaiming_normal_(linear.weight)
        nn.init.zeros_(linear.bias)
        layers += [linear, nn.ELU()]
    layers.pop()
    return nn.Sequential(*layers, *([] if last is None else [last]))
