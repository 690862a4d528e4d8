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

"""The field that one view, its images under symmetries, and the support plane carve."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.fields.occupancy_grid import OccupancyGrid
from lift3d_ros.fields.symmetry.hypotheses import Hypothesis
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import frame_from_up
from lift3d_ros.geometry import rigid
from lift3d_ros.geometry import transform
from lift3d_ros.geometry.shape import HELD
from lift3d_ros.observation.object_observation import ObjectObservation
from lift3d_ros.observation.registered_view import measured_points
from lift3d_ros.observation.registered_view import RegisteredView
from lift3d_ros.observation.support import Support
from lift3d_ros.progress import Progress

#: Largest extent of an object behind its visible part, over the longest side of that part.
MAX_DEPTH_RATIO = 1.4

#: Extent of a held object below its visible part, over the longest side of that part.
HELD_MARGIN = 0.08

#: Share of the votes from which on a point is occupied. Below one half, because missing surface
#: costs a gripper more than surplus surface.
MAJORITY_SHARE = 0.45

#: Cells along each side of the coarse lattice.
LATTICE_CELLS = 26


@dataclass(frozen=True, eq=False)
class SearchBox:
    """
    The box that contains the object.

    - ``T_camera_up``: a frame with z up, x towards the camera, its origin in the observed part.
    - ``low``, ``high``: corners (3,) in that frame, metres.
    - ``cells``: (n, 3) points in the optical frame of the cells of a coarse lattice that the view
      allows to be occupied; ``step``: (3,) metres, their edges.
    - ``area``: square metres, of the silhouette at the object's distance.
    """

    T_camera_up: Array
    low: Array
    high: Array
    cells: Array
    step: Array
    area: float

    @property
    def cell_volume(self) -> float:
        """The volume of a cell, cubic metres."""
        return float(np.prod(self.step))


def search_box(observation: ObjectObservation, support: Support) -> SearchBox:
    """
    Return the box that contains the object.

    Raises ``LiftError(NO_SURFACE)`` where the observation allows no occupied space.
    """
    points = observation.outline_points()
    middle = np.median(points, axis=0)
    T_camera_up = rigid(frame_from_up(support.up, -middle), middle)
    local = (points - middle) @ T_camera_up[:3, :3]
    low, high = local.min(axis=0), local.max(axis=0)
    size = float((high - low).max())
    if observation.depth is None:
        low[0], high[0] = -0.5 * size, 0.5 * size
    else:
        low[0] = min(low[0], high[0] - MAX_DEPTH_RATIO * size)
    # The cone of the outline gets wider behind the observed part.
    low[1] -= 0.15 * size
    high[1] += 0.15 * size
    if support.offset is not None and support.state != HELD:
        low[2] = min(low[2], support.offset - float(support.up @ middle))
    else:
        low[2] -= (0.15 if support.offset is None else HELD_MARGIN) * size
    margin = 0.03 * size
    low, high = low - margin, high + margin
    # The same number of cells along each axis, so that flat objects have inner cells too.
    step = (high - low) / LATTICE_CELLS
    axes = [a + s * (np.arange(LATTICE_CELLS) + 0.5) for a, s in zip(low, step, strict=True)]
    lattice = np.stack(np.meshgrid(*axes, indexing='ij'), axis=-1).reshape(-1, 3)
    cells = transform(T_camera_up, lattice)
    cells = cells[(observation.occupancy_bound(cells) > 0.0) & (support.height(cells) > 0.0)]
    if len(cells) < 8:
        raise LiftError(
            ErrorCode.NO_SURFACE,
            'The mask and the depth leave no occupied space; check that the depth is registered '
            'to the image.',
        )
    distance = float(np.median(points[:, 2]))
    pixel = distance**2 / (observation.camera.fx * observation.camera.fy)
    area = np.count_nonzero(observation.mask) * pixel
    return SearchBox(T_camera_up, low, high, cells, step, area)


def vote_grid(
    observation: ObjectObservation,
    hypotheses: list[Hypothesis],
    box: SearchBox,
    resolution: int,
    progress: Progress,
    sources: Sequence[RegisteredView] = (),
) -> OccupancyGrid:
    """
    Return the votes of the hypotheses as an occupancy, in ``box.T_camera_up`` and its units.

    The occupancy is one half where a share of ``MAJORITY_SHARE`` votes for solid. The longest side
    of a mesh has about ``resolution`` voxels; the votes vary slowly, so the grid has half as many.
    """
    low, high = _fit(observation, hypotheses, box, sources)
    voxel = float((high - low).max()) / (0.5 * resolution)
    points, shape = _grid(box.T_camera_up, low, high, voxel)
    votes = np.full(len(points), -1.0, np.float32)
    near = observation.occupancy_bound(points) > -2.0 * voxel
    votes[near] = vote(observation, hypotheses, points[near], 1.5 * voxel, progress)
    votes += np.float32(1.0 - 2.0 * MAJORITY_SHARE)
    if observation.depth is None and sources:
        # The visual hull of all outlines (Laurentini, 1994) is more exact than symmetries.
        votes = np.ones_like(votes)
    occupancy = (0.5 + 0.5 * votes).clip(0.0, 1.0).reshape(shape)
    return OccupancyGrid(occupancy, low, voxel)


def constrain_to_reference(
    observation: ObjectObservation,
    support: Support,
    points: Array,
    predicted: NDArray[np.float32],
    thickness: float,
    thickness_below_plane: float | None = None,
) -> NDArray[np.float32]:
    """
    Return a predicted field, (n,) metres, within the bounds of the view and the support plane.

    ``predicted`` (n,) is the depth of points (n, 3) of the optical frame inside the object. The
    measured surface overrides it: ``thickness`` metres behind it are kept, of which at most
    ``thickness_below_plane``, if given, below the plane.
    """
    height = support.height(points)
    value = np.minimum(predicted, height).astype(np.float32)
    if observation.depth is not None:
        behind, _ = observation.thickness_at(points)
        # Behind an occluder nothing of the object was measured.
        clear = observation.clear_of_occluders(points)
        kept = thickness - behind
        if thickness_below_plane is not None:
            kept = np.minimum(kept, np.maximum(height, thickness_below_plane - behind))
        np.maximum(value, np.where(clear, kept, value), out=value)
    return np.minimum(observation.occupancy_bound(points), value)


def vote(
    observation: ObjectObservation,
    hypotheses: list[Hypothesis],
    points: Array,
    band: float,
    progress: Progress,
) -> NDArray[np.float32]:
    """
    Return the weighted votes on points (n, 3) of the optical frame, (n,) from -1 to 1.

    A hypothesis votes with its signed distance, saturated at ``band`` metres.
    """
    total = np.zeros(len(points), np.float32)
    for hypothesis in hypotheses:
        progress.check()
        value = hypothesis.occupancy_bound(observation, points)
        total += np.float32(hypothesis.weight) * np.clip(value / band, -1.0, 1.0)
    return total


def _fit(
    observation: ObjectObservation,
    hypotheses: list[Hypothesis],
    box: SearchBox,
    sources: Sequence[RegisteredView],
) -> tuple[Array, Array]:
    """Return the corners in ``box.T_camera_up`` of the bounding box of the object."""
    stays = vote(observation, hypotheses, box.cells, 1e-6, Progress()) > -0.4
    if observation.depth is None and sources:
        stays[:] = True
    measured = measured_points(observation, sources)
    kept = np.concatenate([box.cells[stays], measured])
    if not len(kept):
        raise LiftError(
            ErrorCode.NO_SURFACE, 'No symmetry agrees with the observation; use another view.'
        )
    local = (kept - box.T_camera_up[:3, 3]) @ box.T_camera_up[:3, :3]
    low = np.maximum(local.min(axis=0) - box.step, box.low)
    high = np.minimum(local.max(axis=0) + box.step, box.high)
    if sources and len(measured):
        # They may have measured surface outside of every symmetry of the reference view.
        local = (measured - box.T_camera_up[:3, 3]) @ box.T_camera_up[:3, :3]
        low = np.minimum(low, local.min(axis=0) - box.step)
        high = np.maximum(high, local.max(axis=0) + box.step)
    return low, high


def _grid(
    T_camera_up: Array, low: Array, high: Array, step: float
) -> tuple[Array, tuple[int, int, int]]:
    """Return the points (n, 3) of a grid in the optical frame, and its shape."""
    nx, ny, nz = (int(n) + 1 for n in np.ceil((high - low) / step))
    shape = (nx, ny, nz)
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing='ij'), axis=-1)
    return transform(T_camera_up, low + step * grid.reshape(-1, 3)), shape
