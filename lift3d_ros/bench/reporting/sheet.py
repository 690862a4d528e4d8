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


"""Sheets: renderings of predictions beside the scans, and rings of synthesised views."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lift3d_ros.bench.metrics import diagonal
from lift3d_ros.bench.metrics import Solid
from lift3d_ros.bench.prediction import Prediction
from lift3d_ros.bench.prediction import Truth
from lift3d_ros.bench.results import Row
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
from lift3d_ros.runtime.files import write_whole

#: Folders of the images of a run, below its results.
STRIPS = 'strips'
RINGS = 'rings'

#: The name of the true views, in the place of a predictor.
TRUTH = 'truth'

#: Side of an image of a strip, pixels.
TILE = 180

#: The images of a strip, from left to right.
COLUMNS = (
    'input, mask', 'prediction', 'its back', 'scan', 'its back', 'error, red = 5 %', 'on the back',
)

#: Error at the end of the colour map, as a share of the true diagonal.
MAX_ERROR_SHARE = 0.05

#: Azimuths of the two renderings from the input camera, and their elevation, degrees.
_AZIMUTHS_DEG = (0.0, 160.0)
_ELEVATION_DEG = 25.0
_FOV_DEG = 30.0

#: Colour of an empty image.
_BLANK = (245, 245, 245)

#: Objects on a sheet of rings, the side of an image there in pixels, and the characters of an
#: object's name below it.
_RING_OBJECTS = 10
_RING_TILE = 104
_RING_NAME_LENGTH = 15


def picture_path(out: Path, kind: str, track: str, predictor: str, scene: str) -> Path:
    """Return the path of the images of a prediction, of the kind ``STRIPS`` or ``RINGS``."""
    return out / kind / f'{track}_{predictor}' / f'{scene}.jpg'


def write_jpeg(path: Path, image: NDArray[np.uint8], quality: int) -> None:
    """Write an image, uint8 RGB, whole or not at all; raises ``OSError``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, encode_jpeg(image, quality))


