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

"""Which topics of a bag are image, mask, depth, detections and camera_info."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass

from lift3d_ros.bags.bag import Bag
from lift3d_ros.errors import bad_request
from lift3d_ros.errors import LiftError
from lift3d_ros.errors import no_camera

IMAGE_TYPES = ('sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage')
CAMERA_INFO_TYPE = 'sensor_msgs/msg/CameraInfo'
DETECTIONS_TYPE = 'vision_msgs/msg/Detection2DArray'
TRANSFORM_TYPE = 'tf2_msgs/msg/TFMessage'

#: Endings of the topics of image_transport, beside the topic of the raw image.
_TRANSPORTS = ('/compressed', '/compressedDepth')

#: Encodings of one channel that depth has, and that masks and labels have.
_DEPTH_ENCODINGS = ('16UC1', 'mono16', '32FC1')
_MASK_ENCODINGS = ('mono8', '8UC1', '8SC1', '16SC1', '32SC1')


@dataclass(frozen=True)
class Topics:
    """The names of the topics to lift from; None: not used."""

    image: str
    camera_info: str
    mask: str | None = None
    detections: str | None = None
    depth: str | None = None
    depth_camera_info: str | None = None

    def names(self) -> set[str]:
        """Return the topics that are in use."""
        return {name for name in vars(self).values() if name is not None}


def choose_topics(
    bag: Bag,
    *,
    image: str | None = None,
    mask: str | None = None,
    depth: str | None = None,
    camera_info: str | None = None,
    detections: str | None = None,
    use_depth: bool = True,
) -> Topics:
    """
    Return the given topics, and those that the types and the first messages define.

    The camera_info is the one beside its image, as image_transport has it. Depth is optional, and
    so is one of mask and detections; a given or found mask is used before detections. Raises
    ``LiftError``: ``BAD_REQUEST`` for a topic that the bag does not have, has with another type,
    or has several candidates for; ``NO_CAMERA`` without camera_info.
    """
    chosen = _Choice(bag)
    mask = chosen.given(mask, IMAGE_TYPES, '--mask')
    depth = chosen.given(depth, IMAGE_TYPES, '--depth') if use_depth else None
    image = chosen.given(image, IMAGE_TYPES, '--image')
    detections = chosen.given(detections, (DETECTIONS_TYPE,), '--detections')
    if image is None:
        image = chosen.only(chosen.pictures('color'), '--image', 'colour image')
    if image is None:
        raise bad_request(f'{bag.path} has no colour image. {listing(bag, IMAGE_TYPES)}')
    if mask is None and detections is None:
        mask = chosen.only(chosen.pictures('mask'), '--mask', 'mask')
        if mask is None:
            found = chosen.of_type((DETECTIONS_TYPE,))
            detections = chosen.only(found, '--detections', 'Detection2DArray')
    if mask is None and detections is None:
        raise bad_request(
            f'{bag.path} has no mask (mono8, labels) and no Detection2DArray, so the objects are '
            'not defined; give --mask or --detections, or record the segmentation.'
        )
    if use_depth and depth is None:
        depth = chosen.only(
            chosen.pictures('depth'), '--depth', 'depth image', ' (or --no-depth)'
        )
    info = _camera_info(bag, chosen, image, depth, camera_info)
    beside = None if depth is None else _beside(depth)
    if beside not in bag.topics or beside == info:
        beside = None
    return Topics(image, info, mask, detections, depth, beside)


def _camera_info(
    bag: Bag, chosen: _Choice, image: str, depth: str | None, name: str | None
) -> str:
    name = chosen.given(name, (CAMERA_INFO_TYPE,), '--camera-info')
    found = chosen.of_type((CAMERA_INFO_TYPE,))
    if name is None and _beside(image) in found:
        name = _beside(image)
    if name is None:
        others = [topic for topic in found if depth is None or topic != _beside(depth)]
        name = chosen.only(others or found, '--camera-info', 'camera_info')
    if name is None:
        raise no_camera(
            f'{bag.path} has no camera_info with messages; record {_beside(image)} together with '
            'the image.'
        )
    return name


def picture_kind(bag: Bag, name: str) -> tuple[str, str]:
    """Return ``color``, ``depth`` or ``mask``, and the encoding, of the first message."""
    entry = next(iter(bag.entries({name})), None)
    try:
        message = None if entry is None else bag.message(entry)
    except LiftError:
        message = None
    if message is None:
        return '', ''
    encoding = message.format if hasattr(message, 'format') else message.encoding
    first = encoding.split(';')[0].strip()
    if 'compressedDepth' in encoding or first in _DEPTH_ENCODINGS:
        return 'depth', encoding
    return 'mask' if first in _MASK_ENCODINGS else 'color', encoding


def listing(bag: Bag, types: Sequence[str]) -> str:
    """Return a sentence with the topics of some types."""
    found = [name for name, summary in bag.topics.items() if summary.topic.type in types]
    names = ' or '.join(kind.rpartition('/')[2] for kind in types)
    return f'Its topics of type {names}: {", ".join(found) or "none"}.'


class _Choice:
    """Finds topics; those that have a role already are not candidates for another."""

    def __init__(self, bag: Bag) -> None:
        self._bag = bag
        self._taken: set[str] = set()
        self._kinds: dict[str, str] = {}

    def given(self, name: str | None, types: Sequence[str], option: str) -> str | None:
        """Return a topic of the command line; the name without its transport is enough."""
        if name is None:
            return None
        topics = self._bag.topics
        names = [name, *(name + ending for ending in _TRANSPORTS)]
        present = [each for each in names if each in topics]
        if not present:
            raise bad_request(
                f'{option}: {self._bag.path} has no topic {name}. {listing(self._bag, types)}'
            )
        found = [each for each in present if topics[each].topic.type in types]
        if not found:
            raise bad_request(
                f'{option}: {name} has the type {topics[present[0]].topic.type}. '
                f'{listing(self._bag, types)}'
            )
        if not topics[found[0]].count:
            raise bad_request(f'{option}: {found[0]} has no messages in {self._bag.path}.')
        self._taken.add(_base(found[0]))
        return found[0]

    def of_type(self, types: Sequence[str]) -> list[str]:
        """Return the topics of some types with messages."""
        return self._find(lambda name: self._bag.topics[name].topic.type in types)

    def pictures(self, kind: str) -> list[str]:
        """Return the topics with pictures of a kind; a raw topic before its compressed ones."""
        found: dict[str, str] = {}
        for name in sorted(self.of_type(IMAGE_TYPES), key=len):
            if name not in self._kinds:
                self._kinds[name] = picture_kind(self._bag, name)[0]
            if self._kinds[name] == kind and _base(name) not in self._taken:
                found.setdefault(_base(name), name)
        return list(found.values())

    def only(
        self, candidates: Sequence[str], option: str, what: str, otherwise: str = ''
    ) -> str | None:
        """Return the one candidate, None without any; raises ``LiftError`` for several."""
        if len(candidates) > 1:
            raise bad_request(
                f'{self._bag.path} has {len(candidates)} candidates for the {what}: '
                f'{", ".join(candidates)}; choose one by {option}{otherwise}.'
            )
        self._taken.update(map(_base, candidates))
        return candidates[0] if candidates else None

    def _find(self, condition: Callable[[str], bool]) -> list[str]:
        return [
            name for name, summary in self._bag.topics.items()
            if summary.count and condition(name)
        ]


def _base(name: str) -> str:
    """Return the topic of the raw image for one of its transports."""
    for ending in _TRANSPORTS:
        name = name.removesuffix(ending)
    return name


def _beside(image: str) -> str:
    """Return the topic of the camera_info beside an image."""
    return _base(image).rpartition('/')[0] + '/camera_info'
