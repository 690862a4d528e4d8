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
Checkpoints of radiance fields: safetensors with the description of the field in the metadata.

A file has the parameters and buffers by their names; with a density grid its buffers, too, under
``occupancy.``.
"""

from __future__ import annotations

from dataclasses import dataclass
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lift3d_ros.errors import bad_request
from lift3d_ros.errors import LiftError
from lift3d_ros.errors import weights_corrupt
from lift3d_ros.fields.density_grid import DensityGrid
from lift3d_ros.fields.grid_levels import grid_levels
from lift3d_ros.fields.grid_levels import HashGridSettings
from lift3d_ros.fields.radiance import RadianceField
from lift3d_ros.fields.radiance_fields import EncodedField
from lift3d_ros.fields.radiance_fields import VoxelField
from lift3d_ros.runtime.files import read_regular
from lift3d_ros.runtime.files import write_whole

#: Names of the metadata entries, and the version of their contents.
DESCRIPTION, KIND, VERSION = 'field', 'lift3d_radiance_field', '1'

#: The largest file that is read: 100^3 voxels with five values take 20 MB.
MAX_BYTES = 2**30

#: Prefix of the buffers of a density grid.
OCCUPANCY = 'occupancy.'


@dataclass(frozen=True, eq=False)
class FieldCheckpoint:
    """
    The contents of a file.

    - ``field``; ``occupancy``: the buffers of its density grid, for ``load_state_dict``, or None.
    - ``notes``: the JSON values that were stored with it.
    """

    field: RadianceField
    occupancy: dict[str, Tensor] | None
    notes: dict[str, Any]


def make_field(description: dict[str, Any]) -> RadianceField:
    """
    Return a field with initial values from the result of ``RadianceField.describe``.

    Raises ``LiftError`` (BAD_REQUEST) for an unknown kind or settings out of range.
    """
    kind = description.get('kind')
    if kind == VoxelField.kind:
        return VoxelField.from_description(description)
    if kind == EncodedField.kind:
        return EncodedField.from_description(description)
    raise bad_request(
        f'The kind of field {kind!r} is unknown; known are {VoxelField.kind} and '
        f'{EncodedField.kind}.'
    )


def save_field(
    path: Path,
    field: RadianceField,
    occupancy: DensityGrid | None = None,
    notes: dict[str, Any] | None = None,
) -> None:
    """
    Write a field atomically.

    ``notes`` are JSON values of the caller, such as the step. Raises ``OSError``, and
    ``LiftError`` (BAD_REQUEST) for a field whose values are not finite.
    """
    from safetensors.torch import save

    tensors = {name: value.detach().cpu() for name, value in field.state_dict().items()}
    if occupancy is not None:
        for name, value in occupancy.state_dict().items():
            tensors[OCCUPANCY + name] = value.cpu()
    for name, value in tensors.items():
        if not bool(torch.isfinite(value).all()):
            raise bad_request(
                f'The field is not stored: {name} has values that are not finite. Lower the '
                'learning rate.'
            )
    metadata = {
        'format': 'pt',
        'kind': KIND,
        'version': VERSION,
        DESCRIPTION: json.dumps(field.describe()),
        'notes': json.dumps(notes or {}),
    }
    data = save({name: value.contiguous() for name, value in tensors.items()}, metadata)
    write_whole(path, data)


def load_field(path: Path) -> FieldCheckpoint:
    """
    Read a field.

    Raises ``OSError``, and ``LiftError``: BAD_REQUEST for a path that is not a regular file,
    WEIGHTS_CORRUPT for a file that is not such a checkpoint, or whose values do not fit its
    description or are not finite.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    data = read_regular(path, MAX_BYTES)
    try:
        tensors = load(data)
        # The header was checked by the package.
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], 'little')])
        metadata = header.get('__metadata__', {})
        if (metadata.get('kind'), metadata.get('version')) != (KIND, VERSION):
            raise ValueError('it is of another kind or version')
        notes = json.loads(metadata['notes'])
        description = json.loads(metadata[DESCRIPTION])
        # Before memory is taken for what the description claims.
        if _table_size(description) > sum(value.numel() for value in tensors.values()):
            raise ValueError('its values are fewer than its description')
        field = make_field(description)
        occupancy = {
            name.removeprefix(OCCUPANCY): tensors.pop(name)
            for name in list(tensors) if name.startswith(OCCUPANCY)
        }
        for name, value in tensors.items():
            if not bool(torch.isfinite(value).all()):
                raise ValueError(f'{name} has values that are not finite')
        field.load_state_dict(tensors)
    except (
        SafetensorError, LiftError, ValueError, KeyError, TypeError, AttributeError, RuntimeError
    ) as error:
        raise weights_corrupt(
            f'{path} is no checkpoint of a radiance field: {error}'
        ) from error
    return FieldCheckpoint(field, occupancy or None, notes)


def _table_size(description: dict[str, Any]) -> int:
    """Return the number of values in the grids of a described field, without making them."""
    if description['kind'] == VoxelField.kind:
        settings = description['settings']
        return int((1 + settings['channels']) * settings['resolution'] ** 3)
    encoding = dict(description['encoding'])
    kind = encoding.pop('kind')
    if kind == 'hash':
        last = grid_levels(HashGridSettings(**encoding))[-1]
        return (last.offset + last.entries) * int(encoding['features'])
    cells = 3 * encoding['resolution'] ** 2 if kind == 'triplane' else encoding['resolution'] ** 3
    return int(cells * encoding['features'])
