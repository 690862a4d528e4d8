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


"""Any error as one with a code, and errors that concern all work."""

from __future__ import annotations

import errno
import traceback

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.runtime import memory
from lift3d_ros.runtime.files import write_error

#: Errors of writing that every later file would meet as well.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def is_full(error: BaseException | None) -> bool:
    """Return whether an error or its cause reports a full or read-only disk."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        error = error.__cause__
    return False


def as_lift_error(error: Exception) -> LiftError:
    """Return any error as one with a code; an unexpected one is printed with its traceback."""
    if isinstance(error, LiftError):
        return error
    if memory.is_exhausted(error):
        return memory.exhausted(error)
    if isinstance(error, OSError):
        failure = write_error(error)
        failure.__cause__ = error
        return failure
    traceback.print_exception(error)
    return LiftError(
        ErrorCode.INTERNAL, f'{type(error).__name__}: {error}; please report this with the '
        'traceback above.')
