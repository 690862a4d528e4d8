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
Scene folders: one frame with the mask of one object, on disk.

A scene is a folder with ``rgb.png``, ``mask.png`` (not zero = object), optionally ``depth.png``
(16 bit, millimetres, 0 = none) and ``camera.json`` with ``width``, ``height``, ``K`` (3 x 3 nested
list) and optionally ``gravity`` ([x, y, z], pointing down in the optical frame), ``plane``
([x, y, z, offset], the normal of the plane that the object stands on and the offset of its points
along it in metres, in the optical frame; see ``placement.hints.Plane``) and
``T_world_camera`` (4 x 4 nested list, metres: the optical frame in a frame of your choice that
does not move with the camera).

What other cameras saw of the same object is in scene folders below ``views/``. Their poses and
that of the first are ``T_world_camera``, with one world for all.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.frame import crop_object
from lift3d_ros.frame import Frame
from lift3d_ros.frame import FurtherView
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import invert
from lift3d_ros.geometry import is_rigid
from lift3d_ros.geometry import ZERO123_FOV
from lift3d_ros.placement.hints import Plane

#: Folder in a scene folder with the scene folders of further views.
FURTHER = 'views'


def read_scene(folder: Path, depth: bool = True) -> tuple[Frame, NDArray[np.bool_]]:
    """
    Return the frame and the object's mask of a scene folder.

    With ``depth`` false a depth image is not read. Raises ``LiftError``: ``BAD_IMAGE`` for a
    file that is missing or not what it should be, ``NO_CAMERA`` for a camera.json that is missing
    or broken, ``SIZE_MISMATCH``.
    """
    if not folder.is_dir():
        raise LiftError(
            ErrorCode.BAD_IMAGE,
            f'{folder} is not a folder; a scene is a folder with rgb.png, mask.png and '
            'camera.json.',
        )
    image = _read_image(folder / 'rgb.png', cv2.IMREAD_COLOR)
    mask = _read_image(folder / 'mask.png', cv2.IMREAD_UNCHANGED)
    if mask.ndim == 3:
        # With an alpha channel the mask is that channel, else any colour that is not black.
        mask = mask[..., 3] if mask.shape[2] == 4 else mask.max(axis=2)
    metres = None
    if depth and (folder / 'depth.png').exists():
        raw = _read_image(folder / 'depth.png', cv2.IMREAD_UNCHANGED)
        if raw.ndim != 2 or raw.dtype != np.uint16:
            raise LiftError(
                ErrorCode.BAD_IMAGE,
                f'{folder / "depth.png"} has type {raw.dtype} and shape {raw.shape}; it must be a '
                '16 bit grey image in millimetres.',
            )
        metres = raw.astype(np.float32) * np.float32(0.001)
    camera, gravity = _read_camera(folder / 'camera.json')
    frame = Frame(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), camera, metres, gravity)
    return frame, mask > 0


def read_input(
    path: Path, depth: bool = True
) -> tuple[Frame, NDArray[np.bool_], str]:
    """
    Return frame, mask and the source of the camera: ``given``, or ``assumed`` for a lone picture.

    ``path`` is a scene folder, or an RGBA picture whose alpha is the mask: opaque by half or more
    is object. Its lens is taken as that of the views of Zero-1-to-3, ``ZERO123_FOV`` across the
    longer side. Raises ``LiftError``, ``BAD_IMAGE`` for a picture without an alpha that says
    something.
    """
    if path.is_dir() or path.suffix.lower() != '.png':
        return *read_scene(path, depth=depth), 'given'
    try:
        data = np.fromfile(path, np.uint8)
    except OSError as error:
        raise LiftError(
            ErrorCode.BAD_IMAGE, f'{path} cannot be read: {error.strerror}.'
        ) from error
    pixels = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if len(data) else None
    if pixels is None:
        raise LiftError(ErrorCode.BAD_IMAGE, f'{path} is not a complete image file.')
    if pixels.dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
    if pixels.ndim != 3 or pixels.shape[2] != 4 or pixels[..., 3].min() == 255:
        raise LiftError(
            ErrorCode.BAD_IMAGE,
            f'{path} has no transparent pixels, so nothing says what the object is; cut it out '
            '(alpha 0 around it), or give a scene folder with a mask.png.',
        )
    height, width = pixels.shape[:2]
    side = max(width, height)
    camera = Camera.from_fov(side, side, ZERO123_FOV).crop(
        (side - width) / 2.0 - 0.5, (side - height) / 2.0 - 0.5, width, height
    )
    image = cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGB)
    return Frame(image, camera), pixels[..., 3] > 127, 'assumed'


