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

"""Requests and outputs of posed views that the command line and the node share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import transform
from lift3d_ros.geometry.canonical import PosedViews

#: Views of a ring by default.
DEFAULT_RING_VIEWS = 8


def expand_elevations(elevations: Sequence[float], count: int) -> Array | None:
    """
    Return an elevation in degrees for each of ``count`` azimuths, (count,).

    One elevation is that of all views; without any the result is None, the elevation of the input
    camera. Raises ``LiftError(BAD_REQUEST)`` for any other number of them.
    """
    if not len(elevations):
        return None
    if len(elevations) not in (1, count):
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            f'{len(elevations)} elevations were given for {count} azimuths; give one for each, '
            'or one for all of them.',
        )
    return np.broadcast_to(np.asarray(elevations, np.float64), count).copy()


def poses_in_camera(views: PosedViews) -> Array:
    """
    Return the poses of the views in the optical frame of the input camera, (n, 4, 4).

    They are rigid; their unit is the metre if ``views.canonical.metric``.
    """
    canonical = views.canonical
    poses = np.tile(np.eye(4), (len(views.poses), 1, 1))
    poses[:, :3, :3] = canonical.T_camera_object[:3, :3] @ views.poses[:, :3, :3]
    poses[:, :3, 3] = transform(canonical.camera_from_canonical, views.poses[:, :3, 3])
    return poses


def rgba(views: PosedViews) -> NDArray[np.uint8]:
    """Return the views as RGBA images, uint8 (n, size, size, 4)."""
    return np.concatenate([views.images, views.alphas[..., None]], axis=-1)


def scale_source(views: PosedViews) -> str:
    """Return the source of the scale of ``poses_in_camera``: ``depth`` or ``unknown``."""
    return 'depth' if views.canonical.metric else 'unknown'


def image_grid(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """
    Return images (n, height, width, 3) in a grid about twice as wide as high, uint8 RGB.

    The unused cells of the last row are white.
    """
    count, height, width = images.shape[:3]
    columns = max(1, round((2.0 * count) ** 0.5))
    rows = -(-count // columns)
    cells = np.full((rows * columns, height, width, 3), 255, np.uint8)
    cells[:count] = images
    lines = cells.reshape(rows, columns, height, width, 3).swapaxes(1, 2)
    return lines.reshape(rows * height, columns * width, 3)
