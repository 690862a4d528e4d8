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
Rasterise meshes and points: which face or point a camera sees at a pixel, and at which depth.

Faces are painted from back to front, which takes milliseconds for a few thousand of them and needs
no package beside OpenCV. Two tasks have their own function: ``visible_points`` is a depth buffer
of points, because painting every face of a mesh for each synthesised view takes 70 times as long;
and ``render.Raycaster`` casts exact rays with colours, shadows and normals, which needs Open3D.
"""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field

import cv2
import numpy as np
from numpy.typing import NDArray

from lift3d_ros.geometry import Array
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import Floats
from lift3d_ros.geometry import transform
from lift3d_ros.geometry.frame import ObjectView
from lift3d_ros.meshing.isosurface import decimate

#: Faces of a ``Surface``: enough for its silhouette and depth, and rasterised in milliseconds.
SURFACE_FACES = 2_000

#: Lines per pixel of the raster that faces are painted on. A painted face extends by half a line
#: over its edge.
SUBPIXELS = 3

#: Bits of the fraction of a line in the corners of a painted face.
FRACTION_BITS = 4

#: Longer side of an object in its window, pixels at most; margin around it over that side.
WINDOW_SIDE = 160
WINDOW_MARGIN = 0.25

#: Distance from the image, over its longer side, beyond which points share a cell.
MAX_OFF_IMAGE = 4.0

#: Value of all channels above which a pixel is background (One-2-3-45).
BACKGROUND_VALUE = 245


@dataclass(frozen=True, eq=False)
class Raster:
    """
    What a camera sees of a surface.

    - ``face``: int32 (height, width), -1 where none is.
    - ``depth``: float64 (height, width) along z in the units of the surface, 0 where none is.
    """

    face: NDArray[np.int32]
    depth: Array

    @property
    def mask(self) -> NDArray[np.bool_]:
        """The silhouette, bool (height, width)."""
        return self.face >= 0


@dataclass(frozen=True, eq=False)
class Surface:
    """A closed surface of few faces, optical frame: ``vertices`` (n, 3), ``faces`` (m, 3)."""

    vertices: Array
    faces: NDArray[np.int32]
    # Several checks compare one surface with one view.
    _rasters: dict[Camera, Raster] = field(default_factory=dict, repr=False)

    @classmethod
    def of(
        cls, vertices: Floats, faces: NDArray[np.integer], count: int = SURFACE_FACES
    ) -> Surface:
        """Return the surface of a mesh, decimated to about ``count`` faces."""
        if len(faces) > count:
            vertices, faces = decimate(vertices, faces, count)
        return cls(np.asarray(vertices, np.float64), np.asarray(faces, np.int32))

    @property
    def centre(self) -> Array:
        """Centre (3,) of the bounding box."""
        return 0.5 * (self.vertices.min(axis=0) + self.vertices.max(axis=0))

    @property
    def size(self) -> float:
        """Longest side of the bounding box along the axes of the camera."""
        return float(np.ptp(self.vertices, axis=0).max())

    def moved(self, T: Array) -> Surface:
        """Return the surface moved by a rigid or similarity transform (4, 4)."""
        return Surface(transform(T, self.vertices), self.faces)

    def scaled(self, factor: float) -> Surface:
        """Return the surface scaled about the camera's centre, which keeps its image."""
        return Surface(factor * self.vertices, self.faces)

    def normals(self) -> Array:
        """Return the unit normal of each face, (m, 3); 0 for one without area."""
        a, b, c = (self.vertices[self.faces[:, k]] for k in range(3))
        normal = np.cross(b - a, c - a)
        return normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-20)

    def rasterize(self, camera: Camera) -> Raster:
        """Return what a camera in the optical frame sees of the surface; do not change it."""
        if camera not in self._rasters:
            self._rasters[camera] = self._rasterize(camera)
        return self._rasters[camera]

    def _rasterize(self, camera: Camera) -> Raster:
        a = self.vertices[self.faces[:, 0]]
        normals = self.normals()
        # The surface is closed: faces that point away are hidden by others.
        facing = np.flatnonzero(np.einsum('ij,ij->i', normals, a) < 0.0)
        projection = np.hstack([camera.K, np.zeros((3, 1))])
        size = (camera.height, camera.width)
        face = rasterize_faces(self.vertices, self.faces[facing], projection, size)
        covered = face >= 0
        face[covered] = facing[face[covered]]
        v, u = np.nonzero(covered)
        chosen = face[covered]
        rays = camera.unproject(u, v, 1.0)
        # The ray meets the plane of the face; at its edge, between the depths of its corners.
        slope = np.minimum(np.einsum('ij,ij->i', normals[chosen], rays), -1e-9)
        corners = self.vertices[self.faces[chosen], 2]
        depth = np.zeros(face.shape)
        depth[covered] = np.clip(
            np.einsum('ij,ij->i', normals[chosen], a[chosen]) / slope,
            corners.min(axis=1),
            corners.max(axis=1),
        )
        return Raster(face, depth)


