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

"""Bags for the tests: of the synthetic table, and of messages that a test chooses."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
import struct
from typing import Any
import zlib

import lz4.frame
import numpy as np

from lift3d_ros.bags.bag import Bag
from lift3d_ros.bags.bag import stamp_of
from lift3d_ros.bags.mcap import MAGIC
from lift3d_ros.bags.storage import zstd
from lift3d_ros.bags.writer import BagWriter
from lift3d_ros.geometry import Camera
from lift3d_ros.messages.geometry import quaternion
from lift3d_ros.messages.images import image_message
from lift3d_ros.messages.images import info_message

SECOND = 1_000_000_000

FRAME = 'camera'
IMAGE, MASK, INFO = '/camera/image_rect', '/mask', '/camera/camera_info'

CAMERA = Camera.from_fov(32, 24, 50.0)


class SmallBag:
    """Writes messages of a few pixels; a message is received when it is stamped, unless told."""

    def __init__(self, writer: BagWriter) -> None:
        self._writer = writer
        self.types = writer.types

    def header(self, stamp: int, frame: str = FRAME) -> Any:
        seconds, part = divmod(stamp, SECOND)
        time = self.types.make('builtin_interfaces/Time', sec=seconds, nanosec=part)
        return self.types.make('std_msgs/Header', stamp=time, frame_id=frame)

    def picture(
        self, topic: str, stamp: int, encoding: str = 'rgb8', time: int | None = None,
        mask: int = 0, color: tuple[int, int, int] = (90, 90, 90),
    ) -> None:
        """Write a picture; ``mask`` is the side of the square in a mask, pixels."""
        shape = (CAMERA.height, CAMERA.width)
        pixels = {
            'rgb8': np.full((*shape, 3), color, np.uint8),
            'mono8': np.zeros(shape, np.uint8),
            '16UC1': np.full(shape, 500, np.uint16),
        }[encoding]
        if encoding == 'mono8':
            pixels[:mask, :mask] = 255
        message = image_message(self.types, pixels, encoding)
        message.header = self.header(stamp)
        self.write(topic, 'sensor_msgs/Image', message, stamp if time is None else time)

    def info(self, topic: str, stamp: int, time: int | None = None) -> None:
        message = info_message(self.types, CAMERA)
        message.header = self.header(stamp)
        self.write(topic, 'sensor_msgs/CameraInfo', message, stamp if time is None else time)

    def frame(self, stamp: int, time: int | None = None, mask: int = 0) -> None:
        """Write an image, its camera_info and its mask."""
        self.picture(IMAGE, stamp, time=time)
        self.info(INFO, stamp, time)
        self.picture(MASK, stamp, 'mono8', time, mask)

    def transform(
        self, parent: str, child: str, stamp: int, T: Any, time: int | None = None,
        static: bool = False,
    ) -> None:
        message = self.types.make('tf2_msgs/TFMessage', transforms=[
            transform_message(self.types, parent, child, self.header(stamp, parent), T)])
        topic = '/tf_static' if static else '/tf'
        self.write(topic, 'tf2_msgs/TFMessage', message, stamp if time is None else time)

    def write(self, topic: str, kind: str, message: Any, time: int) -> None:
        self._writer.write(topic, kind, message, time)


def transform_message(types: Any, parent: str, child: str, header: Any, T: Any) -> Any:
    """Return a ``TransformStamped`` of a 4 x 4 matrix."""
    x, y, z = np.asarray(T)[:3, 3].tolist()
    qx, qy, qz, qw = quaternion(np.asarray(T)[:3, :3]).tolist()
    return types.make(
        'geometry_msgs/TransformStamped',
        header=header,
        child_frame_id=child,
        transform=types.make(
            'geometry_msgs/Transform',
            translation=types.make('geometry_msgs/Vector3', x=x, y=y, z=z),
            rotation=types.make('geometry_msgs/Quaternion', x=qx, y=qy, z=qz, w=qw),
        ),
    )


def contents(path: Path, topics: Iterable[str] | None = None) -> list[tuple[str, int, bytes]]:
    """Return topic, time and data of the readable messages of a bag, in their order."""
    with Bag(path) as bag:
        entries = list(bag.entries(set(bag.topics if topics is None else topics)))
        read = [(entry.topic, entry.time, bag.read(entry)) for entry in entries]
    return [(topic, time, bytes(data)) for topic, time, data in read if data is not None]


def stamps(path: Path, topic: str) -> list[int]:
    """Return the stamps of the messages of a topic."""
    return [stamp_of(data) for _, _, data in contents(path, [topic])]


def rewrite_mcap(
    source: Path, target: Path, compression: str, index: bool = True, per_chunk: int = 8
) -> list[int]:
    """
    Write a bag as MCAP in chunks, as rosbag2 does; return the offsets of the chunks.

    Chunks have a checksum, and with ``index`` the records that say where their messages are. There
    is no summary and no footer, as in a recording that was not closed.
    """
    with Bag(source) as bag:
        topics = [summary.topic for summary in bag.topics.values()]
        entries = list(bag.entries(set(bag.topics)))
        messages = [(entry.topic, entry.time, bag.read(entry)) for entry in entries]
    numbers = {topic.name: number for number, topic in enumerate(topics, 1)}
    out, offsets = bytearray(MAGIC + _record(1, _text('ros2') + _text('test'))), []
    definitions = b''.join(
        _record(3, struct.pack('<H', number) + _text(topic.type)
                + _text(topic.definition_format) + _text(topic.definition))
        + _record(4, struct.pack('<HH', number, number) + _text(topic.name) + _text('cdr')
                  + struct.pack('<I', 0))
        for number, topic in enumerate(topics, 1))
    for first in range(0, len(messages), per_chunk):
        # The definitions are in the first chunk, as rosbag2 writes them.
        content, places = bytearray(b'' if first else definitions), {}
        for topic, time, data in messages[first:first + per_chunk]:
            places.setdefault(numbers[topic], []).append((time, len(content)))
            content += _record(5, struct.pack('<HIQQ', numbers[topic], 0, time, time) + data)
        packed = {
            '': bytes, 'zstd': zstd().compress, 'lz4': lz4.frame.compress
        }[compression](bytes(content))
        offsets.append(len(out))
        out += _record(6, struct.pack(
            '<QQQI', 0, 0, len(content), zlib.crc32(content)
        ) + _text(compression) + struct.pack('<Q', len(packed)) + packed)
        for number, entries_ in places.items() if index else ():
            out += _record(7, struct.pack('<HI', number, 16 * len(entries_)) + b''.join(
                struct.pack('<QQ', *entry) for entry in entries_))
    target.write_bytes(out)
    return offsets


def _record(code: int, content: bytes) -> bytes:
    return struct.pack('<BQ', code, len(content)) + content


def _text(text: str) -> bytes:
    return struct.pack('<I', len(text.encode())) + text.encode()
