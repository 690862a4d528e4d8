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


"""Find and read the files of a scene folder."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.cameras import depth_units as depths
from lift3d_ros.errors import bad_image
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.errors import no_camera
from lift3d_ros.geometry.frame import MIN_MASK_PIXELS
from lift3d_ros.io import masks
from lift3d_ros.io import pictures
from lift3d_ros.runtime.files import read_regular

#: Endings of pictures, in lower case.
PICTURES = ('.png', '.jpg', '.jpeg', '.webp', '.bmp', '.tif', '.tiff', '.ppm', '.pgm')

MASKS = (*PICTURES, '.npy')

#: Endings of depth images; lossy formats such as JPEG change the values.
DEPTHS = ('.png', '.tif', '.tiff', '.npy', '.pfm', '.pgm')

#: Endings of files with the name of a picture that are not pictures, such as notes and backups.
_BESIDE = ('', '.json', '.txt', '.md', '.yaml', '.yml', '.xml', '.csv', '.bak', '.orig', '.part')

#: Largest size of camera.json, bytes.
_MAX_JSON_BYTES = 10_000_000


def is_picture(path: Path) -> bool:
    """Return whether a path on the command line is an image file and not a scene folder."""
    return path.suffix.lower() in PICTURES and not os.path.isdir(path)


def find(folder: Path, stem: str, endings: tuple[str, ...], strict: bool = False) -> Path | None:
    """
    Return the file of a folder with a stem such as ``rgb``, whatever the case of its name.

    If ``strict``, a file in an unsupported format is an error, else only if there is no other
    file. Raises ``LiftError(BAD_IMAGE)``, also if several files have the stem.
    """
    try:
        with os.scandir(folder) as entries:
            named = [Path(folder, entry.name) for entry in entries]
    except OSError as error:
        raise bad_image(f'{folder} cannot be read: {error.strerror}.') from error
    same = sorted(
        path for path in named
        if path.stem.lower() == stem and path.suffix.lower() not in _BESIDE
        and not path.name.endswith('~')
    )
    found = [path for path in same if path.suffix.lower() in endings]
    others = [path for path in same if path not in found]
    if len(found) > 1 or (strict and found and others):
        names = ' and '.join(path.name for path in same)
        raise bad_image(f'{folder} contains {names}, which is ambiguous; keep only one of them.')
    if not found and others:
        raise bad_image(
            f'{others[0]} has an unsupported format; convert it to '
            f'{", ".join(stem + ending for ending in endings)}.')
    return found[0] if found else None


def read_entries(folder: Path) -> dict[str, Any]:
    """
    Return the entries of the camera.json of a scene folder.

    Raises ``LiftError(NO_CAMERA)`` if it is missing, not a regular file, or not a JSON object.
    """
    path = folder / 'camera.json'
    try:
        if not os.path.lexists(path):
            path = find(folder, 'camera', ('.json',)) or path
        # RecursionError: nested more deeply than Python reads.
        entries = json.loads(read_regular(path, _MAX_JSON_BYTES, ErrorCode.NO_CAMERA))
    except (OSError, ValueError, RecursionError) as error:
        raise camera_error(path, error) from error
    if not isinstance(entries, dict):
        raise camera_error(path, TypeError('it is not a JSON object'))
    return entries


def camera_error(path: Path, error: Exception) -> LiftError:
    """Return the error of a camera.json that does not describe a camera."""
    return no_camera(
        f'{path} does not describe a camera ({type(error).__name__}: {error}); it must hold '
        '"width", "height", "K" as a 3 x 3 list and optionally "gravity" and "depth_unit".')


def read_mask(
    path: Path, size: tuple[int, int], label: int | None = None
) -> tuple[NDArray[np.bool_], tuple[str, ...]]:
    """
    Return the mask of one object in a file, bool (height, width), and notes.

    ``size`` is the width and height of the image, which determine whether an EXIF orientation
    applies. With a ``label`` the file is a label image. Raises ``LiftError``: ``BAD_IMAGE``, and
    ``NO_OBJECT`` if the label is not in it.
    """
    return mask_of(_mask_pixels(path, size), str(path), label)


def read_areas(path: Path, size: tuple[int, int]) -> list[int]:
    """
    Return the labels of a file that is a label image of several objects, else none.

    Each label has at least ``MIN_MASK_PIXELS`` pixels; a mask with soft edges has values of fewer.
    """
    try:
        labels = masks.read_labels(_mask_pixels(path, size), str(path))
    except LiftError:
        return []
    values, counts = np.unique(labels[labels > 0], return_counts=True)
    several = 1 < len(values) <= masks.MAX_LABELS and bool((counts >= MIN_MASK_PIXELS).all())
    return [int(value) for value in values] if several else []


def mask_of(
    pixels: masks.MaskPixels, name: str, label: int | None = None
) -> tuple[NDArray[np.bool_], tuple[str, ...]]:
    """Return the mask of one object, called ``name``, and notes; raises as ``read_mask``."""
    if label is None:
        return masks.read_binary(pixels, name)
    labels = masks.read_labels(pixels, name)
    if label == 0:
        raise LiftError(
            ErrorCode.NO_OBJECT, f'The label 0 is the background of {name}; choose another label.')
    mask = labels == label
    if not mask.any():
        present = [str(value) for value in np.unique(labels).tolist() if value]
        listed = ', '.join(present[:20]) + (', ...' if len(present) > 20 else '')
        raise LiftError(
            ErrorCode.NO_OBJECT, f'The label {label} is not in {name}; its labels are: '
            f'{listed or "none"}.')
    return mask, ()


def read_depth(path: Path, size: tuple[int, int], unit: float) -> NDArray[np.float32]:
    """
    Return the depth of a file in metres, float32 (height, width), 0 or NaN = no reading.

    Integers count ``unit`` metres, floats are metres; ``size`` as in ``read_mask``. Raises
    ``LiftError(BAD_IMAGE)``.
    """
    if path.suffix.lower() == '.npy':
        return depths.metres(pictures.read_array(path), unit, str(path))
    picture = pictures.read_picture(path)
    orientation = pictures.orientation_for(picture, size, str(path))
    return depths.metres(pictures.turned(picture.pixels, orientation), unit, str(path))


def _mask_pixels(path: Path, size: tuple[int, int]) -> masks.MaskPixels:
    """Return the pixels of a mask, turned as the image."""
    if path.suffix.lower() == '.npy':
        return masks.MaskPixels(pictures.read_array(path))
    picture = pictures.read_picture(path)
    orientation = pictures.orientation_for(picture, size, str(path))
    return masks.MaskPixels.of_picture(picture).turned(orientation)
