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

"""The solid that one view, its images under a symmetry and the support plane leave standing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import frame_from_up
from lift3d_ros.geometry import rigid
from lift3d_ros.geometry import transform
from lift3d_ros.placement.support import Support
from lift3d_ros.surface.observation import Observation
from lift3d_ros.surface.symmetry import combine
from lift3d_ros.surface.symmetry import Symmetry

#: How deep the object may reach behind what is seen of it, against its largest visible side.
MAX_DEPTH = 1.4

#: Cells along the longest side of the first, coarse lattice.
COARSE = 28


@dataclass(frozen=True, eq=False)
class SearchBox:
    """
    Where the object may be.

    - ``T_camera_up``: a frame with z up, x towards the camera, its origin amid the observed part.
    - ``low``, ``high``: corners (3,) in that frame, metres.
    - ``cells``: (n, 3) points of a coarse lattice in the optical frame that the view allows to be
      solid; each stands for ``cell_volume`` cubic metres.
    - ``area``: of the silhouette at the object's distance, square metres.
    """

    T_camera_up: Array
    low: Array
    high: Array
    cells: Array
    cell_volume: float
    area: float


def search_box(observation: Observation, support: Support) -> SearchBox:
    """
    Return the box in which the object is looked for.

    Raises ``LiftError(NO_SURFACE)`` where the observation leaves no room for a solid.
    """
    points = outline_points(observation)
    middle = np.median(points, axis=0)
    T_camera_up = rigid(frame_from_up(support.up, -middle), middle)
    local = (points - middle) @ T_camera_up[:3, :3]
    low, high = local.min(axis=0), local.max(axis=0)
    size = float((high - low).max())
    if observation.depth is None:
        low[0], high[0] = -0.5 * size, 0.5 * size
    else:
        low[0] = min(low[0], high[0] - MAX_DEPTH * size)
    # The cone of the outline widens behind the observed part.
    low[1] -= 0.15 * size
    high[1] += 0.15 * size
    low[2] -= 0.15 * size if support.offset is None else 0.0
    if support.offset is not None:
        low[2] = min(low[2], support.offset - float(support.up @ middle))
    margin = 0.03 * size
    low, high = low - margin, high + margin
    step = float((high - low).max()) / COARSE
    axes = [np.arange(a + 0.5 * step, b, step) for a, b in zip(low, high, strict=True)]
    lattice = np.stack(np.meshgrid(*axes, indexing='ij'), axis=-1).reshape(-1, 3)
    cells = transform(T_camera_up, lattice)
    cells = cells[(observation.solid(cells) > 0.0) & (support.height(cells) > 0.0)]
    if len(cells) < 8:
        raise LiftError(
            ErrorCode.NO_SURFACE,
            'The observation leaves no room for a solid; is the depth registered to the image?',
        )
    distance = float(np.median(points[:, 2]))
    area = np.count_nonzero(observation.mask) * distance**2
    area /= observation.camera.fx * observation.camera.fy
    return SearchBox(T_camera_up, low, high, cells, step**3, float(area))


def outline_points(observation: Observation) -> Array:
    """
    Return the measured points; without depth, the mask's pixels at the nominal distance.

    The nominal distance makes the longer side of the mask one metre long.
    """
    if observation.depth is not None:
        return observation.points()
    v, u = np.nonzero(observation.mask)
    side = max(np.ptp(u) / observation.camera.fx, np.ptp(v) / observation.camera.fy)
    return observation.camera.unproject(u, v, 1.0 / max(side, 1e-6))


def carve(
    observation: Observation,
    support: Support,
    symmetry: Symmetry,
    box: SearchBox,
    resolution: int,
) -> tuple[NDArray[np.float32], Array, float]:
    """
    Return the field of the solid, (nx, ny, nz) metres and positive inside.

    With it come the position of its first sample in ``box.T_camera_up`` and the voxel's edge in
    metres. The longest side of the solid spans about ``resolution`` voxels.
    """
    # First pass: the coarse cells that stay, to fit the fine grid to the object.
    stays = combine(observation, symmetry.motions, box.cells) > 0.0
    kept = np.concatenate([box.cells[stays], observation.points()])
    if not len(kept):
        raise LiftError(ErrorCode.NO_SURFACE, 'No part of the object agrees with its symmetry.')
    local = (kept - box.T_camera_up[:3, 3]) @ box.T_camera_up[:3, :3]
    edge = box.cell_volume ** (1.0 / 3.0)
    low = np.maximum(local.min(axis=0) - edge, box.low)
    high = np.minimum(local.max(axis=0) + edge, box.high)
    voxel = float((high - low).max()) / resolution
    shape = [int(np.ceil(n)) + 1 for n in (high - low) / voxel]
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing='ij'), axis=-1)
    points = transform(box.T_camera_up, low + voxel * grid.reshape(-1, 3))
    band = 3.0 * voxel
    own = observation.solid(points)
    value = np.minimum(own, support.height(points).astype(np.float32))
    near = value > -band
    others = combine(observation, symmetry.motions, points[near])
    # The measured surface stands, whatever the symmetry says: a skin behind it is kept.
    skin = skin_depth(box)
    others = np.maximum(others, np.where(own[near] > -band, skin - own[near], -band))
    value[near] = np.minimum(value[near], others)
    field = np.clip(value, -band, band).reshape(shape)
    # Less than a voxel of blur takes the steps out of the intersections' edges.
    return ndimage.gaussian_filter(field, 0.7, mode='nearest'), low, voxel


def skin_depth(box: SearchBox) -> float:
    """Return how thick a measured surface is kept where the symmetry contradicts it, metres."""
    return 0.06 * float(np.sqrt(box.area))
