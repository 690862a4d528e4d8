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

"""What is known of a view of a scene from a moved camera: the inputs of the prior."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from lift3d_ros.geometry import Array
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry.frame import Frame
from lift3d_ros.geometry.pose_vectors import zeronvs_pose
from lift3d_ros.meshing.render import Light
from lift3d_ros.meshing.render import Raycaster
from lift3d_ros.scene.parts import measured_depth
from lift3d_ros.scene.planes import depth_tolerance
from lift3d_ros.scene.planes import ScenePlane
from lift3d_ros.scene.scene import BACKGROUND
from lift3d_ros.scene.scene import SceneSurface

#: Side of the pictures of the prior, pixels.
SIZE = 64

#: Largest inverse depth, in units of the inverse scale of the scene.
MAX_INVERSE = 1.5

#: Places along a ray that are compared with the measured depth, and the nearest of them, metres.
_SAMPLES, _NEAREST_M = 44, 0.15

#: Kinds of triangles.
_MEASURED, _OBJECT, _GUESSED, _NO_KIND = range(4)

#: Side of the largest hole of the depth that is taken for noise, pixels.
_HOLE_PX = 9

#: The colours of a scene contain its light.
_UNLIT = Light(ambient=1.0, diffuse=0.0)

#: Offset of the rays, which otherwise may pass between triangles at their corners.
_SHIFT = 0.013


@dataclass(frozen=True, eq=False)
class KnownView:
    """
    A view of what is known of a scene, each array (height, width).

    Inverse depths are multiplied by the scale of the scene, at most ``MAX_INVERSE``; 0 = none.

    - ``color``: uint8 RGB (height, width, 3) of the known surface; ``inverse``: its inverse depth.
    - ``observed``: where it was measured; ``object``: where it is of a lifted object.
    - ``exit``: inverse depth at which a ray leaves the space that the input camera saw to be free
      for the first time; ``last``: for the last time. The surface is not before ``exit``.
    - ``pose``: float32 (19,), the 6DoF+1 pose vector of ZeroNVS.
    - ``planes``: float32 (k, height, width), inverse depth of each plane of the scene, continued
      without end; 0 where it is not seen from its front or would be in observed free space.
    - ``eye``, ``T_camera_eye``: the camera and its pose (4, 4), metres; None for stored views.
    """

    color: NDArray[np.uint8]
    inverse: NDArray[np.float32]
    observed: NDArray[np.bool_]
    object: NDArray[np.bool_]
    exit: NDArray[np.float32]
    last: NDArray[np.float32]
    pose: NDArray[np.float32]
    planes: NDArray[np.float32]
    eye: Camera | None = None
    T_camera_eye: Array | None = None


class KnownScene:
    """The known surface of a scene, for views of it; it can grow."""

    def __init__(
        self, frame: Frame, surface: SceneSurface, planes: Sequence[ScenePlane] = ()
    ) -> None:
        """
        Take a frame with depth and what is known of its scene.

        ``surface`` and ``planes`` are in the optical frame of ``frame``.
        """
        self.frame, self.planes = frame, tuple(planes)
        self.scale = scene_scale(measured_depth(frame))
        self._parts: list[tuple[Raycaster, NDArray[np.intp]]] = []
        self.add(surface)

    def add(self, surface: SceneSurface) -> None:
        """Add a surface in the optical frame."""
        faces = surface.mesh.faces
        measured = surface.observed[faces].sum(axis=1) > 1
        of_object = (surface.part[faces[:, 0]] != BACKGROUND) & ~measured
        kinds = {_MEASURED: measured, _OBJECT: of_object, _GUESSED: ~measured & ~of_object}
        chosen = {kind: which for kind, which in kinds.items() if which.any()}
        if chosen:
            # The kinds are meshes of their own, so that a ray tells which one it hits. The last
            # entry is that of the instance -1, no hit.
            raycaster = Raycaster(
                [replace(surface.mesh, faces=faces[which]) for which in chosen.values()])
            self._parts.append((raycaster, np.array([*chosen, _NO_KIND])))

    def view(self, camera: Camera, T_camera_eye: Array) -> KnownView:
        """Return what is known of the view at ``T_camera_eye`` (4, 4), metres."""
        shifted = replace(camera, cx=camera.cx + _SHIFT, cy=camera.cy + _SHIFT)
        shape = (camera.height, camera.width)
        color, depth = np.zeros((*shape, 3), np.uint8), np.zeros(shape, np.float32)
        kind = np.full(shape, _NO_KIND)
        for raycaster, kinds in self._parts:
            seen = raycaster.render(shifted, T_camera_eye, _UNLIT, (0, 0, 0), supersampling=1)
            nearer = (seen.depth > 0.0) & ((depth <= 0.0) | (seen.depth < depth))
            color[nearer], depth[nearer] = seen.image[nearer], seen.depth[nearer]
            kind[nearer] = kinds[seen.instance][nearer]
        first, last = free_space(self.frame, camera, T_camera_eye)
        fov = float(np.degrees(2.0 * np.arctan(0.5 * camera.width / camera.fx)))
        return KnownView(
            color, self.inverse(depth), kind == _MEASURED, kind == _OBJECT,
            self.inverse(first), self.inverse(last),
            zeronvs_pose(T_camera_eye, np.eye(4), self.scale, fov).astype(np.float32),
            self._plane_inverses(camera, T_camera_eye), camera,
            np.asarray(T_camera_eye, np.float64))

    def _plane_inverses(self, camera: Camera, T_camera_eye: Array) -> NDArray[np.float32]:
        T = np.asarray(T_camera_eye, np.float64)
        rays = camera.rays() @ T[:3, :3].T
        result = np.zeros((len(self.planes), *rays.shape[:2]), np.float32)
        for index, plane in enumerate(self.planes):
            slope = rays @ plane.normal
            with np.errstate(divide='ignore', invalid='ignore'):
                depth = (plane.offset - plane.normal @ T[:3, 3]) / slope
            seen = (slope < -1e-3) & (depth > _NEAREST_M)
            points = T[:3, 3] + rays * np.where(seen, depth, 1.0)[..., None]
            free = in_free_space(self.frame, points.reshape(-1, 3))
            seen &= ~free.reshape(seen.shape)
            result[index] = self.inverse(np.where(seen, depth, 0.0).astype(np.float32))
        return result

    def inverse(self, depth: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the scaled inverse of depth in metres, 0 where that is 0."""
        present = depth > 0.0
        inverse = self.scale / np.where(present, depth, np.float32(1.0))
        return np.where(present, np.minimum(inverse, MAX_INVERSE), 0.0).astype(np.float32)


