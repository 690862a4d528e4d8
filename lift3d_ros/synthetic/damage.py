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

"""Damaged inputs for fuzzing: bytes, nested values and messages, each from a seeded generator."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np

#: Values that break arithmetic, conversions and comparisons.
NUMBERS: tuple[Any, ...] = (
    0, -1, 1, 2**31 - 1, -(2**31), 2**32, 2**63, 10**30, 0.0, -0.0, 1e-320, 1e38, 1e308, -1e308,
    math.nan, math.inf, -math.inf,
)

#: Texts that break paths, names and formats.
TEXTS = (
    '', ' ', 'rgb8', 'mono16', '32FC1', '../../x', '/dev/null', 'a' * 5000, '\u0000',
    'caf\u00e9\u202e', '%s%n', '{0}', '$(id)', 'nan', '\n', '-', 'none', '1e999',
)

#: Values of a JSON or YAML document.
VALUES: tuple[Any, ...] = (
    *NUMBERS, *TEXTS, None, True, False, [], {}, [[]], [None], {'a': 1}, [1, 2, 3], [[1] * 3] * 3,
)


def damaged_bytes(data: bytes, rng: np.random.Generator) -> bytes:
    """Return bytes with one to four faults: flipped, cut, inserted, repeated or filled parts."""
    made = bytearray(data)
    for _ in range(int(rng.integers(1, 5))):
        size = len(made)
        at = int(rng.integers(0, size + 1))
        length = min(int(rng.integers(1, 65)), size - at)
        kind = int(rng.integers(0, 7))
        if kind == 0 and size:
            made[at % size] ^= 1 << int(rng.integers(0, 8))
        elif kind == 1:
            del made[at:]
        elif kind == 2:
            made[at:at] = rng.bytes(int(rng.integers(1, 65)))
        elif kind == 3:
            del made[at:at + length]
        elif kind == 4:
            made[at:at + length] = bytes([0xFF if rng.random() < 0.5 else 0]) * length
        elif kind == 5:
            made[at:at] = made[at:at + length] * int(rng.integers(1, 9))
        else:
            # A count or an offset of many formats: 32 bits, little-endian.
            counts = (0, 1, 0x7FFFFFFF, 0xFFFFFFFF, size, size + 1)
            number = counts[int(rng.integers(0, len(counts)))]
            made[at:at + 4] = number.to_bytes(4, 'little')
    return bytes(made)


def damaged_value(value: Any, rng: np.random.Generator) -> Any:
    """Return a JSON value in which one to three entries are replaced, removed or added."""
    made = copy.deepcopy(value)
    for _ in range(int(rng.integers(1, 4))):
        made = _damage_one(made, rng)
    return made


def _damage_one(value: Any, rng: np.random.Generator) -> Any:
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = list(value)[int(rng.integers(0, len(value)))]
        if rng.random() < 0.15:
            del value[key]
        elif rng.random() < 0.1:
            value[TEXTS[int(rng.integers(0, len(TEXTS)))]] = _any(rng)
        else:
            value[key] = _damage_one(value[key], rng)
        return value
    if isinstance(value, list) and value and rng.random() < 0.8:
        at = int(rng.integers(0, len(value)))
        if rng.random() < 0.2:
            del value[at]
        elif rng.random() < 0.2:
            value.insert(at, copy.deepcopy(value[at]))
        else:
            value[at] = _damage_one(value[at], rng)
        return value
    if isinstance(value, float) and rng.random() < 0.3:
        return value * float(rng.choice([-1.0, 1e-6, 1e6, 1.001]))
    return _any(rng)


def _any(rng: np.random.Generator) -> Any:
    return copy.deepcopy(VALUES[int(rng.integers(0, len(VALUES)))])
