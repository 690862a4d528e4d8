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


"""The client of a lift server: calls with a timeout, and when to do without it."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
import socket
import threading
import time
from typing import Any
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from lift3d_ros.errors import bad_request
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry.frame import Frame
from lift3d_ros.geometry.shape import Shape
from lift3d_ros.observation.request import LiftRequest
from lift3d_ros.serve.wire import Call
from lift3d_ros.serve.wire import CONTENT_TYPE
from lift3d_ros.serve.wire import decode_results
from lift3d_ros.serve.wire import encode_call
from lift3d_ros.serve.wire import MAX_OBJECTS

if TYPE_CHECKING:
    # Its import, with email and ssl, takes as long as numpy's.
    import http.client

#: Path of the call.
PATH = '/v1/lift'

#: Time in seconds within which a server accepts a connection, or is not there.
_CONNECT_S = 2.0

#: Time in seconds during which a server that failed is not asked again.
PAUSE_S = 10.0

#: Period in seconds at which a waiting call checks for cancellation.
_POLL_S = 0.02

#: Largest answer: 64 meshes of 20,000 faces have about 30 MB.
_MAX_ANSWER_BYTES = 256_000_000

#: Errors of a server rather than of an object.
SERVER_ERRORS = frozenset((
    ErrorCode.BUSY, ErrorCode.INTERNAL, ErrorCode.NOT_ACTIVE, ErrorCode.OUT_OF_MEMORY,
    ErrorCode.WEIGHTS_CORRUPT, ErrorCode.WEIGHTS_MISSING,
))


class ServerUnavailableError(Exception):
    """The server gave no usable answer; the message is a clause that says why."""


class ServerClient:
    """Calls one server; for one thread at a time."""

    def __init__(self, url: str, timeout: float = 30.0) -> None:
        """
        Configure; nothing is sent.

        ``url`` is such as ``http://gpu-server:8300``; ``timeout`` is that of a call in seconds.
        Raises ``LiftError(BAD_REQUEST)`` for another form.
        """
        check_address(url)
        parts = urlsplit(url)
        if not timeout > 0.0:
            raise bad_request(f'The timeout of the server is {timeout} s; it must be positive.')
        self.url = url.rstrip('/')
        self.timeout = timeout
        self._is_https = parts.scheme == 'https'
        self._host, self._port = parts.hostname or '', parts.port
        self._path = parts.path.rstrip('/') + PATH
        self._paused_until = 0.0
        self._reason = ''

    def answers(
        self,
        frame: Frame,
        requests: Sequence[LiftRequest],
        fallback: str,
        max_faces: int,
        cancelled: Callable[[], bool] | None = None,
        deadline: float | None = None,
    ) -> list[Shape | LiftError | str]:
        """
        Return the result of the server for each object, or the note why ``fallback`` lifts it.

        ``fallback`` is the name of the method of the caller. Errors of an object are results;
        those in ``SERVER_ERRORS`` are reasons to lift without the server.
        """
        here = f'Lifted by {fallback} here instead of on {self.url}'
        results: Sequence[Shape | LiftError]
        try:
            results = self.lift(
                frame, requests, max_faces, cancelled=cancelled, deadline=deadline)
        except ServerUnavailableError as error:
            return [f'{here}: {error}.' for _ in requests]
        except LiftError as error:
            results = [error for _ in requests]
        return [
            f'{here}: {result.message}'
            if isinstance(result, LiftError) and result.code in SERVER_ERRORS else result
            for result in results
        ]

    def lift(
        self,
        frame: Frame,
        requests: Sequence[LiftRequest],
        max_faces: int,
        *,
        cancelled: Callable[[], bool] | None = None,
        deadline: float | None = None,
    ) -> list[Shape | LiftError]:
        """
        Return the results of the server, in the order of the requests.

        ``cancelled`` and ``deadline`` as in ``Lifter.lift_all``. Raises ``ServerUnavailableError``
        at once for some seconds after a failure, so that a lift does not wait for each timeout;
        ``LiftError``: ``CANCELLED``, ``TIMEOUT`` at the ``deadline``, ``BAD_REQUEST`` for a
        request that is too large or refused as a whole.
        """
        now = time.monotonic()
        if now < self._paused_until:
            raise ServerUnavailableError(f'{self._reason}, less than {PAUSE_S:.0f} s ago')
        ends = now + self.timeout
        if deadline is not None:
            ends = min(ends, deadline)
        results: list[Shape | LiftError] = []
        try:
            for first in range(0, len(requests), MAX_OBJECTS):
                call = Call(
                    frame, tuple(requests[first:first + MAX_OBJECTS]), max_faces,
                    max(ends - time.monotonic(), 0.001))
                results += self._call(call, cancelled, ends)
        except ServerUnavailableError as error:
            if deadline is not None and time.monotonic() >= deadline:
                raise LiftError(
                    ErrorCode.TIMEOUT, f'The deadline passed while {self.url} was asked; allow '
                    'more time.') from error
            self._reason = str(error)
            self._paused_until = time.monotonic() + PAUSE_S
            raise
        return results

    def _call(
        self, call: Call, cancelled: Callable[[], bool] | None, ends: float
    ) -> list[Shape | LiftError]:
        exchange = _Exchange(
            self._connection(ends), self._path, encode_call(call), ends)
        exchange.start()
        while not exchange.done.wait(_POLL_S):
            if cancelled is not None and cancelled():
                exchange.end()
                raise LiftError(ErrorCode.CANCELLED, 'The request was cancelled.')
            if time.monotonic() > ends:
                exchange.end()
                raise ServerUnavailableError(f'it did not answer within {self.timeout:g} s')
        status, data = exchange.answer()
        if status in (200, 400, 413, 422):
            try:
                results = decode_results(data)
            except LiftError as error:
                raise ServerUnavailableError(f'it is not a lift server ({error.message})') from (
                    error)
            if status != 200 and isinstance(results[0], LiftError):
                raise results[0]
            if len(results) == len(call.requests):
                return results
            raise ServerUnavailableError('its answer has another number of objects')
        raise ServerUnavailableError(_explained(status, data))

    def _connection(self, ends: float) -> http.client.HTTPConnection:
        import http.client

        kind = http.client.HTTPSConnection if self._is_https else http.client.HTTPConnection
        wait = max(min(_CONNECT_S, ends - time.monotonic()), 0.001)
        return kind(self._host, self._port, timeout=wait)


def check_address(url: str) -> None:
    """Raise ``LiftError(BAD_REQUEST)`` for what is neither an address of a server nor empty."""
    if not url:
        return
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise bad_request(f'The address of the server is not valid: {error}.') from error
    if parts.scheme not in ('http', 'https') or not parts.hostname or parts.query:
        raise bad_request(
            f'{url[:200]!r} is not the address of a server; give http://HOST:PORT.')


class _Exchange(threading.Thread):
    """One request and its answer, in a thread so that the caller can stop to wait."""

    def __init__(
        self, connection: http.client.HTTPConnection, path: str, body: bytes, ends: float
    ) -> None:
        super().__init__(name='lift3d-remote', daemon=True)
        self.done = threading.Event()
        self._connection = connection
        self._path = path
        self._body = body
        self._ends = ends
        self._answer: tuple[int, bytes] | None = None
        self._error: Exception | None = None

    def run(self) -> None:
        """Send the request and read the answer."""
        import http.client

        try:
            self._connection.connect()
            # From here the time of the caller counts.
            self._connection.sock.settimeout(max(self._ends - time.monotonic(), 0.001))
            self._connection.request(
                'POST', self._path, self._body, {'Content-Type': CONTENT_TYPE})
            response = self._connection.getresponse()
            data = response.read(_MAX_ANSWER_BYTES + 1)
            length = response.getheader('Content-Length')
            if len(data) > _MAX_ANSWER_BYTES or (length and int(length) != len(data)):
                raise http.client.IncompleteRead(data[:0])
            self._answer = response.status, data
        except Exception as error:
            self._error = error
        finally:
            self._connection.close()
            self.done.set()

    def end(self) -> None:
        """Close the connection, which tells the server that nobody waits."""
        sock = self._connection.sock
        if sock is not None:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass   # it is closed already

    def answer(self) -> tuple[int, bytes]:
        """Return status and body; raises ``ServerUnavailableError``."""
        if self._answer is None:
            import http.client

            error = self._error
            if isinstance(error, ConnectionRefusedError):
                reason = 'nothing listens there'
            elif isinstance(error, TimeoutError):
                reason = 'it did not answer in time'
            elif isinstance(error, (http.client.HTTPException, ConnectionError)):
                reason = f'it ended the connection in the request ({type(error).__name__})'
            else:
                reason = str(error) or type(error).__name__
            raise ServerUnavailableError(reason) from error
        return self._answer


def _explained(status: int, data: bytes) -> str:
    """Return what an answer without results says."""
    message: Any = ''
    try:
        result = decode_results(data)[0]
        message = result.message if isinstance(result, LiftError) else ''
    except (LiftError, IndexError):
        pass   # not of a lift server, such as that of a proxy
    return f'it answered {status}' + (f': {message.rstrip(".")}' if message else '')
