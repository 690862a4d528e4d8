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
From the messages of one instant to lifted objects in the target frame.

SyncedMessages --FrameReader.read--> Frame --find_instances--> [Instance] --select--> [Instance]
--Lifter.lift_all--> [Shape] --in_frame--> [Lifted]
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
import time

import numpy as np
from numpy.typing import NDArray
from std_msgs.msg import Header

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Array
from lift3d_ros.geometry.frame import Frame
from lift3d_ros.geometry.frame import SourceView
from lift3d_ros.geometry.shape import Shape
from lift3d_ros.lifter import Lifter
from lift3d_ros.lifter import LiftRequest
from lift3d_ros.messages.masks import check_instance
from lift3d_ros.messages.results import in_frame
from lift3d_ros.messages.results import Lifted
from lift3d_ros.messages.results import Timing
from lift3d_ros.msg import ObjectSelector
from lift3d_ros.node.lifting.frames import FrameReader
from lift3d_ros.node.lifting.instances import find_instances
from lift3d_ros.node.lifting.instances import select
from lift3d_ros.node.lifting.object_history import CameraPose
from lift3d_ros.node.lifting.object_history import ObjectHistory
from lift3d_ros.node.lifting.object_history import Snapshot
from lift3d_ros.node.lifting.query import Outcome
from lift3d_ros.node.lifting.query import Query
from lift3d_ros.node.lifting.query import Report
from lift3d_ros.node.lifting.scale import hints_for
from lift3d_ros.node.lifting.scale import missing_size_note
from lift3d_ros.node.messages.synced import SyncedMessages
from lift3d_ros.node.parameters.settings import Settings
from lift3d_ros.observation.hints import UNKNOWN
from lift3d_ros.progress import StepReport
from lift3d_ros.segmentation.instances import Instance
from lift3d_ros.segmentation.object_ids import ObjectIds

#: Errors that end a job; any other error concerns one object.
_JOB_ERRORS = (ErrorCode.CANCELLED, ErrorCode.NOT_ACTIVE, ErrorCode.TIMEOUT)


@dataclass(eq=False)
class _Target:
    """An object to lift; ``result`` is its shape, or the error that prevents it."""

    name: str
    instance: Instance
    notes: list[str] = field(default_factory=list)
    result: Shape | LiftError | None = None


class LiftingPipeline:
    """Lifts the objects in a frame, and remembers their ids and frames. For one thread."""

    def __init__(self) -> None:
        """Start without known objects."""
        self._ids = ObjectIds()
        self._history = ObjectHistory()

    def clear(self) -> None:
        """Forget all objects."""
        self._ids = ObjectIds()
        self._history.clear()

    def names(self, instances: Sequence[Instance]) -> list[str]:
        """Return the ids of the objects of a whole frame; other ids are forgotten."""
        return self._ids.assign(instances, True)

    def lift(
        self,
        messages: SyncedMessages,
        query: Query,
        reader: FrameReader,
        get_lifter: Callable[[str], Lifter],
        *,
        report: Report,
        cancelled: Callable[[], bool],
        deadline: float | None,
        preview: Callable[[NDArray[np.uint8]], None] = lambda picture: None,
        timing: Timing | None = None,
    ) -> Outcome:
        """
        Lift the selected objects; an outcome without objects is valid if all were selected.

        ``preview`` receives pictures (h, w, 3) of the progress of methods that optimise.
        ``timing`` is what preceded the job; the decoding time is added to it. Raises ``LiftError``
        if the frame as a whole is unusable; errors of single objects are in the outcome.
        """
        start = time.monotonic()
        frame = reader.read(messages)
        T_target_camera, header = reader.target(messages.header)
        outcome = Outcome(header, frame)
        try:
            instances = find_instances(
                messages, frame, query.selector, reader.settings, outcome.warnings
            )
        except LiftError as error:
            if not _is_empty_detection(messages, query, error):
                raise
            return outcome
        timing = replace(timing or Timing(), decoding=time.monotonic() - start)
        pose = reader.camera_pose(messages, query.options, 0)
        targets = self._targets(instances, query, frame, pose, reader.settings, outcome)
        snapshots = self._snapshots(query, reader, len(targets))
        views = [snapshot.source_view(pose) for snapshot in snapshots]
        lifter = get_lifter(query.method)
        # Each shape has the notes of the frame already.
        common = [note for note in outcome.warnings if note not in frame.notes]
        outcome.warnings += [note for note in frame.notes if note not in outcome.warnings]
        for target in targets:
            _check(target, messages, frame)
        _lift_all(
            lifter, frame, targets, views, T_target_camera, query, reader.settings,
            report, cancelled, deadline, preview,
        )
        newest = Snapshot(frame, instances[0].mask, pose, f'the frame at {messages.stamp}')
        for target in targets:
            if isinstance(target.result, LiftError):
                outcome.failures.append((target.name, target.result))
                outcome.warnings += target.notes
                continue
            lifted = _lifted(
                target, header, frame, T_target_camera, timing, query, reader.settings
            )
            outcome.warnings += [f'{target.name}: {note}' for note in lifted.notes]
            notes = (*common, *frame.notes, *lifted.notes)
            outcome.lifted.append(replace(lifted, notes=notes))
            self._remember(target, newest, snapshots, reader.settings)
        _merge_job_errors(outcome)
        return outcome

    def _targets(
        self,
        instances: Sequence[Instance],
        query: Query,
        frame: Frame,
        pose: CameraPose | None,
        settings: Settings,
        outcome: Outcome,
    ) -> list[_Target]:
        """Return the selected objects with their ids, ``max_objects`` at most."""
        name = query.options.refine
        if name:
            instance = self._refined(instances, query, frame, pose)
            self._ids.keep(name, instance)
            return [_Target(name, instance)]
        selected = select(instances, query.selector)
        names = self._ids.assign(selected, query.selector.mode == ObjectSelector.ALL)
        limit = settings.max_objects
        if len(selected) > limit:
            outcome.warnings.append(
                f'The frame shows {len(selected)} objects, of which the first {limit} are lifted; '
                'raise max_objects to lift more.'
            )
            outcome.unlifted = names[limit:]
        return [_Target(*pair) for pair in zip(names[:limit], selected[:limit], strict=True)]

    def _refined(
        self,
        instances: Sequence[Instance],
        query: Query,
        frame: Frame,
        pose: CameraPose | None,
    ) -> Instance:
        """Return the instance of the object to refine; raises ``LiftError``."""
        name = query.options.refine
        if query.selector.mode in (ObjectSelector.ALL, ObjectSelector.LARGEST):
            return self._history.choose(name, instances, frame, pose)
        # Raises for an unknown object.
        self._history.frames(name)
        return select(instances, query.selector)[0]

    def _snapshots(self, query: Query, reader: FrameReader, count: int) -> list[Snapshot]:
        """Return the source frames of the request and those kept of the object to refine."""
        snapshots: list[Snapshot] = []
        if query.options.source_messages:
            if count != 1:
                raise LiftError(
                    ErrorCode.BAD_REQUEST,
                    f'Further images show one object, but {count} are selected; select one.',
                )
            snapshots += reader.source_frames(query)
        if query.options.refine:
            snapshots += self._history.frames(query.options.refine)
        return snapshots

    def _remember(
        self, target: _Target, newest: Snapshot, snapshots: list[Snapshot], settings: Settings
    ) -> None:
        newest = replace(newest, mask=target.instance.mask)
        frames = [newest, *snapshots][:settings.kept_frames]
        self._history.keep(
            target.name, target.result, frames, settings.kept_megabytes * 1_000_000
        )


