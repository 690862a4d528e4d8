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

"""A whole scene: the measured surfaces of a frame, what is behind them, and its lifted objects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import invert
from lift3d_ros.geometry import transform
from lift3d_ros.geometry.frame import Frame
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.geometry.shape import Shape
from lift3d_ros.observation.hints import UNKNOWN
from lift3d_ros.scene.planes import ScenePlane
from lift3d_ros.scene.voxel_map import Occupancy
from lift3d_ros.scene.voxel_map import VoxelMap

if TYPE_CHECKING:
    from lift3d_ros.scene.radiance.scene_field import SceneField

#: ``SceneSurface.part`` of the background.
BACKGROUND = -1


@dataclass(frozen=True, eq=False)
class SceneSurface:
    """
    The surface of a scene: open, where nothing is known of its other side.

    - ``mesh``: in the optical frame of the camera, metres.
    - ``confidence``: float32 (n,), at each vertex, 0 to 1, of its position.
    - ``observed``: bool (n,), whether the camera measured the surface there.
    - ``part``: int32 (n,), the index of the lifted object, ``BACKGROUND`` for the others.
    """

    mesh: Mesh
    confidence: NDArray[np.float32]
    observed: NDArray[np.bool_]
    part: NDArray[np.int32]

    def by_measurement(self) -> dict[bool, Mesh]:
        """Return the triangles with at least two measured corners (true), and the others."""
        measured = self.observed[self.mesh.faces].sum(axis=1) >= 2
        return {
            kind: Mesh(self.mesh.vertices, self.mesh.faces[chosen], self.mesh.colors)
            for kind, chosen in ((True, measured), (False, ~measured)) if chosen.any()}

    def attributes(self) -> dict[str, NDArray[np.float32]]:
        """Return the attributes of the vertices, as the files of a mesh have them."""
        return {
            'confidence': self.confidence,
            'observed': self.observed.astype(np.float32),
            'part': self.part.astype(np.float32),
        }


@dataclass(frozen=True, eq=False)
class Scene:
    """
    What is in front of a camera, measured and predicted.

    - ``frame``: what the camera saw.
    - ``surface``: background and objects in one mesh.
    - ``voxels``: free, occupied and unknown space.
    - ``planes``: of the frame, the largest first.
    - ``objects``: by the name of the mask; the error of an object that could not be lifted, whose
      measured surface remains part of the background.
    - ``scale_source``: as in ``Shape``.
    - ``notes``: sentences on what to check; ``seconds``: of each stage and in ``total``.
    - ``field``: the radiance field of the fill ``zeronvs``, else None.
    """

    frame: Frame
    surface: SceneSurface
    voxels: VoxelMap
    planes: tuple[ScenePlane, ...]
    objects: Mapping[str, Shape | LiftError]
    scale_source: str
    notes: tuple[str, ...] = ()
    seconds: dict[str, float] = dataclass_field(default_factory=dict)
    field: SceneField | None = None

    @property
    def support(self) -> ScenePlane | None:
        """The largest plane that carries objects; None without one, or without gravity."""
        return next((plane for plane in self.planes if plane.carries), None)

    @property
    def shapes(self) -> dict[str, Shape]:
        """The objects that were lifted."""
        return {name: shape for name, shape in self.objects.items() if isinstance(shape, Shape)}

    @property
    def placed(self) -> dict[str, Shape]:
        """The objects whose meshes are in the surface, in the order of ``SceneSurface.part``."""
        return {
            name: shape for name, shape in self.shapes.items()
            if shape.scale_source != UNKNOWN or self.scale_source == UNKNOWN}


@dataclass(frozen=True, eq=False)
class HeightMap:
    """
    The highest surface over each cell of a horizontal grid, in the frame of a voxel map.

    - ``height``: float32 (nx, ny), metres along z; NaN where nothing is known.
    - ``origin``: (2,), outer corner of cell (0, 0); ``resolution``: side of a cell, metres.
    """

    height: NDArray[np.float32]
    origin: Array
    resolution: float


def height_map(scene: Scene) -> HeightMap:
    """Return the height of the surface of a scene in the cells of its voxel map."""
    grid = scene.voxels
    points = transform(grid.T_grid_camera, scene.surface.mesh.vertices)
    cells, inside = grid.index(points)
    height = np.full(grid.states.shape[:2], -np.inf, np.float32)
    np.maximum.at(height, tuple(cells[inside, :2].T), points[inside, 2].astype(np.float32))
    height[np.isinf(height)] = np.nan
    return HeightMap(height, grid.origin[:2], grid.resolution)


def unobstructed(scene: Scene, T_camera_eye: Array, steps: int = 256) -> bool:
    """
    Return whether the straight way of the camera to a pose touches no known surface.

    ``T_camera_eye`` (4, 4) is the pose in the optical frame of the frame's camera. Surfaces are
    measured or predicted; space that was not observed does not obstruct.
    """
    target = np.asarray(T_camera_eye, np.float64)[:3, 3]
    states = scene.voxels.at(np.linspace(0.0, 1.0, steps)[:, None] * target)
    return not np.isin(states, (Occupancy.OCCUPIED, Occupancy.PREDICTED)).any()


def upright_frame(up: Array | None) -> Array:
    """
    Return ``T_grid_camera`` of a frame at the camera whose z is ``up`` (3,), y away from it.

    Without ``up`` the y axis of the image points down.
    """
    z = np.array([0.0, -1.0, 0.0]) if up is None else np.asarray(up, np.float64)
    ahead = np.array([0.0, 0.0, 1.0])
    if abs(ahead @ z) > 0.99:
        # The camera looks straight down: the top of the image is ahead.
        ahead = np.array([0.0, -1.0, 0.0])
    x = np.cross(ahead, z)
    x /= np.linalg.norm(x)
    T_camera_grid = np.eye(4)
    T_camera_grid[:3, :3] = np.stack([x, np.cross(z, x), z], axis=1)
    return invert(T_camera_grid)
