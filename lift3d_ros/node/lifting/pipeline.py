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

Observation --build_frame--> Frame --find_instances--> [Instance] --select--> [Instance]
--Lifter.lift_all--> [Shape] --in_frame--> [Lifted]
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from functools import partial
import time
from typing import Any

import numpy as np
from sensor_msgs.msg import CameraInfo
from sensor_msgs.msg import CompressedImage
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Array
from lift3d_ros.geometry.frame import Frame
from lift3d_ros.geometry.shape import Shape
from lift3d_ros.io import masks
from lift3d_ros.lifter import Lifter
from lift3d_ros.msg import ObjectSelector
from lift3d_ros.node.inputs.gravity import ImuGravity
from lift3d_ros.node.inputs.transforms import Transforms
from lift3d_ros.node.lifting import selection
from lift3d_ros.node.lifting.scale import hints_for
from lift3d_ros.node.lifting.scale import missing_size_note
from lift3d_ros.node.lifting.selection import Detection
from lift3d_ros.node.lifting.selection import IdKeeper
from lift3d_ros.node.lifting.selection import Instance
from lift3d_ros.node.lifting.standing import CameraPose
from lift3d_ros.node.lifting.standing import Snapshot
from lift3d_ros.node.lifting.standing import Standing
from lift3d_ros.node.messages import conversions
from lift3d_ros.node.messages.camera_info import build_frame
from lift3d_ros.node.messages.camera_info import DepthSource
from lift3d_ros.node.messages.camera_info import undistort_mask
from lift3d_ros.node.messages.results import in_frame
from lift3d_ros.node.messages.results import Lifted
from lift3d_ros.node.messages.results import Timing
from lift3d_ros.node.parameters.settings import Settings
from lift3d_ros.observation.hints import UNKNOWN

#: Called with the stage, the fraction of the whole job, the object's id, its index, their number.
Report = Callable[[str, float, str, int, int], None]

#: Errors that end a job; any other concerns one object.
_ENDING = (ErrorCode.CANCELLED, ErrorCode.NOT_ACTIVE, ErrorCode.TIMEOUT)


@dataclass(frozen=True, eq=False)
class Observation:
    """
    The messages of one instant, not decoded yet.

    ``depth_camera_info`` is of depth that may not be registered to the image.
    """

    image: Image | CompressedImage
    camera_info: CameraInfo | None
    depth: Image | CompressedImage | None = None
    mask: Image | CompressedImage | None = None
    detections: Any = None
    depth_camera_info: CameraInfo | None = None

    @property
    def header(self) -> Header:
        """Stamp and frame of the image."""
        return self.image.header


@dataclass(frozen=True, eq=False)
class Extra:
    """
    What a request says of its one object beside the observation.

    - ``further``: observations from other places.
    - ``poses``: of the cameras in one world, that of the observation first; empty: by tf2.
    - ``refine``: the id of the standing object that it is; empty: a new one.
    """

    further: tuple[Observation, ...] = ()
    poses: tuple[Array, ...] = ()
    refine: str = ''


@dataclass(frozen=True)
class Query:
    """What is asked about an observation."""

    selector: ObjectSelector
    method: str
    seed: int
    extra: Extra = field(default_factory=lambda: Extra())


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


