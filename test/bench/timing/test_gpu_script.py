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

"""The script that measures a GPU runs, on the CPU with tiny sizes."""

import json
from pathlib import Path
import subprocess

import pytest

SCRIPT = Path(__file__).parents[3] / 'tools' / 'gpu.sh'


@pytest.mark.skipif(not SCRIPT.exists(), reason='the tools are in the source tree only')
def test_the_script_measures_lifts_and_writes_their_figures(tmp_path):
    done = subprocess.run(
        [str(SCRIPT), str(tmp_path), '--cpu'], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    figures = json.loads((tmp_path / 'lifts.txt').read_text().splitlines()[-1])
    assert figures['device'] == 'processor'
    assert 0.0 < figures['one_seconds'] < figures['several_seconds']
    assert figures['peak_memory_mb'] > 100.0


@pytest.mark.skipif(not SCRIPT.exists(), reason='the tools are in the source tree only')
def test_the_script_fails_where_a_measurement_does(tmp_path, monkeypatch):
    (tmp_path / 'python').write_text('#!/bin/sh\nexit 3\n')
    (tmp_path / 'python').chmod(0o755)
    monkeypatch.setenv('PATH', f'{tmp_path}:/usr/bin:/bin')
    done = subprocess.run(
        [str(SCRIPT), str(tmp_path / 'out'), '--cpu'], capture_output=True, text=True,
        check=False)
    assert done.returncode == 1
    assert 'lifts failed with exit status 3' in done.stderr
