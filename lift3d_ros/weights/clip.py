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
"""Load the image encoder of CLIP from a local transformers folder."""

from __future__ import annotations

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
from lift3d_ros.weights.tensors import check_values

_BEGINNINGS = ('vision_model.', 'visual_projection.')


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
    config, tensors = vision_tower(checkpoint)
    return networks.network('image_encoder', config, tensors, dtype, device)


def vision_tower(checkpoint: Checkpoint) -> tuple[dict[str, Any], Tensors]:
    """
    Return settings and checked tensors of the visual tower with its projection.

    Raises ``LiftError`` (WEIGHTS_CORRUPT) for another kind of weights, and for tensors that are
    missing, of a wrong shape, or not finite.
    """
    path = Path(checkpoint.path)
    if checkpoint.kind is not Kind.CLIP:
        corrupt(path, f'holds {checkpoint.kind.value} and not {Kind.CLIP.value}')
    with corrupt_on_error(path):
        whole = checkpoint.configs['clip']
        config = {**whole.get('vision_config', whole)}
        config['projection_dim'] = whole.get('projection_dim', config.get('projection_dim', 512))
        config['architectures'] = ['CLIPVisionModelWithProjection']
        config.pop('_class_name', None)
        tensors = {
            name: tensor for name, tensor in checkpoint.parts['clip'].items()
            if name.startswith(_BEGINNINGS) and not name.endswith('.position_ids')}
        shapes = networks.expected_shapes('image_encoder', config, path)
        networks.check_tensors(path, 'CLIP', tensors, shapes)
    check_values(path, tensors)
    return config, tensors
