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
The topics that the node listens to, and the frames that come of them.

They are taken by a node of their own in a thread of its own: rclpy looks at every service, timer
and event of an executor for each message, and with those of the lifecycle node 30 frames a second
cost most of a core and slowed the worker to a quarter.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import replace
from functools import partial
from typing import Any

from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import qos_profile_sensor_data
from rclpy.qos import QoSPolicyKind
from rclpy.qos import ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo
from sensor_msgs.msg import CompressedImage
from sensor_msgs.msg import Image
from sensor_msgs.msg import Imu

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import is_rigid
from lift3d_ros.msg import ObjectSelector
from lift3d_ros.node import transforms
from lift3d_ros.node.background import BackgroundNode
from lift3d_ros.node.conversions import nanoseconds
from lift3d_ros.node.gravity import ImuGravity
from lift3d_ros.node.parameters import Settings
from lift3d_ros.node.pipeline import Extra
from lift3d_ros.node.pipeline import Observation
from lift3d_ros.node.results import pose_matrix
from lift3d_ros.node.synchronizer import Match
from lift3d_ros.node.synchronizer import Synchronizer
from lift3d_ros.surface.several import MAX_FURTHER

#: By parameters qos_overrides.<topic>.subscription.*; the reliability has its own parameter.
_OVERRIDABLE = (QoSPolicyKind.HISTORY, QoSPolicyKind.DEPTH)

#: Topic and field with the CameraInfo of depth that is not registered to the image.
DEPTH_CAMERA_INFO = 'depth_camera_info'

#: Seconds between two looks at whether the publishers changed their reliability.
_QOS_PERIOD = 0.5

#: Seconds between two warnings that gravity is unknown.
_WARNING_PERIOD = 10.0


class Inputs:
    """Image, camera_info, mask or detections, depth, imu and transforms, until ``close``."""

    def __init__(
        self,
        node: Node,
        settings: Settings,
        overrides: list[Parameter],
        on_frame: Callable[[Observation], None],
    ) -> None:
        """
        Subscribe in the namespace and under the remaps of ``node``.

        ``overrides`` are parameters qos_overrides.*; ``on_frame`` is called in the thread of the
        subscriptions whenever messages match.
        """
        self._node = node
        self._settings = settings
        self._on_frame = on_frame
        self._subscriptions: dict[str, Subscription] = {}
        self._depth_camera_info: CameraInfo | None = None
        listener = Node(
            f'{node.get_name()}_listener',
            namespace=node.get_namespace(),
            context=node.context,
            # Names come resolved from this node, its arguments are not meant for the other.
            use_global_arguments=False,
            cli_args=transforms.remaps(node),
            parameter_overrides=overrides,
            start_parameter_services=False,
            enable_rosout=False,
        )
        self._listener = BackgroundNode(listener, node.context, threads=1)
        self.transforms: transforms.Transforms | None = None
        self.imu: ImuGravity | None = None
        if settings.use_imu:
            self.imu = ImuGravity(
                partial(node.get_logger().warning, throttle_duration_sec=_WARNING_PERIOD)
            )
        # The imu may be in the frame of the image: it needs no tree.
        if (
            settings.target_frame
            or settings.gravity_frame
            or (settings.use_imu and transforms.is_available())
        ):
            self.transforms = transforms.Transforms(listener)
        elif settings.use_depth and transforms.is_available():
            # Only depth that is not registered asks for a transform.
            self.transforms = transforms.Transforms(listener, lazy=True)
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
        kinds['camera_info'] = (CameraInfo, 'camera_info')
        if settings.use_depth:
            # No frame waits for it: registered depth has the camera of the image.
            kinds[DEPTH_CAMERA_INFO] = (CameraInfo, DEPTH_CAMERA_INFO)
        self._kinds = kinds

    def start(self) -> None:
        """Listen."""
        listener = self._listener.node
        for name, (kind, topic) in self._kinds.items():
            full = self._node.resolve_topic_name(topic)
            self._listen(listener, name, kind, full, self._reliability(full))
        if self.imu is not None:
            listener.create_subscription(
                Imu,
                self._node.resolve_topic_name('imu'),
                self.imu.add,
                qos_profile_sensor_data,
                qos_overriding_options=QoSOverridingOptions(_OVERRIDABLE),
            )
        if self._settings.reliability == 'auto':
            listener.create_timer(_QOS_PERIOD, partial(self._match_publishers, listener))

    def close(self) -> None:
        """Leave the topics, those of the transforms too."""
        self._listener.close()

    def publishers(self) -> dict[str, int]:
        """Return how many publishers each of the topics has that a frame needs."""
        return {
            name: self._node.count_publishers(subscription.topic_name)
            for name, subscription in list(self._subscriptions.items())
            if name != DEPTH_CAMERA_INFO
        }

    def newest(self, request: Any) -> Observation:
        """
        Return the newest frame that a request without an image of its own can mean.

        With a mask of its own it is the frame at the mask's stamp. Raises ``LiftError``:
        ``NO_CAMERA``, ``BAD_IMAGE``.
        """
        synchronizer = self.synchronizer
        mask = own_mask(request)
        without_mask = mask is not None or (
            request.selector.mode == ObjectSelector.BOX and not synchronizer.received('mask')
            if synchronizer.reference == 'mask' else False
        )
        without = (synchronizer.reference,) if without_mask else ()
        stamp = nanoseconds(mask.header.stamp) if mask is not None else 0
        match = synchronizer.newest(without, stamp or None)
        if match is None:
            missing_camera = (
                synchronizer.received('image') and not synchronizer.received('camera_info')
            )
            reason = synchronizer.complaint(without) or (
                'no frame within sync_tolerance of the stamp of the mask'
            )
            raise LiftError(
                ErrorCode.NO_CAMERA if missing_camera else ErrorCode.BAD_IMAGE,
                f'There is no frame to lift from: {reason}.',
            )
        observation = self._observation(match)
        return observation if mask is None else replace(observation, mask=mask, detections=None)

    def _listen(
        self, listener: Node, name: str, kind: Any, topic: str, reliability: ReliabilityPolicy
    ) -> None:
        profile = copy(qos_profile_sensor_data)
        profile.reliability = reliability
        self._subscriptions[name] = listener.create_subscription(
            kind,
            topic,
            partial(self._on_message, name),
            profile,
            qos_overriding_options=QoSOverridingOptions(_OVERRIDABLE),
        )

    def _reliability(self, topic: str) -> ReliabilityPolicy:
        """
        Return the reliability with which every publisher of a topic is heard best.

        Best effort hears all of them, but loses large images: the fragments of a message that
        exceeds the buffers of the transport are not sent again.
        """
        asked = self._settings.reliability
        if asked != 'auto':
            return ReliabilityPolicy[asked.upper()]
        publishers = self._node.get_publishers_info_by_topic(topic)
        offered = {info.qos_profile.reliability for info in publishers}
        if offered == {ReliabilityPolicy.RELIABLE}:
            return ReliabilityPolicy.RELIABLE
        return ReliabilityPolicy.BEST_EFFORT

    def _match_publishers(self, listener: Node) -> None:
        for name, old in list(self._subscriptions.items()):
            wanted = self._reliability(old.topic_name)
            if wanted != old.qos_profile.reliability and self._node.count_publishers(
                old.topic_name
            ):
                kind, topic = old.msg_type, old.topic_name
                listener.destroy_subscription(old)
                self._listen(listener, name, kind, topic, wanted)

    def _on_message(self, name: str, message: Any) -> None:
        if name == DEPTH_CAMERA_INFO:
            self._depth_camera_info = message
            return
        match = self.synchronizer.add(name, nanoseconds(message.header.stamp), message)
        if match is not None:
            self._on_frame(self._observation(match))

    def _observation(self, match: Match) -> Observation:
        return Observation(
            match.get('image'),
            match.get('camera_info'),
            match.get('depth'),
            match.get('mask'),
            match.get('detections'),
            self._depth_camera_info,
        )


