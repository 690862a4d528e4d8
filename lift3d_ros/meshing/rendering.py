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

"""Small renderings of a surface, made many times over, beside what the camera saw there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.geometry import Array
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import Floats
from lift3d_ros.geometry import transform
from lift3d_ros.geometry.frame import ObjectView
from lift3d_ros.meshing.decimation import decimate
from lift3d_ros.meshing.silhouettes import draw_faces
from lift3d_ros.meshing.silhouettes import mask_iou

#: Faces that are enough to tell where a surface is: a rendering takes some milliseconds.
FACES = 2_000

#: Lines that are drawn for one of the picture: a painted face reaches half of one over its edge.
_FINER = 3

#: The longer side of an object in its window, pixels at the most, and the window's margin.
SIDE = 160
_MARGIN = 0.25


@dataclass(frozen=True, eq=False)
class Window:
    """
    The part of a frame about its object, thinned out to a bounded size.

    - ``camera``: in the optical frame of the view; ``mask``: bool (height, width).
    - ``depth``: float32 metres, the readings inside the mask, 0 elsewhere; None without depth.
    """

    camera: Camera
    mask: NDArray[np.bool_]
    depth: NDArray[np.float32] | None


def window(view: ObjectView, side: int = SIDE) -> Window:
    """Return the window of a view in which the object is at most ``side`` pixels long."""
    margin = int(np.ceil(_MARGIN * view.longer_side())) + 2
    cut, camera = view.window(side, margin)
    mask = np.ascontiguousarray(view.mask[cut])
    depth = None
    if view.frame.depth is not None:
        readings = np.nan_to_num(view.frame.depth[cut], posinf=0.0, neginf=0.0)
        depth = np.where(mask, np.maximum(readings, 0.0), np.float32(0.0))
    return Window(camera, mask, depth)


@dataclass(frozen=True, eq=False)
class Drawn:
    """
    What a camera sees of a surface.

    - ``face``: int32 (height, width), -1 where there is none.
    - ``depth``: float64 (height, width) along z in the units of the surface, 0 where it is not.
    """

    face: NDArray[np.int32]
    depth: Array

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Where the surface is seen, bool (height, width)."""
        return self.face >= 0


@dataclass(frozen=True, eq=False)
class Surface:
    """A closed surface of few faces, optical frame: ``vertices`` (n, 3), ``faces`` (m, 3)."""

    vertices: Array
    faces: NDArray[np.int32]

    @classmethod
    def of(cls, vertices: Floats, faces: NDArray[np.integer], count: int = FACES) -> Surface:
        """Return a surface with ``count`` faces at the most, or nearly."""
        if len(faces) > count:
            vertices, faces = decimate(vertices, faces, count)
        return cls(np.asarray(vertices, np.float64), np.asarray(faces, np.int32))

    @property
    def centre(self) -> Array:
        """Middle (3,) of the bounding box."""
        return 0.5 * (self.vertices.min(axis=0) + self.vertices.max(axis=0))

    @property
    def size(self) -> float:
        """Longest side of the bounding box along the axes of the camera."""
        return float(np.ptp(self.vertices, axis=0).max())

    def moved(self, T: Array) -> Surface:
        """Return the surface moved by a rigid or similar transform (4, 4)."""
        return Surface(transform(T, self.vertices), self.faces)

    def scaled(self, factor: float) -> Surface:
        """Return the surface scaled about the camera's centre, which keeps its picture."""
        return Surface(factor * self.vertices, self.faces)

    def normals(self) -> Array:
        """Return the unit normal of each face, (m, 3); 0 for one without area."""
        a, b, c = (self.vertices[self.faces[:, k]] for k in range(3))
        normal = np.cross(b - a, c - a)
        return normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-20)

    def draw(self, camera: Camera) -> Drawn:
        """Return what a camera in the optical frame sees of the surface."""
        a = self.vertices[self.faces[:, 0]]
        normals = self.normals()
        # What turns its back is hidden by what does not: the surface is closed.
        facing = np.flatnonzero(np.einsum('ij,ij->i', normals, a) < 0.0)
        size = (_FINER * camera.width, _FINER * camera.height)
        finer = camera.crop(-0.5, -0.5, *size, _FINER, _FINER)
        projection = np.hstack([finer.K, np.zeros((3, 1))])
        drawn = draw_faces(self.vertices, self.faces[facing], projection, size[::-1])
        # The middle one of each pixel.
        face = drawn[_FINER // 2 :: _FINER, _FINER // 2 :: _FINER].copy()
        seen = face >= 0
        face[seen] = facing[face[seen]]
        v, u = np.nonzero(seen)
        chosen = face[seen]
        rays = camera.unproject(u, v, 1.0)
        # Where the ray meets the plane of the face; at its rim no farther than its corners.
        facing_ray = np.minimum(np.einsum('ij,ij->i', normals[chosen], rays), -1e-9)
        corners = self.vertices[self.faces[chosen], 2]
        depth = np.zeros(face.shape)
        depth[seen] = np.clip(
            np.einsum('ij,ij->i', normals[chosen], a[chosen]) / facing_ray,
            corners.min(axis=1),
            corners.max(axis=1),
        )
        return Drawn(face, depth)

    def iou(self, seen: Window) -> float:
        """Return the intersection over union of the silhouette and the mask."""
        return mask_iou(self.draw(seen.camera).mask, seen.mask)
