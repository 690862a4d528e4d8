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

"""SQLite files of bags, also truncated ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
import sqlite3
from typing import Any

from lift3d_ros.bags.storage import DamagedError
from lift3d_ros.bags.storage import decompressed_message
from lift3d_ros.bags.storage import Place
from lift3d_ros.bags.storage import StoredMessage
from lift3d_ros.bags.storage import Topic


class SqliteFile:
    """A file in the format of ``rosbag2_storage_sqlite3``; see ``storage.StorageFile``."""

    def __init__(self, path: Path) -> None:
        """Open the file; raises ``DamagedError`` if it is no such database, and ``OSError``."""
        self.topics: dict[str, Topic] = {}
        self.lost: list[str] = []
        self._path = path
        with path.open('rb'):
            pass
        self._database = self._open()
        self._names: dict[int, str] = {}
        try:
            self._read_topics()
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            self.close()
            raise DamagedError(f'its list of topics cannot be read ({error})') from error

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def messages(self) -> Iterator[StoredMessage]:
        """Yield the messages in the order of their recording, as far as the file is readable."""
        self.lost.clear()
        count = 0
        try:
            # The rows themselves: the index by time is the first thing that damage makes useless.
            rows = self._database.execute(
                'SELECT id, topic_id, timestamp FROM messages NOT INDEXED ORDER BY id'
            )
            for row, topic, time in rows:
                count += 1
                if topic in self._names:
                    yield StoredMessage(self._names[topic], time, Place(-1, row))
        except sqlite3.DatabaseError as error:
            self.lost.append(
                f'{self._path.name} is readable up to message {count}; the rest is cut off or '
                f'damaged ({error}).'
            )

    def read(self, place: Place) -> bytes:
        """Return a serialised message; raises ``DamagedError``."""
        try:
            row = self._database.execute(
                'SELECT data FROM messages WHERE id = ?', (place.offset,)
            ).fetchone()
        except sqlite3.DatabaseError as error:
            raise DamagedError(str(error)) from error
        if row is None or not isinstance(row[0], bytes):
            raise DamagedError('it has no data')
        return decompressed_message(row[0])

    def _open(self) -> sqlite3.Connection:
        # A recorder that was killed leaves its last messages in the write-ahead log beside the
        # file. Only a database that is not opened as immutable reads it.
        log = self._path.with_name(f'{self._path.name}-wal')
        options = 'mode=ro'
        if not (log.is_file() and log.stat().st_size):
            options += '&immutable=1'
        # as_uri() needs an absolute path, and encodes characters such as ? and #.
        database = sqlite3.connect(f'{self._path.absolute().as_uri()}?{options}', uri=True)
        # Without this SQLite reads nothing of a file with fewer pages than its header says. The
        # file is read-only regardless.
        database.execute('PRAGMA writable_schema = ON')
        return database

    def _read_topics(self) -> None:
        definitions: dict[str, tuple[str, str]] = {}
        if self._columns('message_definitions'):
            rows = self._database.execute(
                'SELECT topic_type, encoded_message_definition, encoding FROM message_definitions'
            )
            definitions = {kind: (text, encoding) for kind, text, encoding in rows}
        if not self._columns('topics') or not self._columns('messages'):
            raise sqlite3.DatabaseError('it has no tables of topics and messages')
        topics: list[Any] = self._database.execute(
            'SELECT id, name, type, serialization_format FROM topics ORDER BY id'
        ).fetchall()
        for number, name, kind, encoding in topics:
            self._names[number] = name
            found = Topic(name, kind, *definitions.get(kind, ('', '')), encoding)
            self.topics.setdefault(name, found)

    def _columns(self, table: str) -> list[Any]:
        return self._database.execute(f'PRAGMA table_info({table})').fetchall()
