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


"""Files of a run: rows of results, appended as they arrive, so that a run can be resumed."""

from __future__ import annotations

from collections.abc import Iterable
import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.runtime.files import write_whole

#: The figures of one predictor on one scene in one track.
Row = dict[str, Any]

#: File of the rows in a folder of results.
ROWS_FILE = 'rows.jsonl'

#: Scene, track, predictor.
Key = tuple[str, str, str]


def key(row: Row) -> Key:
    """Return the scene, track and predictor of a row."""
    return row['scene'], row['track'], row['contender']


class CannotWriteError(LiftError):
    """``LiftError(INTERNAL)`` for results that cannot be written; it ends a run."""

    def __init__(self, path: Path, error: OSError) -> None:
        """Name the file and the reason."""
        super().__init__(
            ErrorCode.INTERNAL,
            f'{path} cannot be written: {error.strerror or error}. What was written before is '
            'kept; the same command goes on from there once there is room and permission.',
        )
        self._causes = path, error

    def __reduce__(self) -> Any:
        """Pickle by the arguments, so that the error can be sent between processes."""
        return type(self), self._causes


class Results:
    """
    A folder with ``rows.jsonl``, one row a line, and ``run.json``, the settings of all rows.

    The folder is created if needed. Raises ``LiftError`` where it cannot be written
    (``INTERNAL``), or holds the rows of another kind of run (``BAD_REQUEST``).
    """

    def __init__(self, folder: Path, identity: dict[str, Any], fresh: bool = False) -> None:
        """Read the rows of the folder; with ``fresh`` delete them first."""
        self.folder = folder
        self._path = folder / ROWS_FILE
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if fresh:
                for path in (self._path, folder / 'run.json'):
                    path.unlink(missing_ok=True)
            self._check_identity(identity)
            self._rows = {key(row): row for row in self._read()}
        except OSError as error:
            raise CannotWriteError(folder, error) from error

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self._rows)

    def __contains__(self, wanted: Key) -> bool:
        """Return whether there is a row of that scene, track and predictor."""
        return wanted in self._rows

    def rows(self) -> list[Row]:
        """Return all rows, sorted by their keys."""
        return [self._rows[k] for k in sorted(self._rows)]

    def append(self, rows: Iterable[Row]) -> None:
        """Write rows and flush them to disk; raises ``LiftError(INTERNAL)`` where it is full."""
        new = list(rows)
        text = ''.join(json.dumps(row) + '\n' for row in new)
        try:
            with self._path.open('a') as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise CannotWriteError(self._path, error) from error
        self._rows.update({key(row): row for row in new})

    def _check_identity(self, identity: dict[str, Any]) -> None:
        path = self.folder / 'run.json'
        if not path.exists():
            path.write_text(json.dumps(identity, indent=1) + '\n')
            return
        try:
            other = json.loads(path.read_text())
        except ValueError:
            other = None
        if other != identity:
            raise LiftError(
                ErrorCode.BAD_REQUEST,
                f'{self.folder} holds results of another run ({path.name}: {json.dumps(other)}); '
                'choose another --out, or --fresh to begin anew.',
            )

    def _read(self) -> list[Row]:
        """Return the rows of the file; an incomplete last line is removed from it."""
        if not self._path.exists():
            return []
        data = self._path.read_bytes()
        whole = data.rfind(b'\n') + 1
        if whole < len(data):
            with self._path.open('r+b') as file:
                file.truncate(whole)
        return read_rows(self.folder)


def read_rows(folder: Path) -> list[Row]:
    """
    Return the rows of a folder of results, without an incomplete last line.

    Raises ``LiftError(BAD_REQUEST)`` for a folder without results and a line that is no row.
    """
    path = folder / ROWS_FILE
    try:
        data = path.read_bytes()
    except OSError as error:
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            f'{path} cannot be read ({error.strerror}); name a folder that '
            '`lift3d bench --out` has written.',
        ) from error
    rows = []
    for number, line in enumerate(data[: data.rfind(b'\n') + 1].splitlines(), 1):
        try:
            row = json.loads(line)
            key(row)
        except (ValueError, KeyError, TypeError) as error:
            raise LiftError(
                ErrorCode.BAD_REQUEST,
                f'Line {number} of {path} is not a row of results; delete the line, '
                'or give --fresh to begin anew.',
            ) from error
        rows.append(row)
    return rows


def write_arrays(path: Path, **arrays: Any) -> None:
    """Write arrays as ``.npz``, whole or not at all; raises ``CannotWriteError``."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    try:
        write_whole(path, buffer.getvalue())
    except OSError as error:
        raise CannotWriteError(path, error) from error


def read_arrays(path: Path, *names: str) -> dict[str, Any]:
    """Return arrays of a file of ``write_arrays``; raises ``LiftError(BAD_REQUEST)``."""
    try:
        with np.load(path, allow_pickle=False) as pack:
            return {name: pack[name] for name in names}
    except (OSError, ValueError, KeyError) as error:
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            f'{path} is not a file of {" and ".join(names)} ({error}); delete it.',
        ) from error
