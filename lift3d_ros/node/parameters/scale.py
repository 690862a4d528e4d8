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

"""Parsers of the string parameters that describe the scale of objects."""

from __future__ import annotations

from collections.abc import Sequence
import re

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.observation import hints

_PLANE = re.compile(r'\s*z\s*=\s*([-+]?\d*\.?\d+(?:[eE][-+]?\d+)?)\s*')


def parse_plane_height(text: str) -> float | None:
    """
    Return the height of the plane in ``support_plane``, metres; None for an empty string.

    Raises ``LiftError(BAD_REQUEST)`` for any other form.
    """
    if not text.strip():
        return None
    match = _PLANE.fullmatch(text)
    if match is None:
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            f'support_plane is "{text}"; write "z = HEIGHT" with the height of the plane in '
            'target_frame in metres, such as "z = 0", or an empty string.',
        )
    return float(match[1])


def parse_known_sizes(entries: Sequence[str]) -> dict[str, float]:
    """Return longest sides in metres by class, without the empty entries that YAML needs."""
    return hints.known_sizes(entry for entry in entries if entry.strip())


def parse_scale_order(entries: Sequence[str]) -> tuple[str, ...]:
    """
    Return the scale sources in order of preference, without empty entries.

    Raises ``LiftError(BAD_REQUEST)`` for an invalid order and for an empty one.
    """
    names = [entry.strip() for entry in entries if entry.strip()]
    if not names:
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            f'it is empty; give one or more of {", ".join(hints.SOURCES)}, or unknown alone for '
            'shapes without scale.',
        )
    return hints.check_order(names)
