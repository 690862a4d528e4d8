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
The files of a bag: what each has to offer, whatever its format.

rosbags reads the files of recordings that ended properly, sorted by time. These readers also read
files that are damaged or were not closed, and keep the order in which messages were recorded: in
a sorted recording a clock that was set back is no longer visible, and its two passes would mix.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
import sys
from typing import Any
from typing import NamedTuple
from typing import Protocol

from lift3d_ros.errors import bad_request

#: First bytes of a zstd frame (RFC 8878); no serialised message begins with them.
_ZSTD_MAGIC = b'\x28\xb5\x2f\xfd'

#: Bytes that are decompressed at once where the data may be damaged.
_SMALL_STEP = 1 << 12

#: Largest chunk; recorders write chunks of some megabytes.
_MAX_CHUNK_BYTES = 1 << 30


class Topic(NamedTuple):
    """
    A topic of a file.

    ``type`` is such as ``sensor_msgs/msg/Image``; ``definition`` is its text in the file with the
    format ``ros2msg`` or ``ros2idl``, both empty if the file has none; ``encoding`` is that of
    messages.
    """

    name: str
    type: str
    definition: str = ''
    definition_format: str = ''
    encoding: str = 'cdr'


class Place(NamedTuple):
    """
    Where a message lies in a file: an offset in the block at ``block``.

    ``block`` is the offset of a chunk, -1 for the file itself; in a database ``offset`` is the
    row.
    """

    block: int
    offset: int


class StoredMessage(NamedTuple):
    """A message in a file: its topic, the time of its reception in nanoseconds and its place."""

    topic: str
    time: int
    place: Place


class StorageFile(Protocol):
    """
    A file of a bag.

    ``topics`` are those that were met so far, by name; ``lost`` says in sentences what could not
    be read.
    """

    topics: dict[str, Topic]
    lost: list[str]

    def messages(self) -> Iterator[StoredMessage]:
        """Yield the messages in the order of their recording, as far as the file is readable."""

    def read(self, place: Place) -> bytes:
        """Return a serialised message; raises ``DamagedError``."""

    def close(self) -> None:
        """Close the file."""


class DamagedError(Exception):
    """A message or a part of a file cannot be read; the text says why."""


def zstd() -> Any:
    """Return the module of Zstandard; raises ``LiftError(BAD_REQUEST)`` if it is missing."""
    try:
        if sys.version_info >= (3, 14):
            from compression import zstd as module
        else:
            from backports import zstd as module
    except ImportError as error:
        raise bad_request(
            'Compressed bags need Zstandard; install it: pip install backports.zstd.'
        ) from error
    return module


def decompressed_message(data: bytes) -> bytes:
    """Return a message of a bag whose messages may be compressed; raises ``DamagedError``."""
    if data[:4] != _ZSTD_MAGIC:
        return data
    module = zstd()
    try:
        plain: bytes = module.decompress(data)
    except module.ZstdError as error:
        raise DamagedError(f'a message cannot be decompressed ({error})') from error
    return plain


def decompress_file(source: Path, target: Path) -> str:
    """
    Write a file without its Zstandard compression, as far as it is readable.

    Returns why its end is missing, empty if it is whole. Raises ``OSError``.
    """
    module = zstd()
    decompressor, is_complete = module.ZstdDecompressor(), False
    with source.open('rb') as compressed, target.open('wb') as plain:
        # Not zstd.open(), which gives nothing of the last blocks before a cut.
        while block := compressed.read(_SMALL_STEP):
            while block:
                try:
                    plain.write(decompressor.decompress(block))
                except module.ZstdError as error:
                    return str(error).rstrip('.')
                is_complete = decompressor.eof
                block = decompressor.unused_data if is_complete else b''
                if is_complete:
                    decompressor = module.ZstdDecompressor()
    return '' if is_complete else 'it is cut off'


def decompress_prefix(data: bytes, compression: str, size: int) -> bytes:
    """
    Return what can be decompressed of the beginning of a chunk, ``size`` bytes at most.

    ``compression`` is a name of the MCAP format. Raises ``DamagedError`` for an unknown one.
    """
    if size > _MAX_CHUNK_BYTES:
        raise DamagedError(f'it claims to hold {size} bytes')
    if not compression:
        return data[:size]
    if compression == 'zstd':
        module = zstd()
        start, errors = module.ZstdDecompressor, module.ZstdError
    elif compression == 'lz4':
        import lz4.frame

        start, errors = lz4.frame.LZ4FrameDecompressor, RuntimeError
    else:
        raise DamagedError(f'its compression "{compression}" is unknown')
    # A damaged step gives nothing, so that after the first failure the steps are small.
    for step in (len(data), _SMALL_STEP):
        decompressor, plain = start(), bytearray()
        try:
            for at in range(0, len(data), step or 1):
                plain += decompressor.decompress(
                    data[at:at + step], max_length=max(size - len(plain), 1)
                )
            break
        except (errors, EOFError):
            continue
    return bytes(plain[:size])
