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
Scene folders: files of one frame with the mask of one object.

A scene is a folder with ``rgb.png``, ``mask.png`` (not zero = object), optionally ``depth.png``
(16 bit, millimetres or the ``depth_unit``, 0 = none) and ``camera.json`` with ``width``,
``height``, ``K`` (3 x 3 nested list) and optionally ``depth_unit`` (metres a count, 0.001),
``gravity`` ([x, y, z], pointing down in the optical frame), ``plane``
([x, y, z, offset], the normal of the support plane and the offset of its points along the normal
in metres, in the optical frame; see ``placement.hints.Plane``) and ``T_world_camera`` (4 x 4
nested list, metres: the pose of the optical frame in any fixed frame). Other file formats are
listed in ``io.scene_files``.

A scene of several objects has their masks below ``masks/``, or labels in ``mask.png``; see
``read_objects``.

Views of the same object by other cameras are scene folders below ``views/``. The poses of all
views are ``T_world_camera`` in the same world frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import replace
import json
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lift3d_ros.cameras import depth_units as depths
from lift3d_ros.cameras.description import DescribedCamera
from lift3d_ros.cameras.description import read_camera
from lift3d_ros.errors import bad_image
from lift3d_ros.errors import LiftError
from lift3d_ros.errors import no_camera
from lift3d_ros.errors import size_mismatch
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import invert
from lift3d_ros.geometry import is_rigid
from lift3d_ros.geometry import ZERO123_FOV
from lift3d_ros.geometry.frame import crop_object
from lift3d_ros.geometry.frame import Frame
from lift3d_ros.geometry.frame import SourceView
from lift3d_ros.io import masks
from lift3d_ros.io import pictures
from lift3d_ros.io import scene_files
from lift3d_ros.io.mask_coverage import check_coverage
from lift3d_ros.observation.hints import Plane
from lift3d_ros.runtime.files import write_whole

#: Folder in a scene folder with the scene folders of further views.
FURTHER = 'views'

#: Folder in a scene folder with the mask of each object.
MASKS_FOLDER = 'masks'


@dataclass(frozen=True)
class Selection:
    """
    The selection of an object of an image, if its mask does not define it; at most one is set.

    - ``box``: left, top, right, bottom in pixels, right and bottom exclusive; no mask is read.
    - ``point``: column and row of a pixel on the object; no mask is read.
    - ``label``: its value in a mask that is a label image.
    """

    box: tuple[int, int, int, int] | None = None
    point: tuple[int, int] | None = None
    label: int | None = None

    @property
    def segments(self) -> bool:
        """Whether the mask is segmented from the image."""
        return self.box is not None or self.point is not None

    def mask(self, frame: Frame) -> tuple[NDArray[np.bool_], tuple[str, ...]]:
        """Return the mask in a box or at a point, and notes; raises ``LiftError``."""
        from lift3d_ros.segmentation import segment as segmentation

        if self.box is not None:
            return segmentation.segment_box(frame.image, frame.depth, self.box)
        assert self.point is not None
        return segmentation.segment_point(frame.image, frame.depth, self.point)


@dataclass(frozen=True, eq=False)
class SceneInput:
    """
    A frame and the mask of one object in it, bool (height, width).

    - ``camera_source``: ``given``, or ``assumed`` for a single picture.
    - ``depth_file``: name of the file of the depth that was read; None without depth.
    """

    frame: Frame
    mask: NDArray[np.bool_]
    camera_source: str = 'given'
    depth_file: str | None = None


def read_scene(folder: Path, depth: bool = True) -> tuple[Frame, NDArray[np.bool_]]:
    """
    Return the frame and the object's mask of a scene folder.

    With ``depth`` false a depth image is not read. Doubts are in ``Frame.notes``. Raises
    ``LiftError``: ``BAD_IMAGE`` for a missing or invalid file, ``NO_CAMERA`` for a missing or
    invalid camera.json, ``SIZE_MISMATCH``.
    """
    found = read_folder(folder, depth)
    return found.frame, found.mask


