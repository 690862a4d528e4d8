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

"""The files of the containers name targets, scripts and modules that exist."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path
import re
import subprocess

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
DOCKER = ROOT / 'docker'
DOCKERFILE = (DOCKER / 'Dockerfile').read_text()


def stages() -> dict[str, str]:
    """Return the text of each stage of the Dockerfile."""
    found = re.split(r'^FROM \S+ AS (\w+)$', DOCKERFILE, flags=re.MULTILINE)[1:]
    return dict(zip(found[::2], found[1::2], strict=True))


def test_each_target_ends_as_a_user_without_rights_with_a_health_check():
    assert set(stages()) == {'base', 'cpu', 'cuda', 'jetson'}
    for name in ('cpu', 'cuda', 'jetson'):
        text = stages()[name]
        assert re.findall(r'^USER (\w+)$', text, re.MULTILINE) == ['lift3d'], name
        command = json.loads(re.search(r'^  CMD (\[.*\])$', text, re.MULTILINE)[1])
        assert command[1:3] == ['python', '-m']
        assert importlib.util.find_spec(command[3]) is not None
        json.loads(re.search(r'^CMD (\[.*\])$', text, re.MULTILINE)[1])


def test_the_scripts_that_the_images_run_are_there_and_executable():
    for name in set(re.findall(r'docker/(\w+\.sh)', DOCKERFILE)) | {'check.sh'}:
        assert os.access(DOCKER / name, os.X_OK), name


def test_the_images_leave_out_what_git_ignores():
    ignored = {line.strip('/') for line in (ROOT / '.dockerignore').read_text().split()}
    assert {'.git', '.venv', '.ws', 'build', 'install', 'log', 'runs'} <= ignored


def test_the_services_build_targets_that_exist():
    services = yaml.safe_load((DOCKER / 'compose.yaml').read_text())['services']
    assert set(services) == {'camera', 'lift3d', 'zenoh'}
    built = services['lift3d']['build']
    assert (DOCKER / built['context'] / built['dockerfile']).resolve() == DOCKER / 'Dockerfile'
    default = re.fullmatch(r'\$\{LIFT3D_TARGET:-(\w+)\}', built['target'])[1]
    assert default in stages()
    for service in services.values():
        # Shared memory of Fast DDS reaches another container only so.
        assert (service['network_mode'], service['ipc']) == ('host', 'host')


def test_the_launch_arguments_of_the_service_exist():
    services = yaml.safe_load((DOCKER / 'compose.yaml').read_text())['services']
    launch = (ROOT / 'launch' / 'lift.launch.py').read_text()
    named = re.findall(r'(\w+):=', services['lift3d']['command'])
    assert len(named) == 6
    for name in named:
        assert f"'{name}'" in launch, name


def test_the_development_container_builds_a_target_that_exists():
    described = json.loads((ROOT / '.devcontainer' / 'devcontainer.json').read_text())
    assert described['build']['target'] in stages()
    assert (ROOT / '.devcontainer' / described['build']['dockerfile']).is_file()


def test_the_entry_point_replaces_itself_by_the_command(tmp_path):
    if not (ROOT / '.venv').exists():
        pytest.skip('there is no .venv, which tools/env.sh needs')
    done = subprocess.run(
        [str(DOCKER / 'entrypoint.sh'), 'sh', '-c', 'echo $$; exit 3'], capture_output=True,
        text=True, check=False, cwd=tmp_path)
    assert done.returncode == 3, done.stderr
