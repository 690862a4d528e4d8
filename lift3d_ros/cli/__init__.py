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
    'views': 'show objects from new sides: scenes in, pictures from other directions out',
    'methods': 'list the methods',
    'weights': 'list, verify, import and fetch the weights of the networks',
    'train': 'train the packaged weights anew',
    'bench': 'measure methods and baselines on scanned objects (bench node: what ROS adds)',
    'demo': 'start the ROS 2 node, ask it for an object, leave meshes and a picture',
}

#: Commands that are programs of the node, which parse their own arguments.
_NODE_PROGRAMS = {
    ('node',): 'lift3d_ros.node',
    ('bench', 'node'): 'lift3d_ros.node.benchmark',
}

#: Address space and written memory below which the libraries of a command do not load, MiB. Some
#: of them neither load nor fail then, but wait for ever for a thread that could not be started.
_MIN_ADDRESS_SPACE_MIB = 900
_MIN_DATA_MIB = 450

#: The exit status that a shell expects of a command that Ctrl-C ended.
_INTERRUPTED = 130

#: And of one whose output nobody reads any more, which SIGPIPE ends as a rule.
_UNHEARD = 141


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Run the command; return its exit status.

    0 where all went well, 1 where a lift failed, 2 for a command line that asks for what cannot
    be, 130 after Ctrl-C, 141 where nobody reads the output any more.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        status = _run(given)
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        # Who read the output, such as `head`, has gone. Python would say so at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _UNHEARD
    except LiftError as error:
        told = str(error) if error.code is ErrorCode.OUT_OF_MEMORY else error.message
        print(f'lift3d: {told}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print('lift3d: interrupted', file=sys.stderr)
        return _INTERRUPTED
    except Exception as error:
        if not memory.is_exhausted(error):
            raise
        print(f'lift3d: {memory.exhausted(error)}', file=sys.stderr)
        return 1


def _load(name: str) -> ModuleType:
    """Import the module of a command; raises ``LiftError(OUT_OF_MEMORY)``."""
    memory.check_limits(_MIN_ADDRESS_SPACE_MIB, _MIN_DATA_MIB)
    try:
        return importlib.import_module(f'lift3d_ros.cli.{name}')
    except ImportError as error:
        # The loader's words for it sound as if a file were missing.
        if memory.is_exhausted(error):
            raise memory.exhausted(error) from error
        raise


def _run(given: list[str]) -> int:
    for words, program in _NODE_PROGRAMS.items():
        if tuple(given[:len(words)]) == words:
            from lift3d_ros.cli.ros import replace_process

            replace_process(program, given[len(words):])
    parser = argparse.ArgumentParser(
        prog='lift3d',
        description='A masked camera image in, the closed, coloured, metric mesh of the whole '
        'object out.',
    )
    commands = parser.add_subparsers(required=True, metavar='COMMAND')
    for name, summary in _COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=f'{summary}.')
        # A module is imported when its command is asked for: the help appears at once.
        if given[:1] == [name]:
            module = _load(name)
            module.add_arguments(command)
            command.set_defaults(run=module.run)
    commands.add_parser('node', help='run the ROS 2 node (lift3d node --help)')
    options = parser.parse_args(given)
    return int(options.run(options))