def read_folder(
    folder: Path, depth: bool = True, selection: Selection | None = None
) -> SceneInput:
    """Read a scene folder as ``read_scene``, with the source of its camera and depth."""
    selection = selection or Selection()
    raw = _read_raw(folder, depth)
    described = raw.described
    if selection.segments:
        # Boxes, points and masks are in pixels of the raw image.
        raw_depth = raw.metres if described.depth is None else None
        mask, notes = selection.mask(
            Frame(raw.image, described.camera, raw_depth, raw.gravity))
    else:
        path = _find(
            folder, 'mask', scene_files.MASKS, ' Without a mask, give a box around the object or '
            'a pixel on it (--box, --point of lift3d lift).')
        mask, notes = _read_mask(path, raw, selection.label)
    return SceneInput(
        raw.frame(notes), described.undistorted_mask(mask), 'given', raw.depth_file)


def read_objects(
    folder: Path, depth: bool = True
) -> tuple[Frame, dict[str, NDArray[np.bool_]]]:
    """
    Return the frame of a scene folder and the masks of all its objects by name.

    Each file below ``MASKS_FOLDER`` is the mask of one object, named as the file. Without that
    folder, ``mask.png`` is a label image if it has several labels with areas, whose objects are
    called by their label; else the mask of one object, ``object``. A folder may be without both.

    Raises ``LiftError`` as ``read_scene``.
    """
    raw = _read_raw(folder, depth)
    size = raw.described.camera.width, raw.described.camera.height
    notes: tuple[str, ...] = ()
    found: dict[str, NDArray[np.bool_]] = {}
    if os.path.isdir(folder / MASKS_FOLDER):
        for path in sorted((folder / MASKS_FOLDER).iterdir()):
            if path.suffix.lower() in scene_files.MASKS:
                found[path.stem], more = _read_mask(path, raw)
                notes += tuple(f'{path.name}: {note}' for note in more)
    else:
        single = scene_files.find(folder, 'mask', scene_files.MASKS, strict=True)
        if single is not None:
            labels = scene_files.read_areas(single, size)
            for label in labels:
                found[str(label)], _ = _read_mask(single, raw, label)
            if not labels:
                found['object'], notes = _read_mask(single, raw)
    return raw.frame(notes), {
        name: raw.described.undistorted_mask(mask) for name, mask in found.items()}


@dataclass(frozen=True, eq=False)
class _Raw:
    """The files of a scene folder but the masks, before distortion is removed."""

    image: NDArray[np.uint8]
    described: DescribedCamera
    gravity: Array | None
    metres: NDArray[np.float32] | None
    depth_file: str | None
    orientation: int
    notes: tuple[str, ...]

    def frame(self, notes: tuple[str, ...]) -> Frame:
        """Return the frame without distortion, with more notes."""
        described = self.described
        return Frame(
            described.undistorted_image(self.image),
            described.camera,
            None if self.metres is None else described.registered_depth(self.metres),
            self.gravity,
            self.notes + notes,
        )


def _read_raw(folder: Path, depth: bool) -> _Raw:
    try:
        is_folder = folder.is_dir()
    except OSError as error:
        raise bad_image(f'{str(folder)[:200]} cannot be read: {error.strerror}.') from error
    if not is_folder:
        raise bad_image(
            f'{folder} is not a folder; a scene is a folder with rgb.png, mask.png and '
            'camera.json.')
    path = _find(folder, 'rgb', scene_files.PICTURES)
    picture = pictures.read_picture(path)
    described, gravity, unit = _read_camera(folder)
    size = described.camera.width, described.camera.height
    orientation = pictures.orientation_for(picture, size, str(path))
    image = pictures.turned(pictures.rgb(picture), orientation)
    notes = described.notes
    if orientation != picture.orientation:
        notes += (
            f'{path.name} has EXIF orientation {picture.orientation}, which is not applied, '
            'because camera.json describes the stored image; check that the mask does, too.',)
    metres, depth_file = None, None
    if depth:
        metres, depth_file, more = _read_depth(folder, described, unit)
        notes += more
    return _Raw(image, described, gravity, metres, depth_file, orientation, notes)


