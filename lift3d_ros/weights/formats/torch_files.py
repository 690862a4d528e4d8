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
Read the files of ``torch.save``: zip archives, and the pickles of torch before 1.6.

Every record of an archive has a CRC-32, which is compared before the record is used; torch itself
does not compare it. The older pickles have no checksum. All sizes are compared with the size of
the file before memory is allocated.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import io
import os
from pathlib import Path
import struct
from typing import Any
from typing import BinaryIO
from typing import cast
import zipfile

import numpy as np
import torch
from torch import Tensor

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.runtime.files import open_regular
from lift3d_ros.weights.formats.unpickling import Damaged
from lift3d_ros.weights.formats.unpickling import Foreign
from lift3d_ros.weights.formats.unpickling import Storage
from lift3d_ros.weights.formats.unpickling import StorageType
from lift3d_ros.weights.formats.unpickling import TensorUnpickler
from lift3d_ros.weights.integrity import corrupt
from lift3d_ros.weights.integrity import first_line

#: The pickle of the largest published checkpoint has about 1 MB. Each byte of a pickle can need
#: up to 64 bytes of memory, as an empty list.
_MAX_PICKLE_BYTES = 4 * 2**20
#: A record has about 70 bytes in the directory of an archive, and needs 1 kB of memory.
_MAX_DIRECTORY_BYTES = 8 * 2**20

_BLOCK_BYTES = 2**22

#: The end record of a zip archive without a comment, and those of one with 64-bit sizes.
_END = struct.Struct('<4s4H2LH')
_LOCATOR = struct.Struct('<4sLQL')
_END_64 = struct.Struct('<4sQ2H2L4Q')
#: In the local header of a record, the lengths of its name and of its extra field.
_LENGTHS_OFFSET = 26
_LENGTHS = struct.Struct('<2H')

#: The first two pickles of a file of torch before 1.6.
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001


def read_zip(path: Path) -> Any:
    """
    Return the content of a zip archive of torch; tensors are mapped from the file.

    Raises ``LiftError`` (WEIGHTS_CORRUPT).
    """
    with open_regular(path, ErrorCode.WEIGHTS_CORRUPT) as file, _pickle_errors(path):
        _check_end(path, file)
        try:
            archive = zipfile.ZipFile(file)
        except zipfile.BadZipFile as error:
            corrupt(path, f'is damaged: {error}; get it again')
        records = _records(path, file, archive)
        pickles = [name for name in records if name.endswith('/data.pkl')]
        if len(pickles) != 1:
            corrupt(path, 'is a zip archive, but not one of torch')
        folder = pickles[0].removesuffix('data.pkl')
        order = _content(file, records.get(f'{folder}byteorder', (0, 0)), 16)
        if order == b'big':
            corrupt(
                path, 'was written on a machine with another order of bytes; save it on a '
                'little-endian one')
        start, size = records[pickles[0]]
        if size > _MAX_PICKLE_BYTES:
            corrupt(path, f'is damaged: its index would take {size} bytes; get it again')
        whole = _mapped(path)
        storages: dict[str, Tensor] = {}

        def storage(kind: StorageType, key: str, count: int, _: Any) -> Storage:
            if kind.dtype is None:
                return Storage(None, kind.name)
            if key not in storages:
                place = records.get(f'{folder}data/{key}')
                if place is None:
                    raise Damaged(f'has no record data/{key[:60]}')
                storages[key] = whole[place[0]:place[0] + place[1]]
            numbers = storages[key]
            if count * kind.dtype.itemsize > len(numbers):
                raise Damaged(f'has {len(numbers)} bytes in the record data/{key[:60]} but needs '
                              f'{count * kind.dtype.itemsize}')
            return Storage(_as(numbers[:count * kind.dtype.itemsize], kind.dtype))

        content = io.BytesIO(_content(file, (start, size), _MAX_PICKLE_BYTES))
        return TensorUnpickler(content, storage).load()


