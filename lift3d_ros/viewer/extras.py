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

"""What is computed when it is first shown: the ring of views, convex parts, and grasps."""

from __future__ import annotations

from typing import Any

import numpy as np

from lift3d_ros.errors import bad_request
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import rigid
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.robot import convex
from lift3d_ros.robot.grasps import Grasp
from lift3d_ros.robot.grasps import Jaw
from lift3d_ros.robot.grasps import plan
from lift3d_ros.synthesis import ring
from lift3d_ros.synthesis import ViewSynthesizer
from lift3d_ros.viewer.content import Inputs
from lift3d_ros.viewer.content import NovelView
from lift3d_ros.viewer.content import ViewedObject

#: Views of the ring.
RING = 8

#: Grasps that are shown, the best ones.
GRASPS = 3

#: Faces of a box whose corners count in binary by x, y, z, counter-clockwise from outside.
_BOX_FACES = np.array([
    [0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1], [2, 3, 7], [2, 7, 6],
    [0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3],
], np.int32)


class Extras:
    """Computes each of them once for an object; not thread-safe."""

    def __init__(self) -> None:
        """Load nothing yet."""
        self._synthesizer: ViewSynthesizer | None = None
        self._found: dict[tuple[ViewedObject, str], Any] = {}

    def ring(self, viewed: ViewedObject, inputs: Inputs | None) -> list[NovelView]:
        """
        Return ``RING`` views around an object by the packaged view network.

        Raises ``LiftError``: ``BAD_REQUEST`` without the inputs of the object, and as
        ``ViewSynthesizer.synthesize``.
        """
        return self._once(viewed, 'ring', lambda: self._ring(viewed, inputs))

    def parts(self, viewed: ViewedObject) -> list[Mesh]:
        """Return convex parts in the mesh frame; raises ``LiftError`` as ``convex_parts``."""
        _check_object(viewed, 'convex parts')
        return self._once(
            viewed, 'parts', lambda: convex.convex_parts(viewed.mesh, convex.MAX_PARTS))

    def grasps(self, viewed: ViewedObject) -> list[Mesh]:
        """
        Return the gripper at its best grasps as meshes in the mesh frame, the best first.

        Raises ``LiftError``: ``BAD_REQUEST`` without scale, ``NO_SURFACE`` if no grasp is found.
        """
        _check_object(viewed, 'grasps')
        return self._once(viewed, 'grasps', lambda: _grasps(viewed))

    def _once(self, viewed: ViewedObject, name: str, compute: Any) -> Any:
        key = viewed, name
        if key not in self._found:
            # Objects of moments that are not shown any more are few and small, but not for ever.
            while len(self._found) >= 60:
                self._found.pop(next(iter(self._found)))
            self._found[key] = compute()
        return self._found[key]

    def _ring(self, viewed: ViewedObject, inputs: Inputs | None) -> list[NovelView]:
        mask = None if inputs is None else mask_of(inputs, viewed)
        if inputs is None or mask is None:
            raise bad_request(
                f'The views of {viewed.name} are synthesised from its image and mask, which are '
                'not known; show the scene folder itself.')
        self._synthesizer = self._synthesizer or ViewSynthesizer()
        views = self._synthesizer.synthesize(inputs.frame, mask, ring(RING))
        found = []
        for image, pose in zip(views.images, views.poses, strict=True):
            T = np.asarray(views.canonical.camera_from_canonical) @ pose
            T[:3, :3] = views.canonical.T_camera_object[:3, :3] @ pose[:3, :3]
            found.append(NovelView(image, T, _vertical_fov(views.camera)))
        return found


def mask_of(inputs: Inputs, viewed: ViewedObject) -> Any:
    """Return the mask of an object, bool (height, width); None if no mask is surely its own."""
    if viewed.name in inputs.masks:
        return inputs.masks[viewed.name]
    return next(iter(inputs.masks.values())) if len(inputs.masks) == 1 else None


def jaw_mesh(jaw: Jaw, grasp: Grasp, color: tuple[int, int, int]) -> Mesh:
    """Return fingers and palm of a gripper at a grasp, in the frame of the grasp's object."""
    low, high = jaw.boxes()[:, 0], jaw.boxes()[:, 1]
    bits = (np.arange(8)[:, None] >> np.array([2, 1, 0])) & 1
    corners = np.where(bits[None], high[:, None], low[:, None]).reshape(-1, 3)
    # Each triangle has its own corners, so that the edges of the boxes stay sharp.
    order = np.concatenate([_BOX_FACES + 8 * index for index in range(len(low))]).reshape(-1)
    vertices = (corners @ grasp.axes.T + grasp.centre)[order]
    faces = np.arange(len(vertices), dtype=np.int32).reshape(-1, 3)
    colors = np.full((len(vertices), 3), color, np.uint8)
    return Mesh(vertices.astype(np.float32), faces, colors)


def camera_pose(T_mesh_camera: Array) -> Array:
    """Return a pose with an exact rotation, for poses that went through text."""
    u, _, v = np.linalg.svd(T_mesh_camera[:3, :3])
    return rigid(u @ v, T_mesh_camera[:3, 3])


def _grasps(viewed: ViewedObject) -> list[Mesh]:
    if not viewed.is_metric:
        raise bad_request(
            f'The scale of {viewed.name} is unknown, so no grasp can be planned; give its known '
            'size or depth.')
    jaw = Jaw()
    found = plan(viewed.mesh, jaw, GRASPS)
    if not found:
        raise LiftError(
            ErrorCode.NO_SURFACE,
            f'The planner found no grasp of {viewed.name} for a jaw that opens '
            f'{1000.0 * jaw.opening:.0f} mm.')
    # From green for the best to grey.
    shades = np.linspace(0.0, 1.0, max(len(found), 2))
    meshes = []
    for shade, grasp in zip(shades, found, strict=False):
        rgb = (1.0 - shade) * np.array([40, 165, 85]) + shade * np.array([175, 185, 175])
        meshes.append(jaw_mesh(jaw, grasp, (int(rgb[0]), int(rgb[1]), int(rgb[2]))))
    return meshes


def _check_object(viewed: ViewedObject, what: str) -> None:
    if viewed.is_scene:
        raise bad_request(f'{viewed.name} is a whole scene, which has no {what}.')


def _vertical_fov(camera: Any) -> float:
    return float(np.degrees(2.0 * np.arctan(0.5 * camera.height / camera.fy)))
