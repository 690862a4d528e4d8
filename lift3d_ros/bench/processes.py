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


"""Tasks spread over processes, of which any may die without ending the run."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED
from concurrent.futures import Future
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures import wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
import itertools
import multiprocessing
import os
import signal
import threading
from typing import Protocol

from lift3d_ros.bench.results import Row
from lift3d_ros.bench.settings import Task
from lift3d_ros.bench.worker import failure
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError

#: Libraries that would each take all cores in each process.
_THREAD_LIMITS = ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS')

_worker: Runner | None = None


class Runner(Protocol):
    """What does the tasks of one process."""

    def run(self, task: Task) -> list[Row]:
        """Return a row for each track of the task."""
        ...


def run_tasks(
    tasks: Sequence[Task], make_worker: Callable[[], Runner], jobs: int
) -> Iterator[list[Row]]:
    """
    Yield the rows of each task as they come, in any order.

    ``make_worker``, which can be pickled, is called once in each of ``jobs`` processes; with one
    job all is done in this process. Neighbouring tasks of one scene go to one process, which makes
    the scene once. A task whose process dies is a failure, and the process is replaced.
    """
    if jobs == 1:
        worker = make_worker()
        for task in tasks:
            yield worker.run(task)
        return
    scenes = deque(deque(group) for _, group in itertools.groupby(tasks, lambda task: task.scene))
    own: list[deque[Task]] = [deque() for _ in range(jobs)]
    running: dict[Future[list[Row]], tuple[int, Task]] = {}
    with ExitStack() as stack:
        # One pool for each process: when it breaks, it is known which task was at fault.
        pools = [stack.enter_context(_process(make_worker, jobs)) for _ in range(jobs)]
        idle = list(range(jobs))
        while idle or running:
            for lane in idle:
                following = _next(own, scenes, lane)
                if following is not None:
                    running[pools[lane].submit(_run, following)] = (lane, following)
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            idle = []
            for future in done:
                lane, task = running.pop(future)
                idle.append(lane)
                try:
                    rows = future.result()
                except BrokenProcessPool:
                    rows = _died(task)
                    pools[lane] = stack.enter_context(_process(make_worker, jobs))
                yield rows


def _next(own: list[deque[Task]], scenes: deque[deque[Task]], lane: int) -> Task | None:
    """Return what a process shall do next: its scene, a new one, or a part of another's."""
    if not own[lane] and scenes:
        own[lane] = scenes.popleft()
    source = own[lane] or max(own, key=len)
    return source.popleft() if source else None


def _process(make_worker: Callable[[], Runner], jobs: int) -> ProcessPoolExecutor:
    for name in _THREAD_LIMITS:
        os.environ.setdefault(name, str(max(1, (os.cpu_count() or 1) // jobs)))
    # Started afresh, not forked: forking after libraries have started threads may hang.
    return ProcessPoolExecutor(
        1, multiprocessing.get_context('spawn'), _initialise, (make_worker,)
    )


def _died(task: Task) -> list[Row]:
    death = LiftError(
        ErrorCode.INTERNAL, 'The process died: out of memory, or a fault in native code.'
    )
    place = {'scene': task.scene, 'object': task.object, 'contender': task.contender}
    return [{**place, 'track': track, **failure(death)} for track in task.tracks]


def _initialise(make_worker: Callable[[], Runner]) -> None:
    global _worker
    # Ctrl-C reaches every process of the terminal; only the first has something to say.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _worker = make_worker()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _run(task: Task) -> list[Row]:
    assert _worker is not None
    return _worker.run(task)
