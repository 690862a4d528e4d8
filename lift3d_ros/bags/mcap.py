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

"""MCAP files of bags, also unfinished ones (https://mcap.dev/spec)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
import struct
from typing import NamedTuple
import zlib

from lift3d_ros.bags.storage import DamagedError
from lift3d_ros.bags.storage import decompress_prefix
from lift3d_ros.bags.storage import decompressed_message
from lift3d_ros.bags.storage import Place
from lift3d_ros.bags.storage import StoredMessage
from lift3d_ros.bags.storage import Topic

MAGIC = b'\x89MCAP0\r\n'

#: Codes of records.
_SCHEMA, _CHANNEL, _MESSAGE, _CHUNK, _MESSAGE_INDEX, _DATA_END = 3, 4, 5, 6, 7, 15
_FOOTER = 2

#: Codes that the format defines; from 0x80 they are free for applications.
_KNOWN = range(1, 16)
_PRIVATE = 0x80

#: Total size of decompressed chunks that are kept, bytes.
_KEPT_BYTES = 64_000_000

_HEADER = struct.Struct('<BQ')
_MESSAGE_HEADER = struct.Struct('<HIQQ')
_CHUNK_HEADER = struct.Struct('<QQQI')


class _Record(NamedTuple):
    """A record of a file or chunk: its code, and the range of its content."""

    code: int
    start: int
    end: int


class McapFile:
    """A file in the MCAP format; see ``storage.StorageFile``."""

    def __init__(self, path: Path) -> None:
        """Open the file; raises ``DamagedError`` if it is not MCAP, and ``OSError``."""
        self.topics: dict[str, Topic] = {}
        self.lost: list[str] = []
        self._path = path
        self._schemas: dict[int, tuple[str, str, str]] = {}
        self._channels: dict[int, Topic] = {}
        self._chunks: OrderedDict[int, bytes] = OrderedDict()
        self._file = path.open('rb')
        self._size = path.stat().st_size
        if self._file.read(len(MAGIC)) != MAGIC:
            self.close()
            raise DamagedError('it is not an MCAP file')

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def messages(self) -> Iterator[StoredMessage]:
        """Yield the messages in the order of their recording, as far as the file is readable."""
        at: int = len(MAGIC)
        chunk: int | None = None
        indexed: dict[int, list[tuple[int, int]]] = {}
        self.lost.clear()
        while True:
            record = self._record(at)
            if chunk is not None and (record is None or record.code != _MESSAGE_INDEX):
                yield from self._messages_of_chunk(chunk, indexed)
                chunk, indexed = None, {}
            if record is None:
                self.lost.append(self._lost_from(at))
                return
            if record.end > self._size:
                if record.code == _CHUNK:
                    yield from self._messages_of_chunk(at, {})
                self.lost.append(self._lost_from(at))
                return
            if record.code in (_DATA_END, _FOOTER):
                return
            if record.code == _CHUNK:
                chunk = at
            elif record.code == _MESSAGE_INDEX and chunk is not None:
                self._read_index(self._bytes(record.start, record.end), indexed)
            elif record.code in (_SCHEMA, _CHANNEL):
                self._define(record.code, self._bytes(record.start, record.end))
            elif record.code == _MESSAGE:
                header = self._bytes(record.start, record.start + _MESSAGE_HEADER.size)
                yield from self._message(header, Place(-1, record.start))
            at = record.end

    def read(self, place: Place) -> bytes:
        """Return a serialised message; raises ``DamagedError``."""
        if place.block < 0:
            record = self._record(place.offset - _HEADER.size)
            assert record is not None, 'the place is that of a record'
            data = self._bytes(record.start, record.end)
        else:
            chunk = self._chunk(place.block)
            if place.offset < _HEADER.size or place.offset > len(chunk):
                raise DamagedError('a chunk is shorter than its index')
            _, length = _HEADER.unpack_from(chunk, place.offset - _HEADER.size)
            data = chunk[place.offset:place.offset + length]
            if len(data) < length:
                raise DamagedError('a chunk is cut off')
        return decompressed_message(data[_MESSAGE_HEADER.size:])

    def _bytes(self, start: int, end: int) -> bytes:
        self._file.seek(start)
        return self._file.read(end - start)

    def _record(self, at: int) -> _Record | None:
        """Return the record at an offset, None if there is none."""
        header = self._bytes(at, at + _HEADER.size)
        if len(header) < _HEADER.size:
            return None
        code, length = _HEADER.unpack(header)
        if code not in _KNOWN and code < _PRIVATE:
            return None
        return _Record(code, at + _HEADER.size, at + _HEADER.size + length)

    def _lost_from(self, at: int) -> str:
        if at >= self._size:
            return (
                f'{self._path.name} was not closed: what the recorder had not written is missing.'
            )
        return (
            f'{self._path.name} is readable up to byte {at} of {self._size}; the rest is cut off '
            'or damaged.'
        )

    # --- chunks ---------------------------------------------------------------------------------

    def _messages_of_chunk(
        self, at: int, indexed: dict[int, list[tuple[int, int]]]
    ) -> Iterator[StoredMessage]:
        """Yield the messages of a chunk, by its index where it knows all of its channels."""
        if indexed and indexed.keys() <= self._channels.keys():
            found = sorted(
                (offset, time, channel)
                for channel, entries in indexed.items() for time, offset in entries
            )
            for offset, time, channel in found:
                # The index has the offset of the record, a place that of its content.
                yield StoredMessage(
                    self._channels[channel].name, time, Place(at, offset + _HEADER.size)
                )
            return
        try:
            chunk = self._chunk(at)
        except DamagedError as error:
            self.lost.append(f'A chunk of {self._path.name} is lost: {error}.')
            return
        offset = 0
        while offset + _HEADER.size <= len(chunk):
            code, length = _HEADER.unpack_from(chunk, offset)
            offset += _HEADER.size
            if offset + length > len(chunk):
                return
            if code in (_SCHEMA, _CHANNEL):
                self._define(code, chunk[offset:offset + length])
            elif code == _MESSAGE:
                yield from self._message(
                    chunk[offset:offset + _MESSAGE_HEADER.size], Place(at, offset)
                )
            offset += length

    def _chunk(self, at: int) -> bytes:
        """Return the content of the chunk at an offset, of a cut off one its beginning."""
        if at in self._chunks:
            self._chunks.move_to_end(at)
            return self._chunks[at]
        record = self._record(at)
        assert record is not None, 'the offset is that of a record'
        content = self._bytes(record.start, min(record.end, self._size))
        try:
            _, _, size, checksum = _CHUNK_HEADER.unpack_from(content)
            compression, start = _string(content, _CHUNK_HEADER.size)
        except (struct.error, UnicodeDecodeError) as error:
            raise DamagedError('its header is cut off') from error
        chunk = decompress_prefix(content[start + 8:], compression, size)
        if record.end <= self._size:
            if len(chunk) != size:
                raise DamagedError(f'{len(chunk)} of {size} bytes can be decompressed')
            if checksum and zlib.crc32(chunk) != checksum:
                raise DamagedError('its checksum is wrong')
        self._chunks[at] = chunk
        while len(self._chunks) > 1 and sum(map(len, self._chunks.values())) > _KEPT_BYTES:
            self._chunks.popitem(last=False)
        return chunk

    def _read_index(self, content: bytes, indexed: dict[int, list[tuple[int, int]]]) -> None:
        channel, size = struct.unpack_from('<HI', content)
        entries = struct.iter_unpack('<QQ', content[6:6 + size // 16 * 16])
        indexed.setdefault(channel, []).extend((time, offset) for time, offset in entries)

    # --- records --------------------------------------------------------------------------------

    def _define(self, code: int, content: bytes) -> None:
        """Read a schema or a channel."""
        try:
            number, = struct.unpack_from('<H', content)
            if code == _SCHEMA:
                name, at = _string(content, 2)
                encoding, at = _string(content, at)
                text, _ = _string(content, at)
                self._schemas[number] = name, encoding, text
                return
            schema, = struct.unpack_from('<H', content, 2)
            topic, at = _string(content, 4)
            encoding, _ = _string(content, at)
        except (struct.error, UnicodeDecodeError):
            # Its messages have no topic then, and are counted as lost where they are met.
            return
        kind, definition_format, text = self._schemas.get(schema, ('', '', ''))
        found = Topic(topic, kind, text, definition_format, encoding)
        self._channels[number] = found
        self.topics.setdefault(topic, found)

    def _message(self, header: bytes, place: Place) -> Iterator[StoredMessage]:
        """Yield the message with a header, unless its channel is unknown."""
        if len(header) < _MESSAGE_HEADER.size:
            return
        channel, _, time, _ = _MESSAGE_HEADER.unpack(header)
        if channel in self._channels:
            yield StoredMessage(self._channels[channel].name, time, place)


def _string(content: bytes, at: int) -> tuple[str, int]:
    """Return a string with its length before it, and the offset after it."""
    length, = struct.unpack_from('<I', content, at)
    data = content[at + 4:at + 4 + length]
    if len(data) < length:
        raise struct.error('a string is cut off')
    return data.decode(), at + 4 + length
