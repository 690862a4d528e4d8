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
The subscriptions of the node, and their synchronised messages.

A separate thread serves them, see ``lift3d_ros.node.executors.listener``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo
from sensor_msgs.msg import CompressedImage
from sensor_msgs.msg import Image
from sensor_msgs.msg import Imu

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.messages.conversions import nanoseconds
from lift3d_ros.msg import ObjectSelector
from lift3d_ros.node.executors.listener import Listener
from lift3d_ros.node.inputs import transforms
from lift3d_ros.node.inputs.detections import detection_type
from lift3d_ros.node.inputs.gravity import ImuGravity
from lift3d_ros.node.inputs.synchronizer import Match
from lift3d_ros.node.inputs.synchronizer import Synchronizer
from lift3d_ros.node.inputs.topics import Arrival
from lift3d_ros.node.inputs.topics import OVERRIDABLE
from lift3d_ros.node.inputs.topics import Topic
from lift3d_ros.node.inputs.trace import Trace
from lift3d_ros.node.inputs.watch import Watch
from lift3d_ros.node.messages.synced import DEPTH_CAMERA_INFO
from lift3d_ros.node.messages.synced import nonempty
from lift3d_ros.node.messages.synced import SyncedMessages
from lift3d_ros.node.parameters.settings import Settings

#: Periods of the checks for changed publishers, for matches that became complete by time, and for
#: problems to log.
_QOS_PERIOD_S = 0.2
_SETTLE_PERIOD_S = 0.1
_WATCH_PERIOD_S = 1.0

#: Minimum seconds between two warnings that gravity is unknown.
_WARNING_PERIOD_S = 10.0


