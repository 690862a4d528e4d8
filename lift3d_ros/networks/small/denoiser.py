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
The denoiser of the small view weights: the conditional UNet of diffusers, in its one form.

Names, shapes and arithmetic are those of ``diffusers.UNet2DConditionModel``, whose files it reads
and writes: residual blocks at each level, attention to one token in the last. The import of
diffusers and transformers takes longer than all other work before the first lift.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import fields
import math
from types import SimpleNamespace
from typing import Any
from typing import cast

import torch
from torch import nn
from torch import Tensor
from torch.nn import functional

#: What diffusers calls the blocks of a UNet with attention in its last level.
_PLAIN, _ATTENDING = ('DownBlock2D', 'UpBlock2D'), ('CrossAttnDownBlock2D', 'CrossAttnUpBlock2D')

#: Settings of diffusers with more than one form, and the form that is implemented.
_ONE_FORM = {
    'mid_block_type': 'UNetMidBlock2DCrossAttn', 'act_fn': 'silu', 'norm_eps': 1e-5,
    'flip_sin_to_cos': True, 'freq_shift': 0, 'center_input_sample': False,
    'only_cross_attention': False, 'use_linear_projection': False, 'dual_cross_attention': False,
    'resnet_time_scale_shift': 'default', 'time_embedding_type': 'positional',
    'transformer_layers_per_block': 1, 'num_attention_heads': None, 'class_embed_type': None,
    'addition_embed_type': None, 'encoder_hid_dim_type': None, 'attention_type': 'default',
    'upcast_attention': False, 'conv_in_kernel': 3, 'conv_out_kernel': 3,
    'downsample_padding': 1, 'mid_block_scale_factor': 1, 'resnet_out_scale_factor': 1.0,
}


@dataclass(frozen=True)
class DenoiserConfig:
    """
    Sizes of the network, by the names of diffusers.

    - ``attention_head_dim``: number of heads; diffusers has always read it as that.
    - ``down_block_types``, ``up_block_types``: attention in the last level alone.
    """

    sample_size: int = 32
    in_channels: int = 4
    out_channels: int = 4
    block_out_channels: tuple[int, ...] = (64, 96, 128)
    layers_per_block: int = 1
    cross_attention_dim: int = 128
    attention_head_dim: int = 4
    norm_num_groups: int = 16
    down_block_types: tuple[str, ...] = (_PLAIN[0], _PLAIN[0], _ATTENDING[0])
    up_block_types: tuple[str, ...] = (_ATTENDING[1], _PLAIN[1], _PLAIN[1])

    def __post_init__(self) -> None:
        """Raise ``ValueError`` for blocks that are not implemented."""
        plain = len(self.block_out_channels) - 1
        if plain < 0 or self.layers_per_block < 1:
            raise ValueError('a denoiser has levels with layers')
        if self.down_block_types != (*(_PLAIN[0],) * plain, _ATTENDING[0]) or (
                self.up_block_types != (_ATTENDING[1], *(_PLAIN[1],) * plain)):
            raise ValueError('the denoiser has attention in its last level alone')

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> DenoiserConfig:
        """Return the sizes from a file of diffusers; raises ``ValueError`` for another form."""
        for name, form in _ONE_FORM.items():
            if settings.get(name, form) != form:
                raise ValueError(f'{name} is {str(settings[name])[:100]}; known is {form}')
        return cls(**{
            field.name: settings[field.name] for field in fields(cls) if field.name in settings})


class DenoiserUNet(nn.Module):
    """The network, 5.1 million parameters in the small weights."""

    def __init__(self, config: DenoiserConfig) -> None:
        """Make the layers."""
        super().__init__()
        self.config = config
        widths, layers = config.block_out_channels, config.layers_per_block
        time = 4 * widths[0]
        self.conv_in = nn.Conv2d(config.in_channels, widths[0], 3, padding=1)
        self.time_embedding = _Chain(
            linear_1=nn.Linear(widths[0], time), act=nn.SiLU(), linear_2=nn.Linear(time, time))

        def attention(width: int) -> _Transformer:
            return _Transformer(width, config)

        self.down_blocks, self.up_blocks = nn.ModuleList(), nn.ModuleList()
        #: Channels of what each level hands over to the other side, in order.
        skips, before = [widths[0]], widths[0]
        for level, width in enumerate(widths):
            last = level == len(widths) - 1
            block = nn.ModuleDict({
                'resnets': nn.ModuleList(
                    _Residual(before if layer == 0 else width, width, time, config)
                    for layer in range(layers))})
            skips += [width] * layers
            if last:
                block['attentions'] = nn.ModuleList(attention(width) for _ in range(layers))
            else:
                block['downsamplers'] = nn.ModuleList([
                    _Chain(conv=nn.Conv2d(width, width, 3, stride=2, padding=1))])
                skips.append(width)
            self.down_blocks.append(block)
            before = width
        self.mid_block = nn.ModuleDict({
            'resnets': nn.ModuleList(_Residual(before, before, time, config) for _ in range(2)),
            'attentions': nn.ModuleList([attention(before)])})
        for level, width in enumerate(reversed(widths)):
            resnets = []
            for _ in range(layers + 1):
                resnets.append(_Residual(before + skips.pop(), width, time, config))
                before = width
            block = nn.ModuleDict({'resnets': nn.ModuleList(resnets)})
            if level == 0:
                block['attentions'] = nn.ModuleList(attention(width) for _ in range(layers + 1))
            if level < len(widths) - 1:
                block['upsamplers'] = nn.ModuleList([
                    _Chain(conv=nn.Conv2d(width, width, 3, padding=1))])
            self.up_blocks.append(block)
        self.conv_norm_out = nn.GroupNorm(config.norm_num_groups, widths[0], eps=1e-5)
        self.conv_out = nn.Conv2d(widths[0], config.out_channels, 3, padding=1)

    def settings(self) -> dict[str, Any]:
        """Return the settings for a file that diffusers reads, too."""
        return {'_class_name': 'UNet2DConditionModel', **asdict(self.config)}

    def forward(
        self, sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor
    ) -> SimpleNamespace:
        """
        Return ``sample``, the prediction (n, c, h, w).

        ``sample`` (n, c', h, w) are the noisy latents and the conditioning, ``timestep`` (n,),
        ``encoder_hidden_states`` (n, tokens, width).
        """
        time = self.time_embedding(
            _sinusoids(timestep, self.config.block_out_channels[0]).to(sample.dtype))
        tokens = encoder_hidden_states
        x = self.conv_in(sample)
        skips = [x]
        for block in cast(Any, self.down_blocks):
            for number, resnet in enumerate(block['resnets']):
                x = resnet(x, time)
                if 'attentions' in block:
                    x = block['attentions'][number](x, tokens)
                skips.append(x)
            if 'downsamplers' in block:
                x = block['downsamplers'][0](x)
                skips.append(x)
        middle: Any = self.mid_block
        x = middle['resnets'][0](x, time)
        x = middle['resnets'][1](middle['attentions'][0](x, tokens), time)
        for block in cast(Any, self.up_blocks):
            for number, resnet in enumerate(block['resnets']):
                x = resnet(torch.cat([x, skips.pop()], dim=1), time)
                if 'attentions' in block:
                    x = block['attentions'][number](x, tokens)
            if 'upsamplers' in block:
                x = block['upsamplers'][0](
                    functional.interpolate(x, scale_factor=2.0, mode='nearest'))
        return SimpleNamespace(sample=self.conv_out(functional.silu(self.conv_norm_out(x))))


