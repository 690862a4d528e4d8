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

"""A fifo, a device, a socket or a folder in the place of a file is refused, and not waited for."""

from __future__ import annotations

import os
from pathlib import Path
import socket

import pytest

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.runtime.files import open_regular
from lift3d_ros.runtime.files import read_regular
from lift3d_ros.runtime.files import regular_file


@pytest.fixture(params=['fifo', 'device', 'socket', 'folder', 'link to a fifo'])
def special(request, tmp_path, monkeypatch):
    """Return the path of something that is no regular file."""
    path = tmp_path / 'x.json'
    if request.param == 'device':
        path = Path('/dev/zero')
    elif request.param == 'folder':
        path.mkdir()
    elif request.param == 'socket':
        # The path of a socket may have no more than 107 bytes.
        monkeypatch.chdir(tmp_path)
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    else:
        target = path if request.param == 'fifo' else tmp_path / 'target'
        os.mkfifo(target)
        if target != path:
            path.symlink_to(target)
    return path


@pytest.mark.parametrize('read', [
    open_regular, regular_file, lambda path, code: read_regular(path, 10, code)])
def test_what_is_no_file_is_refused_at_once(read, special):
    with pytest.raises(LiftError) as error:
        read(special, ErrorCode.WEIGHTS_CORRUPT)
    assert error.value.code is ErrorCode.WEIGHTS_CORRUPT
    assert str(special) in error.value.message


def test_files_are_read_up_to_their_limit(tmp_path):
    path = tmp_path / 'x'
    path.write_bytes(b'12345')
    assert read_regular(path, 5) == b'12345'
    with open_regular(path) as file:
        assert file.read() == b'12345'
    assert regular_file(path) == path
    with pytest.raises(LiftError) as error:
        read_regular(path, 4)
    assert error.value.code is ErrorCode.BAD_REQUEST


@pytest.mark.parametrize('read', [open_regular, regular_file])
def test_what_is_not_there_stays_an_error_of_the_system(read, tmp_path):
    with pytest.raises(FileNotFoundError):
        read(tmp_path / 'nothing')
    (tmp_path / 'loop').symlink_to(tmp_path / 'loop')
    with pytest.raises(OSError):
        read(tmp_path / 'loop')
