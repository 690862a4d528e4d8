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
Values of parameters as they arrive, in the type that the parameter has.

An empty list has no type of its own: it arrives as no value from a file and from the command line,
and as an array of some type from ``ros2 param set``. A whole number in the place of a float is one
of YAML's, and so is ``off`` without quotes, which YAML reads as false.
"""

from __future__ import annotations

import array
from collections.abc import Sequence
import math
from typing import Any

#: What each type of a parameter is called in messages.
_NAMES = {bool: 'true or false', int: 'a whole number', float: 'a number', str: 'a text'}

#: Words without quotes that YAML reads as a boolean.
_SWITCHES = {False: ('off', 'no'), True: ('on', 'yes')}

#: Characters of a refused value that a message shows.
_MAX_SHOWN = 60


def typed(name: str, default: Any, value: Any, choices: Sequence[str] = ()) -> Any:
    """
    Return the value of a parameter in the type of its default.

    ``value`` is of any type that ROS has for parameters; None stands for an empty list.
    ``choices`` are those of a text. Raises ``ValueError`` with one sentence for a value of another
    type and a number that is not finite.
    """
    if isinstance(default, list):
        return _texts(name, value)
    if value is None:
        raise ValueError(f'"{name}" is an empty list; it must be {_NAMES[type(default)]}.')
    if isinstance(default, str) and isinstance(value, bool):
        word = next((word for word in _SWITCHES[value] if word in choices), None)
        if word is not None:
            return word
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not type(default):
        hint = ' (in quotes where it looks like a number)' if isinstance(default, str) else ''
        raise ValueError(
            f'"{name}" is {shown(value)}, {_kind(value)}; its type must be '
            f'{_NAMES[type(default)]}{hint}.'
        )
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f'"{name}" is {value}; it must be a finite number.')
    return value


def shown(value: Any) -> str:
    """Return a value as messages show it, on one line and not too long."""
    if isinstance(value, array.array):
        value = value.tolist()
    text = ' '.join((f'"{value}"' if isinstance(value, str) else str(value)).split())
    return text if len(text) <= _MAX_SHOWN else f'{text[:_MAX_SHOWN]} ...'


def _texts(name: str, value: Any) -> list[str]:
    if value is None:
        return []
    if not isinstance(value, (list, tuple, array.array)):
        raise ValueError(
            f'"{name}" is {shown(value)}, {_kind(value)}; its type must be a list of texts, such '
            'as ["a", "b"], or [] for none.'
        )
    if not all(isinstance(entry, str) for entry in value):
        raise ValueError(
            f'"{name}" is {shown(value)}, {_kind(value)}; its type must be a list of texts, each '
            'in quotes.'
        )
    return list(value)


def _kind(value: Any) -> str:
    if isinstance(value, (list, tuple, array.array)):
        kinds = {type(entry) for entry in value}
        names = {bool: 'truth values', int: 'whole numbers', float: 'numbers', bytes: 'bytes'}
        return f'a list of {names.get(kinds.pop(), "texts")}' if kinds else 'an empty list'
    return _NAMES.get(type(value), type(value).__name__)
