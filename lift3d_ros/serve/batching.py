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


"""Lift the objects of several requests together, in the one thread that uses the method."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
import copy
from dataclasses import dataclass
from dataclasses import field
import threading
import time

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry.shape import Shape
from lift3d_ros.lifter import Lifter
from lift3d_ros.lifter import MIN_MAX_FACES
from lift3d_ros.runtime.failures import as_lift_error
from lift3d_ros.runtime.process import run_within_memory
from lift3d_ros.serve.metrics import Metrics
from lift3d_ros.serve.wire import Call

Results = list[Shape | LiftError]


@dataclass(frozen=True)
class BatchingSettings:
    """
    How requests share the method.

    - ``queue``: objects that wait at most; further requests are refused with ``BUSY``.
    - ``objects``: of a batch at most; None: as many as the method lifts at once.
    - ``wait``: time in seconds that a batch waits for further requests.
    """

    queue: int = 64
    objects: int | None = None
    wait: float = 0.005


@dataclass(eq=False)
class _Job:
    call: Call
    deadline: float
    cancelled: threading.Event
    future: Future[Results] = field(default_factory=Future)
    submitted: float = field(default_factory=time.monotonic)
    results: dict[int, Shape | LiftError] = field(default_factory=dict)


class Batcher:
    """Takes calls, and lifts their objects in batches."""

    def __init__(self, lifter: Lifter, settings: BatchingSettings, metrics: Metrics) -> None:
        """Configure; ``start`` loads the method."""
        self._lifter = lifter
        self._settings = settings
        self._metrics = metrics
        self._size = settings.objects or max(1, lifter.method.max_concurrent)
        self._jobs: deque[_Job] = deque()
        self._condition = threading.Condition()
        self._is_open = False
        self._thread = threading.Thread(target=self._run, name='lift3d-batches')

    @property
    def waiting(self) -> int:
        """The number of objects in the queue."""
        with self._condition:
            return sum(len(job.call.requests) for job in self._jobs)

    @property
    def is_alive(self) -> bool:
        """Whether calls are lifted."""
        return self._is_open and self._thread.is_alive()

    def start(self) -> None:
        """Load the method, and take calls from now on; raises ``LiftError``."""
        self._lifter.check()
        self._lifter.load()
        self._is_open = True
        self._thread.start()

    def close(self) -> None:
        """Refuse what waits, and wait for what is lifted."""
        with self._condition:
            self._is_open = False
            jobs = list(self._jobs)
            self._jobs.clear()
            self._condition.notify_all()
        for job in jobs:
            job.future.set_exception(
                LiftError(ErrorCode.NOT_ACTIVE, 'The server is shutting down.'))
        if self._thread.is_alive():
            self._thread.join()

    def submit(self, call: Call, cancelled: threading.Event) -> Future[Results]:
        """
        Queue a call; set ``cancelled`` when nobody waits for it any more.

        Raises ``LiftError``: ``BUSY`` for a full queue, ``NOT_ACTIVE`` after ``close``,
        ``BAD_REQUEST`` for too few faces.
        """
        if call.max_faces < MIN_MAX_FACES:
            raise LiftError(
                ErrorCode.BAD_REQUEST,
                f'max_faces is {call.max_faces}; it must be at least {MIN_MAX_FACES}.')
        job = _Job(call, time.monotonic() + call.timeout, cancelled)
        with self._condition:
            if not self._is_open:
                raise LiftError(ErrorCode.NOT_ACTIVE, 'The server is shutting down.')
            waiting = sum(len(other.call.requests) for other in self._jobs)
            if self._jobs and waiting + len(call.requests) > self._settings.queue:
                raise LiftError(
                    ErrorCode.BUSY, f'{waiting} objects wait already; retry later, or start the '
                    'server with a longer --queue.')
            self._jobs.append(job)
            self._condition.notify_all()
        return job.future

    def _run(self) -> None:
        while (jobs := self._next()):
            try:
                self._lift(jobs)
            except Exception as error:
                # The thread must survive any error.
                failure = as_lift_error(error)
                for job in jobs:
                    if not job.future.done():
                        job.future.set_exception(failure)

    def _next(self) -> list[_Job]:
        """Return the jobs of the next batch; none after ``close``."""
        with self._condition:
            while not self._jobs:
                if not self._is_open:
                    return []
                self._condition.wait()
            first = self._jobs[0].submitted
            while self._is_open and self._jobs and (
                sum(len(job.call.requests) for job in self._jobs) < self._size
            ):
                left = first + self._settings.wait - time.monotonic()
                if left <= 0.0 or not self._condition.wait(left):
                    break
            jobs: list[_Job] = []
            objects = 0
            while self._jobs and (
                not jobs or objects + len(self._jobs[0].call.requests) <= self._size
            ):
                jobs.append(self._jobs.popleft())
                objects += len(jobs[-1].call.requests)
            # Closed while it waited: ``close`` has answered.
            return jobs if jobs or not self._is_open else self._next()

    def _lift(self, jobs: list[_Job]) -> None:
        """Lift the objects of some jobs; a job is answered as soon as its own are done."""
        places = [(job, index) for job in jobs for index in range(len(job.call.requests))]
        now = time.monotonic()
        self._metrics.batch(len(places), [now - job.submitted for job in jobs])
        lock = threading.Lock()

        def work(place: int) -> Shape | LiftError:
            job, index = places[place]
            start = time.monotonic()
            result = self._lift_one(job, index)
            code = 'OK' if isinstance(result, Shape) else result.code.value
            self._metrics.object(code, time.monotonic() - start)
            exhausted = isinstance(result, LiftError) and (
                result.code is ErrorCode.OUT_OF_MEMORY)
            with lock:
                if exhausted and index not in job.results and len(places) > 1:
                    # It may be lifted again alone, at the end of the batch.
                    return result
                job.results[index] = result
                _answer(job)
            return result

        results = run_within_memory(work, len(places), self._lifter.method.max_concurrent)
        for (job, index), result in zip(places, results, strict=True):
            job.results[index] = result
        for job in jobs:
            _answer(job)

    def _lift_one(self, job: _Job, index: int) -> Shape | LiftError:
        lifter = self._lifter
        if job.call.max_faces != lifter.max_faces:
            # The method, and what it has loaded, is shared.
            lifter = copy.copy(lifter)
            lifter.max_faces = job.call.max_faces
        is_cancelled: Callable[[], bool] = job.cancelled.is_set
        try:
            return lifter.lift(
                job.call.frame, job.call.requests[index], cancelled=is_cancelled,
                deadline=job.deadline)
        except Exception as error:
            return as_lift_error(error)


def _answer(job: _Job) -> None:
    """Answer a job all of whose objects have results."""
    if len(job.results) == len(job.call.requests) and not job.future.done():
        job.future.set_result([job.results[index] for index in range(len(job.results))])
