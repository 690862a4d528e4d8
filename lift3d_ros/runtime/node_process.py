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

"""Start the processes that need ROS, without importing it."""

from __future__ import annotations

from collections.abc import Sequence
import importlib.util
import os
import signal
import sys
from typing import NoReturn

from lift3d_ros.errors import bad_request
from lift3d_ros.runtime.ros_environment import check_environment

#: The package of the node; running it as a module starts the node itself.
_NODE = 'lift3d_ros.node'


def require_ros(arguments: Sequence[str] = ()) -> None:
    """
    Raise ``LiftError(BAD_REQUEST)`` if a process that needs ROS cannot start.

    The causes are missing rclpy or interfaces, and invalid environment variables of ROS.
    """
    for module, problem in (
        ('rclpy', 'rclpy is not installed'),
        ('lift3d_ros.msg', 'The messages of lift3d_ros are not built'),
    ):
        if importlib.util.find_spec(module) is None:
            raise bad_request(
                f'{problem}; source the ROS 2 workspace with lift3d_ros, or in its source tree '
                'run `make setup` and then `. tools/env.sh`.')
    check_environment(arguments)


def module_command(module: str, arguments: Sequence[str] = ()) -> list[str]:
    """Return the command line that runs a module of the node with this interpreter."""
    if module == _NODE:
        return [sys.executable, '-m', _NODE, *arguments]
    return [sys.executable, '-m', f'{_NODE}.start', module, *arguments]


def replace_process(module: str, arguments: Sequence[str]) -> NoReturn:
    """Replace this process by the module, which then handles signals and the exit status."""
    # Help works without ROS.
    if not {'-h', '--help'} & set(arguments):
        require_ros(arguments)
    sys.stdout.flush()
    sys.stderr.flush()
    # Ctrl-C while the new interpreter starts would print a traceback; the module unblocks it once
    # its handlers are set. The signal mask survives exec, a handler does not.
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT,))
    os.execv(sys.executable, module_command(module, arguments))  # noqa: S606 - no shell
