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

"""What is compared in rooms: controls, the scene of ``Lifter.lift_scene``, and learnt fills."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field
from functools import lru_cache
import time

import cv2
import numpy as np
from numpy.typing import NDArray

from lift3d_ros.bench.rooms.truth import BenchRoom
from lift3d_ros.bench.rooms.truth import view_camera
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry.frame import Frame
from lift3d_ros.lifter import Lifter
from lift3d_ros.progress import Progress
from lift3d_ros.scene.composition import anchor_poses
from lift3d_ros.scene.composition import make_field
from lift3d_ros.scene.composition import SceneSettings
from lift3d_ros.scene.composition import voxels_of
from lift3d_ros.scene.parts import hidden_surface
from lift3d_ros.scene.parts import joined
from lift3d_ros.scene.parts import measured_depth
from lift3d_ros.scene.parts import measured_surface
from lift3d_ros.scene.planes import find_planes
from lift3d_ros.scene.prior import fills
from lift3d_ros.scene.prior.completion import complete_surface
from lift3d_ros.scene.prior.completion import Fill
from lift3d_ros.scene.prior.fills import make_fill
from lift3d_ros.scene.prior.fills import NO_FILL
from lift3d_ros.scene.prior.inputs import KnownScene
from lift3d_ros.scene.prior.inputs import picture_camera
from lift3d_ros.scene.scene import Scene
from lift3d_ros.scene.scene import SceneSurface
from lift3d_ros.scene.voxel_map import VoxelMap

#: The input warped with holes; the support plane continued; OpenCV's inpainting in the views; the
#: scene of ``Lifter.lift_scene``; and its holes filled by the nearest pixel, by continued planes,
#: by the prior, and by a radiance field whose anchors show the prior, or planes without one.
WARP, PLANE, INPAINT, SCENE, NEAREST, PLANES, PRIOR, FIELD = (
    'warp', 'plane', 'inpaint', 'scene', 'scene/nearest', 'scene/planes', 'scene/prior',
    'scene/zeronvs')

CONTROLS = (WARP, PLANE, INPAINT, SCENE, NEAREST, PLANES)

CANDIDATES = (*CONTROLS, PRIOR, FIELD)

#: The fill of the holes of a candidate.
_FILLS = {
    INPAINT: fills.INPAINT, NEAREST: fills.NEAREST, PLANES: fills.PLANES, PRIOR: fills.PRIOR}


@dataclass(frozen=True, eq=False)
class Completion:
    """
    The scene of a candidate.

    - ``surface``, ``voxels``: in the optical frame of the input.
    - ``views``: image and depth (metres, 0 = nothing) at each measured camera.
    """

    surface: SceneSurface
    voxels: VoxelMap
    views: list[tuple[NDArray[np.uint8], NDArray[np.float32]]]
    seconds: dict[str, float] = field(default_factory=dict)


class RoomCompleter:
    """The candidates of one process."""

    def __init__(self, method: str, weights: str, resolution: float) -> None:
        """Take the method of objects, the weights with the prior, and the voxels' side."""
        self._lifter = Lifter(method)
        self._settings = SceneSettings(resolution=resolution, fill=NO_FILL, weights=weights)
        self._make_fill = lru_cache(lambda name: make_fill(name, weights))
        # Candidates of one room share its lifted scene.
        self._scene = lru_cache(maxsize=2)(self._lift)

    def complete(self, name: str, room: BenchRoom, masked: bool) -> Completion:
        """Return the scene of a candidate; ``masked``: the objects have masks."""
        start = time.monotonic()
        lift_seconds = 0.0
        if name in (WARP, PLANE, INPAINT):
            scene, surface = None, self._control(name, room.made.frame)
        else:
            scene, lift_seconds = self._scene(room, masked)
            surface = scene.surface
            # The scene may come from another candidate's call.
            start = time.monotonic()
        fill = self._make_fill(_FILLS.get(name, NO_FILL))
        planes = scene.planes if scene else ()
        frame = room.made.frame
        if name == FIELD:
            made, _ = make_field(frame, surface, planes, self._settings, 0, Progress())
            fill = made.fill
        if fill is not None:
            surface = complete_surface(
                frame, surface, fill, anchor_poses(frame, planes), planes)
        voxels = voxels_of(
            frame, surface, planes, self._settings,
            scene.shapes.values() if scene else ())
        seconds = lift_seconds + time.monotonic() - start
        known = KnownScene(frame, surface, planes)
        views = [
            rendered_view(known, view_camera(), view.T_camera_eye, fill) for view in room.views]
        return Completion(surface, voxels, views, {
            'total': seconds, 'lift': lift_seconds,
            'views': time.monotonic() - start + lift_seconds - seconds})

    def _lift(self, room: BenchRoom, masked: bool) -> tuple[Scene, float]:
        start = time.monotonic()
        masks = room.made.masks if masked else {}
        scene = self._lifter.lift_scene(
            room.made.frame, {str(index): mask for index, mask in masks.items()}, self._settings)
        return scene, time.monotonic() - start

    def _control(self, name: str, frame: Frame) -> SceneSurface:
        """Return the measured surface, and for ``PLANE`` the support plane behind it."""
        depth = measured_depth(frame)
        nothing = np.zeros(depth.shape, bool)
        parts = [measured_surface(frame, nothing)]
        if name == PLANE:
            planes = find_planes(depth, frame.camera, frame.gravity, np.random.default_rng(0))
            support = [plane for plane in planes if plane.carries] or list(planes)
            if support:
                parts.append(hidden_surface(frame, nothing, tuple(support[:1])))
        return joined(parts)

def rendered_view(
    known: KnownScene, camera: Camera, T_camera_eye: Array, fill: Fill | None
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Return image and depth of a completed scene from elsewhere, its holes filled."""
    view = known.view(camera, T_camera_eye)
    present = view.inverse > 0.0
    depth = np.where(present, known.scale / np.where(present, view.inverse, 1.0), 0.0)
    if fill is None or present.all():
        return view.color, depth.astype(np.float32)
    eye = picture_camera(camera)
    filled = fill(known.view(eye, T_camera_eye), known.scale)
    rays = camera.rays()
    u = (rays[..., 0] * eye.fx + eye.cx).astype(np.float32)
    v = (rays[..., 1] * eye.fy + eye.cy).astype(np.float32)
    color = cv2.remap(filled.color, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    # The inverse of depth is linear along a plane.
    inverse = cv2.remap(
        1.0 / filled.depth, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return (
        np.where(present[..., None], view.color, color).astype(np.uint8),
        np.where(present, depth, 1.0 / inverse).astype(np.float32))
