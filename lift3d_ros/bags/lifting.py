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

"""From the instants of a bag to lifted objects."""

from __future__ import annotations

from collections import Counter
from collections import OrderedDict
from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from lift3d_ros.bags.bag import Bag
from lift3d_ros.bags.bag import Entry
from lift3d_ros.bags.message_types import RosbagTypes
from lift3d_ros.bags.recording import Instant
from lift3d_ros.bags.recording import Recording
from lift3d_ros.bags.transforms import seconds_text
from lift3d_ros.bags.transforms import TransformBuffer
from lift3d_ros.errors import bad_image
from lift3d_ros.errors import bad_request
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import invert
from lift3d_ros.geometry.frame import crop_object
from lift3d_ros.geometry.frame import Frame
from lift3d_ros.geometry.frame import SourceView
from lift3d_ros.lifter import Lifter
from lift3d_ros.messages.camera_info import build_frame
from lift3d_ros.messages.camera_info import DepthSource
from lift3d_ros.messages.detections import read_detections
from lift3d_ros.messages.masks import check_instance
from lift3d_ros.messages.masks import read_mask_pixels
from lift3d_ros.messages.results import in_frame
from lift3d_ros.messages.results import Lifted
from lift3d_ros.observation.hints import horizontal_plane
from lift3d_ros.observation.hints import ScaleHints
from lift3d_ros.observation.reference_view import MAX_SOURCE_VIEWS
from lift3d_ros.observation.request import LiftRequest
from lift3d_ros.segmentation import instances as segmentation
from lift3d_ros.segmentation.instances import Instance
from lift3d_ros.segmentation.object_ids import ObjectIds

#: Decoded frames that are kept, since successive instants share their source views.
_KEPT_FRAMES = 2 * MAX_SOURCE_VIEWS

#: Distance in metres that counts as much as a turn by a radian between source views.
_METRES_PER_RADIAN = 0.5

#: Encodings whose values are labels; in those of 8 bits they can also be 0 and 255.
_LABEL_ENCODINGS = ('16UC1', 'mono16', '16SC1', '32SC1')


@dataclass(frozen=True)
class BagSettings:
    """
    How the messages of a bag are lifted.

    - ``target_frame``: frame of poses and clouds; empty: the optical frame of the camera.
    - ``gravity_frame``: a frame whose z points up, for the direction of gravity; empty:
      ``target_frame``.
    - ``fixed_frame``: a stationary frame, for the poses of source views; empty: the root of the
      tree of transforms.
    - ``rectified``: whether images are rectified; None: by the name of the topic, ``image_raw``
      is raw.
    - ``labels``: whether masks are label images; None: those of 16 and 32 bits are.
    - ``depth_unit``: metres of a count of integer depth.
    - ``accumulate``: the images of so many seconds before an instant give its source views.
    - ``plane_height``: of the support plane in ``target_frame``, metres.
    - ``cloud_points``: points of the clouds.
    """

    target_frame: str = ''
    gravity_frame: str = ''
    fixed_frame: str = ''
    rectified: bool | None = None
    labels: bool | None = None
    depth_unit: float = 0.001
    accumulate: float = 0.0
    plane_height: float | None = None
    hints: ScaleHints = field(default_factory=ScaleHints)
    min_confidence: float = 0.0
    seed: int = 0
    cloud_points: int = 10_000


@dataclass(frozen=True, eq=False)
class Decoded:
    """The frame and the objects of an instant; ``header`` is that of the image."""

    header: Any
    frame: Frame
    instances: list[Instance]
    warnings: list[str]


@dataclass(eq=False)
class Outcome:
    """
    The result for an instant.

    - ``header``: stamp of the image and frame of the poses, a message of rosbags.
    - ``T_target_camera``: pose of the camera in that frame; None: it is the optical frame.
    - ``failures``: pairs of id and error.
    - ``views``: the number of views of each object, by id.
    """

    instant: Instant
    header: Any
    T_target_camera: Array | None
    lifted: list[Lifted] = field(default_factory=list)
    failures: list[tuple[str, LiftError]] = field(default_factory=list)
    views: dict[str, int] = field(default_factory=dict)


