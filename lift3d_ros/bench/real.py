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


"""Real frames: scene folders whose ``meta.json`` may name the object's mesh and pose."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.bench.score import Truth
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry.frame import Frame
from lift3d_ros.io.scene import read_scene
from lift3d_ros.synthetic.objects import load_mesh


def find_real(folder: Path) -> list[Path]:
    """
    Return the scene folders in a folder, by name; the folder itself may be one.

    Raises ``LiftError(BAD_REQUEST)`` where there is none.
    """
    if (folder / 'camera.json').is_file():
        return [folder]
    found = sorted(path.parent for path in folder.glob('*/camera.json'))
    if not found:
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            f'{folder} holds no scene folders (rgb.png, mask.png, camera.json, depth.png).',
        )
    return found


def read_real(folder: Path, data: Path) -> tuple[Frame, NDArray[np.bool_], Truth | None]:
    """
    Return frame, mask and, where it is known, the truth of a real scene.

    ``meta.json`` is {"objects": [{"mesh": path, "T_cam_obj": 4 x 4}]}, where the path is relative
    to ``data``, to the folder above it, or to those above the scene. A mesh that is marked
    ``"mesh_is_ground_truth": false`` is not scored against. Raises ``LiftError`` for a frame that
    cannot be read and for a mesh that is named but missing (``BAD_REQUEST``).
    """
    frame, mask = read_scene(folder)
    path = folder / 'meta.json'
    if not path.is_file():
        return frame, mask, None
    try:
        entry = json.loads(path.read_text())['objects'][0]
        mesh, pose = entry.get('mesh'), entry.get('T_cam_obj')
        known = mesh is not None and pose is not None and entry.get('mesh_is_ground_truth', True)
        T_camera_object = np.asarray(pose, np.float64) if known else np.eye(4)
        if T_camera_object.shape != (4, 4) or not np.isfinite(T_camera_object).all():
            raise ValueError('T_cam_obj is not a 4 x 4 matrix')
    except (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            f'{path} does not describe a scene ({type(error).__name__}: {error}).',
        ) from error
    if not known:
        return frame, mask, None
    roots = (data, data.parent, *folder.resolve().parents[:3])
    for root in roots:
        if (root / mesh).is_file():
            return frame, mask, Truth(load_mesh(root / mesh), T_camera_object)
    raise LiftError(
        ErrorCode.BAD_REQUEST, f'{path} names the mesh {mesh}, which is not below {data}.'
    )
