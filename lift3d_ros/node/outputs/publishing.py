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
Publication of results.

A failure removes nothing: markers and obstacles of objects that could not be lifted remain, and
~/objects has the failures.
"""

from __future__ import annotations

from typing import Any
from typing import TYPE_CHECKING

from rclpy.qos import DurabilityPolicy
from rclpy.qos import QoSProfile
from rclpy.qos import ReliabilityPolicy
from sensor_msgs.msg import PointCloud2
from visualization_msgs.msg import MarkerArray

from lift3d_ros.messages import results
from lift3d_ros.messages.markers import MarkerMaker
from lift3d_ros.msg import LiftedObjectArray
from lift3d_ros.node.lifting.query import Outcome
from lift3d_ros.node.messages import cdr
from lift3d_ros.node.messages import results as ros_results
from lift3d_ros.node.messages.types import ROS
from lift3d_ros.node.outputs import detections
from lift3d_ros.node.outputs.planning_scene import collision_object_type
from lift3d_ros.node.outputs.planning_scene import PlanningScene
from lift3d_ros.node.parameters.settings import Settings

if TYPE_CHECKING:
    from lift3d_ros.node.node import LiftNode

#: Queue size of collision_object, with one message per object.
_OBSTACLE_QUEUE_DEPTH = 200

#: Queue size of /tf, as in tf2_ros.
_TF_QUEUE_DEPTH = 100

LATCHED = QoSProfile(
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)


class ResultPublisher:
    """~/objects, ~/markers, ~/points, ~/detections, /tf and collision_object."""

    def __init__(self, node: LiftNode, settings: Settings) -> None:
        """
        Create the publishers.

        Raises ``LiftError(BAD_REQUEST)`` if a parameter requires messages of a package that is not
        installed.
        """
        self._markers = MarkerMaker(ROS)
        self._frame_prefix = node.get_fully_qualified_name().lstrip('/')
        self._scene: PlanningScene | None = None
        self._obstacles: Any = None
        self._tree: Any = None
        self._tree_type: Any = None
        self._detections: Any = None
        scene = None
        if settings.planning_scene:
            scene = PlanningScene(settings.collision_geometry, settings.collision_max_vertices)
        if settings.publish_tf:
            self._tree_type = detections.tree_type()
        #: All publishers, which the node destroys.
        self.publishers: list[Any] = []

        def make(kind: Any, topic: str, qos: Any) -> Any:
            self.publishers.append(node.create_lifecycle_publisher(kind, topic, qos))
            return self.publishers[-1]

        self._objects = make(LiftedObjectArray, '~/objects', LATCHED)
        self._marker_array = make(MarkerArray, '~/markers', LATCHED)
        self._points = make(PointCloud2, '~/points', 1)
        if scene is not None:
            self._scene = scene
            self._obstacles = make(
                collision_object_type(), 'collision_object', _OBSTACLE_QUEUE_DEPTH
            )
        if self._tree_type is not None:
            self._tree = make(self._tree_type, '/tf', _TF_QUEUE_DEPTH)
        kind = detections.detection_array_type()
        if kind is not None:
            self._detections = make(kind, '~/detections', LATCHED)
        else:
            node.get_logger().info(
                '~/detections is not published: it needs vision_msgs '
                '(ros-$ROS_DISTRO-vision-msgs)',
                once=True,
            )

    def publish(self, outcome: Outcome, whole_frame: bool) -> None:
        """
        Publish objects, detections, transforms and obstacles.

        If the whole frame was lifted, obstacles that are no longer visible are removed.
        """
        self._objects.publish(cdr.serialize(array_message(outcome)))
        if outcome.is_inconclusive:
            return
        if self._detections is not None:
            self._detections.publish(detections.detections_message(outcome))
        if self._tree is not None:
            frames = detections.transforms(outcome, self._frame_prefix)
            if frames:
                self._tree.publish(self._tree_type(transforms=frames))
        if self._scene is not None:
            messages = self._scene.update(outcome.lifted, whole_frame, outcome.detected_ids)
            for message in messages:
                self._obstacles.publish(cdr.serialize(message))

    def draw(self, outcome: Outcome, settings: Settings) -> None:
        """Publish markers and points, which takes longer."""
        if outcome.is_inconclusive:
            return
        markers = self._markers.show(
            outcome.lifted,
            settings.marker_max_faces,
            settings.marker_details,
            outcome.detected_ids,
        )
        self._marker_array.publish(cdr.serialize(markers))
        if self._points.get_subscription_count():
            rows = results.points_of_all(outcome.lifted)
            self._points.publish(ros_results.cloud_message(outcome.header, rows))


def array_message(outcome: Outcome, with_mesh: bool = True) -> LiftedObjectArray:
    """Return the objects and failures of an outcome."""
    return ros_results.array_message(
        outcome.header, outcome.lifted, outcome.failures, with_mesh
    )
