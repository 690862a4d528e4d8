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
Baselines: the measured cloud, its convex hull, its mirror image, and the mean training shape.

The first three need depth.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.spatial import QhullError

from lift3d_ros.bench import metrics
from lift3d_ros.bench.prediction import Prediction
from lift3d_ros.bench.prediction import Predictor
from lift3d_ros.bench.results import read_arrays
from lift3d_ros.bench.results import write_arrays
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import frame_from_up
from lift3d_ros.geometry import rigid
from lift3d_ros.geometry.frame import bounding_box
from lift3d_ros.geometry.frame import Frame
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.observation.support import assumed_up
from lift3d_ros.synthetic.objects import ObjectEntry

#: Depth readings of a cloud at most; more do not change a hull or a mirror image.
_MAX_POINTS = 20_000

#: Neighbours of a reading in the outlier filter.
_NEIGHBOURS = 16

#: Value of every channel of a mesh without colours.
_GREY = 170

#: Candidate symmetry planes: rotation about the vertical from perpendicular to the view, degrees,
#: and position between the nearest (0) and the farthest (1) reading along the view.
_PLANE_ANGLES_DEG = (-20.0, -10.0, 0.0, 10.0, 20.0)
_PLANE_POSITIONS = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)

#: Lattice points along each side of the mean shape's box.
_CELLS = 32

#: Candidate levels of the mean shape's surface.
_LEVELS = np.arange(0.20, 0.75, 0.05)

#: Distance of the mean shape where there is no depth, metres.
ASSUMED_DISTANCE = 0.7


class PartialCloud:
    """The depth readings in the mask."""

    def predict(self, frame: Frame, mask: NDArray[np.bool_], seed: int, **_: Any) -> Prediction:
        """Return the points; raises ``LiftError(NO_DEPTH_IN_MASK)``."""
        return Prediction(points=observed_points(frame, mask))


class ConvexHull:
    """The convex hull of the depth readings in the mask."""

    def predict(self, frame: Frame, mask: NDArray[np.bool_], seed: int, **_: Any) -> Prediction:
        """Return the hull; raises ``LiftError``: ``NO_DEPTH_IN_MASK``, ``NO_SURFACE``."""
        return Prediction(mesh=hull(observed_points(frame, mask)))


