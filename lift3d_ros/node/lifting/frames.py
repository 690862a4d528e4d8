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
from dataclasses import replace
from functools import partial

from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Array
from lift3d_ros.geometry.frame import Frame
from lift3d_ros.msg import ObjectSelector
from lift3d_ros.node.inputs.gravity import ImuGravity
from lift3d_ros.node.inputs.transforms import Transforms
from lift3d_ros.node.lifting.instances import find_instances
from lift3d_ros.node.lifting.instances import select
from lift3d_ros.node.lifting.object_history import CameraPose
from lift3d_ros.node.lifting.object_history import Snapshot
from lift3d_ros.node.lifting.query import Query
from lift3d_ros.node.lifting.query import RequestOptions
from lift3d_ros.node.messages.camera_info import build_frame
from lift3d_ros.node.messages.camera_info import DepthSource
from lift3d_ros.node.messages.synced import SyncedMessages
from lift3d_ros.node.parameters.settings import Settings


def read_frame(
    observation: SyncedMessages,
    settings: Settings,
    transforms: Transforms | None = None,
    imu: ImuGravity | None = None,
) -> Frame:
    """
    Return the decoded frame of an observation, with gravity where transforms or imu tell it.

    Raises ``LiftError``: ``BAD_IMAGE``, ``NO_CAMERA``, ``SIZE_MISMATCH``, ``NO_TRANSFORM``.
    """
    gravity, header = None, observation.header
    level = settings.gravity_frame or settings.target_frame
    if transforms is not None and level:
        gravity = transforms.gravity(
            level, header.frame_id, header.stamp, settings.transform_timeout
        )
    elif imu is not None:
        gravity = imu.down(header, transforms, settings.transform_timeout)
    return build_frame(
        observation.image,
        observation.camera_info,
        observation.depth,
        rectified=settings.rectified,
        depth_unit=settings.depth_unit,
        gravity=gravity,
        depth_source=_depth_source(observation, settings, transforms),
    )


def _depth_source(
    observation: SyncedMessages, settings: Settings, transforms: Transforms | None
) -> DepthSource:
    """Return how the depth of an observation may be registered to its image."""
    depth, image = observation.depth, observation.header
    extrinsics: Callable[[], Array] | None = None
    if transforms is not None and depth is not None:
        extrinsics = partial(
            transforms.lookup,
            image.frame_id,
            depth.header.frame_id,
            image.stamp,
            settings.transform_timeout,
        )
    return DepthSource(
        observation.depth_camera_info,
        extrinsics,
        assume_registered=settings.depth_registration == 'assume_registered',
    )


def camera_pose(
    observation: SyncedMessages,
    extra: RequestOptions,
    index: int,
    settings: Settings,
    transforms: Transforms | None,
) -> CameraPose | None:
    """
    Return the pose of the camera of a request's frame of that index, None where nothing tells it.

    Raises ``LiftError(NO_TRANSFORM)``.
    """
    if extra.poses:
        return CameraPose(extra.poses[index], 'the frame of camera_poses')
    if transforms is None or not settings.target_frame:
        return None
    header = observation.header
    T = transforms.lookup(
        settings.target_frame, header.frame_id, header.stamp, settings.transform_timeout
    )
    return CameraPose(T, f'"{settings.target_frame}"')


def read_further(
    query: Query,
    settings: Settings,
    transforms: Transforms | None,
    imu: ImuGravity | None,
) -> list[Snapshot]:
    """
    Return the further frames of a request; raises ``LiftError``, which names the frame.

    The mask of each is one object, in a label image under the label that is selected.
    """
    found = []
    # Whatever the mode says of the first frame, its pixels and boxes are not those of another.
    label = query.selector.mode == ObjectSelector.LABEL
    mode = ObjectSelector.LABEL if label else ObjectSelector.LARGEST
    selector = ObjectSelector(
        mode=mode, label=query.selector.label, class_id=query.selector.class_id
    )
    whole = replace(settings, mask_source='binary', split_mask=False)
    for index, observation in enumerate(query.extra.further, 1):
        name = f'further image {index}'
        try:
            frame = read_frame(observation, settings, transforms, imu)
            warnings: list[str] = []
            instances = find_instances(observation, frame, selector, whole, warnings)
            mask = select(instances, selector)[0].mask
            pose = camera_pose(observation, query.extra, index, settings, transforms)
        except LiftError as error:
            raise LiftError(error.code, f'In {name}: {error.message}') from error
        found.append(Snapshot(frame, mask, pose, name))
    return found
