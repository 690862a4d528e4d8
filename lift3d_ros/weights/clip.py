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
"""Load CLIP, or its image encoder alone, from a local transformers folder."""

from __future__ import annotations

from dataclasses import dataclass
import os
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lift3d_ros.weights import networks
from lift3d_ros.weights import store
from lift3d_ros.weights.formats.checkpoint import Checkpoint
from lift3d_ros.weights.formats.checkpoint import Kind
from lift3d_ros.weights.formats.checkpoint import Tensors
from lift3d_ros.weights.integrity import corrupt
from lift3d_ros.weights.integrity import corrupt_on_error
from lift3d_ros.weights.loading import open_weights
from lift3d_ros.weights.stable_diffusion import load_tokenizer
from lift3d_ros.weights.tensors import check_values

#: Of the tensors of each tower, by the part of ``networks``.
_BEGINNINGS = {
    'image_encoder': ('vision_model.', 'visual_projection.'),
    'text_projection': ('text_model.', 'text_projection.'),
}
#: The entry of config.json and the class of each tower.
_TOWERS = {
    'image_encoder': ('vision_config', 'CLIPVisionModelWithProjection'),
    'text_projection': ('text_config', 'CLIPTextModelWithProjection'),
}


@dataclass(frozen=True)
class ClipTowers:
    """
    Both towers of a CLIP, whose embeddings are comparable.

    ``image`` is a ``CLIPVisionModelWithProjection``, ``text`` a ``CLIPTextModelWithProjection``,
    ``tokenizer`` a ``CLIPTokenizer``.
    """

    image: nn.Module
    text: nn.Module
    tokenizer: Any


def load_clip(
    source: str | os.PathLike[str],
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = 'cpu',
) -> nn.Module:
    """
    Return the ``CLIPVisionModelWithProjection`` of a CLIP model.

    - ``source``: a name of ``lift3d weights list``, or a folder with ``config.json`` and
      ``model.safetensors`` or ``pytorch_model.bin``, of a whole CLIP or of its visual tower.
      ``diffusion.conditioning.ClipEncoder`` makes it an image encoder.

    Raises ``LiftError``: WEIGHTS_MISSING if there is none, WEIGHTS_CORRUPT for weights that are
    damaged, of another family, or contain foreign objects.
    """
    checkpoint = open_weights(store.find(source))
    config, tensors = tower(checkpoint, 'image_encoder')
    return networks.network('image_encoder', config, tensors, dtype, device)


def load_clip_towers(
    source: str | os.PathLike[str], *, device: torch.device | str = 'cpu'
) -> ClipTowers:
    """
    Return both towers of a whole CLIP model, float32.

    ``source`` is a folder as for ``load_clip`` that also has ``vocab.json`` and ``merges.txt``.
    Raises ``LiftError``: WEIGHTS_MISSING without the files, WEIGHTS_CORRUPT for damaged weights,
    those of another family, and a model of one tower.
    """
    path = store.find(source)
    tokenizer = load_tokenizer(path if path.is_dir() else path.parent)
    checkpoint = open_weights(path)
    image, text = (
        networks.network(part, *tower(checkpoint, part), torch.float32, device)
        for part in ('image_encoder', 'text_projection'))
    return ClipTowers(image, text, tokenizer)


def tower(checkpoint: Checkpoint, part: str) -> tuple[dict[str, Any], Tensors]:
    """
    Return settings and checked tensors of a tower with its projection.

    ``part`` is ``image_encoder`` or ``text_projection``. Raises ``LiftError`` (WEIGHTS_CORRUPT)
    for another kind of weights, and for tensors that are missing, of a wrong shape, or not finite.
    """
    path = Path(checkpoint.path)
    if checkpoint.kind is not Kind.CLIP:
        corrupt(path, f'holds {checkpoint.kind.value} and not {Kind.CLIP.value}')
    entry, kind = _TOWERS[part]
    with corrupt_on_error(path):
        whole = checkpoint.configs['clip']
        if part == 'text_projection' and entry not in whole:
            corrupt(path, 'has no text tower; give a whole CLIP model')
        config = {**whole.get(entry, whole)}
        config['projection_dim'] = whole.get('projection_dim', config.get('projection_dim', 512))
        config['architectures'] = [kind]
        config.pop('_class_name', None)
        tensors = {
            name: tensor for name, tensor in checkpoint.parts['clip'].items()
            if name.startswith(_BEGINNINGS[part]) and not name.endswith('.position_ids')}
        shapes = networks.expected_shapes(part, config, path)
        networks.check_tensors(path, 'CLIP', tensors, shapes)
    check_values(path, tensors)
    return config, tensors
