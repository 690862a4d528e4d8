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

"""A node in a process of its own, for programs that test it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextlib import suppress
import json
import signal
import subprocess
import sys
import time
from typing import Any

from lift3d_ros.node.executors.background import BackgroundNode

#: The package of the node, which starts as a module.
_NODE = 'lift3d_ros.node'

#: Seconds that a node has to become active, and to end after SIGINT.
_START_S, _END_S = 300.0, 30.0

#: Seconds after which the question for its state is repeated.
_ANSWER_S = 5.0


def node_command(server: str, module: str = _NODE, **parameters: Any) -> list[str]:
    """Return the command line of an active node ``NAMESPACE/NAME`` with parameters."""
    space, _, name = server.rpartition('/')
    command = [
        sys.executable, '-m', module, '--autostart', '--ros-args', '--log-level',
        'fatal', '-r', f'__node:={name}']
    if space:
        command += ['-r', f'__ns:={space}']
    for parameter, value in parameters.items():
        command += ['-p', f'{parameter}:={json.dumps(value)}']
    return command


@contextmanager
def running_node(
    server: str, module: str = _NODE, **parameters: Any
) -> Iterator[subprocess.Popen[Any]]:
    """Run a node, and end it by SIGINT, or by SIGKILL if it does not end."""
    child: subprocess.Popen[Any] = subprocess.Popen(node_command(server, module, **parameters))
    try:
        yield child
    finally:
        child.send_signal(signal.SIGINT)
        try:
            child.wait(_END_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def wait_until_active(
    background: BackgroundNode, server: str, process: subprocess.Popen[Any]
) -> None:
    """
    Wait until a node is active.

    Raises ``TimeoutError``, and ``RuntimeError`` once its ``process`` has ended.
    """
    end = time.monotonic() + _START_S
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f'the node {server} ended with status {process.returncode}')
        # A response to a client that the node has not discovered yet is lost.
        with suppress(TimeoutError):
            if background.lifecycle_state(server, _ANSWER_S) == 'active':
                return
        time.sleep(0.1)
    raise TimeoutError(f'the node {server} did not become active')
