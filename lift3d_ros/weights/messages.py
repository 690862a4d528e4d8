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

"""The error for weights that cannot be used, in words that any terminal shows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import os
from typing import NoReturn

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.errors import weights_corrupt

#: Names in damaged files may have megabytes.
_LONGEST_MESSAGE = 2000


def corrupt(path: str | os.PathLike[str], what: str) -> NoReturn:
    """Raise the error for weights that cannot be used; ``what`` goes on after their path."""
    raise weights_corrupt(f'{shown(os.fspath(path))} {shown(what)}.')


@contextmanager
def damage_refused(path: str | os.PathLike[str]) -> Iterator[None]:
    """
    Raise ``LiftError`` for whatever the block stumbles over, WEIGHTS_CORRUPT for most of it.

    Names, shapes and settings of a damaged file are checked one by one where that can say what is
    wrong. This is for combinations of them that no check knows.
    """
    try:
        yield
    except MemoryError as error:
        raise LiftError(
            ErrorCode.OUT_OF_MEMORY, f'{shown(os.fspath(path))} needs more memory than is free; '
            'free memory, or use smaller weights.') from error
    except (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError,
            ValueError) as error:
        first = (str(error).strip().splitlines() or [''])[0].rstrip('.')
        raise weights_corrupt(
            f'{shown(os.fspath(path))} is inconsistent, so it is another model or is damaged; get '
            f'it again ({shown(f"{type(error).__name__}: {first}")}).') from error


def shown(text: str) -> str:
    """Return text without control characters and halves of characters, and not too long."""
    if len(text) > _LONGEST_MESSAGE:
        text = f'{text[:_LONGEST_MESSAGE]} ...'
    return ''.join(
        letter if letter.isprintable() else letter.encode('unicode_escape').decode('ascii')
        for letter in text)
