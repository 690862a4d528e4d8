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
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from typing import Any

from std_msgs.msg import Header

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import is_rigid
from lift3d_ros.geometry.frame import Frame
from lift3d_ros.messages.geometry import pose_matrix
from lift3d_ros.messages.results import Lifted
from lift3d_ros.msg import ObjectSelector
from lift3d_ros.node.messages.synced import nonempty
from lift3d_ros.node.messages.synced import SyncedMessages
from lift3d_ros.observation.reference_view import MAX_SOURCE_VIEWS

#: Called with the stage, the fraction of the whole job, the id of the object, its index and the
#: number of objects.
Report = Callable[[str, float, str, int, int], None]


@dataclass(frozen=True, eq=False)
class RequestOptions:
    """
    What a request gives for its one object beside the frame.

    - ``source_messages``: source views, which the request names further images.
    - ``camera_poses``: of all frames in one world frame, the reference first; empty: use tf2.
    - ``refine``: id of the previously lifted object to refine; empty: a new object.
    """

    source_messages: tuple[SyncedMessages, ...] = ()
    camera_poses: tuple[Array, ...] = ()
    refine: str = ''


@dataclass(frozen=True)
class Query:
    """Which objects of a frame are to be lifted, and how."""

    selector: ObjectSelector
    method: str
    seed: int
    options: RequestOptions = RequestOptions()

    @property
    def is_for_all(self) -> bool:
        """Whether all objects of the frame are selected."""
        return self.selector.mode == ObjectSelector.ALL and not self.options.refine


@dataclass(eq=False)
class Outcome:
    """
    Result of a query.

    - ``frame``: the decoded frame, None if decoding failed.
    - ``failures``: pairs of id and error; the id is empty if the frame as a whole failed.
    - ``unlifted``: ids of objects that were detected and not lifted, because of ``max_objects`` or
      because the job ended early.
    """

    header: Header
    frame: Frame | None = None
    lifted: list[Lifted] = field(default_factory=list)
    failures: list[tuple[str, LiftError]] = field(default_factory=list)
    unlifted: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def is_inconclusive(self) -> bool:
        """Whether nothing was lifted because of failures, so that the scene may be unchanged."""
        return bool(self.failures) and not self.lifted

    @property
    def detected_ids(self) -> set[str]:
        """The ids of objects that were detected and not lifted; they still exist."""
        return {name for name, _ in self.failures}.union(self.unlifted)

    @property
    def error(self) -> LiftError | None:
        """The first failure."""
        return self.failures[0][1] if self.failures else None


def request_options(request: Any) -> RequestOptions:
    """
    Return the source views, camera poses and object to refine of a request.

    Raises ``LiftError(BAD_REQUEST)`` for lists of different lengths, too many images and poses
    that are not rigid.
    """
    images, poses = request.further_images, request.camera_poses
    count = len(images)
    infos = _list_per_image(request, 'further_camera_infos', count)
    masks = _list_per_image(request, 'further_masks', count)
    depths = _list_per_image(request, 'further_depths', count, optional=True)
    depth_infos = _list_per_image(request, 'further_depth_camera_infos', count, optional=True)
    if count > MAX_SOURCE_VIEWS:
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            f'{count} further images were given; give {MAX_SOURCE_VIEWS} at most.',
        )
    if len(poses) not in (0, 1 + count):
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            f'There are {len(poses)} camera poses; give one for the image and one for each of the '
            f'{count} further ones, or none.',
        )
    sources = tuple(
        SyncedMessages(
            image, nonempty(info), nonempty(depth), mask, depth_camera_info=nonempty(depth_info)
        )
        for image, info, depth, mask, depth_info in zip(
            images, infos, depths, masks, depth_infos, strict=True
        )
    )
    matrices = tuple(pose_matrix(pose) for pose in poses)
    if not all(is_rigid(T) for T in matrices):
        raise LiftError(
            ErrorCode.BAD_REQUEST, 'A camera pose has an entry that is not a finite number.'
        )
    return RequestOptions(sources, matrices, request.refine)


def _list_per_image(
    request: Any, name: str, count: int, optional: bool = False
) -> Sequence[Any]:
    """Return a list of a request with an entry per further image; raises ``LiftError``."""
    entries = getattr(request, name)
    if optional and not entries:
        return [None] * count
    if len(entries) != count:
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            f'There are {count} further images and {len(entries)} {name}; give one per '
            f'image{", or none" if optional else ""}.',
        )
    return entries