def encode_jpeg(image: NDArray[np.uint8], quality: int) -> bytes:
    """Return an image, uint8 RGB, as JPEG."""
    _, data = cv2.imencode('.jpg', image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return data.tobytes()


def write_strip(
    path: Path, frame: Frame, mask: NDArray[np.bool_], prediction: Prediction, truth: Truth | None,
    draw: Callable[..., NDArray[np.uint8]] | None = None
) -> None:
    """
    Write the images of a prediction with a mesh as JPEG; raises ``OSError``.

    ``draw`` returns them as ``strip`` does, which is the default.
    """
    mesh = prediction.mesh
    if mesh is None:
        return
    if truth is not None and prediction.notes.get('scale_source') == 'unknown':
        mesh = at_true_distance(mesh, truth)
    write_jpeg(path, (draw or strip)(frame, mask, mesh, truth), 90)


def at_true_distance(mesh: Mesh, truth: Truth) -> Mesh:
    """
    Return a mesh of unknown scale, in the optical frame, scaled to the distance of the scan.

    It is scaled about the camera, so that its image stays the same.
    """
    scan = truth.mesh.transformed(truth.T_camera_object)
    depths = [float(np.ptp(m.vertices[:, 2]) / 2.0 + m.vertices[:, 2].min()) for m in (mesh, scan)]
    factor = np.float32(depths[1] / depths[0])
    return Mesh(factor * mesh.vertices, mesh.faces, mesh.colors)


def strip(
    frame: Frame, mask: NDArray[np.bool_], predicted: Mesh, truth: Truth | None
) -> NDArray[np.uint8]:
    """
    Return the images of ``COLUMNS`` side by side, uint8 RGB (TILE, 7 TILE, 3).

    Scan and prediction are rendered by the same camera. The error is the distance of the predicted
    surface to the scan, blue = 0, red = ``MAX_ERROR_SHARE``. Without a truth its images are blank.
    """
    meshes = [predicted]
    if truth is not None:
        scan = truth.mesh.transformed(truth.T_camera_object)
        meshes += [scan, _error_colors(predicted, scan)]
    up = upward(frame, truth)
    reference = meshes[1] if truth is not None else predicted
    T_camera_up, radius = stage([reference], up)
    tiles = [input_image(frame, mask, mask)]
    for mesh in meshes:
        tiles += _sides(mesh, T_camera_up, radius)
    blank = np.full((TILE, TILE, 3), _BLANK, np.uint8)
    tiles += [blank] * (len(COLUMNS) - len(tiles))
    return np.concatenate(tiles, axis=1)


def compose(rows: Sequence[tuple[Path, Sequence[str]]]) -> NDArray[np.uint8]:
    """
    Return strips below each other, uint8 RGB.

    Each comes with the texts below its images, from left to right. A strip that cannot be read is
    skipped.
    """
    page = []
    for path, texts in rows:
        tiles = _tiles(path)
        if [tile.shape for tile in tiles] != [(TILE, TILE, 3)] * len(COLUMNS):
            continue
        below = [*texts, *[''] * len(COLUMNS)]
        page.append(
            [(tile, f'{title}\n{text}')
             for tile, title, text in zip(tiles, COLUMNS, below, strict=False)]
        )
    return sheet(page, tile=TILE)


def rings(
    folder: Path, rows: Sequence[Row], predictors: Sequence[str], track: str
) -> NDArray[np.uint8] | None:
    """
    Return the sheet of a track of views: ten objects, best first, or None without images.

    Each has the input with the true ring beside it, and below that the ring of each predictor.
    Objects are sorted by the last predictor's mask IoU beyond 45 degrees and evenly spread from
    the best to the worst.
    """
    def path(name: str, scene: str) -> Path:
        return picture_path(folder, RINGS, track, name, scene)

    known = {(row['contender'], row['scene']): row for row in rows
             if row['track'] == track and row.get('views')}
    ranked = sorted(
        (row for (name, scene), row in known.items()
         if name == predictors[-1] and path(TRUTH, scene).is_file()),
        key=lambda row: -row['iou'],
    )
    if not ranked:
        return None
    labels = {len(ranked) - 1: 'WORST', len(ranked) // 2: 'MEDIAN', 0: 'BEST'}
    blank = np.full((TILE, TILE, 3), 255, np.uint8)
    tiles: list[list[tuple[NDArray[np.uint8], str]]] = []
    for index in _spread(len(ranked)):
        row = ranked[index]
        own, *true = _tiles(path(TRUTH, row['scene']))
        title = f'{row["object"][:_RING_NAME_LENGTH]}\n{labels.get(index, "")}'
        tiles.append([(own, title), *(
            (image, f'true {view["azimuth"]:+.0f}\nfrom {view["elevation"]:.0f} up')
            for image, view in zip(true, row['views'], strict=False))])
        for name in predictors:
            scored: Any = known.get((name, row['scene']))
            if scored is None or not path(name, row['scene']).is_file():
                continue
            images = _tiles(path(name, row['scene']))
            tiles.append([
                (blank, f'{name}\nIoU {scored["iou"]:.2f}'),
                *((image, f'{view["psnr"]:.1f} dB\nIoU {view["iou"]:.2f}')
                  for image, view in zip(images, scored['views'], strict=False)),
            ])
    return sheet(tiles, _RING_TILE)


def _spread(count: int) -> list[int]:
    """Return ranks evenly spread from the first to the last, the middle among them."""
    chosen = np.unique(np.rint(np.linspace(0, count - 1, min(_RING_OBJECTS, count))).astype(int))
    if count > 2:
        chosen[np.abs(chosen - count // 2).argmin()] = count // 2
    return [int(rank) for rank in chosen]


def read_image(path: Path) -> NDArray[np.uint8] | None:
    """Return the image of a file, uint8 RGB, None where it cannot be read."""
    data = np.fromfile(path, np.uint8) if path.is_file() else np.zeros(0, np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None
    return None if image is None else np.ascontiguousarray(image[..., ::-1], np.uint8)


def _tiles(path: Path) -> list[NDArray[np.uint8]]:
    """Return the square images of a file, from left to right; none where it cannot be read."""
    image = read_image(path)
    if image is None or image.shape[1] % image.shape[0]:
        return []
    tiles = np.split(image, image.shape[1] // image.shape[0], axis=1)
    return [np.ascontiguousarray(tile) for tile in tiles]


def upward(frame: Frame, truth: Truth | None) -> Array:
    """Return the upward direction in the optical frame, the true one where it is known."""
    if truth is not None:
        return truth.T_camera_object[:3, 2]
    return assumed_up() if frame.gravity is None else -frame.gravity


def stage(meshes: Sequence[Mesh], up: Array) -> tuple[Array, float]:
    """Return a z-up frame in the middle of meshes, the camera at azimuth 0, and their radius."""
    vertices = np.concatenate([mesh.vertices for mesh in meshes])
    middle = 0.5 * (vertices.min(axis=0) + vertices.max(axis=0)).astype(np.float64)
    radius = float(np.linalg.norm(vertices - middle, axis=1).max())
    return rigid(frame_from_up(up, -middle), middle), radius


def _sides(mesh: Mesh, T_camera_up: Array, radius: float) -> list[NDArray[np.uint8]]:
    """Return renderings of a mesh in the optical frame from both sides."""
    upright = mesh.transformed(invert(T_camera_up))
    caster = Raycaster([upright])
    camera = Camera.from_fov(TILE, TILE, _FOV_DEG)
    distance = 1.2 * radius / np.sin(np.radians(_FOV_DEG / 2.0))
    pictures = []
    for azimuth in _AZIMUTHS_DEG:
        pose = look_at(spherical(azimuth, _ELEVATION_DEG, distance), np.zeros(3))
        lamp = rotate(pose, (-0.5, -0.6, -1.0))
        light = Light((lamp[0], lamp[1], lamp[2]))
        pictures.append(caster.render(camera, pose, light).image)
    return pictures


def _error_colors(predicted: Mesh, scan: Mesh) -> Mesh:
    error = Solid(scan).distance(predicted.vertices) / (MAX_ERROR_SHARE * diagonal(scan))
    level = np.clip(np.rint(255.0 * (0.05 + 0.9 * error)), 0, 255).astype(np.uint8)
    colors = cv2.applyColorMap(level[:, None], cv2.COLORMAP_TURBO)[:, 0, ::-1]
    return Mesh(predicted.vertices, predicted.faces, np.ascontiguousarray(colors))


def input_image(
    frame: Frame, mask: NDArray[np.bool_], outlined: NDArray[np.bool_]
) -> NDArray[np.uint8]:
    """Return the image around ``mask``, uint8 RGB (TILE, TILE, 3), with an outline."""
    left, top, right, bottom = bounding_box(mask)
    half = 0.7 * max(right - left, bottom - top) + 4.0
    middle = ((left + right) / 2.0, (top + bottom) / 2.0)
    row, column, size = int(middle[1] - half), int(middle[0] - half), int(2.0 * half)
    pad = size
    window = np.s_[row + pad:row + pad + size, column + pad:column + pad + size]
    # The image is padded with grey.
    image = cv2.copyMakeBorder(
        outline(frame.image, outlined, thickness=max(1, round(size / TILE))),
        pad, pad, pad, pad, cv2.BORDER_CONSTANT, value=_BLANK,
    )
    return np.asarray(cv2.resize(image[window], (TILE, TILE), interpolation=cv2.INTER_AREA))
