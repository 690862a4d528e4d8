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

"""``lift3d bag``: a recorded bag in, meshes and a bag of results out; ROS is not needed."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from pathlib import Path
import sys
import time
from typing import Any
from typing import TYPE_CHECKING

from lift3d_ros.cli import exports
from lift3d_ros.cli import inputs
from lift3d_ros.cli import methods
from lift3d_ros.cli import scenes
from lift3d_ros.cli import values
from lift3d_ros.errors import bad_request
from lift3d_ros.errors import LiftError
from lift3d_ros.runtime.failures import as_lift_error
from lift3d_ros.runtime.files import make_folder
from lift3d_ros.runtime.reports import write_report

if TYPE_CHECKING:
    from lift3d_ros.bags.bag import Bag
    from lift3d_ros.bags.lifting import BagLifter
    from lift3d_ros.bags.lifting import BagSettings
    from lift3d_ros.bags.recording import Instant
    from lift3d_ros.bags.results import ResultBag
    from lift3d_ros.batch.bag_files import BagFiles
    from lift3d_ros.batch.bag_files import WrittenObject

#: The report of the whole bag.
SUMMARY = 'bag.json'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        'bag',
        type=Path,
        metavar='BAG',
        help='folder of a rosbag2 recording (sqlite3 or mcap, also compressed or damaged), or one '
        'of its files',
    )
    parser.add_argument(
        '--list', action='store_true', help='list the topics of the bag, and lift nothing'
    )
    parser.add_argument(
        '--out',
        type=Path,
        metavar='DIR',
        help='folder for STAMP_ID.ply and STAMP_ID.json of each object, as from `lift3d lift`, '
        f'and {SUMMARY}',
    )
    parser.add_argument(
        '--write',
        type=Path,
        metavar='RESULT.mcap',
        help='also write a bag with LiftedObjectArray, markers and clouds at the original times; '
        'another name makes a folder',
    )
    which = add_settings(parser)
    which.add_argument(
        '--at', nargs='+', metavar='STAMP',
        help='images nearest to these stamps, seconds; +S is S seconds after the first image',
    )
    parser.add_argument('--no-depth', action='store_true', help='ignore the depth topic')
    inputs.add_scale_arguments(parser.add_argument_group('scale, if there is no depth'))
    methods.add_method_arguments(parser)
    methods.add_remote_arguments(parser)
    scenes.add_seed(parser, 'mesh')
    exports.add_arguments(parser)


def add_settings(
    parser: argparse.ArgumentParser, of: str = ''
) -> argparse._MutuallyExclusiveGroup:
    """
    Declare how bags are read; ``of`` follows the titles.

    Returns the group of arguments that choose images, of which one may be given.
    """
    group = parser.add_argument_group(
        f'topics{of} (default: the only topic with a matching type and encoding)')
    for name, what in (
        ('image', 'Image or CompressedImage of the camera'),
        ('mask', 'binary mask or label image'),
        ('depth', 'depth image'),
        ('camera-info', 'CameraInfo of the image (default: the one beside its topic)'),
        ('detections', 'vision_msgs/Detection2DArray, instead of a mask'),
    ):
        group.add_argument(f'--{name}', metavar='TOPIC', help=what)
    group.add_argument(
        '--label-image', action=argparse.BooleanOptionalAction,
        help='each value of the mask is an object (default: if the mask has 16 or 32 bits)',
    )
    group.add_argument(
        '--rectified', action=argparse.BooleanOptionalAction,
        help='the image is rectified (default: unless the topic name contains image_raw)',
    )
    group.add_argument(
        '--depth-unit', type=values.positive, default=0.001, metavar='METRES',
        help='metres per unit of integer depth (default: 0.001)',
    )
    group.add_argument(
        '--tolerance', type=values.positive, default=0.05, metavar='SECONDS',
        help='largest difference of the stamps of image, mask and depth (default: 0.05)',
    )
    group = parser.add_argument_group(f'images{of} to lift (default: each with a mask)')
    which = group.add_mutually_exclusive_group()
    which.add_argument(
        '--rate', type=values.positive, metavar='HZ', help='at most this many images per second')
    which.add_argument('--every', type=values.count, metavar='N', help='every Nth image')
    group = parser.add_argument_group(f'transforms{of} (/tf and /tf_static)')
    group.add_argument(
        '--target-frame', default='', metavar='F',
        help='frame of the poses and of --frame world; its z axis must point up and gives gravity '
        '(default: the optical frame)',
    )
    group.add_argument(
        '--gravity-frame', default='', metavar='F',
        help='frame whose z axis points up, used for gravity alone (default: the target frame)',
    )
    group.add_argument(
        '--accumulate', type=values.positive, default=0.0, metavar='SECONDS',
        help='use images of the preceding SECONDS as source views of objects with the same label '
        'or class, or of the only object (default: 0, none)',
    )
    group.add_argument(
        '--fixed-frame', default='', metavar='F',
        help='stationary frame for the poses of source views (default: root of the tf tree)',
    )
    group.add_argument(
        '--plane-height', type=values.finite, metavar='Z',
        help='scale without depth: the objects stand on z = Z metres of the target frame',
    )
    return which


def run(options: argparse.Namespace) -> int:
    """
    Lift the objects of a bag; return 0 if all succeeded, else 1.

    Raises ``LiftError`` for a bag, topics, frames and options that do not fit, and as ``lift3d
    lift``.
    """
    from lift3d_ros.bags.bag import Bag

    if not options.list and options.out is None:
        raise bad_request('Give --out DIR for the meshes, or --list to list the topics.')
    with Bag(options.bag) as bag:
        if options.list:
            _list(bag)
            _say(bag.lost)
            return 0
        return _lift(options, bag)


def _lift(options: argparse.Namespace, bag: Bag) -> int:
    from lift3d_ros.bags.lifting import BagLifter
    from lift3d_ros.bags.recording import read_recording
    from lift3d_ros.bags.recording import select
    from lift3d_ros.bags.results import ResultBag
    from lift3d_ros.bags.topics import choose_topics
    from lift3d_ros.bags.writer import BagWriter
    from lift3d_ros.batch.bag_files import BagFiles

    export = exports.chosen(options)
    settings = bag_settings(options)
    topics = choose_topics(
        bag,
        image=options.image,
        mask=options.mask,
        depth=options.depth,
        camera_info=options.camera_info,
        detections=options.detections,
        use_depth=not options.no_depth,
    )
    recording = read_recording(bag, topics, options.tolerance)
    chosen = select(
        recording.instants, rate=options.rate, every=options.every, at=options.at)
    lifter = methods.make_lifter(options)
    files = BagFiles(options.out, export, options.frame, lifter.name)
    work = _Work(files, BagLifter(bag, recording, settings, lifter))
    lifter.check()
    lifter.load()
    make_folder(options.out)
    used = {role: name for role, name in vars(topics).items() if name is not None}
    print(', '.join(f'{role}: {name}' for role, name in used.items()))
    with ExitStack() as stack:
        results = None
        if options.write is not None:
            results = ResultBag(stack.enter_context(BagWriter(options.write)))
        work.through(chosen, results)
    lost = [*bag.lost, *recording.notes]
    _say(lost)
    write_report(options.out / SUMMARY, {
        'bag': str(options.bag.resolve()),
        'topics': used,
        'images': len(recording.instants),
        'images_lifted': len(chosen),
        'images_without_objects': work.empty,
        'objects': work.lifted,
        'failures': work.failed,
        'lost': lost,
    })
    where = f', {options.write}' if options.write is not None else ''
    print(
        f'{work.lifted} objects of {len(chosen)} images lifted, {work.failed} failures, results '
        f'in {options.out}{where}'
    )
    return 1 if work.failed else 0


def bag_settings(options: argparse.Namespace) -> BagSettings:
    """Return how the messages of a bag are lifted; raises ``LiftError(BAD_REQUEST)``."""
    from lift3d_ros.bags.lifting import BagSettings

    return BagSettings(
        target_frame=options.target_frame,
        gravity_frame=options.gravity_frame,
        fixed_frame=options.fixed_frame,
        rectified=options.rectified,
        labels=options.label_image,
        depth_unit=options.depth_unit,
        accumulate=options.accumulate,
        plane_height=options.plane_height,
        hints=inputs.scale_hints(options),
        min_confidence=options.min_confidence,
        seed=options.seed,
    )


class _Work:
    """Lifts instants, writes their files, and counts."""

    def __init__(self, files: BagFiles, lifter: BagLifter) -> None:
        self._files = files
        self._lifter = lifter
        self.lifted = self.failed = self.empty = 0

    def through(self, instants: list[Instant], results: ResultBag | None) -> None:
        """Lift the instants; a failure does not stop the others."""
        from tqdm import tqdm

        bar_format = '{percentage:3.0f} %|{bar}| {elapsed}<{remaining}{postfix}'
        with tqdm(total=len(instants), disable=None, leave=False, bar_format=bar_format) as bar:
            for index, instant in enumerate(instants):

                def show(fraction: float, index: int = index) -> None:
                    bar.update(index + fraction - bar.n)

                start = time.monotonic()
                try:
                    outcome = self._lifter.lift(instant, show)
                except Exception as error:
                    failure = as_lift_error(error)
                    seconds = time.monotonic() - start
                    self._count(self._files.write_failure(instant, '', failure, seconds), bar)
                    if results is not None:
                        results.write_failure(instant, failure)
                    continue
                self.empty += not outcome.lifted and not outcome.failures
                for written in self._files.write(outcome, time.monotonic() - start):
                    self._count(written, bar)
                if results is not None:
                    results.write(outcome)

    def _count(self, written: WrittenObject, bar: Any) -> None:
        """Count an object and print its line."""
        name, result = written.name, written.result
        if isinstance(result, LiftError):
            self.failed += 1
            bar.write(f'{name}: {result}')
            if written.unwritten is not None:
                bar.write(
                    f'{name}: its report cannot be written either '
                    f'({written.unwritten.strerror})')
        else:
            self.lifted += 1
            bar.write(exports.line(name, result, written.report['seconds']['total']))
        sys.stdout.flush()


def _seconds(nanoseconds: int) -> str:
    """Return seconds as text, since a JSON number would lose digits."""
    from lift3d_ros.bags.transforms import seconds_text

    return seconds_text(nanoseconds)


def _say(lost: list[str]) -> None:
    for sentence in lost:
        print(f'lift3d: {sentence}', file=sys.stderr)


def _list(bag: Bag) -> None:
    """Print the topics: name, type, messages, rate, and the encoding of pictures."""
    from lift3d_ros.bags.topics import IMAGE_TYPES
    from lift3d_ros.bags.topics import picture_kind

    summaries = list(bag.topics.values())
    times = [time for each in summaries if each.count for time in (each.first, each.last)]
    if times:
        print(
            f'{bag.path}: {_seconds(min(times))} to {_seconds(max(times))}, '
            f'{1e-9 * (max(times) - min(times)):.1f} s, '
            f'{sum(each.count for each in summaries)} messages'
        )
    width = max((len(name) for name in bag.topics), default=0)
    for name, summary in bag.topics.items():
        details = f'{summary.count:7d}'
        if summary.last > summary.first:
            details += f'  {1e9 * (summary.count - 1) / (summary.last - summary.first):7.1f} Hz'
        else:
            details += ' ' * 12
        kind = ''
        if summary.topic.type in IMAGE_TYPES:
            kind = '  ({})'.format(', '.join(filter(None, picture_kind(bag, name))))
        print(f'{name:<{width}}  {details}  {summary.topic.type}{kind}')
