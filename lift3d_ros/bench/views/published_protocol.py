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
Published renders of scans with their cameras: inputs and true images of another renderer.

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
from lift3d_ros.bench.views.task import ViewTask
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

#: Number of the input view, from obliquely above.
INPUT = 0

#: Least difference from white, in any channel, of a pixel of the object.
_MIN_DIFFERENCE = 15

#: Largest white area inside the object that belongs to it, as a share of the object; larger ones
#: are holes.
_MAX_WHITE_SHARE = 0.01

#: Smallest component of the object, as a share of the largest; smaller ones are compression noise.
_MIN_COMPONENT_SHARE = 0.02

#: Supersampling of the warp into the target lens.
_SUPERSAMPLING = 8


def find_renders(folder: Path) -> list[Path]:
    """
    Return the input renders of a folder, in the order of their names.

    Raises ``LiftError(BAD_REQUEST)`` where it has no cameras or none of the renders.
    """
    content = _cameras(folder)
    renders = [
        path for path in (folder / f'{name}_{INPUT}.jpg' for name in sorted(content['objects']))
        if path.is_file()
    ]
    if not renders:
        raise LiftError(ErrorCode.BAD_REQUEST, f'{folder} has none of the views of its objects.')
    return renders


def render_task(path: Path, size: int = SIZE) -> ViewTask:
    """
    Return the task of a render: the other views of its object.

    The target cameras stand where the published ones do, at their own distances in canonical
    units, and look at the canonical origin through the lens of Zero-1-to-3. Images from one
    position differ by a homography, which maps the published ones to the truth. Raises
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
    eyes = transform(np.linalg.inv(T), np.stack([cameras[k][:3, 3] for k in others]))
    radii = np.linalg.norm(eyes, axis=1)
    azimuths = np.degrees(np.arctan2(eyes[:, 1], eyes[:, 0]))
    elevations = np.degrees(np.arcsin(eyes[:, 2] / radii))
    poses = np.stack([orbit_pose(*pose) for pose in zip(azimuths, elevations, radii, strict=True)])
    R_object_canonical = T[:3, :3] / np.cbrt(np.linalg.det(T[:3, :3]))
    truth, targets = [], []
    for k, pose in zip(others, poses, strict=True):
        turn = (R_object_canonical @ pose[:3, :3]).T @ cameras[k][:3, :3]
        truth.append(
            _through_lens(_read(path.with_name(f'{name}_{k}.jpg')), camera, turn, size))
        azimuth = content['azimuth_deg'][k] - content['azimuth_deg'][INPUT]
        targets.append(Target((azimuth + 180.0) % 360.0 - 180.0, content['elevation_deg'][k]))
    return ViewTask(
        view, canonical, azimuths, elevations, radii, poses, np.stack(truth), targets)


def object_mask(image: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return the mask of the object in an image on white, uint8 RGB."""
    other = (image.min(axis=2) < 255 - _MIN_DIFFERENCE).astype(np.uint8)
    other = cv2.morphologyEx(other, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(other, connectivity=4)
    areas = stats[1:, cv2.CC_STAT_AREA]
    if count < 2:
        return np.zeros(image.shape[:2], np.bool_)
    mask = np.isin(labels, 1 + np.flatnonzero(areas >= _MIN_COMPONENT_SHARE * areas.max()))
    _, labels, stats, _ = cv2.connectedComponentsWithStats(
        (~mask).astype(np.uint8), connectivity=8)
    small = stats[:, cv2.CC_STAT_AREA] < _MAX_WHITE_SHARE * np.count_nonzero(mask)
    return np.asarray(mask | small[labels], np.bool_)


def _through_lens(
    image: NDArray[np.uint8], camera: Camera, turn: Array, size: int
) -> NDArray[np.uint8]:
    """
    Return an image through the lens of Zero-1-to-3, uint8 RGBA (size, size, 4) on white.

    ``turn`` (3, 3) maps directions of the image's optical frame into that of the lens.
    """
    fine = _SUPERSAMPLING * size
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
