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


"""``lift3d batch``: thousands of scenes and bags in, meshes out, on Ray."""

from __future__ import annotations

import argparse
from pathlib import Path
import sys
import time
from typing import TYPE_CHECKING

from lift3d_ros.cli import exports
from lift3d_ros.cli import lift
from lift3d_ros.cli import methods
from lift3d_ros.cli import values
from lift3d_ros.cli.fleet import bag

if TYPE_CHECKING:
    from lift3d_ros.batch.items import Item
    from lift3d_ros.batch.ray_pool import ClusterSettings
    from lift3d_ros.batch.run import Summary
    from lift3d_ros.batch.statistics import Snapshot
    from lift3d_ros.batch.work import WorkSettings

#: Failures and lost workers that are printed; the others are in the manifest.
_MAX_LINES = 50

#: Period of the lines of progress where the output is not a terminal, seconds.
_PERIOD_S = 10.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        'inputs',
        nargs='+',
        type=Path,
        metavar='INPUT',
        help='scene folder, image with transparency, bag, folder that contains any of these, or a '
        'list (.txt, a path on each line)',
    )
    parser.add_argument(
        '--out',
        type=Path,
        required=True,
        metavar='DIR',
        help='folder for the results, in the folder structure of the inputs, and manifest.jsonl; '
        'the same command resumes an interrupted batch',
    )
    group = parser.add_argument_group('workers')
    group.add_argument(
        '--cluster',
        metavar='ADDRESS',
        help='Ray cluster: HOST:PORT, or auto on one of its nodes; all nodes must see the inputs '
        'and DIR under the same paths (default: Ray on this machine)',
    )
    group.add_argument(
        '--workers',
        type=values.natural,
        metavar='N',
        help='worker processes; 0: lift in this process, without Ray (default: as many as fit)',
    )
    group.add_argument(
        '--threads', type=values.count, default=1, metavar='N',
        help='threads per worker (default: 1, which gives the highest throughput)',
    )
    group.add_argument(
        '--gpus-per-worker', type=values.positive, metavar='F',
        help='GPUs per worker, may be a fraction; needs --device cuda (default: 1 with --device '
        'cuda, else none)',
    )
    group = parser.add_argument_group('failures')
    group.add_argument(
        '--retries', type=values.natural, default=2, metavar='N',
        help='further attempts after a failure or a lost worker (default: 2)',
    )
    group.add_argument(
        '--retry-failed', action='store_true',
        help='repeat the items that failed in earlier runs',
    )
    group.add_argument(
        '--timeout', type=values.positive, metavar='SECONDS',
        help='time limit of a scene (default: none)',
    )
    group = parser.add_argument_group('report')
    group.add_argument(
        '--report', action='store_true',
        help='write report.html: counts, times, errors, and thumbnails',
    )
    group.add_argument(
        '--thumbnails', type=values.natural, default=100, metavar='N',
        help='number of thumbnails in the report, evenly spread over the scenes (default: 100)',
    )
    lift.add_settings(parser)
    bag.add_settings(parser, ' of bags')
    parser.add_argument(
        '--part-images', type=values.count, default=20, metavar='N',
        help='images of a bag per task (default: 20)',
    )


def run(options: argparse.Namespace) -> int:
    """
    Lift all scenes and bags; return 0 if all succeeded, 1 if any failed.

    Raises ``LiftError`` as ``run_batch``.
    """
    from lift3d_ros.batch.report import write_html
    from lift3d_ros.batch.run import BatchSettings
    from lift3d_ros.batch.run import run_batch

    terminal = _Terminal()
    work = _work(options)
    summary = run_batch(
        options.inputs,
        options.out,
        work,
        _cluster(options),
        BatchSettings(
            retries=options.retries,
            retry_failed=options.retry_failed,
            thumbnails=options.thumbnails if options.report else 0,
        ),
        check=lambda items: _check(options, items),
        progress=terminal.progress,
        say=terminal.say,
    )
    terminal.close()
    print(_line(summary, options.out))
    if options.report:
        print(f'report: {write_html(options.out)}')
    return 0 if summary.ok else 1


def _line(summary: Summary, out: Path) -> str:
    """Return the last line of a batch."""
    if summary.seconds:
        done = summary.lifted + summary.failed
        text = (
            f'{summary.lifted} of {done} items lifted in {summary.seconds:.1f} s '
            f'({done / summary.seconds:.2f}/s), {summary.objects} objects')
    else:
        text = 'nothing left to do'
    for count, what in (
        (summary.objects_failed, 'objects failed'),
        (summary.skipped, 'items were done before'),
        (summary.retried, 'attempts after the first'),
        (summary.lost, 'workers lost'),
        (summary.failures, f'items failed for good, listed in {out}/failures.txt'),
    ):
        if count:
            text += f', {count} {what}'
    return f'{text}; results in {out}'


def _check(options: argparse.Namespace, items: list[Item]) -> None:
    """Raise ``LiftError(BAD_REQUEST)`` if two scenes would write the same file."""
    export = exports.chosen(options)
    if export.points or export.is_description:
        scenes = [item.key for item in items if item.kind == 'scene']
        exports.check_names(export, options.out, scenes)


def _work(options: argparse.Namespace) -> WorkSettings:
    """Return what the workers lift with; raises ``LiftError``."""
    from lift3d_ros.batch.work import BagInputs
    from lift3d_ros.batch.work import WorkSettings
    from lift3d_ros.lifter import DEFAULT_METHOD

    topics = {
        name: getattr(options, name)
        for name in ('image', 'mask', 'depth', 'camera_info', 'detections')
    }
    return WorkSettings(
        method=options.method or DEFAULT_METHOD,
        lifter=methods.lifter_arguments(options),
        scene=lift.scene_settings(options),
        bag=bag.bag_settings(options),
        bag_inputs=BagInputs(
            topics={**topics, 'use_depth': not options.no_depth},
            tolerance=options.tolerance,
            rate=options.rate,
            every=options.every,
            part_images=options.part_images,
            frame=options.frame,
        ),
        threads=options.threads,
        timeout=options.timeout,
    )


def _cluster(options: argparse.Namespace) -> ClusterSettings | None:
    """Return the workers; None: this process."""
    from lift3d_ros.batch.ray_pool import ClusterSettings
    from lift3d_ros.errors import bad_request

    if options.gpus_per_worker is not None and options.device != 'cuda':
        raise bad_request('--gpus-per-worker needs --device cuda.')
    if options.workers == 0:
        if options.cluster is not None:
            raise bad_request('--workers 0 lifts in this process; leave --cluster out.')
        return None
    gpus = options.gpus_per_worker or (1.0 if options.device == 'cuda' else 0.0)
    return ClusterSettings(options.cluster, options.workers, options.threads, gpus)


class _Terminal:
    """Progress as one line on a terminal, elsewhere as a line from time to time."""

    def __init__(self) -> None:
        from tqdm import tqdm

        self._bar = tqdm(total=0, disable=None, leave=False, bar_format='{desc}')
        self._last = time.monotonic()
        self._lines = 0

    def progress(self, snapshot: Snapshot) -> None:
        if not self._bar.disable:
            self._bar.set_description_str(str(snapshot))
        elif time.monotonic() - self._last > _PERIOD_S:
            self._last = time.monotonic()
            print(snapshot, flush=True)

    def say(self, text: str) -> None:
        self._lines += 1
        if self._lines <= _MAX_LINES:
            self._bar.write(text)
        elif self._lines == _MAX_LINES + 1:
            self._bar.write('further failures are in the manifest')
        sys.stdout.flush()

    def close(self) -> None:
        self._bar.close()
