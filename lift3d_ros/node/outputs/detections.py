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

"""Lifted objects as vision_msgs/Detection3DArray and as transforms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from geometry_msgs.msg import TransformStamped
from geometry_msgs.msg import Vector3

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.messages.results import Lifted
from lift3d_ros.node.lifting.query import Outcome
from lift3d_ros.node.messages.geometry import pose_message
from lift3d_ros.node.messages.geometry import vector_message


def detection_array_type() -> Any | None:
    """Return vision_msgs/Detection3DArray, None if vision_msgs is not installed."""
    try:
        from vision_msgs.msg import Detection3DArray
    except ImportError:
        return None
    return Detection3DArray


def detections_message(outcome: Outcome) -> Any:
    """
    Return the objects of known scale: pose with covariance, box, class, score and id.

    The class and the score are those of the detection or the request, else empty and 1.
    """
    from vision_msgs.msg import Detection3D
    from vision_msgs.msg import Detection3DArray
    from vision_msgs.msg import ObjectHypothesisWithPose

    found = []
    for lifted in metric(outcome.lifted):
        result = ObjectHypothesisWithPose()
        result.hypothesis.class_id = lifted.instance.class_id
        result.hypothesis.score = float(lifted.instance.score)
        result.pose.pose = pose_message(lifted.T_frame_object)
        result.pose.covariance = lifted.covariance.reshape(36)
        detection = Detection3D(header=lifted.header, results=[result], id=lifted.id)
        detection.bbox.center = pose_message(lifted.T_frame_object)
        detection.bbox.size = vector_message(lifted.shape.size)
        found.append(detection)
    return Detection3DArray(header=outcome.header, detections=found)


def tree_type() -> Any:
    """Return tf2_msgs/TFMessage; raises ``LiftError(BAD_REQUEST)`` where it is not installed."""
    try:
        from tf2_msgs.msg import TFMessage
    except ImportError as error:
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            'The parameter publish_tf needs tf2_msgs, which is not installed; install '
            'ros-$ROS_DISTRO-tf2-msgs, or set publish_tf to false.',
        ) from error
    return TFMessage


def transforms(outcome: Outcome, prefix: str) -> list[TransformStamped]:
    """
    Return the frames ``prefix/ID`` of the objects of known scale, at the stamp of the image.

    Without a frame_id of the image there are none, since a frame requires a parent.
    """
    if not outcome.header.frame_id:
        return []
    made = []
    for lifted in metric(outcome.lifted):
        pose = pose_message(lifted.T_frame_object)
        frame = TransformStamped(header=lifted.header, child_frame_id=f'{prefix}/{lifted.id}')
        at = pose.position
        frame.transform.translation = Vector3(x=at.x, y=at.y, z=at.z)
        frame.transform.rotation = pose.orientation
        made.append(frame)
    return made


def metric(objects: Sequence[Lifted]) -> list[Lifted]:
    """Return the objects whose scale is known."""
    return [lifted for lifted in objects if lifted.is_metric]
