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

"""Bags: recordings that are lifted on demand, recorded results, and inputs of results."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from lift3d_ros.bags.bag import Bag
from lift3d_ros.bags.bag import Entry
from lift3d_ros.bags.lifting import BagLifter
from lift3d_ros.bags.lifting import BagSettings
from lift3d_ros.bags.lifting import Decoded
from lift3d_ros.bags.recording import Instant
from lift3d_ros.bags.recording import read_recording
from lift3d_ros.bags.recording import Recording
from lift3d_ros.bags.topics import choose_topics
from lift3d_ros.bags.transforms import seconds_text
from lift3d_ros.errors import bad_request
from lift3d_ros.lifter import Lifter
from lift3d_ros.viewer.content import Content
from lift3d_ros.viewer.content import Inputs
from lift3d_ros.viewer.content import Moment
from lift3d_ros.viewer.content import Report
from lift3d_ros.viewer.content import Snapshot
from lift3d_ros.viewer.content import ViewedObject
from lift3d_ros.viewer.messages import snapshot_of_message

#: Type of recorded results.
RESULTS_TYPE = 'lift3d_ros/msg/LiftedObjectArray'

#: Largest difference of the stamps of image, mask and depth, seconds, as in ``lift3d bag``.
_TOLERANCE_S = 0.05


def is_bag(path: Path) -> bool:
    """Return whether a path is a bag: a file of rosbag2, or a folder with one."""
    if path.is_file():
        return path.name.endswith(('.mcap', '.db3', '.mcap.zstd', '.db3.zstd'))
    endings = ('*.mcap', '*.db3', '*.mcap.zstd', '*.db3.zstd')
    return path.is_dir() and any(True for ending in endings for _ in path.glob(ending))


def read_bag_content(
    path: Path, lifter: Lifter, target_frame: str = '', label_image: bool | None = None
) -> Content:
    """
    Return a bag: recorded results if it has them, else images that are lifted on demand.

    ``target_frame`` is a frame of /tf with z up; empty: the frame of the first object is upright.
    ``label_image``: whether each value of the mask is an object; None: by its type. The bag stays
    open. Raises ``LiftError`` as ``Bag``, ``choose_topics`` and ``BagLifter``.
    """
    bag = Bag(path)
    try:
        results = [
            name for name, summary in bag.topics.items()
            if summary.topic.type == RESULTS_TYPE and summary.count]
        if results:
            return _recorded_results(bag, results[0])
        topics = choose_topics(bag)
        recording = read_recording(bag, topics, _TOLERANCE_S)
        settings = BagSettings(target_frame=target_frame, labels=label_image, cloud_points=0)
        lifting = BagLifter(bag, recording, settings, lifter)
    except BaseException:
        bag.close()
        raise
    moments = [
        Moment(
            seconds_text(instant.stamp), partial(_lift, lifting, instant),
            partial(_inputs, lifting, instant))
        for instant in recording.instants]
    notes = [*bag.lost, *recording.notes]
    if topics.depth is None:
        notes.append(
            f'{path.name} has no depth, so its objects are correct only up to scale; lift3d bag '
            '--known-size or --plane-height gives their scale.')
    return Content(path.name, moments, True, tuple(notes))


class RecordedInputs:
    """The images of a bag whose results are in a folder; opened when the first is asked for."""

    def __init__(self, path: Path, topics: dict[str, str], labels: bool) -> None:
        """Remember a bag, its topics by role, and whether its mask is a label image."""
        self._path, self._topics, self._labels = path, topics, labels
        self._lifting: BagLifter | None = None
        self._recording: Recording | None = None

    def at(self, stamp: str) -> Inputs:
        """Return the inputs at a stamp, text in seconds; raises ``LiftError(BAD_REQUEST)``."""
        if self._lifting is None:
            if not self._path.exists():
                raise bad_request(
                    f'The bag of these results, {self._path}, is not there any more, so that '
                    'its images cannot be shown.')
            bag = Bag(self._path)
            roles = ('image', 'mask', 'depth', 'camera_info', 'detections')
            given = {role: self._topics.get(role) for role in roles}
            topics = choose_topics(bag, **given, use_depth=given['depth'] is not None)
            self._recording = read_recording(bag, topics, _TOLERANCE_S)
            settings = BagSettings(labels=self._labels or None, cloud_points=0)
            self._lifting = BagLifter(bag, self._recording, settings, Lifter('geometric'))
        assert self._recording is not None
        for instant in self._recording.instants:
            if seconds_text(instant.stamp) == stamp:
                return _inputs(self._lifting, instant)
        raise bad_request(f'{self._path} has no image at {stamp} any more.')


def _lift(lifting: BagLifter, instant: Instant, report: Report) -> Snapshot:
    outcome = lifting.lift(instant, report)
    objects = [ViewedObject.of_shape(each.id, each.shape) for each in outcome.lifted]
    problems = [f'{name}: {error}' for name, error in outcome.failures]
    return Snapshot(objects, problems, outcome.T_target_camera)


def _inputs(lifting: BagLifter, instant: Instant) -> Inputs:
    decoded: Decoded = lifting.decode(instant)
    masks = {
        f'label_{each.label}' if each.label else f'object_{index}': each.mask
        for index, each in enumerate(decoded.instances)}
    return Inputs(decoded.frame, masks)


def _recorded_results(bag: Bag, topic: str) -> Content:
    moments = [
        Moment(seconds_text(entry.time), partial(_read_result, bag, entry))
        for entry in bag.entries({topic})]
    return Content(bag.path.name, moments, True, tuple(bag.lost))


def _read_result(bag: Bag, entry: Entry, report: Report) -> Snapshot:
    message: Any = bag.message(entry)
    if message is None:
        raise bad_request(
            f'A message of {entry.topic} cannot be read, since the bag is damaged there.')
    return snapshot_of_message(message)
