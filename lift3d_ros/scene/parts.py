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

"""The parts of the surface of a scene: measured, hidden behind it, and lifted objects."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from lift3d_ros.geometry.frame import Frame
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.geometry.shape import Shape
from lift3d_ros.scene.background import hidden_layer
from lift3d_ros.scene.planes import ScenePlane
from lift3d_ros.scene.scene import BACKGROUND
from lift3d_ros.scene.scene import SceneSurface
from lift3d_ros.scene.triangulation import triangulate

#: Confidence of a measured vertex.
MEASURED_CONFIDENCE = 0.99


def measured_depth(frame: Frame) -> NDArray[np.float32]:
    """Return the depth of a frame that has one, metres, 0 = no reading."""
    assert frame.depth is not None, 'the frame is checked'
    return frame.depth


def measured_surface(frame: Frame, foreground: NDArray[np.bool_]) -> SceneSurface:
    """
    Return the measured surface of the background.

    ``foreground``: bool (height, width), the pixels of objects that do not belong to it.
    """
    vertices, faces, pixels = triangulate(measured_depth(frame), frame.camera, ~foreground)
    count = len(vertices)
    return SceneSurface(
        Mesh(vertices.astype(np.float32), faces, frame.image.reshape(-1, 3)[pixels]),
        np.full(count, MEASURED_CONFIDENCE, np.float32),
        np.ones(count, bool),
        np.full(count, BACKGROUND, np.int32),
    )


def hidden_surface(
    frame: Frame, foreground: NDArray[np.bool_], planes: tuple[ScenePlane, ...]
) -> SceneSurface:
    """
    Return the predicted surface of the hidden background.

    ``foreground`` as in ``measured_surface``; ``planes`` are those of the frame's depth.
    """
    measured = np.where(foreground, np.float32(0.0), measured_depth(frame))
    layer = hidden_layer(measured_depth(frame), frame.image, frame.camera, foreground, planes)
    predicted = layer.depth > 0.0
    # One measured pixel around closes the gap to the measured surface.
    grown = cv2.dilate(predicted.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    depth = np.where(predicted, layer.depth, np.where(grown, measured, np.float32(0.0)))
    color = np.where(predicted[..., None], layer.color, frame.image)
    confidence = np.where(predicted, layer.confidence, np.float32(MEASURED_CONFIDENCE))
    vertices, faces, pixels = triangulate(depth, frame.camera)
    # Triangles between measured pixels are those of the measured surface.
    faces = faces[predicted.reshape(-1)[pixels][faces].any(axis=1)]
    return SceneSurface(
        Mesh(vertices.astype(np.float32), faces, color.reshape(-1, 3)[pixels]),
        confidence.reshape(-1)[pixels],
        ~predicted.reshape(-1)[pixels],
        np.full(len(vertices), BACKGROUND, np.int32),
    )


def shape_surface(shape: Shape, number: int) -> SceneSurface:
    """Return the surface of a lifted object, part ``number`` of a scene."""
    mesh = shape.mesh_in_camera()
    return SceneSurface(
        mesh, shape.confidence, shape.observed, np.full(len(mesh.vertices), number, np.int32))


def joined(parts: Sequence[SceneSurface]) -> SceneSurface:
    """Return several surfaces as one."""
    offsets = np.cumsum([0, *(len(part.mesh.vertices) for part in parts)])
    faces = [
        part.mesh.faces + np.int32(offset)
        for part, offset in zip(parts, offsets[:-1], strict=True)]
    return SceneSurface(
        Mesh(
            np.concatenate([part.mesh.vertices for part in parts]),
            np.concatenate(faces).astype(np.int32),
            np.concatenate([part.mesh.colors for part in parts])),
        np.concatenate([part.confidence for part in parts]),
        np.concatenate([part.observed for part in parts]),
        np.concatenate([part.part for part in parts]),
    )