def _read_mask(
    path: Path, raw: _Raw, label: int | None = None
) -> tuple[NDArray[np.bool_], tuple[str, ...]]:
    """Return the mask of one object in pixels of the raw image, and notes."""
    size = raw.described.camera.width, raw.described.camera.height
    mask, notes = scene_files.read_mask(path, size, label)
    notes += check_coverage(mask, str(path))
    if raw.orientation != 1 and mask.shape != raw.image.shape[:2]:
        raise size_mismatch(
            f'{path} is {mask.shape[1]} x {mask.shape[0]}, and the image is {size[0]} x {size[1]} '
            'after its EXIF rotation; give a mask and a camera.json for the same image.')
    return mask, notes


def _read_depth(
    folder: Path, described: DescribedCamera, unit: float
) -> tuple[NDArray[np.float32] | None, str | None, tuple[str, ...]]:
    """Return the raw depth of a scene folder in metres, its file name, and notes."""
    path = scene_files.find(folder, 'depth', scene_files.DEPTHS, strict=True)
    if path is None:
        return None, None, ()
    camera = (described.depth or described).camera
    metres = scene_files.read_depth(path, (camera.width, camera.height), unit)
    note = depths.normalised_note(metres)
    return metres, path.name, (note,) if note else ()


def read_input(
    path: Path, depth: bool = True, selection: Selection | None = None
) -> SceneInput:
    """
    Return frame and mask of a scene folder or of a single picture.

    The mask of a single picture is its alpha, at least half opaque, or the object of the
    ``selection``. Its field of view is assumed as that of Zero-1-to-3, ``ZERO123_FOV`` across the
    longer side; an EXIF orientation is applied. Raises ``LiftError`` as ``read_scene``, and
    ``BAD_IMAGE`` for a picture without alpha or selection.
    """
    if not scene_files.is_picture(path):
        return read_folder(path, depth, selection)
    selection = selection or Selection()
    picture = pictures.read_picture(path)
    image = pictures.turned(pictures.rgb(picture), picture.orientation)
    pixels = pictures.turned(picture.pixels, picture.orientation)
    height, width = image.shape[:2]
    side = max(width, height)
    camera = Camera.from_fov(side, side, ZERO123_FOV).crop(
        (side - width) / 2.0 - 0.5, (side - height) / 2.0 - 0.5, width, height
    )
    frame = Frame(image, camera)
    if selection.segments:
        mask, notes = selection.mask(frame)
        return SceneInput(replace(frame, notes=notes), mask, 'assumed')
    alpha = masks.deciding_alpha(pixels)
    if alpha is None:
        raise bad_image(
            f'{path} has no transparent pixels, so the object is not defined; give a box around '
            'it or a pixel on it (--box LEFT TOP WIDTH HEIGHT, --point X Y of lift3d lift), make '
            'the background transparent (alpha 0), or give a scene folder with a mask.png.')
    return SceneInput(frame, alpha > 127, 'assumed')


def read_further(path: Path, depth: bool = True) -> list[SourceView]:
    """
    Return the further views of a scene folder, in the order of their names.

    With ``depth`` false depth images are not read. Raises ``LiftError`` as ``read_scene``, and
    ``NO_CAMERA`` if a pose is missing or not rigid; all messages name the folder.
    """
    folder = path / FURTHER
    if not os.path.isdir(folder):
        return []
    found: list[SourceView] = []
    for other in sorted(child for child in folder.iterdir() if child.is_dir()):
        T_world_first, T_world_other = read_pose(path), read_pose(other)
        try:
            view = crop_object(*read_scene(other, depth))
            T_first_other = invert(T_world_first) @ T_world_other
            found.append(SourceView(view, T_first_other, f'view "{other.name}"'))
        except LiftError as error:
            if str(folder) in error.message:
                raise
            raise LiftError(error.code, f'{other}: {error.message}') from error
    return found


