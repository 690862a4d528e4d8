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
Convert the original checkpoints of latent diffusion to the networks of diffusers.

The Zero-1-to-3 family and Stable Diffusion 1 have the names of CompVis, which number the blocks of
a network in one list; diffusers sorts the same layers by resolution. The settings of the networks
are read off the shapes of the tensors, and each tensor is looked up under its old name
(``ldm_names``). The results are views of the mapped file.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
import re
from typing import Any

from torch import Tensor

from lift3d_ros.weights.formats.checkpoint import Tensors
from lift3d_ros.weights.formats.checkpoint import TEXT_ENCODER
from lift3d_ros.weights.formats.ldm_names import CLIP
from lift3d_ros.weights.formats.ldm_names import clip_sources
from lift3d_ros.weights.formats.ldm_names import EMA
from lift3d_ros.weights.formats.ldm_names import Source
from lift3d_ros.weights.formats.ldm_names import text_sources
from lift3d_ros.weights.formats.ldm_names import UNET
from lift3d_ros.weights.formats.ldm_names import unet_sources
from lift3d_ros.weights.formats.ldm_names import VAE
from lift3d_ros.weights.formats.ldm_names import vae_sources
from lift3d_ros.weights.integrity import check_counts
from lift3d_ros.weights.integrity import corrupt
from lift3d_ros.weights.networks import expected_shapes
from lift3d_ros.weights.networks import listed

#: Settings that leave no trace in the shapes: those of the published models.
_HEADS = 8
_SAMPLE_SIZE = 32
_IMAGE_SIZE = 256
_TEXT_IMAGE_SIZE = 512
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
    r'|cond_stage_model\.transformer\.text_model\.embeddings\.position_ids'
)

@dataclass(frozen=True)
class Converted:
    """Tensors of networks by their diffusers names, their settings, and notes."""

    parts: dict[str, dict[str, Tensor]]
    configs: dict[str, dict[str, Any]]
    notes: list[str]


def convert(path: Path, tensors: Tensors, *, ema: bool = True) -> Converted:
    """
    Return the networks of a checkpoint, by the folders of diffusers (layout A for poses).

    ``ema`` selects the moving average of the UNet's weights, as the published samplers do, if
    there is one. Raises ``LiftError`` (WEIGHTS_CORRUPT), with the names in the file, for a missing
    or superfluous tensor and for a wrong shape.
    """
    notes = []
    averaged = any(name.startswith(f'{EMA}diffusion_model') for name in tensors)
    posed = 'cc_projection.weight' in tensors
    if ema and not averaged and posed:
        notes.append(
            'The file has no moving average of the weights; the plain weights are used, which '
            'give somewhat worse pictures.')
    configs = {'unet': unet_config(path, tensors), 'vae': vae_config(path, tensors)}
    if posed:
        configs['image_encoder'] = clip_config(path, tensors)
        configs['cc_projection'] = projection_config(tensors['cc_projection.weight'])
    else:
        configs['text_encoder'] = text_config(path, tensors)
        configs['vae']['sample_size'] = _TEXT_IMAGE_SIZE
        configs['unet']['sample_size'] = _TEXT_IMAGE_SIZE // 2**(
            len(configs['vae']['block_out_channels']) - 1)
    configs['scheduler'] = dict(SCHEDULER)
    for part, config in configs.items():
        check_counts(config, path)
        if part != 'scheduler':
            # Refused here, with the path, if the shapes do not make a network.
            expected_shapes(part, config, path)
    sources = {
        'unet': unet_sources(configs['unet'], ema=ema and averaged),
        'vae': vae_sources(configs['vae']),
    }
    if posed:
        sources['image_encoder'] = clip_sources(configs['image_encoder'])
        sources['cc_projection'] = {f'projection.{leaf}': Source(f'cc_projection.{leaf}')
                                    for leaf in ('weight', 'bias')}
    else:
        sources['text_encoder'] = text_sources(configs['text_encoder'])
    used = {source.name for of_part in sources.values() for source in of_part.values()}
    missing = [name for name in used if name not in tensors]
    if averaged:
        other = unet_sources(configs['unet'], ema=not ema)
        used |= {source.name for source in other.values()}
    extra = [name for name in tensors if name not in used and not _IGNORED.fullmatch(name)]
    for problem, names in (('lacks', sorted(missing)), ('has what is not used:', extra)):
        if names:
            corrupt(path, f'{problem} {listed(names)}; it is another model, or damaged')
    parts = {part: _converted(path, tensors, of_part, expected_shapes(part, configs[part]))
             for part, of_part in sources.items()}
    return Converted(parts, configs, notes)


