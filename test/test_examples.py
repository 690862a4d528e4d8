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

"""The examples of the docs and of docstrings run as they stand there."""

from __future__ import annotations

import ast
from functools import partial
import importlib
from pathlib import Path
import re
import subprocess
import sys
import textwrap
import threading
from typing import Any

import numpy as np
import pytest

from lift3d_ros.geometry import rigid
from lift3d_ros.geometry.frame import Frame
from lift3d_ros.io.scene import read_scene
from lift3d_ros.lifter import Lifter
from lift3d_ros.lifter import LiftRequest

ROOT = Path(__file__).resolve().parents[1]

#: Of these the published weights are needed; what can be tried without is tried.
NEED_WEIGHTS = {('docs/weights.md', 0)}
#: These ask a node.
NEED_NODE = {('README.md', 0), ('docs/getting_started.md', 1)}


def blocks() -> dict[tuple[str, int], str]:
    """Return the Python blocks of the README and the docs, by file and number."""
    found = {}
    for file in (ROOT / 'README.md', *sorted((ROOT / 'docs').glob('*.md'))):
        texts = re.findall(r'^```python\n(.*?)^```', file.read_text(), re.MULTILINE | re.DOTALL)
        for number, text in enumerate(texts):
            found[str(file.relative_to(ROOT)), number] = text
    return found


def docstring_example(module: str) -> str:
    """Return the first indented block of a module's docstring."""
    text = importlib.import_module(module).__doc__
    block = re.search(r'::\n\n((?:(?: {4}.*)?\n)+)', text)
    assert block is not None, module
    return textwrap.dedent(block[1])


@pytest.fixture
def names(tmp_path, monkeypatch) -> dict[str, Any]:
    """Return what the examples take for granted, of the packaged scene; run in a new folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'lift3d_ros').symlink_to(ROOT / 'lift3d_ros')
    frame, mask = read_scene(ROOT / 'lift3d_ros' / 'data' / 'demo_scene')
    # The quickest method stands for the default one.
    def quick(method: Any = 'geometric', **settings: Any) -> Lifter:
        return Lifter(method, **settings)

    monkeypatch.setattr('lift3d_ros.lifter.Lifter', quick)
    return {
        'frame': frame, 'mask': mask, 'masks': [mask, mask], 'image': frame.image,
        'camera': frame.camera, 'depth': frame.depth, 'gravity': frame.gravity, 'Frame': Frame,
        'Path': Path, 'Lifter': quick, 'LiftRequest': LiftRequest,
    }


def test_all_blocks_that_need_something_are_there():
    assert set(blocks()) >= NEED_WEIGHTS | NEED_NODE


@pytest.mark.parametrize('where', blocks(), ids=str)
def test_an_example_of_the_docs_is_python_whose_imports_are_there(where):
    if 'node' in blocks()[where]:
        pytest.importorskip('rclpy')
        pytest.importorskip('lift3d_ros.msg')
    tree = ast.parse(blocks()[where])
    imports = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    exec(compile(ast.Module(imports, []), str(where), 'exec'), {})


@pytest.mark.parametrize(
    'where', [key for key in blocks() if key not in NEED_WEIGHTS | NEED_NODE], ids=str
)
def test_an_example_of_the_docs_runs(where, names, tmp_path):
    text = blocks()[where]
    if 'node' in text:
        pytest.importorskip('rclpy')
        pytest.importorskip('lift3d_ros.msg')
    if 'T_base_camera' in text:
        # The height of the camera over the table is as good as any other here.
        names['T_base_camera'] = rigid(*level_pose(names['frame']))
    exec(compile(text, str(where), 'exec'), names)


def level_pose(frame: Frame) -> tuple[Any, Any]:
    """Return rotation and position of the camera in a level frame, 0.6 m over its origin."""
    up = -frame.gravity / np.linalg.norm(frame.gravity)
    x = np.cross(up, [0.0, 0.0, 1.0])
    x /= np.linalg.norm(x)
    return np.stack([x, np.cross(up, x), up]), np.array([0.0, 0.0, 0.6])


def test_the_example_of_the_lifter_runs(names, tmp_path):
    names['Lifter'] = partial(Lifter, 'geometric')
    exec(docstring_example('lift3d_ros.lifter'), names)
    assert (tmp_path / 'mug.glb').stat().st_size > 1000


@pytest.mark.ros
def test_the_examples_of_the_client_run_in_programs_without_rclpy_init():
    pytest.importorskip('rclpy')
    pytest.importorskip('lift3d_ros.msg')
    import ros_helpers as ros

    with ros.Graph() as graph:
        node = ros.NodeProcess(graph, '', '--autostart')
        ros.wait_until(lambda: graph_has(graph, node))
        made = ros.messages(*ros.TWO, stamp=5_000_000_000)
        publishers = {
            name: graph.node.create_publisher(type(message), f'/{name}', 10)
            for name, message in made.items()
        }
        ended = threading.Event()

        def publish() -> None:
            while not ended.wait(0.1):
                for name, message in made.items():
                    publishers[name].publish(message)

        camera = threading.Thread(target=publish)
        camera.start()
        try:
            ros.wait_until(lambda: lifts(graph))
            examples = [docstring_example('lift3d_ros.node.client')]
            examples += [blocks()[where] for where in sorted(NEED_NODE)]
            done = [
                subprocess.run(
                    [sys.executable, '-c', example],
                    capture_output=True,
                    text=True,
                    timeout=ros.PATIENCE,
                    check=False,
                )
                for example in examples
            ]
        finally:
            ended.set()
            camera.join()
        for process in done:
            assert process.returncode == 0, process.stderr
            # Of both objects at least one line.
            assert len(process.stdout.splitlines()) >= 2, process.stdout
        node.end_well()


def graph_has(graph: Any, node: Any) -> bool:
    assert node.process.poll() is None
    try:
        return graph.lifecycle_state('/lift3d', 2.0) == 'active'
    except TimeoutError:
        return False


def lifts(graph: Any) -> bool:
    from lift3d_ros.srv import LiftObject

    return graph.call(LiftObject, '/lift3d/lift_object', LiftObject.Request(), 30.0).success