class BagLifter:
    """Lifts the objects of instants in the order of the recording, and remembers their ids."""

    def __init__(
        self, bag: Bag, recording: Recording, settings: BagSettings, lifter: Lifter
    ) -> None:
        """
        Configure; the ``lifter`` is loaded at the first instant.

        Raises ``LiftError``: ``NO_TRANSFORM`` for settings that need transforms and a bag without,
        ``BAD_REQUEST`` for a support plane without a frame.
        """
        needs_tree = settings.target_frame or settings.gravity_frame or settings.accumulate
        if needs_tree and not recording.has_transforms:
            raise LiftError(
                ErrorCode.NO_TRANSFORM,
                f'{bag.path} has no /tf and /tf_static, which a target frame, gravity and source '
                'views need; record them, or leave these options out.',
            )
        if settings.plane_height is not None and not settings.target_frame:
            raise bad_request(
                'The height of the support plane is in the target frame; give --target-frame, a '
                'frame whose z points up.'
            )
        self._bag = bag
        self._recording = recording
        self._settings = settings
        self._lifter = lifter
        self._types = RosbagTypes()
        self._ids = ObjectIds()
        self._run = 0
        self._decoded: OrderedDict[Instant, Decoded | LiftError] = OrderedDict()

    def lift(
        self, instant: Instant, progress: Callable[[float], None] | None = None
    ) -> Outcome:
        """
        Return the objects of an instant; errors of single objects are in the outcome.

        ``progress`` is called with the completed fraction. Raises ``LiftError`` for an instant
        that cannot be used as a whole.
        """
        settings = self._settings
        decoded = self.decode(instant)
        T_target_camera, header = self._target(instant, decoded.header)
        outcome = Outcome(instant, header, T_target_camera)
        if instant.run != self._run:
            self._run, self._ids = instant.run, ObjectIds()
        names = self._ids.assign(decoded.instances, True)
        sources = self._sources(instant, decoded)
        hints = settings.hints
        if settings.plane_height is not None and T_target_camera is not None:
            hints = replace(hints, plane=horizontal_plane(T_target_camera, settings.plane_height))
        valid: list[tuple[str, Instance, list[str]]] = []
        requests = []
        for name, instance, views in zip(names, decoded.instances, sources, strict=True):
            notes = [*decoded.warnings, *instance.notes]
            try:
                check_instance(
                    decoded.frame, instance, name, instant.mask is not None, notes
                )
            except LiftError as error:
                outcome.failures.append((name, error))
                continue
            valid.append((name, instance, notes))
            outcome.views[name] = 1 + len(views)
            requests.append(LiftRequest(
                instance.mask, hints, tuple(views), settings.min_confidence, settings.seed
            ))
        fractions = np.zeros(max(len(requests), 1))

        def report(index: int, stage: str, fraction: float) -> None:
            fractions[index] = fraction
            if progress is not None:
                progress(float(fractions.mean()))

        results = self._lifter.lift_all(decoded.frame, requests, progress=report)
        for (name, instance, notes), shape in zip(valid, results, strict=True):
            if isinstance(shape, LiftError):
                outcome.failures.append((name, shape))
                continue
            pose, covariance = in_frame(shape, T_target_camera)
            shape = replace(shape, notes=(*instant.notes, *notes, *shape.notes))
            outcome.lifted.append(Lifted(
                header, name, instance, shape, pose, covariance,
                shape.cloud(settings.cloud_points, settings.seed), notes=shape.notes,
            ))
        return outcome

    # --- messages -------------------------------------------------------------------------------

    def decode(self, instant: Instant) -> Decoded:
        """Return the frame and objects of an instant; raises ``LiftError``."""
        found = self._decoded.get(instant)
        if found is None:
            try:
                found = self._decoded_messages(instant)
            except LiftError as error:
                found = error
            self._decoded[instant] = found
            while len(self._decoded) > _KEPT_FRAMES:
                self._decoded.popitem(last=False)
        self._decoded.move_to_end(instant)
        if isinstance(found, LiftError):
            raise found
        return found

    def _decoded_messages(self, instant: Instant) -> Decoded:
        settings = self._settings
        image, info = self._message(instant.image), self._message(instant.camera_info)
        depth = None if instant.depth is None else self._message(instant.depth)
        depth_info = None
        if instant.depth_camera_info is not None:
            depth_info = self._message(instant.depth_camera_info)
        rectified = settings.rectified
        if rectified is None:
            rectified = 'image_raw' not in instant.image.topic
        transforms, gravity = self._recording.transforms[instant.run], None
        level = settings.gravity_frame or settings.target_frame
        if level:
            gravity = transforms.down(level, image.header.frame_id, instant.stamp)
        extrinsics = None
        if depth is not None and self._recording.has_transforms:
            extrinsics = partial(
                transforms.lookup, image.header.frame_id, depth.header.frame_id, instant.stamp
            )
        frame = build_frame(
            image,
            info,
            depth,
            rectified=rectified,
            depth_unit=settings.depth_unit,
            gravity=gravity,
            depth_source=DepthSource(depth_info, extrinsics),
        )
        warnings: list[str] = []
        instances = self._instances(instant, frame, info, rectified, warnings)
        return Decoded(image.header, frame, instances, warnings)

    def _instances(
        self, instant: Instant, frame: Frame, info: Any, rectified: bool, warnings: list[str]
    ) -> list[Instance]:
        """Return the objects of an instant, none for an empty mask; raises ``LiftError``."""
        try:
            if instant.mask is None:
                assert instant.detections is not None, 'an instant has a mask or detections'
                boxes = read_detections(self._message(instant.detections))
                if not boxes:
                    return []
                return segmentation.instances_of_detections(boxes, frame.image, frame.depth)
            message = self._message(instant.mask)
            labels = self._settings.labels
            if labels is None:
                labels = getattr(message, 'encoding', '') in _LABEL_ENCODINGS
            pixels = read_mask_pixels(
                message, info, frame.camera, labels, rectified, warnings
            )
            if labels:
                return segmentation.instances_of_labels(pixels)
            return segmentation.instances_of_binary(pixels)
        except LiftError as error:
            if error.code is ErrorCode.EMPTY_MASK and instant.mask is not None:
                return []
            raise

    def _message(self, entry: Entry) -> Any:
        message = self._bag.message(entry)
        if message is None:
            raise bad_image(
                f'A message of {entry.topic} cannot be read, since the bag is damaged there.'
            )
        return message

    def _target(self, instant: Instant, header: Any) -> tuple[Array | None, Any]:
        """Return ``T_target_camera`` and the header of the results; raises ``LiftError``."""
        frame = self._settings.target_frame
        if not frame:
            return None, header
        T = self._recording.transforms[instant.run].lookup(
            frame, header.frame_id, instant.stamp
        )
        return T, self._types.make('std_msgs/Header', stamp=header.stamp, frame_id=frame)

    # --- source views ---------------------------------------------------------------------------

    def _sources(self, instant: Instant, decoded: Decoded) -> list[list[SourceView]]:
        """Return the source views of each object of an instant; raises ``LiftError``."""
        sources: list[list[SourceView]] = [[] for _ in decoded.instances]
        window = round(self._settings.accumulate * 1e9)
        if not window or not decoded.instances:
            return sources
        transforms = self._recording.transforms[instant.run]
        frame_id = decoded.header.frame_id
        fixed = self._settings.fixed_frame or transforms.root(frame_id)
        if fixed == frame_id.lstrip('/'):
            raise LiftError(
                ErrorCode.NO_TRANSFORM,
                f'Source views need the poses of the camera, but its frame "{frame_id}" has no '
                'parent in /tf and /tf_static; record them, or leave --accumulate out.',
            )
        pose = transforms.lookup(fixed, frame_id, instant.stamp)
        earlier = {
            other: T for other in self._recording.instants
            if other.run == instant.run and 0 < instant.stamp - other.stamp <= window
            and (T := _pose(transforms, fixed, frame_id, other.stamp)) is not None
        }
        keys = _keys(decoded.instances)
        for other in spread_poses(pose, earlier, MAX_SOURCE_VIEWS):
            try:
                source = self.decode(other)
            except LiftError:
                # An image that cannot be used is none of the views.
                continue
            same = dict(zip(_keys(source.instances), source.instances, strict=True))
            for views, key in zip(sources, keys, strict=True):
                if key is None or key not in same:
                    continue
                try:
                    view = crop_object(source.frame, same[key].mask)
                except LiftError:
                    continue
                name = f'the image at {seconds_text(other.stamp)}'
                views.append(SourceView(view, invert(pose) @ earlier[other], name))
        return sources


