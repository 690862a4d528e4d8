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

"""Where each tensor of the diffusers networks is in an original checkpoint (CompVis naming)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field
from typing import Any

from torch import Tensor

from lift3d_ros.weights.networks import expected_shapes

#: What the names of each network begin with in a checkpoint.
UNET = 'model.diffusion_model.'
EMA = 'model_ema.'
VAE = 'first_stage_model.'
CLIP = 'cond_stage_model.model.visual.'
TEXT = 'cond_stage_model.transformer.'

_RESNET = {
    'norm1': 'in_layers.0', 'conv1': 'in_layers.2', 'time_emb_proj': 'emb_layers.1',
    'norm2': 'out_layers.0', 'conv2': 'out_layers.3', 'conv_shortcut': 'skip_connection',
}
_VAE_RESNET = {
    'norm1': 'norm1', 'conv1': 'conv1', 'norm2': 'norm2', 'conv2': 'conv2',
    'conv_shortcut': 'nin_shortcut',
}
_VAE_ATTENTION = {
    'group_norm': 'norm', 'to_q': 'q', 'to_k': 'k', 'to_v': 'v', 'to_out.0': 'proj_out',
}
_CLIP_LAYER = {
    'self_attn.out_proj': 'attn.out_proj', 'layer_norm1': 'ln_1', 'layer_norm2': 'ln_2',
    'mlp.fc1': 'mlp.c_fc', 'mlp.fc2': 'mlp.c_proj',
}

Modules = dict[str, str]


@dataclass(frozen=True)
class Source:
    """A tensor of a checkpoint, and the view of it that a network needs."""

    name: str
    view: Callable[[Tensor], Tensor] = field(default=lambda tensor: tensor)


def unet_sources(config: dict[str, Any], *, ema: bool = False) -> dict[str, Source]:
    """Return where each tensor of the UNet with these settings is in a checkpoint."""
    layers = config['layers_per_block']
    down_types, up_types = config['down_block_types'], config['up_block_types']
    modules: Modules = {
        'conv_in': 'input_blocks.0.0',
        'time_embedding.linear_1': 'time_embed.0',
        'time_embedding.linear_2': 'time_embed.2',
        'mid_block.attentions.0': 'middle_block.1',
        'conv_norm_out': 'out.0',
        'conv_out': 'out.2',
        **_inside('mid_block.resnets.0', 'middle_block.0', _RESNET),
        **_inside('mid_block.resnets.1', 'middle_block.2', _RESNET),
    }
    index = 1
    for level, kind in enumerate(down_types):
        block = f'down_blocks.{level}'
        for layer in range(layers):
            old = f'input_blocks.{index}'
            modules |= _inside(f'{block}.resnets.{layer}', f'{old}.0', _RESNET)
            if kind.startswith('CrossAttn'):
                modules[f'{block}.attentions.{layer}'] = f'{old}.1'
            index += 1
        modules[f'{block}.downsamplers.0.conv'] = f'input_blocks.{index}.0.op'
        index += 1
    index = 0
    for level, kind in enumerate(up_types):
        block = f'up_blocks.{level}'
        attends = kind.startswith('CrossAttn')
        for layer in range(layers + 1):
            old = f'output_blocks.{index}'
            modules |= _inside(f'{block}.resnets.{layer}', f'{old}.0', _RESNET)
            if attends:
                modules[f'{block}.attentions.{layer}'] = f'{old}.1'
            index += 1
        # The last layer of a resolution has the upsampling behind what else it has.
        modules[f'{block}.upsamplers.0.conv'] = f'{old}.{2 if attends else 1}.conv'

    def old_name(name: str) -> str:
        if ema:
            return EMA + f'diffusion_model.{name}'.replace('.', '')
        return UNET + name

    return {name: Source(old_name(_renamed(name, modules)))
            for name in expected_shapes('unet', config)}


def vae_sources(config: dict[str, Any]) -> dict[str, Source]:
    """Return where each tensor of the autoencoder with these settings is in a checkpoint."""
    levels, layers = len(config['block_out_channels']), config['layers_per_block']
    modules: Modules = {'quant_conv': 'quant_conv', 'post_quant_conv': 'post_quant_conv'}
    for half in ('encoder', 'decoder'):
        modules |= {
            f'{half}.conv_in': f'{half}.conv_in',
            f'{half}.conv_norm_out': f'{half}.norm_out',
            f'{half}.conv_out': f'{half}.conv_out',
            **_inside(f'{half}.mid_block.resnets.0', f'{half}.mid.block_1', _VAE_RESNET),
            **_inside(f'{half}.mid_block.resnets.1', f'{half}.mid.block_2', _VAE_RESNET),
            **_inside(f'{half}.mid_block.attentions.0', f'{half}.mid.attn_1', _VAE_ATTENTION),
        }
    for level in range(levels):
        down, up = f'encoder.down_blocks.{level}', f'decoder.up_blocks.{level}'
        old_down = f'encoder.down.{level}'
        # Counted from the finest resolution in both halves, where diffusers follows the data.
        old_up = f'decoder.up.{levels - 1 - level}'
        modules[f'{down}.downsamplers.0.conv'] = f'{old_down}.downsample.conv'
        modules[f'{up}.upsamplers.0.conv'] = f'{old_up}.upsample.conv'
        for layer in range(layers + 1):
            modules |= _inside(f'{up}.resnets.{layer}', f'{old_up}.block.{layer}', _VAE_RESNET)
            modules |= _inside(
                f'{down}.resnets.{layer}', f'{old_down}.block.{layer}', _VAE_RESNET)
    sources = {}
    for name, shape in expected_shapes('vae', config).items():
        old = VAE + _renamed(name, modules)
        # Attention is made of 1 x 1 convolutions there and of linear layers here.
        linear = '.attentions.' in name and len(shape) == 2
        sources[name] = Source(old, _squeezed) if linear else Source(old)
    return sources


def clip_sources(config: dict[str, Any]) -> dict[str, Source]:
    """Return where each tensor of CLIP's visual tower is in a checkpoint (OpenAI's naming)."""
    modules: Modules = {
        'vision_model.embeddings.class_embedding': 'class_embedding',
        'vision_model.embeddings.patch_embedding': 'conv1',
        'vision_model.embeddings.position_embedding.weight': 'positional_embedding',
        'vision_model.pre_layrnorm': 'ln_pre',
        'vision_model.post_layernorm': 'ln_post',
    }
    sources = {'visual_projection.weight': Source(f'{CLIP}proj', Tensor.t)}
    for layer in range(config['num_hidden_layers']):
        new = f'vision_model.encoder.layers.{layer}'
        old = f'transformer.resblocks.{layer}'
        modules |= _inside(new, old, _CLIP_LAYER)
        for place, letter in enumerate('qkv'):
            for leaf in ('weight', 'bias'):
                sources[f'{new}.self_attn.{letter}_proj.{leaf}'] = Source(
                    f'{CLIP}{old}.attn.in_proj_{leaf}', _third(place))
    for name in expected_shapes('image_encoder', config):
        if name not in sources:
            sources[name] = Source(CLIP + _renamed(name, modules))
    return sources


def text_sources(config: dict[str, Any]) -> dict[str, Source]:
    """Return where each tensor of the text encoder with these settings is in a checkpoint."""
    return {name: Source(TEXT + name) for name in expected_shapes('text_encoder', config)}


def _squeezed(tensor: Tensor) -> Tensor:
    """Make the matrix of a linear layer of the weights of a 1 x 1 convolution."""
    return tensor if tensor.ndim == 2 else tensor.squeeze((2, 3))


def _third(place: int) -> Callable[[Tensor], Tensor]:
    """Return what takes one of the three that are stacked: queries, keys or values."""
    return lambda stacked: stacked.tensor_split(3)[place]


def _inside(new: str, old: str, names: Modules) -> Modules:
    return {f'{new}.{inner}': f'{old}.{old_inner}' for inner, old_inner in names.items()}


def _renamed(name: str, modules: Modules) -> str:
    """Replace the longest part of a name, up to a dot, that ``modules`` knows."""
    known = name
    while known and known not in modules:
        known = known.rpartition('.')[0]
    if not known:
        raise ValueError(f'no checkpoint of this kind has {name}')
    return modules[known] + name[len(known):]
