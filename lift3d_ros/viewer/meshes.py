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

"""Meshes of the viewer: read from files, coloured, and written as glTF."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lift3d_ros.errors import bad_request
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.viewer.content import ViewedObject

#: What the colours of a mesh show.
MODES = COLOR, OBSERVED, CONFIDENCE = 'colour', 'observed / predicted', 'confidence'

#: Colours of observed and of predicted surface, as in the sheets of ``io.lift_sheet``.
OBSERVED_RGB, PREDICTED_RGB = (70, 130, 200), (240, 150, 60)

#: Colour of a mesh without the values of a mode.
UNKNOWN_RGB = (170, 170, 170)

#: Endings of mesh files that can be shown.
ENDINGS = ('.ply', '.glb', '.obj', '.stl')

#: Type of the numbers of an accessor, and its use (glTF 2.0, sections 3.6.2 and 5.11).
_FLOAT, _UINT32, _VERTICES, _INDICES = 5126, 5125, 34962, 34963


def read_mesh(
    path: Path,
) -> tuple[Mesh, NDArray[np.float32] | None, NDArray[np.bool_] | None]:
    """
    Return the mesh of a file with confidence and observed at its vertices, if it has them.

    Raises ``LiftError(BAD_REQUEST)`` for a file that is missing, empty or incomplete.
    """
    import trimesh

    try:
        loaded: Any = trimesh.load(path, process=False, force='mesh')
        vertices = np.asarray(loaded.vertices, np.float32)
        faces = np.asarray(loaded.faces, np.int32)
        if not len(faces) or not np.isfinite(vertices).all() or faces.max() >= len(vertices):
            raise ValueError('it has no valid triangles')
        attributes = _attributes(loaded, len(vertices))
        mesh = Mesh(vertices, faces, _colors(loaded, len(vertices)))
    except Exception as error:
        # Libraries raise anything for a file that was cut off.
        raise bad_request(
            f'The mesh {path} cannot be read ({type(error).__name__}: {error}); if it is still '
            'being written, reload the page when it is done, else lift the scene again.'
        ) from error
    confidence, observed = (attributes.get(name) for name in ('confidence', 'observed'))
    return (
        mesh,
        None if confidence is None else confidence.astype(np.float32),
        None if observed is None else observed > 0.5,
    )


def vertex_colors(viewed: ViewedObject, mode: str) -> NDArray[np.uint8]:
    """Return the colours of a mesh in one of ``MODES``, uint8 RGB (n, 3)."""
    count = len(viewed.mesh.vertices)
    if mode == OBSERVED and viewed.observed is not None:
        chosen = np.where(viewed.observed[:, None], OBSERVED_RGB, PREDICTED_RGB)
        return chosen.astype(np.uint8)
    if mode == CONFIDENCE and viewed.confidence is not None:
        return color_map(viewed.confidence)
    if mode == COLOR:
        return viewed.mesh.colors
    return np.full((count, 3), UNKNOWN_RGB, np.uint8)


def color_map(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Return the colours of values 0 to 1 (n,) in the map viridis, uint8 RGB (n, 3)."""
    levels = np.rint(255.0 * np.clip(np.nan_to_num(values), 0.0, 1.0)).astype(np.uint8)
    return np.asarray(
        cv2.applyColorMap(levels[:, None], cv2.COLORMAP_VIRIDIS)[:, 0, ::-1], np.uint8)


def gltf(mesh: Mesh, colors: NDArray[np.uint8]) -> bytes:
    """
    Return a mesh as binary glTF 2.0, with ``colors`` uint8 sRGB (n, 3) at its vertices.

    Colours are linear floats, as glTF defines vertex colours; 8 bits a channel would band.
    """
    srgb = colors.astype(np.float32) / 255.0
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    arrays = [
        mesh.vertices.astype('<f4'), mesh.vertex_normals().astype('<f4'), linear.astype('<f4'),
        mesh.faces.astype('<u4').reshape(-1),
    ]
    views, offset = [], 0
    for array in arrays:
        use = _INDICES if array.ndim == 1 else _VERTICES
        views.append(
            {'buffer': 0, 'byteOffset': offset, 'byteLength': array.nbytes, 'target': use})
        offset += array.nbytes
    accessors: list[dict[str, Any]] = [
        {
            'bufferView': number, 'count': len(array),
            'componentType': _UINT32 if array.ndim == 1 else _FLOAT,
            'type': 'SCALAR' if array.ndim == 1 else 'VEC3',
        }
        for number, array in enumerate(arrays)
    ]
    accessors[0]['min'] = mesh.vertices.min(axis=0).tolist()
    accessors[0]['max'] = mesh.vertices.max(axis=0).tolist()
    description = {
        'asset': {'version': '2.0'},
        'scene': 0,
        'scenes': [{'nodes': [0]}],
        'nodes': [{'mesh': 0}],
        'meshes': [{'primitives': [{
            'attributes': {'POSITION': 0, 'NORMAL': 1, 'COLOR_0': 2}, 'indices': 3,
            'material': 0,
        }]}],
        'materials': [{
            'doubleSided': True,
            'pbrMetallicRoughness': {'metallicFactor': 0.0, 'roughnessFactor': 0.85},
        }],
        'buffers': [{'byteLength': offset}],
        'bufferViews': views,
        'accessors': accessors,
    }
    text = json.dumps(description).encode()
    text += b' ' * (-len(text) % 4)
    data = b''.join(array.tobytes() for array in arrays)
    chunks = _chunk(b'JSON', text) + _chunk(b'BIN\0', data)
    return b'glTF' + np.array([2, 12 + len(chunks)], '<u4').tobytes() + chunks


def _chunk(kind: bytes, data: bytes) -> bytes:
    return np.array([len(data)], '<u4').tobytes() + kind + data


def _attributes(loaded: Any, count: int) -> dict[str, NDArray[Any]]:
    """Return further numbers at the vertices of a PLY; trimesh keeps them in their raw form."""
    raw = loaded.metadata.get('_ply_raw', {}).get('vertex', {}).get('data')
    if raw is None:
        return {}
    names = raw.dtype.names if hasattr(raw, 'dtype') and raw.dtype.names else raw.keys()
    found = {name: np.asarray(raw[name]).reshape(-1) for name in names}
    return {name: values for name, values in found.items() if len(values) == count}


def _colors(loaded: Any, count: int) -> NDArray[np.uint8]:
    visual = loaded.visual
    if visual.kind == 'texture':
        visual = visual.to_color()
    if visual.kind not in ('vertex', 'face'):
        return np.full((count, 3), UNKNOWN_RGB, np.uint8)
    return np.ascontiguousarray(np.asarray(visual.vertex_colors, np.uint8)[:count, :3])
