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

"""Files of a scene: mesh, voxels, height map, and novel views as pictures and films."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lift3d_ros.observation.hints import UNKNOWN
from lift3d_ros.runtime.files import write_whole
from lift3d_ros.scene.novel_views import SceneView
from lift3d_ros.scene.octomap import write_octomap
from lift3d_ros.scene.scene import height_map
from lift3d_ros.scene.scene import HeightMap
from lift3d_ros.scene.scene import Scene

#: Endings of the files of a scene beside its mesh.
VOXELS, OCTOMAP, HEIGHT = '_voxels.npz', '.bt', '_height.npz'

#: Grey values of a picture of heights: of unknown cells, the lowest, and the highest.
_UNKNOWN, _LOWEST, _HIGHEST = 0, 32, 255


def write_scene(scene: Scene, folder: Path, name: str, kind: str = 'ply') -> list[Path]:
    """
    Write the files of a scene and return their paths.

    - ``NAME.ply`` (or ``kind``): the surface in the optical frame, metres, with the attributes
      ``confidence``, ``observed`` and ``part`` at each vertex.
    - ``NAME_voxels.npz``: the arrays of ``VoxelMap``; ``NAME.bt``: the same for OctoMap.
    - ``NAME_height.npz``: the arrays of ``HeightMap``; ``NAME_height.png``: its picture.

    A scene without scale has no OctoMap, whose unit is the metre. Raises ``OSError`` where they
    cannot be written.
    """
    mesh = folder / f'{name}.{kind}'
    scene.surface.mesh.export(mesh, scene.surface.attributes())
    grid = scene.voxels
    voxels = folder / f'{name}{VOXELS}'
    _write_arrays(
        voxels, states=grid.states, origin=grid.origin, resolution=np.float64(grid.resolution),
        T_grid_camera=grid.T_grid_camera)
    octomap = []
    if scene.scale_source != UNKNOWN:
        octomap = [folder / f'{name}{OCTOMAP}']
        write_octomap(octomap[0], grid)
    heights = height_map(scene)
    height = folder / f'{name}{HEIGHT}'
    _write_arrays(
        height, height=heights.height, origin=heights.origin,
        resolution=np.float64(heights.resolution), T_grid_camera=grid.T_grid_camera)
    picture = height.with_suffix('.png')
    _write_png(picture, _height_picture(heights))
    return [mesh, voxels, *octomap, height, picture]


def scene_files(folder: Path, name: str, kind: str = 'ply') -> list[Path]:
    """Return the paths that ``write_scene`` writes."""
    picture = (folder / f'{name}{HEIGHT}').with_suffix('.png')
    return [*(folder / f'{name}{end}' for end in (f'.{kind}', VOXELS, OCTOMAP, HEIGHT)), picture]


def write_view(
    view: SceneView, folder: Path, stem: str, metric: bool = True
) -> list[Path]:
    """
    Write colour and depth of a novel view; return the paths.

    The depth is a picture of 16 bit millimetres; without scale (``metric`` false) the array
    ``depth`` of a ``.npz``, in the unit of the scene.
    """
    image = folder / f'{stem}.png'
    _write_png(image, view.image[..., ::-1])
    if metric:
        depth = folder / f'{stem}_depth.png'
        _write_png(depth, np.clip(np.rint(1000.0 * view.depth), 0, 65535).astype(np.uint16))
    else:
        depth = folder / f'{stem}_depth.npz'
        _write_arrays(depth, depth=view.depth)
    return [image, depth]


def _height_picture(heights: HeightMap) -> NDArray[np.uint8]:
    """Return the heights as grey values, x to the right and y up."""
    known = np.isfinite(heights.height)
    picture = np.full(heights.height.shape, _UNKNOWN, np.uint8)
    if known.any():
        low, high = np.percentile(heights.height[known], [1.0, 99.0])
        share = np.clip((heights.height[known] - low) / max(high - low, 1e-6), 0.0, 1.0)
        picture[known] = np.rint(_LOWEST + share * (_HIGHEST - _LOWEST))
    return np.ascontiguousarray(picture.T[::-1])


def _write_arrays(path: Path, **arrays: Any) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    write_whole(path, buffer.getvalue())


def _write_png(path: Path, image: NDArray[Any]) -> None:
    encoded, data = cv2.imencode('.png', np.ascontiguousarray(image))
    if not encoded:
        raise OSError(f'{path.name} cannot be encoded.')
    write_whole(path, data.tobytes())
