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
The image encoder of the small view weights: the vision transformer of CLIP, a small one.

Names, shapes and arithmetic are those of ``transformers.CLIPVisionModelWithProjection``, whose
files it reads and writes (Radford et al., 2021).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import fields
from types import SimpleNamespace
from typing import Any
from typing import cast

import torch
from torch import nn
from torch import Tensor
from torch.nn import functional

#: Standard deviation of the initial weights, as in transformers.
_INITIAL_STDDEV = 0.02


@dataclass(frozen=True)
class ImageEncoderConfig:
    """Sizes of the network, by the names of transformers."""

    hidden_size: int = 128
    intermediate_size: int = 384
    projection_dim: int = 128
    num_hidden_layers: int = 3
    num_attention_heads: int = 4
    num_channels: int = 3
    image_size: int = 96
    patch_size: int = 12
    hidden_act: str = 'quick_gelu'
    layer_norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        """Raise ``ValueError`` for sizes that make no network."""
        if self.hidden_act != 'quick_gelu':
            raise ValueError(f'the activation is {self.hidden_act[:100]}; known is quick_gelu')
        if self.hidden_size % self.num_attention_heads or self.num_hidden_layers < 1:
            raise ValueError('the channels of the encoder are no multiple of its heads')

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> ImageEncoderConfig:
        """Return the sizes from a file of transformers."""
        return cls(**{
            field.name: settings[field.name] for field in fields(cls) if field.name in settings})


class ImageEncoder(nn.Module):
    """The network, 0.6 million parameters in the small weights."""

    def __init__(self, config: ImageEncoderConfig | None = None) -> None:
        """Make the layers."""
        super().__init__()
        self.config = config = config or ImageEncoderConfig()
        width = config.hidden_size
        self.vision_model = nn.ModuleDict({
            'embeddings': _Embeddings(config),
            # The name is misspelt in the published checkpoints.
            'pre_layrnorm': nn.LayerNorm(width, eps=config.layer_norm_eps),
            'encoder': nn.ModuleDict({'layers': nn.ModuleList(
                _Layer(config) for _ in range(config.num_hidden_layers))}),
            'post_layernorm': nn.LayerNorm(width, eps=config.layer_norm_eps),
        })
        self.visual_projection = nn.Linear(width, config.projection_dim, bias=False)
        with torch.no_grad():
            self._initialise()

    @property
    def dtype(self) -> torch.dtype:
        """The type of the parameters."""
        return self.visual_projection.weight.dtype

    def settings(self) -> dict[str, Any]:
        """Return the settings for a file that transformers reads, too."""
        return {'model_type': 'clip_vision_model', **asdict(self.config)}

    def forward(self, pixel_values: Tensor) -> SimpleNamespace:
        """Return ``image_embeds`` (n, projection_dim) of normalised pictures (n, 3, s, s)."""
        parts = cast(Any, self.vision_model)
        x = parts['pre_layrnorm'](parts['embeddings'](pixel_values))
        for layer in parts['encoder']['layers']:
            x = layer(x)
        return SimpleNamespace(
            image_embeds=self.visual_projection(parts['post_layernorm'](x[:, 0])))

    def _initialise(self) -> None:
        """Draw the initial weights as transformers does."""
        width, layers = self.config.hidden_size, self.config.num_hidden_layers
        inner = width ** -0.5 * (2 * layers) ** -0.5
        for name, parameter in self.named_parameters():
            if name.endswith('.bias'):
                parameter.zero_()
            elif 'layrnorm' in name or 'layer_norm' in name or 'layernorm' in name:
                parameter.fill_(1.0)
            elif name.endswith(('position_embedding.weight', 'patch_embedding.weight')):
                parameter.normal_(std=_INITIAL_STDDEV)
            elif name.endswith('fc1.weight'):
                parameter.normal_(std=(2 * width) ** -0.5)
            elif name.endswith(('q_proj.weight', 'k_proj.weight', 'v_proj.weight', 'fc2.weight')):
                parameter.normal_(std=inner)
            else:
                parameter.normal_(std=width ** -0.5)


class _Embeddings(nn.Module):
    """Patches of pixels and their positions, after the token of the class."""

    def __init__(self, config: ImageEncoderConfig) -> None:
        super().__init__()
        width, patch = config.hidden_size, config.patch_size
        self.class_embedding = nn.Parameter(torch.zeros(width))
        self.patch_embedding = nn.Conv2d(
            config.num_channels, width, patch, stride=patch, bias=False)
        count = (config.image_size // patch) ** 2 + 1
        self.position_embedding = nn.Embedding(count, width)

    def forward(self, pixels: Tensor) -> Tensor:
        patches = self.patch_embedding(pixels).flatten(2).transpose(1, 2)
        first = self.class_embedding.expand(pixels.shape[0], 1, -1)
        return torch.cat([first, patches], dim=1) + self.position_embedding.weight


class _Layer(nn.Module):
    """``CLIPEncoderLayer``."""

    def __init__(self, config: ImageEncoderConfig) -> None:
        super().__init__()
        width, self.heads = config.hidden_size, config.num_attention_heads
        self.self_attn = nn.ModuleDict({
            name: nn.Linear(width, width) for name in ('k_proj', 'v_proj', 'q_proj', 'out_proj')})
        self.layer_norm1 = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.mlp = nn.ModuleDict({
            'fc1': nn.Linear(width, config.intermediate_size),
            'fc2': nn.Linear(config.intermediate_size, width)})
        self.layer_norm2 = nn.LayerNorm(width, eps=config.layer_norm_eps)

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer_norm1(x)
        q, k, v = (
            self.self_attn[name](y).view(*y.shape[:2], self.heads, -1).transpose(1, 2)
            for name in ('q_proj', 'k_proj', 'v_proj'))
        attended = functional.scaled_dot_product_attention(q, k, v)
        x = x + self.self_attn['out_proj'](attended.transpose(1, 2).reshape(x.shape))
        y = self.mlp['fc1'](self.layer_norm2(x))
        return x + cast(Tensor, self.mlp['fc2'](y * torch.sigmoid(1.702 * y)))
