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
Embeddings of learned tokens, the result of textual inversion.

The published file is ``learned_embeds.bin`` or ``.safetensors``: a dictionary from the token to
its embedding, such as ``{'<mug>': tensor[768]}`` (Gal et al., 2023; diffusers). A token of several
vectors has one row for each.
"""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import Tensor

from lift3d_ros.errors import bad_request
from lift3d_ros.errors import weights_missing
from lift3d_ros.runtime.files import make_folder
from lift3d_ros.weights.formats.checkpoint import read_tensors
from lift3d_ros.weights.formats.safetensors_files import write_safetensors
from lift3d_ros.weights.integrity import corrupt
from lift3d_ros.weights.integrity import corrupt_on_error
from lift3d_ros.weights.integrity import printable
from lift3d_ros.weights.tensors import tensor_error
from lift3d_ros.weights.tensors import value_error

#: More vectors than a prompt has room for.
_MAX_VECTORS = 75


def read_learned_embeddings(
    path: str | os.PathLike[str], width: int | None = None
) -> dict[str, Tensor]:
    """
    Return embeddings float32 (n, width) by their tokens, from torch or safetensors.

    Only tensors are made from the file; nothing in it is executed. Raises ``LiftError``:
    WEIGHTS_MISSING without a file, WEIGHTS_CORRUPT for one that is damaged or holds something
    else, BAD_REQUEST for embeddings of another model, whose width differs from ``width``.
    """
    file = Path(path)
    if not file.is_file():
        raise weights_missing(f'There is no file {printable(str(file))}.')
    found = {}
    with corrupt_on_error(file):
        content = read_tensors(file)
        for token, value in content.items():
            problem = tensor_error(value) or value_error(value)
            if problem:
                corrupt(file, f'{str(token)[:100]} {problem}')
            rows = value.reshape(1, -1) if value.ndim == 1 else value
            if not token.strip() or rows.ndim != 2 or not value.is_floating_point() or not (
                    1 <= len(rows) <= _MAX_VECTORS) or not rows.shape[1]:
                corrupt(
                    file, f'{token[:100]} has the shape {list(value.shape)}; a token has an '
                    'embedding (width,) or (n, width)')
            found[token] = rows.to(torch.float32, copy=True)
        if not found:
            corrupt(file, 'holds no embedding')
    for token, rows in found.items():
        if width is not None and rows.shape[1] != width:
            raise bad_request(
                f'The token {printable(token)} has {rows.shape[1]} numbers, and this model takes '
                f'{width}; it was learned with another model.')
    return found


def write_learned_embeddings(
    path: str | os.PathLike[str], embeddings: dict[str, Tensor]
) -> None:
    """
    Write embeddings (width,) or (n, width) by their tokens, as diffusers reads them.

    A path that ends in ``.safetensors`` has that format, another one that of torch.
    """
    file = Path(path)
    make_folder(file.parent)
    plain = {
        token: rows.detach().float().cpu().squeeze(0) if rows.ndim == 2 and len(rows) == 1
        else rows.detach().float().cpu() for token, rows in embeddings.items()}
    if file.suffix == '.safetensors':
        write_safetensors(file, plain)
    else:
        torch.save({token: rows.contiguous().clone() for token, rows in plain.items()}, file)
