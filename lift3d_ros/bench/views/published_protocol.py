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
Pictures of scans that others have rendered, with their cameras: inputs and truth of another kind.

A folder holds ``cameras.json`` and the views ``NAME_0.jpg``, ``NAME_1.jpg``, ... of each object on
white. ``cameras.json`` has ``width``, ``height``, ``K``, the lists ``azimuth_deg`` and
``elevation_deg`` of the views, ``distance_over_bbox_diagonal``, and in ``objects`` the ``center``
and ``diag`` of each object's bounding box, metres, z up.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lift3d_ros.bench.views.protocol import SIZE
from lift3d_ros.bench.views.protocol import Target
from lift3d_ros.bench.views.task import Inquiry
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import invert
from lift3d_ros.geometry import look_at
from lift3d_ros.geometry import orbit_pose
from lift3d_ros.geometry import spherical
from lift3d_ros.geometry import transform
from lift3d_ros.geometry import ZERO123_FOV
from lift3d_ros.geometry.canonical import canonical_frame
from lift3d_ros.geometry.frame import crop_object
from lift3d_ros.geometry.frame import Frame
from lift3d_ros.synthetic.true_views import object_from_canonical

#: The view that is the input: the one from obliquely above.
INPUT = 0

#: A pixel that is farther than this from white in any channel is the object, and so is what is
#: white inside of it up to this share of it; larger holes are seen through.
_NOT_WHITE = 15
_HOLE = 0.01

#: Pictures are turned into the target lens this many times finer than they are compared.
_FINER = 8


def find_official(folder: Path) -> list[Path]:
    """
    Return the input pictures of a folder, in the order of their names.

    Raises ``LiftError(BAD_REQUEST)`` where it has no cameras or none of the pictures.
    """
    content = _cameras(folder)
    found = [
        path for path in (folder / f'{name}_{INPUT}.jpg' for name in sorted(content['objects']))
        if path.is_file()
    ]
    if not found:
        raise LiftError(ErrorCode.BAD_REQUEST, f'{folder} has none of the views of its objects.')
    return found


def official_inquiry(path: Path, size: int = SIZE) -> Inquiry:
    """
    Return what is asked of a picture: the other views of its object.

    The target cameras stand where the official ones do, at their own distances in canonical
    units, and look at the canonical origin through the lens of Zero-1-to-3. Pictures from one
    place differ by a homography alone, by which the official ones become the truth. Raises
    ``LiftError`` for files that cannot be read.
    """
    content = _cameras(path.parent)
    name = path.stem.rsplit('_', 1)[0]
    try:
        entry = content['objects'][name]
        camera = Camera.from_matrix(content['width'], content['height'], content['K'])
        centre = np.asarray(entry['center'], np.float64).reshape(3)
        distance = float(content['distance_over_bbox_diagonal'] * entry['diag'])
        cameras = [
            look_at(centre + spherical(azimuth, elevation, distance), centre)
            for azimuth, elevation in zip(
                content['azimuth_deg'], content['elevation_deg'], strict=True)
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            f'{path.parent / "cameras.json"} does not describe {name} '
            f'({type(error).__name__}: {error}).',
        ) from error
    image = _read(path)
    frame = Frame(image, camera, None, -cameras[INPUT][2, :3])
    view = crop_object(frame, object_mask(image))
    canonical = canonical_frame(view, 0.0)
    T = object_from_canonical(canonical, invert(cameras[INPUT]), centre)
    others = [k for k in range(len(cameras)) if k != INPUT]
    azimuths, heights, radii, poses, truth, named = [], [], [], [], [], []
    for k in others:
        eye = transform(np.linalg.inv(T), cameras[k][:3, 3])
        radius = float(np.linalg.norm(eye))
        azimuth = float(np.degrees(np.arctan2(eye[1], eye[0])))
        height = float(np.degrees(np.arcsin(eye[2] / radius)))
        pose = orbit_pose(azimuth, height, radius)
        turn = T[:3, :3] / np.cbrt(np.linalg.det(T[:3, :3])) @ pose[:3, :3]
        picture = _read(path.with_name(f'{name}_{k}.jpg'))
        truth.append(_through_lens(picture, camera, turn.T @ cameras[k][:3, :3], size))
        azimuths.append(azimuth)
        heights.append(height)
        radii.append(radius)
        poses.append(pose)
        turned = content['azimuth_deg'][k] - content['azimuth_deg'][INPUT]
        named.append(Target((turned + 180.0) % 360.0 - 180.0, content['elevation_deg'][k]))
    return Inquiry(
        view=view,
        canonical=canonical,
        azimuths=np.array(azimuths),
        elevations=np.array(heights),
        radii=np.array(radii),
        poses=np.stack(poses),
        truth=np.stack(truth),
        targets=named,
        notes={'elevation_deg': round(canonical.elevation, 2), 'metric': canonical.metric},
    )


def object_mask(image: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return where a picture on white, uint8 RGB, shows an object."""
    other = (image.min(axis=2) < 255 - _NOT_WHITE).astype(np.uint8)
    other = cv2.morphologyEx(other, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    # Specks of the compression are none of it.
    count, labels, stats, _ = cv2.connectedComponentsWithStats(other, connectivity=4)
    areas = stats[1:, cv2.CC_STAT_AREA]
    if count < 2:
        return np.zeros(image.shape[:2], np.bool_)
    mask = np.isin(labels, 1 + np.flatnonzero(areas >= 0.02 * areas.max()))
    _, labels, stats, _ = cv2.connectedComponentsWithStats(
        (~mask).astype(np.uint8), connectivity=8)
    small = stats[:, cv2.CC_STAT_AREA] < _HOLE * np.count_nonzero(mask)
    return np.asarray(mask | small[labels], np.bool_)


def _through_lens(
    image: NDArray[np.uint8], camera: Camera, turn: Array, size: int
) -> NDArray[np.uint8]:
    """
    Return a picture as the lens of Zero-1-to-3 sees it, uint8 RGBA (size, size, 4) on white.

    ``turn`` (3, 3) maps directions of the picture's optical frame into that of the lens.
    """
    fine = _FINER * size
    H = Camera.from_fov(fine, fine, ZERO123_FOV).K @ turn @ np.linalg.inv(camera.K)
    rgba = np.dstack([image, np.where(object_mask(image), 255, 0).astype(np.uint8)])
    warped = cv2.warpPerspective(
        rgba, H, (fine, fine), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT,
        borderValue=(255, 255, 255, 0),
    )
    return np.asarray(cv2.resize(warped, (size, size), interpolation=cv2.INTER_AREA), np.uint8)


def _cameras(folder: Path) -> Any:
    path = folder / 'cameras.json'
    try:
        content = json.loads(path.read_text())
        content['objects'].keys()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            f'{path} does not describe cameras and objects ({type(error).__name__}: {error}).',
        ) from error
    return content


def _read(path: Path) -> NDArray[np.uint8]:
    try:
        data = np.fromfile(path, np.uint8)
    except OSError as error:
        raise LiftError(
            ErrorCode.BAD_IMAGE, f'{path} cannot be read: {error.strerror}.') from error
    image = cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None
    if image is None:
        raise LiftError(ErrorCode.BAD_IMAGE, f'{path} is not a complete image file.')
    return np.ascontiguousarray(image[..., ::-1])
