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

"""Services that answer whatever goes wrong: a caller without an answer waits for ever."""

from __future__ import annotations

from collections.abc import Callable
import functools
import traceback
from typing import Any

from rclpy.logging import get_logger

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError

Callback = Callable[[Any, Any, Any], Any]


def answering(callback: Callback) -> Callback:
    """
    Turn what a service's callback raises into an answer.

    ``callback`` is a method of (request, response). The response has the fields ``success``,
    ``error_code`` and ``message``; what is no ``LiftError`` is ``INTERNAL``, and is logged.
    """

    @functools.wraps(callback)
    def answer(self: Any, request: Any, response: Any) -> Any:
        try:
            return callback(self, request, response)
        except LiftError as error:
            failure = error
        except Exception as error:
            get_logger('lift3d').error(traceback.format_exc())
            failure = LiftError(ErrorCode.INTERNAL, f'{type(error).__name__}: {error}')
        response.success = False
        response.error_code, response.message = failure.code.value, failure.message
        return response

    return answer
