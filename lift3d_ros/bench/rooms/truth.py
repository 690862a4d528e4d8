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

"""The rooms of the benchmark: a frame, moved cameras, and what they would reveal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.errors import bad_request
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import invert
from lift3d_ros.geometry import transform
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.meshing.render import Rendering
from lift3d_ros.scene.planes import depth_tolerance
from lift3d_ros.synthetic.objects import ObjectEntry
from lift3d_ros.synthetic.rooms.frames import make_frame
from lift3d_ros.synthetic.rooms.frames import RoomFrame
from lift3d_ros.synthetic.rooms.layout import make_room

#: Turns of the cameras that the views are measured at, degrees.
ANGLES = (10, 25, 40)

#: The input camera, and the size of a measured view: that of the input over ``VIEW_STRIDE``.
CAMERA = Camera.from_fov(320, 240, 62.0)
VIEW_STRIDE = 2

#: Turns and lifts of the cameras that tell which hidden surface can be revealed, degrees.
_RING = tuple((yaw, pitch) for yaw in (-60, -40, -25, 25, 40, 60) for pitch in (0, 20))

#: Points on all surfaces of a room.
_POINTS = 150_000

#: Distance of a true point from the depth of a camera within which it is visible, metres.
_VISIBLE_M = 0.01

#: Rooms that are tried for one in which the cameras have a free view.
_DRAWS = 12


@dataclass(frozen=True, eq=False)
class TrueView:
    """
    A view of a moved camera.

    - ``T_camera_eye``: its pose in the optical frame of the input; ``truth``: what it sees.
    - ``hidden``: bool (height, width), the pixels of surface that lies in the input image behind
      what the input camera sees.
    """

    degrees: int
    T_camera_eye: Array
    truth: Rendering
    hidden: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class BenchRoom:
    """
    A room of the benchmark.

    - ``views``: one for each of ``ANGLES``.
    - ``hidden``: (n, 3) points of hidden surface in the optical frame of the input that a moved
      camera would reveal; ``of_object``: bool (n,), which are of an object.
    """

    made: RoomFrame
    views: tuple[TrueView, ...]
    hidden: Array
    of_object: NDArray[np.bool_]


def view_camera() -> Camera:
    """Return the camera of the measured views."""
    return CAMERA.crop(
        -0.5, -0.5, CAMERA.width // VIEW_STRIDE, CAMERA.height // VIEW_STRIDE, 1.0 / VIEW_STRIDE,
        1.0 / VIEW_STRIDE)


def make_bench_room(number: int, entries: Sequence[ObjectEntry], seed: int) -> BenchRoom:
    """
    Return a room with objects of ``entries``.

    Raises ``LiftError(BAD_REQUEST)`` where no draw has free views, for instance without objects
    of the size of a table.
    """
    entries = [entry for entry in entries if entry.solid and entry.colored] or list(entries)

    def draw(rng: np.random.Generator) -> Mesh:
        return entries[rng.integers(len(entries))].load()

    for attempt in range(_DRAWS):
        rng = np.random.default_rng([seed, number, attempt, 0xBE9C4])
        room = make_room(int(rng.integers(2**62)), draw)
        made = make_frame(room, CAMERA, rng)
        if made is None or not made.masks:
            continue
        sides = (1, -1) if rng.random() < 0.5 else (-1, 1)
        for side in sides:
            poses = [made.moved(side * degrees) for degrees in ANGLES]
            free = [pose for pose in poses if pose is not None]
            if len(free) == len(poses):
                views = tuple(
                    _true_view(made, degrees, pose)
                    for degrees, pose in zip(ANGLES, free, strict=True))
                if all(view.hidden.sum() > 100 for view in views):
                    hidden, of_object = hidden_surface_points(made, rng)
                    if len(hidden) > 200:
                        return BenchRoom(made, views, hidden, of_object)
    raise bad_request(
        f'Room {number} has no free views in {_DRAWS} draws; choose another seed or objects.')


def _true_view(made: RoomFrame, degrees: int, pose: Array) -> TrueView:
    camera = view_camera()
    T = invert(made.T_room_camera) @ pose
    truth = made.render(camera, pose)
    points = transform(T, camera.rays() * truth.depth[..., None]).reshape(-1, 3)
    hidden = hidden_points(made, points).reshape(truth.depth.shape)
    return TrueView(degrees, T, truth, hidden & (truth.depth > 0.0))


def hidden_points(made: RoomFrame, points: Array) -> NDArray[np.bool_]:
    """Return which points (n, 3) of the optical frame are in the image, behind what is seen."""
    camera, depth = made.frame.camera, made.truth.depth
    u, v, z = camera.project(points)
    with np.errstate(invalid='ignore'):
        inside = (z > 0.0) & (u > 0.0) & (v > 0.0) & (u < camera.width - 1)
        inside &= v < camera.height - 1
    column = np.rint(np.where(inside, u, 0.0)).astype(np.intp)
    row = np.rint(np.where(inside, v, 0.0)).astype(np.intp)
    before = depth[row, column]
    return np.asarray(inside & (before > 0.0) & (z > before + 2.0 * depth_tolerance(before)))


def hidden_surface_points(
    made: RoomFrame, rng: np.random.Generator
) -> tuple[Array, NDArray[np.bool_]]:
    """Return the points of ``BenchRoom.hidden``, and which are of an object."""
    T = invert(made.T_room_camera)
    points, owners = [], []
    areas = [_area(mesh) for mesh in made.room.meshes]
    for index, (mesh, area) in enumerate(zip(made.room.meshes, areas, strict=True)):
        # Small objects count by their area too, but with at least some points.
        count = max(int(_POINTS * area / sum(areas)), 300)
        face, weights = mesh.sample(count, rng)
        corners = mesh.vertices[mesh.faces[face]].astype(np.float64)
        points.append(transform(T, np.einsum('ijk,ij->ik', corners, weights)))
        # The density is uneven: a point is kept in proportion to the area that it stands for.
        keep = rng.random(count) < _POINTS * area / sum(areas) / count
        points[-1] = points[-1][keep]
        owners.append(np.full(int(keep.sum()), index < len(made.room.objects)))
    candidates, of_object = np.concatenate(points), np.concatenate(owners)
    kept = hidden_points(made, candidates)
    candidates, of_object = candidates[kept], of_object[kept]
    seen = np.zeros(len(candidates), bool)
    camera = view_camera()
    for yaw, pitch in _RING:
        pose = made.moved(yaw, pitch)
        if pose is None:
            continue
        depth = made.room.raycaster.render(camera, pose, supersampling=1).depth
        local = transform(invert(pose) @ made.T_room_camera, candidates)
        u, v, z = camera.project(local)
        with np.errstate(invalid='ignore'):
            inside = (z > 0.0) & (u > 0.0) & (v > 0.0) & (u < camera.width - 1)
            inside &= v < camera.height - 1
        column = np.rint(np.where(inside, u, 0.0)).astype(np.intp)
        row = np.rint(np.where(inside, v, 0.0)).astype(np.intp)
        seen |= inside & (np.abs(depth[row, column] - z) < _VISIBLE_M + 0.01 * z)
    return candidates[seen], of_object[seen]


def _area(mesh: Mesh) -> float:
    a, b, c = (mesh.vertices[mesh.faces[:, k]].astype(np.float64) for k in range(3))
    return 0.5 * float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum())