def read_plane(path: Path) -> Plane | None:
    """
    Return the support plane in the camera.json of a scene folder, None without one.

    Raises ``LiftError``: ``NO_CAMERA`` for an entry of another form, ``BAD_REQUEST`` for an
    invalid plane.
    """
    if not os.path.isdir(path):
        return None
    entry = scene_files.read_entries(path).get('plane')
    if entry is None:
        return None
    try:
        numbers = np.asarray(entry, np.float64).reshape(4)
    except (ValueError, TypeError, OverflowError) as error:
        raise no_camera(
            f'The "plane" in {path / "camera.json"} cannot be read ({type(error).__name__}: '
            f'{error}); it must be [x, y, z, offset]: its normal, which points up, and its offset '
            'in metres, negative since the camera is above.') from error
    return Plane(numbers[:3], float(numbers[3]))


def read_pose(folder: Path) -> Array:
    """
    Return ``T_world_camera`` (4, 4) in the camera.json of a scene folder.

    Raises ``LiftError(NO_CAMERA)`` if it is missing or not a rigid transform.
    """
    path = folder / 'camera.json'
    try:
        T = np.asarray(scene_files.read_entries(folder)['T_world_camera'], np.float64)
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise no_camera(
            f'{path} has no pose ({type(error).__name__}: {error}); source views and the world '
            'frame need "T_world_camera", 4 x 4, in camera.json.') from error
    if not is_rigid(T):
        raise no_camera(
            f'T_world_camera in {path} is not a rigid transform; give the 4 x 4 matrix of a '
            'rotation and a translation in metres, from the optical frame to the world.')
    return T


def write_scene(
    folder: Path,
    frame: Frame,
    mask: NDArray[np.bool_],
    T_world_camera: Array | None = None,
    plane: Plane | None = None,
) -> None:
    """Write a frame and the mask of one object as a scene folder."""
    folder.mkdir(parents=True, exist_ok=True)
    _write_image(folder / 'rgb.png', cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR))
    _write_image(folder / 'mask.png', mask.astype(np.uint8) * 255)
    if frame.depth is not None:
        millimetres = np.nan_to_num(frame.depth.astype(np.float64) * 1000.0, posinf=0.0)
        # The largest value of the type is not a reading, as in files of other programs.
        millimetres[millimetres >= 65535.0] = 0.0
        _write_image(
            folder / 'depth.png', np.clip(np.rint(millimetres), 0, 65534).astype(np.uint16)
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


def _write_image(path: Path, image: NDArray[Any]) -> None:
    done, data = cv2.imencode(path.suffix, image)
    if not done:
        raise bad_image(f'{path} cannot be encoded as {path.suffix}.')
    write_whole(path, data.tobytes())


def _read_camera(
    folder: Path,
) -> tuple[DescribedCamera, NDArray[np.float64] | None, float]:
    """Return the camera, gravity and the depth unit of a scene folder."""
    path, entries = folder / 'camera.json', scene_files.read_entries(folder)
    try:
        camera = read_camera(entries, str(path))
        gravity = entries.get('gravity')
        direction = None if gravity is None else np.asarray(gravity, np.float64)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise scene_files.camera_error(path, error) from error
    try:
        unit = depths.check_unit(
            entries.get('depth_unit', depths.MILLIMETRE), f'depth_unit in {path}')
    except LiftError as error:
        raise no_camera(error.message) from error
    return camera, direction, unit


def _find(folder: Path, stem: str, endings: tuple[str, ...], advice: str = '') -> Path:
    """Return the file of a stem; raises ``LiftError(BAD_IMAGE)``, with ``advice``, without one."""
    path = scene_files.find(folder, stem, endings)
    if path is None:
        forms = ', '.join(endings)
        raise bad_image(f'{folder} has no {stem}.png (or another of {forms}).{advice}')
    return path
