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

"""Checks of files of weights: JSON of bounded size, SHA-256 digests, and readable errors."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from contextlib import contextmanager
import hashlib
import json
import math
import os
from pathlib import Path
import re
from typing import Any
from typing import NoReturn

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.errors import weights_corrupt
from lift3d_ros.runtime.files import open_regular
from lift3d_ros.runtime.files import read_regular

#: Names in damaged files can have megabytes.
_MAX_MESSAGE_CHARACTERS = 2000

#: Settings of published networks have a few kB, records of weights less than 100 kB.
_MAX_JSON_BYTES = 4 * 2**20

#: The largest published settings are a vocabulary (49408) and token numbers.
_MAX_SETTING = 2**20
#: Lists in settings have an entry per resolution, or per label of a vocabulary.
_MAX_ENTRIES = 2048
_MAX_NESTING = 8

#: Settings that are the number of times a layer is built, and their largest values.
_MAX_COUNTS = {
    'num_hidden_layers': 256,
    'layers_per_block': 32,
    'transformer_layers_per_block': 64,
    'block_out_channels': 16,
    'down_block_types': 16,
    'up_block_types': 16,
    'num_train_timesteps': 100_000,
}

_BLOCK_BYTES = 2**22

#: A digest as sha256sum writes it, with or without the file name.
_DIGEST = re.compile(r'\s*([0-9a-fA-F]{64})(?:\s|$)')


def corrupt(path: str | os.PathLike[str], problem: str) -> NoReturn:
    """Raise ``LiftError`` (WEIGHTS_CORRUPT); ``problem`` continues the sentence after the path."""
    raise weights_corrupt(f'{printable(os.fspath(path))} {printable(problem)}.')


@contextmanager
def corrupt_on_error(path: str | os.PathLike[str]) -> Iterator[None]:
    """
    Convert the errors of a block that reads weights to ``LiftError``.

    Names, shapes and settings are checked one by one where a specific message helps. This covers
    the combinations that no check knows. Raises OUT_OF_MEMORY for a ``MemoryError``, else
    WEIGHTS_CORRUPT.
    """
    try:
        yield
    except MemoryError as error:
        raise LiftError(
            ErrorCode.OUT_OF_MEMORY, f'{printable(os.fspath(path))} needs more memory than is '
            'free; free memory, or use smaller weights.') from error
    except (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError,
            ValueError) as error:
        raise weights_corrupt(
            f'{printable(os.fspath(path))} is inconsistent: it is another model, or is damaged; '
            f'get it again ({printable(f"{type(error).__name__}: {first_line(error)}")}).',
        ) from error


def printable(text: str) -> str:
    """Return text of bounded length, with control characters and lone surrogates escaped."""
    if len(text) > _MAX_MESSAGE_CHARACTERS:
        text = f'{text[:_MAX_MESSAGE_CHARACTERS]} ...'
    return ''.join(
        letter if letter.isprintable() else letter.encode('unicode_escape').decode('ascii')
        for letter in text)


def first_line(error: BaseException) -> str:
    """Return the first line of an error message, without its full stop."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip('.')


def read_json(path: Path) -> Any:
    """
    Return the content of a JSON file; numbers are finite.

    Raises ``OSError`` if it cannot be read, and ``LiftError`` (WEIGHTS_CORRUPT) for text that is
    not JSON, is nested too deeply, or has NaN or numbers that do not fit into double precision,
    for a file that is not regular, and for one larger than 4 MiB.
    """
    text = read_regular(path, _MAX_JSON_BYTES, ErrorCode.WEIGHTS_CORRUPT)
    try:
        return json.loads(
            text.decode('utf-8'), parse_constant=_refuse_constant, parse_float=_finite)
    except (RecursionError, ValueError) as error:
        reason = 'it is nested too deeply' if isinstance(error, RecursionError) else (
            first_line(error))
        raise weights_corrupt(
            f'{path} is not valid JSON: {reason}; get the file again.') from error


def read_settings(path: Path) -> dict[str, Any]:
    """
    Return the settings of a network, with numbers small enough to build it.

    Raises as ``read_json``, and ``LiftError`` (WEIGHTS_CORRUPT) for a file without settings.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise weights_corrupt(f'{path} holds no settings; get the file again.')
    _check_setting(content, path, '', 0)
    check_counts(content, path)
    return content


def check_counts(content: dict[str, Any], path: Path) -> None:
    """Raise ``LiftError`` (WEIGHTS_CORRUPT) for settings of a network too deep to build."""
    for name, limit in _MAX_COUNTS.items():
        value = content.get(name)
        entries = value if isinstance(value, list) else [value]
        # The entries of block_out_channels are widths; only their number is a count.
        counts = [] if name == 'block_out_channels' else entries
        if len(entries) > limit or any(isinstance(n, int) and n > limit for n in counts):
            _implausible(path, name)


def sha256_of(path: Path, progress: Callable[[int], None] | None = None) -> str:
    """Return the SHA-256 of a file in hexadecimal; ``progress`` receives the bytes per block."""
    digest = hashlib.sha256()
    with open_regular(path, ErrorCode.WEIGHTS_CORRUPT) as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
            if progress is not None:
                progress(len(block))
    return digest.hexdigest()


def published_digest(file: Path) -> str | None:
    """
    Return the SHA-256 in the file NAME.sha256 next to a file, None without one.

    Raises ``LiftError`` (WEIGHTS_CORRUPT) if NAME.sha256 contains no digest.
    """
    source = file.with_name(f'{file.name}.sha256')
    try:
        text = read_regular(source, 4096, ErrorCode.WEIGHTS_CORRUPT).decode('ascii', 'replace')
    except OSError:
        return None
    match = _DIGEST.match(text)
    if match is None:
        raise weights_corrupt(
            f'{source} contains no SHA-256; write the 64 hexadecimal digits to it, or remove it.')
    return match[1].lower()


def check_published_digests(files: Iterable[Path]) -> None:
    """Raise ``LiftError`` (WEIGHTS_CORRUPT) for files that differ from their NAME.sha256."""
    for file in files:
        expected = published_digest(file)
        if expected is not None and sha256_of(file) != expected:
            raise weights_corrupt(
                f'The SHA-256 of {file} differs from {file.name}.sha256; get the file again.')


def _check_setting(value: Any, path: Path, name: str, depth: int) -> None:
    if depth > _MAX_NESTING:
        _implausible(path, name)
    if isinstance(value, dict | list):
        if len(value) > _MAX_ENTRIES:
            _implausible(path, name)
        pairs = value.items() if isinstance(value, dict) else ((name, item) for item in value)
        for key, item in pairs:
            _check_setting(item, path, str(key), depth + 1)
    elif isinstance(value, int | float) and abs(value) > _MAX_SETTING:
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
