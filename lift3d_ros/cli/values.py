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

"""Argument types for numbers; they raise ``argparse.ArgumentTypeError`` with a message."""

from __future__ import annotations

import argparse
from collections.abc import Callable
import math
from typing import TypeVar

_Number = TypeVar('_Number', int, float)


def whole(text: str) -> int:
    """Return a whole number."""
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f'{text} is not a whole number') from None


def finite(text: str) -> float:
    """Return a finite number."""
    try:
        number = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f'{text} is not a number') from None
    if not math.isfinite(number):
        raise argparse.ArgumentTypeError(f'{text} is not a finite number')
    return number


def _restricted(
    convert: Callable[[str], _Number], is_valid: Callable[[_Number], bool], problem: str
) -> Callable[[str], _Number]:
    """Return a type for the valid numbers of another type."""
    def restricted(text: str) -> _Number:
        number = convert(text)
        if not is_valid(number):
            raise argparse.ArgumentTypeError(f'{text} {problem}')
        return number

    return restricted


count = _restricted(whole, lambda number: number >= 1, 'is less than 1')
natural = _restricted(whole, lambda number: number >= 0, 'is less than 0')
seed = _restricted(whole, lambda number: number >= 0, 'is not a seed; seeds are not negative')
positive = _restricted(finite, lambda number: number > 0.0, 'is not more than 0')
share = _restricted(finite, lambda number: 0.0 <= number <= 1.0, 'is not between 0 and 1')
angle = _restricted(
    finite, lambda degrees: abs(degrees) <= 360.0, 'is not an angle in degrees, -360 to 360')
