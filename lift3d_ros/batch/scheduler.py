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


"""Which worker lifts which item, and what becomes of items whose worker is lost."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from collections.abc import Iterable
from dataclasses import dataclass
from dataclasses import field
import time
from typing import Any

from lift3d_ros.batch.items import Item
from lift3d_ros.batch.pool import Done
from lift3d_ros.batch.pool import Event
from lift3d_ros.batch.pool import Pool
from lift3d_ros.batch.pool import Ready
from lift3d_ros.batch.pool import Refused
from lift3d_ros.batch.work import STOP
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.runtime.reports import error_entry

#: Items of a worker: the one it lifts, and one that waits, so that it need not wait.
_DEPTH = 2

#: Time in seconds after which the scheduler looks for items that take too long.
_TICK_S = 0.5

#: Workers that may be lost one after another before any of them is ready.
_MAX_FAILED_STARTS = 5

#: Code and entry of the record of an item that lost its worker each time.
WORKER_LOST = ErrorCode.INTERNAL


@dataclass(eq=False)
class _Task:
    item: Item
    picture: bool
    attempts: int = 0


@dataclass(eq=False)
class _Worker:
    place: str = ''
    is_ready: bool = False
    tasks: deque[_Task] = field(default_factory=deque)
    #: When the oldest task began.
    began: float = 0.0


class Scheduler:
    """
    Distributes items to the workers of a pool, and replaces workers that are lost.

    A failed item, and the item that a lost worker worked on, is tried again ``retries`` times at
    the end of the queue. Items that waited for a lost worker do not count that as an attempt.
    """

    def __init__(
        self,
        pool: Pool,
        workers: int,
        record: Callable[[Item, dict[str, Any]], Iterable[Item]],
        *,
        retries: int = 2,
        limit: float | None = None,
        start_timeout: float = 600.0,
        on_event: Callable[[str], None] = lambda text: None,
        tick: Callable[[], None] = lambda: None,
    ) -> None:
        """
        Configure.

        ``record`` receives each item with its final record, once, and returns items that follow
        from it. ``limit`` ends workers whose item takes longer, seconds. ``start_timeout`` is how
        long all workers may be missing, seconds. ``on_event`` receives sentences on lost workers;
        ``tick`` is called at least every half second.
        """
        self._pool = pool
        self._wanted = workers
        self._record = record
        self._retries = retries
        self._limit = limit
        self._start_timeout = start_timeout
        self._on_event = on_event
        self._tick = tick
        self._queue: deque[_Task] = deque()
        self._workers: dict[int, _Worker] = {}
        self._failed_starts = 0
        #: Attempts after the first, and workers that were lost.
        self.retried = 0
        self.lost = 0

    @property
    def ready(self) -> int:
        """The number of workers that have loaded their models."""
        return sum(worker.is_ready for worker in self._workers.values())

    def run(self, items: Iterable[tuple[Item, bool]]) -> None:
        """
        Work on all items, each with whether it gets a thumbnail, and those that follow.

        Raises ``LiftError`` if no worker can work, or if a disk is full; what is recorded then
        stays.
        """
        self._queue.extend(_Task(item, picture) for item, picture in items)
        missing_since = time.monotonic()
        while self._queue or any(worker.tasks for worker in self._workers.values()):
            self._start_missing()
            self._feed()
            for event in self._pool.wait(_TICK_S):
                self._handle(event)
            self._end_hung()
            if self.ready:
                missing_since = time.monotonic()
            elif time.monotonic() - missing_since > self._start_timeout:
                raise LiftError(
                    ErrorCode.TIMEOUT,
                    f'No worker was ready within {self._start_timeout:.0f} s; check that the '
                    'cluster has free CPUs and GPUs for --threads and --gpus-per-worker.')
            self._tick()

    def _start_missing(self) -> None:
        """Start workers in place of those that are gone, as far as there is work for them."""
        unfinished = len(self._queue) + sum(len(each.tasks) for each in self._workers.values())
        while len(self._workers) < min(self._wanted, unfinished):
            self._workers[self._pool.start()] = _Worker()

    def _feed(self) -> None:
        """Give each worker an item, then a second one to wait, while there are enough."""
        ready = {number: each for number, each in self._workers.items() if each.is_ready}
        for depth in range(1, _DEPTH + 1):
            for number, worker in ready.items():
                # The last items are not made to wait for one worker while another is idle.
                if len(self._queue) <= (0 if depth == 1 else len(ready)):
                    break
                if len(worker.tasks) < depth:
                    task = self._queue.popleft()
                    if not worker.tasks:
                        worker.began = time.monotonic()
                    worker.tasks.append(task)
                    self._pool.submit(number, task.item, task.picture)

    def _handle(self, event: Event) -> None:
        worker = self._workers.get(event.worker)
        if worker is None:
            return
        if isinstance(event, Ready):
            worker.is_ready, worker.place = True, event.place
            self._failed_starts = 0
        elif isinstance(event, Refused):
            raise event.error
        elif isinstance(event, Done):
            task = worker.tasks.popleft()
            worker.began = time.monotonic()
            if STOP in event.record:
                entry = event.record[STOP]
                raise LiftError(ErrorCode(entry['code']), entry['message'])
            self._finish(task, {**event.record, 'worker': worker.place})
        else:
            self._lose(event.worker, event.reason)

    def _finish(self, task: _Task, record: dict[str, Any]) -> None:
        """Record a task, or try it again."""
        task.attempts += 1
        if not record['ok'] and task.attempts <= self._retries:
            self.retried += 1
            self._queue.append(task)
            return
        for item in self._record(task.item, {**record, 'attempts': task.attempts}):
            self._queue.append(_Task(item, task.picture))

    def _lose(self, number: int, reason: str) -> None:
        """Take a lost worker from the list, and see to its items."""
        worker = self._workers.pop(number)
        self.lost += 1
        if not worker.is_ready:
            self._failed_starts += 1
            if self._failed_starts >= _MAX_FAILED_STARTS:
                raise LiftError(
                    ErrorCode.INTERNAL,
                    f'{self._failed_starts} workers ended before they were ready; the last: '
                    f'{reason}')
        blamed = worker.tasks.popleft() if worker.tasks else None
        self._on_event(
            f'worker {worker.place or number} was lost ({reason})'
            + (f' while it lifted {blamed.item.key}' if blamed else ''))
        self._queue.extendleft(reversed(worker.tasks))
        if blamed is not None:
            error = LiftError(
                WORKER_LOST, f'The worker was lost each time that it lifted this ({reason}).')
            self._finish(blamed, {
                'key': blamed.item.key, 'kind': blamed.item.kind, 'ok': False,
                'error': error_entry(error), 'worker': worker.place,
            })

    def _end_hung(self) -> None:
        """End workers whose item takes longer than the limit."""
        if self._limit is None:
            return
        now = time.monotonic()
        for number, worker in list(self._workers.items()):
            if worker.tasks and now - worker.began > self._limit * max(
                worker.tasks[0].item.count, 1
            ):
                self._pool.end(number)
                self._lose(number, f'ended after {now - worker.began:.0f} s')
