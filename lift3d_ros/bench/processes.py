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

"""Tasks in worker processes; a process that dies is one failed task."""

from __future__ import annotations

from abc import ABC
from abc import abstractmethod
from collections import deque
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
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
import time
import traceback
from typing import Any
from typing import ClassVar

from lift3d_ros.bench.results import CannotWriteError
from lift3d_ros.bench.results import Row
from lift3d_ros.bench.score import FAILED
from lift3d_ros.bench.settings import Task
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.runtime import memory

#: Limits of the threads of libraries that would each take all cores in each process.
_THREAD_LIMITS = ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS')

_worker: TaskWorker | None = None


class TaskWorker(ABC):
    """
    The worker of one process.

    ``failed`` are the figures of a failure; ``fatal`` are codes of errors that end the run,
    because they would repeat in every scene.
    """

    failed: ClassVar[Mapping[str, Any]] = {}
    fatal: ClassVar[tuple[ErrorCode, ...]] = ()

    def run(self, task: Task) -> list[Row]:
        """
        Return a row for each track of the task; an error becomes a row.

        Raises ``LiftError`` where the run cannot continue: ``INTERNAL`` where a file cannot be
        written, and the codes of ``fatal``.
        """
        rows = []
        for track in task.tracks:
            start = time.monotonic()
            row = task.row(track)
            try:
                row.update(self.measure(task, track))
            except Exception as error:
                if self.ends_run(error):
                    raise
                row.update(failure(error), **self.failed)
            row['wall_seconds'] = round(time.monotonic() - start, 3)
            row['peak_memory_mb'] = round(memory.peak_mb(), 1)
            rows.append(row)
        return rows

    @abstractmethod
    def measure(self, task: Task, track: str) -> Row:
        """Return the figures of a task in a track; raises whatever a predictor raises."""

    def ends_run(self, error: Exception) -> bool:
        """Return whether an error ends the run."""
        return isinstance(error, CannotWriteError) or (
            isinstance(error, LiftError) and error.code in self.fatal)


def failure(error: Exception) -> Row:
    """Return the entries of a row that describe an error."""
    if isinstance(error, LiftError):
        code, message = error.code, error.message
    elif isinstance(error, MemoryError):
        code, message = ErrorCode.OUT_OF_MEMORY, 'The memory ran out.'
    else:
        code, message = ErrorCode.INTERNAL, f'{type(error).__name__}: {error}'
    row: Row = {'ok': False, 'error': {'code': code.value, 'message': message}}
    if code is ErrorCode.INTERNAL:
        row['error']['trace'] = ''.join(traceback.format_exception(error)[-3:])
    return row


def run_tasks(
    tasks: Sequence[Task], make_worker: Callable[[], TaskWorker], jobs: int
) -> Iterator[list[Row]]:
    """
    Yield the rows of each task as they arrive, in any order.

    ``make_worker``, which must pickle, is called once in each of ``jobs`` processes; one job runs
    in this process. Consecutive tasks of a scene go to one process, which renders the scene once.
    A task whose process dies is a failure, and the process is replaced.
    """
    if jobs == 1:
        worker = make_worker()
        for task in tasks:
            yield worker.run(task)
        return
    scenes = deque(deque(group) for _, group in itertools.groupby(tasks, lambda task: task.scene))
    queues: list[deque[Task]] = [deque() for _ in range(jobs)]
    running: dict[Future[list[Row]], tuple[int, Task]] = {}
    with ExitStack() as stack:
        # One pool for each process: a broken pool identifies the task.
        pools = [stack.enter_context(_process(make_worker, jobs)) for _ in range(jobs)]
        idle = list(range(jobs))
        while idle or running:
            for index in idle:
                following = _next(queues, scenes, index)
                if following is not None:
                    running[pools[index].submit(_run, following)] = (index, following)
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            idle = []
            for future in done:
                index, task = running.pop(future)
                idle.append(index)
                try:
                    rows = future.result()
                except BrokenProcessPool:
                    rows = _rows_of_death(task)
                    pools[index] = stack.enter_context(_process(make_worker, jobs))
                yield rows


def _next(queues: list[deque[Task]], scenes: deque[deque[Task]], index: int) -> Task | None:
    """Return the next task of a process: of its scene, of a new one, or of another's queue."""
    if not queues[index] and scenes:
        queues[index] = scenes.popleft()
    source = queues[index] or max(queues, key=len)
    return source.popleft() if source else None


def _process(make_worker: Callable[[], TaskWorker], jobs: int) -> ProcessPoolExecutor:
    for name in _THREAD_LIMITS:
        os.environ.setdefault(name, str(max(1, (os.cpu_count() or 1) // jobs)))
    # Spawned: a fork after libraries have started threads may hang.
    return ProcessPoolExecutor(
        1, multiprocessing.get_context('spawn'), _initialise, (make_worker,)
    )


def _rows_of_death(task: Task) -> list[Row]:
    death = LiftError(
        ErrorCode.INTERNAL, 'The process died: out of memory, or a fault in native code.'
    )
    return [{**task.row(track), **failure(death), **FAILED} for track in task.tracks]


def _initialise(make_worker: Callable[[], TaskWorker]) -> None:
    global _worker
    # Ctrl-C reaches every process of the terminal; only the parent reports it.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    _worker = make_worker()


def _exit_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _run(task: Task) -> list[Row]:
    assert _worker is not None
    return _worker.run(task)
