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

"""The web server of the viewer: address, start and end."""

from __future__ import annotations

from collections.abc import Callable
import contextlib
import io
import logging
from pathlib import Path
import signal
import socket
import threading
from typing import Any

from lift3d_ros.errors import bad_request
from lift3d_ros.lifter import Lifter
from lift3d_ros.viewer.app import Viewer
from lift3d_ros.viewer.content import Content
from lift3d_ros.viewer.recordings import is_bag
from lift3d_ros.viewer.recordings import read_bag_content
from lift3d_ros.viewer.results import read_results
from lift3d_ros.viewer.scenes import read_scene_content


def open_content(
    path: Path, lifter: Lifter, target_frame: str = '', label_image: bool | None = None
) -> Content:
    """
    Return what is at a path: results, a scene, or a bag.

    ``target_frame`` and ``label_image`` are those of ``lift3d bag``. Raises ``LiftError``:
    ``BAD_REQUEST`` if it is none of them, and those of scenes and bags.
    """
    if not path.exists():
        raise bad_request(
            f'There is nothing at {path}; give a folder of results, a scene or a bag.')
    if is_bag(path):
        return read_bag_content(path, lifter, target_frame, label_image)
    if path.is_file():
        return read_scene_content(path, lifter)
    if any(True for _ in path.glob('rgb.*')):
        return read_scene_content(path, lifter)
    results = read_results(path)
    if results is None:
        raise bad_request(
            f'{path} has no results of lift3d lift, scene or bag (NAME.json), no image of a scene '
            '(rgb.png) and no bag; give the folder of --out, a scene folder or a bag.')
    return results


def make_server(host: str, port: int) -> Any:
    """
    Return a viser server at an address; ``port`` 0 chooses a free one.

    Raises ``LiftError(BAD_REQUEST)`` without viser, and for an address that cannot be used.
    """
    try:
        import viser
    except ImportError as error:
        raise bad_request(
            'The viewer needs viser, which is not installed: pip install "lift3d_ros[viewer]".'
        ) from error
    # viser takes the next free port by itself, and a robot's page would be elsewhere than told.
    free = _free_port(host, port)
    # A browser that leaves in the middle of a handshake is no error of this program.
    logging.getLogger('websockets').setLevel(logging.CRITICAL)
    # It prints its addresses in any case; this program prints its own.
    with contextlib.redirect_stdout(io.StringIO()):
        server = viser.ViserServer(host, free, verbose=False)
    if server.get_port() != free:
        server.stop()
        raise _taken(host, free, 'another program took it')
    return server


def serve(
    content: Content,
    compared: Content | None,
    host: str,
    port: int,
    ready: Callable[[str], None],
    started: Callable[[Viewer], None] = lambda viewer: None,
) -> None:
    """
    Serve until SIGTERM or Ctrl-C; ``ready`` receives the address, ``started`` the viewer.

    Raises ``LiftError`` as ``make_server``.
    """
    ended = threading.Event()
    before = {
        number: signal.signal(number, lambda *_: ended.set())
        for number in (signal.SIGTERM, signal.SIGINT)}
    server = make_server(host, port)
    viewer = Viewer(server, content, compared)
    try:
        viewer.start()
        started(viewer)
        ready(address(host, server.get_port()))
        # With a timeout, since a wait without one blocks signals on some systems.
        while not ended.wait(0.5):
            pass
    finally:
        viewer.close()
        server.stop()
        for number, handler in before.items():
            signal.signal(number, handler)


def address(host: str, port: int) -> str:
    """Return the URL of a host, also of an IPv6 one."""
    name = f'[{host}]' if ':' in host else host
    return f'http://{name}:{port}'


def _free_port(host: str, port: int) -> int:
    """Return the port if it is free, or a free one for 0; raises ``LiftError(BAD_REQUEST)``."""
    try:
        family, kind, _, _, place = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place)
            return int(probe.getsockname()[1])
    except (OSError, OverflowError) as error:
        raise _taken(host, port, str(error)) from error


def _taken(host: str, port: int, reason: str) -> Exception:
    return bad_request(
        f'The viewer cannot listen on {host}:{port} ({reason}); choose another --port (0 for a '
        'free one) or --host.')
