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

"""Pictures of the panel: inputs with masks and depth, the overlaid mesh, and the legend."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.io.lift_sheet import depth_picture
from lift3d_ros.meshing.render import outline
from lift3d_ros.viewer.content import Inputs
from lift3d_ros.viewer.content import ViewedObject
from lift3d_ros.viewer.meshes import color_map
from lift3d_ros.viewer.meshes import CONFIDENCE
from lift3d_ros.viewer.meshes import OBSERVED
from lift3d_ros.viewer.meshes import OBSERVED_RGB
from lift3d_ros.viewer.meshes import PREDICTED_RGB

#: Width of the pictures of the panel, pixels.
_WIDTH = 480

#: Outlines of the masks.
OUTLINES = ((255, 40, 40), (60, 180, 255), (255, 190, 40), (120, 230, 90), (220, 90, 255))


def input_picture(inputs: Inputs) -> NDArray[np.uint8]:
    """Return the image with the outlines of the masks, uint8 RGB."""
    picture = inputs.frame.image
    width = max(2, round(picture.shape[1] / 200))
    for index, mask in enumerate(inputs.masks.values()):
        picture = outline(picture, mask, OUTLINES[index % len(OUTLINES)], width)
    return _reduced(picture)


def depth_image(inputs: Inputs) -> NDArray[np.uint8]:
    """Return the depth as colours, black without a reading; light grey without depth."""
    return _reduced(depth_picture(inputs.frame))


def overlay(inputs: Inputs, objects: list[ViewedObject]) -> NDArray[np.uint8]:
    """Return the image with the meshes drawn over it at half opacity, uint8 RGB."""
    from lift3d_ros.meshing.render import Raycaster

    meshes: list[Mesh] = [each.mesh.transformed(each.T_camera_mesh) for each in objects]
    frame = inputs.frame
    drawn = Raycaster(meshes).render(
        frame.camera, np.eye(4), background=frame.image, supersampling=1)
    mixed = np.where(
        (drawn.instance >= 0)[..., None],
        0.3 * frame.image + 0.7 * drawn.image, frame.image)
    return _reduced(np.rint(mixed).astype(np.uint8))


def legend(mode: str) -> str:
    """Return the legend of a mode as HTML, empty for plain colours."""
    if mode == OBSERVED:
        return (
            '<div style="display:flex;gap:14px;font-size:12px;padding:2px 12px 8px">'
            f'{_swatch(OBSERVED_RGB, "observed")}{_swatch(PREDICTED_RGB, "predicted")}</div>')
    if mode == CONFIDENCE:
        stops = color_map(np.linspace(0.0, 1.0, 11))
        colors = ', '.join(f'rgb({r}, {g}, {b})' for r, g, b in stops.tolist())
        ticks = ''.join(f'<span>{value:g}</span>' for value in (0.0, 0.25, 0.5, 0.75, 1.0))
        return (
            '<div style="padding:2px 12px 8px;font-size:12px">'
            f'<div style="height:12px;border-radius:3px;background:linear-gradient(90deg, '
            f'{colors})"></div><div style="display:flex;justify-content:space-between">{ticks}'
            '</div><div style="opacity:.7">probability that the surface is right at the vertex'
            '</div></div>')
    return ''


def _swatch(rgb: tuple[int, int, int], name: str) -> str:
    return (
        f'<span><span style="display:inline-block;width:12px;height:12px;border-radius:3px;'
        f'vertical-align:-1px;background:rgb{rgb}"></span> {name}</span>')


def _reduced(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = image.shape[:2]
    if width <= _WIDTH:
        return np.ascontiguousarray(image)
    size = (_WIDTH, max(1, round(height * _WIDTH / width)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