def _converted(
    path: Path,
    tensors: Tensors,
    sources: dict[str, Source],
    shapes: dict[str, tuple[int, ...]],
) -> dict[str, Tensor]:
    """Return the tensors of one network; raises ``LiftError`` for those of another shape."""
    values, wrong = {}, []
    for name, source in sources.items():
        stored = tensors[source.name]
        try:
            values[name] = source.view(stored)
        except (RuntimeError, IndexError):
            values[name] = stored
        if tuple(values[name].shape) != shapes[name]:
            wrong.append(
                f'{source.name} has the shape {list(stored.shape)}, from which {name} of '
                f'{list(shapes[name])} cannot be made')
    if wrong:
        corrupt(path, f'does not fit together: {listed(wrong)}')
    return values


def unet_config(path: Path, tensors: Tensors) -> dict[str, Any]:
    """Read the settings of the UNet off its tensors, as ``UNet2DConditionModel`` takes them."""
    blocks = _indices(tensors, f'{UNET}input_blocks.')
    prefixes = [f'{UNET}input_blocks.{index}.' for index in sorted(blocks)]
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
    context = f'{UNET}middle_block.1.transformer_blocks.0.attn2.to_k.weight'
    return {
        '_class_name': 'UNet2DConditionModel',
        'sample_size': _SAMPLE_SIZE,
        'in_channels': _shape(path, tensors, f'{UNET}input_blocks.0.0.weight')[1],
        'out_channels': _shape(path, tensors, f'{UNET}out.2.weight')[0],
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
    levels = len(_indices(tensors, f'{VAE}encoder.down.'))
    layers = len(_indices(tensors, f'{VAE}encoder.down.0.block.'))
    widths = [_shape(path, tensors, f'{VAE}encoder.down.{level}.block.0.conv1.weight')[0]
              for level in range(levels)]
    return {
        '_class_name': 'AutoencoderKL',
        'in_channels': _shape(path, tensors, f'{VAE}encoder.conv_in.weight')[1],
        'out_channels': _shape(path, tensors, f'{VAE}decoder.conv_out.weight')[0],
        'down_block_types': ['DownEncoderBlock2D'] * levels,
        'up_block_types': ['UpDecoderBlock2D'] * levels,
        'block_out_channels': widths,
        'layers_per_block': layers,
        'latent_channels': _shape(path, tensors, f'{VAE}post_quant_conv.weight')[0],
        'sample_size': _IMAGE_SIZE,
        'scaling_factor': _SCALING_FACTOR,
    }


def clip_config(path: Path, tensors: Tensors) -> dict[str, Any]:
    """Read the settings of CLIP's visual tower off its tensors, as ``CLIPVisionConfig``'s."""
    width, _, patch, _ = _shape(path, tensors, f'{CLIP}conv1.weight', 4)
    side = round((_shape(path, tensors, f'{CLIP}positional_embedding')[0] - 1) ** 0.5)
    return {
        'architectures': ['CLIPVisionModelWithProjection'],
        'model_type': 'clip_vision_model',
        'hidden_size': width,
        'intermediate_size':
            _shape(path, tensors, f'{CLIP}transformer.resblocks.0.mlp.c_fc.weight')[0],
        'num_hidden_layers': len(_indices(tensors, f'{CLIP}transformer.resblocks.')),
        'num_attention_heads': max(1, width // _CLIP_HEAD_WIDTH),
        'patch_size': patch,
        'image_size': patch * side,
        'projection_dim': _shape(path, tensors, f'{CLIP}proj')[1],
        'hidden_act': 'quick_gelu',
        'layer_norm_eps': 1e-5,
    }


def text_config(path: Path, tensors: Tensors) -> dict[str, Any]:
    """Read the settings of the text encoder off its tensors, as ``CLIPTextConfig``'s."""
    words, width = _shape(path, tensors, f'{TEXT_ENCODER}embeddings.token_embedding.weight')
    layers = f'{TEXT_ENCODER}encoder.layers.'
    return {
        'architectures': ['CLIPTextModel'],
        'model_type': 'clip_text_model',
        'vocab_size': words,
        'hidden_size': width,
        'intermediate_size': _shape(path, tensors, f'{layers}0.mlp.fc1.weight')[0],
        'num_hidden_layers': len(_indices(tensors, layers)),
        'num_attention_heads': max(1, width // _CLIP_HEAD_WIDTH),
        'max_position_embeddings':
            _shape(path, tensors, f'{TEXT_ENCODER}embeddings.position_embedding.weight')[0],
        'hidden_act': 'quick_gelu',
        'layer_norm_eps': 1e-5,
        'bos_token_id': words - 2,
        'eos_token_id': words - 1,
        'pad_token_id': words - 1,
    }


def projection_config(weight: Tensor) -> dict[str, Any]:
    """Return the settings of the pose projection with that weight, as layout A names them."""
    rows, columns = weight.shape
    return {'_class_name': 'CCProjection', 'in_channel': columns, 'out_channel': rows}


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
