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
How long a cancelled lift goes on: the longest time between two checks for a cancellation.

    python -m lift3d_ros.bench.robustness.cancel_gaps --methods geometric one2345 --limit 0.5

Each method lifts the packaged scene once, with and without depth, and ``scene`` lifts the whole
frame. The time from one check to the next, and to the end, bounds the delay of a cancellation at
any moment. It is given as time of the clock and of the thread, which other processes do not
lengthen; ``--limit`` is for the latter, and the exit status 1 if it is exceeded. The lines that
ran when a gap had lasted for half of the limit are given with it. A lift before it warms up, as in
the node.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import replace
import json
from pathlib import Path
import sys
import threading
import time
import traceback
from typing import Any

from lift3d_ros.errors import LiftError
from lift3d_ros.io.scene import read_scene
from lift3d_ros.lifter import DISTILLED
from lift3d_ros.lifter import Lifter
from lift3d_ros.lifter import METHODS
from lift3d_ros.methods.distilled.distilled import DistilledMethod
from lift3d_ros.synthetic.demo_scene import DEMO_SCENE

#: Name of the lift of a whole frame beside the methods.
SCENE = 'scene'

#: Steps of an optimisation: every kind of step and report is among so many.
_STEPS = 60

#: Period at which the lines that run are looked up, seconds.
_LOOK_S = 0.02

#: Lines of a stack that are given, the innermost.
_LINES = 6


class GapRecorder:
    """Notes when ``cancelled`` is called; pass it as that argument of a lift."""

    def __init__(self, limit: float) -> None:
        """Note what runs in gaps of more than half of ``limit`` seconds."""
        self._limit = limit
        self._thread = threading.get_ident()
        self._last = time.monotonic(), time.thread_time()
        self._stack: list[str] = []
        self._stop = threading.Event()
        self._watch = threading.Thread(target=self._look, daemon=True)
        self.stage = ''
        self.checks = 0
        self.gaps: list[dict[str, Any]] = []

    def __call__(self) -> bool:
        """Note a check; never cancel."""
        if threading.get_ident() != self._thread:
            return False
        now = time.monotonic(), time.thread_time()
        self.checks += 1
        self.gaps.append({
            'seconds': now[0] - self._last[0], 'cpu_s': now[1] - self._last[1],
            'stage': self.stage, 'stack': self._stack})
        self._last, self._stack = now, []
        return False

    def progress(self, stage: str, fraction: float) -> None:
        """Note the stage of the next gaps."""
        self.stage = stage

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Record until the end of the block, which ends the last gap."""
        self._last = time.monotonic(), time.thread_time()
        self._watch.start()
        try:
            yield
        finally:
            self()
            self._stop.set()
            self._watch.join()

    def worst(self, count: int = 3) -> list[dict[str, Any]]:
        """Return the longest gaps by the time of the thread, seconds rounded."""
        found = sorted(self.gaps, key=lambda gap: -gap['cpu_s'])[:count]
        return [{**gap, 'seconds': round(gap['seconds'], 3), 'cpu_s': round(gap['cpu_s'], 3)}
                for gap in found]

    def _look(self) -> None:
        while not self._stop.wait(_LOOK_S):
            if self._stack or time.monotonic() - self._last[0] < 0.5 * self._limit:
                continue
            frame = sys._current_frames().get(self._thread)
            if frame is not None:
                self._stack = [
                    f'{Path(line.filename).name}:{line.lineno} {line.name}'
                    for line in traceback.extract_stack(frame)[-_LINES:]]


def measure(method: str, with_depth: bool, limit: float, steps: int) -> dict[str, Any]:
    """Lift the packaged scene with a method; return the worst gaps."""
    frame, mask = read_scene(DEMO_SCENE)
    if not with_depth:
        frame = replace(frame, depth=None)
    name = 'geometric' if method == SCENE else method
    lifter = Lifter(name, steps=steps) if name in DISTILLED else Lifter(name)
    lifter.load()
    # The first lift of a process imports and compiles code; a node warms up before requests.
    warm = lifter.method
    if isinstance(warm, DistilledMethod):
        warm = replace(warm, steps=1)
    Lifter(warm).lift(frame, mask)
    recorder = GapRecorder(limit)
    error = ''
    with recorder.recording():
        try:
            if method == SCENE:
                lifter.lift_scene(
                    frame, {'object': mask}, progress=recorder.progress, cancelled=recorder)
            else:
                lifter.lift(frame, mask, progress=recorder.progress, cancelled=recorder)
        except LiftError as failure:
            error = str(failure)
    lifter.unload()
    return {'method': method, 'depth': with_depth, 'error': error, 'checks': recorder.checks,
             'worst': recorder.worst()}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the methods of the command line; return 1 if a gap exceeds the limit."""
    parser = argparse.ArgumentParser(
        prog='python -m lift3d_ros.bench.robustness.cancel_gaps', description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--methods', nargs='+', choices=(*METHODS, SCENE),
                        default=[*METHODS, SCENE])
    parser.add_argument('--limit', type=float, default=0.5, help='seconds')
    parser.add_argument('--steps', type=int, default=_STEPS, help='of methods that optimise')
    parser.add_argument('--out', type=Path, help='folder for cancel_gaps.json')
    options = parser.parse_args(arguments)
    found = []
    for method in options.methods:
        for with_depth in (True, False):
            found.append(measure(method, with_depth, options.limit, options.steps))
            print(json.dumps(found[-1]), flush=True)
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / 'cancel_gaps.json').write_text(json.dumps(found, indent=1) + '\n')
    return 1 if any(one['worst'][0]['cpu_s'] > options.limit for one in found) else 0


if __name__ == '__main__':
    sys.exit(main())
