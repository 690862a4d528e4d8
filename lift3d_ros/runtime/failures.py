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


"""Any error as one with a code."""

from __future__ import annotations

import traceback

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.runtime import memory
from lift3d_ros.runtime.files import write_error


def as_lift_error(error: Exception) -> LiftError:
    """Return any error as one with a code; an unexpected one is printed with its traceback."""
    if isinstance(error, LiftError):
        return error
    if memory.is_exhausted(error):
        return memory.exhausted(error)
    if isinstance(error, OSError):
        return write_error(error)
    traceback.print_exception(error)
    return LiftError(
        ErrorCode.INTERNAL, f'{type(error).__name__}: {error}; please report this with the '
        'traceback above.')