def read_legacy(path: Path) -> Any:
    """
    Return the content of a file of torch before 1.6; tensors are copied into memory.

    Raises ``LiftError`` (WEIGHTS_CORRUPT).
    """
    with open_regular(path, ErrorCode.WEIGHTS_CORRUPT) as file, _pickle_errors(path):
        size = os.fstat(file.fileno()).st_size
        whole: dict[str, Tensor] = {}
        kinds: dict[str, torch.dtype] = {}
        taken = 0

        def storage(kind: StorageType, key: str, count: int, view: Any) -> Storage:
            nonlocal taken
            if kind.dtype is None:
                raise Damaged(f'holds values of the type {kind.name}, which is not supported')
            if key not in whole:
                taken += count * kind.dtype.itemsize
                if taken > size:
                    raise Damaged(f'is cut short or damaged: its index needs {taken} bytes of '
                                  f'tensor data, but the file has {size}')
                whole[key] = torch.zeros(count, dtype=kind.dtype)
                kinds[key] = kind.dtype
            numbers = whole[key]
            if kinds[key] != kind.dtype or count != len(numbers):
                raise Damaged('gives the same storage two types')
            if view is None:
                return Storage(numbers)
            if not (isinstance(view, tuple) and len(view) == 3
                    and all(type(number) is int and number >= 0 for number in view[1:])):
                raise Damaged('has a storage view in a form that torch does not write')
            if view[1] + view[2] > len(numbers):
                raise Damaged('has a storage view outside its storage')
            return Storage(numbers[view[1]:view[1] + view[2]])

        if _pickle(file) != _LEGACY_MAGIC:
            raise Damaged('is a pickle that torch did not write')
        version, system = _pickle(file), _pickle(file)
        if version != _LEGACY_PROTOCOL or not isinstance(system, dict):
            raise Damaged('is from an unknown version of torch')
        if system.get('little_endian') is not True:
            corrupt(
                path, 'was written on a machine with another order of bytes; save it on a '
                'little-endian one')
        content = TensorUnpickler(cast(BinaryIO, _BoundedFile(file)), storage).load()
        keys = _pickle(file)
        if not isinstance(keys, list) or sorted(map(str, keys)) != sorted(whole):
            raise Damaged('lists other storages than it uses')
        for key in keys:
            numbers = whole[key]
            if file.read(8) != struct.pack('<Q', len(numbers)):
                raise Damaged('is cut short or damaged: the length of a storage differs from its '
                              'index')
            buffer = numbers.view(torch.uint8).numpy().data if len(numbers) else b''
            if len(numbers) and cast(Any, file).readinto(buffer) != len(buffer):
                raise Damaged('is cut short; get it again')
        if file.read(1):
            raise Damaged('has more data than its index describes')
        return content


