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

"""The last lifted objects, and their meshes in files."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
import threading

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry.shape import Shape
from lift3d_ros.node.messages.results import Lifted
from lift3d_ros.robot.export import Export
from lift3d_ros.robot.export import write
from lift3d_ros.runtime.files import write_error
from lift3d_ros.srv import SaveObject

#: Results that save_object can still write, and what their meshes take together, at most.
_KEPT = 32
_MAX_BYTES = 256_000_000


class ResultStore:
    """Keeps the shapes of the last objects by their ids. Safe to use from several threads."""

    def __init__(self, max_bytes: int = _MAX_BYTES) -> None:
        """Start empty, for shapes of ``max_bytes`` together."""
        self._kept: OrderedDict[str, Shape] = OrderedDict()
        self._max_bytes = max_bytes
        self._lock = threading.Lock()

    def keep(self, lifted: Lifted) -> None:
        """Keep an object as the newest; the oldest of too many, or too large, are forgotten."""
        with self._lock:
            # Its mask, as large as the image, is not needed any more.
            self._kept[lifted.id] = lifted.shape
            self._kept.move_to_end(lifted.id)
            while len(self._kept) > 1 and (
                len(self._kept) > _KEPT
                or sum(map(_size, self._kept.values())) > self._max_bytes
            ):
                self._kept.popitem(last=False)

    def ids(self) -> list[str]:
        """Return the ids of the shapes that are kept, the newest last."""
        with self._lock:
            return list(self._kept)

    def clear(self) -> None:
        """Forget all of them."""
        with self._lock:
            self._kept.clear()

    def save(self, request: SaveObject.Request, folder: str) -> Path:
        """
        Write the mesh or body that is asked for below a folder; return its path.

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
            there = next((file for file in export.files(path) if file.exists()), None)
            if there is not None and not request.overwrite:
                raise LiftError(
                    ErrorCode.BAD_REQUEST,
                    f'{there} exists; set overwrite, or choose another path.',
                )
            path.parent.mkdir(parents=True, exist_ok=True)
            write(kept[name], path, export)
        except OSError as error:
            raise write_error(error) from error
        return path


def _size(shape: Shape) -> int:
    """Return the bytes that a shape takes."""
    mesh = shape.mesh
    arrays = (mesh.vertices, mesh.faces, mesh.colors, shape.confidence, shape.observed)
    return sum(one.nbytes for one in arrays)


def output_path(folder: str, path: str) -> Path:
    """
    Return the absolute path of a file below a folder.

    Raises ``LiftError(BAD_REQUEST)`` for a path that leads out of it, also through a link, and for
    one that cannot be.
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
        # RuntimeError: links that lead in a circle, up to Python 3.12.
        raise LiftError(
            ErrorCode.BAD_REQUEST, f'"{path[:200]}" is not a valid file path: {error}.'
        ) from error
    if not path or target == root or not target.is_relative_to(root):
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            f'"{path}" does not lie below output_dir ({root}); give a relative path.',
        )
    return target
