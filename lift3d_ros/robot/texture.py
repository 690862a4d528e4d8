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


"""Bake vertex colours into a texture, for programs that do not read vertex colours."""

from __future__ import annotations

from dataclasses import dataclass
import io
from pathlib import Path
import re
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lift3d_ros.errors import bad_request
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.runtime.files import write_whole

#: Smallest, largest and default side of a texture, pixels.
MIN_TEXTURE = 64
MAX_TEXTURE = 4096
DEFAULT_TEXTURE = 1024

#: Distance between charts, pixels, so that filtering and mipmaps do not mix their colours.
_PADDING_PX = 4

#: Target share of the texture that the charts fill.
_FILL_SHARE = 0.65

#: Number of fractional bits of coordinates in OpenCV drawing functions.
_SHIFT = 4


@dataclass(frozen=True, eq=False)
class TexturedMesh:
    """
    A mesh and its texture.

    - ``mesh``: its vertices are not duplicated at the seams.
    - ``uv``: float32 (k, 2), texture coordinates, 0 to 1, v up from its lower border.
    - ``uv_faces``: int32 (m, 3), index in ``uv`` for each corner of each face.
    - ``vertex``: int32 (k,), the vertex of each entry of ``uv``.
    - ``image``: uint8 RGB, square.
    """

    mesh: Mesh
    uv: NDArray[np.float32]
    uv_faces: NDArray[np.int32]
    vertex: NDArray[np.int32]
    image: NDArray[np.uint8]


def bake(mesh: Mesh, size: int = DEFAULT_TEXTURE) -> TexturedMesh:
    """
    Unwrap a mesh with xatlas and draw its vertex colours into a texture.

    ``size`` is the side of the texture in pixels. Pixels between the charts have the
    colour of the nearest pixel on a face, so that no seam is visible.

    Raises ``LiftError(BAD_REQUEST)`` without the package xatlas or for a size out of range.
    """
    check_size(size)
    xatlas = load_xatlas()
    a, b, c = (mesh.vertices[mesh.faces[:, k]].astype(np.float64) for k in range(3))
    area = 0.5 * float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum())
    atlas, packing = xatlas.Atlas(), xatlas.PackOptions()
    atlas.add_mesh(mesh.vertices, mesh.faces.astype(np.uint32))
    packing.padding = _PADDING_PX
    packing.texels_per_unit = float(np.sqrt(_FILL_SHARE * size * size / max(area, 1e-20)))
    atlas.generate(xatlas.ChartOptions(), packing)
    vertex, faces, uv = atlas[0]
    uv_faces = np.asarray(faces, np.int32).reshape(-1, 3)
    uv, vertex = np.asarray(uv, np.float32), np.asarray(vertex, np.int32)
    image = _draw_faces(uv[uv_faces], mesh.colors[mesh.faces], size)
    return TexturedMesh(mesh, uv, uv_faces, vertex, image)


def check_size(size: int) -> None:
    """Raise ``LiftError(BAD_REQUEST)`` for a texture that is too small or too large."""
    if not MIN_TEXTURE <= size <= MAX_TEXTURE:
        raise bad_request(
            f'A texture of {size} pixels is requested; choose {MIN_TEXTURE} to {MAX_TEXTURE}.')


def load_xatlas() -> Any:
    """Return the module xatlas; raises ``LiftError(BAD_REQUEST)`` if it is missing."""
    try:
        import xatlas
    except ImportError as error:
        raise bad_request(
            f'Textures need the package xatlas ({error}); install it: pip install '
            'xatlas.') from error
    return xatlas


def side_files(path: Path) -> tuple[Path, Path]:
    """Return the material and image files of an OBJ; readers do not support spaces in them."""
    stem = re.sub(r'\s', '_', path.stem)
    return path.with_name(f'{stem}.mtl'), path.with_name(f'{stem}.png')