class _BoundedFile:
    """A file from which at most ``_MAX_PICKLE_BYTES`` are read."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._left = _MAX_PICKLE_BYTES

    def read(self, count: int) -> bytes:
        """Return the next bytes."""
        self._take(count)
        return self._file.read(count)

    def readline(self) -> bytes:
        """Return the next line, which ends a name in a pickle."""
        line = self._file.readline(self._left)
        self._take(len(line) + 1)
        return line

    def _take(self, count: int) -> None:
        self._left -= count
        if self._left < 0:
            raise Damaged(f'has an index of more than {_MAX_PICKLE_BYTES} bytes')


def _pickle(file: BinaryIO) -> Any:
    return TensorUnpickler(cast(BinaryIO, _BoundedFile(file))).load()


def _check_end(path: Path, file: BinaryIO) -> None:
    """Refuse an archive that is cut short, or whose directory is implausibly large."""
    # The directory is at the end of an archive, which an interrupted transfer lacks. torch writes
    # no comment after it.
    size = os.fstat(file.fileno()).st_size
    tail = _END.size + _LOCATOR.size + _END_64.size
    file.seek(max(0, size - tail))
    last = file.read()
    if len(last) < _END.size or last[-_END.size:][:4] != b'PK\x05\x06':
        corrupt(path, 'is cut short: the end of its archive is missing; get it again')
    directory = _END.unpack(last[-_END.size:])[5]
    locator = last[-_END.size - _LOCATOR.size:-_END.size]
    if locator[:4] == b'PK\x06\x07':
        file.seek(min(_LOCATOR.unpack(locator)[2], size))
        end = file.read(_END_64.size)
        if len(end) < _END_64.size:
            corrupt(
                path, 'is damaged: the directory of its archive lies outside the file; get it '
                'again')
        directory = _END_64.unpack(end)[8]
    if directory > min(size, _MAX_DIRECTORY_BYTES):
        corrupt(
            path, f'is damaged: the directory of its archive would take {directory} bytes; get it '
            'again')
    file.seek(0)


def _records(
    path: Path, file: BinaryIO, archive: zipfile.ZipFile
) -> dict[str, tuple[int, int]]:
    """Return start and length of each record by name, after comparing its CRC-32."""
    records: dict[str, tuple[int, int]] = {}
    end = 0
    for entry in sorted(archive.infolist(), key=lambda entry: entry.header_offset):
        name = f'its record {entry.filename[:80]}'
        if entry.compress_type != zipfile.ZIP_STORED:
            corrupt(
                path, f'is not an archive in the form that torch writes: {name} is compressed. '
                'Unpack it and pack it again without compression (zip -0), or save it again with '
                'torch')
        if entry.flag_bits & 0x2061 or entry.file_size != entry.compress_size:
            corrupt(path, f'is damaged: {name} is encrypted or has two sizes; get it again')
        if entry.filename in records or entry.header_offset < end:
            corrupt(path, f'is damaged: {name} occurs twice or overlaps another; get it again')
        try:
            # zipfile compares the name in the local header, and the CRC-32 with the last block.
            with archive.open(entry) as record:
                while record.read(_BLOCK_BYTES):
                    pass
        except (zipfile.BadZipFile, EOFError) as error:
            corrupt(path, f'is damaged: {name}: {first_line(error)}; get it again')
        file.seek(entry.header_offset + _LENGTHS_OFFSET)
        start = entry.header_offset + _LENGTHS_OFFSET + 4 + sum(_LENGTHS.unpack(file.read(4)))
        end = start + entry.file_size
        records[entry.filename] = (start, entry.file_size)
    return records


def _content(file: BinaryIO, place: tuple[int, int], limit: int) -> bytes:
    file.seek(place[0])
    return file.read(min(place[1], limit))


def _mapped(path: Path) -> Tensor:
    """Return the bytes of a file as a private mapping: writes do not change the file."""
    return torch.from_numpy(np.memmap(path, np.uint8, mode='c'))


def _as(numbers: Tensor, dtype: torch.dtype) -> Tensor:
    # Tools other than torch do not align records.
    if numbers.data_ptr() % dtype.itemsize or numbers.storage_offset() % dtype.itemsize:
        numbers = numbers.clone()
    return numbers.view(dtype)


@contextmanager
def _pickle_errors(path: Path) -> Iterator[None]:
    """Convert the errors of reading a damaged file to ``LiftError``."""
    try:
        yield
    except (LiftError, OSError):
        raise
    except Foreign as error:
        corrupt(
            path, f'holds objects other than tensors ({error}), which could run code when they '
            'are loaded. Nothing in it was executed. If you trust whoever made it, have them save '
            "the tensors alone: torch.save({'state_dict': checkpoint['state_dict']}, ...)")
    except Damaged as error:
        corrupt(path, f'{error}; get it again. Nothing in it was executed')
    except MemoryError:
        raise
    # A damaged pickle raises errors of many types.
    except Exception as error:
        corrupt(
            path, f'is damaged, or is a pickle that torch did not write ({type(error).__name__}: '
            f'{first_line(error)}); get it again. Nothing in it was executed')
