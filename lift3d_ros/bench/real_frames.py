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
Real frames: scene folders with the truth in ``truth.npz`` or ``meta.json``, or without one.

``truth.npz`` holds the true mesh in the optical frame of the colour camera, metres: ``vertices``
(n, 3), ``faces`` (m, 3), and optionally ``closed``, whether the mesh encloses a volume.
``meta.json`` names a mesh and its pose. With both ``truth.npz`` counts.
"""

from __future__ import annotations

import json
from pathlib import Path
import zipfile
import zlib

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.bench.prediction import Truth
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import frame_from_up
from lift3d_ros.geometry import invert
from lift3d_ros.geometry import rigid
from lift3d_ros.geometry.frame import Frame
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.io.scene import read_scene
from lift3d_ros.observation.support import assumed_up
from lift3d_ros.synthetic.objects import load_mesh

#: File of the true mesh in a scene folder.
TRUTH_FILE = 'truth.npz'

#: Distance from the camera in which a true object is plausible, metres: a mesh in millimetres
#: would be a thousand times as far.
_MAX_DISTANCE_M = 20.0

#: Grey of a true mesh without colours.
_GREY = 160


def find_real(folder: Path) -> list[Path]:
    """
    Return the scene folders in a folder, by name; the folder itself may be one.

    Raises ``LiftError(BAD_REQUEST)`` where there is none.
    """
    if (folder / 'camera.json').is_file():
        return [folder]
    frames = sorted(path.parent for path in folder.glob('*/camera.json'))
    if not frames:
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            f'{folder} holds no scene folders (rgb.png, mask.png, camera.json, depth.png).',
        )
    return frames


def read_truth(path: Path, frame: Frame) -> Truth:
    """
    Return the truth in a ``truth.npz``, with its frame levelled by the gravity of ``frame``.

    Without gravity the camera is assumed to look down without roll. Raises
    ``LiftError(BAD_REQUEST)`` for a file that cannot be read or does not hold a mesh in front of
    the camera.
    """
    try:
        with np.load(path, allow_pickle=False) as pack:
            vertices = np.asarray(pack['vertices'], np.float64)
            faces = np.asarray(pack['faces'])
            closed = bool(pack['closed']) if 'closed' in pack else None
        _check_mesh(vertices, faces)
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError,
            zipfile.BadZipFile, zlib.error) as error:
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            f'{path} does not hold a true mesh ({type(error).__name__}: {error}); write it with '
            'numpy.savez_compressed: vertices (n, 3) in metres in the optical frame of the colour '
            'camera, faces (m, 3), closed. Without the file the frame is measured without truth.',
        ) from error
    up = assumed_up() if frame.gravity is None else -frame.gravity
    middle = 0.5 * (vertices.min(axis=0) + vertices.max(axis=0))
    T_camera_object = rigid(frame_from_up(up, -middle), middle)
    mesh = Mesh(
        vertices.astype(np.float32), faces.astype(np.int32),
        np.full((len(vertices), 3), _GREY, np.uint8),
    )
    return Truth(mesh.transformed(invert(T_camera_object)), T_camera_object, closed=closed)


def _check_mesh(vertices: NDArray[np.float64], faces: NDArray[np.generic]) -> None:
    """Raise ``ValueError`` for arrays that are not a mesh in metres in front of a camera."""
    if vertices.ndim != 2 or vertices.shape[1] != 3 or len(vertices) < 4:
        raise ValueError(f'vertices have the shape {vertices.shape}, not (n, 3)')
    if faces.ndim != 2 or faces.shape[1] != 3 or len(faces) < 4:
        raise ValueError(f'faces have the shape {faces.shape}, not (m, 3)')
    if not np.issubdtype(faces.dtype, np.integer):
        raise ValueError(f'faces are {faces.dtype}, not whole numbers')
    if not np.isfinite(vertices).all():
        raise ValueError('some vertices are not finite')
    if faces.min() < 0 or faces.max() >= len(vertices):
        raise ValueError('some faces name vertices that do not exist')
    middle = 0.5 * (vertices.min(axis=0) + vertices.max(axis=0))
    if middle[2] <= 0.0 or np.linalg.norm(middle) > _MAX_DISTANCE_M:
        raise ValueError(
            f'the middle of the mesh is at {np.round(middle, 3).tolist()}, which is not in front '
            'of the camera in metres')


def read_real(folder: Path, data: Path) -> tuple[Frame, NDArray[np.bool_], Truth | None]:
    """
    Return frame, mask and, where it is known, the truth of a real frame.

    The truth is in ``truth.npz`` (``read_truth``), or ``meta.json`` is {"objects": [{"mesh": path,
    "T_cam_obj": 4 x 4}]}, where the path is relative to ``data``, to the folder above it, or to
    those above the scene. A mesh that is marked ``"mesh_is_ground_truth": false`` is not scored
    against. Raises ``LiftError`` for a frame that
    cannot be read and for a mesh that is named but missing or damaged (``BAD_REQUEST``).
    """
    frame, mask = read_scene(folder)
    if (folder / TRUTH_FILE).is_file():
        return frame, mask, read_truth(folder / TRUTH_FILE, frame)
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
