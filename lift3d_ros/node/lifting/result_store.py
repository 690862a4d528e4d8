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

"""The shapes of the last lifted objects, and their export to files."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
import threading

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry.shape import Shape
from lift3d_ros.messages.results import Lifted
from lift3d_ros.robot.export import Export
from lift3d_ros.robot.export import write
from lift3d_ros.runtime.files import write_error
from lift3d_ros.srv import SaveObject

#: Maximum number and total size of the shapes that save_object can write.
_MAX_SHAPES = 32
_MAX_BYTES = 256_000_000


class ResultStore:
    """Stores the shapes of the last objects by their ids. Thread-safe."""

    def __init__(self, max_bytes: int = _MAX_BYTES) -> None:
        """Start empty; limit all shapes together to ``max_bytes``."""
        self._kept: OrderedDict[str, Shape] = OrderedDict()
        self._max_bytes = max_bytes
        self._lock = threading.Lock()

    def keep(self, lifted: Lifted) -> None:
        """Store an object as the newest, and forget the oldest beyond the limits."""
        with self._lock:
            # The mask, which has the size of the image, is not stored.
            self._kept[lifted.id] = lifted.shape
            self._kept.move_to_end(lifted.id)
            while len(self._kept) > 1 and (
                len(self._kept) > _MAX_SHAPES
                or sum(map(_size, self._kept.values())) > self._max_bytes
            ):
                self._kept.popitem(last=False)

    def ids(self) -> list[str]:
        """Return the ids of the stored shapes, newest last."""
        with self._lock:
            return list(self._kept)

    def clear(self) -> None:
        """Forget all shapes."""
        with self._lock:
            self._kept.clear()

    def save(self, request: SaveObject.Request, folder: str) -> Path:
        """
        Write the requested mesh or body below a folder; return its path.

        It is in the object frame: z up, in a GLB y up. Raises ``LiftError``: ``NO_OBJECT``,
        ``BAD_REQUEST``.
        """
        with self._lock:
            kept = dict(self._kept)
        if not kept:
            raise LiftError(ErrorCode.NO_OBJECT, 'No object was lifted yet.')
        name = request.id or next(reversed(kept))
        if name not in kept:
            raise LiftError(
                ErrorCode.NO_OBJECT,
                f'There is no object "{name}"; the last ones are: {", ".join(kept)}.',
            )
        path = output_path(folder, request.path)
        export = Export.of_path(path)
        try:
            existing = next((file for file in export.files(path) if file.exists()), None)
            if existing is not None and not request.overwrite:
                raise LiftError(
                    ErrorCode.BAD_REQUEST,
                    f'{existing} exists; set overwrite, or choose another path.',
                )
            path.parent.mkdir(parents=True, exist_ok=True)
            write(kept[name], path, export)
        except OSError as error:
            raise write_error(error) from error
        return path


def _size(shape: Shape) -> int:
    """Return the size of a shape in bytes."""
    mesh = shape.mesh
    arrays = (mesh.vertices, mesh.faces, mesh.colors, shape.confidence, shape.observed)
    return sum(values.nbytes for values in arrays)


def output_path(folder: str, path: str) -> Path:
    """
    Return the absolute path of a file below a folder.

    Raises ``LiftError(BAD_REQUEST)`` for an invalid path and for one outside of the folder, also
    through a link.
    """
    if not folder:
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            'The parameter output_dir is empty, so nothing may be written; set it to a folder.',
        )
    try:
        root = Path(folder).resolve()
        target = (root / path).resolve()
    except (OSError, RuntimeError, ValueError) as error:
        # RuntimeError: circular links, up to Python 3.12.
        raise LiftError(
            ErrorCode.BAD_REQUEST, f'"{path[:200]}" is not a valid file path: {error}.'
        ) from error
    if not path or target == root or not target.is_relative_to(root):
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            f'"{path}" does not lie below output_dir ({root}); give a relative path.',
        )
    return target
