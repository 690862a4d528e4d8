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

"""The error type of the package and its codes."""

from __future__ import annotations

from enum import Enum
from functools import partial


class ErrorCode(str, Enum):
    """Why a request failed; the command line and ROS use the same codes."""

    BAD_IMAGE = 'BAD_IMAGE'
    BAD_REQUEST = 'BAD_REQUEST'
    BUSY = 'BUSY'
    CANCELLED = 'CANCELLED'
    ELEVATION_UNKNOWN = 'ELEVATION_UNKNOWN'
    EMPTY_MASK = 'EMPTY_MASK'
    INTERNAL = 'INTERNAL'
    LOW_CONFIDENCE = 'LOW_CONFIDENCE'
    MASK_TOO_SMALL = 'MASK_TOO_SMALL'
    NOT_ACTIVE = 'NOT_ACTIVE'
    NO_CAMERA = 'NO_CAMERA'
    NO_DEPTH_IN_MASK = 'NO_DEPTH_IN_MASK'
    NO_OBJECT = 'NO_OBJECT'
    NO_SURFACE = 'NO_SURFACE'
    NO_TRANSFORM = 'NO_TRANSFORM'
    OUT_OF_MEMORY = 'OUT_OF_MEMORY'
    SIZE_MISMATCH = 'SIZE_MISMATCH'
    STALE = 'STALE'
    TIMEOUT = 'TIMEOUT'
    WEIGHTS_CORRUPT = 'WEIGHTS_CORRUPT'
    WEIGHTS_MISSING = 'WEIGHTS_MISSING'


class LiftError(Exception):
    """
    A failure that the caller can act on.

    ``code`` is its kind; ``message`` says in one or two sentences what to do.
    """

    def __init__(self, code: ErrorCode, message: str) -> None:
        """Store code and message."""
        super().__init__(f'{code.value}: {message}')
        self.code = code
        self.message = message

    def __reduce__(self) -> tuple[type[LiftError], tuple[ErrorCode, str]]:
        """Pickle by code and message, so that both survive between processes."""
        return type(self), (self.code, self.message)


#: The most frequent errors, by their messages.
bad_image = partial(LiftError, ErrorCode.BAD_IMAGE)
bad_request = partial(LiftError, ErrorCode.BAD_REQUEST)
no_camera = partial(LiftError, ErrorCode.NO_CAMERA)
size_mismatch = partial(LiftError, ErrorCode.SIZE_MISMATCH)
weights_corrupt = partial(LiftError, ErrorCode.WEIGHTS_CORRUPT)
weights_missing = partial(LiftError, ErrorCode.WEIGHTS_MISSING)
