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

"""Damaged messages: valid ones with faults in their fields."""

from __future__ import annotations

from array import array
import copy
from typing import Any

import numpy as np
from rclpy.serialization import serialize_message

from lift3d_ros.synthetic.damage import damaged_bytes
from lift3d_ros.synthetic.damage import NUMBERS
from lift3d_ros.synthetic.damage import TEXTS

#: Largest array that a fault makes, bytes.
_MAX_BYTES = 1 << 20


def damaged_message(message: Any, rng: np.random.Generator) -> Any:
    """Return a copy of a message in which one to four fields, nested ones too, have faults."""
    made = copy.deepcopy(message)
    for _ in range(int(rng.integers(1, 5))):
        changed = copy.deepcopy(made)
        _damage_field(changed, rng)
        try:
            # Messages of Python accept values that their type does not hold.
            serialize_message(changed)
        except (AssertionError, OverflowError, SystemError, TypeError, ValueError):
            continue
        made = changed
    return made


def _damage_field(message: Any, rng: np.random.Generator) -> None:
    names = list(message.get_fields_and_field_types())
    name = names[int(rng.integers(0, len(names)))]
    value = getattr(message, name)
    if hasattr(value, 'get_fields_and_field_types'):
        _damage_field(value, rng)
        return
    for _ in range(8):
        try:
            setattr(message, name, _fault(value, rng))
            return
        except (AssertionError, TypeError, ValueError, OverflowError, UnicodeError):
            # The field holds no such value: its type or its range is another one.
            continue


def _fault(value: Any, rng: np.random.Generator) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        chosen = NUMBERS[int(rng.integers(0, len(NUMBERS)))]
        return type(value)(chosen)
    if isinstance(value, str):
        # A string of ROS ends at a zero.
        return TEXTS[int(rng.integers(0, len(TEXTS)))].replace('\0', '')
    if isinstance(value, array):
        data = damaged_bytes(value.tobytes(), rng)[:_MAX_BYTES]
        return array(value.typecode, data[:len(data) // value.itemsize * value.itemsize])
    if isinstance(value, np.ndarray):
        changed = value.copy()
        changed[int(rng.integers(0, len(changed)))] = NUMBERS[int(rng.integers(0, len(NUMBERS)))]
        return changed
    if isinstance(value, list):
        if value and hasattr(value[0], 'get_fields_and_field_types'):
            _damage_field(value[int(rng.integers(0, len(value)))], rng)
        return list(value) * int(rng.integers(0, 3))
    return value
