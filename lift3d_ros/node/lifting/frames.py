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

"""Frames and camera poses from the messages of one instant."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import replace
from functools import partial

from std_msgs.msg import Header

from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Array
from lift3d_ros.geometry.frame import Frame
from lift3d_ros.messages.camera_info import build_frame
from lift3d_ros.messages.camera_info import DepthSource
from lift3d_ros.msg import ObjectSelector
from lift3d_ros.node.inputs.gravity import ImuGravity
from lift3d_ros.node.inputs.transforms import Transforms
from lift3d_ros.node.lifting.instances import find_instances
from lift3d_ros.node.lifting.instances import select
from lift3d_ros.node.lifting.object_history import CameraPose
from lift3d_ros.node.lifting.object_history import Snapshot
from lift3d_ros.node.lifting.query import Query
from lift3d_ros.node.lifting.query import RequestOptions
from lift3d_ros.node.messages.synced import SyncedMessages
from lift3d_ros.node.parameters.settings import Settings


@dataclass(frozen=True, eq=False)
class FrameReader:
    """Decodes messages by the parameters, the transforms and the imu; None where not in use."""

    settings: Settings
    transforms: Transforms | None = None
    imu: ImuGravity | None = None

    def read(self, messages: SyncedMessages) -> Frame:
        """
        Return the decoded frame, with gravity where transforms or the imu give it.

        Raises ``LiftError``: ``BAD_IMAGE``, ``NO_CAMERA``, ``SIZE_MISMATCH``, ``NO_TRANSFORM``.
        """
        settings, header, gravity = self.settings, messages.header, None
        level_frame = settings.gravity_frame or settings.target_frame
        if self.transforms is not None and level_frame:
            gravity = self.transforms.gravity(
                level_frame, header.frame_id, header.stamp, settings.transform_timeout
            )
        elif self.imu is not None:
            gravity = self.imu.down(header, self.transforms, settings.transform_timeout)
        return build_frame(
            messages.image,
            messages.camera_info,
            messages.depth,
            rectified=settings.rectified,
            depth_unit=settings.depth_unit,
            gravity=gravity,
            depth_source=self._depth_source(messages),
        )

    def target(self, header: Header) -> tuple[Array | None, Header]:
        """
        Return the camera's pose in ``target_frame`` and a header with that frame.

        Without ``target_frame`` the pose is None and the header that of the image. Raises
        ``LiftError(NO_TRANSFORM)``.
        """
        frame = self.settings.target_frame
        if self.transforms is None or not frame:
            return None, header
        T = self.transforms.lookup(
            frame, header.frame_id, header.stamp, self.settings.transform_timeout
        )
        return T, Header(stamp=header.stamp, frame_id=frame)

    def camera_pose(
        self, messages: SyncedMessages, options: RequestOptions, index: int
    ) -> CameraPose | None:
        """
        Return the camera pose of a request's frame of that index, None if it is unknown.

        Raises ``LiftError(NO_TRANSFORM)``.
        """
        if options.camera_poses:
            return CameraPose(options.camera_poses[index], 'the frame of camera_poses')
        T, header = self.target(messages.header)
        return None if T is None else CameraPose(T, f'"{header.frame_id}"')

    def source_frames(self, query: Query) -> list[Snapshot]:
        """
        Return the source frames of a request; raises ``LiftError``, which names the frame.

        The mask of each shows one object; in a label image it is that of the selected label.
        """
        # Pixels and boxes of the selector belong to the first frame.
        is_label = query.selector.mode == ObjectSelector.LABEL
        selector = ObjectSelector(
            mode=ObjectSelector.LABEL if is_label else ObjectSelector.LARGEST,
            label=query.selector.label,
            class_id=query.selector.class_id,
        )
        settings = replace(self.settings, mask_source='binary', split_mask=False)
        snapshots = []
        for index, messages in enumerate(query.options.source_messages, 1):
            name = f'further image {index}'
            try:
                frame = self.read(messages)
                instances = find_instances(messages, frame, selector, settings, [])
                mask = select(instances, selector)[0].mask
                pose = self.camera_pose(messages, query.options, index)
            except LiftError as error:
                raise LiftError(error.code, f'In {name}: {error.message}') from error
            snapshots.append(Snapshot(frame, mask, pose, name))
        return snapshots

    def _depth_source(self, messages: SyncedMessages) -> DepthSource:
        """Return how the depth can be registered to the image."""
        depth, image = messages.depth, messages.header
        extrinsics: Callable[[], Array] | None = None
        if self.transforms is not None and depth is not None:
            extrinsics = partial(
                self.transforms.lookup,
                image.frame_id,
                depth.header.frame_id,
                image.stamp,
                self.settings.transform_timeout,
            )
        return DepthSource(
            messages.depth_camera_info,
            extrinsics,
            assume_registered=self.settings.depth_registration == 'assume_registered',
        )
