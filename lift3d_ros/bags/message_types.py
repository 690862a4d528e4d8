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

"""Message types of rosbags: those of a bag, and those of the results of this package."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rosbags.interfaces import Nodetype
from rosbags.typesys import get_types_from_idl
from rosbags.typesys import get_types_from_msg
from rosbags.typesys import get_typestore
from rosbags.typesys import Stores
from rosbags.typesys.store import Typestore

from lift3d_ros.bags.storage import Topic
from lift3d_ros.errors import bad_request

_QUATERNION = 'geometry_msgs/msg/Quaternion'

#: Separates the files in a definition in IDL.
_SEPARATOR = '=' * 80 + '\n'

#: Definitions of this package: in the source tree, as package data, and installed by colcon.
_PACKAGE = Path(__file__).resolve().parent.parent
_DEFINITIONS = (_PACKAGE.parent / 'msg', _PACKAGE / 'data' / 'msg')

#: The messages of vision_msgs that are inputs, of its major version 4 (Humble and later), for bags
#: without definitions.
_VISION_MSGS = {
    'vision_msgs/msg/Point2D': 'float64 x\nfloat64 y\n',
    'vision_msgs/msg/Pose2D': 'vision_msgs/Point2D position\nfloat64 theta\n',
    'vision_msgs/msg/BoundingBox2D':
        'vision_msgs/Pose2D center\nfloat64 size_x\nfloat64 size_y\n',
    'vision_msgs/msg/ObjectHypothesis': 'string class_id\nfloat64 score\n',
    'vision_msgs/msg/ObjectHypothesisWithPose':
        'vision_msgs/ObjectHypothesis hypothesis\ngeometry_msgs/PoseWithCovariance pose\n',
    'vision_msgs/msg/Detection2D':
        'std_msgs/Header header\nvision_msgs/ObjectHypothesisWithPose[] results\n'
        'vision_msgs/BoundingBox2D bbox\nstring id\n',
    'vision_msgs/msg/Detection2DArray':
        'std_msgs/Header header\nvision_msgs/Detection2D[] detections\n',
}


class RosbagTypes:
    """Creates messages of rosbags with default values; see ``messages.types.MessageTypes``."""

    def __init__(self) -> None:
        """Load the common interfaces, vision_msgs and those of this package."""
        self.store = _common_types()

    def make(self, name: str, /, **fields: Any) -> Any:
        """Return a message of a type such as ``geometry_msgs/Point``; other fields are default."""
        kind = full_name(name)
        if kind == _QUATERNION:
            # The one default of the common interfaces that is not zero.
            fields.setdefault('w', 1.0)
        for field, description in self.store.fielddefs[kind][1]:
            if field not in fields:
                fields[field] = self._default(description)
        return self.store.types[kind](**fields)

    def sequence(self, name: str, rows: NDArray[Any]) -> Sequence[Any]:
        """Return a sequence of messages whose fields are the rows of an array."""
        kind = full_name(name)
        create: Any = self.store.types[kind]
        fields = self.store.fielddefs[kind][1]
        if len(fields) == 1 and fields[0][1][0] is Nodetype.ARRAY:
            return [create(row) for row in rows]
        return [create(*row) for row in rows.tolist()]

    def numbers(self, values: NDArray[np.generic]) -> NDArray[np.generic]:
        """Return an array as the value of a field."""
        return np.ascontiguousarray(values)

    def serialize(self, name: str, message: Any) -> memoryview:
        """Return a message in CDR."""
        return self.store.serialize_cdr(message, full_name(name))

    def _default(self, description: Any) -> Any:
        kind, detail = description
        if kind is Nodetype.NAME:
            return self.make(detail)
        if kind is Nodetype.BASE:
            return {'string': '', 'bool': False}.get(detail[0], 0)
        element, length = detail
        count = length if kind is Nodetype.ARRAY else 0
        if element[0] is Nodetype.NAME or element[1][0] == 'string':
            return [self._default(element) for _ in range(count)]
        dtype = {'byte': 'uint8', 'char': 'uint8'}.get(element[1][0], element[1][0])
        return np.zeros(count, dtype)


def full_name(name: str) -> str:
    """Return the name of a message type with ``msg`` in the middle, as bags have it."""
    package, _, kind = name.rpartition('/')
    return f'{package.removesuffix("/msg")}/msg/{kind}'


def types_of_topic(topic: Topic) -> Typestore:
    """
    Return the types to read the messages of a topic, by the definition in the bag if it has one.

    Raises ``LiftError(BAD_REQUEST)`` for a type that is not known, and for a damaged definition.
    """
    if not topic.definition:
        store = _common_types()
        if topic.type not in store.types:
            raise bad_request(
                f'The bag has no definition of {topic.type}, the type of {topic.name}, which is '
                'none of the common interfaces; record it by a newer rosbag2, which stores '
                'definitions, as MCAP.'
            )
        return store
    return _defined_types(topic.type, topic.definition, topic.definition_format)


@lru_cache(maxsize=64)
def _defined_types(kind: str, text: str, encoding: str) -> Typestore:
    store = get_typestore(Stores.EMPTY)
    try:
        if encoding == 'ros2msg':
            store.register(get_types_from_msg(text, kind))
        elif text.startswith(_SEPARATOR):
            found: dict[str, Any] = {}
            for part in text.split(_SEPARATOR)[1:]:
                found.update(get_types_from_idl(part.split('\n', 1)[1]))
            store.register(found)
        else:
            store.register(get_types_from_idl(text))
        store.get_msgdef(kind)
    except Exception as error:
        # rosbags raises errors of its own and of Python for a damaged text.
        raise bad_request(
            f'The definition of {kind} in the bag cannot be read ({error}); convert the bag by '
            '`ros2 bag convert`.'
        ) from error
    return store


@lru_cache(maxsize=1)
def _common_types() -> Typestore:
    store = get_typestore(Stores.LATEST)
    own: dict[str, Any] = {}
    for kind, text in _VISION_MSGS.items():
        own.update(get_types_from_msg(text, kind))
    for path in sorted(_definitions().glob('*.msg')):
        own.update(get_types_from_msg(path.read_text(), f'lift3d_ros/msg/{path.stem}'))
    store.register(own)
    return store


def _definitions() -> Path:
    """Return the folder of the message definitions of this package."""
    prefixes = os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep)
    shares = [Path(prefix) / 'share' / 'lift3d_ros' / 'msg' for prefix in prefixes if prefix]
    for folder in (*_DEFINITIONS, *shares):
        if (folder / 'LiftedObjectArray.msg').is_file():
            return folder
    raise bad_request(
        'The message definitions of lift3d_ros (msg/*.msg) are missing from its installation; '
        'install it again.'
    )