def write_obj(textured: TexturedMesh, path: Path) -> None:
    """
    Write an OBJ with its material (.mtl) and texture (.png) next to it.

    The vertices are shared across seams, so that the mesh in the file is closed. Raises
    ``OSError`` if a file cannot be written.
    """
    material, picture = side_files(path)
    write_whole(picture, _png(textured.image))
    write_whole(
        material,
        'newmtl surface\nKa 1 1 1\nKd 1 1 1\nKs 0 0 0\nillum 1\n'
        f'map_Kd {picture.name}\n'.encode(),
    )
    mesh = textured.mesh
    corner, place = mesh.faces + 1, textured.uv_faces + 1
    columns = np.stack([corner, place, corner], axis=2).reshape(-1, 9)
    lines = [
        f'mtllib {material.name}',
        *_lines('v {:.7g} {:.7g} {:.7g}', mesh.vertices),
        *_lines('vt {:.6f} {:.6f}', textured.uv),
        *_lines('vn {:.4f} {:.4f} {:.4f}', mesh.vertex_normals()),
        'usemtl surface',
        *_lines('f {}/{}/{} {}/{}/{} {}/{}/{}', columns),
        '',
    ]
    write_whole(path, '\n'.join(lines).encode())


def write_glb(textured: TexturedMesh, path: Path) -> None:
    """Write a GLB with embedded texture; raises ``OSError`` if it cannot be written."""
    from PIL import Image
    import trimesh

    mesh, vertex = textured.mesh, textured.vertex
    visual = trimesh.visual.TextureVisuals(
        uv=textured.uv,
        material=trimesh.visual.material.PBRMaterial(
            name='surface',
            baseColorTexture=Image.fromarray(textured.image),
            metallicFactor=0.0,
            roughnessFactor=1.0,
        ),
    )
    unwrapped = trimesh.Trimesh(
        mesh.vertices[vertex],
        textured.uv_faces,
        vertex_normals=mesh.vertex_normals()[vertex],
        visual=visual,
        process=False,
    )
    data: Any = unwrapped.export(file_type='glb')
    write_whole(path, data)


def _lines(form: str, rows: NDArray[Any]) -> list[str]:
    return [form.format(*row) for row in rows.tolist()]


def _png(image: NDArray[np.uint8]) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(image).save(stream, 'PNG')
    return stream.getvalue()


def _draw_faces(
    corners: NDArray[np.float32], colors: NDArray[np.uint8], size: int
) -> NDArray[np.uint8]:
    """
    Return the texture of faces, uint8 RGB (size, size, 3).

    ``corners`` (m, 3, 2) are texture coordinates, ``colors`` (m, 3, 3) the colours of the corners.
    """
    # From u to the right and v up to columns and rows, with pixel centres at integers.
    places = corners.astype(np.float64) * (size, -size) + (-0.5, size - 0.5)
    owner = np.full((size, size), -1, np.int32)
    for index, triangle in enumerate(np.rint(places * 2**_SHIFT).astype(np.int32)):
        cv2.fillConvexPoly(owner, triangle, index, cv2.LINE_8, _SHIFT)
    rows, columns = np.nonzero(owner >= 0)
    face = owner[rows, columns]
    weights = _barycentric(places[face], np.stack([columns, rows], axis=1))
    image = np.zeros((size, size, 3), np.uint8)
    image[rows, columns] = np.rint(np.einsum('nkc,nk->nc', colors[face].astype(float), weights))
    # Pixels outside of the charts get the colour of the nearest pixel of a chart.
    _, nearest = cv2.distanceTransformWithLabels(
        (owner < 0).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    chart_colors = np.zeros((int(nearest.max()) + 1, 3), np.uint8)
    chart_colors[nearest[rows, columns]] = image[rows, columns]
    return np.asarray(chart_colors[nearest])


def _barycentric(
    triangles: NDArray[np.float64], points: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Return the weights (n, 3) of the corners (n, 3, 2) at points (n, 2), never negative."""
    a, b, c = (triangles[:, k] for k in range(3))

    def cross(p: NDArray[np.float64], q: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0])

    area = cross(b - a, c - a)
    # A degenerate triangle has the mean colour of its corners.
    safe = np.where(np.abs(area) > 1e-9, area, np.inf)
    second, third = cross(points - a, c - a) / safe, cross(b - a, points - a) / safe
    weights = np.stack([1.0 - second - third, second, third], axis=1)
    weights[~np.isfinite(safe)] = 1.0 / 3.0
    # Border pixels are drawn up to half a pixel outside of the triangle.
    weights = np.maximum(weights, 0.0)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))
