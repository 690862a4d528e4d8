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
The instants of a bag: messages of image, mask, depth and camera_info that belong together.

A recording can hold several runs of its clock: it is set back by time synchronisation, or by a
simulation or a played bag that starts again. The same stamps then occur more than once, so that
messages and transforms are matched only within a run.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from typing import NamedTuple

import numpy as np

from lift3d_ros.bags.bag import Bag
from lift3d_ros.bags.bag import Entry
from lift3d_ros.bags.bag import stamp_of
from lift3d_ros.bags.storage import DamagedError
from lift3d_ros.bags.topics import Topics
from lift3d_ros.bags.topics import TRANSFORM_TYPE
from lift3d_ros.bags.transforms import seconds_text
from lift3d_ros.bags.transforms import TransformBuffer
from lift3d_ros.errors import bad_request
from lift3d_ros.messages.conversions import nanoseconds

#: A stamp that falls back by more nanoseconds than this begins a new run of the clock. Less is
#: the order in which threads of a recorder write.
_JUMP = 1_000_000_000

#: Largest distance of a stamp of ``--at`` from an image, nanoseconds.
_MAX_DISTANCE = 500_000_000

_STATIC = '/tf_static'


class Stamped(NamedTuple):
    """A message with its stamp in nanoseconds."""

    stamp: int
    entry: Entry


class Instant(NamedTuple):
    """
    The messages of one image; None where there is none or the topic is not used.

    ``run`` counts the runs of the clock from 0; ``stamp`` is that of the image, nanoseconds.
    """

    run: int
    stamp: int
    image: Entry
    camera_info: Entry
    mask: Entry | None = None
    detections: Entry | None = None
    depth: Entry | None = None
    depth_camera_info: Entry | None = None
    notes: tuple[str, ...] = ()


@dataclass(eq=False)
class _Run:
    """The messages of one run of the clock, by topic, and its transforms."""

    transforms: TransformBuffer
    messages: dict[str, list[Stamped]] = field(default_factory=dict)


@dataclass(eq=False)
class Recording:
    """
    The instants of a bag in the order of the recording, and the transforms of each run.

    ``notes`` says in sentences which messages belong to no instant.
    """

    instants: list[Instant]
    transforms: list[TransformBuffer]
    notes: list[str]
    has_transforms: bool


def read_recording(bag: Bag, topics: Topics, tolerance: float) -> Recording:
    """
    Return the instants of a bag; ``tolerance`` is the largest difference of stamps in seconds.

    Raises ``LiftError(BAD_REQUEST)`` if no image has a mask or detections.
    """
    runs, notes = _read_runs(bag, topics)
    instants: list[Instant] = []
    for number, run in enumerate(runs):
        instants += _instants(run, number, topics, round(tolerance * 1e9), runs, notes)
    if len(runs) > 1:
        notes.append(
            f'The clock of the recording was set back {len(runs) - 1} times; each of the '
            f'{len(runs)} runs is read by itself.'
        )
    if not instants:
        raise bad_request(_unmatched(runs, topics, tolerance, notes))
    tree = any(summary.topic.type == TRANSFORM_TYPE for summary in bag.topics.values())
    return Recording(instants, [run.transforms for run in runs], notes, tree)


def _read_runs(bag: Bag, topics: Topics) -> tuple[list[_Run], list[str]]:
    """Read the stamps of all messages, and all transforms."""
    trees = {
        name for name, summary in bag.topics.items() if summary.topic.type == TRANSFORM_TYPE
    }
    static = TransformBuffer()
    runs = [_Run(static.beside())]
    latest: dict[str, int] = {}
    unstamped = 0

    def begin(key: str, stamp: int) -> None:
        if stamp < latest.get(key, stamp) - _JUMP:
            runs.append(_Run(static.beside()))
            latest.clear()
        latest[key] = max(stamp, latest.get(key, stamp))

    for entry in bag.entries(topics.names() | trees):
        if entry.topic in trees:
            message = bag.message(entry)
            for transform in () if message is None else message.transforms:
                if entry.topic.endswith(_STATIC):
                    static.add_static(transform)
                else:
                    begin(f'/tf {transform.child_frame_id}', nanoseconds(transform.header.stamp))
                    runs[-1].transforms.add(transform)
            continue
        data = bag.read(entry)
        if data is None:
            continue
        try:
            stamp = stamp_of(data)
        except DamagedError:
            continue
        if not stamp:
            unstamped, stamp = unstamped + 1, entry.time
        begin(entry.topic, stamp)
        runs[-1].messages.setdefault(entry.topic, []).append(Stamped(stamp, entry))
    for run in runs:
        for messages in run.messages.values():
            messages.sort()
    notes = []
    if unstamped:
        notes.append(
            f'{unstamped} messages have no stamp; the time of their reception is used instead.'
        )
    return runs, notes


