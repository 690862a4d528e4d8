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


"""
The manifest of a batch: what is done, as JSON lines in the output folder.

The first line has the format and the settings, each other line the final result of one item. Only
the process that runs the batch writes it, one line at a time, so that at most the last line of a
killed run is incomplete.
"""

from __future__ import annotations

from collections.abc import Iterator
import fcntl
import json
import os
from pathlib import Path
import secrets
import time
from typing import Any

from lift3d_ros import __version__
from lift3d_ros.errors import bad_request
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.runtime.files import write_error

#: Name of the manifest in the output folder.
MANIFEST = 'manifest.jsonl'

FORMAT = 'lift3d batch'

#: Changes when older programs cannot go on with a folder, or this one not with theirs.
VERSION = 1

#: Period in seconds at which lines are forced to the disk.
_SYNC_PERIOD_S = 1.0


class Manifest:
    """
    The manifest of a folder, open and locked for one run.

    - ``run``: identifies the folder, so that a worker elsewhere can tell that it sees the same.
    - ``done``: the results of former runs by key: whether they were lifted.
    - ``unreadable``: lines that could not be read, whose items are lifted again.
    """

    def __init__(self, out: Path, settings: dict[str, Any]) -> None:
        """
        Open the manifest of ``out``, or begin it in an empty folder.

        ``settings`` are those that results depend on, in types of JSON.

        Raises ``LiftError``: ``BUSY`` while another run writes there; ``BAD_REQUEST`` for a folder
        with other files, of another version of the format or of the package, with results of
        other settings, and if it cannot be written.
        """
        self.done: dict[str, bool] = {}
        self.bags: dict[str, int] = {}
        self.unreadable = 0
        self._synced = time.monotonic()
        path = out / MANIFEST
        self._path = path
        try:
            is_new = not path.exists()
            if is_new and any(out.iterdir()):
                raise bad_request(
                    f'{out} has files but no {MANIFEST}, so it is not the folder of a batch; '
                    'choose an empty folder.')
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise write_error(error) from error
        try:
            self._lock()
            self.run = self._begin(out, settings)
        except BaseException:
            os.close(self._file)
            raise

    def __enter__(self) -> Manifest:
        """Return the manifest."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the manifest."""
        self.close()

    def close(self) -> None:
        """Force the lines to the disk, and release the lock."""
        os.fsync(self._file)
        os.close(self._file)

    def add(self, record: dict[str, Any]) -> None:
        """
        Append the result of an item, whole or not at all.

        ``record`` has ``key`` and ``ok``. Raises ``LiftError(BAD_REQUEST)`` if it cannot be
        written, as on a full disk.
        """
        self._append(record)
        self.done[record['key']] = bool(record['ok'])
        if 'images' in record and record['ok']:
            self.bags[record['key']] = record['images']

    def _append(self, entry: dict[str, Any]) -> None:
        data = (json.dumps(entry, separators=(',', ':')) + '\n').encode()
        end = os.fstat(self._file).st_size
        try:
            written = 0
            while written < len(data):
                written += os.write(self._file, data[written:])
            if time.monotonic() - self._synced > _SYNC_PERIOD_S:
                os.fsync(self._file)
                self._synced = time.monotonic()
        except OSError as error:
            os.ftruncate(self._file, end)
            error.filename = str(self._path)
            raise write_error(error) from error

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LiftError(
                ErrorCode.BUSY, f'Another batch writes to {self._path.parent}; wait for its end, '
                'or choose another folder.') from error
        except OSError:
            # Some network file systems have no locks; the folder is the care of the user there.
            pass

    def _begin(self, out: Path, settings: dict[str, Any]) -> str:
        """Check the first line or write it; read the others. Return the id of the folder."""
        lines = _lines(self._path)
        first = next(lines, None)
        wanted = {'format': FORMAT, 'version': VERSION, 'package': __version__}
        if first is None:
            # Also after a run that ended before its first line was complete.
            os.ftruncate(self._file, 0)
            run = secrets.token_hex(8)
            self._append({**wanted, 'run': run, 'settings': settings})
            os.fsync(self._file)
            return run
        header, end = first
        if header is None or header.get('format') != FORMAT:
            raise bad_request(
                f'{self._path} is not the manifest of a batch; choose another folder.')
        if (header.get('version'), header.get('package')) != (VERSION, __version__):
            raise bad_request(
                f'The results in {out} were made by lift3d_ros {header.get("package")} (format '
                f'{header.get("version")}), and this is {__version__} (format {VERSION}); results '
                'of two versions are not mixed. Choose another folder, or install that version.')
        different = _differences(header.get('settings'), settings)
        if different:
            raise bad_request(
                f'The results in {out} were made with other settings ({", ".join(different)}); '
                'choose another folder, or give the same settings.')
        for record, place in lines:
            end = place
            if record is None or not isinstance(record.get('key'), str):
                self.unreadable += 1
                continue
            self.done[record['key']] = record.get('ok') is True
            if isinstance(record.get('images'), int) and record.get('ok'):
                self.bags[record['key']] = record['images']
        # The last line of a killed run can be incomplete.
        os.ftruncate(self._file, end)
        return str(header.get('run'))


def read_records(out: Path) -> Iterator[dict[str, Any]]:
    """
    Yield the results in a folder, the last of each key that was lifted again included.

    Raises ``LiftError(BAD_REQUEST)`` without a manifest.
    """
    path = out / MANIFEST
    try:
        lines = _lines(path)
        next(lines, None)
        for record, _ in lines:
            if record is not None and 'key' in record:
                yield record
    except OSError as error:
        raise bad_request(f'{path} cannot be read: {error.strerror}.') from error


def run_of(out: Path) -> str | None:
    """Return the id of the folder of a batch; None if it cannot be read."""
    try:
        header = next(_lines(out / MANIFEST), None)
    except OSError:
        return None
    return None if header is None or header[0] is None else str(header[0].get('run'))


def _lines(path: Path) -> Iterator[tuple[dict[str, Any] | None, int]]:
    """Yield each complete line, None if it is not an object of JSON, and where it ends."""
    end = 0
    with path.open('rb') as file:
        for line in file:
            if not line.endswith(b'\n'):
                return
            end += len(line)
            try:
                entry = json.loads(line)
            except (ValueError, RecursionError):
                entry = None
            yield (entry if isinstance(entry, dict) else None), end


def _differences(old: Any, new: dict[str, Any]) -> list[str]:
    """Return the names of settings that differ, by their paths."""
    if not isinstance(old, dict):
        return ['all']
    plain = json.loads(json.dumps(new))
    names = []
    for name in sorted({*old, *plain}):
        a, b = old.get(name), plain.get(name)
        if isinstance(a, dict) and isinstance(b, dict):
            names += [f'{name}.{inner}' for inner in _differences(a, b)]
        elif a != b:
            names.append(name)
    return names
