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

"""A bag of ROS 2: its files as one recording."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
import re
import struct
import tempfile
from typing import Any
from typing import NamedTuple

from lift3d_ros.bags.mcap import McapFile
from lift3d_ros.bags.message_types import types_of_topic
from lift3d_ros.bags.sqlite import SqliteFile
from lift3d_ros.bags.storage import DamagedError
from lift3d_ros.bags.storage import decompress_file
from lift3d_ros.bags.storage import Place
from lift3d_ros.bags.storage import StorageFile
from lift3d_ros.bags.storage import Topic
from lift3d_ros.errors import bad_request
from lift3d_ros.runtime.files import regular_file

#: Endings of the files of a bag, and of compressed ones.
_FORMATS: dict[str, Callable[[Path], StorageFile]] = {'.mcap': McapFile, '.db3': SqliteFile}
_COMPRESSED = '.zstd'

#: File of a folder that was closed as a recording.
METADATA = 'metadata.yaml'

#: Largest size of the metadata, bytes.
_MAX_METADATA_BYTES = 50_000_000


class Entry(NamedTuple):
    """A message of a bag: topic, time of its reception in nanoseconds, file and place in it."""

    topic: str
    time: int
    file: int
    place: Place


@dataclass(frozen=True)
class TopicSummary:
    """A topic of a bag: its number of messages, and the times of the first and the last."""

    topic: Topic
    count: int
    first: int
    last: int


class Bag:
    """
    A bag that is open for reading, whole or damaged.

    ``lost`` says in sentences what could not be read so far.
    """

    def __init__(self, path: Path) -> None:
        """
        Open a bag: a folder, or one of its files.

        Raises ``LiftError(BAD_REQUEST)`` if no file of it can be read.
        """
        self.path = path
        self._lost: list[str] = []
        self._unreadable: Counter[tuple[str, str]] = Counter()
        self._files: list[StorageFile] = []
        self._stack = ExitStack()
        try:
            self._expected, paths = self._find_files()
            for file in paths:
                self._open_file(file)
            if not self._files:
                reasons = ' '.join(self._lost)
                raise bad_request(f'No file of the bag {path} can be read. {reasons}')
            self.topics = self._summarize()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Bag:
        """Return the bag."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the bag."""
        self.close()

    def close(self) -> None:
        """Close all files."""
        for file in self._files:
            file.close()
        self._stack.close()

    @property
    def lost(self) -> list[str]:
        """What could not be read, a sentence each."""
        lost = list(self._lost)
        for file in self._files:
            lost += file.lost
        for (topic, reason), count in self._unreadable.items():
            lost.append(f'{count} messages of {topic} cannot be read: {reason}.')
        return lost

    def entries(self, topics: Collection[str]) -> Iterator[Entry]:
        """Yield the messages of some topics in the order of their recording."""
        for number, file in enumerate(self._files):
            for message in file.messages():
                if message.topic in topics:
                    yield Entry(message.topic, message.time, number, message.place)

    def read(self, entry: Entry) -> bytes | None:
        """Return a serialised message; None if it cannot be read, which is noted in ``lost``."""
        try:
            return self._files[entry.file].read(entry.place)
        except DamagedError as error:
            self._unreadable[entry.topic, str(error).rstrip('.')] += 1
            return None

    def message(self, entry: Entry) -> Any | None:
        """
        Return a message of rosbags; None if it cannot be read, which is noted in ``lost``.

        Raises ``LiftError(BAD_REQUEST)`` for a type that is not known.
        """
        data = self.read(entry)
        if data is None:
            return None
        topic = self.topics[entry.topic].topic
        if topic.encoding != 'cdr':
            raise bad_request(
                f'The messages of {topic.name} are encoded as "{topic.encoding}"; only CDR, the '
                'encoding of rosbag2, is supported.'
            )
        store = types_of_topic(topic)
        try:
            return store.deserialize_cdr(data, topic.type)
        except Exception as error:
            # Generated code of rosbags raises errors of Python for data that are too short.
            reason = f'their data do not match {topic.type} ({type(error).__name__})'
            self._unreadable[entry.topic, reason] += 1
            return None

    # --- files ----------------------------------------------------------------------------------

    def _find_files(self) -> tuple[dict[str, int], list[Path]]:
        """Return the expected messages of each topic, if known, and the files in order."""
        path = self.path
        if not path.exists():
            raise bad_request(f'There is no bag {path}.')
        if path.suffix == '.bag':
            raise bad_request(
                f'{path} is a bag of ROS 1; convert it: `rosbags-convert --src {path.name} --dst '
                f'{path.stem}`.'
            )
        if not path.is_dir():
            if _format_of(path) is None:
                raise bad_request(
                    f'{path} is not a file of a bag, which ends in .mcap or .db3; give the folder '
                    'of the bag.'
                )
            return {}, [regular_file(path)]
        present = [file for file in path.iterdir() if _format_of(file) is not None]
        metadata = self._metadata()
        if metadata is not None:
            try:
                return self._listed(metadata)
            except (KeyError, TypeError, ValueError, AttributeError):
                self._lost.append(f'{METADATA} is damaged; all files of the folder are read.')
        elif present:
            self._lost.append(
                f'{METADATA} is missing or damaged: the recording was not closed. All files of '
                'the folder are read.'
            )
        if not present:
            raise bad_request(f'The folder {path} has no files of a bag (.mcap or .db3).')
        return {}, sorted(present, key=_natural_order)

    def _metadata(self) -> dict[str, Any] | None:
        import yaml

        path = self.path / METADATA
        try:
            if path.stat().st_size > _MAX_METADATA_BYTES:
                return None
            loader = getattr(yaml, 'CSafeLoader', yaml.SafeLoader)
            content = yaml.load(path.read_text(), loader)  # noqa: S506 - one of the safe ones
            found = content['rosbag2_bagfile_information']
        except (OSError, yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError):
            return None
        return found if isinstance(found, dict) else None

    def _listed(self, metadata: dict[str, Any]) -> tuple[dict[str, int], list[Path]]:
        """Return the messages and files that the metadata list; files that are gone are noted."""
        expected = {
            str(topic['topic_metadata']['name']): int(topic['message_count'])
            for topic in metadata['topics_with_message_count']
        }
        paths = []
        for name in metadata['relative_file_paths']:
            # Older bags have the name of the folder before that of the file.
            path = self.path / Path(name).name
            if not path.is_file():
                self._lost.append(f'The file {path.name} of the bag is missing.')
            elif _format_of(path) is None:
                self._lost.append(f'The format of {path.name} is not supported.')
            else:
                paths.append(path)
        if not paths:
            raise ValueError('it lists no file that is there')
        return expected, paths

    def _open_file(self, path: Path) -> None:
        kind = _format_of(path)
        assert kind is not None, 'only files of bags are opened'
        plain = path
        try:
            if path.suffix == _COMPRESSED:
                folder = self._stack.enter_context(tempfile.TemporaryDirectory())
                plain = Path(folder) / path.stem
                reason = decompress_file(path, plain)
                if reason:
                    self._lost.append(f'The end of {path.name} cannot be decompressed: {reason}.')
            self._files.append(kind(plain))
        except (DamagedError, OSError) as error:
            self._lost.append(f'{path.name} cannot be read: {str(error).rstrip(".")}.')

    def _summarize(self) -> dict[str, TopicSummary]:
        """Return the topics by name, by one pass over the bag."""
        counts: Counter[str] = Counter()
        first: dict[str, int] = {}
        last: dict[str, int] = {}
        for file in self._files:
            for message in file.messages():
                name, time = message.topic, message.time
                counts[name] += 1
                first[name] = min(first.get(name, time), time)
                last[name] = max(last.get(name, time), time)
        topics: dict[str, Topic] = {}
        for file in self._files:
            for name, topic in file.topics.items():
                known = topics.setdefault(name, topic)
                if known.type != topic.type:
                    raise bad_request(
                        f'The topic {name} has the types {known.type} and {topic.type}; split the '
                        'bag, so that each part has one of them.'
                    )
        for name, count in self._expected.items():
            missing = count - counts[name]
            if missing > 0:
                self._lost.append(f'{missing} of {count} messages of {name} are missing.')
        return {
            name: TopicSummary(topic, counts[name], first.get(name, 0), last.get(name, 0))
            for name, topic in sorted(topics.items())
        }


def stamp_of(data: bytes) -> int:
    """
    Return the stamp in nanoseconds of a serialised message that begins with a ``Header``.

    Raises ``DamagedError`` for data that are too short.
    """
    if len(data) < 12:
        raise DamagedError('they are shorter than a header')
    order = '<' if data[1] & 1 else '>'
    seconds, nanoseconds = struct.unpack_from(f'{order}iI', data, 4)
    return int(seconds) * 1_000_000_000 + int(nanoseconds)


def is_bag_file(path: Path) -> bool:
    """Return whether a file has the ending of a file of a bag."""
    return _format_of(path) is not None


def _format_of(path: Path) -> Callable[[Path], StorageFile] | None:
    """Return the reader of a file by its name, None if it is not of a bag."""
    return _FORMATS.get(Path(path.name.removesuffix(_COMPRESSED)).suffix)


def _natural_order(path: Path) -> list[tuple[int, str]]:
    """Return a key by which bag_2 comes before bag_10."""
    return [
        (int(part), '') if part.isdigit() else (0, part) for part in re.split(r'(\d+)', path.name)
    ]
