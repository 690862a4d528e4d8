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
Conversion of parameter values to the type of the parameter.

An empty list has no type: parameter files and the command line deliver it as no value,
``ros2 param set`` as an array of an arbitrary type. YAML reads ``1`` as an integer where a float
is declared, and ``off`` without quotes as false.
"""

from __future__ import annotations

import array
from collections.abc import Sequence
import math
from typing import Any

#: Name of each parameter type in error messages.
_NAMES = {bool: 'a boolean', int: 'an integer', float: 'a number', str: 'a string'}

#: Words that YAML reads as a boolean unless they are quoted.
_SWITCHES = {False: ('off', 'no'), True: ('on', 'yes')}

#: Length at which an error message truncates an invalid value.
_MAX_QUOTED_CHARS = 60


def convert(name: str, default: Any, value: Any, choices: Sequence[str] = ()) -> Any:
    """
    Return a parameter value in the type of the default.

    ``value`` has any parameter type of ROS; None stands for an empty list. ``choices`` are the
    permitted strings of a string parameter. Raises ``ValueError`` with one sentence for a value of
    an unrelated type and for numbers that are not finite.
    """
    if isinstance(default, list):
        return _strings(name, value)
    if value is None:
        raise ValueError(f'"{name}" is an empty list; it must be {_NAMES[type(default)]}.')
    if isinstance(default, str) and isinstance(value, bool):
        word = next((word for word in _SWITCHES[value] if word in choices), None)
        if word is not None:
            return word
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not type(default):
        hint = ' (quote strings that look like numbers)' if isinstance(default, str) else ''
        raise ValueError(
            f'"{name}" is {quoted(value)}, {_kind(value)}; its type must be '
            f'{_NAMES[type(default)]}{hint}.'
        )
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f'"{name}" is {value}; it must be a finite number.')
    return value


def quoted(value: Any) -> str:
    """Return a value for an error message: on one line, strings in quotes, truncated."""
    if isinstance(value, array.array):
        value = value.tolist()
    text = ' '.join((f'"{value}"' if isinstance(value, str) else str(value)).split())
    return text if len(text) <= _MAX_QUOTED_CHARS else f'{text[:_MAX_QUOTED_CHARS]} ...'


def _strings(name: str, value: Any) -> list[str]:
    if value is None:
        return []
    if not isinstance(value, (list, tuple, array.array)):
        raise ValueError(
            f'"{name}" is {quoted(value)}, {_kind(value)}; its type must be a list of strings, '
            'such as ["a", "b"], or [] for none.'
        )
    if not all(isinstance(entry, str) for entry in value):
        raise ValueError(
            f'"{name}" is {quoted(value)}, {_kind(value)}; its type must be a list of strings, '
            'each in quotes.'
        )
    return list(value)


def _kind(value: Any) -> str:
    if isinstance(value, (list, tuple, array.array)):
        kinds = {type(entry) for entry in value}
        names = {bool: 'booleans', int: 'integers', float: 'numbers', bytes: 'bytes'}
        return f'a list of {names.get(kinds.pop(), "strings")}' if kinds else 'an empty list'
    return _NAMES.get(type(value), type(value).__name__)
