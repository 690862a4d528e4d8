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


"""Pictures of predictions beside the scans: a strip for each object, a sheet of all of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from lift3d_ros.bench.metrics import diagonal
from lift3d_ros.bench.metrics import Solid
from lift3d_ros.bench.prediction import Prediction
from lift3d_ros.bench.score import Truth
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import frame_from_up
from lift3d_ros.geometry import invert
from lift3d_ros.geometry import look_at
from lift3d_ros.geometry import rigid
from lift3d_ros.geometry import rotate
from lift3d_ros.geometry import spherical
from lift3d_ros.geometry.frame import bounding_box
from lift3d_ros.geometry.frame import Frame
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.meshing.render import Light
from lift3d_ros.meshing.render import outline
from lift3d_ros.meshing.render import Raycaster
from lift3d_ros.meshing.render import sheet
from lift3d_ros.observation.support import assumed_up

#: Side of a picture, pixels.
TILE = 180

#: What each picture of a strip shows, from left to right.
COLUMNS = (
    'input, mask', 'prediction', 'its back', 'scan', 'its back', 'error, red = 5 %', 'on the back',
)

#: Error at which the colour is at its end, as a share of the true diagonal.
FULL_ERROR = 0.05

#: Both sides, as azimuths from the camera's own, and how high the eye stands, degrees.
_SIDES = (0.0, 160.0)
_ELEVATION = 25.0
_FOV = 30.0
_BLANK = (245, 245, 245)
_QUALITY = 90


def write_strip(
    path: Path,
    frame: Frame,
    mask: NDArray[np.bool_],
    prediction: Prediction,
    truth: Truth | None,
) -> None:
    """Write the strip of a prediction with a mesh as JPEG; raises ``OSError``."""
    if prediction.mesh is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    mesh = prediction.mesh
    if truth is not None and prediction.notes.get('scale_source') == 'unknown':
        mesh = _at_true_distance(mesh, truth)
    picture = strip(frame, mask, mesh, truth)
    _, data = cv2.imencode(
        path.suffix, picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY]
    )
    path.write_bytes(data.tobytes())


def _at_true_distance(mesh: Mesh, truth: Truth) -> Mesh:
    """
    Return a mesh of unknown scale, in the optical frame, as large as it is where the scan is.

    It is scaled about the camera, which sees the same then; else it would be out of the picture.
    """
    scan = truth.mesh.transformed(truth.T_camera_object)
    depths = [float(np.ptp(m.vertices[:, 2]) / 2.0 + m.vertices[:, 2].min()) for m in (mesh, scan)]
    factor = np.float32(depths[1] / depths[0])
    return Mesh(factor * mesh.vertices, mesh.faces, mesh.colors)


def strip(
    frame: Frame, mask: NDArray[np.bool_], predicted: Mesh, truth: Truth | None
) -> NDArray[np.uint8]:
    """
    Return the pictures of ``COLUMNS`` side by side, uint8 RGB (TILE, 7 TILE, 3).

    Scan and prediction are seen by the same camera, so that a shift or a wrong size shows. The
    error is the distance of the predicted surface to the scan, blue = 0, red = ``FULL_ERROR``.
    Without the truth its pictures are blank.
    """
    meshes = [predicted]
    if truth is not None:
        scan = truth.mesh.transformed(truth.T_camera_object)
        meshes += [scan, _error_colors(predicted, scan)]
    up = _up(frame, truth)
    reference = meshes[1] if truth is not None else predicted
    T_camera_up, radius = _stage(reference, up)
    tiles = [_input(frame, mask)]
    for mesh in meshes:
        tiles += _sides(mesh, T_camera_up, radius)
    blank = np.full((TILE, TILE, 3), _BLANK, np.uint8)
    tiles += [blank] * (len(COLUMNS) - len(tiles))
    return np.concatenate(tiles, axis=1)


def compose(rows: Sequence[tuple[Path, Sequence[str]]]) -> NDArray[np.uint8]:
    """
    Return strips below each other, uint8 RGB.

    With each comes the text below its pictures, from left to right. A strip that cannot be read
    is left out.
    """
    page = []
    for path, texts in rows:
        data = np.fromfile(path, np.uint8) if path.is_file() else np.zeros(0, np.uint8)
        picture = cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None
        if picture is None or picture.shape != (TILE, TILE * len(COLUMNS), 3):
            continue
        tiles = np.split(np.asarray(picture[..., ::-1], np.uint8), len(COLUMNS), axis=1)
        below = [*texts, *[''] * len(COLUMNS)]
        page.append(
            [(tile, f'{title}\n{text}')
             for tile, title, text in zip(tiles, COLUMNS, below, strict=False)]
        )
    return sheet(page, tile=TILE)


def _up(frame: Frame, truth: Truth | None) -> Array:
    """Return the upward direction in the optical frame, the true one where it is known."""
    if truth is not None:
        return truth.T_camera_object[:3, 2]
    return assumed_up() if frame.gravity is None else -frame.gravity


def _stage(mesh: Mesh, up: Array) -> tuple[Array, float]:
    """Return a z-up frame in the middle of a mesh, the camera at azimuth 0, and its radius."""
    middle = 0.5 * (mesh.vertices.min(axis=0) + mesh.vertices.max(axis=0)).astype(np.float64)
    radius = float(np.linalg.norm(mesh.vertices - middle, axis=1).max())
    return rigid(frame_from_up(up, -middle), middle), radius


def _sides(mesh: Mesh, T_camera_up: Array, radius: float) -> list[NDArray[np.uint8]]:
    """Return the mesh, given in the optical frame, from both sides."""
    upright = mesh.transformed(invert(T_camera_up))
    caster = Raycaster([upright])
    camera = Camera.from_fov(TILE, TILE, _FOV)
    distance = 1.2 * radius / np.sin(np.radians(_FOV / 2.0))
    pictures = []
    for azimuth in _SIDES:
        pose = look_at(spherical(azimuth, _ELEVATION, distance), np.zeros(3))
        lamp = rotate(pose, (-0.5, -0.6, -1.0))
        light = Light((lamp[0], lamp[1], lamp[2]))
        pictures.append(caster.render(camera, pose, light).image)
    return pictures


def _error_colors(predicted: Mesh, scan: Mesh) -> Mesh:
    error = Solid(scan).distance(predicted.vertices) / (FULL_ERROR * diagonal(scan))
    level = np.clip(np.rint(255.0 * (0.05 + 0.9 * error)), 0, 255).astype(np.uint8)
    colors = cv2.applyColorMap(level[:, None], cv2.COLORMAP_TURBO)[:, 0, ::-1]
    return Mesh(predicted.vertices, predicted.faces, np.ascontiguousarray(colors))


def _input(frame: Frame, mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return the image around the mask, with its outline."""
    left, top, right, bottom = bounding_box(mask)
    half = 0.7 * max(right - left, bottom - top) + 4.0
    middle = ((left + right) / 2.0, (top + bottom) / 2.0)
    row, column, size = int(middle[1] - half), int(middle[0] - half), int(2.0 * half)
    pad = size
    window = np.s_[row + pad:row + pad + size, column + pad:column + pad + size]
    # Beyond its border the image goes on in grey.
    image = cv2.copyMakeBorder(
        outline(frame.image, mask, thickness=max(1, round(size / TILE))),
        pad, pad, pad, pad, cv2.BORDER_CONSTANT, value=_BLANK,
    )
    return np.asarray(cv2.resize(image[window], (TILE, TILE), interpolation=cv2.INTER_AREA))
