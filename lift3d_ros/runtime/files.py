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


"""Atomic writing of files, and bounded reading of regular files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextlib import suppress
import errno
import os
from pathlib import Path
import re
import secrets
import shutil
import stat
import threading
import time
from typing import BinaryIO

from lift3d_ros.errors import bad_request
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError

#: Name of a file or folder that is being written.
_PARTIAL = re.compile(r'\.[0-9a-f]{16}\.part')

#: Seconds after which a part is the remainder of a process that was killed.
_STALE_S = 600.0

_swept: set[Path] = set()
_sweep_lock = threading.Lock()


def write_whole(path: Path, data: bytes) -> None:
    """
    Write a file atomically: it appears under its name only when it is complete.

    Concurrent writers each have a partial file, and the last one wins. The first call for a folder
    removes what killed processes left there. Raises ``OSError`` if the file cannot be written,
    such as for a folder of that name.
    """
    remove_stale_parts(path.parent)
    partial = path.with_name(_partial_name())
    try:
        with partial.open('xb') as file:
            file.write(data)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def remove_stale_parts(folder: Path) -> None:
    """
    Remove the parts of files that killed processes left in a folder, once for each folder.

    Parts that changed within the last ten minutes stay, since another process may write them.
    """
    key = folder.absolute()
    with _sweep_lock:
        if key in _swept:
            return
        _swept.add(key)
    with suppress(OSError):
        for entry in list(os.scandir(folder)):
            if not _PARTIAL.fullmatch(entry.name):
                continue
            with suppress(OSError):
                if time.time() - entry.stat(follow_symlinks=False).st_mtime < _STALE_S:
                    continue
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path, ignore_errors=True)
                else:
                    os.unlink(entry.path)


def _partial_name() -> str:
    # Short enough for the limit on the length of names.
    return f'.{secrets.token_hex(8)}.part'


@contextmanager
def written_together(folder: Path, last: str) -> Iterator[Path]:
    """
    Yield a temporary folder whose files move into ``folder`` together.

    They move when the block ends without an error, the file named ``last`` after those that it
    refers to. Until then nothing in ``folder`` changes, so a full disk leaves no files. Raises
    ``OSError``, also for a folder with the name of a file.
    """
    remove_stale_parts(folder)
    partial = folder / _partial_name()
    partial.mkdir()
    try:
        yield partial
        made = sorted(partial.iterdir(), key=lambda path: path.name == last)
        for path in made:
            if (folder / path.name).is_dir():
                raise IsADirectoryError(
                    errno.EISDIR, os.strerror(errno.EISDIR), str(folder / path.name))
        for path in made:
            path.replace(folder / path.name)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_error(error: OSError) -> LiftError:
    """Return the error for a file that could not be written, with advice."""
    advice = {
        errno.ENOSPC: 'free space on the disk, or choose another folder',
        errno.EDQUOT: 'free space in your quota, or choose another folder',
        errno.EFBIG: 'raise the limit on the size of files (ulimit -f)',
        errno.ENAMETOOLONG: 'choose a shorter path',
        errno.ELOOP: 'the path has a loop of symbolic links; choose another path',
        errno.EROFS: 'the file system is read-only; choose another folder',
    }.get(error.errno or 0, 'choose a path that can be written')
    # Paths of thousands of characters would fill logs.
    name = str(error.filename2 or error.filename or 'A file')[:300]
    return bad_request(f'{name} could not be written ({error.strerror or error}): {advice}.')


def open_regular(path: Path, code: ErrorCode = ErrorCode.BAD_REQUEST) -> BinaryIO:
    """
    Open a regular file for reading, without blocking on any other kind of file.

    Opening a fifo waits for a writer, and reading a device may never end; both are refused.
    Raises ``LiftError`` with ``code`` for everything except a regular file, and ``OSError``, such
    as ``FileNotFoundError``, if it cannot be opened.
    """
    # Without O_NONBLOCK the call would wait for the other end of a fifo.
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        # A socket cannot be opened at all.
        if error.errno == errno.ENXIO:
            regular_file(path, code)
        raise
    try:
        kind = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(kind):
            raise LiftError(code, f'{path} is {_kind_of_file(kind)}, not a regular file; give a '
                            'regular file.')
        return os.fdopen(descriptor, 'rb')
    except BaseException:
        os.close(descriptor)
        raise


def regular_file(path: Path, code: ErrorCode = ErrorCode.BAD_REQUEST) -> Path:
    """
    Return the path of a regular file.

    Raises ``LiftError`` with ``code`` for a fifo, a device, a socket or a folder, ``OSError`` if
    it does not exist.
    """
    kind = os.stat(path).st_mode
    if not stat.S_ISREG(kind):
        raise LiftError(
            code, f'{path} is {_kind_of_file(kind)}, not a regular file; give a regular file.')
    return path


def read_regular(
    path: Path, max_bytes: int, code: ErrorCode = ErrorCode.BAD_REQUEST
) -> bytes:
    """
    Return the content of a regular file of at most ``max_bytes``.

    The size is checked before anything is read. Raises ``LiftError`` with ``code`` for a file that
    is larger or not regular, ``OSError`` if it cannot be read.
    """
    with open_regular(path, code) as file:
        size = os.fstat(file.fileno()).st_size
        # One byte more than allowed: files of /proc report the size 0.
        content = file.read(max_bytes + 1) if size <= max_bytes else b''
    if size > max_bytes or len(content) > max_bytes:
        raise LiftError(
            code, f'{path} has {size} bytes; the limit is {max_bytes}. Give a smaller file.')
    return content


def _kind_of_file(mode: int) -> str:
    """Return the type of a file that is not regular, with an article."""
    for test, name in (
        (stat.S_ISDIR, 'a folder'), (stat.S_ISFIFO, 'a fifo'), (stat.S_ISSOCK, 'a socket'),
        (stat.S_ISCHR, 'a device'), (stat.S_ISBLK, 'a device'),
    ):
        if test(mode):
            return name
    return 'a special file'


def make_folder(folder: Path) -> None:
    """Create a folder if there is none; raises ``LiftError(BAD_REQUEST)``."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        # ValueError: a zero byte in the path.
        reason = error.strerror if isinstance(error, OSError) else error
        raise bad_request(f'The folder {str(folder)[:300]!r} cannot be made: {reason}.') from error