class MirroredCloud:
    """
    The depth readings and their mirror image in the most plausible vertical plane.

    The plane minimises how far mirrored points lie in front of the measured surface or beside the
    mask (Bohg et al., Mind the Gap, 2011).
    """

    def predict(self, frame: Frame, mask: NDArray[np.bool_], seed: int, **_: Any) -> Prediction:
        """Return both sets of points; raises ``LiftError(NO_DEPTH_IN_MASK)``."""
        points = observed_points(frame, mask)
        axes = frame_from_up(up_direction(frame), points.mean(axis=0))
        beside = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5)
        sample = points[:: max(len(points) // 2000, 1)]
        best, least = points, np.inf
        for turn in np.radians(_PLANE_ANGLES_DEG):
            normal = axes @ [np.cos(turn), np.sin(turn), 0.0]
            along = points @ normal
            near, far = np.percentile(along, [1.0, 99.0])
            for position in _PLANE_POSITIONS:
                offset = near + position * (far - near)
                error = _view_error(_mirror(sample, normal, offset), frame, beside)
                if error < least:
                    best, least = _mirror(points, normal, offset), error
        return Prediction(points=np.concatenate([points, best]))


@dataclass(frozen=True, eq=False)
class MeanShape:
    """
    The mean shape of the training split, scaled to the extents that the view shows.

    ``mesh`` is a solid of revolution about z in the box [-0.5, 0.5]^3: the azimuth of the camera
    is unknown, so the mean is over all rotations about the vertical.
    """

    mesh: Mesh
    name = 'mean'

    @classmethod
    def read(cls, path: Path) -> MeanShape:
        """Return the shape of a file of ``write``; raises ``LiftError(BAD_REQUEST)``."""
        arrays = read_arrays(path, 'vertices', 'faces')
        return cls(_grey_mesh(arrays['vertices'], arrays['faces']))

    def write(self, path: Path) -> None:
        """Write the shape as ``.npz``."""
        write_arrays(path, vertices=self.mesh.vertices, faces=self.mesh.faces)

    def predict(self, frame: Frame, mask: NDArray[np.bool_], seed: int, **_: Any) -> Prediction:
        """Return the placed shape; raises ``LiftError``: ``NO_DEPTH_IN_MASK``, ``EMPTY_MASK``."""
        up = up_direction(frame)
        fit = _fit_to_outline if frame.depth is None else _fit_to_points
        T, extents = fit(frame, mask, up)
        scaled = Mesh(
            (self.mesh.vertices * extents).astype(np.float32), self.mesh.faces, self.mesh.colors
        )
        return Prediction(mesh=scaled.transformed(T))


#: Baselines that need no preparation, by name; all of them need depth.
BASELINES: dict[str, Callable[[], Predictor]] = {
    'partial': PartialCloud,
    'hull': ConvexHull,
    'mirrored': MirroredCloud,
}


def average(objects: Sequence[ObjectEntry]) -> MeanShape:
    """
    Return the mean shape of objects.

    Each is sampled on a lattice over its bounding box. The mean occupancy over objects and
    rotations about z is thresholded at the level of greatest mean IoU with the objects. Objects
    that cannot be read are skipped. Raises ``LiftError(BAD_REQUEST)`` where none is left.
    """
    grids = []
    for entry in objects:
        try:
            grids.append(_occupancy(entry.load()))
        except LiftError:
            continue
    if not grids:
        raise LiftError(ErrorCode.BAD_REQUEST, 'There are no objects to take the mean shape of.')
    solids = np.stack(grids)
    revolved = _revolve(solids.mean(axis=0))
    return MeanShape(_surface(revolved, _best_level(revolved, solids)))


def observed_points(frame: Frame, mask: NDArray[np.bool_]) -> Array:
    """
    Return the depth readings in the mask, (n, 3) metres, without isolated outliers.

    A reading is an outlier where its mean distance to its 16 neighbours is more than two standard
    deviations above the mean (Rusu et al., Towards 3D Point Cloud Based Object Maps, 2008).
    Raises ``LiftError(NO_DEPTH_IN_MASK)``.
    """
    depth = np.zeros(mask.shape) if frame.depth is None else np.nan_to_num(frame.depth, posinf=0.0)
    v, u = np.nonzero(mask & (depth > 0.0))
    if len(u) <= _NEIGHBOURS:
        raise LiftError(ErrorCode.NO_DEPTH_IN_MASK, 'There are no depth readings in the mask.')
    step = -(-len(u) // _MAX_POINTS)
    u, v = u[::step], v[::step]
    points = frame.camera.unproject(u, v, depth[v, u])
    spacing = cKDTree(points).query(points, k=_NEIGHBOURS + 1)[0][:, 1:].mean(axis=1)
    return points[spacing <= spacing.mean() + 2.0 * spacing.std()]


def hull(points: Array) -> Mesh:
    """Return the grey convex hull of points (n, 3); raises ``LiftError(NO_SURFACE)``."""
    import trimesh

    try:
        solid = trimesh.convex.convex_hull(points)
    except QhullError as error:
        raise LiftError(ErrorCode.NO_SURFACE, 'The points lie in one plane.') from error
    mesh = _grey_mesh(solid.vertices, solid.faces)
    if mesh.volume() < 1e-6 * float(np.linalg.norm(np.ptp(points, axis=0))) ** 3:
        raise LiftError(ErrorCode.NO_SURFACE, 'The points lie in one plane.')
    return mesh


def up_direction(frame: Frame) -> Array:
    """Return the unit vector upwards in the optical frame, assumed where gravity is unknown."""
    return assumed_up() if frame.gravity is None else -frame.gravity


def _grey_mesh(vertices: ArrayLike, faces: ArrayLike) -> Mesh:
    v = np.asarray(vertices, np.float32)
    return Mesh(v, np.asarray(faces, np.int32), np.full(v.shape, _GREY, np.uint8))


def _mirror(points: Array, normal: Array, offset: float) -> Array:
    return np.asarray(points - 2.0 * (points @ normal - offset)[:, None] * normal)


def _view_error(points: Array, frame: Frame, beside: NDArray[np.float32]) -> float:
    """Return how far points lie in observed free space or beside the mask, mean in metres."""
    assert frame.depth is not None
    camera = frame.camera
    column, row, z = camera.project(points)
    u = np.clip(np.nan_to_num(np.rint(column)), 0, camera.width - 1).astype(int)
    v = np.clip(np.nan_to_num(np.rint(row)), 0, camera.height - 1).astype(int)
    measured = np.nan_to_num(frame.depth[v, u], posinf=0.0)
    before = np.where(measured > 0.0, np.maximum(measured - z, 0.0), 0.0)
    return float(np.mean(before + beside[v, u] * z / camera.fx))


def _occupancy(mesh: Mesh) -> NDArray[np.bool_]:
    """Return which lattice points of the mesh's bounding box are inside, (32, 32, 32) over xyz."""
    solid = metrics.Solid(mesh)
    return solid.contains(metrics.lattice_points(solid.low, solid.high, _CELLS))


def _revolve(share: Array) -> Array:
    """Return a field over the box averaged over all rotations about z."""
    middles = (np.arange(_CELLS) + 0.5) / _CELLS - 0.5
    radius = np.hypot(middles[:, None], middles[None, :])
    ring = np.rint(radius * _CELLS).astype(int)
    count = np.bincount(ring.ravel())
    return np.stack(
        [
            (np.bincount(ring.ravel(), share[:, :, k].ravel()) / np.maximum(count, 1))[ring]
            for k in range(_CELLS)
        ],
        axis=2,
    )


def _best_level(field: Array, solids: NDArray[np.bool_]) -> float:
    ious = []
    for level in _LEVELS:
        mean = field > level
        both = np.count_nonzero(solids & mean, axis=(1, 2, 3))
        either = np.count_nonzero(solids | mean, axis=(1, 2, 3))
        ious.append(np.mean(both / np.maximum(either, 1)))
    return float(_LEVELS[int(np.argmax(ious))])


def _surface(field: Array, level: float) -> Mesh:
    """Return the closed level set of a field over the box [-0.5, 0.5]^3."""
    from skimage.measure import marching_cubes

    padded = np.pad(field, 1)
    vertices, faces, _, _ = marching_cubes(padded, level, gradient_direction='ascent')
    # The middle of cell i, after padding at index i + 1, lies at (i + 0.5) / cells - 0.5.
    vertices = np.clip((vertices - 0.5) / _CELLS - 0.5, -0.5, 0.5)
    mesh = _grey_mesh(vertices, faces)
    return mesh if mesh.volume() > 0.0 else Mesh(mesh.vertices, mesh.faces[:, ::-1], mesh.colors)


def _fit_to_points(frame: Frame, mask: NDArray[np.bool_], up: Array) -> tuple[Array, Array]:
    """
    Return pose and extents (along the view, across it, up; metres) of the object.

    The width is that of the mask, the height that of the readings. Along the view only the near
    side is observed: the depth is that of the readings, at least the lesser of width and height.
    """
    points = observed_points(frame, mask)
    axes = frame_from_up(up, points.mean(axis=0))
    low, high = np.percentile(points @ axes, [0.5, 99.5], axis=0)
    # Grazing surface has no readings, but belongs to the mask.
    v, u = np.nonzero(mask)
    outline = frame.camera.unproject(u, v, float(np.median(points[:, 2]))) @ axes[:, 1]
    low[1], high[1] = np.percentile(outline, [0.1, 99.9])
    extents = np.maximum(high - low, 1e-3)
    extents[0] = max(extents[0], min(extents[1], extents[2]))
    middle = low + 0.5 * extents
    return rigid(axes, axes @ middle), extents


def _fit_to_outline(frame: Frame, mask: NDArray[np.bool_], up: Array) -> tuple[Array, Array]:
    """Return pose and extents of an object without depth, from its outline."""
    left, top, right, bottom = bounding_box(mask)
    camera = frame.camera
    ray = camera.unproject((left + right - 1) / 2.0, (top + bottom - 1) / 2.0, 1.0)
    centre = ASSUMED_DISTANCE * ray / np.linalg.norm(ray)
    width = (right - left) * centre[2] / camera.fx
    visible = (bottom - top) * centre[2] / camera.fy
    sine = float(np.clip(-(centre @ up) / ASSUMED_DISTANCE, 0.0, 0.95))
    # From above, a round body of that width shows width * sin(elevation) of its top.
    height = max((visible - width * sine) / np.sqrt(1.0 - sine**2), 0.2 * visible)
    return rigid(frame_from_up(up, centre), centre), np.array([width, width, height])
