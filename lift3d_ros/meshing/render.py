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
Ray-cast images of meshes: colour, depth, instance and normal at every pixel.

Open3D's ``RaycastingScene`` (Embree) casts the rays; it needs neither a display nor a GPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike
from numpy.typing import NDArray

from lift3d_ros.geometry import Array
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import look_at
from lift3d_ros.geometry import rotate
from lift3d_ros.geometry import spherical
from lift3d_ros.geometry import unit
from lift3d_ros.geometry.shape import Mesh

#: Normals are smoothed across an edge whose faces differ from the vertex normal by less than this.
_CREASE_COSINE = np.cos(np.radians(35.0))

#: A pixel is supersampled where its 3 x 3 neighbourhood spans more grey levels than this.
_MAX_CONTRAST = 16

#: Offsets of the light's direction that soften the border of a shadow.
_PENUMBRA = 0.06 * np.array([[1, 0, 0], [-1, 1, 0], [0, -1, 1], [0, 0, -1]], dtype=np.float64)


@dataclass(frozen=True)
class Light:
    """
    A directional light with ambient light.

    - ``direction``: towards the light, in the frame of the meshes; of any length.
    - ``ambient``, ``diffuse``: their shares of the brightness of a surface, 1 = its own colour.
    - ``shadows``: whether surfaces cast shadows.
    """

    direction: tuple[float, float, float] = (0.3, -0.4, 0.85)
    ambient: float = 0.5
    diffuse: float = 0.6
    shadows: bool = False


@dataclass(frozen=True, eq=False)
class Rendering:
    """
    The rendering of meshes by a camera, each array (height, width, ...).

    - ``image``: uint8 RGB.
    - ``depth``: float32 metres along z of the optical frame, 0 where nothing is hit.
    - ``instance``: int32, index of the visible mesh, -1 without one.
    - ``normals``: float32, unit, in the optical frame, towards the camera; 0 where nothing is hit.
    """

    image: NDArray[np.uint8]
    depth: NDArray[np.float32]
    instance: NDArray[np.int32]
    normals: NDArray[np.float32]


