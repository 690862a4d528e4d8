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

"""Frames of synthetic rooms: what a camera sees, and what it would see from elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.geometry import Array
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import invert
from lift3d_ros.geometry import look_at
from lift3d_ros.geometry import rigid
from lift3d_ros.geometry import rotate
from lift3d_ros.geometry import spherical
from lift3d_ros.geometry import transform
from lift3d_ros.geometry.frame import Frame
from lift3d_ros.meshing.render import Rendering
from lift3d_ros.synthetic.appearance import expose
from lift3d_ros.synthetic.clutter import turn_about_z
from lift3d_ros.synthetic.rooms.layout import Room
from lift3d_ros.synthetic.sensors.basic_stereo import DepthSensor

#: Elevation of the camera over the focus, degrees, and its distance over the reach of the focus,
#: by kind of room.
_ELEVATION = {'table': (15.0, 55.0), 'shelf': (-5.0, 30.0), 'room': (10.0, 40.0)}
_DISTANCE = {'table': (1.4, 3.0), 'shelf': (1.8, 3.2), 'room': (1.6, 2.8)}

#: Least distance from a camera to a surface, metres.
_CLEARANCE_M = 0.12

#: Least number of pixels of an object with a mask.
MIN_PIXELS = 60

#: Colour where a camera looks over the walls.
_SKY = (150, 160, 175)


@dataclass(frozen=True, eq=False)
class RoomFrame:
    """
    A frame of a room, with ground truth.

    - ``frame``: image, measured depth, camera and gravity; ``truth``: without sensor errors.
    - ``masks``: bool (height, width), the visible pixels of the objects by their index, those of
      at least ``MIN_PIXELS`` per 320 x 240 pixels.
    - ``T_room_camera``: (4, 4), the pose of the camera; ``pivot``: (3,), the point of the room
      that moved cameras turn about.
    """

    room: Room
    frame: Frame
    truth: Rendering
    masks: dict[int, NDArray[np.bool_]]
    T_room_camera: Array
    pivot: Array

    def render(self, camera: Camera, T_room_camera: Array) -> Rendering:
        """Return the true image and depth of a camera."""
        return self.room.raycaster.render(
            camera, T_room_camera, self.room.light, _SKY, supersampling=2)

    def moved(self, yaw: float, pitch: float = 0.0, zoom: float = 1.0) -> Array | None:
        """
        Return ``T_room_camera`` (4, 4) after a turn about the pivot.

        ``yaw`` about the vertical and ``pitch`` upwards in degrees; ``zoom`` is a factor of the
        distance. None where the camera would be in something or next to it.
        """
        across = self.T_room_camera[:3, 0]
        lift = _turn_about(across, np.radians(-pitch))
        turn = turn_about_z(np.radians(yaw)) @ lift
        pose = rigid(
            turn @ self.T_room_camera[:3, :3],
            self.pivot + zoom * turn @ (self.T_room_camera[:3, 3] - self.pivot))
        return pose if _clear(self.room, pose[:3, 3]) else None


def make_frame(
    room: Room,
    camera: Camera,
    rng: np.random.Generator,
    sensor: DepthSensor | None = None,
) -> RoomFrame | None:
    """
    Return a frame of a random camera that looks at the focus of a room.

    None where no camera of eight draws has a free view of it.
    """
    for _ in range(8):
        azimuth = -90.0 + rng.uniform(-40.0, 40.0)
        elevation = rng.uniform(*_ELEVATION[room.kind])
        # The focus fills the width of the image at a field of view of 60 degrees.
        lens = np.tan(np.radians(30.0)) / (0.5 * camera.width / camera.fx)
        distance = max(room.reach * rng.uniform(*_DISTANCE[room.kind]) * lens, 0.45)
        eye = room.focus + spherical(azimuth, elevation, distance)
        if eye[2] < 0.15 or not _clear(room, eye):
            continue
        pose = look_at(eye, room.focus + rng.normal(0.0, 0.04, 3) * distance)
        truth = room.raycaster.render(camera, pose, room.light, _SKY, supersampling=2)
        middle = truth.depth[camera.height // 4:-camera.height // 4,
                             camera.width // 4:-camera.width // 4]
        if not (middle > 0.0).all() or np.median(middle) < 0.5 * distance:
            continue
        depth = (sensor or DepthSensor()).measure(truth, camera, rng)
        gravity = rotate(invert(pose), np.array([0.0, 0.0, -1.0]))
        frame = Frame(expose(truth.image, rng), camera, depth, gravity)
        least = MIN_PIXELS * camera.width * camera.height / (320.0 * 240.0)
        masks = {
            index: truth.instance == index for index in range(len(room.objects))
            if (truth.instance == index).sum() >= least}
        pivot = transform(pose, np.array([0.0, 0.0, float(np.median(middle))]))
        return RoomFrame(room, frame, truth, masks, pose, pivot)
    return None


def _clear(room: Room, eye: Array) -> bool:
    """Return whether nothing is near a camera."""
    if any(part.contains(eye[None], _CLEARANCE_M)[0] for part in room.furniture):
        return False
    for mesh in room.objects:
        low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
        if (np.abs(eye - 0.5 * (low + high)) < 0.5 * (high - low) + _CLEARANCE_M).all():
            return False
    return True


def _turn_about(axis: Array, angle: float) -> Array:
    """Return the rotation (3, 3) about a unit axis by ``angle`` radians (Rodrigues)."""
    x, y, z = axis
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.eye(3) + np.sin(angle) * cross + (1.0 - np.cos(angle)) * cross @ cross
