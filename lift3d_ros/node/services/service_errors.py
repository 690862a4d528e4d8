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

"""Error responses of services: a client without a response would wait for ever."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
import functools
import threading
import time
import traceback
from typing import Any

from rclpy.logging import get_logger
from rclpy.service import Service

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError

Callback = Callable[[Any, Any, Any], Any]

#: Responses that are sent at once. By default a client queues ten responses and drops others.
_BURST_RESPONSES = 5

#: Seconds between further responses. A Python client reads a response in some milliseconds, and
#: tens of them on a busy machine; at 20 ms two of 30 responses were lost.
_RESPONSE_PERIOD_S = 0.05


class Pace:
    """Spreads responses in time, so that a client can read all of them. Thread-safe."""

    def __init__(
        self, burst: int = _BURST_RESPONSES, period: float = _RESPONSE_PERIOD_S
    ) -> None:
        """Send ``burst`` responses at once, and then one every ``period`` seconds."""
        self._allowance = burst * period
        self._period = period
        #: Time at which all responses so far are sent, at one per period.
        self._busy_until = 0.0
        self._last = -float('inf')
        self._lock = threading.Lock()

    def delay(self) -> float:
        """Count a response; return the seconds by which it must be delayed."""
        now = time.monotonic()
        with self._lock:
            self._busy_until = max(self._busy_until, now) + self._period
            delay = max(self._busy_until - now - self._allowance, 0.0)
            self._last = max(self._last, now + delay)
            return delay

    def wait(self) -> None:
        """Sleep until the next response may be sent."""
        time.sleep(self.delay())

    def idle_s(self) -> float:
        """Return the seconds since the last response; negative while one still waits."""
        with self._lock:
            return time.monotonic() - self._last


#: Shared by all services and actions of the process, since a client may use several.
PACE = Pace()


def service_errors(callback: Callback) -> Callback:
    """
    Turn exceptions of a service callback into error responses.

    ``callback`` is a method of (request, response). The response has the fields ``success``,
    ``error_code`` and ``message``. Other exceptions than ``LiftError`` become ``INTERNAL`` and are
    logged.
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


def answer_unread(services: Iterable[Service]) -> int:
    """
    Respond to received requests that no executor has taken; return their number.

    No executor may spin meanwhile, since it would take the same requests.
    """
    count = 0
    for service in services:
        while True:
            with service.handle:
                request, header = service.handle.service_take_request(service.srv_type.Request)
            if header is None:
                break
            response = service.callback(request, service.srv_type.Response())
            service.send_response(response, header)
            count += 1
    return count
