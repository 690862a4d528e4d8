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

"""Renderings with full resolution around the object only: a fraction of the cost of the image."""

from __future__ import annotations

from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import ArrayLike
from numpy.typing import NDArray

from lift3d_ros.geometry import Array
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import invert
from lift3d_ros.geometry import transform
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.meshing.render import Light
from lift3d_ros.meshing.render import Raycaster
from lift3d_ros.meshing.render import Rendering

#: Margin of the window around the object's box, as a share of its longer side, and pixels.
_MARGIN_SHARE, _MARGIN_PX = 0.6, 20

T = TypeVar('T', bound=np.generic)

#: Pixels per ray along an axis outside of the window.
_STEP = 3


def render_windowed(
    caster: Raycaster,
    mesh: Mesh,
    camera: Camera,
    T_mesh_camera: Array,
    light: Light,
    background: ArrayLike,
    supersampling: int = 2,
) -> Rendering:
    """
    Return the rendering of a scene, sharp around one mesh of it.

    Elsewhere there is one ray for each 3 x 3 pixels. ``mesh`` is in the frame of the caster;
    ``background`` is an image of the camera's size, or an RGB colour.
    """
    size = (camera.width, camera.height)
    behind = np.broadcast_to(np.asarray(background, np.uint8), (camera.height, camera.width, 3))
    small = (-(-camera.width // _STEP), -(-camera.height // _STEP))
    coarse = caster.render(
        camera.crop(-0.5, -0.5, *small, 1.0 / _STEP, 1.0 / _STEP),
        T_mesh_camera,
        light,
        cv2.resize(np.ascontiguousarray(behind), small, interpolation=cv2.INTER_AREA),
        supersampling=1,
    )
    image = cv2.resize(coarse.image, (small[0] * _STEP, small[1] * _STEP))
    result = Rendering(
        np.ascontiguousarray(image[: size[1], : size[0]]).astype(np.uint8),
        _repeated(coarse.depth, size),
        _repeated(coarse.instance, size),
        _repeated(coarse.normals, size),
    )
    left, top, right, bottom = _window(mesh, camera, T_mesh_camera)
    if right <= left or bottom <= top:
        return result
    inside = np.s_[top:bottom, left:right]
    sharp = caster.render(
        camera.crop(left - 0.5, top - 0.5, right - left, bottom - top),
        T_mesh_camera,
        light,
        behind[inside],
        supersampling,
    )
    result.image[inside] = sharp.image
    result.depth[inside] = sharp.depth
    result.instance[inside] = sharp.instance
    result.normals[inside] = sharp.normals
    return result


def _window(mesh: Mesh, camera: Camera, T_mesh_camera: Array) -> tuple[int, int, int, int]:
    """Return left, top, right, bottom of the pixels around a mesh; all where it is behind."""
    u, v, _ = camera.project(transform(invert(T_mesh_camera), mesh.vertices))
    if not (np.isfinite(u).all() and np.isfinite(v).all()):
        return 0, 0, camera.width, camera.height
    margin = _MARGIN_PX + _MARGIN_SHARE * max(float(np.ptp(u)), float(np.ptp(v)))
    return (
        int(np.clip(u.min() - margin, 0, camera.width)),
        int(np.clip(v.min() - margin, 0, camera.height)),
        int(np.clip(u.max() + margin, 0, camera.width)),
        int(np.clip(v.max() + margin, 0, camera.height)),
    )


def _repeated(values: NDArray[T], size: tuple[int, int]) -> NDArray[T]:
    """Return values of coarse pixels at each pixel of an image of ``size``."""
    wide = np.repeat(np.repeat(values, _STEP, axis=0), _STEP, axis=1)
    return np.ascontiguousarray(wide[: size[1], : size[0]])
