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


"""Run a lift server in this process, by uvicorn."""

from __future__ import annotations

from collections.abc import Callable
import socket
from typing import Any

from lift3d_ros.errors import bad_request
from lift3d_ros.lifter import Lifter
from lift3d_ros.serve.app import LiftApp
from lift3d_ros.serve.batching import BatchingSettings

#: Time in seconds that running requests have to end after SIGTERM or Ctrl-C.
_GRACE_S = 30

#: Connections that are open at once.
_MAX_CONNECTIONS = 256


def serve(
    lifter: Lifter,
    host: str,
    port: int,
    settings: BatchingSettings,
    ready: Callable[[str], None] = lambda url: None,
) -> None:
    """
    Serve until SIGTERM or Ctrl-C; ``ready`` receives the address when calls are taken.

    ``port`` 0 chooses a free one. Raises ``LiftError``: ``BAD_REQUEST`` without uvicorn and for
    an address that cannot be used, and as ``Lifter.load``.
    """
    try:
        import uvicorn
    except ImportError as error:
        raise bad_request(
            'The server needs uvicorn, which is not installed: pip install '
            '"lift3d_ros[serve]".') from error
    with _listen(host, port) as listener:
        app = LiftApp(lifter, settings)
        app.batcher.start()

        class Server(uvicorn.Server):
            async def startup(self, sockets: list[socket.socket] | None = None) -> None:
                await super().startup(sockets)
                if self.started:
                    name = f'[{host}]' if ':' in host else host
                    ready(f'http://{name}:{listener.getsockname()[1]}')

        config: Any = uvicorn.Config(
            app, http='h11', ws='none', lifespan='off', loop='asyncio', log_level='warning',
            access_log=False, timeout_graceful_shutdown=_GRACE_S,
            limit_concurrency=_MAX_CONNECTIONS, server_header=False)
        try:
            Server(config).run(sockets=[listener])
        finally:
            app.batcher.close()


def _listen(host: str, port: int) -> socket.socket:
    """Return a bound socket; raises ``LiftError(BAD_REQUEST)``."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.socket(family, kind)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
        except OSError:
            listener.close()
            raise
    except (OSError, OverflowError) as error:
        raise bad_request(
            f'The server cannot listen on {host}:{port} ({error}); choose another --host or '
            '--port.') from error
    return listener