def lift_observation(
    observation: Observation,
    query: Query,
    settings: Settings,
    get_lifter: Callable[[str], Lifter],
    ids: IdKeeper,
    standing: Standing,
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


def _shows_nothing(observation: Observation, query: Query, error: LiftError) -> bool:
    """Return whether a detector that was asked for all objects saw none, which is no failure."""
    boxes = getattr(observation.detections, 'detections', ())
    everything = query.selector.mode == ObjectSelector.ALL and not query.extra.refine
    return error.code is ErrorCode.EMPTY_MASK and everything and not boxes


def read_frame(
    observation: Observation,
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
    observation: Observation, settings: Settings, transforms: Transforms | None
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
    observation: Observation,
    extra: Extra,
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


def choose_standing(
    instances: Sequence[Instance],
    query: Query,
    frame: Frame,
    pose: CameraPose | None,
    standing: Standing,
) -> Instance:
    """Return the instance that the object to refine is; raises ``LiftError``."""
    if query.selector.mode in (ObjectSelector.ALL, ObjectSelector.LARGEST):
        return standing.choose(query.extra.refine, instances, frame, pose)
    standing.frames(query.extra.refine)
    return select(instances, query.selector)[0]


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


def check_instance(
    observation: Observation, frame: Frame, instance: Instance, name: str, warnings: list[str]
) -> None:
    """
    Warn of a mask that may be two objects; refuse depth in the wrong unit.

    Raises ``LiftError(BAD_IMAGE)``.
    """
    if not instance.label and observation.mask is not None and selection.has_neck(instance):
        warnings.append(
            f'The mask of {name} has a narrow neck: two objects that touch? They are taken as '
            'one; a label image keeps them apart.'
        )
    if observation.mask is not None:
        doubts = masks.check_coverage(instance.mask, f'The mask of {name}')
        warnings += doubts
    if frame.depth is not None:
        conversions.check_depth_unit(frame.depth, instance)


def find_instances(
    observation: Observation,
    frame: Frame,
    selector: ObjectSelector,
    settings: Settings,
    warnings: list[str],
) -> list[Instance]:
    """
    Return the objects that the mask or the detections show in a frame, at least one.

    Raises ``LiftError``: ``EMPTY_MASK``, ``BAD_IMAGE``, ``SIZE_MISMATCH``, ``BAD_REQUEST``,
    ``NO_DEPTH_IN_MASK``.
    """
    width, height = frame.camera.width, frame.camera.height
    if selector.mode == ObjectSelector.DETECTION and observation.detections is None:
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            'There are no detections to select from; set the parameter mask_source to '
            '"detections", or select by another mode.',
        )
    if observation.mask is not None:
        by_label = settings.mask_source == 'label' or selector.mode == ObjectSelector.LABEL
        came = conversions.mask_pixels(observation.mask)
        if by_label:
            pixels = masks.read_labels(came)
        else:
            binary, notes = masks.read_binary(came)
            pixels = binary.view(np.uint8)
            warnings += notes
        if pixels.shape != (height, width):
            warnings.append(
                f'The mask is {pixels.shape[1]} x {pixels.shape[0]}, the image {width} x '
                f'{height}; the mask is resized, nearest neighbour.'
            )
            pixels = conversions.fit_mask(pixels, width, height)
        if observation.camera_info is not None:
            pixels = undistort_mask(pixels, observation.camera_info, settings.rectified)
        if by_label:
            only = selector.label if selector.mode == ObjectSelector.LABEL else None
            found = selection.instances_of_labels(pixels, only)
        else:
            found = selection.instances_of_binary(pixels, settings.split_mask)
    elif observation.detections is not None:
        boxes = read_detections(observation.detections)
        found = selection.instances_of_detections(boxes, frame.image, frame.depth)
    elif selector.mode == ObjectSelector.BOX:
        boxes = [Detection(box_of(selector), selector.class_id, 1.0)]
        found = selection.instances_of_detections(boxes, frame.image, frame.depth)
    else:
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            'The request contains an image but no mask; add one, or select by BOX.',
        )
    if selector.class_id and selector.mode != ObjectSelector.DETECTION:
        found = [replace(instance, class_id=selector.class_id) for instance in found]
    return found


def select(instances: Sequence[Instance], selector: ObjectSelector) -> list[Instance]:
    """Return the objects that a selector means; raises ``LiftError``: NO_OBJECT, BAD_REQUEST."""
    mode = selector.mode
    if mode == ObjectSelector.ALL:
        return list(instances)
    if mode == ObjectSelector.LARGEST:
        return [selection.select_largest(instances)]
    if mode == ObjectSelector.LABEL:
        return [selection.select_label(instances, selector.label)]
    if mode == ObjectSelector.PIXEL:
        return [selection.select_pixel(instances, selector.u, selector.v)]
    if mode == ObjectSelector.BOX:
        return [selection.select_box(instances, box_of(selector))]
    if mode == ObjectSelector.DETECTION:
        return [selection.select_class(instances, selector.class_id)]
    raise LiftError(
        ErrorCode.BAD_REQUEST, f'There is no selector mode {mode}; see ObjectSelector.msg.'
    )


def box_of(selector: ObjectSelector) -> selection.Box:
    """Return the box of a selector as left, top, right, bottom."""
    box = selector.box
    return box.x_offset, box.y_offset, box.x_offset + box.width, box.y_offset + box.height


def read_detections(message: Any) -> list[Detection]:
    """Return the boxes of a vision_msgs/Detection2DArray with the best class of each."""
    found = []
    for detection in message.detections:
        centre = detection.bbox.center
        # vision_msgs 4 (Humble and later) nests the position, 3 (Foxy, Galactic) did not.
        centre = getattr(centre, 'position', centre)
        half_width, half_height = 0.5 * detection.bbox.size_x, 0.5 * detection.bbox.size_y
        best = max(
            (result.hypothesis for result in detection.results),
            key=lambda hypothesis: hypothesis.score,
            default=None,
        )
        found.append(
            Detection(
                (
                    round(centre.x - half_width),
                    round(centre.y - half_height),
                    round(centre.x + half_width),
                    round(centre.y + half_height),
                ),
                best.class_id if best else '',
                best.score if best else 1.0,
            )
        )
    return found


def stamp_text(observation: Observation) -> str:
    """Return the stamp of an observation as errors name it."""
    stamp = observation.header.stamp
    return f'{stamp.sec}.{stamp.nanosec:09d}'
