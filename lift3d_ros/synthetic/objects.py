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
Data sets of objects: folders of metric scans or meshes, with or without a manifest.

Training and the benchmark read the same folders; the manifest defines the splits.
"""

from __future__ import annotations

from dataclasses import dataclass
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.meshing.isosurface import decimate

#: Mesh formats of a folder without a manifest.
MESH_SUFFIXES = ('.glb', '.obj', '.ply', '.stl')

#: Faces to which larger meshes are simplified; more are below the resolution of a camera.
MAX_FACES = 200_000

#: Range of the longest side of an object, metres; outside of it the unit is not metres.
_LENGTH_RANGE_M = (0.005, 3.0)

#: Faces to which a textured mesh is subdivided before its texture is sampled at the vertices.
_MIN_TEXTURED_FACES = 20_000

_LAYOUT = (
    'It must hold either manifest.json, a list of {"file", "name", "split", "category", "family"} '
    'with one .npz each, or .glb, .obj or .ply files, metric and z up. Public scans: Google '
    'Scanned Objects (research.google, "Scanned Objects by Google Research"), YCB '
    '(ycbbenchmarks.com), ContactDB (contactdb.cc.gatech.edu).'
)


@dataclass(frozen=True)
class ObjectEntry:
    """
    An object of a data set, read by ``load``.

    - ``path``: its file; ``split``: ``train``, ``eval`` or ``all`` for a folder without splits.
    - ``family``: objects of one family are variants of each other; ``colored``: whether its
      colours are those of the real object.
    - ``solid``: whether it is full and closed, as its manifest says (``solid_ok``, ``hollow``).
    """

    name: str
    path: Path
    split: str = 'all'
    category: str = ''
    family: str = ''
    colored: bool = True
    solid: bool = True

    def load(self) -> Mesh:
        """Return the mesh, metres, z up; see ``load_mesh``."""
        return load_mesh(self.path)


def find_objects(data: Path, split: str | None = None) -> list[ObjectEntry]:
    """
    Return the objects of a folder, in the order of their names.

    ``manifest.json`` in the folder or its parent lists them; without one the folder is searched
    for meshes. ``split`` selects a split. Raises ``LiftError(BAD_REQUEST)`` for a folder that is
    missing or empty, a manifest that cannot be read, and an unknown split.
    """
    if not data.is_dir():
        raise LiftError(ErrorCode.BAD_REQUEST, f'There is no folder {data}. {_LAYOUT}')
    manifest = next(
        (path for path in (data / 'manifest.json', data.parent / 'manifest.json')
         if path.is_file()),
        None,
    )
    if manifest is None:
        paths = sorted(p for p in data.rglob('*') if p.suffix.lower() in MESH_SUFFIXES)
        objects = [
            ObjectEntry('_'.join(path.relative_to(data).with_suffix('').parts), path)
            for path in paths
        ]
    else:
        objects = _read_manifest(manifest)
    if not objects:
        raise LiftError(ErrorCode.BAD_REQUEST, f'{data} holds no objects. {_LAYOUT}')
    if split is not None:
        known = sorted({entry.split for entry in objects})
        objects = [entry for entry in objects if entry.split == split]
        if not objects:
            raise LiftError(
                ErrorCode.BAD_REQUEST,
                f'{data} has no split "{split}"; choose one of {", ".join(known)}.',
            )
    return sorted(objects, key=lambda entry: entry.name)


def load_mesh(path: Path) -> Mesh:
    """
    Return a mesh in the ``.npz`` format of the manifest, or any format that trimesh reads.

    Textures become vertex colours; without colour the mesh is grey. It may be open.
    Raises ``LiftError(BAD_REQUEST)`` for a file that cannot be read, has no faces, coordinates
    that are not finite or faces without their vertices, or is not in metres.
    """
    try:
        if path.suffix.lower() == '.npz':
            mesh = _read_pack(path)
        else:
            mesh = _read_any(path)
    except LiftError:
        raise
    except Exception as error:
        # The readers of other formats raise errors of any type.
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            f'{path} cannot be read as a mesh ({type(error).__name__}: {error}).',
        ) from error
    if not len(mesh.faces):
        raise LiftError(ErrorCode.BAD_REQUEST, f'{path} has no faces.')
    if not np.isfinite(mesh.vertices).all():
        raise LiftError(ErrorCode.BAD_REQUEST, f'{path} has vertices that are not finite.')
    if mesh.faces.min() < 0 or mesh.faces.max() >= len(mesh.vertices):
        raise LiftError(ErrorCode.BAD_REQUEST, f'{path} has faces without their vertices.')
    longest = float(np.ptp(mesh.vertices, axis=0).max())
    if not _LENGTH_RANGE_M[0] <= longest <= _LENGTH_RANGE_M[1]:
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            f'{path} is {longest:g} long; objects are measured in metres, '
            f'{_LENGTH_RANGE_M[0]:g} to {_LENGTH_RANGE_M[1]:g}.',
        )
    return _simplify(mesh) if len(mesh.faces) > MAX_FACES else mesh


def _read_manifest(path: Path) -> list[ObjectEntry]:
    try:
        entries = json.loads(path.read_text())
        return [
            ObjectEntry(
                name=entry['name'],
                path=path.parent / entry['file'],
                split=entry.get('split', 'all'),
                category=entry.get('category', ''),
                family=entry.get('family', entry['name']),
                colored=str(entry.get('colour', '')).startswith('texture'),
                solid=bool(entry.get('solid_ok', True)) and not entry.get('hollow', False),
            )
            for entry in entries
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError,
            RecursionError) as error:
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            f'{path} is not a list of objects ({type(error).__name__}: {error}). {_LAYOUT}',
        ) from error


def _read_pack(path: Path) -> Mesh:
    with np.load(path, allow_pickle=False) as pack:
        vertices = pack['vertices_q'].astype(np.float32) * pack['v_scale'] + pack['v_offset']
        return Mesh(
            vertices.astype(np.float32),
            pack['faces'].astype(np.int32),
            pack['vertex_colors'].astype(np.uint8),
        )


def _read_any(path: Path) -> Mesh:
    import trimesh

    loaded: Any = trimesh.load(path, process=False)
    if isinstance(loaded, trimesh.Scene):
        parts = [part for part in loaded.dump() if isinstance(part, trimesh.Trimesh)]
    else:
        parts = [loaded] if isinstance(loaded, trimesh.Trimesh) else []
    meshes = [_with_vertex_colors(part) for part in parts if len(part.faces)]
    if not meshes:
        return Mesh(
            np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32), np.zeros((0, 3), np.uint8)
        )
    first = np.cumsum([0] + [len(mesh.vertices) for mesh in meshes[:-1]])
    faces = [mesh.faces + at for mesh, at in zip(meshes, first, strict=True)]
    return _weld(
        Mesh(
            np.concatenate([mesh.vertices for mesh in meshes]),
            np.concatenate(faces).astype(np.int32),
            np.concatenate([mesh.colors for mesh in meshes]),
        )
    )


def _with_vertex_colors(part: Any) -> Mesh:
    """Return a trimesh part as a mesh, its texture sampled at the vertices."""
    import trimesh

    vertices, faces = np.asarray(part.vertices), np.asarray(part.faces)
    uv = getattr(part.visual, 'uv', None)
    if uv is None:
        colors = np.asarray(part.visual.vertex_colors)
        return Mesh(
            vertices.astype(np.float32),
            faces.astype(np.int32),
            np.ascontiguousarray(colors[:, :3], np.uint8),
        )
    attributes: dict[str, NDArray[Any]] = {'uv': np.asarray(uv)}
    while len(faces) < _MIN_TEXTURED_FACES:
        vertices, faces, attributes = trimesh.remesh.subdivide(
            vertices, faces, vertex_attributes=attributes
        )
    colors = np.asarray(part.visual.material.to_color(attributes['uv']))
    return Mesh(
        vertices.astype(np.float32),
        faces.astype(np.int32),
        np.ascontiguousarray(colors[:, :3], np.uint8),
    )


def _weld(mesh: Mesh) -> Mesh:
    """Return the mesh with coincident vertices merged, which texture seams separate."""
    _, first, back = np.unique(mesh.vertices, axis=0, return_index=True, return_inverse=True)
    faces = back.reshape(-1)[mesh.faces]
    proper = (faces != np.roll(faces, 1, axis=1)).all(axis=1)
    return Mesh(mesh.vertices[first], faces[proper].astype(np.int32), mesh.colors[first])


def _simplify(mesh: Mesh) -> Mesh:
    from scipy.spatial import cKDTree

    vertices, faces = decimate(mesh.vertices, mesh.faces, MAX_FACES)
    _, nearest = cKDTree(mesh.vertices).query(vertices, workers=1)
    return Mesh(vertices.astype(np.float32), faces, mesh.colors[nearest])