def own_mask(request: Any) -> Image | None:
    """Return the mask that a request carries, None where it has no data."""
    return request.mask if len(request.mask.data) else None


def own_frame(request: Any) -> Observation | None:
    """Return the frame that a request carries, None where its image has no data."""
    if not len(request.image.data):
        return None
    depth = request.depth
    return Observation(
        request.image,
        _filled(request.camera_info),
        depth if len(depth.data) else None,
        own_mask(request),
        # Requests for views have no such field.
        depth_camera_info=_filled(getattr(request, DEPTH_CAMERA_INFO, None)),
    )


def extra_of(request: Any) -> Extra:
    """
    Return what a request says of its object beside its frame.

    Raises ``LiftError``: ``BAD_REQUEST`` for lists that do not go together, too many images and
    poses that are no rotation.
    """
    images, masks = request.further_images, request.further_masks
    infos, depths = request.further_camera_infos, request.further_depths
    depth_infos = request.further_depth_camera_infos
    count = len(images)
    if len(depth_infos) not in (0, count):
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            f'There are {count} further images and {len(depth_infos)} '
            'further_depth_camera_infos; give one for each image, or none.',
        )
    if len(masks) != count or len(infos) != count or len(depths) not in (0, count):
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            f'There are {count} further images, {len(infos)} camera infos, {len(masks)} masks and '
            f'{len(depths)} depths; give one of each for each image, or no depths.',
        )
    if count > MAX_FURTHER:
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            f'{count} further images were given; {MAX_FURTHER} can be taken at once.',
        )
    if len(request.camera_poses) not in (0, 1 + count):
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            f'There are {len(request.camera_poses)} camera poses; give one for the image and one '
            f'for each of the {count} further ones, or none.',
        )
    further = []
    for index, image in enumerate(images):
        depth = depths[index] if depths else None
        further.append(
            Observation(
                image,
                _filled(infos[index]),
                depth if depth is not None and len(depth.data) else None,
                masks[index],
                depth_camera_info=_filled(depth_infos[index]) if depth_infos else None,
            )
        )
    poses = tuple(pose_matrix(pose) for pose in request.camera_poses)
    if not all(is_rigid(T) for T in poses):
        raise LiftError(
            ErrorCode.BAD_REQUEST, 'A camera pose has an entry that is not a finite number.'
        )
    return Extra(tuple(further), poses, request.refine)


def _filled(info: CameraInfo | None) -> CameraInfo | None:
    """Return a camera_info that says something, None for an empty one."""
    return info if info is not None and (info.width or any(info.k)) else None


def detection_type() -> Any:
    """Return vision_msgs/Detection2DArray; raises ``LiftError(BAD_REQUEST)`` without it."""
    try:
        from vision_msgs.msg import Detection2DArray
    except ImportError as error:
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            'mask_source "detections" needs vision_msgs, which is not installed; install '
            'ros-$ROS_DISTRO-vision-msgs, or use a mask.',
        ) from error
    return Detection2DArray


def _image_topic(name: str, transport: str) -> tuple[Any, str]:
    return (Image, name) if transport == 'raw' else (CompressedImage, f'{name}/{transport}')
