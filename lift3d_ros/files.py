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


"""Files that are there whole or not at all, and folders for them."""

from __future__ import annotations

from pathlib import Path

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError


def write_whole(path: Path, data: bytes) -> None:
    """
    Write a file that appears under its name only when it is complete.

    Raises ``OSError`` where it cannot be written, such as for a folder in its way.
    """
    partial = path.with_name(f'.{path.name}.part')
    try:
        partial.write_bytes(data)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def make_folder(folder: Path) -> None:
    """Make a folder where there is none; raises ``LiftError(BAD_REQUEST)``."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LiftError(
            ErrorCode.BAD_REQUEST, f'The folder {folder} cannot be made: {error.strerror}.'
        ) from error
