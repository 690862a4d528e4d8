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
From the messages of one instant to the lifted objects in the target frame.

SyncedMessages --build_frame--> Frame --find_instances--> [Instance] --select--> [Instance]
--Lifter.lift_all--> [Shape] --in_frame--> [Lifted]
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import replace
import time

from std_msgs.msg import Header

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry.frame import Frame
from lift3d_ros.geometry.shape import Shape
from lift3d_ros.lifter import Lifter
from lift3d_ros.msg import ObjectSelector
from lift3d_ros.node.inputs.gravity import ImuGravity
from lift3d_ros.node.inputs.transforms import Transforms
from lift3d_ros.node.lifting.frames import camera_pose
from lift3d_ros.node.lifting.frames import read_frame
from lift3d_ros.node.lifting.frames import read_further
from lift3d_ros.node.lifting.instances import check_instance
from lift3d_ros.node.lifting.instances import find_instances
from lift3d_ros.node.lifting.instances import select
from lift3d_ros.node.lifting.object_history import CameraPose
from lift3d_ros.node.lifting.object_history import ObjectHistory
from lift3d_ros.node.lifting.object_history import Snapshot
from lift3d_ros.node.lifting.object_ids import ObjectIds
from lift3d_ros.node.lifting.query import Outcome
from lift3d_ros.node.lifting.query import Query
from lift3d_ros.node.lifting.query import Report
from lift3d_ros.node.lifting.scale import hints_for
from lift3d_ros.node.lifting.scale import missing_size_note
from lift3d_ros.node.messages.results import in_frame
from lift3d_ros.node.messages.results import Lifted
from lift3d_ros.node.messages.results import Timing
from lift3d_ros.node.messages.synced import stamp_text
from lift3d_ros.node.messages.synced import SyncedMessages
from lift3d_ros.node.parameters.settings import Settings
from lift3d_ros.observation.hints import UNKNOWN
from lift3d_ros.segmentation.instances import Instance

#: Errors that end a job; any other concerns one object.
_ENDING = (ErrorCode.CANCELLED, ErrorCode.NOT_ACTIVE, ErrorCode.TIMEOUT)


