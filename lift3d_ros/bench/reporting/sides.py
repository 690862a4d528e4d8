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


"""Sheets of real frames: each mesh from six sides beside the input, coloured and as geometry."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.bench.prediction import Truth
from lift3d_ros.bench.reporting.sheet import input_image
from lift3d_ros.bench.reporting.sheet import read_image
from lift3d_ros.bench.reporting.sheet import stage
from lift3d_ros.bench.reporting.sheet import TILE
from lift3d_ros.bench.reporting.sheet import upward
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import invert
from lift3d_ros.geometry import look_at
from lift3d_ros.geometry import rotate
from lift3d_ros.geometry import spherical
from lift3d_ros.geometry.frame import Frame
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.meshing.render import Light
from lift3d_ros.meshing.render import Raycaster
from lift3d_ros.meshing.render import sheet

#: Sides, with azimuth from the input camera and elevation, degrees; straight down has no upright
#: image.
SIDES = {
    'front': (0.0, 0.0), 'back': (180.0, 0.0), 'left': (-90.0, 0.0), 'right': (90.0, 0.0),
    'top': (0.0, 89.0), 'bottom': (0.0, -89.0),
}

_FOV_DEG = 30.0

#: Colour of a mesh that is shown as geometry.
_GREY = (190, 190, 190)

#: Headings of the rows of a frame: with the input, with the readings, with the truth.
_ROWS = ('input, mask', 'its outline on the input', 'outline of the truth')
_WHAT = ('prediction', 'geometry', 'truth')


def six_sides(
    frame: Frame, mask: NDArray[np.bool_], predicted: Mesh, truth: Truth | None
) -> NDArray[np.uint8]:
    """
    Return rows of images, uint8 RGB (2 TILE or 3 TILE, 7 TILE, 3), without and with a truth.

    Each row has the input with an outline, then six sides: the prediction with its colours, the
    prediction as grey geometry, and the truth as grey geometry. The outlines are those of the
    mask, the prediction and the truth. All sides are rendered by the same cameras.
    """
    true = None if truth is None else truth.mesh.transformed(truth.T_camera_object)
    T_camera_up, radius = stage(
        [predicted] if true is None else [predicted, true], upward(frame, truth))
    rows = [(mask, predicted), (_silhouette(predicted, frame.camera), _grey(predicted))]
    if true is not None:
        rows.append((_silhouette(true, frame.camera), _grey(true)))
    return np.concatenate([
        np.concatenate([input_image(frame, mask, outlined), *_sides(mesh, T_camera_up, radius)], 1)
        for outlined, mesh in rows])


def compose(rows: Sequence[tuple[Path, Sequence[str]]]) -> NDArray[np.uint8]:
    """
    Return the images of frames below each other, uint8 RGB.

    Each comes with the texts below its first image and the following ones. Files that are not of
    ``six_sides`` are skipped.
    """
    page = []
    for path, texts in rows:
        image = read_image(path)
        if image is None or image.shape[1] != (1 + len(SIDES)) * TILE or image.shape[0] % TILE:
            continue
        for number, strip in enumerate(np.split(image, image.shape[0] // TILE)):
            tiles = np.split(strip, strip.shape[1] // TILE, axis=1)
            titles = [_ROWS[number], *(f'{_WHAT[number]}, {side}' for side in SIDES)]
            below = [*(texts if number == 0 else []), *[''] * len(tiles)]
            page.append([
                (np.ascontiguousarray(tile), f'{title}\n{text}' if text else title)
                for tile, title, text in zip(tiles, titles, below, strict=False)])
    return sheet(page, tile=TILE)


def _sides(mesh: Mesh, T_camera_up: Array, radius: float) -> list[NDArray[np.uint8]]:
    """Return renderings of a mesh in the optical frame from ``SIDES``."""
    caster = Raycaster([mesh.transformed(invert(T_camera_up))])
    camera = Camera.from_fov(TILE, TILE, _FOV_DEG)
    distance = 1.02 * radius / np.sin(np.radians(_FOV_DEG / 2.0))
    images = []
    for azimuth, elevation in SIDES.values():
        pose = look_at(spherical(azimuth, elevation, distance), np.zeros(3))
        lamp = rotate(pose, (-0.5, -0.6, -1.0))
        images.append(caster.render(camera, pose, Light((lamp[0], lamp[1], lamp[2]))).image)
    return images


def _silhouette(mesh: Mesh, camera: Camera) -> NDArray[np.bool_]:
    return Truth(mesh, np.eye(4)).silhouette(camera)


def _grey(mesh: Mesh) -> Mesh:
    return Mesh(mesh.vertices, mesh.faces, np.full((len(mesh.vertices), 3), _GREY, np.uint8))
