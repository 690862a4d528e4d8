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

"""An image of the inputs and the result of a lift."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lift3d_ros.geometry import frame_from_up
from lift3d_ros.geometry import invert
from lift3d_ros.geometry import rigid
from lift3d_ros.geometry.frame import bounding_box
from lift3d_ros.geometry.frame import Frame
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.meshing.render import Light
from lift3d_ros.meshing.render import outline
from lift3d_ros.meshing.render import previews
from lift3d_ros.meshing.render import Raycaster
from lift3d_ros.meshing.render import sheet

#: Colours of observed and of predicted surface.
OBSERVED = (70, 130, 200)
PREDICTED = (240, 150, 60)

#: Azimuths, relative to the camera, and elevation of the four previews, degrees.
_AZIMUTHS_DEG = (0.0, 90.0, 180.0, 270.0)
_ELEVATION_DEG = 25.0


def lift_sheet(
    frame: Frame, mask: NDArray[np.bool_], mesh_path: Path, report: dict[str, Any]
) -> NDArray[np.uint8]:
    """
    Return the sheet of one lift, uint8 RGB.

    The first row has the image with the outline of ``mask``, bool (height, width), the depth, the
    object, and the overlaid mesh; the others the mesh from four sides, in its colours, and with
    observed and predicted surface in two colours. ``mesh_path`` is a PLY in the optical frame with
    the vertex attribute ``observed``; ``report`` is the lift's JSON.
    """
    mesh, observed = _read(mesh_path)
    part_colors = np.where(observed[:, None], OBSERVED, PREDICTED).astype(np.uint8)
    upright = mesh.transformed(_upright(frame, mesh, report))
    parts = Mesh(upright.vertices, upright.faces, part_colors)
    views = [(azimuth, _ELEVATION_DEG) for azimuth in _AZIMUTHS_DEG]
    size = ' x '.join(f'{1000.0 * side:.0f}' for side in np.ptp(upright.vertices, axis=0))
    names = [f'{azimuth:.0f} degrees' for azimuth in _AZIMUTHS_DEG]
    names[0] = 'from the camera side'
    crop = _square(mask)
    return sheet(
        [
            [
                (outline(frame.image, mask), 'input and mask'),
                (depth_picture(frame), 'depth'),
                (frame.image[crop], 'object'),
                (_overlay(frame, mesh)[crop], f'overlaid mesh, {size} mm'),
            ],
            list(zip(previews(upright, views, 400), names, strict=True)),
            list(
                zip(
                    previews(parts, views, 400),
                    ['blue: observed', 'orange: predicted', f'{report["method"]}',
                     f'confidence {report["confidence"]:.2f}'],
                    strict=True,
                )
            ),
        ],
        tile=400,
    )


def write_png(path: Path, image: NDArray[np.uint8]) -> None:
    """Write an RGB image; raises ``OSError`` if that fails."""
    _, data = cv2.imencode('.png', cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    path.write_bytes(data.tobytes())


def _read(path: Path) -> tuple[Mesh, NDArray[np.bool_]]:
    """Return the mesh of a PLY and its vertex attribute ``observed``."""
    import trimesh

    loaded: Any = trimesh.load(path, process=False)
    # trimesh keeps other attributes only in their raw form.
    vertices = loaded.metadata['_ply_raw']['vertex']['data']
    mesh = Mesh(
        np.asarray(loaded.vertices, np.float32),
        np.asarray(loaded.faces, np.int32),
        np.ascontiguousarray(loaded.visual.vertex_colors[:, :3]),
    )
    return mesh, np.asarray(vertices['observed']).reshape(-1) > 0.5


def _upright(frame: Frame, mesh: Mesh, report: dict[str, Any]) -> NDArray[np.float64]:
    """Return the transform of the optical frame into a z-up frame, the camera at azimuth 0."""
    middle = (mesh.vertices.min(axis=0) + mesh.vertices.max(axis=0)).astype(np.float64) / 2.0
    if frame.gravity is not None:
        up = -frame.gravity
    else:
        tilt = np.radians(report['elevation_deg'] or 0.0)
        up = np.array([0.0, -np.cos(tilt), -np.sin(tilt)])
    return invert(rigid(frame_from_up(up, -middle), middle))


def depth_picture(frame: Frame) -> NDArray[np.uint8]:
    """Return the depth as colours, black without a reading."""
    if frame.depth is None:
        return np.full((*frame.image.shape[:2], 3), 235, np.uint8)
    depth = np.nan_to_num(frame.depth, posinf=0.0)
    known = depth > 0.0
    near, far = np.quantile(depth[known], [0.02, 0.98]) if known.any() else (0.0, 1.0)
    level = 255.0 * np.clip((depth - near) / max(far - near, 1e-6), 0.0, 1.0)
    colors = cv2.applyColorMap(level.astype(np.uint8), cv2.COLORMAP_TURBO)[..., ::-1]
    return np.where(known[..., None], colors, 0).astype(np.uint8)


def _overlay(frame: Frame, mesh: Mesh) -> NDArray[np.uint8]:
    lamp = Light((-0.5, -0.6, -1.0))
    drawn = Raycaster([mesh]).render(frame.camera, np.eye(4), lamp, frame.image)
    return outline(drawn.image, drawn.instance >= 0, PREDICTED, 1)


def _square(mask: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Return rows and columns of a window around the mask, with half its size as a margin."""
    left, top, right, bottom = bounding_box(mask)
    half = int(0.75 * max(right - left, bottom - top)) + 4
    row, column = (top + bottom) // 2, (left + right) // 2
    return (
        slice(max(row - half, 0), row + half),
        slice(max(column - half, 0), column + half),
    )