def spread_poses(
    reference: Array, poses: dict[Instant, Array], count: int
) -> list[Instant]:
    """
    Return ``count`` instants at most whose cameras differ most from each other.

    Each is the one farthest from the reference camera and from those before it, by position and
    direction of view.
    """
    chosen: list[Instant] = []
    remaining = dict(poses)
    distances = {instant: _distance(reference, T) for instant, T in remaining.items()}
    while remaining and len(chosen) < count:
        best = max(remaining, key=lambda instant: distances[instant])
        T = remaining.pop(best)
        chosen.append(best)
        for instant, other in remaining.items():
            distances[instant] = min(distances[instant], _distance(T, other))
    return chosen


def _distance(a: Array, b: Array) -> float:
    angle = np.arccos(np.clip(a[:3, 2] @ b[:3, 2], -1.0, 1.0))
    return float(np.linalg.norm(a[:3, 3] - b[:3, 3]) + _METRES_PER_RADIAN * angle)


def _pose(transforms: TransformBuffer, fixed: str, frame: str, stamp: int) -> Array | None:
    try:
        return transforms.lookup(fixed, frame, stamp)
    except LiftError:
        return None


def _keys(instances: Sequence[Instance]) -> list[tuple[str, int] | None]:
    """
    Return what identifies each object in other images, None where nothing does.

    It is the label, or a class of which there is one object, or that there is only one object.
    """
    counts = Counter(instance.class_id for instance in instances)
    keys: list[tuple[str, int] | None] = []
    for instance in instances:
        if instance.label:
            keys.append(('label', instance.label))
        elif instance.class_id:
            single = counts[instance.class_id] == 1
            keys.append((instance.class_id, 0) if single else None)
        else:
            keys.append(('', 0) if len(instances) == 1 else None)
    return keys