class _Chain(nn.Sequential):
    """Layers with names, one after another."""

    def __init__(self, **layers: nn.Module) -> None:
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)


class _Residual(nn.Module):
    """``ResnetBlock2D``: two convolutions, and the time between them."""

    def __init__(self, inputs: int, outputs: int, time: int, config: DenoiserConfig) -> None:
        super().__init__()
        groups = config.norm_num_groups
        self.norm1 = nn.GroupNorm(groups, inputs, eps=1e-5)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.time_emb_proj = nn.Linear(time, outputs)
        self.norm2 = nn.GroupNorm(groups, outputs, eps=1e-5)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else None

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        y = self.conv1(functional.silu(self.norm1(x)))
        y = y + self.time_emb_proj(functional.silu(time))[:, :, None, None]
        y = self.conv2(functional.silu(self.norm2(y)))
        return y + (x if self.conv_shortcut is None else self.conv_shortcut(x))


class _Transformer(nn.Module):
    """``Transformer2DModel`` of one block: attention among pixels, then to the tokens."""

    def __init__(self, width: int, config: DenoiserConfig) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(config.norm_num_groups, width, eps=1e-6)
        self.proj_in = nn.Conv2d(width, width, 1)
        self.transformer_blocks = nn.ModuleList([_Block(width, config)])
        self.proj_out = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        b, c, h, w = x.shape
        y = self.proj_in(self.norm(x)).permute(0, 2, 3, 1).reshape(b, h * w, c)
        y = self.transformer_blocks[0](y, tokens)
        y = y.reshape(b, h, w, c).permute(0, 3, 1, 2).contiguous()
        return cast(Tensor, self.proj_out(y)) + x


class _Block(nn.Module):
    """``BasicTransformerBlock``, with a gated feed-forward network."""

    def __init__(self, width: int, config: DenoiserConfig) -> None:
        super().__init__()
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        self.attn1 = _Attention(width, width, config.attention_head_dim)
        self.attn2 = _Attention(width, config.cross_attention_dim, config.attention_head_dim)
        self.ff = nn.ModuleDict({'net': nn.ModuleList([
            _Chain(proj=nn.Linear(width, 8 * width)), nn.Identity(),
            nn.Linear(4 * width, width)])})

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        y = self.norm1(x)
        x = self.attn1(y, y) + x
        x = self.attn2(self.norm2(x), tokens) + x
        net = cast(Any, self.ff['net'])
        value, gate = net[0](self.norm3(x)).chunk(2, dim=-1)
        return cast(Tensor, net[2](value * functional.gelu(gate))) + x


class _Attention(nn.Module):
    """``Attention`` with ``AttnProcessor2_0``."""

    def __init__(self, width: int, source: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f'{width} channels are no {heads} heads')
        self.heads = heads
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_k = nn.Linear(source, width, bias=False)
        self.to_v = nn.Linear(source, width, bias=False)
        self.to_out = nn.ModuleList([nn.Linear(width, width), nn.Identity()])

    def forward(self, x: Tensor, source: Tensor) -> Tensor:
        q, k, v = (
            y.view(*y.shape[:2], self.heads, -1).transpose(1, 2)
            for y in (self.to_q(x), self.to_k(source), self.to_v(source)))
        attended = functional.scaled_dot_product_attention(q, k, v)
        return cast(Tensor, self.to_out[0](attended.transpose(1, 2).reshape(x.shape)))


def _sinusoids(timestep: Tensor, width: int) -> Tensor:
    """Return the embedding of timesteps (n,), (n, width), float32: cosines, then sines."""
    half = width // 2
    exponent = -math.log(10000) * torch.arange(half, dtype=torch.float32, device=timestep.device)
    angle = timestep[:, None].float() * torch.exp(exponent / half)[None]
    return torch.cat([angle.cos(), angle.sin()], dim=-1)
