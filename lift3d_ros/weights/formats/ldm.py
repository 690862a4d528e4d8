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
From the original checkpoints of the Zero-1-to-3 family to the networks of diffusers.

The checkpoints are those of latent diffusion (CompVis), whose names say where in a flat list of
blocks a layer is; diffusers sorts the same layers by resolution. Here the sizes of the networks
are read off the tensors, and each tensor that a network needs is looked up under its old name.
Nothing is copied: the results are views of what the file maps.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
import re
from typing import Any

from torch import Tensor

from lift3d_ros.weights.documents import check_counts
from lift3d_ros.weights.formats.checkpoint import Tensors
from lift3d_ros.weights.messages import corrupt
from lift3d_ros.weights.networks import expected_shapes
from lift3d_ros.weights.networks import listed

_UNET = 'model.diffusion_model.'
_EMA = 'model_ema.'
_VAE = 'first_stage_model.'
_CLIP = 'cond_stage_model.model.visual.'

#: Settings that leave no trace in the shapes: those of the published models.
_HEADS = 8
_SAMPLE_SIZE = 32
_IMAGE_SIZE = 256
_SCALING_FACTOR = 0.18215
_CLIP_HEAD_WIDTH = 64

#: The noise schedule of all checkpoints of this kind. The ramp is between square roots.
SCHEDULER = {
    '_class_name': 'DDIMScheduler',
    'num_train_timesteps': 1000,
    'beta_start': 0.00085,
    'beta_end': 0.012,
    'beta_schedule': 'scaled_linear',
    'steps_offset': 1,
    'clip_sample': False,
    'set_alpha_to_one': False,
    'prediction_type': 'epsilon',
}

#: What no network here needs: schedule buffers, counters of the moving average, the text side of
#: CLIP, the normalisation of its input, and the losses that the autoencoder was trained with.
_IGNORED = re.compile(
    r'betas|alphas_cumprod(_prev)?|sqrt_.*|log_one_minus_alphas_cumprod|posterior_.*|logvar'
    r'|lvlb_weights|scale_factor|model_ema\.(decay|num_updates)'
    r'|cond_stage_model\.(mean|std)|first_stage_model\.loss\..*'
    r'|cond_stage_model\.model\.(?!visual\.).*'
)

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
    """The tensor of a checkpoint that another is made from, and how: as a view of it."""

    name: str
    view: Callable[[Tensor], Tensor] = field(default=lambda tensor: tensor)


@dataclass(frozen=True)
class Converted:
    """Networks as diffusers names their tensors, their settings, and what is worth telling."""

    parts: dict[str, dict[str, Tensor]]
    configs: dict[str, dict[str, Any]]
    notes: list[str]


def convert(path: Path, tensors: Tensors, *, ema: bool = True) -> Converted:
    """
    Return the networks of a checkpoint, in layout A.

    ``ema`` takes the moving average of the UNet's weights, as the published samplers do, where
    there is one. Raises ``LiftError`` (WEIGHTS_CORRUPT) for a missing or superfluous tensor and
    for a wrong shape, by the names that they have in the file.
    """
    notes = []
    averaged = any(name.startswith(f'{_EMA}diffusion_model') for name in tensors)
    if ema and not averaged:
        notes.append(
            'The file has no moving average of the weights; the plain weights are taken, which '
            'give somewhat worse pictures.')
    configs = {
        'unet': unet_config(path, tensors),
        'vae': vae_config(path, tensors),
        'image_encoder': clip_config(path, tensors),
        'cc_projection': projection_config(tensors['cc_projection.weight']),
        'scheduler': dict(SCHEDULER),
    }
    for part, config in configs.items():
        check_counts(config, path)
        if part != 'scheduler':
            # Refused here with the path, where shapes make no network.
            expected_shapes(part, config, path)
    sources = {
        'unet': unet_sources(configs['unet'], ema=ema and averaged),
        'vae': vae_sources(configs['vae']),
        'image_encoder': clip_sources(configs['image_encoder']),
        'cc_projection': {f'projection.{leaf}': Source(f'cc_projection.{leaf}')
                          for leaf in ('weight', 'bias')},
    }
    parts: dict[str, dict[str, Tensor]] = {}
    missing: list[str] = []
    wrong: list[str] = []
    for part, of_part in sources.items():
        parts[part] = {}
        shapes = expected_shapes(part, configs[part])
        for name, source in of_part.items():
            if source.name not in tensors:
                missing.append(source.name)
                continue
            stored = tensors[source.name]
            try:
                value = source.view(stored)
            except (RuntimeError, IndexError):
                value = stored
            if tuple(value.shape) != shapes[name]:
                wrong.append(
                    f'{source.name} has the shape {list(stored.shape)}, from which {name} of '
                    f'{list(shapes[name])} cannot be made')
            parts[part][name] = value
    used = {source.name for of_part in sources.values() for source in of_part.values()}
    if averaged:
        other = unet_sources(configs['unet'], ema=not ema)
        used |= {source.name for source in other.values()}
    extra = [name for name in tensors if name not in used and not _IGNORED.fullmatch(name)]
    for what, names in (('lacks', missing), ('has what is not used:', extra)):
        if names:
            corrupt(path, f'{what} {listed(names)}; it is another model, or damaged')
    if wrong:
        corrupt(path, f'does not fit together: {listed(wrong)}')
    return Converted(parts, configs, notes)


