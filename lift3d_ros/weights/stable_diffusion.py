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
Load Stable Diffusion from a local path: a diffusers folder, or the original checkpoint.

Nothing is downloaded, and nothing in the files is executed.
"""

from __future__ import annotations

from dataclasses import dataclass
import os
from pathlib import Path
from typing import Any

import torch

from lift3d_ros.errors import bad_request
from lift3d_ros.errors import weights_missing
from lift3d_ros.weights import networks
from lift3d_ros.weights import store
from lift3d_ros.weights.formats.checkpoint import Checkpoint
from lift3d_ros.weights.formats.checkpoint import Kind
from lift3d_ros.weights.formats.ldm import convert
from lift3d_ros.weights.formats.ldm import Converted
from lift3d_ros.weights.formats.ldm import SCHEDULER
from lift3d_ros.weights.integrity import corrupt
from lift3d_ros.weights.integrity import corrupt_on_error
from lift3d_ros.weights.loading import open_weights
from lift3d_ros.weights.loading import with_current_names
from lift3d_ros.weights.tensors import check_values

#: The parts of a model, and the folders of diffusers.
PARTS = ('unet', 'vae', 'text_encoder')

#: The files of a tokenizer that are read.
_TOKENIZER_FILES = ('vocab.json', 'merges.txt')

#: The same and their optional settings, which an import keeps.
TOKENIZER_TEXTS = (*_TOKENIZER_FILES, 'tokenizer_config.json', 'special_tokens_map.json')


@dataclass
class StableDiffusionComponents:
    """
    The networks of a text-conditioned latent diffusion model.

    - ``unet``: diffusers ``UNet2DConditionModel`` of 4 channels; ``vae``: ``AutoencoderKL``.
    - ``text_encoder``: a module whose ``text_model`` is CLIP's text transformer.
    - ``tokenizer``: transformers ``CLIPTokenizer``.
    - ``scheduler``: diffusers ``DDIMScheduler``, of which only the configuration is used.
    """

    unet: Any
    vae: Any
    text_encoder: Any
    tokenizer: Any
    scheduler: Any


def load_stable_diffusion(
    source: str | os.PathLike[str],
    *,
    tokenizer: str | os.PathLike[str] | None = None,
    ema: bool = True,
    dtype: torch.dtype | None = None,
    device: torch.device | str = 'cpu',
) -> StableDiffusionComponents:
    """
    Load Stable Diffusion 1, or another model of its layout, ready for inference.

    - ``source``: a name of ``lift3d weights list``, a diffusers folder, or an original checkpoint
      (torch or safetensors), which has no tokenizer.
    - ``tokenizer``: a folder with ``vocab.json`` and ``merges.txt``; by default ``tokenizer/`` of
      the folder, or next to the checkpoint.
    - ``dtype``: by default float16 on a GPU and float32 on the CPU.

    Raises ``LiftError``: WEIGHTS_MISSING if there are no weights or no tokenizer, WEIGHTS_CORRUPT
    for weights that are damaged, of another family, or contain foreign objects, BAD_REQUEST for a
    device that is not available.
    """
    device = torch.device(device)
    if device.type == 'cuda' and not torch.cuda.is_available():
        raise bad_request('No CUDA device is available; choose the device cpu.')
    if dtype is None:
        dtype = torch.float16 if device.type == 'cuda' else torch.float32
    path = store.find(source)
    base = path if path.is_dir() else path.parent
    words = Path(tokenizer) if tokenizer is not None else base / 'tokenizer'
    # Before the networks, which take long.
    made = load_tokenizer(words)
    checkpoint = open_weights(path, ema=ema)
    model = stable_diffusion_parts(checkpoint, ema=ema)
    known = int(model.configs['text_encoder'].get('vocab_size', 0))
    if len(made) > known:
        corrupt(
            words, f'has {len(made)} tokens, and the text encoder knows {known}; it is the '
            'tokenizer of another model')
    return StableDiffusionComponents(
        **{part: networks.network(part, model.configs[part], model.parts[part], dtype, device)
           for part in PARTS},
        tokenizer=made, scheduler=networks.scheduler(model.configs['scheduler']))


def stable_diffusion_parts(checkpoint: Checkpoint, *, ema: bool = True) -> Converted:
    """
    Return the checked parts of a model, by the folders of diffusers.

    Raises ``LiftError`` (WEIGHTS_CORRUPT) for another kind of weights, and for tensors that are
    missing, superfluous, of a wrong shape, or not finite.
    """
    path = checkpoint.path
    with corrupt_on_error(path):
        if checkpoint.kind is Kind.STABLE_DIFFUSION:
            model = convert(path, checkpoint.parts['ldm'], ema=ema)
        elif checkpoint.kind is Kind.STABLE_DIFFUSION_FOLDER:
            model = _of_folder(checkpoint)
        else:
            corrupt(path, f'holds {checkpoint.kind.value} and not Stable Diffusion')
        _check_fit(path, model)
    for tensors in model.parts.values():
        check_values(path, tensors)
    return model


def load_tokenizer(folder: Path) -> Any:
    """
    Return the ``CLIPTokenizer`` of a folder with ``vocab.json`` and ``merges.txt``.

    Raises ``LiftError``: WEIGHTS_MISSING without them, WEIGHTS_CORRUPT if they are damaged.
    """
    from transformers import CLIPTokenizer

    missing = [name for name in _TOKENIZER_FILES if not (folder / name).is_file()]
    if missing:
        raise weights_missing(
            f'{folder} has no {" and no ".join(missing)}. Original checkpoints have no tokenizer: '
            'copy the folder tokenizer/ of any diffusers folder of Stable Diffusion 1 there, or '
            'name one.')
    with corrupt_on_error(folder):
        try:
            tokenizer = CLIPTokenizer.from_pretrained(str(folder), local_files_only=True)
            tokenizer('a view', add_special_tokens=False)
        except MemoryError:
            raise
        # The library reads JSON and text; its errors for damaged files are of many types.
        except Exception as error:
            corrupt(folder, f'has a tokenizer that cannot be read ({type(error).__name__})')
    return tokenizer


def _of_folder(checkpoint: Checkpoint) -> Converted:
    parts, notes = {}, []
    configs = dict(checkpoint.configs)
    for part in PARTS:
        parts[part] = with_current_names(part, checkpoint.parts[part])
        networks.check_tensors(
            checkpoint.path, part, parts[part],
            networks.expected_shapes(part, configs[part], checkpoint.path))
    if 'scheduler' not in configs:
        configs['scheduler'] = dict(SCHEDULER)
        notes.append('The folder has no scheduler/; the published noise schedule is taken.')
    return Converted(parts, configs, notes)


def _check_fit(path: Path, model: Converted) -> None:
    """Raise ``LiftError`` unless the networks take what the others return."""
    width = model.parts['text_encoder']['text_model.final_layer_norm.weight'].shape[0]
    unet, vae = model.configs['unet'], model.configs['vae']
    token, latent = unet.get('cross_attention_dim'), vae.get('latent_channels', 4)
    channels = unet.get('in_channels', 4)
    if token != width:
        corrupt(
            path, f'does not fit together: its UNet takes tokens of {token} numbers, and its text '
            f'encoder returns {width}')
    if channels != latent:
        corrupt(
            path, f'has a UNet of {channels} channels, and text-to-image models have {latent}; '
            'it is one for inpainting or depth, which is not supported')
