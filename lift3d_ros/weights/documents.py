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

"""JSON files beside weights: of bounded size, with numbers that a network can have."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any
from typing import NoReturn

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import weights_corrupt
from lift3d_ros.runtime.files import read_regular

#: The settings of published networks have a few kB, records of weights less than 100 kB.
MOST_JSON_BYTES = 4 * 2**20

#: No published setting is larger; the largest are numbers of words (49408) and token numbers.
_LARGEST_SETTING = 2**20
#: Lists in settings have an entry for each resolution or an item of a vocabulary of labels.
_MOST_ENTRIES = 2048
_DEEPEST_SETTING = 8

#: Settings that say how often something is built, and the most of each that is built.
_MOST_OF = {
    'num_hidden_layers': 256,
    'layers_per_block': 32,
    'transformer_layers_per_block': 64,
    'block_out_channels': 16,
    'down_block_types': 16,
    'up_block_types': 16,
    'num_train_timesteps': 100_000,
}


def parse_json(text: bytes, source: Path | str) -> Any:
    """
    Return what JSON text says; numbers are finite.

    Raises ``LiftError`` (WEIGHTS_CORRUPT) for text that is no JSON, nested too deeply, or has
    NaN or numbers beyond those of double precision.
    """
    try:
        return json.loads(
            text.decode('utf-8'), parse_constant=_refuse_constant, parse_float=_finite)
    except RecursionError:
        raise weights_corrupt(
            f'{source} is not valid JSON: it is nested too deeply; get the file again.') from None
    except ValueError as error:
        raise weights_corrupt(
            f'{source} is not valid JSON: {first_line(error)}; get the file again.') from error


def read_json(path: Path) -> Any:
    """
    Return the content of a JSON file.

    Raises ``OSError`` where it cannot be read, and ``LiftError`` (WEIGHTS_CORRUPT) as
    ``parse_json`` does, and for what is no regular file or larger than ``MOST_JSON_BYTES``.
    """
    return parse_json(read_regular(path, MOST_JSON_BYTES, ErrorCode.WEIGHTS_CORRUPT), path)


def read_settings(path: Path) -> dict[str, Any]:
    """
    Return the settings of a network, whose numbers are small enough to make one.

    Raises as ``read_json``, and ``LiftError`` (WEIGHTS_CORRUPT) for what are no settings.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise weights_corrupt(f'{path} holds no settings; get the file again.')
    _check_settings(content, path, '', 0)
    check_counts(content, path)
    return content


def check_counts(content: dict[str, Any], path: Path) -> None:
    """Raise ``LiftError`` (WEIGHTS_CORRUPT) for settings of networks too deep to be built."""
    for name, most in _MOST_OF.items():
        value = content.get(name)
        many = value if isinstance(value, list) else [value]
        # The widths of the blocks are no counts, only their number is.
        counts = [] if name == 'block_out_channels' else many
        if len(many) > most or any(isinstance(count, int) and count > most for count in counts):
            _implausible(path, name)


def first_line(error: object) -> str:
    """Return the first line of an error's text, without its full stop."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip('.')


def _check_settings(value: Any, path: Path, name: str, depth: int) -> None:
    if depth > _DEEPEST_SETTING:
        _implausible(path, name)
    if isinstance(value, dict | list):
        if len(value) > _MOST_ENTRIES:
            _implausible(path, name)
        pairs = value.items() if isinstance(value, dict) else ((name, item) for item in value)
        for inner, item in pairs:
            _check_settings(item, path, str(inner), depth + 1)
    elif isinstance(value, int | float) and abs(value) > _LARGEST_SETTING:
        _implausible(path, name)


def _implausible(path: Path, name: str) -> NoReturn:
    raise weights_corrupt(
        f'{path} is damaged: the value of {name[:60]!r} is larger than that of any network; get '
        'the file again.')


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f'{text} is not a JSON number')


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f'{text[:20]} is too large')
    return number
