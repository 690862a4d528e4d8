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

"""What a request asks for, and the outcome."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field
from typing import Any

from std_msgs.msg import Header

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import is_rigid
from lift3d_ros.geometry.frame import Frame
from lift3d_ros.msg import ObjectSelector
from lift3d_ros.node.messages.geometry import pose_matrix
from lift3d_ros.node.messages.results import Lifted
from lift3d_ros.node.messages.synced import filled
from lift3d_ros.node.messages.synced import SyncedMessages
from lift3d_ros.observation.reference_view import MAX_SOURCE_VIEWS

#: Called with the stage, the fraction of the whole job, the object's id, its index, their number.
Report = Callable[[str, float, str, int, int], None]


@dataclass(frozen=True, eq=False)
class RequestOptions:
    """
    What a request says of its one object beside the observation.

    - ``further``: observations from other places.
    - ``poses``: of the cameras in one world, that of the observation first; empty: by tf2.
    - ``refine``: the id of the standing object that it is; empty: a new one.
    """

    further: tuple[SyncedMessages, ...] = ()
    poses: tuple[Array, ...] = ()
    refine: str = ''


@dataclass(frozen=True)
class Query:
    """What is asked about an observation."""

    selector: ObjectSelector
    method: str
    seed: int
    extra: RequestOptions = field(default_factory=lambda: RequestOptions())


@dataclass(eq=False)
class Outcome:
    """
    What came of an observation.

    - ``failures``: pairs of id and error; an empty id is the frame as a whole.
    - ``unlifted``: ids of objects that were seen and left out: there are too many, or the job
      was ended before.
    - ``frame``: what was seen, where it could be decoded.
    """

    header: Header
    frame: Frame | None = None
    lifted: list[Lifted] = field(default_factory=list)
    failures: list[tuple[str, LiftError]] = field(default_factory=list)
    unlifted: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def nothing_known(self) -> bool:
        """Whether nothing was lifted because of failures: the scene may be as it was."""
        return bool(self.failures) and not self.lifted

    @property
    def still_there(self) -> set[str]:
        """The ids of objects that were seen and not lifted: they stand where they stood."""
        return {name for name, _ in self.failures}.union(self.unlifted)

    @property
    def error(self) -> LiftError | None:
        """The first failure."""
        return self.failures[0][1] if self.failures else None


def request_options(request: Any) -> RequestOptions:
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
            f'There are {count} further images and {len(depth_infos)} further_depth_camera_infos; '
            'give one per image, or none.',
        )
    if len(masks) != count or len(infos) != count or len(depths) not in (0, count):
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            f'There are {count} further images, {len(infos)} camera infos, {len(masks)} masks and '
            f'{len(depths)} depths; give one of each for each image, or no depths.',
        )
    if count > MAX_SOURCE_VIEWS:
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            f'{count} further images were given; {MAX_SOURCE_VIEWS} can be taken at once.',
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
            SyncedMessages(
                image,
                filled(infos[index]),
                depth if depth is not None and len(depth.data) else None,
                masks[index],
                depth_camera_info=filled(depth_infos[index]) if depth_infos else None,
            )
        )
    poses = tuple(pose_matrix(pose) for pose in request.camera_poses)
    if not all(is_rigid(T) for T in poses):
        raise LiftError(
            ErrorCode.BAD_REQUEST, 'A camera pose has an entry that is not a finite number.'
        )
    return RequestOptions(tuple(further), poses, request.refine)
