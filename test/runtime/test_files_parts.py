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

"""What killed processes left of files is removed, and nothing else."""

from __future__ import annotations

import os
import time

import pytest

from lift3d_ros.runtime.files import write_whole
from lift3d_ros.runtime.files import written_together

STALE = '.0123456789abcdef.part'


def age(path, seconds):
    past = time.time() - seconds
    os.utime(path, (past, past))


def write_one(folder):
    write_whole(folder / 'new.bin', b'new')


def write_several(folder):
    with written_together(folder, 'new.bin') as partial:
        (partial / 'new.bin').write_bytes(b'new')


@pytest.mark.parametrize('write', [write_one, write_several])
@pytest.mark.parametrize('kind', ['file', 'folder'])
def test_the_first_write_removes_old_parts(tmp_path, write, kind):
    left = tmp_path / STALE
    if kind == 'file':
        left.write_bytes(b'half')
    else:
        left.mkdir()
        (left / 'half.glb').write_bytes(b'half')
    age(left, 3600.0)
    write(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ['new.bin']


def test_parts_that_are_being_written_and_other_files_stay(tmp_path):
    names = {STALE, '.abc.part', '.0123456789abcdef.part.txt', 'mesh.part', '.hidden'}
    for name in names:
        (tmp_path / name).write_bytes(b'')
        age(tmp_path / name, 3600.0 if name != STALE else 5.0)
    write_one(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == names | {'new.bin'}


def test_a_link_is_removed_and_not_what_it_names(tmp_path):
    other = tmp_path / 'other'
    other.mkdir()
    (other / 'kept').write_bytes(b'')
    folder = tmp_path / 'out'
    folder.mkdir()
    (folder / STALE).symlink_to(other)
    os.utime(folder / STALE, (0, 0), follow_symlinks=False)
    write_one(folder)
    assert (other / 'kept').exists()
    assert [path.name for path in folder.iterdir()] == ['new.bin']