class Raycaster:
    """Meshes of one frame, indexed once for renderings by any number of cameras."""

    def __init__(self, meshes: Sequence[Mesh]) -> None:
        """
        Build the search structure.

        Raises ``ModuleNotFoundError`` if Open3D is not installed and ``ValueError`` for a mesh
        without faces.
        """
        self._o3d = _open3d()
        self._scene = self._o3d.t.geometry.RaycastingScene()
        for index, mesh in enumerate(meshes):
            if not len(mesh.faces):
                raise ValueError(f'mesh {index} has no faces')
            self._scene.add_triangles(
                self._o3d.core.Tensor(np.ascontiguousarray(mesh.vertices, np.float32)),
                self._o3d.core.Tensor(np.ascontiguousarray(mesh.faces, np.uint32)),
            )
        sizes = [len(mesh.faces) for mesh in meshes]
        self._first_face = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
        colors = np.concatenate([mesh.colors[mesh.faces] for mesh in meshes])
        self._colors = colors.astype(np.float32)
        self._normals = np.concatenate([_corner_normals(mesh) for mesh in meshes])

    def render(
        self,
        camera: Camera,
        T_mesh_camera: ArrayLike,
        light: Light | None = None,
        background: ArrayLike = (255, 255, 255),
        supersampling: int = 3,
    ) -> Rendering:
        """
        Return the rendering by a camera at ``T_mesh_camera``.

        ``background`` is an RGB colour or a whole image, uint8 (height, width, 3). Pixels at
        edges are the mean of ``supersampling`` squared rays; depth, instance and normal are those
        of the ray through the pixel's centre.
        """
        light = light or Light()
        T = np.asarray(T_mesh_camera, dtype=np.float64)
        shape = (camera.height, camera.width)
        behind = np.broadcast_to(np.asarray(background, np.float32), (*shape, 3)).reshape(-1, 3)
        rays = camera.rays().reshape(-1, 3)
        color, depth, instance, normals = self._trace(
            rays.astype(np.float32), T, light, behind
        )
        if supersampling > 1:
            rough = _rough_pixels(color.reshape(*shape, 3))
            v, u = np.divmod(rough, camera.width)
            step = (np.arange(supersampling) + 0.5) / supersampling - 0.5
            du, dv = (offset.ravel() for offset in np.meshgrid(step, step))
            rays = camera.unproject(u[:, None] + du, v[:, None] + dv, 1.0).reshape(-1, 3)
            finer, *_ = self._trace(
                rays.astype(np.float32), T, light, np.repeat(behind[rough], len(du), axis=0)
            )
            color[rough] = finer.reshape(len(rough), len(du), 3).mean(axis=1)
        return Rendering(
            np.rint(color).astype(np.uint8).reshape(*shape, 3),
            depth.reshape(shape),
            instance.reshape(shape),
            normals.reshape(*shape, 3),
        )

    def contains(self, points: ArrayLike, samples: int = 1) -> NDArray[np.bool_]:
        """
        Return whether points (n, 3) in the frame of the meshes lie inside, bool (n,).

        Rays are cast from each point in ``samples`` directions, an odd number; three tolerate
        small holes in a mesh.
        """
        tensor = self._o3d.core.Tensor(np.ascontiguousarray(points, np.float32))
        return np.asarray(self._scene.compute_occupancy(tensor, nsamples=samples).numpy() > 0.5)

    def distance(self, points: ArrayLike) -> NDArray[np.float32]:
        """Return the distance of points (n, 3) to the nearest surface, float32 (n,)."""
        tensor = self._o3d.core.Tensor(np.ascontiguousarray(points, np.float32))
        return np.asarray(self._scene.compute_distance(tensor).numpy(), np.float32)

    def _trace(
        self,
        rays: NDArray[np.float32],
        T: Array,
        light: Light,
        background: NDArray[np.float32],
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int32], NDArray[np.float32]]:
        """
        Return colour 0..255, depth, instance and normal (optical frame) along rays.

        ``rays`` (n, 3) are directions of the optical frame with z = 1, so that the distance
        along a ray in units of its direction is the depth.
        """
        lines = np.empty((len(rays), 6), np.float32)
        lines[:, :3] = T[:3, 3]
        lines[:, 3:] = _turn(rays, T[:3, :3])
        hits = self._scene.cast_rays(self._o3d.core.Tensor(lines))
        distance = hits['t_hit'].numpy()
        hit = np.flatnonzero(np.isfinite(distance))
        distance, directions = distance[hit], lines[hit, 3:]
        mesh = hits['geometry_ids'].numpy()[hit].astype(np.intp)
        face = self._first_face[mesh] + hits['primitive_ids'].numpy()[hit]
        weights = np.empty((len(hit), 3), np.float32)
        weights[:, 1:] = hits['primitive_uvs'].numpy()[hit]
        weights[:, 0] = 1.0 - weights[:, 1] - weights[:, 2]
        normal = np.einsum('ijk,ij->ik', self._normals.take(face, axis=0), weights)
        normal /= np.sqrt(np.maximum(_dot(normal, normal), 1e-12))[:, None]
        # The back of an open mesh can be visible: normals point to the visible side.
        normal *= np.where(_dot(normal, directions) > 0.0, np.float32(-1.0), np.float32(1.0))[
            :, None
        ]
        albedo = np.einsum('ijk,ij->ik', self._colors.take(face, axis=0), weights)
        towards = unit(light.direction).astype(np.float32)
        direct = np.maximum(normal @ towards, np.float32(0.0))
        if light.shadows:
            points = lines[hit, :3] + distance[:, None] * directions
            # Offset from the surface, so that it casts no shadow on itself.
            points += 2e-3 * distance[:, None] * normal
            direct *= self._visibility(points, towards)
        brightness = np.float32(light.ambient) + np.float32(light.diffuse) * direct
        color = background.copy()
        color[hit] = np.clip(albedo * brightness[:, None], 0.0, 255.0)
        depth = np.zeros(len(rays), np.float32)
        depth[hit] = distance
        instance = np.full(len(rays), -1, np.int32)
        instance[hit] = mesh
        normals = np.zeros((len(rays), 3), np.float32)
        normals[hit] = _turn(normal, T[:3, :3].T)
        return color, depth, instance, normals

    def _visibility(
        self, points: NDArray[np.float32], towards: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Return the share of the light that reaches points (n, 3), 0 to 1."""
        visible = np.zeros(len(points), np.float32)
        lines = np.empty((len(points), 6), np.float32)
        lines[:, :3] = points
        for offset in _PENUMBRA:
            lines[:, 3:] = towards + offset
            visible += ~self._scene.test_occlusions(self._o3d.core.Tensor(lines)).numpy()
        return visible / np.float32(len(_PENUMBRA))


def preview(
    mesh: Mesh, azimuth: float, elevation: float, size: int = 256, light: Light | None = None
) -> NDArray[np.uint8]:
    """
    Return an image that a z-up mesh fills, uint8 RGB (size, size, 3), on white.

    The camera is at ``azimuth`` and ``elevation`` degrees about the centre of the mesh.
    """
    return previews(mesh, [(azimuth, elevation)], size, light)[0]


def previews(
    mesh: Mesh,
    directions: Sequence[tuple[float, float]],
    size: int = 256,
    light: Light | None = None,
) -> list[NDArray[np.uint8]]:
    """Return ``preview`` from each (azimuth, elevation) in degrees, all at one distance."""
    low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
    middle = (low + high).astype(np.float64) / 2.0
    radius = float(np.linalg.norm(mesh.vertices - middle, axis=1).max())
    fov = 30.0
    camera = Camera.from_fov(size, size, fov)
    distance = 1.04 * radius / np.sin(np.radians(fov / 2.0))
    caster = Raycaster([mesh])
    images = []
    for azimuth, elevation in directions:
        pose = look_at(middle + spherical(azimuth, elevation, distance), middle)
        # A light above and to the left of the camera, so that every visible side is lit.
        lamp = rotate(pose, (-0.5, -0.6, -1.0))
        turned = light or Light((lamp[0], lamp[1], lamp[2]))
        images.append(caster.render(camera, pose, turned).image)
    return images


def outline(
    image: NDArray[np.uint8],
    mask: NDArray[np.bool_],
    color: tuple[int, int, int] = (255, 40, 40),
    thickness: int = 2,
) -> NDArray[np.uint8]:
    """Return the image with the outline of ``mask``, bool (height, width), in ``color``."""
    contours, _ = cv2.findContours(
        mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE
    )
    marked = np.ascontiguousarray(image).copy()
    cv2.drawContours(marked, contours, -1, color, thickness)
    return marked


def sheet(
    rows: Sequence[Sequence[tuple[NDArray[np.uint8], str]]], tile: int = 256, margin: int = 8
) -> NDArray[np.uint8]:
    """
    Return rows of captioned images as one image, uint8 RGB.

    Each image, uint8 RGB of any size, is fitted into a square of ``tile`` pixels with its caption
    below; a caption may have several lines.
    """
    from PIL import Image
    from PIL import ImageDraw

    size = max(11, tile // 18)
    font, line = _font(size), int(1.35 * size)
    images = [[_fit(image, tile) for image, _ in row] for row in rows]
    heights = [max((image.shape[0] for image in row), default=0) for row in images]
    lines = [max((caption.count('\n') + 1 for _, caption in row), default=0) for row in rows]
    columns = max((len(row) for row in rows), default=0)
    page = Image.new(
        'RGB',
        (
            margin + columns * (tile + margin),
            margin + sum(heights) + line * sum(lines) + 2 * margin * len(rows),
        ),
        (255, 255, 255),
    )
    draw = ImageDraw.Draw(page)
    top = margin
    for row, fitted, height, count in zip(rows, images, heights, lines, strict=True):
        for column, ((_, caption), image) in enumerate(zip(row, fitted, strict=True)):
            left = margin + column * (tile + margin)
            inset = ((tile - image.shape[1]) // 2, (height - image.shape[0]) // 2)
            page.paste(Image.fromarray(image), (left + inset[0], top + inset[1]))
            for number, text in enumerate(caption.splitlines()):
                below = (left, top + height + margin // 2 + number * line)
                draw.text(below, text, (30, 30, 30), font=font)
        top += height + count * line + 2 * margin
    return np.asarray(page)


def _turn(vectors: NDArray[np.float32], rotation: Array) -> NDArray[np.float32]:
    """Return vectors (n, 3) rotated; many times faster than a matrix product in numpy."""
    if not len(vectors):
        return vectors
    return np.asarray(cv2.transform(vectors[:, None], rotation.astype(np.float32))[:, 0])


def _dot(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(np.einsum('ij,ij->i', a, b))


def _corner_normals(mesh: Mesh) -> NDArray[np.float32]:
    """Return a unit normal for each corner of each face, (m, 3, 3), with sharp creases."""
    a, b, c = (mesh.vertices[mesh.faces[:, k]].astype(np.float64) for k in range(3))
    normal = np.cross(b - a, c - a)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-20)
    flat = normal.astype(np.float32)[:, None]
    smooth = mesh.vertex_normals()[mesh.faces]
    bent = np.einsum('ijk,ijk->ij', smooth, np.broadcast_to(flat, smooth.shape)) < _CREASE_COSINE
    return np.where(bent[..., None], flat, smooth)


def _rough_pixels(color: NDArray[np.float32]) -> NDArray[np.intp]:
    """Return the flat indices of pixels that differ from a neighbour."""
    kernel = np.ones((3, 3), np.uint8)
    image = np.rint(color).astype(np.uint8)
    spread = cv2.subtract(cv2.dilate(image, kernel), cv2.erode(image, kernel))
    return np.flatnonzero(spread.max(axis=2) > _MAX_CONTRAST)


def _fit(image: NDArray[np.uint8], tile: int) -> NDArray[np.uint8]:
    """Return the image scaled so that its longer side has ``tile`` pixels."""
    scale = tile / max(image.shape[:2])
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    filter_ = cv2.INTER_AREA if scale < 1.0 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, size, interpolation=filter_), np.uint8)


def _font(size: int) -> Any:
    from PIL import ImageFont

    try:
        return ImageFont.load_default(size)
    except TypeError:
        # Before Pillow 10.1 the built-in font has one size.
        return ImageFont.load_default()


def _open3d() -> Any:
    try:
        import open3d
    except ImportError as error:
        raise ModuleNotFoundError(
            'Rendering meshes needs the package open3d (pip install open3d; on Debian also '
            f'apt-get install libgl1 libgomp1 libusb-1.0-0): {error}',
            name='open3d',
        ) from error
    return open3d
