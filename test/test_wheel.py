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

"""The wheel of ``pip install .`` is complete: it lifts from anywhere, without the source tree."""

from __future__ import annotations

import json
import os
from pathlib import Path
import shutil
import subprocess
import sys
import sysconfig
import zipfile

import pytest

ROOT = Path(__file__).resolve().parents[1]

#: What a build reads; the weights and the interfaces are copied into the wheel.
SOURCES = ('lift3d_ros', 'weights', 'msg', 'setup.py', 'pyproject.toml', 'README.md', 'LICENSE')


@pytest.fixture(scope='module')
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source, out = tmp_path_factory.mktemp('source'), tmp_path_factory.mktemp('wheel')
    # A build leaves folders beside setup.py.
    for name in SOURCES:
        path = ROOT / name
        if path.is_dir():
            shutil.copytree(path, source / name, ignore=shutil.ignore_patterns('__pycache__'))
        else:
            shutil.copy(path, source / name)
    done = subprocess.run(
        [sys.executable, '-m', 'pip', 'wheel', '--no-deps', '--no-build-isolation', '-q',
         '-w', str(out), str(source)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (found,) = out.glob('lift3d_ros-*.whl')
    return found


def test_the_wheel_has_the_weights_the_scene_and_the_messages(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder in ('weights/small', 'msg'):
        for path in (ROOT / folder).rglob('*'):
            if path.is_file():
                kept = folder if folder != 'msg' else 'data/msg'
                relative = path.relative_to(ROOT / folder)
                assert f'lift3d_ros/{kept}/{relative}' in names, path
    assert 'lift3d_ros/data/demo_scene/rgb.png' in names
    assert not any(name.startswith(('test/', 'docs/')) for name in names)


def test_an_installation_lifts_from_elsewhere(wheel, tmp_path):
    place = tmp_path / 'venv'
    subprocess.run(
        [sys.executable, '-m', 'venv', '--without-pip', str(place)], check=True)
    python = place / 'bin' / 'python'
    # The dependencies are those of this environment, named after the new package.
    packages = place / 'lib' / f'python{sys.version_info[0]}.{sys.version_info[1]}'
    packages /= 'site-packages'
    subprocess.run(
        [sys.executable, '-m', 'pip', 'install', '-q', '--no-deps', '--target', str(packages),
         str(wheel)], check=True)
    (packages / 'dependencies.pth').write_text(sysconfig.get_path('purelib') + '\n')
    environment = {
        name: value for name, value in os.environ.items()
        if name not in ('PYTHONPATH', 'VIRTUAL_ENV') and not name.startswith('LIFT3D_')
    }
    code = 'import lift3d_ros; print(lift3d_ros.__file__)'
    where = subprocess.run(
        [python, '-c', code], capture_output=True, text=True, check=True, cwd=tmp_path,
        env=environment).stdout.strip()
    assert Path(where).is_relative_to(packages)
    scene = Path(where).parent / 'data' / 'demo_scene'
    done = subprocess.run(
        [python, '-m', 'lift3d_ros.cli', 'lift', str(scene), '--out', str(tmp_path / 'out')],
        capture_output=True, text=True, check=False, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / 'out' / 'demo_scene.json').read_text())
    assert report['ok'] and report['method'] == 'one2345' and report['watertight']