def unet_config(path: Path, tensors: Tensors) -> dict[str, Any]:
    """Read the settings of the UNet off its tensors, as ``UNet2DConditionModel`` takes them."""
    blocks = _indices(tensors, f'{_UNET}input_blocks.')
    prefixes = [f'{_UNET}input_blocks.{index}.' for index in sorted(blocks)]
    levels: list[list[str]] = [[]]
    for prefix in prefixes[1:]:
        if _has(tensors, f'{prefix}0.op.'):
            levels.append([])
        else:
            levels[-1].append(prefix)
    counts = {len(level) for level in levels}
    if len(counts) != 1 or 0 in counts:
        corrupt(
            path, 'lacks blocks of its UNet, or has too many: there are '
            f'{[len(level) for level in levels]} at its resolutions')
    widths = [_shape(path, tensors, f'{level[0]}0.in_layers.2.weight')[0] for level in levels]
    attention = [_has(tensors, f'{level[0]}1.') for level in levels]
    context = f'{_UNET}middle_block.1.transformer_blocks.0.attn2.to_k.weight'
    return {
        '_class_name': 'UNet2DConditionModel',
        'sample_size': _SAMPLE_SIZE,
        'in_channels': _shape(path, tensors, f'{_UNET}input_blocks.0.0.weight')[1],
        'out_channels': _shape(path, tensors, f'{_UNET}out.2.weight')[0],
        'down_block_types': [
            'CrossAttnDownBlock2D' if attends else 'DownBlock2D' for attends in attention],
        'up_block_types': [
            'CrossAttnUpBlock2D' if attends else 'UpBlock2D' for attends in attention[::-1]],
        'block_out_channels': widths,
        'layers_per_block': counts.pop(),
        'cross_attention_dim': _shape(path, tensors, context)[1],
        # diffusers' name for the number of heads, kept from its first versions.
        'attention_head_dim': _HEADS,
        'use_linear_projection': False,
    }


def vae_config(path: Path, tensors: Tensors) -> dict[str, Any]:
    """Read the settings of the autoencoder off its tensors, as ``AutoencoderKL`` takes them."""
    levels = len(_indices(tensors, f'{_VAE}encoder.down.'))
    layers = len(_indices(tensors, f'{_VAE}encoder.down.0.block.'))
    widths = [_shape(path, tensors, f'{_VAE}encoder.down.{level}.block.0.conv1.weight')[0]
              for level in range(levels)]
    return {
        '_class_name': 'AutoencoderKL',
        'in_channels': _shape(path, tensors, f'{_VAE}encoder.conv_in.weight')[1],
        'out_channels': _shape(path, tensors, f'{_VAE}decoder.conv_out.weight')[0],
        'down_block_types': ['DownEncoderBlock2D'] * levels,
        'up_block_types': ['UpDecoderBlock2D'] * levels,
        'block_out_channels': widths,
        'layers_per_block': layers,
        'latent_channels': _shape(path, tensors, f'{_VAE}post_quant_conv.weight')[0],
        'sample_size': _IMAGE_SIZE,
        'scaling_factor': _SCALING_FACTOR,
    }


def clip_config(path: Path, tensors: Tensors) -> dict[str, Any]:
    """Read the settings of CLIP's visual tower off its tensors, as ``CLIPVisionConfig``'s."""
    width, _, patch, _ = _shape(path, tensors, f'{_CLIP}conv1.weight', 4)
    side = round((_shape(path, tensors, f'{_CLIP}positional_embedding')[0] - 1) ** 0.5)
    return {
        'architectures': ['CLIPVisionModelWithProjection'],
        'model_type': 'clip_vision_model',
        'hidden_size': width,
        'intermediate_size':
            _shape(path, tensors, f'{_CLIP}transformer.resblocks.0.mlp.c_fc.weight')[0],
        'num_hidden_layers': len(_indices(tensors, f'{_CLIP}transformer.resblocks.')),
        'num_attention_heads': max(1, width // _CLIP_HEAD_WIDTH),
        'patch_size': patch,
        'image_size': patch * side,
        'projection_dim': _shape(path, tensors, f'{_CLIP}proj')[1],
        'hidden_act': 'quick_gelu',
        'layer_norm_eps': 1e-5,
    }


def projection_config(weight: Tensor) -> dict[str, Any]:
    """Return the settings of the pose projection with that weight, as layout A names them."""
    rows, columns = weight.shape
    return {'_class_name': 'CCProjection', 'in_channel': columns, 'out_channel': rows}


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
            return _EMA + f'diffusion_model.{name}'.replace('.', '')
        return _UNET + name

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
        old = _VAE + _renamed(name, modules)
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
    sources = {'visual_projection.weight': Source(f'{_CLIP}proj', Tensor.t)}
    for layer in range(config['num_hidden_layers']):
        new = f'vision_model.encoder.layers.{layer}'
        old = f'transformer.resblocks.{layer}'
        modules |= _inside(new, old, _CLIP_LAYER)
        for place, letter in enumerate('qkv'):
            for leaf in ('weight', 'bias'):
                sources[f'{new}.self_attn.{letter}_proj.{leaf}'] = Source(
                    f'{_CLIP}{old}.attn.in_proj_{leaf}', _third(place))
    for name in expected_shapes('image_encoder', config):
        if name not in sources:
            sources[name] = Source(_CLIP + _renamed(name, modules))
    return sources


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


def _indices(tensors: Iterable[str], prefix: str) -> set[int]:
    start = len(prefix)
    return {int(number) for name in tensors if name.startswith(prefix)
            and (number := name[start:].partition('.')[0]).isdecimal()}


def _has(tensors: Iterable[str], prefix: str) -> bool:
    return any(name.startswith(prefix) for name in tensors)


def _shape(path: Path, tensors: Tensors, name: str, dimensions: int = 1) -> tuple[int, ...]:
    if name not in tensors:
        corrupt(path, f'lacks {name}; it is another model, or damaged')
    shape = tuple(tensors[name].shape)
    if len(shape) < max(dimensions, 2) - ('.bias' in name):
        corrupt(path, f'does not fit together: {name} has the shape {list(shape)}')
    return shape
