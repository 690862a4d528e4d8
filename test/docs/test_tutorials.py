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

"""The tutorials run from top to bottom as they stand."""

from __future__ import annotations

from pathlib import Path
import re
import subprocess
import sys

import pytest

ROOT = Path(__file__).resolve().parents[2]
TUTORIALS = sorted(
    page for page in (ROOT / 'docs' / 'tutorials').glob('*.md') if page.stem != 'index')

#: A block of Python or of the shell: its language and its text.
BLOCK = re.compile(r'^```(python|sh)\n(.*?)^```', re.MULTILINE | re.DOTALL)

#: Packages that a page needs beyond those of every installation.
NEEDS = {'grasp_in_mujoco': 'mujoco'}


@pytest.mark.usefixtures('one_thread')
@pytest.mark.parametrize('page', TUTORIALS, ids=lambda page: page.stem)
def test_a_tutorial_runs(page, tmp_path, monkeypatch):
    pytest.importorskip(NEEDS.get(page.stem, 'numpy'))
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'lift3d_ros').symlink_to(ROOT / 'lift3d_ros')
    monkeypatch.setenv('PATH', f'{Path(sys.executable).parent}:/usr/bin:/bin')
    names: dict[str, object] = {'__name__': '__main__'}
    blocks = BLOCK.findall(page.read_text())
    assert {language for language, _ in blocks} >= {'python'}
    for number, (language, text) in enumerate(blocks):
        if language == 'python':
            exec(compile(
                text, f'{page.name}, block {number}', 'exec', dont_inherit=True), names)
        else:
            done = subprocess.run(
                ['bash', '-euc', text], capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout + done.stderr


def test_each_tutorial_is_in_the_index_and_in_the_navigation():
    text = (ROOT / 'docs' / 'tutorials' / 'index.md').read_text()
    for page in TUTORIALS:
        assert text.count(page.stem) == 2, page