def scene_scale(depth: NDArray[np.float32]) -> float:
    """
    Return the scale of a scene, metres: the 20 % quantile of its depth (ZeroNVS, section 4.1).

    ``depth`` in metres, 0 = no reading; 1 without readings.
    """
    present = depth[depth > 0.0]
    return float(np.quantile(present, 0.2)) if len(present) else 1.0


def picture_camera(camera: Camera, size: int = SIZE) -> Camera:
    """Return the square camera of the prior, as wide as that of a frame."""
    fov = np.degrees(2.0 * np.arctan(0.5 * camera.width / camera.fx))
    return Camera.from_fov(size, size, float(fov))


def free_space(
    frame: Frame, camera: Camera, T_camera_eye: Array
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """
    Return the depths at which rays leave observed free space, first and last, metres.

    A place is free if its pixel in ``frame`` has a reading behind it. ``camera`` at
    ``T_camera_eye`` has the rays. 0 for a ray that is never free.
    """
    depth = measured_depth(frame)
    farthest = 1.3 * float(depth.max(initial=_NEAREST_M))
    steps = np.geomspace(_NEAREST_M, max(farthest, 2.0 * _NEAREST_M), _SAMPLES)
    # Depth edges are a pixel wide and small holes are noise: the nearest reading around decides.
    absent = np.float32(np.inf)
    nearest = cv2.erode(np.where(depth > 0.0, depth, absent), np.ones((5, 5), np.uint8))
    limit = np.where(np.isfinite(nearest), nearest - depth_tolerance(depth), np.float32(0.0))
    T = np.asarray(T_camera_eye, np.float32)
    rays = (camera.rays().reshape(-1, 3) @ T[:3, :3].T).astype(np.float32)
    points = T[:3, 3] + rays[:, None] * steps[None, :, None].astype(np.float32)
    lens, (height, width) = frame.camera, depth.shape
    z = points[..., 2]
    ahead = z > 1e-3
    over = 1.0 / np.where(ahead, z, np.float32(1.0))
    column = np.rint(np.float32(lens.fx) * points[..., 0] * over + np.float32(lens.cx))
    row = np.rint(np.float32(lens.fy) * points[..., 1] * over + np.float32(lens.cy))
    inside = ahead & (column >= 0) & (row >= 0) & (column < width) & (row < height)
    index = np.where(inside, row * width + column, 0.0).astype(np.int32)
    free = inside & (limit.reshape(-1)[index] > z)
    any_free = free.any(axis=1)
    start = free.argmax(axis=1)
    after = free & (np.arange(_SAMPLES) >= start[:, None])
    # The first place after the start that is not free.
    ended = ~after & (np.arange(_SAMPLES) > start[:, None])
    stop = np.where(ended.any(axis=1), ended.argmax(axis=1) - 1, _SAMPLES - 1)
    last = _SAMPLES - 1 - free[:, ::-1].argmax(axis=1)
    shape = (camera.height, camera.width)
    first, final = (
        np.where(any_free, steps[at], 0.0).astype(np.float32).reshape(shape)
        for at in (stop, last))
    return first, final


def in_free_space(frame: Frame, points: Array) -> NDArray[np.bool_]:
    """
    Return which points (n, 3) are in the free space that a frame observed.

    Points are in the optical frame, metres; free space ends at the tolerance before a reading.
    """
    return _compared(measured_depth(frame), frame.camera, points)[0]


def is_hidden(frame: Frame, points: Array) -> NDArray[np.bool_]:
    """
    Return which points (n, 3) are behind what a frame measured.

    Small holes of the depth are as far as the farthest reading around them. Where there is none,
    nothing hides a point: the camera may have seen that there is no surface.
    """
    depth = measured_depth(frame)
    around = cv2.dilate(depth, np.ones((_HOLE_PX, _HOLE_PX), np.uint8))
    return _compared(np.where(depth > 0.0, depth, around), frame.camera, points)[1]


def _compared(
    depth: NDArray[np.float32], camera: Camera, points: Array
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which points (n, 3) are before, and which at or behind the readings of a camera."""
    height, width = depth.shape
    u, v, z = camera.project(points)
    with np.errstate(invalid='ignore'):
        inside = (z > 0.0) & (u > -0.5) & (v > -0.5) & (u < width - 0.5) & (v < height - 0.5)
    column = np.rint(np.where(inside, u, 0.0)).astype(np.intp)
    row = np.rint(np.where(inside, v, 0.0)).astype(np.intp)
    reading = depth[row, column]
    inside &= reading > 0.0
    before = z < reading - depth_tolerance(reading)
    return inside & before, inside & ~before


def completed(view: KnownView) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """
    Return colour (3, h, w) in [-1, 1] and inverse depth (h, w) with holes filled from around.

    A hole has the value of the nearest known pixel; its inverse depth is at most ``exit``.
    """
    missing = (view.inverse <= 0.0).astype(np.uint8)
    color = view.color.astype(np.float32) / 127.5 - 1.0
    inverse = view.inverse.copy()
    if missing.any() and not missing.all():
        _, labels = cv2.distanceTransformWithLabels(
            missing, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
        known = missing == 0
        index = np.zeros(int(labels.max()) + 1, np.intp)
        index[labels[known]] = np.flatnonzero(known)
        source = index[labels]
        color = color.reshape(-1, 3)[source]
        inverse = inverse.reshape(-1)[source]
        bounded = (missing == 1) & (view.exit > 0.0)
        inverse = np.where(bounded, np.minimum(inverse, view.exit), inverse)
    return np.ascontiguousarray(color.transpose(2, 0, 1)), inverse.astype(np.float32)
