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
Start the programs of the node, after checks that precede imports of several seconds.

``python -m lift3d_ros.node.start MODULE [ARGUMENT...]`` runs ``main`` of a module of this package.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from typing import NoReturn

from lift3d_ros.errors import LiftError
from lift3d_ros.runtime import memory
from lift3d_ros.runtime.ros_environment import check_environment

#: Exit status for an invalid environment or command line, and after Ctrl-C.
_REFUSED = 2
_INTERRUPTED = 130

#: Minimum address space of the node, MiB; 1054 was measured on two cores with the smallest method.
#: Minimum of the data segment (RLIMIT_DATA); 607 was measured.
_MIN_ADDRESS_SPACE_MIB = 1150
_MIN_DATA_MIB = 650


def run_node() -> NoReturn:
    """Run the node and end the process with its exit status."""
    # Before rclpy, whose import starts threads.
    memory.keep()
    module = _load('lift3d_ros.node.main')
    module.run()
    raise AssertionError('run() ends the process')


def main() -> int:
    """Run the module in the first argument; return its exit status."""
    del sys.argv[0]
    module = _load(sys.argv[0])
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return int(module.main())
    except KeyboardInterrupt:
        print('lift3d: interrupted', file=sys.stderr)
        return _INTERRUPTED


def _load(name: str) -> object:
    """Import a module of the node; on failure print one sentence and end the process."""
    # Ctrl-C while the imports run ends the process without a traceback. It may be blocked: see
    # lift3d_ros/runtime/node_process.py.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT,))
    try:
        if not {'-h', '--help'} & set(sys.argv):
            check_environment(sys.argv)
        memory.check_limits(_MIN_ADDRESS_SPACE_MIB, _MIN_DATA_MIB)
        return importlib.import_module(name)
    except LiftError as error:
        _give_up(str(error) if error.code.value == 'OUT_OF_MEMORY' else error.message)
    except Exception as error:
        if memory.is_exhausted(error):
            _give_up(str(memory.exhausted(error)))
        if isinstance(error, ImportError) and error.name in ('rclpy', '_rclpy_pybind11'):
            _give_up(f'rclpy cannot be imported ({error}); source a ROS 2 installation.')
        raise


def _give_up(sentence: str) -> NoReturn:
    print(f'lift3d: {sentence}', file=sys.stderr)
    sys.stderr.flush()
    os._exit(_REFUSED)


if __name__ == '__main__':
    sys.exit(main())