def _check(target: _Target, messages: SyncedMessages, frame: Frame) -> None:
    """Set the notes on the mask of a target, and its error if it cannot be lifted."""
    try:
        check_instance(
            frame, target.instance, target.name, messages.mask is not None, target.notes
        )
    except LiftError as error:
        target.result = error


def _lift_all(
    lifter: Lifter,
    frame: Frame,
    targets: Sequence[_Target],
    views: Sequence[SourceView],
    T_target_camera: Array | None,
    query: Query,
    settings: Settings,
    report: Report,
    cancelled: Callable[[], bool],
    deadline: float | None,
    preview: Callable[[NDArray[np.uint8]], None],
) -> None:
    """Lift the targets that have no error yet; their results are set."""
    valid = [target for target in targets if target.result is None]
    fractions = {target.name: float(target.result is not None) for target in targets}
    names = list(fractions)

    steps: dict[int, StepReport] = {}

    def progress(place: int, stage: str, fraction: float) -> None:
        name = valid[place].name
        fractions[name] = fraction
        if stage == 'optimise' and place in steps:
            stage = f'{stage}: {steps[place]}'
        total = sum(fractions.values()) / len(fractions)
        report(stage, total, name, names.index(name), len(names))

    def on_step(place: int, step: StepReport) -> None:
        steps[place] = step
        progress(place, 'optimise', fractions[valid[place].name])
        preview(step.preview)

    shapes = lifter.lift_all(
        frame,
        [
            LiftRequest(
                target.instance.mask,
                hints_for(settings, target.instance.class_id, T_target_camera),
                tuple(views),
                settings.min_confidence,
                query.seed,
            )
            for target in valid
        ],
        progress=progress,
        cancelled=cancelled,
        deadline=deadline,
        on_step=on_step,
    )
    for target, shape in zip(valid, shapes, strict=True):
        target.result = shape


def _lifted(
    target: _Target,
    header: Header,
    frame: Frame,
    T_target_camera: Array | None,
    timing: Timing,
    query: Query,
    settings: Settings,
) -> Lifted:
    """Return a lifted object in the target frame, with the notes on it alone."""
    shape, instance = target.result, target.instance
    assert isinstance(shape, Shape)
    notes = [*target.notes, *instance.notes]
    notes += [note for note in shape.notes if note not in frame.notes]
    if shape.scale_source == UNKNOWN:
        notes.append(missing_size_note(settings, instance.class_id))
    T_target_object, covariance = in_frame(shape, T_target_camera)
    cloud = shape.cloud(settings.cloud_points, query.seed)
    return Lifted(
        header, target.name, instance, shape, T_target_object, covariance, cloud, timing,
        notes=tuple(filter(None, notes)),
    )


def _merge_job_errors(outcome: Outcome) -> None:
    """Keep one error of a job that was ended, at the front; its other objects are unlifted."""
    ended = [failure for failure in outcome.failures if failure[1].code in _JOB_ERRORS]
    if ended:
        others = [failure for failure in outcome.failures if failure not in ended]
        outcome.failures = [ended[0], *others]
        outcome.unlifted += [name for name, _ in ended[1:]]


def _is_empty_detection(messages: SyncedMessages, query: Query, error: LiftError) -> bool:
    """Return whether all objects were selected and the frame shows none, which is no failure."""
    boxes = getattr(messages.detections, 'detections', ())
    return error.code is ErrorCode.EMPTY_MASK and query.is_for_all and not boxes
