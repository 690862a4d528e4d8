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
Serialisation of messages with large arrays, without a Python object per element.

rclpy converts every ``geometry_msgs/Point`` of a sequence to a Python object and back, which takes
longer than the transport: 60 ms for a mesh of 20,000 triangles. ``Packed`` keeps such a sequence
as one array and creates the objects on access; ``serialize`` copies the array to bytes that
``Publisher.publish`` accepts.
"""

from __future__ import annotations

import array
from collections.abc import Iterator
from collections.abc import Sequence
import struct
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rosidl_parser.definition import AbstractNestedType
from rosidl_parser.definition import AbstractSequence
from rosidl_parser.definition import AbstractString
from rosidl_parser.definition import BasicType

#: CDR type code and size in bytes of each primitive of the interface definition language; the
#: alignment is the size. A ``byte`` of a message, the octet, is a bytes object in rclpy.
_PRIMITIVES = {
    'boolean': ('?', 1),
    'octet': ('c', 1),
    'char': ('B', 1),
    'uint8': ('B', 1),
    'int8': ('b', 1),
    'uint16': ('H', 2),
    'int16': ('h', 2),
    'uint32': ('I', 4),
    'int32': ('i', 4),
    'uint64': ('Q', 8),
    'int64': ('q', 8),
    'float': ('f', 4),
    'double': ('d', 8),
}

#: Representation header: plain CDR in the byte order of this machine, no options.
_ENCAPSULATION = b'\x00\x01\x00\x00' if sys.byteorder == 'little' else b'\x00\x00\x00\x00'


class Packed(Sequence[Any]):
    """
    A sequence of messages whose fields are numbers of one type, kept as an array.

    Row i of the array has the fields of element i, in their order. A message field accepts it in
    place of a list: rclpy then iterates over the elements.
    """

    def __init__(self, element_type: type, rows: NDArray[Any]) -> None:
        """Store ``rows`` of shape (n, values per element), in the type of the fields."""
        self.element_type = element_type
        self.rows = np.ascontiguousarray(rows)

    def __len__(self) -> int:
        """Return the number of elements."""
        return len(self.rows)

    def __getitem__(self, index: Any) -> Any:
        """Return one element, or a list of them for a slice."""
        if isinstance(index, slice):
            return list(Packed(self.element_type, self.rows[index]))
        return next(iter(Packed(self.element_type, self.rows[index][None])))

    def __iter__(self) -> Iterator[Any]:
        """
        Yield the elements.

        Constructors and setters are bypassed, since they check and copy each value.
        """
        kind = self.element_type
        new = kind.__new__
        names = ['_' + name for name in kind.get_fields_and_field_types()]  # type: ignore[attr-defined]
        if len(names) == 1:
            # One field with a fixed array, such as MeshTriangle: each row is that array.
            name = names[0]
            for row in self.rows:
                element = new(kind)
                setattr(element, name, row)
                yield element
        elif len(names) == 3:
            x, y, z = (_setter(kind, name) for name in names)
            for a, b, c in self.rows.tolist():
                element = new(kind)
                x(element, a)
                y(element, b)
                z(element, c)
                yield element
        else:
            setters = [_setter(kind, name) for name in names]
            for row in self.rows.tolist():
                element = new(kind)
                for setter, value in zip(setters, row, strict=True):
                    setter(element, value)
                yield element


def _setter(kind: type, name: str) -> Any:
    return kind.__dict__[name].__set__


def serialize(message: Any) -> bytes:
    """
    Return the CDR of a message, whose sequences of messages may be ``Packed``.

    The result equals that of ``rclpy.serialization.serialize_message``, except for the padding,
    which is zero here and undefined there.
    """
    out = bytearray()
    _write_message(out, message)
    return _ENCAPSULATION + bytes(out)


def _write_message(out: bytearray, message: Any) -> None:
    for slot, kind in _fields(message):
        _write(out, kind, getattr(message, slot))


def _fields(message: Any) -> Iterator[tuple[str, Any]]:
    return zip(message.get_fields_and_field_types(), message.SLOT_TYPES, strict=True)


def _write(out: bytearray, kind: Any, value: Any) -> None:
    if isinstance(kind, BasicType):
        code, size = _PRIMITIVES[kind.typename]
        _align(out, size)
        out += struct.pack('=' + code, value)
    elif isinstance(kind, AbstractString):
        data = value.encode()
        _align(out, 4)
        out += struct.pack('=I', len(data) + 1) + data + b'\0'
    elif isinstance(kind, AbstractNestedType):
        _write_elements(out, kind, value)
    else:
        _write_message(out, value)


def _write_elements(out: bytearray, kind: Any, values: Any) -> None:
    if isinstance(kind, AbstractSequence):
        _align(out, 4)
        out += struct.pack('=I', len(values))
    if not len(values):
        return
    element = kind.value_type
    if isinstance(values, Packed):
        _align(out, values.rows.itemsize)
        out += values.rows.data.cast('B')
    elif isinstance(element, BasicType):
        code, size = _PRIMITIVES[element.typename]
        _align(out, size)
        if not isinstance(values, (array.array, np.ndarray)):
            values = np.asarray(values, code)
        out += memoryview(values).cast('B')
    else:
        for value in values:
            _write(out, element, value)


def _align(out: bytearray, size: int) -> None:
    out += bytes(-len(out) % size)
