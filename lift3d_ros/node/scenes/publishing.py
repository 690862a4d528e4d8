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

"""Publication of scenes: ~/scene_points, ~/scene_marker, and the background for MoveIt."""

from __future__ import annotations

from typing import Any
from typing import TYPE_CHECKING

from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Header
from visualization_msgs.msg import Marker

from lift3d_ros.messages import scenes
from lift3d_ros.messages.markers import reduced
from lift3d_ros.node.messages import cdr
from lift3d_ros.node.messages import results
from lift3d_ros.node.messages.types import ROS
from lift3d_ros.node.outputs.planning_scene import collision_object_type
from lift3d_ros.node.outputs.publishing import LATCHED
from lift3d_ros.node.parameters.settings import Settings
from lift3d_ros.node.scenes.lifting import LiftedScene
from lift3d_ros.node.scenes.obstacles import BackgroundObstacles
from lift3d_ros.node.scenes.obstacles import collision_object

if TYPE_CHECKING:
    from lift3d_ros.node.node import LiftNode

#: Queue size of collision_object.
_OBSTACLE_QUEUE_DEPTH = 50


class ScenePublisher:
    """~/scene_points, ~/scene_marker and collision_object."""

    def __init__(self, node: LiftNode, settings: Settings) -> None:
        """
        Create the publishers.

        Raises ``LiftError(BAD_REQUEST)`` without moveit_msgs if planning_scene is set.
        """
        self._node = node
        self._background: BackgroundObstacles | None = None
        self._obstacles: Any = None
        self._kind = kind = collision_object_type() if settings.planning_scene else None
        self._points = node.create_lifecycle_publisher(PointCloud2, '~/scene_points', LATCHED)
        self._marker = node.create_lifecycle_publisher(Marker, '~/scene_marker', LATCHED)
        #: All publishers, which the node destroys.
        self.publishers = [self._points, self._marker]
        if kind is not None:
            self._background = BackgroundObstacles()
            self._obstacles = node.create_lifecycle_publisher(
                kind, 'collision_object', _OBSTACLE_QUEUE_DEPTH)
            self.publishers.append(self._obstacles)

    def publish(self, lifted: LiftedScene, settings: Settings) -> tuple[str, ...]:
        """Publish the points and the obstacles; return notes on the obstacles."""
        header = lifted.outcome.header
        rows = scenes.scene_points(
            lifted.scene, lifted.T_frame_camera, settings.scene_points, settings.seed)
        self._points.publish(results.cloud_message(header, rows))
        if self._background is None:
            return ()
        changes, notes = self._background.update(lifted.scene, settings.scene_boxes)
        for change in changes:
            message = collision_object(self._kind, header, change, lifted.T_frame_camera)
            self._obstacles.publish(cdr.serialize(message))
        return notes

    def draw(self, lifted: LiftedScene, settings: Settings) -> None:
        """Publish the marker, whose mesh takes a second to reduce."""
        header: Header = lifted.outcome.header
        mesh = reduced(lifted.scene.surface.mesh, settings.scene_marker_max_faces)
        self._marker.publish(cdr.serialize(
            scenes.scene_marker(ROS, header, mesh, lifted.T_frame_camera)))
