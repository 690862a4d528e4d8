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

"""The background of a scene as obstacles of MoveIt's planning scene."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from std_msgs.msg import Header

from lift3d_ros.geometry import Array
from lift3d_ros.geometry import invert
from lift3d_ros.node.messages.geometry import pose_message
from lift3d_ros.observation.hints import UNKNOWN
from lift3d_ros.scene.obstacles import background_obstacles
from lift3d_ros.scene.obstacles import Box
from lift3d_ros.scene.scene import Scene

#: Id of the obstacle with the boxes of voxels, and those of the planes before their number.
BACKGROUND_ID, PLANE_ID = 'scene_background', 'scene_plane_'


@dataclass(frozen=True, eq=False)
class Change:
    """An obstacle that is added or replaced by its ``id``; removed if it has no boxes."""

    id: str
    boxes: tuple[Box, ...] = ()


class BackgroundObstacles:
    """Tracks which obstacles of the background a planning scene has."""

    def __init__(self) -> None:
        """Start without obstacles."""
        self._shown: set[str] = set()

    def update(self, scene: Scene, max_boxes: int) -> tuple[list[Change], tuple[str, ...]]:
        """
        Return the changes that replace the background by that of a scene, and notes.

        A scene of unknown scale changes nothing.
        """
        if scene.scale_source == UNKNOWN:
            return [], ('A scene without scale is no obstacle; the planning scene is unchanged.',)
        obstacles = background_obstacles(scene, max_boxes)
        found = {f'{PLANE_ID}{number}': (box,) for number, box in enumerate(obstacles.planes)}
        if obstacles.boxes:
            found[BACKGROUND_ID] = obstacles.boxes
        gone = [Change(name) for name in sorted(self._shown.difference(found))]
        self._shown = set(found)
        return [*gone, *(Change(name, boxes) for name, boxes in found.items())], obstacles.notes


def collision_object(kind: Any, header: Header, change: Change, T_frame_camera: Array) -> Any:
    """
    Return a change as a message of ``kind``, moveit_msgs/CollisionObject.

    ``T_frame_camera`` is the pose of the optical frame in that of the header.
    """
    from shape_msgs.msg import SolidPrimitive

    if not change.boxes:
        return kind(header=header, id=change.id, operation=kind.REMOVE)
    # The poses of the primitives are relative to that of the object.
    first = change.boxes[0].T_camera_box
    return kind(
        header=header,
        id=change.id,
        pose=pose_message(T_frame_camera @ first),
        primitives=[
            SolidPrimitive(type=SolidPrimitive.BOX, dimensions=box.size.tolist())
            for box in change.boxes],
        primitive_poses=[
            pose_message(invert(first) @ box.T_camera_box) for box in change.boxes],
        operation=kind.ADD,
    )
