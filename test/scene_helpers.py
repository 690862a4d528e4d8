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
"""A room of planes and boxes with exact depth, for tests of scenes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
import trimesh

from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import invert
from lift3d_ros.geometry import look_at
from lift3d_ros.geometry import rotate
from lift3d_ros.geometry.frame import Frame
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.meshing.render import Light
from lift3d_ros.meshing.render import Raycaster

CAMERA = Camera.from_fov(200, 150, 60.0)

#: Centre, size and colour of the boxes in the world, metres: floor, back wall, then the objects.
FLOOR = ((0.0, 0.0, -0.05), (4.0, 4.0, 0.1), (180, 150, 110))
WALL = ((-1.05, 0.0, 1.0), (0.1, 4.0, 2.1), (200, 200, 210))
BOXES = {
    'box': ((0.0, -0.15, 0.1), (0.2, 0.15, 0.2), (200, 60, 50)),
    'brick': ((0.15, 0.25, 0.05), (0.12, 0.2, 0.1), (40, 80, 190)),
}


@dataclass(frozen=True, eq=False)
class Room:
    """A frame, the masks of its boxes, the pose of its camera, and the mesh of all."""

    frame: Frame
    masks: dict[str, NDArray[np.bool_]]
    T_world_camera: NDArray[np.float64]
    raycaster: Raycaster


def box(centre, size, color) -> Mesh:
    """Return a box in the world."""
    made = trimesh.creation.box(size)
    vertices = (made.vertices + np.asarray(centre)).astype(np.float32)
    colors = np.tile(np.asarray(color, np.uint8), (len(vertices), 1))
    return Mesh(vertices, made.faces.astype(np.int32), colors)


def make_room(camera: Camera = CAMERA, eye=(1.3, 0.1, 0.8), boxes=tuple(BOXES)) -> Room:
    """Return a room that a camera at ``eye`` sees, without noise."""
    meshes = [box(*FLOOR), box(*WALL), *(box(*BOXES[name]) for name in boxes)]
    raycaster = Raycaster(meshes)
    pose = look_at(eye, (0.0, 0.05, 0.1))
    seen = raycaster.render(camera, pose, Light(ambient=1.0, diffuse=0.0), supersampling=1)
    gravity = rotate(invert(pose), np.array([0.0, 0.0, -1.0]))
    frame = Frame(seen.image, camera, seen.depth, gravity)
    masks = {name: seen.instance == 2 + index for index, name in enumerate(boxes)}
    return Room(frame, masks, pose, raycaster)
