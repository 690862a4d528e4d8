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


"""Lifted objects as obstacles of MoveIt's planning scene."""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Sequence
from typing import Any

from geometry_msgs.msg import Pose
from std_msgs.msg import Header

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.messages.results import Lifted
from lift3d_ros.node.messages.geometry import pose_message
from lift3d_ros.node.messages.results import mesh_message
from lift3d_ros.robot.collision import collision_meshes


def collision_object_type() -> Any:
    """Return moveit_msgs/CollisionObject; raises ``LiftError(BAD_REQUEST)`` without it."""
    try:
        from moveit_msgs.msg import CollisionObject
    except ImportError as error:
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            'The parameter planning_scene needs moveit_msgs, which is not installed; install '
            'ros-<distro>-moveit-msgs, or set planning_scene to false.',
        ) from error
    return CollisionObject


class PlanningScene:
    """Synchronises the obstacles of a planning scene with the lifted objects."""

    def __init__(self, geometry: str = 'mesh', max_vertices: int = 1000) -> None:
        """
        Start without obstacles.

        ``geometry`` and ``max_vertices`` are those of ``collision_meshes`` for each object. Raises
        ``LiftError(BAD_REQUEST)`` without moveit_msgs.
        """
        self._type = collision_object_type()
        self._geometry, self._max_vertices = geometry, max_vertices
        self._shown: dict[str, Header] = {}

    def update(
        self, objects: Sequence[Lifted], whole_frame: bool, keep: Collection[str] = ()
    ) -> list[Any]:
        """
        Return the moveit_msgs/CollisionObject messages that update the scene.

        Objects are added, or replaced by id; objects of unknown scale are omitted. If the whole
        frame was lifted, missing objects are removed, except for the ids in ``keep``, which were
        detected and not lifted.
        """
        # Keyword arguments only: versions of MoveIt have different fields.
        messages = []
        known = {o.id: o for o in objects if o.shape.scale_source != 'unknown'}
        if whole_frame:
            gone = [name for name in self._shown if name not in known and name not in keep]
            for name in gone:
                header = self._shown.pop(name)
                messages.append(
                    self._type(header=header, id=name, operation=self._type.REMOVE)
                )
        for name, lifted in known.items():
            meshes = collision_meshes(lifted.shape.mesh, self._geometry, self._max_vertices)
            self._shown[name] = lifted.header
            messages.append(
                self._type(
                    header=lifted.header,
                    id=name,
                    pose=pose_message(lifted.T_frame_object),
                    meshes=[mesh_message(mesh) for mesh in meshes],
                    mesh_poses=[Pose() for _ in meshes],
                    operation=self._type.ADD,
                )
            )
        return messages
