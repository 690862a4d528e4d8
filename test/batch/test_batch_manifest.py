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


"""The manifest of a batch: resumed, damaged, locked, of other settings, on a full disk."""

from __future__ import annotations

import errno
import json
import os

import pytest

from lift3d_ros.batch import manifest as module
from lift3d_ros.batch.manifest import MANIFEST
from lift3d_ros.batch.manifest import Manifest
from lift3d_ros.batch.manifest import read_records
from lift3d_ros.batch.manifest import run_of
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError

SETTINGS = {'method': 'geometric', 'scene': {'seed': 0}}


def code_of(out, settings=None) -> ErrorCode:
    with pytest.raises(LiftError) as caught:
        Manifest(out, settings or SETTINGS)
    return caught.value.code


def test_a_second_run_knows_what_the_first_did(tmp_path):
    with Manifest(tmp_path, SETTINGS) as manifest:
        run = manifest.run
        manifest.add({'key': 'a', 'ok': True})
        manifest.add({'key': 'b', 'ok': False})
        manifest.add({'key': 'bag', 'ok': True, 'images': 7})
    with Manifest(tmp_path, SETTINGS) as manifest:
        assert manifest.done == {'a': True, 'b': False, 'bag': True}
        assert manifest.bags == {'bag': 7}
        assert manifest.run == run == run_of(tmp_path)
        manifest.add({'key': 'b', 'ok': True})
    assert [record['key'] for record in read_records(tmp_path)] == ['a', 'b', 'bag', 'b']


@pytest.mark.parametrize('cut', range(1, 12))
def test_an_incomplete_last_line_is_dropped(cut, tmp_path):
    with Manifest(tmp_path, SETTINGS) as manifest:
        manifest.add({'key': 'a', 'ok': True})
        manifest.add({'key': 'b', 'ok': True})
    path = tmp_path / MANIFEST
    path.write_bytes(path.read_bytes()[:-cut])
    with Manifest(tmp_path, SETTINGS) as manifest:
        assert manifest.done == {'a': True}
        manifest.add({'key': 'c', 'ok': True})
    assert [record['key'] for record in read_records(tmp_path)] == ['a', 'c']


def test_a_damaged_line_costs_its_item_only(tmp_path):
    with Manifest(tmp_path, SETTINGS) as manifest:
        for key in 'abc':
            manifest.add({'key': key, 'ok': True})
    path = tmp_path / MANIFEST
    lines = path.read_bytes().splitlines()
    path.write_bytes(b'\n'.join([*lines[:2], b'\0\0{', lines[3], b'']))
    with Manifest(tmp_path, SETTINGS) as manifest:
        assert (manifest.done, manifest.unreadable) == ({'a': True, 'c': True}, 1)


def test_a_run_that_ended_in_its_first_line_leaves_a_usable_folder(tmp_path):
    (tmp_path / MANIFEST).write_text('{"format":"lift3')
    with Manifest(tmp_path, SETTINGS) as manifest:
        manifest.add({'key': 'a', 'ok': True})
    assert [record['key'] for record in read_records(tmp_path)] == ['a']


def test_two_runs_do_not_write_one_folder(tmp_path):
    with Manifest(tmp_path, SETTINGS):
        assert code_of(tmp_path) is ErrorCode.BUSY
    Manifest(tmp_path, SETTINGS).close()


@pytest.mark.parametrize(('entry', 'value'), [
    ('version', 2), ('package', '0.0.1'), ('format', 'another'), ('settings', None),
    ('settings', {'method': 'one2345', 'scene': {'seed': 0}}),
])
def test_results_of_another_version_or_of_other_settings_are_kept(entry, value, tmp_path):
    with Manifest(tmp_path, SETTINGS) as manifest:
        manifest.add({'key': 'a', 'ok': True})
    path = tmp_path / MANIFEST
    header, rest = path.read_text().split('\n', 1)
    path.write_text(json.dumps({**json.loads(header), entry: value}) + '\n' + rest)
    before = path.read_bytes()
    assert code_of(tmp_path) is ErrorCode.BAD_REQUEST
    assert path.read_bytes() == before


def test_the_settings_that_differ_are_named(tmp_path):
    Manifest(tmp_path, SETTINGS).close()
    with pytest.raises(LiftError, match=r'scene\.seed'):
        Manifest(tmp_path, {'method': 'geometric', 'scene': {'seed': 1}})


def test_a_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / 'thesis.txt').write_text('mine')
    assert code_of(tmp_path) is ErrorCode.BAD_REQUEST
    assert [path.name for path in tmp_path.iterdir()] == ['thesis.txt']


def test_a_line_on_a_full_disk_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    write = os.write

    def full_after_five_bytes(file, data):
        if len(data) > 5:
            return write(file, data[:5])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with Manifest(tmp_path, SETTINGS) as manifest:
        manifest.add({'key': 'a', 'ok': True})
        monkeypatch.setattr(module.os, 'write', full_after_five_bytes)
        with pytest.raises(LiftError) as caught:
            manifest.add({'key': 'bb', 'ok': True})
        assert caught.value.code is ErrorCode.BAD_REQUEST
        monkeypatch.undo()
        manifest.add({'key': 'c', 'ok': True})
    assert [record['key'] for record in read_records(tmp_path)] == ['a', 'c']
