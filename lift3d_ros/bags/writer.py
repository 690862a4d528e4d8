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

"""Writing of bags: a folder as rosbag2 writes it, or a single MCAP file."""

from __future__ import annotations

from pathlib import Path
import secrets
import shutil
from typing import Any

from rosbags.interfaces import Connection
from rosbags.interfaces import Qos
from rosbags.interfaces import QosDurability
from rosbags.interfaces import QosHistory
from rosbags.interfaces import QosLiveliness
from rosbags.interfaces import QosReliability
from rosbags.interfaces import QosTime
from rosbags.rosbag2 import CompressionFormat
from rosbags.rosbag2 import CompressionMode
from rosbags.rosbag2 import StoragePlugin
from rosbags.rosbag2 import Writer

from lift3d_ros.bags.message_types import full_name
from lift3d_ros.bags.message_types import RosbagTypes
from lift3d_ros.errors import bad_request
from lift3d_ros.runtime.files import make_folder
from lift3d_ros.runtime.files import write_error

#: As the node publishes: the last message reaches later subscribers, such as RViz.
_LATCHED = Qos(
    history=QosHistory.KEEP_LAST,
    depth=1,
    reliability=QosReliability.RELIABLE,
    durability=QosDurability.TRANSIENT_LOCAL,
    deadline=QosTime(0, 0),
    lifespan=QosTime(0, 0),
    liveliness=QosLiveliness.AUTOMATIC,
    liveliness_lease_duration=QosTime(0, 0),
    avoid_ros_namespace_conventions=False,
)

_STORAGES = {'mcap': StoragePlugin.MCAP, 'sqlite3': StoragePlugin.SQLITE3}
_COMPRESSIONS = {
    '': CompressionMode.NONE, 'file': CompressionMode.FILE, 'message': CompressionMode.MESSAGE,
}


class BagWriter:
    """
    Writes a bag that appears under its name when it is complete.

    A path that ends in ``.mcap`` becomes a single file, which ``ros2 bag play``, Foxglove and
    PlotJuggler open; any other path a folder with the metadata of rosbag2.
    """

    def __init__(self, path: Path, storage: str = 'mcap', compression: str = '') -> None:
        """
        Create the folder of the bag.

        ``storage`` is ``mcap`` or ``sqlite3``; ``compression`` of a folder is ``message``,
        ``file`` or empty. Raises ``LiftError(BAD_REQUEST)`` for a path that cannot be written and
        for a folder that exists.
        """
        self.types = RosbagTypes()
        self._path = path
        self._is_file = path.suffix == '.mcap'
        if path.suffix == '.db3':
            raise bad_request(
                f'A database is not written as a single file; give a name such as '
                f'{path.stem}.mcap, or that of a folder.'
            )
        if path.is_dir() or (path.exists() and not self._is_file):
            raise bad_request(f'{path} exists; choose another name for the bag.')
        make_folder(path.parent)
        # The name of the folder becomes that of its file.
        self._folder = path.parent / f'.{secrets.token_hex(8)}.part'
        partial = self._folder / path.stem
        # Version 9 of the metadata is the newest that Jazzy reads.
        self._writer = Writer(partial, version=9, storage_plugin=_STORAGES[storage])
        self._writer.set_compression(_COMPRESSIONS[compression], CompressionFormat.ZSTD)
        self._connections: dict[str, Connection] = {}
        try:
            self._folder.mkdir()
            self._writer.open()
        except OSError as error:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise write_error(error) from error

    def __enter__(self) -> BagWriter:
        """Return the writer."""
        return self

    def __exit__(self, kind: object, *error: object) -> None:
        """Complete the bag; after an error remove what was written."""
        try:
            if kind is None:
                self._writer.close()
                self._move()
            else:
                self._writer.abort()
        except OSError as failure:
            raise write_error(failure) from failure
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)

    def write(
        self, topic: str, kind: str, message: Any, time: int, latched: bool = False
    ) -> None:
        """
        Write a message of a type such as ``sensor_msgs/Image``.

        ``time`` is that of its reception in nanoseconds. Raises ``LiftError(BAD_REQUEST)`` if it
        cannot be written.
        """
        connection = self._connections.get(topic)
        if connection is None:
            connection = self._writer.add_connection(
                topic,
                full_name(kind),
                typestore=self.types.store,
                offered_qos_profiles=[_LATCHED] if latched else [],
            )
            self._connections[topic] = connection
        try:
            self._writer.write(connection, time, self.types.serialize(kind, message))
        except OSError as error:
            raise write_error(error) from error

    def _move(self) -> None:
        made = self._folder / self._path.stem
        if self._is_file:
            (made / f'{self._path.stem}.mcap').replace(self._path)
        else:
            made.rename(self._path)
