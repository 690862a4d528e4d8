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
import threading
import time
import traceback
from typing import Any

from rclpy.logging import get_logger

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError

Callback = Callable[[Any, Any, Any], Any]

#: A client keeps ten answers that it has not taken yet, by the default of ROS, and loses what is
#: more. So of answers that are ready at the same time these many are sent at once, ...
_BURST_ANSWERS = 5

#: ... and the others that many seconds apart: a client in Python takes an answer in some
#: milliseconds, and on a busy machine it sleeps for tens of them. At 20 ms two of 30 were lost.
_ANSWER_PERIOD_S = 0.05


class Pace:
    """Spreads answers in time, so that a client can take all of them. For any threads."""

    def __init__(
        self, burst: int = _BURST_ANSWERS, period: float = _ANSWER_PERIOD_S
    ) -> None:
        """Let ``burst`` answers pass at once, and then one every ``period`` seconds."""
        self._allowance = burst * period
        self._period = period
        #: When all answers so far had gone out if each took a period.
        self._busy_until = 0.0
        self._lock = threading.Lock()

    def delay(self) -> float:
        """Return the seconds that the next answer, which is now counted, has to wait."""
        now = time.monotonic()
        with self._lock:
            self._busy_until = max(self._busy_until, now) + self._period
            return max(self._busy_until - now - self._allowance, 0.0)

    def wait(self) -> None:
        """Sleep until the next answer may be sent."""
        time.sleep(self.delay())


#: Of all services and actions of a process: clients may use several.
PACE = Pace()


def answering(callback: Callback) -> Callback:
    """
    Turn what a service's callback raises into an answer.

    ``callback`` is a method of (request, response). The response has the fields ``success``,
    ``error_code`` and ``message``; what is no ``LiftError`` is ``INTERNAL``, and is logged.
    """

    @functools.wraps(callback)
    def answer(self: Any, request: Any, response: Any) -> Any:
        try:
            response = callback(self, request, response)
            failure = None
        except LiftError as error:
            failure = error
        except Exception as error:
            get_logger('lift3d').error(traceback.format_exc())
            failure = LiftError(ErrorCode.INTERNAL, f'{type(error).__name__}: {error}')
        if failure is not None:
            response.success = False
            response.error_code, response.message = failure.code.value, failure.message
        PACE.wait()
        return response

    return answer
