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
Networks of latent diffusion and of CLIP from the settings and tensors of a file.

A file can only select one of the classes named here, and set their parameters.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from functools import lru_cache
import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lift3d_ros.errors import LiftError
from lift3d_ros.errors import weights_corrupt
from lift3d_ros.weights.components import PoseProjection
from lift3d_ros.weights.formats.checkpoint import Tensors
from lift3d_ros.weights.integrity import corrupt
from lift3d_ros.weights.integrity import printable

Config = Mapping[str, Any]

_CLIP_SETTINGS = (
    'hidden_size', 'intermediate_size', 'num_hidden_layers', 'num_attention_heads', 'num_channels',
    'patch_size', 'image_size', 'projection_dim', 'hidden_act', 'layer_norm_eps',
    'attention_dropout',
)

_TEXT_SETTINGS = (
    'vocab_size', 'hidden_size', 'intermediate_size', 'num_hidden_layers', 'num_attention_heads',
    'max_position_embeddings', 'hidden_act', 'layer_norm_eps', 'attention_dropout',
    'bos_token_id', 'eos_token_id', 'pad_token_id',
)


def _image_encoder(config: Config) -> nn.Module:
    from transformers import CLIPVisionConfig
    from transformers import CLIPVisionModelWithProjection

    settings = {name: config[name] for name in _CLIP_SETTINGS if name in config}
    return CLIPVisionModelWithProjection(CLIPVisionConfig(**settings))


def _text_encoder(config: Config) -> nn.Module:
    from transformers import CLIPTextConfig
    from transformers import CLIPTextModel

    settings = {name: config[name] for name in _TEXT_SETTINGS if name in config}
    model = CLIPTextModel(CLIPTextConfig(**settings))
    # The published names begin with text_model; transformers 5 has the network without it.
    return nn.ModuleDict({'text_model': getattr(model, 'text_model', model)})


def _text_projection(config: Config) -> nn.Module:
    from transformers import CLIPTextConfig
    from transformers import CLIPTextModelWithProjection

    names = (*_TEXT_SETTINGS, 'projection_dim')
    settings = {name: config[name] for name in names if name in config}
    return CLIPTextModelWithProjection(CLIPTextConfig(**settings))


def _projection(config: Config) -> nn.Module:
    width = int(config['out_channel'])
    return PoseProjection(width, int(config['in_channel']) - width)


def _diffusers(config: Config) -> nn.Module:
    import diffusers

    model: nn.Module = getattr(diffusers, class_name(config)).from_config(dict(config))
    return model


#: The one class that a folder may name for each of its parts, and its constructor.
_BUILDERS: dict[str, tuple[str, Callable[[Config], nn.Module]]] = {
    'unet': ('UNet2DConditionModel', _diffusers),
    'vae': ('AutoencoderKL', _diffusers),
    'image_encoder': ('CLIPVisionModelWithProjection', _image_encoder),
    'text_encoder': ('CLIPTextModel', _text_encoder),
    'text_projection': ('CLIPTextModelWithProjection', _text_projection),
    'cc_projection': ('CCProjection', _projection),
}

#: Schedulers whose settings a ``DDIMScheduler`` accepts.
_SCHEDULERS = (
    'DDIMScheduler', 'DDPMScheduler', 'PNDMScheduler', 'LMSDiscreteScheduler',
    'EulerDiscreteScheduler', 'EulerAncestralDiscreteScheduler', 'DPMSolverMultistepScheduler',
)


def class_name(config: Config) -> str:
    """Return the class name in the settings of diffusers or of transformers."""
    name = config.get('_class_name') or config.get('architectures') or ''
    return str(name[0] if isinstance(name, list) else name)


def empty_network(part: str, config: Config) -> nn.Module:
    """
    Return a network with these settings whose tensors have shapes only (the meta device).

    Raises ``LiftError`` (WEIGHTS_CORRUPT) for a class that is not known for that part, and for
    settings that the class refuses.
    """
    known, build = _BUILDERS[part]
    name = class_name(config)
    if name != known:
        raise weights_corrupt(
            f'The settings of {part} name the class {printable(name)[:100] or "(none)"}; known is '
            f'{known}. Other classes are not imported.')
    try:
        with torch.device('meta'):
            return build(config)
    except Exception as error:
        raise weights_corrupt(
            f'{name} refuses the settings of {part}: {type(error).__name__}: '
            f'{printable(str(error))[:300]}.') from error


