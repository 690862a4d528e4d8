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
Checkpoints of a run: one safetensors file with its tensors, its step, and what it belongs to.

Nothing in it is executed when it is read.
"""

from __future__ import annotations

from collections.abc import Mapping
import json
import os
from pathlib import Path

from safetensors import safe_open
from safetensors import SafetensorError
from safetensors.torch import save
import torch
from torch import Tensor

from lift3d_ros.errors import bad_request
from lift3d_ros.runtime.files import make_folder
from lift3d_ros.runtime.files import regular_file
from lift3d_ros.runtime.files import write_error
from lift3d_ros.runtime.files import write_whole

#: Layout of the file; another one is refused.
_VERSION = '1'


#: Tensors by the part of the run that they belong to, and their name in it.
Parts = Mapping[str, Mapping[str, Tensor]]


def write_checkpoint(path: Path, step: int, parts: Parts, facts: Mapping[str, str]) -> None:
    """
    Write a checkpoint; it replaces the previous one when it is complete.

    ``facts`` are what must be equal on resuming: the object, the settings. Raises
    ``LiftError(BAD_REQUEST)`` if it cannot be written.
    """
    metadata = {'version': _VERSION, 'step': str(step), 'facts': json.dumps(dict(facts))}
    data = save(
        {
            f'{part}/{name}': value.detach().contiguous().cpu().clone()
            for part, tensors in parts.items() for name, value in tensors.items()
        },
        metadata)
    make_folder(path.parent)
    try:
        write_whole(path, data)
    except OSError as error:
        raise write_error(error) from error


def read_checkpoint(
    path: Path, facts: Mapping[str, str]
) -> tuple[int, dict[str, dict[str, Tensor]]]:
    """
    Return the step and the parts of a checkpoint, on the CPU.

    Raises ``LiftError(BAD_REQUEST)`` for a file that is no checkpoint, is damaged, or belongs to
    other ``facts``.
    """
    try:
        regular_file(path)
        with safe_open(os.fspath(path), 'pt') as file:
            metadata = file.metadata() or {}
            if metadata.get('version') != _VERSION:
                raise bad_request(
                    f'{path} is no checkpoint of this version; start without resuming.')
            own = json.loads(metadata['facts'])
            step = int(metadata['step'])
            for name, value in facts.items():
                if own.get(name) != value:
                    raise bad_request(
                        f'The checkpoint {path} belongs to another {name}; start without '
                        'resuming, or give the run that wrote it.')
            tensors = {name: file.get_tensor(name) for name in file.keys()}   # noqa: SIM118
    except OSError as error:
        raise bad_request(
            f'The checkpoint {path} cannot be read ({error.strerror or error}).') from error
    except (SafetensorError, KeyError, ValueError, AttributeError, RuntimeError) as error:
        raise bad_request(f'The checkpoint {path} is damaged: {error}.') from error
    if any(v.is_floating_point() and not torch.isfinite(v).all() for v in tensors.values()):
        raise bad_request(f'The checkpoint {path} has numbers that are not finite.')
    parts: dict[str, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        part, _, rest = name.partition('/')
        parts.setdefault(part, {})[rest] = value
    return step, parts


def check_shapes(own: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> None:
    """Raise ``ValueError`` unless both have tensors of the same names and shapes."""
    if {n: v.shape for n, v in own.items()} != {n: v.shape for n, v in other.items()}:
        raise ValueError('the tensors have other names or shapes')