def read_further(path: Path, depth: bool = True) -> list[FurtherView]:
    """
    Return the further views of a scene folder, in the order of their names.

    With ``depth`` false depth images are not read. Raises ``LiftError`` as ``read_scene``, and
    ``NO_CAMERA`` where a pose is missing or no rigid motion; all name the folder.
    """
    folder = path / FURTHER
    if not folder.is_dir():
        return []
    found: list[FurtherView] = []
    for other in sorted(child for child in folder.iterdir() if child.is_dir()):
        T_world_first, T_world_other = _read_pose(path), _read_pose(other)
        try:
            view = crop_object(*read_scene(other, depth))
            T_first_other = invert(T_world_first) @ T_world_other
            found.append(FurtherView(view, T_first_other, f'view "{other.name}"'))
        except LiftError as error:
            if str(folder) in error.message:
                raise
            raise LiftError(error.code, f'{other}: {error.message}') from error
    return found


def read_plane(path: Path) -> Plane | None:
    """
    Return the support plane that a scene folder names, if it does.

    Raises ``LiftError``: ``NO_CAMERA`` for an entry of another form, ``BAD_REQUEST`` for a plane
    that cannot be one.
    """
    file = path / 'camera.json'
    if not file.is_file():
        return None
    try:
        entry = json.loads(file.read_text()).get('plane')
        numbers = None if entry is None else np.asarray(entry, np.float64).reshape(4)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise LiftError(
            ErrorCode.NO_CAMERA,
            f'The "plane" in {file} cannot be read ({type(error).__name__}: {error}); it must be '
            '[x, y, z, offset]: its normal, which points up, and its offset in metres, negative '
            'since the camera is above.',
        ) from error
    return None if numbers is None else Plane(numbers[:3], float(numbers[3]))


def write_scene(
    folder: Path,
    frame: Frame,
    mask: NDArray[np.bool_],
    T_world_camera: Array | None = None,
    plane: Plane | None = None,
) -> None:
    """Write a frame and the mask of one object as a scene folder, which is made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    _write_image(folder / 'rgb.png', cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR))
    _write_image(folder / 'mask.png', mask.astype(np.uint8) * 255)
    if frame.depth is not None:
        millimetres = np.nan_to_num(frame.depth.astype(np.float64) * 1000.0, posinf=0.0)
        _write_image(
            folder / 'depth.png', np.clip(np.rint(millimetres), 0, 65535).astype(np.uint16)
        )
    camera: dict[str, Any] = {
        'width': frame.camera.width,
        'height': frame.camera.height,
        'K': frame.camera.K.tolist(),
    }
    if frame.gravity is not None:
        camera['gravity'] = frame.gravity.tolist()
    if T_world_camera is not None:
        camera['T_world_camera'] = np.asarray(T_world_camera, np.float64).tolist()
    if plane is not None:
        camera['plane'] = [*plane.up.tolist(), plane.offset]
    (folder / 'camera.json').write_text(json.dumps(camera, indent=1) + '\n')


def _read_image(path: Path, flags: int) -> NDArray[Any]:
    # imdecode rather than imread: imread answers every fault with None and a warning.
    try:
        data = np.fromfile(path, np.uint8)
    except OSError as error:
        raise LiftError(
            ErrorCode.BAD_IMAGE, f'{path} cannot be read: {error.strerror}.'
        ) from error
    image = cv2.imdecode(data, flags) if len(data) else None
    if image is None:
        raise LiftError(ErrorCode.BAD_IMAGE, f'{path} is not a complete image file.')
    return image


def _write_image(path: Path, image: NDArray[Any]) -> None:
    done, data = cv2.imencode(path.suffix, image)
    if not done:
        raise LiftError(ErrorCode.BAD_IMAGE, f'{path} cannot be encoded as {path.suffix}.')
    path.write_bytes(data.tobytes())


def _read_camera(path: Path) -> tuple[Camera, NDArray[np.float64] | None]:
    try:
        entries = json.loads(path.read_text())
        camera = Camera.from_matrix(entries['width'], entries['height'], entries['K'])
        gravity = entries.get('gravity')
        direction = None if gravity is None else np.asarray(gravity, np.float64)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise LiftError(
            ErrorCode.NO_CAMERA,
            f'{path} does not describe a camera ({type(error).__name__}: {error}); it must hold '
            '"width", "height", "K" as a 3 x 3 list and optionally "gravity".',
        ) from error
    return camera, direction


def _read_pose(folder: Path) -> Array:
    path = folder / 'camera.json'
    try:
        T = np.asarray(json.loads(path.read_text())['T_world_camera'], np.float64)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LiftError(
            ErrorCode.NO_CAMERA,
            f'{path} has no pose ({type(error).__name__}: {error}); a scene with further views '
            'needs "T_world_camera", 4 x 4, in its camera.json and in theirs.',
        ) from error
    if not is_rigid(T):
        raise LiftError(
            ErrorCode.NO_CAMERA,
            f'T_world_camera in {path} is no rigid motion; give the 4 x 4 matrix of a rotation '
            'and a translation in metres, from the optical frame to the world.',
        )
    return T
