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

"""Valid inputs whose files are damaged, and their readers."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
import json
from pathlib import Path
import shutil
from typing import Any
import zipfile

import numpy as np

from lift3d_ros.bags.bag import Bag
from lift3d_ros.errors import LiftError
from lift3d_ros.errors import weights_missing
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry.frame import Frame
from lift3d_ros.io.scene import read_objects
from lift3d_ros.io.scene import read_scene
from lift3d_ros.io.scene import write_scene
from lift3d_ros.synthetic.damage import damaged_bytes
from lift3d_ros.synthetic.damage import damaged_value
from lift3d_ros.synthetic.demo_scene import DEMO_SCENE
from lift3d_ros.synthetic.table_bag import TableBagSettings
from lift3d_ros.synthetic.table_bag import write_table_bag
from lift3d_ros.weights import store

#: Pixels of the packaged scene that are left out: small files are read in a millisecond.
_STEP = 8

#: Largest file of weights that is damaged: whole networks would take seconds a case.
_MAX_WEIGHTS_BYTES = 2_000_000

#: Checkpoints in the formats of publications: an archive and a pickle of torch, and safetensors.
CHECKPOINTS = ('archive.ckpt', 'legacy.bin', 'tensors.safetensors')

#: Lengths of the header of a safetensors file, and sizes of a record that inflates.
_HEADER_LENGTHS = (0, 1, 2**31, 2**32, 2**63 - 1, 2**63, 2**64 - 1)
_INFLATED_BYTES = 2**24


class Target:
    """A kind of input: a good one on disk, its files that are damaged, and its reader."""

    def __init__(
        self, name: str, folder: Path, files: Sequence[str], read: Callable[[Path], Any]
    ) -> None:
        """Take a good input in ``folder``; ``read`` returns what can be compared."""
        self.name, self.folder, self._read = name, folder, read
        self.files = {name: (folder / name).read_bytes() for name in files}
        self.good = read(folder)

    def damage(self, rng: np.random.Generator) -> str:
        """Damage one file on disk; return what was done."""
        name = list(self.files)[int(rng.integers(0, len(self.files)))]
        path, data = self.folder / name, self.files[name]
        kind = rng.random()
        if kind < 0.03:
            path.unlink()
            return f'{name} removed'
        if kind < 0.06:
            path.unlink()
            path.mkdir()
            return f'{name} is a folder'
        if name.endswith('.json') and kind < 0.7:
            path.write_text(json.dumps(damaged_value(json.loads(data), rng)))
            return f'{name}, values'
        if name.endswith('.safetensors') and kind < 0.4:
            path.write_bytes(_damaged_safetensors(data, rng))
            return f'{name}, header'
        if name.endswith('.ckpt') and kind < 0.1:
            _inflate(path, rng)
            return f'{name}, a record that inflates'
        path.write_bytes(damaged_bytes(data, rng))
        return f'{name}, bytes'

    def read(self) -> Any:
        """Read the input on disk."""
        return self._read(self.folder)

    def mend(self) -> None:
        """Put the good files back."""
        for name, data in self.files.items():
            path = self.folder / name
            if path.is_dir():
                path.rmdir()
            path.write_bytes(data)


def make_targets(root: Path) -> list[Target]:
    """Write the good inputs into folders of ``root``; return them."""
    frame, mask = read_scene(DEMO_SCENE)
    assert frame.depth is not None
    height, width = mask[::_STEP, ::_STEP].shape
    K = frame.camera.K
    K[:2] /= _STEP
    small = Frame(
        np.ascontiguousarray(frame.image[::_STEP, ::_STEP]), Camera.from_matrix(width, height, K),
        np.ascontiguousarray(frame.depth[::_STEP, ::_STEP]), frame.gravity)
    write_scene(root / 'scene', small, mask[::_STEP, ::_STEP])
    names = sorted(path.name for path in (root / 'scene').iterdir() if path.is_file())
    bag = root / 'bag'
    bag.mkdir()
    settings = TableBagSettings(duration=0.3, width=160)
    write_table_bag(bag / 'table.mcap', settings)
    write_table_bag(root / 'sqlite', replace(settings, storage='sqlite3'))
    tables = sorted(path.name for path in (root / 'sqlite').iterdir())
    checkpoints = root / 'checkpoints'
    checkpoints.mkdir()
    _write_checkpoints(checkpoints)
    weights = root / 'weights'
    shutil.copytree(store.find('small'), weights)
    kept = [
        str(path.relative_to(weights)) for path in sorted(weights.rglob('*'))
        if path.is_file() and path.stat().st_size <= _MAX_WEIGHTS_BYTES]
    return [
        Target('scene', root / 'scene', names, _read_scene),
        Target('bag', bag, ['table.mcap'], lambda folder: _read_bag(folder / 'table.mcap')),
        Target('weights', weights, kept, _read_weights),
        Target('sqlite', root / 'sqlite', tables, _read_bag),
        Target('checkpoints', checkpoints, CHECKPOINTS, _read_checkpoints),
    ]


def _read_scene(folder: Path) -> tuple[int, ...]:
    frame, mask = read_scene(folder)
    with suppress(LiftError):
        read_objects(folder)
    return (*frame.image.shape, int(mask.sum()))


def _read_bag(path: Path) -> int:
    count = 0
    with Bag(path) as bag:
        topics = list(bag.topics)
        for entry in bag.entries(topics):
            count += bag.read(entry) is not None
    return count


def _read_weights(folder: Path) -> int:
    store.check(folder, digests=True)
    return store.size_of(folder)


def _write_checkpoints(folder: Path) -> None:
    import torch

    from lift3d_ros.weights.formats.safetensors_files import write_safetensors

    generator = torch.Generator().manual_seed(0)
    tensors = {
        f'model.{k}.weight': torch.randn(16, 8, generator=generator) for k in range(8)}
    archive, legacy, safe = (folder / name for name in CHECKPOINTS)
    torch.save({'state_dict': tensors, 'global_step': 7}, archive)
    torch.save({'state_dict': tensors}, legacy, _use_new_zipfile_serialization=False)
    write_safetensors(safe, tensors)


def _read_checkpoints(folder: Path) -> float:
    """Return the sum of all values; raises ``LiftError``."""
    from lift3d_ros.weights.formats.checkpoint import read_tensors

    try:
        return sum(_sum_of(read_tensors(folder / name)) for name in CHECKPOINTS)
    except FileNotFoundError as error:
        # As ``checkpoint.read``, which accepts published networks only.
        raise weights_missing(f'{error.filename} cannot be read.') from error


def _sum_of(content: Any) -> float:
    if isinstance(content, dict):
        return sum(_sum_of(value) for value in content.values())
    return float(content.double().sum()) if hasattr(content, 'double') else 0.0


def _damaged_safetensors(data: bytes, rng: np.random.Generator) -> bytes:
    """Return a file with another length of the header, or other values in it."""
    length = int.from_bytes(data[:8], 'little')
    if rng.random() < 0.3:
        chosen = _HEADER_LENGTHS[int(rng.integers(0, len(_HEADER_LENGTHS)))]
        return chosen.to_bytes(8, 'little') + data[8:]
    header = json.dumps(damaged_value(json.loads(data[8:8 + length]), rng)).encode()
    return len(header).to_bytes(8, 'little') + header + data[8 + length:]


def _inflate(path: Path, rng: np.random.Generator) -> None:
    """Replace one record of an archive by a compressed one, a thousand times larger inside."""
    with zipfile.ZipFile(path) as archive:
        records = {info.filename: archive.read(info) for info in archive.infolist()}
    chosen = list(records)[int(rng.integers(0, len(records)))]
    with zipfile.ZipFile(path, 'w') as archive:
        for name, content in records.items():
            if name == chosen:
                archive.writestr(name, bytes(_INFLATED_BYTES), zipfile.ZIP_DEFLATED)
            else:
                archive.writestr(name, content)