def lift_objects(
    observation: SyncedMessages,
    query: Query,
    settings: Settings,
    get_lifter: Callable[[str], Lifter],
    ids: ObjectIds,
    standing: ObjectHistory,
    transforms: Transforms | None = None,
    imu: ImuGravity | None = None,
    *,
    report: Report,
    cancelled: Callable[[], bool],
    deadline: float | None,
    timing: Timing | None = None,
) -> Outcome:
    """
    Lift the selected objects of an observation; of a mask without pixels, all are none.

    ``timing`` is what went by before; the time of the decoding is added here. Raises ``LiftError``
    where the observation as a whole is of no use; what goes wrong with one object is among the
    failures of the outcome.
    """
    start = time.monotonic()
    header, T_frame_camera = observation.header, None
    frame = read_frame(observation, settings, transforms, imu)
    if transforms is not None and settings.target_frame:
        T_frame_camera = transforms.lookup(
            settings.target_frame, header.frame_id, header.stamp, settings.transform_timeout
        )
        header = Header(stamp=header.stamp, frame_id=settings.target_frame)
    outcome = Outcome(header, frame)
    try:
        instances = find_instances(
            observation, frame, query.selector, settings, outcome.warnings
        )
    except LiftError as error:
        if not _shows_nothing(observation, query, error):
            raise
        return outcome
    timing = replace(timing or Timing(), decoding=time.monotonic() - start)
    extra = query.extra
    pose = camera_pose(observation, extra, 0, settings, transforms)
    snapshots: list[Snapshot] = []
    if extra.refine:
        found_again = choose_standing(instances, query, frame, pose, standing)
        chosen, names = [found_again], [extra.refine]
        ids.keep(extra.refine, found_again)
    else:
        chosen = select(instances, query.selector)
        names = ids.assign(chosen, query.selector.mode == ObjectSelector.ALL)
        most = settings.max_objects
        if len(chosen) > most:
            outcome.warnings.append(
                f'The frame shows {len(chosen)} objects, of which the first {most} are lifted; '
                'raise max_objects to lift more.'
            )
            outcome.unlifted = names[most:]
            chosen, names = chosen[:most], names[:most]
    if extra.further:
        if len(chosen) != 1:
            raise LiftError(
                ErrorCode.BAD_REQUEST,
                f'Further images are of one object, and {len(chosen)} are selected; select one.',
            )
        snapshots += read_further(query, settings, transforms, imu)
    if extra.refine:
        snapshots += standing.frames(extra.refine)
    views = [one.seen_from(pose) for one in snapshots]
    lifter = get_lifter(query.method)
    # What is not as it should be is known before anything is lifted.
    found: dict[int, Shape | LiftError] = {}
    # The frame's own notes are among those of each shape.
    common = [note for note in outcome.warnings if note not in frame.notes]
    outcome.warnings += [note for note in frame.notes if note not in outcome.warnings]
    doubts: list[list[str]] = [[] for _ in chosen]
    for index, (name, instance) in enumerate(zip(names, chosen, strict=True)):
        try:
            check_instance(observation, frame, instance, name, doubts[index])
        except LiftError as error:
            found[index] = error
    good = [index for index in range(len(chosen)) if index not in found]
    done = [float(index in found) for index in range(len(chosen))]

    def progress(place: int, stage: str, fraction: float) -> None:
        index = good[place]
        done[index] = fraction
        report(stage, sum(done) / len(done), names[index], index, len(done))

    shapes = lifter.lift_all(
        frame,
        [chosen[index].mask for index in good],
        further=[views] * len(good),
        min_confidence=[settings.min_confidence] * len(good),
        scale=[hints_for(settings, chosen[index].class_id, T_frame_camera) for index in good],
        seed=query.seed,
        progress=progress,
        cancelled=cancelled,
        deadline=deadline,
    )
    found.update(zip(good, shapes, strict=True))
    for index, (name, instance) in enumerate(zip(names, chosen, strict=True)):
        shape = found[index]
        if isinstance(shape, LiftError):
            outcome.failures.append((name, shape))
            outcome.warnings += doubts[index]
            continue
        own = [*instance.notes, *(note for note in shape.notes if note not in frame.notes)]
        if shape.scale_source == UNKNOWN:
            own.append(missing_size_note(settings, instance.class_id))
        own = [*doubts[index], *filter(None, own)]
        outcome.warnings += [f'{name}: {note}' for note in own]
        place, covariance = in_frame(shape, T_frame_camera)
        cloud = shape.cloud(settings.cloud_points, query.seed)
        outcome.lifted.append(
            Lifted(
                header, name, instance, shape, place, covariance, cloud, timing,
                notes=(*common, *frame.notes, *own),
            )
        )
        newest = Snapshot(frame, instance.mask, pose, f'the frame at {stamp_text(observation)}')
        frames = [newest, *snapshots][:settings.kept_frames]
        standing.keep(name, shape, frames, settings.kept_megabytes * 1_000_000)
    # A job that was ended says so once, and first.
    ended = [failure for failure in outcome.failures if failure[1].code in _ENDING]
    if ended:
        others = [failure for failure in outcome.failures if failure[1].code not in _ENDING]
        outcome.failures = [ended[0], *others]
        outcome.unlifted += [name for name, _ in ended[1:]]
    return outcome


def _shows_nothing(observation: SyncedMessages, query: Query, error: LiftError) -> bool:
    """Return whether a detector that was asked for all objects saw none, which is no failure."""
    boxes = getattr(observation.detections, 'detections', ())
    everything = query.selector.mode == ObjectSelector.ALL and not query.extra.refine
    return error.code is ErrorCode.EMPTY_MASK and everything and not boxes


def choose_standing(
    instances: Sequence[Instance],
    query: Query,
    frame: Frame,
    pose: CameraPose | None,
    standing: ObjectHistory,
) -> Instance:
    """Return the instance that the object to refine is; raises ``LiftError``."""
    if query.selector.mode in (ObjectSelector.ALL, ObjectSelector.LARGEST):
        return standing.choose(query.extra.refine, instances, frame, pose)
    standing.frames(query.extra.refine)
    return select(instances, query.selector)[0]