def _instants(
    run: _Run,
    number: int,
    topics: Topics,
    tolerance: int,
    runs: Sequence[_Run],
    notes: list[str],
) -> Iterator[Instant]:
    images = run.messages.get(topics.image, [])
    outlines = run.messages.get(topics.mask or topics.detections or '', [])
    matched = _match(outlines, images, tolerance)
    if len(matched) < len(outlines):
        notes.append(
            f'{len(outlines) - len(matched)} of {len(outlines)} messages of '
            f'{topics.mask or topics.detections} have no image within {1e-9 * tolerance:g} s.'
        )
    depths = {}
    if topics.depth is not None:
        depths = _match(run.messages.get(topics.depth, []), images, tolerance)
    without_depth = 0
    for place in sorted(matched):
        image, outline = images[place], matched[place]
        depth = depths.get(place)
        if topics.depth is not None and depth is None:
            without_depth += 1
            continue
        info = _latest(topics.camera_info, image.stamp, run, runs)
        if info is None:
            continue
        far = abs(outline.stamp - image.stamp)
        yield Instant(
            number,
            image.stamp,
            image.entry,
            info,
            outline.entry if topics.mask is not None else None,
            outline.entry if topics.mask is None else None,
            None if depth is None else depth.entry,
            _latest(topics.depth_camera_info, image.stamp, run, runs),
            () if not far else (
                f'The mask is {1e-6 * far:.1f} ms from the image; objects that move, or that a '
                'moving camera observes, are displaced in it.',
            ),
        )
    if without_depth:
        notes.append(
            f'{without_depth} images with a mask have no depth within {1e-9 * tolerance:g} s and '
            'are left out.'
        )


def _match(
    messages: Sequence[Stamped], images: Sequence[Stamped], tolerance: int
) -> dict[int, Stamped]:
    """Return the message nearest to each image by its place, each message at one image only."""
    stamps = np.array([image.stamp for image in images], np.int64)
    best: dict[int, Stamped] = {}
    if not len(stamps):
        return best
    for message in messages:
        after = int(np.searchsorted(stamps, message.stamp))
        place = min(
            (each for each in (after - 1, after) if 0 <= each < len(stamps)),
            key=lambda each: abs(int(stamps[each]) - message.stamp),
        )
        distance = abs(int(stamps[place]) - message.stamp)
        other = best.get(place)
        if distance <= tolerance and (
            other is None or distance < abs(int(stamps[place]) - other.stamp)
        ):
            best[place] = message
    return best


def _latest(topic: str | None, stamp: int, run: _Run, runs: Sequence[_Run]) -> Entry | None:
    """Return the last camera_info up to a stamp, else the first of the run or of any run."""
    if topic is None:
        return None
    for messages in (run.messages.get(topic), *(each.messages.get(topic) for each in runs)):
        if messages:
            after = bisect_right(messages, stamp, key=lambda message: message.stamp)
            return messages[max(after - 1, 0)].entry
    return None


def _unmatched(
    runs: Sequence[_Run], topics: Topics, tolerance: float, notes: Sequence[str]
) -> str:
    """Return why there are no instants."""
    spans = []
    for name in (topics.image, topics.mask or topics.detections or '', topics.depth or ''):
        stamps = [message.stamp for run in runs for message in run.messages.get(name, [])]
        if stamps:
            spans.append(
                f'{name} from {seconds_text(min(stamps))} to {seconds_text(max(stamps))}'
            )
    return (
        f'No image has a mask (and depth) within {tolerance:g} s of its stamp: '
        f'{"; ".join(spans) or "the topics have no readable messages"}. Raise --tolerance, or '
        f'correct the stamps of the publishers. {" ".join(notes)}'.rstrip()
    )


# --- selection ----------------------------------------------------------------------------------


def select(
    instants: Sequence[Instant],
    *,
    rate: float | None = None,
    every: int | None = None,
    at: Sequence[str] | None = None,
) -> list[Instant]:
    """
    Return the instants to lift.

    ``rate``: so many a second of the stamps at most; ``every``: one of so many; ``at``: those
    nearest to these stamps in seconds, with a plus sign after the first image. Raises
    ``LiftError(BAD_REQUEST)`` for a stamp that is not one, or far from all images.
    """
    if at is not None:
        return sorted({_nearest(instants, text) for text in at}, key=instants.index)
    if every is not None:
        return list(instants[::every])
    if rate is None:
        return list(instants)
    chosen: list[Instant] = []
    for instant in instants:
        # A small part less, so that images at this very rate are all taken.
        if not chosen or instant.run != chosen[-1].run or (
            instant.stamp - chosen[-1].stamp >= 0.999e9 / rate
        ):
            chosen.append(instant)
    return chosen


def _nearest(instants: Sequence[Instant], text: str) -> Instant:
    stamp = parse_stamp(text)
    if text.startswith('+'):
        stamp += instants[0].stamp
    best = min(instants, key=lambda instant: abs(instant.stamp - stamp))
    if abs(best.stamp - stamp) > _MAX_DISTANCE:
        stamps = [instant.stamp for instant in instants]
        raise bad_request(
            f'--at {text}: no image with a mask is within {1e-9 * _MAX_DISTANCE:g} s of it; they '
            f'are from {seconds_text(min(stamps))} to {seconds_text(max(stamps))}.'
        )
    return best


def parse_stamp(text: str) -> int:
    """Return seconds as nanoseconds, exactly; raises ``LiftError(BAD_REQUEST)``."""
    whole, _, part = text.removeprefix('+').partition('.')
    if not (whole.isascii() and whole.isdigit()) or (part and not part.isdigit()):
        raise bad_request(
            f'--at {text} is not a stamp; give seconds such as 1700000012.5, or +2.5 for 2.5 s '
            'after the first image.'
        )
    return int(whole) * 1_000_000_000 + int(f'{part[:9]:0<9}')
