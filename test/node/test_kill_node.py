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

"""A node that is killed comes back, and half-written files are found."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytest.importorskip('rclpy')
pytest.importorskip('lift3d_ros.msg')

import trimesh

from lift3d_ros.node.robustness.kill_node import is_whole

pytestmark = pytest.mark.ros


def test_a_killed_node_comes_back_and_leaves_no_part_of_a_file(tmp_path):
    done = subprocess.run(
        [sys.executable, '-m', 'lift3d_ros.node.robustness.kill_node', '--kills', '1', '--life',
         '4', '--patience', '90', '--out', str(tmp_path)],
        capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / 'kill_node.json').read_text())
    assert [one['answered'] for one in found['rounds']] == [True]
    assert found['broken_files'] == 0


def test_a_part_of_a_file_is_found(tmp_path):
    whole, part = tmp_path / 'whole.glb', tmp_path / 'part.glb'
    trimesh.creation.icosphere(2).export(whole)
    part.write_bytes(whole.read_bytes()[:-100])
    assert is_whole(whole)
    assert not is_whole(part)
