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
The surface of a scene, completed from anchors: views from elsewhere whose holes are filled.

Each anchor sees what the anchors before it have added, so that they agree.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from lift3d_ros.geometry import Array
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import transform
from lift3d_ros.geometry.frame import Frame
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.progress import Progress
from lift3d_ros.scene.parts import joined
from lift3d_ros.scene.planes import ScenePlane
from lift3d_ros.scene.prior.fill import FilledView
from lift3d_ros.scene.prior.inputs import is_hidden
from lift3d_ros.scene.prior.inputs import KnownScene
from lift3d_ros.scene.prior.inputs import KnownView
from lift3d_ros.scene.prior.inputs import picture_camera
from lift3d_ros.scene.scene import BACKGROUND
from lift3d_ros.scene.scene import SceneSurface
from lift3d_ros.scene.triangulation import triangulate

#: Turns of the anchors about the vertical through the middle of the scene, degrees.
ANCHORS = (15.0, -15.0, 28.0, -28.0, 40.0, -40.0)

#: Returns a view without holes; the second argument is the scale of the scene in metres.
Fill = Callable[[KnownView, float], FilledView]


@dataclass(frozen=True)
class CompletionSettings:
    """
    Which predictions become part of a surface, of those behind what was measured.

    - ``confidence``: least confidence.
    """

    confidence: float = 0.3


def complete_surface(
    frame: Frame,
    surface: SceneSurface,
    fill: Fill,
    poses: Sequence[Array],
    planes: Sequence[ScenePlane] = (),
    settings: CompletionSettings | None = None,
    progress: Progress | None = None,
) -> SceneSurface:
    """
    Return a surface with what ``fill`` predicts at the anchors ``poses``, ``T_camera_eye``.

    ``surface`` and ``planes`` are what is known of the scene of ``frame``, in its optical frame.
    Raises ``LiftError``: ``CANCELLED`` and ``TIMEOUT``.
    """
    settings = settings or CompletionSettings()
    eye = picture_camera(frame.camera)
    progress = progress or Progress()
    scene, parts = KnownScene(frame, surface, planes), [surface]
    for number, pose in enumerate(poses):
        progress.check('completion', number / len(poses))
        known = scene.view(eye, pose)
        filled = fill(known, scene.scale)
        added = _predicted_part(frame, known, filled, eye, pose, scene.scale, settings)
        if added is not None:
            scene.add(added)
            parts.append(added)
    return joined(parts)


def _predicted_part(
    frame: Frame, known: KnownView, filled: FilledView, eye: Camera, pose: Array, scale: float,
    settings: CompletionSettings,
) -> SceneSurface | None:
    """Return the surface of the holes of a view that is believed, with a seam; None if empty."""
    hole = known.inverse <= 0.0
    confidence = filled.confidence
    points = transform(pose, eye.rays() * filled.depth[..., None])
    hidden = is_hidden(frame, points.reshape(-1, 3)).reshape(hole.shape)
    chosen = hole & hidden & (confidence >= settings.confidence)
    # One known pixel around closes the gap to the known surface.
    seam = cv2.dilate(chosen.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool) & ~hole
    with np.errstate(divide='ignore'):
        depth = np.where(
            chosen, filled.depth, np.where(seam, scale / known.inverse, np.float32(0.0)))
    vertices, faces, pixels = triangulate(depth.astype(np.float32), eye)
    faces = faces[chosen.reshape(-1)[pixels][faces].any(axis=1)]
    if not len(faces):
        return None
    predicted = chosen.reshape(-1)[pixels]
    return SceneSurface(
        Mesh(transform(pose, vertices).astype(np.float32), faces,
             np.where(predicted[:, None], filled.color.reshape(-1, 3)[pixels],
                      known.color.reshape(-1, 3)[pixels])),
        confidence.reshape(-1)[pixels],
        np.zeros(len(vertices), bool),
        np.full(len(vertices), BACKGROUND, np.int32))
