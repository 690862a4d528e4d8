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

"""``lift3d demo``: start the node, publish a scene to it, and draw the result."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
import json
import os
from pathlib import Path
import signal
import subprocess
import sys
import time
from typing import NoReturn

from lift3d_ros.runtime.files import make_folder
from lift3d_ros.runtime.node_process import module_command
from lift3d_ros.runtime.node_process import require_ros

#: The scene that comes with the package: a bottle on a table.
DEMO_SCENE = Path(__file__).parent.parent / 'data' / 'demo_scene'

#: Restricts discovery to this machine, unless the user has set another range.
_LOCALHOST_ENVIRONMENT = (
    {'ROS_LOCALHOST_ONLY': '1'}
    if os.environ.get('ROS_DISTRO') == 'humble'
    else {'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST'}
)

#: Seconds until a process that is still running receives the next, stronger signal.
_END_TIMEOUT_S = 8.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        '--scene', type=Path, default=DEMO_SCENE, metavar='DIR',
        help='scene folder (default: the packaged one, a bottle on a table)',
    )
    parser.add_argument(
        '--out', type=Path, default=Path('demo/out'), metavar='DIR',
        help='folder for the meshes, the report and the image (default: demo/out)',
    )


def run(options: argparse.Namespace) -> int:
    """
    Publish the scene to the node and draw its response; return the exit status.

    Raises ``LiftError`` if ROS is missing, the scene cannot be read or the folder not created.
    """
    require_ros()
    from lift3d_ros.io.scene import read_scene

    frame, mask = read_scene(options.scene)
    make_folder(options.out)
    name = options.scene.resolve().name
    paths = {suffix: options.out / f'{name}.{suffix}' for suffix in ('ply', 'glb', 'json', 'png')}
    for path in paths.values():
        path.unlink(missing_ok=True)

    environment = {**_LOCALHOST_ENVIRONMENT, **os.environ}
    depth = 'true' if frame.depth is not None else 'false'
    node_arguments = ['--autostart', '--ros-args', '-p', f'use_depth:={depth}']
    camera_arguments = ['--scene', str(options.scene), '--out', str(options.out)]
    previous = signal.signal(signal.SIGTERM, _terminated)
    try:
        print('starting the node in its own process', flush=True)
        with (
            _process('lift3d_ros.node', node_arguments, environment) as node,
            _process('lift3d_ros.node.demo', camera_arguments, environment) as camera,
        ):
            while camera.poll() is None and node.poll() is None:
                time.sleep(0.05)
            if camera.poll() is None:
                code = node.returncode
                print(f'lift3d: the node ended with status {code}', file=sys.stderr)
                # The convention of shells for processes that a signal ended.
                return 128 - code if code < 0 else max(code, 1)
            status = camera.wait()
    finally:
        signal.signal(signal.SIGTERM, previous)
    if status != 0:
        return status

    from lift3d_ros.io.lift_sheet import lift_sheet
    from lift3d_ros.io.lift_sheet import write_png

    report = json.loads(paths['json'].read_text())
    write_png(paths['png'], lift_sheet(frame, mask, paths['ply'], report))
    for path in paths.values():
        print(path)
    return 0


@contextmanager
def _process(
    module: str, arguments: Sequence[str], environment: dict[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a module of the package for the duration of the block."""
    # In its own session it does not receive the terminal's Ctrl-C, only the signals sent below.
    process = subprocess.Popen(
        module_command(module, arguments), env=environment, start_new_session=True
    )
    try:
        yield process
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            return
        process.send_signal(number)
        try:
            process.wait(_END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            continue


def _terminated(number: int, frame: object) -> NoReturn:
    # SystemExit runs the finally clauses above, which end the processes.
    raise SystemExit(128 + number)
