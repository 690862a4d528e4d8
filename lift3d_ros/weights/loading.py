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

"""Load models of the Zero-1-to-3 family, and the networks of One-2-3-45, from any format."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lift3d_ros.errors import bad_request
from lift3d_ros.geometry import POSE_DIMS
from lift3d_ros.weights import networks
from lift3d_ros.weights import store
from lift3d_ros.weights.components import Zero123Components
from lift3d_ros.weights.formats.checkpoint import Checkpoint
from lift3d_ros.weights.formats.checkpoint import Kind
from lift3d_ros.weights.formats.checkpoint import read
from lift3d_ros.weights.formats.checkpoint import Tensors
from lift3d_ros.weights.formats.ldm import convert
from lift3d_ros.weights.formats.ldm import Converted
from lift3d_ros.weights.formats.ldm import projection_config
from lift3d_ros.weights.formats.ldm import SCHEDULER
from lift3d_ros.weights.formats.tables import check_networks
from lift3d_ros.weights.integrity import check_published_digests
from lift3d_ros.weights.integrity import corrupt
from lift3d_ros.weights.integrity import corrupt_on_error
from lift3d_ros.weights.tensors import check_memory
from lift3d_ros.weights.tensors import check_values

#: The parts of a model, and the folders of layout A.
PARTS = ('unet', 'vae', 'image_encoder', 'cc_projection')

#: Names of the attention layers of the autoencoder in diffusers before 0.18, and today.
_OLD_ATTENTION = {
    '.query.': '.to_q.', '.key.': '.to_k.', '.value.': '.to_v.', '.proj_attn.': '.to_out.0.'}


def load_zero123(
    source: str | os.PathLike[str],
    *,
    family: str | None = None,
    ema: bool = True,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = 'cpu',
) -> Zero123Components:
    """
    Load a model of the Zero-1-to-3 family, ready for inference.

    - ``source``: a name of ``lift3d weights list``, an original LDM checkpoint (torch or
      safetensors), or a diffusers folder of layout A or B.
    - ``family``: a key of ``POSE_DIMS``; needed for Stable-Zero123 given by a path, whose tensors
      do not differ from those of Zero-1-to-3. Otherwise the name or the content determines it.
    - ``ema``: use the moving average of the UNet's weights if the source has both.

    Raises ``LiftError``: WEIGHTS_MISSING if there are none, WEIGHTS_CORRUPT for weights that are
    damaged, of another family, or contain foreign objects (which are not executed).
    """
    path = store.find(source)
    checkpoint = open_weights(path, ema=ema)
    model = zero123_parts(checkpoint, ema=ema)
    recorded = None
    if path.is_dir():
        recorded = (store.read_manifest(path) or {}).get('family')
    chosen = checked_family(checkpoint, family or recorded)
    check_channels(checkpoint, model, chosen)
    scheduler = networks.scheduler(model.configs['scheduler'])
    loaded: dict[str, Any] = {
        part: networks.network(part, model.configs[part], model.parts[part], dtype, device)
        for part in PARTS}
    return Zero123Components(**loaded, scheduler=scheduler, family=chosen)


def load_state_dicts_one2345(source: str | os.PathLike[str]) -> dict[str, dict[str, Tensor]]:
    """
    Return the four networks of One-2-3-45 as checked state dicts, by their published names.

    ``source``: ``one2345``, or a path of ``ckpt_215000.pth`` or of its imported folder. Raises
    ``LiftError`` as ``load_zero123`` does.
    """
    checkpoint = open_weights(store.find(source))
    if checkpoint.kind is not Kind.ONE2345:
        corrupt(checkpoint.path, f'holds {checkpoint.kind.value} and not {Kind.ONE2345.value}')
    check_networks(checkpoint)
    return {name: {key: tensor.clone() for key, tensor in tensors.items()}
            for name, tensors in checkpoint.parts.items()}


def open_weights(path: Path, *, ema: bool = True) -> Checkpoint:
    """Compare weights with their digests, if there are any, and read them."""
    if path.is_dir():
        store.check(path, digests=True)
    checkpoint = read(path, ema=ema)
    check_published_digests(checkpoint.files)
    check_memory(path, checkpoint.files, checkpoint.parts)
    return checkpoint


def zero123_parts(checkpoint: Checkpoint, *, ema: bool = True) -> Converted:
    """
    Return the checked parts of a model, in layout A for every source format.

    Raises ``LiftError`` (WEIGHTS_CORRUPT) for another kind of weights, and for tensors that are
    missing, superfluous, of a wrong shape, or not finite.
    """
    with corrupt_on_error(checkpoint.path):
        if checkpoint.kind is Kind.LDM:
            model = convert(checkpoint.path, checkpoint.parts['ldm'], ema=ema)
        elif checkpoint.kind in (Kind.LAYOUT_A, Kind.LAYOUT_B):
            model = _from_layout(checkpoint)
        else:
            corrupt(
                checkpoint.path, f'holds {checkpoint.kind.value} and no model of the Zero-1-to-3 '
                'family')
        _check_tokens(checkpoint, model)
    for tensors in model.parts.values():
        check_values(checkpoint.path, tensors)
    return model


def _check_tokens(checkpoint: Checkpoint, model: Converted) -> None:
    token = model.parts['cc_projection']['projection.bias'].shape[0]
    for part, setting in (('unet', 'cross_attention_dim'), ('image_encoder', 'projection_dim')):
        width = model.configs[part].get(setting, token)
        if width != token:
            corrupt(
                checkpoint.path, f'does not fit together: {part} has tokens of {width} numbers '
                f'and the pose projection of {token}')


def checked_family(checkpoint: Checkpoint, named: str | None) -> str:
    """Return the family; raises ``LiftError`` if the content contradicts the named one."""
    if named is None:
        return checkpoint.family
    if named not in POSE_DIMS:
        raise bad_request(
            f'There is no family {named!r} of pose vectors; known are {", ".join(POSE_DIMS)}.')
    there = POSE_DIMS[checkpoint.family]
    if POSE_DIMS[named] != there:
        corrupt(
            checkpoint.path, f'is of the family {checkpoint.family}, whose poses have {there} '
            f'numbers; those of {named} have {POSE_DIMS[named]}')
    return named


def check_channels(checkpoint: Checkpoint, model: Converted, family: str) -> None:
    """Raise ``LiftError`` unless the UNet takes a noisy and a conditioning latent."""
    channels = model.configs['unet'].get('in_channels')
    latent = model.configs['vae'].get('latent_channels', 4)
    # The packaged weights can have more conditioning images.
    if family != 'small' and channels != 2 * latent:
        corrupt(
            checkpoint.path, f'has a UNet of {channels} channels; the Zero-1-to-3 family has '
            f'{2 * latent}: the noisy latent and that of the input image')


def _from_layout(checkpoint: Checkpoint) -> Converted:
    parts: dict[str, dict[str, Tensor]] = {}
    configs: dict[str, dict[str, Any]] = {}
    notes = []
    pose = 'cc_projection' if checkpoint.kind is Kind.LAYOUT_A else 'clip_camera_projection'
    for part in PARTS:
        folder = pose if part == 'cc_projection' else part
        parts[part] = with_current_names(part, checkpoint.parts[folder])
        configs[part] = checkpoint.configs[folder]
    weight = parts['cc_projection']['projection.weight']
    # The settings differ between layouts; the shape determines them.
    configs['cc_projection'] = projection_config(weight)
    for part in PARTS:
        networks.check_tensors(
            checkpoint.path, part, parts[part],
            networks.expected_shapes(part, configs[part], checkpoint.path))
    if 'scheduler' in checkpoint.configs:
        configs['scheduler'] = checkpoint.configs['scheduler']
    else:
        configs['scheduler'] = dict(SCHEDULER)
        notes.append('The folder has no scheduler/; the published noise schedule is taken.')
    return Converted(parts, configs, notes)


def with_current_names(part: str, tensors: Tensors) -> dict[str, Tensor]:
    """Return the tensors of a part of a diffusers folder under their current names."""
    renamed = {}
    for name, tensor in tensors.items():
        if part == 'cc_projection' and name.startswith('proj.'):
            name = name.replace('proj.', 'projection.', 1)
        if part == 'vae' and '.attentions.' in name:
            for old, new in _OLD_ATTENTION.items():
                name = name.replace(old, new)
        # Older versions of transformers stored the position indices.
        if part in ('image_encoder', 'text_encoder') and name.endswith('.position_ids'):
            continue
        # Newer ones have the text transformer without its prefix.
        if part == 'text_encoder' and not name.startswith('text_model.'):
            name = f'text_model.{name}'
        renamed[name] = tensor
    return renamed
