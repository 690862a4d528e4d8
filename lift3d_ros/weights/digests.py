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

"""SHA-256 of files, and the digests that publishers put beside them."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
import hashlib
from pathlib import Path
import re

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import weights_corrupt
from lift3d_ros.runtime.files import open_regular
from lift3d_ros.runtime.files import read_regular

_BLOCK = 2**22

#: A digest as sha256sum writes it, with or without the name of the file.
_DIGEST = re.compile(r'\s*([0-9a-fA-F]{64})(?:\s|$)')


def sha256_of(path: Path, progress: Callable[[int], None] | None = None) -> str:
    """Return the SHA-256 of a file in hexadecimal; ``progress`` is told of each block's bytes."""
    digest = hashlib.sha256()
    with open_regular(path, ErrorCode.WEIGHTS_CORRUPT) as file:
        while block := file.read(_BLOCK):
            digest.update(block)
            if progress is not None:
                progress(len(block))
    return digest.hexdigest()


def digest_beside(file: Path) -> str | None:
    """
    Return the SHA-256 that the file NAME.sha256 beside a file gives, None without one.

    Raises ``LiftError`` (WEIGHTS_CORRUPT) where there is none in it.
    """
    beside = file.with_name(f'{file.name}.sha256')
    try:
        text = read_regular(beside, 4096, ErrorCode.WEIGHTS_CORRUPT).decode('ascii', 'replace')
    except OSError:
        return None
    match = _DIGEST.match(text)
    if match is None:
        raise weights_corrupt(
            f'{beside} contains no SHA-256; write the 64 hexadecimal digits to it, or remove it.')
    return match[1].lower()


def check_beside(files: Iterable[Path]) -> None:
    """Raise ``LiftError`` (WEIGHTS_CORRUPT) for files that differ from the digest beside them."""
    for file in files:
        expected = digest_beside(file)
        if expected is not None and sha256_of(file) != expected:
            raise weights_corrupt(
                f'The SHA-256 of {file} differs from {file.name}.sha256; get the file again.')
