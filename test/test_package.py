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

"""The package as a whole: headers, versions, dependencies, imports with and without ROS."""

from __future__ import annotations

import os
from pathlib import Path
import re
import shutil
import subprocess
import sys
from xml.etree import ElementTree

from packaging.requirements import Requirement
import pytest

import lift3d_ros

ROOT = Path(__file__).resolve().parent.parent
HEADER = ROOT.joinpath('tools/mend_wheels.py').read_text().split('\n"""')[0].split('\n', 1)[1]
PACKAGE = ElementTree.parse(ROOT / 'package.xml').getroot()


def python_files() -> list[Path]:
    """Return the Python files of this repository."""
    files = [ROOT / 'setup.py', *ROOT.glob('scripts/*')]
    for folder in ('lift3d_ros', 'launch', 'test', 'tools'):
        files += ROOT.joinpath(folder).rglob('*.py')
    return sorted(path for path in files if '__pycache__' not in path.parts)


def run(code: str, folder: Path) -> str:
    """Run Python code in a new process in a folder; return what it prints."""
    return subprocess.run(
        [sys.executable, '-c', code], cwd=folder, check=True, text=True, timeout=60,
        stdout=subprocess.PIPE).stdout.strip()


def requirements(name: str) -> list[Requirement]:
    """Return the entries of a file in requirements/ that apply to this Python."""
    lines = ROOT.joinpath('requirements', name).read_text().splitlines()
    entries = [Requirement(line) for line in lines if line.strip() and line[0] != '#']
    return [entry for entry in entries if not entry.marker or entry.marker.evaluate()]


@pytest.mark.parametrize('path', python_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_file_starts_with_the_licence(path):
    text = path.read_text(encoding='utf-8')
    copyright_line, rest = re.sub(r'\A#!.*\n', '', text).split('\n', 1)
    assert re.fullmatch(r'# Copyright 20\d\d lift3d_ros contributors', copyright_line)
    assert rest.startswith(HEADER)


def test_versions_agree():
    first_entry = re.search(
        r'^(\d+\.\d+\.\d+) \(\d{4}-\d\d-\d\d\)\n-+$',
        ROOT.joinpath('CHANGELOG.rst').read_text(), re.MULTILINE)
    assert PACKAGE.findtext('version') == lift3d_ros.__version__ == first_entry[1]


def test_every_interface_is_built_and_every_message_package_is_declared():
    cmake = ROOT.joinpath('CMakeLists.txt').read_text()
    built = set(re.findall(r'"((?:msg|srv|action)/\w+\.\w+)"', cmake))
    there = {f'{path.parent.name}/{path.name}' for path in ROOT.glob('[msa][src][gvt]*/*.*')
             if path.parent.name in ('msg', 'srv', 'action')}
    assert built == there
    declared = {element.text for element in PACKAGE if element.tag.endswith('depend')}
    for line in '\n'.join(ROOT.joinpath(name).read_text() for name in there).splitlines():
        other = re.match(r'(\w+)/\w+', line)
        assert not other or other[1] in declared | {'lift3d_ros'}, line


def test_pinned_versions_lie_in_the_ranges_of_setup_py():
    ranges = re.findall(r"^        '([\w-]+[<>=].*)',$", ROOT.joinpath('setup.py').read_text(),
                        re.MULTILINE)
    ranges = {entry.name: entry.specifier for entry in map(Requirement, ranges)}
    pins = {entry.name: entry.specifier for entry in requirements('runtime.txt')}
    assert set(pins) == set(ranges)
    for name, pin in pins.items():
        version = re.fullmatch(r'==([\d.]+)', str(pin))[1]
        assert ranges[name].contains(version), name


def test_library_and_command_import_without_ros(tmp_path):
    """All but lift3d_ros.node, in a process where the import of any part of ROS fails."""
    assert run(
        'import importlib, pkgutil, re, sys\n'
        'for name in ("rclpy", "launch", "std_msgs", "sensor_msgs", "geometry_msgs"):\n'
        '    sys.modules[name] = None\n'
        'import lift3d_ros\n'
        'skipped = re.compile(r"lift3d_ros.(node|msg|srv|action|lift3d_ros_s)|.*__main__$")\n'
        'for info in pkgutil.walk_packages(lift3d_ros.__path__, "lift3d_ros."):\n'
        '    if not skipped.match(info.name):\n'
        '        importlib.import_module(info.name)\n'
        'print("imported")', tmp_path).endswith('imported')


@pytest.mark.ros
@pytest.mark.parametrize('inside', [True, False], ids=['source tree', 'elsewhere'])
def test_library_and_interfaces_import_together(inside, tmp_path):
    printed = run(
        'import lift3d_ros.msg, lift3d_ros.srv, lift3d_ros.action, lift3d_ros.geometry\n'
        'print(lift3d_ros.msg.LiftedObject().header.frame_id == "", lift3d_ros.__version__)',
        ROOT if inside else tmp_path)
    assert printed == f'True {lift3d_ros.__version__}'


@pytest.mark.skipif(not ROOT.joinpath('.venv').is_dir(), reason='made by make setup')
def test_sourcing_the_environment_twice_changes_nothing_more(tmp_path):
    bash = shutil.which('bash')
    script = (f'set -eu; . "{ROOT}/tools/env.sh"; env | sort >one; . "{ROOT}/tools/env.sh"; '
              'env | sort >two; grep -v ^_= one >1; grep -v ^_= two >2; cmp 1 2; '
              'command -v python')
    done = subprocess.run(
        [bash, '-c', script], cwd=tmp_path, env=dict(os.environ), check=True, text=True,
        stdout=subprocess.PIPE)
    assert done.stdout.strip() == str(ROOT / '.venv/bin/python')