class Inputs:
    """Image, camera_info, mask or detections, depth, imu and transforms, until ``close``."""

    def __init__(
        self,
        node: Node,
        settings: Settings,
        on_frame: Callable[[SyncedMessages], None],
        is_continuous: Callable[[], bool],
    ) -> None:
        """
        Prepare the subscriptions of ``node``; ``start`` subscribes.

        ``on_frame`` is called in the thread of the subscriptions for each match. While
        ``is_continuous`` returns true, the log reports why messages do not match.
        """
        self._node = node
        self._settings = settings
        self._on_frame = on_frame
        self._is_continuous = is_continuous
        self._topics: dict[str, Topic] = {}
        self._depth_camera_info: CameraInfo | None = None
        self._listener = Listener(node)
        self.transforms: transforms.Transforms | None = None
        self.imu: ImuGravity | None = None
        if settings.use_imu:
            self.imu = ImuGravity(
                partial(node.get_logger().warning, throttle_duration_sec=_WARNING_PERIOD_S)
            )
        # Without tf2 the imu must have the frame of the image.
        if (
            settings.target_frame
            or settings.gravity_frame
            or (settings.use_imu and transforms.is_available())
        ):
            self.transforms = transforms.Transforms(self._listener)
        elif settings.use_depth and transforms.is_available():
            # Only unregistered depth needs a transform.
            self.transforms = transforms.Transforms(self._listener, lazy=True)
        kinds: dict[str, tuple[Any, str]] = {}
        if settings.mask_source == 'detections':
            kinds['detections'] = (detection_type(), 'detections')
        else:
            kinds['mask'] = _image_topic('mask', settings.mask_transport)
        kinds['image'] = _image_topic('image', settings.image_transport)
        if settings.use_depth:
            kinds['depth'] = _image_topic('depth', settings.depth_transport)
        reference, *others = kinds
        self.synchronizer = Synchronizer(
            reference,
            others,
            steady=('camera_info',),
            tolerance=settings.sync_tolerance,
            depth=settings.sync_queue_size,
        )
        self.watch = Watch(node, self._topics, self.synchronizer)
        self.trace = Trace(node.get_logger())
        kinds['camera_info'] = (CameraInfo, 'camera_info')
        if settings.use_depth:
            # Not synchronised, since registered depth has none.
            kinds[DEPTH_CAMERA_INFO] = (CameraInfo, DEPTH_CAMERA_INFO)
        self._kinds = kinds

    def start(self) -> None:
        """Subscribe, and log the topics."""
        for name, (kind, topic) in self._kinds.items():
            self._topics[name] = Topic(
                self._node,
                self._listener,
                kind,
                topic,
                self._settings.reliability,
                partial(self._on_message, name),
            )
        if self.imu is not None:
            self._listener.create_subscription(
                Imu,
                'imu',
                self._on_imu,
                qos_profile_sensor_data,
                qos_overriding_options=QoSOverridingOptions(OVERRIDABLE),
            )
        for topic in self._topics.values():
            self._node.get_logger().info(f'subscribed to {topic.description()}')
        self._listener.create_timer(_QOS_PERIOD_S, self._follow_publishers)
        self._listener.create_timer(_SETTLE_PERIOD_S, self._settle)
        self._listener.create_timer(_WATCH_PERIOD_S, self._look)

    def close(self) -> None:
        """Unsubscribe, from the transforms too."""
        self._listener.close()

    def publishers(self) -> dict[str, int]:
        """Return the number of publishers of each topic that a frame requires."""
        return {
            name: topic.publishers
            for name, topic in list(self._topics.items())
            if name != DEPTH_CAMERA_INFO
        }

    def warnings(self) -> list[str]:
        """Return problems of the received messages, a sentence each."""
        return [*self.synchronizer.irregularities().values(), *self.watch.losses().values()]

    def newest(self, request: Any) -> SyncedMessages:
        """
        Return the newest frame for a request that contains no image.

        For a request with a mask it is the frame at the stamp of the mask. Raises ``LiftError``:
        ``NO_CAMERA``, ``BAD_IMAGE``.
        """
        synchronizer = self.synchronizer
        mask = nonempty(request.mask)
        without_mask = mask is not None or (
            _is_mask_optional(request, synchronizer.reference)
            and not synchronizer.received(synchronizer.reference)
        ) or getattr(request, 'without_objects', False)
        without = (synchronizer.reference,) if without_mask else ()
        stamp = nanoseconds(mask.header.stamp) if mask is not None else 0
        match = synchronizer.newest(without, stamp or None)
        if match is None:
            missing_camera = (
                synchronizer.received('image') and not synchronizer.received('camera_info')
            )
            reason = synchronizer.unmatched_reason(without) or (
                'no frame within sync_tolerance of the stamp of the mask'
            )
            hints = [
                f' {text}.' for name, text in self.watch.missing().items() if name not in without
            ]
            raise LiftError(
                ErrorCode.NO_CAMERA if missing_camera else ErrorCode.BAD_IMAGE,
                f'There is no frame to lift from: {reason}.{"".join(hints)}',
            )
        messages = self._synced_messages(match)
        return messages if mask is None else replace(messages, mask=mask, detections=None)

    def _follow_publishers(self) -> None:
        for topic in self._topics.values():
            if topic.update():
                self._node.get_logger().info(f'publishers changed: {topic.description()}')

    def _settle(self) -> None:
        self._pass_on(self.synchronizer.settle())

    def _look(self) -> None:
        self.watch.look(self._is_continuous())

    def _on_message(self, name: str, message: Any, arrival: Arrival) -> None:
        if name == DEPTH_CAMERA_INFO:
            self._depth_camera_info = message
            return
        unstamped = name not in self.synchronizer.steady and self._stamp(message)
        stamp = nanoseconds(message.header.stamp)
        self.trace.received(name, message.header)
        self._pass_on(
            self.synchronizer.add(
                name,
                stamp,
                message,
                unstamped=unstamped,
                published=arrival.published,
                replayed=arrival.replayed,
            )
        )

    def _on_imu(self, message: Imu) -> None:
        if self._stamp(message):
            self._node.get_logger().warning(
                'imu has no stamps (they are zero): the time of arrival is used instead; set the '
                'stamps in its publisher.',
                once=True,
            )
        if self.imu is not None:
            self.imu.add(message)

    def _stamp(self, message: Any) -> bool:
        """Set a missing stamp to the time of arrival; return whether it was missing."""
        if nanoseconds(message.header.stamp):
            return False
        message.header.stamp = self._node.get_clock().now().to_msg()
        return True

    def _pass_on(self, match: Match | None) -> None:
        if match is not None:
            messages = self._synced_messages(match)
            self.trace.step('matched', messages.header)
            self._on_frame(messages)

    def _synced_messages(self, match: Match) -> SyncedMessages:
        return SyncedMessages(
            match.get('image'),
            match.get('camera_info'),
            match.get('depth'),
            match.get('mask'),
            match.get('detections'),
            self._depth_camera_info,
        )


def _image_topic(name: str, transport: str) -> tuple[Any, str]:
    return (Image, name) if transport == 'raw' else (CompressedImage, f'{name}/{transport}')


def _is_mask_optional(request: Any, reference: str) -> bool:
    """Return whether a request can do without what the topic ``reference`` selects."""
    selector = getattr(request, 'selector', None)
    # Goals of scenes have no selector: without a mask every surface is background.
    return selector is None or (selector.mode == ObjectSelector.BOX and reference == 'mask')