def rasterize_faces(
    vertices: Floats,
    faces: NDArray[np.integer],
    projection: Floats,
    size: tuple[int, int],
    subpixels: int = SUBPIXELS,
) -> NDArray[np.int32]:
    """
    Return the face of a mesh at the centre of each pixel, int32 of ``size``, -1 where none is.

    ``projection`` (3, 4) takes vertices (n, 3) to pixels times depth; ``size`` is (height, width).
    Faces are painted in the order of the depths of their centres, which is that of visibility
    where they are small against the depth of the mesh. Faces that reach behind the camera are
    left out. Fewer ``subpixels`` are faster and widen the silhouette by up to half a pixel.
    """
    image = vertices @ projection[:, :3].T + projection[:, 3]
    front = np.flatnonzero((image[faces, 2] > 1e-6).all(axis=1))
    front = front[np.argsort(-image[faces[front], 2].sum(axis=1), kind='stable')]
    with np.errstate(divide='ignore', invalid='ignore'):
        lines = subpixels * (image[:, :2] / image[:, 2:] + 0.5) - 0.5
    # Coordinates far outside of the image overflow OpenCV's integers.
    bound = 4.0 * subpixels * max(size)
    lines = np.clip(np.nan_to_num(lines), -bound, bound)
    corners = np.rint(lines * 2**FRACTION_BITS).astype(np.int32)[faces[front]]
    raster = np.full((subpixels * size[0], subpixels * size[1]), -1, np.int32)
    for triangle, face in zip(corners, front.tolist(), strict=True):
        cv2.fillConvexPoly(raster, triangle, face, shift=FRACTION_BITS)
    return raster[subpixels // 2 :: subpixels, subpixels // 2 :: subpixels].copy()


def visible_points(
    camera: Camera, points: Floats, cell: float, tolerance: float
) -> NDArray[np.bool_]:
    """
    Return which points (n, 3) of a surface, in the optical frame, a camera sees, (n,).

    A depth buffer of cells of ``cell`` pixels holds the depth of the nearest point in a cell and
    those beside it, since there is surface between points. A point is visible if it is at most
    ``tolerance``, in the unit of the points, farther than that, beside the depth that a slanted
    surface spans over two cells. Points behind the camera are not visible; those far outside of
    the image share a cell.

    This is not ``rasterize_faces`` for its speed: 10,000 vertices take 0.5 ms, their 20,000 faces
    35 ms, and colours from synthesised views need one raster per view.
    """
    from scipy import ndimage

    u, v, z = camera.project(points)
    # The projection of a point beside the camera is arbitrarily far outside of the image.
    bound = MAX_OFF_IMAGE * max(camera.width, camera.height)
    columns, rows = (
        np.floor(np.nan_to_num(a, nan=0.0).clip(-bound, bound) / cell).astype(np.int64)
        for a in (u, v)
    )
    columns, rows = columns - columns.min() + 1, rows - rows.min() + 1
    nearest = np.full((rows.max() + 2, columns.max() + 2), np.inf)
    np.minimum.at(nearest, (rows, columns), np.where(z > 0.0, z, np.inf))
    nearest = ndimage.minimum_filter(nearest, 3)
    farthest = nearest[rows, columns] + tolerance + 2.0 * cell * z / camera.fx
    return np.asarray((z > 0.0) & (z < farthest))


@dataclass(frozen=True, eq=False)
class Window:
    """
    The part of a frame around its object, subsampled to a bounded size.

    - ``camera``: in the optical frame of the view; ``mask``: bool (height, width).
    - ``depth``: float32 metres, the readings inside the mask, 0 elsewhere; None without depth.
    """

    camera: Camera
    mask: NDArray[np.bool_]
    depth: NDArray[np.float32] | None


def window(view: ObjectView, side: int = WINDOW_SIDE) -> Window:
    """Return the window of a view in which the object is at most ``side`` pixels long."""
    margin = int(np.ceil(WINDOW_MARGIN * view.longer_side())) + 2
    cut, camera = view.window(side, margin)
    mask = np.ascontiguousarray(view.mask[cut])
    depth = None
    if view.frame.depth is not None:
        readings = np.nan_to_num(view.frame.depth[cut], posinf=0.0, neginf=0.0)
        depth = np.where(mask, np.maximum(readings, 0.0), np.float32(0.0))
    return Window(camera, mask, depth)


def mask_iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """Return the intersection of two masks over their union, 0 where both are empty."""
    union = np.count_nonzero(a | b)
    return np.count_nonzero(a & b) / union if union else 0.0


def median_mask_iou(
    vertices: Floats,
    faces: NDArray[np.integer],
    projections: Floats,
    images: NDArray[np.uint8],
) -> float:
    """
    Return the median, over images on white, of the IoU of a mesh's silhouette and the object.

    ``projections`` (n, 3, 4) take vertices to pixels of ``images``, uint8 (n, h, w, 3). 0 where
    both are empty.
    """
    shares = []
    for projection, image in zip(projections, images, strict=True):
        # On the lines of the pixels, as when the confidence was made of it.
        size = (image.shape[0], image.shape[1])
        face = rasterize_faces(vertices, faces, projection, size, subpixels=1)
        shares.append(mask_iou((image <= BACKGROUND_VALUE).any(axis=2), face >= 0))
    return float(np.median(shares))
