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
The colour of a surface point, blended from the pictures (IBRNet, Wang et al. 2021).

A network predicts the weights of the pictures from their colours and features at the point, the
variance of these, and the viewing directions. The weights are a softmax, so that colours are
convex combinations (One-2-3-45, ``reconstruction/models/rendering_network.py`` and
``projector.py``).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch import Tensor

from lift3d_ros.networks.one2345.feature_pyramid import FUSED_CHANNELS

#: Channels of a picture at a point: colour and features.
_SAMPLE_CHANNELS = 3 + FUSED_CHANNELS

#: Logit of pictures that do not see a point; finite, so that a point that none sees has equal
#: weights.
_MASKED_LOGIT = -1e9


class ColorBlending(nn.Module):
    """The network ``rendering_network_lod0`` of the published checkpoint."""

    def __init__(self, latent: int = 16) -> None:
        """Make the layers under their published names."""
        super().__init__()
        self.s = nn.Parameter(torch.tensor(0.2))
        self.ray_dir_fc = _layers((4, 16, _SAMPLE_CHANNELS), nn.ELU())
        self.base_fc = _layers((3 * _SAMPLE_CHANNELS + latent, 64, 32), nn.ELU())
        self.vis_fc = _layers((32, 32, 33), nn.ELU())
        self.vis_fc2 = _layers((32, 32, 1), nn.Sigmoid())
        self.rgb_fc = _layers((32 + 1 + 4, 16, 8, 1), None)

    def forward(
        self, latent: Tensor, samples: Tensor, directions: Tensor, visible: Tensor
    ) -> Tensor:
        """
        Return the colours (p, 3), RGB in [0, 1].

        - ``latent``: (p, 16), of the regularised volume at the points.
        - ``samples``: (p, v, 59), colour and features in each picture.
        - ``directions``: (p, v, 4), of ``direction_differences``.
        - ``visible``: bool (p, v), the pictures that see a point.
        """
        mask = visible[..., None].to(samples.dtype)
        colors = samples[..., :3]
        samples = samples + self.ray_dir_fc(directions)
        similarity = torch.exp(self.s.abs() * (directions[..., 3:] - 1.0))
        weight = (similarity - similarity.amin(dim=1, keepdim=True)) * mask
        weight = weight / (weight.sum(dim=1, keepdim=True) + 1e-8)
        mean = (samples * weight).sum(dim=1, keepdim=True)
        variance = (weight * (samples - mean).square()).sum(dim=1, keepdim=True)
        shared = torch.cat([latent[:, None], mean, variance], dim=-1).expand(
            -1, samples.shape[1], -1)
        x = self.base_fc(torch.cat([shared, samples], dim=-1))
        residual, logit = self.vis_fc(x * weight).split([32, 1], dim=-1)
        visibility = torch.sigmoid(logit) * mask
        x = x + residual
        visibility = self.vis_fc2(x * visibility) * mask
        logits = self.rgb_fc(torch.cat([x, visibility, directions], dim=-1))
        blend = torch.softmax(logits.masked_fill(mask == 0.0, _MASKED_LOGIT), dim=1)
        return (colors * blend).sum(dim=1)


def direction_differences(points: Tensor, normals: Tensor, centers: Tensor) -> Tensor:
    """
    Return the viewing directions of each camera at each point, (p, v, 4).

    ``points`` and unit ``normals`` are (p, 3), the cameras' ``centers`` (v, 3). The first three
    numbers are the unit difference of the normal and the direction to the camera, the last is
    their dot product. Training has the direction to the rendered camera in place of the normal.
    """
    to_camera = centers - points[:, None]
    to_camera = to_camera / (to_camera.norm(dim=-1, keepdim=True) + 1e-6)
    difference = normals[:, None] - to_camera
    length = difference.norm(dim=-1, keepdim=True).clamp(min=1e-6)
    dot = (normals[:, None] * to_camera).sum(dim=-1, keepdim=True)
    return torch.cat([difference / length, dot], dim=-1)


def _layers(widths: Sequence[int], last: nn.Module | None) -> nn.Sequential:
    """Return linear layers with ELU between them, followed by ``last``."""
    layers: list[nn.Module] = []
    for inner, outer in zip(widths, widths[1:], strict=False):
        linear = nn.Linear(inner, outer)
        nn.init.kaiming_normal_(linear.weight)
        nn.init.zeros_(linear.bias)
        layers += [linear, nn.ELU()]
    layers.pop()
    return nn.Sequential(*layers, *([] if last is None else [last]))
