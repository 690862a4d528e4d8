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

"""Types of numbers on a command line; they raise ``ArgumentTypeError`` with a message."""

from __future__ import annotations

import argparse
import math


def whole(text: str) -> int:
    """Return a whole number."""
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f'{text} is not a whole number') from None


def count(text: str) -> int:
    """Return a whole number of 1 or more."""
    number = whole(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f'{text} is less than 1')
    return number


def seed(text: str) -> int:
    """Return a whole number of 0 or more."""
    number = whole(text)
    if number < 0:
        raise argparse.ArgumentTypeError('a seed is not negative')
    return number


def finite(text: str) -> float:
    """Return a finite number."""
    try:
        number = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f'{text} is not a number') from None
    if not math.isfinite(number):
        raise argparse.ArgumentTypeError(f'{text} is not a finite number')
    return number


def positive(text: str) -> float:
    """Return a finite number over 0."""
    number = finite(text)
    if number <= 0.0:
        raise argparse.ArgumentTypeError(f'{text} is not more than 0')
    return number


def share(text: str) -> float:
    """Return a number from 0 to 1."""
    number = finite(text)
    if not 0.0 <= number <= 1.0:
        raise argparse.ArgumentTypeError(f'{text} is not between 0 and 1')
    return number


def angle(text: str) -> float:
    """Return an angle, -360 to 360 degrees."""
    degrees = finite(text)
    if not -360.0 <= degrees <= 360.0:
        raise argparse.ArgumentTypeError(f'{text} is no angle in degrees, -360 to 360')
    return degrees
