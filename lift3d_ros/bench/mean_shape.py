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


"""The mean of the training objects, fitted to the size that is seen: the prior without an eye."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.bench.baselines import observed_points
from lift3d_ros.bench.baselines import up_direction
from lift3d_ros.bench.metrics import Solid
from lift3d_ros.bench.prediction import Prediction
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import frame_from_up
from lift3d_ros.geometry import rigid
from lift3d_ros.geometry.frame import bounding_box
from lift3d_ros.geometry.frame import Frame
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.synthetic.objects import ObjectEntry

#: Lattice points along each side of an object's bounding box.
_CELLS = 32

_LEVELS = np.arange(0.20, 0.75, 0.05)

#: Where depth is not given, the object is assumed this far away, metres.
ASSUMED_DISTANCE = 0.7

_GREY = 170


@dataclass(frozen=True, eq=False)
class MeanShape:
    """
    The mean shape of the training split, stretched to the extents that the view shows.

    ``mesh`` is a solid of revolution about z in the box [-0.5, 0.5]^3: the camera may stand at
    any azimuth, so that the mean is over all turns about the vertical.
    """

    mesh: Mesh
    name = 'mean'
    needs_depth = False

    @classmethod
    def read(cls, path: Path) -> MeanShape:
        """Return the shape that ``write`` has left; raises ``LiftError(BAD_REQUEST)``."""
        try:
            with np.load(path, allow_pickle=False) as pack:
                vertices, faces = pack['vertices'], pack['faces']
        except (OSError, ValueError, KeyError) as error:
            raise LiftError(
                ErrorCode.BAD_REQUEST, f'{path} is not a mean shape ({error}); delete it.'
            ) from error
        return cls(Mesh(vertices, faces, np.full(vertices.shape, _GREY, np.uint8)))

    def write(self, path: Path) -> None:
        """Write the shape as ``.npz``; it appears under its name only when it is complete."""
        partial = path.with_name(f'.{path.stem}.part.npz')
        try:
            np.savez_compressed(partial, vertices=self.mesh.vertices, faces=self.mesh.faces)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    def predict(self, frame: Frame, mask: NDArray[np.bool_], seed: int) -> Prediction:
        """Return the placed shape; raises ``LiftError``: ``NO_DEPTH_IN_MASK``, ``EMPTY_MASK``."""
        up = up_direction(frame)
        if frame.depth is None:
            T, extents = _fit_to_outline(frame, mask, up)
        else:
            T, extents = _fit_to_points(frame, mask, up)
        scaled = Mesh(
            (self.mesh.vertices * extents).astype(np.float32), self.mesh.faces, self.mesh.colors
        )
        return Prediction(mesh=scaled.transformed(T))


def average(objects: Sequence[ObjectEntry]) -> MeanShape:
    """
    Return the mean shape of objects.

    Each is probed on a lattice over its bounding box; the share of objects and turns about z that
    are solid there is cut at the level whose mean IoU with the objects is greatest. Objects that
    cannot be read are left out. Raises ``LiftError(BAD_REQUEST)`` where none is left.
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


def _occupancy(mesh: Mesh) -> NDArray[np.bool_]:
    """Return which lattice points of the mesh's bounding box are inside, (32, 32, 32) over xyz."""
    middles = (np.arange(_CELLS) + 0.5) / _CELLS
    unit_box = np.stack(np.meshgrid(middles, middles, middles, indexing='ij'), axis=-1)
    solid = Solid(mesh)
    return solid.contains(solid.low + unit_box * (solid.high - solid.low))


def _revolve(share: Array) -> Array:
    """Return a field over the box averaged over all turns about z."""
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
    mesh = Mesh(
        vertices.astype(np.float32),
        faces.astype(np.int32),
        np.full(vertices.shape, _GREY, np.uint8),
    )
    return mesh if mesh.volume() > 0.0 else Mesh(mesh.vertices, mesh.faces[:, ::-1], mesh.colors)


def _fit_to_points(
    frame: Frame, mask: NDArray[np.bool_], up: Array
) -> tuple[Array, Array]:
    """
    Return pose and extents (along the view, across it, up; metres) of the object.

    Across the view it is as wide as the mask, upwards as high as the readings. Along the view only
    the near side is seen: it is as deep as seen, and at least as the lesser of width and height.
    """
    points = observed_points(frame, mask)
    axes = frame_from_up(up, points.mean(axis=0))
    low, high = np.percentile(points @ axes, [0.5, 99.5], axis=0)
    # Surface that grazes the view has no readings; the outline is seen all the same.
    v, u = np.nonzero(mask)
    outline = frame.camera.unproject(u, v, float(np.median(points[:, 2]))) @ axes[:, 1]
    low[1], high[1] = np.percentile(outline, [0.1, 99.9])
    extents = np.maximum(high - low, 1e-3)
    extents[0] = max(extents[0], min(extents[1], extents[2]))
    middle = low + 0.5 * extents
    return rigid(axes, axes @ middle), extents


def _fit_to_outline(frame: Frame, mask: NDArray[np.bool_], up: Array) -> tuple[Array, Array]:
    """Return pose and extents of an object of which the outline alone is known."""
    left, top, right, bottom = bounding_box(mask)
    camera = frame.camera
    ray = camera.unproject((left + right - 1) / 2.0, (top + bottom - 1) / 2.0, 1.0)
    centre = ASSUMED_DISTANCE * ray / np.linalg.norm(ray)
    width = (right - left) * centre[2] / camera.fx
    seen = (bottom - top) * centre[2] / camera.fy
    sine = float(np.clip(-(centre @ up) / ASSUMED_DISTANCE, 0.0, 0.95))
    # From above, a round body of that width shows width * sin(elevation) of its top.
    height = max((seen - width * sine) / np.sqrt(1.0 - sine**2), 0.2 * seen)
    return rigid(frame_from_up(up, centre), centre), np.array([width, width, height])
