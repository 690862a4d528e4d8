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

"""The ``lift3d`` command."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
import importlib
import os
import sys
from types import ModuleType

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.runtime import memory

#: Commands, each a module here with ``add_arguments`` and ``run``, and their line in the help.
_COMMANDS = {
    'lift': 'lift scene folders: an image and a mask in, a closed mesh out',
    'scene': 'complete whole frames: measured and hidden surfaces, free space, lifted objects',
    'text': 'generate a picture from a text with a pipeline on disk, and lift it',
    'bag': 'lift objects of a recorded bag (rosbag2), without ROS',
    'batch': 'lift thousands of scenes and bags on Ray, resumable',
    'serve': 'lift for several robots: an HTTP server with health and metrics',
    'show': 'show results, scenes, bags or a running node in the browser',
    'views': 'synthesise views: scenes in, images from other directions out',
    'methods': 'list the methods',
    'weights': 'list, verify, import and fetch the weights of the networks',
    'train': 'train the packaged weights',
    'bench': 'measure methods and baselines on scanned objects (bench node: latency of the node)',
    'demo': 'start the ROS 2 node, lift an object, write meshes and an image',
}

#: Commands whose module is in a folder here.
_FOLDERS = {'bag': 'fleet', 'batch': 'fleet', 'serve': 'fleet'}

#: Commands that are programs of the node, which parse their own arguments.
_NODE_PROGRAMS = {
    ('node',): 'lift3d_ros.node',
    ('bench', 'node'): 'lift3d_ros.node.benchmark',
}

#: Address space and data size below which the libraries of a command do not load, MiB. Some of
#: them do not fail then, but wait forever for a thread that did not start.
_MIN_ADDRESS_SPACE_MIB = 900
_MIN_DATA_MIB = 450

#: Exit status after Ctrl-C, by the convention of shells.
_INTERRUPTED_STATUS = 130

#: Exit status after SIGPIPE, when the reader of the output has ended.
_BROKEN_PIPE_STATUS = 141


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Run the command; return its exit status.

    0 for success, 1 if a lift failed, 2 for an invalid command line, 130 after Ctrl-C, 141 if the
    reader of the output has ended.
    """
    argv = list(sys.argv[1:] if arguments is None else arguments)
    try:
        status = _run(argv)
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        # The reader, such as `head`, has ended; without this Python reports it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE_STATUS
    except LiftError as error:
        text = str(error) if error.code is ErrorCode.OUT_OF_MEMORY else error.message
        print(f'lift3d: {text}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print('lift3d: interrupted', file=sys.stderr)
        return _INTERRUPTED_STATUS
    except Exception as error:
        if not memory.is_exhausted(error):
            raise
        print(f'lift3d: {memory.exhausted(error)}', file=sys.stderr)
        return 1


def _load(name: str) -> ModuleType:
    """Import the module of a command; raises ``LiftError(OUT_OF_MEMORY)``."""
    memory.check_limits(_MIN_ADDRESS_SPACE_MIB, _MIN_DATA_MIB)
    try:
        module = f'{_FOLDERS[name]}.{name}' if name in _FOLDERS else name
        return importlib.import_module(f'lift3d_ros.cli.{module}')
    except ImportError as error:
        # The loader reports it as if a file were missing.
        if memory.is_exhausted(error):
            raise memory.exhausted(error) from error
        raise


def _run(arguments: list[str]) -> int:
    for words, program in _NODE_PROGRAMS.items():
        if tuple(arguments[:len(words)]) == words:
            from lift3d_ros.runtime.node_process import replace_process

            replace_process(program, arguments[len(words):])
    parser = argparse.ArgumentParser(
        prog='lift3d',
        description='Reconstruct closed, coloured, metric meshes of objects from masked camera '
        'images.',
    )
    commands = parser.add_subparsers(required=True, metavar='COMMAND')
    for name, summary in _COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=f'{summary}.')
        # Only the module of the requested command is imported, so that the help is quick.
        if arguments[:1] == [name]:
            module = _load(name)
            module.add_arguments(command)
            command.set_defaults(run=module.run)
    commands.add_parser('node', help='run the ROS 2 node (lift3d node --help)')
    options = parser.parse_args(arguments)
    return int(options.run(options))
