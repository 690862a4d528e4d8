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
The background of a scene as boxes, for planners that check collisions with primitives.

A plane is one thin box, where nothing within its rectangle is known to be free: a wall with a door
is not. Whatever else is occupied, and belongs to no object, is a union of boxes of voxels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lift3d_ros.geometry import Array
from lift3d_ros.geometry import invert
from lift3d_ros.geometry import rigid
from lift3d_ros.geometry import transform
from lift3d_ros.scene.planes import ScenePlane
from lift3d_ros.scene.scene import Scene
from lift3d_ros.scene.voxel_map import Occupancy
from lift3d_ros.scene.voxel_map import surface_points

#: Thickness of the box of a plane, metres, behind its surface.
PLANE_THICKNESS = 0.02

#: Share of a plane's rectangle known to be free from which on it is no box.
MAX_FREE_SHARE = 0.05

#: Voxels beside a plane or an object that are taken for it: its noise and the grid's rounding.
_MARGIN_VOXELS = 1.5

#: Points along the longer side of a rectangle that tell what is free in it.
_SAMPLES = 64


@dataclass(frozen=True, eq=False)
class Box:
    """A box: its centre and axes in the optical frame, ``T_camera_box``, and its sides (3,)."""

    T_camera_box: Array
    size: Array


@dataclass(frozen=True, eq=False)
class Obstacles:
    """
    The background of a scene.

    - ``planes``: a box each; x and y of its frame along the plane, z towards the camera.
    - ``boxes``: of the rest; the axes are those of the voxel map.
    - ``notes``: how the boxes are coarser than the voxels.
    """

    planes: tuple[Box, ...]
    boxes: tuple[Box, ...]
    notes: tuple[str, ...] = ()


def background_obstacles(scene: Scene, max_boxes: int = 200) -> Obstacles:
    """
    Return the occupied background as boxes, at most ``max_boxes`` beside those of planes.

    Boxes are made of larger voxels, which contain the occupied ones, until they are few enough.
    """
    grid = scene.voxels
    occupied = np.isin(grid.states, (Occupancy.OCCUPIED, Occupancy.PREDICTED))
    T_camera_grid = invert(grid.T_grid_camera)
    _clear_objects(scene, occupied)
    planes = []
    for plane in scene.planes:
        box = _plane_box(scene, plane)
        if box is not None and _free_share(scene, box) < MAX_FREE_SHARE:
            planes.append(box)
            _clear_box(scene, occupied, box)
    factor, coarse = 1, occupied
    while (found := _merged(coarse, max_boxes)) is None:
        factor *= 2
        coarse = _coarser(occupied, factor)
    side = factor * grid.resolution
    boxes = tuple(
        Box(
            T_camera_grid @ rigid(np.eye(3), grid.origin + side * 0.5 * (low + high)),
            side * (high - low).astype(np.float64))
        for low, high in found)
    notes: tuple[str, ...] = ()
    if factor > 1:
        notes = (
            f'The background has more than {max_boxes} boxes of voxels; the obstacles are made '
            f'of voxels of {side:.3f} m.',)
    return Obstacles(tuple(planes), boxes, notes)


def _plane_box(scene: Scene, plane: ScenePlane) -> Box | None:
    """Return the box behind the smallest rectangle around the pixels of a plane."""
    camera = scene.frame.camera
    depth = plane.depth(camera)
    v, u = np.nonzero(plane.pixels & np.isfinite(depth))
    if len(v) < 3:
        return None
    points = camera.unproject(u, v, depth[v, u])
    axis = np.eye(3)[np.abs(plane.normal).argmin()]
    x = np.cross(axis, plane.normal)
    x /= np.linalg.norm(x)
    y = np.cross(plane.normal, x)
    flat = np.stack([points @ x, points @ y], axis=1).astype(np.float32)
    (a, b), (width, height), degrees = cv2.minAreaRect(flat)
    turn = np.radians(degrees)
    along = np.cos(turn) * x + np.sin(turn) * y
    R = np.stack([along, np.cross(plane.normal, along), plane.normal], axis=1)
    centre = a * x + b * y + (plane.offset - 0.5 * PLANE_THICKNESS) * plane.normal
    return Box(rigid(R, centre), np.array([width, height, PLANE_THICKNESS]))


def _free_share(scene: Scene, box: Box) -> float:
    """Return the share of the upper side of a box that is known to be free."""
    steps = np.maximum(2, np.ceil(_SAMPLES * box.size[:2] / box.size[:2].max())).astype(int)
    a, b = (np.linspace(-0.5, 0.5, count) * side
            for count, side in zip(steps, box.size[:2], strict=True))
    local = np.stack(np.meshgrid(a, b, [0.5 * box.size[2]]), axis=-1).reshape(-1, 3)
    states = scene.voxels.at(transform(box.T_camera_box, local))
    return float((states == Occupancy.FREE).mean())


def _clear_box(scene: Scene, occupied: NDArray[np.bool_], box: Box) -> None:
    """Clear the voxels in and beside a box."""
    grid = scene.voxels
    voxels = np.argwhere(occupied)
    centres = grid.origin + grid.resolution * (voxels + 0.5)
    local = transform(invert(box.T_camera_box) @ invert(grid.T_grid_camera), centres)
    near = (np.abs(local) < 0.5 * box.size + _MARGIN_VOXELS * grid.resolution).all(axis=1)
    occupied[tuple(voxels[near].T)] = False


def _clear_objects(scene: Scene, occupied: NDArray[np.bool_]) -> None:
    """Clear the voxels of the objects, which are obstacles of their own."""
    from scipy.ndimage import binary_dilation
    from scipy.ndimage import binary_fill_holes

    grid = scene.voxels
    for shape in scene.placed.values():
        mesh = shape.mesh_in_camera()
        points = surface_points(mesh.vertices, mesh.faces, grid.resolution)
        voxels, inside = grid.index(transform(grid.T_grid_camera, points))
        shell = np.zeros(occupied.shape, bool)
        shell[tuple(voxels[inside].T)] = True
        occupied &= ~binary_dilation(binary_fill_holes(shell))


def _coarser(occupied: NDArray[np.bool_], factor: int) -> NDArray[np.bool_]:
    """Return voxels of ``factor`` times the side, occupied where any of theirs is."""
    padded = np.pad(occupied, [(0, -side % factor) for side in occupied.shape])
    blocks = [part for side in padded.shape for part in (side // factor, factor)]
    return np.asarray(padded.reshape(blocks).any(axis=(1, 3, 5)))


def _merged(
    occupied: NDArray[np.bool_], limit: int
) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]] | None:
    """Return boxes that make up the occupied voxels, low and high (3,); None for too many."""
    found = []
    for box in _grown_boxes(occupied.copy()):
        found.append(box)
        if len(found) > limit:
            return None
    return found


def _grown_boxes(
    left: NDArray[np.bool_]
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Yield boxes, each grown from the first voxel that is left as far as all are occupied."""
    for start in np.argwhere(left):
        if not left[tuple(start)]:
            continue
        low, high = start, start + 1
        for axis in (2, 1, 0):
            while high[axis] < left.shape[axis]:
                layer = [slice(a, b) for a, b in zip(low, high, strict=True)]
                layer[axis] = slice(high[axis], high[axis] + 1)
                if not left[tuple(layer)].all():
                    break
                high[axis] += 1
        left[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = False
        yield low, high
