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

"""Results without networks for tests of the viewer, and the viewer as a process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import json
from pathlib import Path
import re
import subprocess
import sys
import time

from bag_helpers import IMAGE
from bag_helpers import INFO
from bag_helpers import MASK
from bag_helpers import SECOND
from bag_helpers import SmallBag
import numpy as np
import trimesh

from lift3d_ros.bags.writer import BagWriter
from lift3d_ros.geometry import frame_from_up
from lift3d_ros.geometry import rigid
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.geometry.shape import Shape
from lift3d_ros.robot.export import Export
from lift3d_ros.robot.export import write
from lift3d_ros.robot.report import shape_entries

RED, GREEN, PURPLE = (220, 30, 30), (30, 190, 60), (150, 60, 200)

#: Pose of an object 0.6 m in front of a camera that looks down by 30 degrees.
UP = np.array([0.0, -np.cos(np.radians(30.0)), -np.sin(np.radians(30.0))])
POSE = rigid(frame_from_up(UP, (0.0, 0.0, -1.0)), (0.0, 0.05, 0.6))


def block(color: tuple[int, int, int], pose: np.ndarray = POSE, size: float = 0.1) -> Shape:
    """Return a cube of one colour whose side towards the camera is observed."""
    box = trimesh.creation.box((size, size, size)).subdivide().subdivide()
    vertices = np.asarray(box.vertices, np.float32)
    mesh = Mesh(
        vertices, np.asarray(box.faces, np.int32),
        np.tile(np.array(color, np.uint8), (len(vertices), 1)))
    observed = vertices[:, 0] > 0.4 * size
    return Shape(
        mesh, pose, 1e-6 * np.eye(6), np.where(observed, 0.95, 0.1).astype(np.float32), observed,
        'depth', 0.01, 30.0, 'gravity', 'test', seconds={'total': 1.0}, notes=('A note.',))


def write_result(
    folder: Path, name: str, shape: Shape, kind: str = 'ply', **entries: object
) -> Path:
    """Write mesh and report as ``lift3d lift`` does; return the report."""
    folder.mkdir(parents=True, exist_ok=True)
    frame = 'camera' if kind == 'ply' else 'object'
    written = write(shape, folder / f'{name}.{kind}', Export(kind), frame)
    report = {
        'ok': True, 'error': None, **shape_entries(shape, written),
        'seconds': shape.seconds, **entries}
    path = folder / f'{name}.json'
    path.write_text(json.dumps(report))
    return path


def write_bag_results(folder: Path, moments: int = 3) -> Path:
    """Write results of a bag: a red and a green block before a purple wall, the red one moves."""
    for index in range(moments):
        stamp = f'17000000{index:02d}.500000000'
        for name, color, right in (('red', RED, -0.15 - 0.1 * index), ('green', GREEN, 0.15)):
            pose = POSE.copy()
            pose[0, 3] += right
            write_result(
                folder, f'{stamp}_{name}', block(color, pose), id=name, stamp=stamp,
                received=stamp, frame_id='optical', pose_in_frame_id=pose.tolist())
    path = folder.with_suffix('.mcap')
    topics = _write_bag(path, moments)
    (folder / 'bag.json').write_text(json.dumps({'bag': str(path), 'topics': topics, 'lost': []}))
    return folder


def _write_bag(path: Path, moments: int) -> dict[str, str]:
    """Write the images of these results: a wall of one colour; return its topics by role."""
    with BagWriter(path) as writer:
        bag = SmallBag(writer)
        for index in range(moments):
            stamp = 1_700_000_000 * SECOND + index * SECOND + SECOND // 2
            bag.picture(IMAGE, stamp, color=PURPLE)
            bag.info(INFO, stamp)
            bag.picture(MASK, stamp, 'mono8', mask=8)
            bag.picture('/camera/depth', stamp, '16UC1')
    return {'image': IMAGE, 'camera_info': INFO, 'mask': MASK, 'depth': '/camera/depth'}


@contextmanager
def viewer(*arguments: object) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Run ``lift3d show`` on a free port; yield its address and process."""
    process = subprocess.Popen(
        [sys.executable, '-m', 'lift3d_ros.cli', 'show', *map(str, arguments), '--port', '0'],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline()
        found = re.search(r'http://127\.0\.0\.1:\d+', line)
        assert found, line + process.stderr.read()
        yield found[0], process
    finally:
        process.terminate()
        try:
            process.wait(15.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
        process.stderr.close()


def wait_until(condition: object, timeout: float = 60.0) -> None:
    """Wait for a condition; fails after ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, 'the condition did not come true'
        time.sleep(0.1)
