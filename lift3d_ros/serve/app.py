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


"""
The server as an ASGI application.

    POST /v1/lift    a ``Call`` of the wire format in, its results out
    GET /health      200 and JSON while calls are lifted, else 503
    GET /metrics     counters for Prometheus
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from collections.abc import Callable
import json
import threading
from typing import Any

from lift3d_ros import __version__
from lift3d_ros.errors import bad_request
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.lifter import Lifter
from lift3d_ros.runtime import memory
from lift3d_ros.runtime.failures import as_lift_error
from lift3d_ros.serve import metrics as prometheus
from lift3d_ros.serve.batching import Batcher
from lift3d_ros.serve.batching import BatchingSettings
from lift3d_ros.serve.client import PATH
from lift3d_ros.serve.wire import CONTENT_TYPE
from lift3d_ros.serve.wire import decode_call
from lift3d_ros.serve.wire import encode_results
from lift3d_ros.serve.wire import MAX_BYTES
from lift3d_ros.serve.wire import VERSION

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

#: HTTP status of an error of a whole request.
_STATUS = {
    ErrorCode.BUSY: 503, ErrorCode.NOT_ACTIVE: 503, ErrorCode.INTERNAL: 500,
    ErrorCode.OUT_OF_MEMORY: 500,
}

#: Time in seconds within which the body of a request must arrive.
_BODY_S = 30.0


class _Disconnected(Exception):
    """The client is gone."""


class LiftApp:
    """Lifts for several clients by one loaded method."""

    def __init__(self, lifter: Lifter, settings: BatchingSettings | None = None) -> None:
        """Configure; ``start`` loads the method."""
        self.metrics = prometheus.Metrics()
        self.batcher = Batcher(lifter, settings or BatchingSettings(), self.metrics)
        self._lifter = lifter

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Answer a request (ASGI 3)."""
        if scope['type'] != 'http':
            return
        method, path = scope['method'], scope['path']
        if path == PATH and method == 'POST':
            try:
                status, body, kind = await self._lift(scope, receive)
            except _Disconnected:
                self.metrics.request(499)
                return
            self.metrics.request(status)
        elif path == '/health' and method in ('GET', 'HEAD'):
            status, body, kind = self._health()
        elif path == '/metrics' and method == 'GET':
            text = self.metrics.text(self.batcher.waiting)
            status, body, kind = 200, text.encode(), prometheus.CONTENT_TYPE
        else:
            status = 405 if path in (PATH, '/health', '/metrics') else 404
            body, kind = b'', 'text/plain'
        headers = [(b'content-type', kind.encode()), (b'content-length', b'%d' % len(body))]
        if status == 503:
            headers.append((b'retry-after', b'1'))
        await send({'type': 'http.response.start', 'status': status, 'headers': headers})
        await send({
            'type': 'http.response.body', 'body': b'' if method == 'HEAD' else body})

    def _health(self) -> tuple[int, bytes, str]:
        alive = self.batcher.is_alive
        entry = {
            'ok': alive,
            'version': __version__,
            'wire': VERSION,
            'method': self._lifter.name,
            'waiting_objects': self.batcher.waiting,
            'peak_memory_mb': round(memory.peak_mb(), 1),
        }
        return 200 if alive else 503, json.dumps(entry).encode(), 'application/json'

    async def _lift(self, scope: dict[str, Any], receive: Receive) -> tuple[int, bytes, str]:
        """Return status, body and content type of a call."""
        loop = asyncio.get_running_loop()
        try:
            data = await _body(scope, receive)
            # Decoding takes milliseconds, in which others are answered.
            call = await loop.run_in_executor(None, decode_call, data)
            del data
            cancelled = threading.Event()
            future = asyncio.wrap_future(self.batcher.submit(call, cancelled))
            gone = asyncio.ensure_future(_disconnection(receive))
            either: set[asyncio.Future[Any]] = {future, gone}
            try:
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
                if not future.done():
                    raise _Disconnected
                results = future.result()
            finally:
                cancelled.set()
                gone.cancel()
            body = await loop.run_in_executor(None, encode_results, results)
            return 200, body, CONTENT_TYPE
        except _TooLargeError as error:
            return 413, encode_results([error.error]), CONTENT_TYPE
        except LiftError as error:
            status = _STATUS.get(error.code, 400)
            return status, encode_results([error]), CONTENT_TYPE
        except _Disconnected:
            raise
        except Exception as error:
            return 500, encode_results([as_lift_error(error)]), CONTENT_TYPE


class _TooLargeError(Exception):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.error = bad_request(
            f'The request has {size} bytes or more, and a server takes {MAX_BYTES}.')


async def _body(scope: dict[str, Any], receive: Receive) -> bytes:
    """Return the body of a request; raises for one that is too large or does not arrive."""
    for name, value in scope['headers']:
        if name == b'content-length' and value.isdigit() and int(value) > MAX_BYTES:
            raise _TooLargeError(int(value))
    parts, size = [], 0
    try:
        async with _Timeout(_BODY_S):
            while True:
                message = await receive()
                if message['type'] == 'http.disconnect':
                    raise _Disconnected
                parts.append(message.get('body', b''))
                size += len(parts[-1])
                if size > MAX_BYTES:
                    raise _TooLargeError(size)
                if not message.get('more_body'):
                    return b''.join(parts)
    except asyncio.CancelledError as error:
        raise bad_request(f'The request did not arrive within {_BODY_S:.0f} s.') from error


class _Timeout:
    """Cancels what is awaited in a block after some seconds; asyncio.timeout of Python 3.11."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    async def __aenter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._handle = asyncio.get_running_loop().call_later(self._seconds, task.cancel)

    async def __aexit__(self, *error: object) -> None:
        self._handle.cancel()


async def _disconnection(receive: Receive) -> None:
    """Return when the client is gone."""
    while (await receive())['type'] != 'http.disconnect':
        pass
