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

"""What all tests share: a ROS domain, the shared data, and the list of what did not run."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import importlib.util
import os
from pathlib import Path
import random
import re
from typing import TYPE_CHECKING

import hypothesis
import pytest

if TYPE_CHECKING:
    import ros_helpers

    from lift3d_ros.node.client import LiftClient

# Before numpy and torch are imported, and for the processes that the tests start: processes of
# several threads each, which wait for one another by spinning, are many times slower together.
os.environ.update(OMP_NUM_THREADS='1', OMP_WAIT_POLICY='PASSIVE')

#: The number of this process among those that share the tests (pytest-xdist), or None.
WORKER = os.environ.get('PYTEST_XDIST_WORKER', '').removeprefix('gw') or None

# How long an example takes is the machine's matter.
hypothesis.settings.register_profile('patient', deadline=None)
hypothesis.settings.load_profile('patient')

ROOT = Path(__file__).resolve().parent.parent

#: Packages of a ROS 2 installation that PyPI does not carry.
NOT_ON_PYPI = (
    'launch_ros', 'tf2_ros', 'cv_bridge', 'vision_msgs', 'moveit_msgs', 'rosbag2_py',
)
#: A skip for one of these reasons is listed at the end of the run, since it hides a real check.
WORTH_NAMING = re.compile(
    r'\b(' + '|'.join((
        *NOT_ON_PYPI, 'rclpy', 'lift3d_ros.msg', 'shared data', 'chromium', 'playwright',
    )) + r')\b')


def why_no_ros() -> str | None:
    """Return what is missing for a test on a real ROS graph, or None."""
    if importlib.util.find_spec('rclpy') is None:
        return 'rclpy is not importable; run make setup and . tools/env.sh'
    if importlib.util.find_spec('lift3d_ros.msg') is None:
        return 'rclpy is there, the interfaces of lift3d_ros are not built; run make setup'
    return None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what is marked `ros` where there is no ROS."""
    reason = why_no_ros()
    if reason is not None:
        for item in items:
            if item.get_closest_marker('ros'):
                item.add_marker(pytest.mark.skip(reason=reason))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List by name each test that did not run for want of a package or of the shared data."""
    missing: dict[str, str] = {}
    for report in terminalreporter.getreports('skipped'):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ''
        reason = reason.removeprefix('Skipped: ')
        if WORTH_NAMING.search(reason):
            missing[report.nodeid] = reason
    if missing:
        terminalreporter.section('Not run here')
        for name, reason in sorted(missing.items()):
            terminalreporter.line(f'{name}: {reason}')


@pytest.fixture(scope='session')
def shared_data() -> Path:
    """Return the folder of real scans and frames beside the repository, or skip."""
    folder = Path(os.environ.get('LIFT3D_DATA') or ROOT.parent / 'shared' / 'data')
    if not folder.is_dir():
        pytest.skip(f'shared data: there is no {folder}; LIFT3D_DATA names another folder')
    return folder


@pytest.fixture(scope='session')
def learned_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of untrained small weights, with which the learned method makes a mesh."""
    import view_helpers

    return view_helpers.learned_weights(tmp_path_factory.mktemp('weights') / 'learned')


@pytest.fixture(scope='module')
def graph() -> Iterator[ros_helpers.Graph]:
    """Return the tests' own node on the ROS graph of this run."""
    import ros_helpers

    with ros_helpers.Graph() as graph:
        yield graph


@pytest.fixture
def client(graph: ros_helpers.Graph, node: ros_helpers.NodeProcess) -> Iterator[LiftClient]:
    """Return a client of the ``node`` of the module that asks."""
    import ros_helpers

    from lift3d_ros.node.client import LiftClient

    with LiftClient(graph.node, f'/{node.namespace}/lift3d') as client:
        assert client.wait_for_server(ros_helpers.PATIENCE)
        yield client


@pytest.fixture(scope='session')
def meshes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the meshes of two objects, to train with."""
    from lift3d_ros.synthetic.procedural import procedural_object

    folder = tmp_path_factory.mktemp('objects')
    for number, kind in enumerate(['can', 'block']):
        procedural_object(number, kind).export(folder / f'{kind}.ply')
    return folder


@pytest.fixture(scope='module')
def one_thread() -> Iterator[None]:
    """Give torch one thread: small networks lose by more, and much where other work runs."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope='session', autouse=True)
def ros_domain() -> Iterator[int]:
    """Give this run, and the processes that it starts, a ROS domain on this machine alone."""
    with contextlib.ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        try:
            # Keeps the number from other runs on this machine as long as this one lasts.
            from domain_coordinator import domain_id
            domain = stack.enter_context(domain_id())
        except ImportError:
            # One draw for all processes that share the tests, and from there a number for each.
            draw = random.Random(os.environ.get('PYTEST_XDIST_TESTRUNUID'))
            domain = (draw.randrange(100) + int(WORKER or 0)) % 100 + 1
        patch.setenv('ROS_DOMAIN_ID', str(domain))
        patch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
        if os.environ.get('ROS_DISTRO') == 'humble':
            patch.setenv('ROS_LOCALHOST_ONLY', '1')  # its older name for the same
        yield domain