def expected_shapes(
    part: str, config: Config, path: Path | None = None
) -> dict[str, tuple[int, ...]]:
    """
    Return the name and the shape of each tensor that a network with these settings has.

    Raises ``LiftError`` as ``empty_network``, with the path of the settings.
    """
    try:
        return dict(_shapes(part, json.dumps(dict(config), sort_keys=True)))
    except LiftError as error:
        if path is None:
            raise
        raise LiftError(error.code, f'{path} cannot be used. {error.message}') from error


@lru_cache(maxsize=16)
def _shapes(part: str, config: str) -> dict[str, tuple[int, ...]]:
    network = empty_network(part, json.loads(config))
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


def check_tensors(
    path: Path, part: str, tensors: Tensors, shapes: Mapping[str, tuple[int, ...]]
) -> None:
    """Raise ``LiftError`` (WEIGHTS_CORRUPT) unless names and shapes are exactly the expected."""
    missing = [name for name in shapes if name not in tensors]
    extra = [name for name in tensors if name not in shapes]
    if missing:
        corrupt(path, f'lacks {listed(missing)} in {part}; it is another model, or damaged')
    wrong = [
        f'{name} has the shape {list(tensors[name].shape)} and should have {list(shape)}'
        for name, shape in shapes.items() if tuple(tensors[name].shape) != shape]
    if wrong:
        corrupt(path, f'does not fit its settings in {part}: {listed(wrong)}')
    if extra:
        corrupt(path, f'has tensors in {part} that its network has not: {listed(extra)}')
    whole = [name for name in shapes if not tensors[name].is_floating_point()]
    if whole:
        corrupt(path, f'has integers in {part} where its network has floats: {listed(whole)}')


def network(
    part: str, config: Config, tensors: Tensors, dtype: torch.dtype, device: torch.device | str
) -> nn.Module:
    """
    Return a network for inference with copies of the tensors, independent of the file.

    Each tensor is converted and copied once, so that memory holds the network only once.
    Parameters do not require gradients. The tensors must have been checked.
    """
    module = empty_network(part, config)
    module.load_state_dict({
        name: tensor.to(
            device=device,
            dtype=dtype if tensor.is_floating_point() else tensor.dtype,
            copy=True,
            memory_format=torch.contiguous_format,
        )
        for name, tensor in tensors.items()
    }, strict=True, assign=True)
    # Buffers that are computed and not stored: the position indices of CLIP.
    for name, buffer in list(module.named_buffers()):
        if buffer.is_meta:
            owner, _, leaf = name.rpartition('.')
            if leaf != 'position_ids':
                raise AssertionError(f'{part} computes the buffer {name}')
            positions = torch.arange(buffer.shape[-1], device=device).expand(buffer.shape)
            module.get_submodule(owner).register_buffer(leaf, positions, persistent=False)
    return module.eval().requires_grad_(False)


def scheduler(config: Config) -> Any:
    """Return the ``DDIMScheduler`` with these settings; raises ``LiftError`` as for networks."""
    from diffusers import DDIMScheduler

    if class_name(config) not in _SCHEDULERS:
        raise weights_corrupt(
            f'The settings of the scheduler name the class {printable(class_name(config))[:100]}; '
            f'known are {", ".join(_SCHEDULERS)}.')
    try:
        made = DDIMScheduler.from_config(dict(config))
        finite = bool(torch.isfinite(made.alphas_cumprod).all())
    except Exception as error:
        raise weights_corrupt(
            f'The settings of the scheduler are refused: {type(error).__name__}: '
            f'{printable(str(error))[:300]}.') from error
    if not finite:
        raise weights_corrupt(
            'The settings of the scheduler give a noise schedule that is not finite; get the '
            'folder again.')
    return made


def listed(items: list[str]) -> str:
    """Return the first eight items as text, and the number of the others."""
    more = f' and {len(items) - 8} more' if len(items) > 8 else ''
    return ', '.join(item[:300] for item in items[:8]) + more
