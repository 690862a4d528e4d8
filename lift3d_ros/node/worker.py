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

"""One thread that lifts, and the bounded queue before it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
import threading
import time
import traceback
from typing import Any

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.lifter import LEARNED
from lift3d_ros.lifter import Lifter
from lift3d_ros.runtime import memory

#: Seconds between two looks of a waiting request at whether it was cancelled.
_POLL = 0.02


def as_lift_error(error: Exception) -> LiftError:
    """Return an error as one with a code: ``OUT_OF_MEMORY``, or ``INTERNAL`` with its cause."""
    if isinstance(error, LiftError):
        return error
    if memory.is_exhausted(error):
        failure = memory.exhausted(error)
    else:
        failure = LiftError(ErrorCode.INTERNAL, f'{type(error).__name__}: {error}')
    failure.__cause__ = error
    return failure


def trace_of(error: LiftError) -> str:
    """Return the traceback of what caused an error, as the log shows it."""
    cause = error.__cause__ or error
    return ''.join(traceback.format_exception(type(cause), cause, cause.__traceback__))


class Lifters:
    """The lifters of a worker, one for each method, made when first needed."""

    def __init__(self, device: str, weights: str | None = None) -> None:
        """Compute on ``device``; ``weights`` are for methods with networks alone."""
        self._device = device
        self._weights = weights
        self._lifters: dict[str, tuple[tuple[int, int], Lifter]] = {}

    def make(self, method: str, max_faces: int, samples: int) -> Lifter:
        """
        Return a new lifter of a method, not loaded; raises ``LiftError(BAD_REQUEST)``.

        Every mesh has at most ``max_faces`` triangles; ``samples`` are for methods with networks.
        """
        networks: dict[str, Any] = {}
        if method in LEARNED:
            networks = {'weights': self._weights, 'samples': samples}
        return Lifter(method, max_faces, self._device, **networks)

    def get(self, method: str, max_faces: int, samples: int) -> Lifter:
        """
        Return the lifter of a method, loaded; raises ``LiftError``.

        One of other numbers is unloaded first: the memory is for one set of networks.
        """
        wanted = max_faces, samples
        if method in self._lifters and self._lifters[method][0] != wanted:
            self._lifters.pop(method)[1].unload()
        if method not in self._lifters:
            lifter = self.make(method, max_faces, samples)
            lifter.load()
            self._lifters[method] = wanted, lifter
        return self._lifters[method][1]

    def unload(self) -> None:
        """Free what all of them took."""
        for _, lifter in self._lifters.values():
            lifter.unload()
        self._lifters.clear()


class Job:
    """
    Something for the worker to do, and the wait for it.

    ``work`` gets the job and the lifters and returns the result; it asks ``is_cancelled`` between
    steps and obeys ``deadline``, a value of ``time.monotonic()``, or raises ``LiftError``.
    """

    def __init__(
        self,
        work: Callable[[Job, Lifters], Any],
        *,
        cancelled: Callable[[], bool] | None = None,
        deadline: float | None = None,
    ) -> None:
        """Make a job that ``cancelled`` may end."""
        self.work = work
        self.deadline = deadline
        self.result: Any = None
        self.error: LiftError | None = None
        #: Seconds from the submission to the start of the work, and of the work.
        self.waited = 0.0
        self.worked = 0.0
        self.submitted = time.monotonic()
        self._cancelled = cancelled
        self._end: LiftError | None = None
        self._done = threading.Event()

    def is_cancelled(self) -> bool:
        """Return whether the work shall stop."""
        return self._end is not None or (self._cancelled is not None and self._cancelled())

    def end(self, error: LiftError) -> None:
        """Make the work stop at its next look, with this error."""
        self._end = error

    def finish(self, result: Any = None, error: LiftError | None = None) -> None:
        """Wake who waits for the job."""
        self.result = result
        self.error = None if error is None else self.reason(error)
        self._done.set()

    def reason(self, error: LiftError) -> LiftError:
        """Return why the work stopped, of which the work itself only knows that it was told to."""
        if error.code is ErrorCode.CANCELLED and self._end is not None:
            return self._end
        return error

    @property
    def done(self) -> bool:
        """Whether the job has ended."""
        return self._done.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the end of the job; return whether it came within ``timeout`` seconds."""
        return self._done.wait(timeout)


class Worker:
    """
    Owns the lifters and the one thread that uses them.

    Requests go first, in their order. What follows a job that is done, such as pictures that
    somebody watches, and a stream have one place each beside the queue, which a newer one takes
    over; what follows goes before the next frame, of which there may always be one.
    """

    def __init__(self, capacity: int, on_done: Callable[[Job], None]) -> None:
        """Let ``capacity`` requests wait; ``on_done`` is called in the thread after each job."""
        self._capacity = capacity
        self._on_done = on_done
        self._queue: deque[Job] = deque()
        self._follower: Job | None = None
        self._stream: Job | None = None
        self._running: Job | None = None
        self._condition = threading.Condition()
        self._thread: threading.Thread | None = None
        self._lifters: Lifters | None = None
        self._closed = False
        #: Frames of the stream that a newer one replaced, and requests turned away.
        self.dropped = 0
        self.refused = 0

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return len(self._queue)

    @property
    def is_running(self) -> bool:
        """Whether a job is worked on."""
        return self._running is not None

    @property
    def is_idle(self) -> bool:
        """Whether no job is worked on and none waits."""
        with self._condition:
            waiting = (self._running, self._follower, self._stream)
            return not self._queue and all(job is None for job in waiting)

    def start(self, lifters: Lifters) -> None:
        """Accept jobs from now on; raises ``LiftError(NOT_ACTIVE)`` after ``close``."""
        if self._closed:
            raise LiftError(ErrorCode.NOT_ACTIVE, 'The node is shutting down.')
        self._lifters = lifters
        self._thread = threading.Thread(target=self._run, args=(lifters,), name='lift3d-worker')
        self._thread.start()

    def stop(self, reason: LiftError) -> None:
        """End all jobs with ``reason``, wait for the thread and free what the lifters took."""
        with self._condition:
            lifters, self._lifters = self._lifters, None
            thread, self._thread = self._thread, None
            ended = [*self._queue, *filter(None, (self._follower, self._stream))]
            self._queue.clear()
            self._follower = self._stream = None
            if self._running is not None:
                self._running.end(reason)
            self._condition.notify_all()
        for job in ended:
            job.finish(error=reason)
        if thread is not None:
            thread.join()
        if lifters is not None:
            lifters.unload()

    def close(self, reason: LiftError) -> None:
        """Stop for good: an activation that still runs does not accept jobs again."""
        self._closed = True
        self.stop(reason)

    def submit(self, job: Job) -> None:
        """Queue a request; raises ``LiftError``: ``NOT_ACTIVE``, or ``BUSY`` for a full queue."""
        with self._condition:
            self._check_active()
            # A request that is taken at once does not wait.
            room = self._capacity + (0 if self._running else 1)
            if len(self._queue) >= room:
                self.refused += 1
                raise LiftError(
                    ErrorCode.BUSY,
                    f'{len(self._queue)} requests wait already; ask again later, or raise the '
                    'parameter queue_size.',
                )
            self._queue.append(job)
            self._condition.notify_all()

    def offer(self, job: Job) -> Job | None:
        """Put the newest frame of the stream in the place of one that waits; return that one."""
        with self._condition:
            self._check_active()
            replaced, self._stream = self._stream, job
            if replaced is not None:
                self.dropped += 1
            self._condition.notify_all()
        return replaced

    def follow(self, job: Job) -> None:
        """
        Do a job when no request waits, in place of an older one of this kind that still waits.

        It shall give way by itself: ``waiting`` says that a request came. Called while the node
        is deactivated, it does nothing.
        """
        with self._condition:
            if self._thread is not None:
                self._follower = job
                self._condition.notify_all()

    def wait(self, job: Job) -> Any:
        """
        Wait for a request and return its result.

        One that is cancelled or late while it still waits in the queue leaves it at once. Raises
        the ``LiftError`` that ended the job.
        """
        while not job.wait(_POLL):
            if job.is_cancelled():
                self._withdraw(job, ErrorCode.CANCELLED, 'The request was cancelled.')
            elif job.deadline is not None and time.monotonic() > job.deadline:
                self._withdraw(
                    job,
                    ErrorCode.TIMEOUT,
                    f'The deadline passed after {time.monotonic() - job.submitted:.2f} s in the '
                    'queue; allow more time or ask less often.',
                )
        if job.error is not None:
            raise job.error
        return job.result

    def _withdraw(self, job: Job, code: ErrorCode, message: str) -> None:
        with self._condition:
            if job not in self._queue:
                return
            self._queue.remove(job)
        job.finish(error=LiftError(code, message))

    def _check_active(self) -> None:
        if self._thread is None:
            raise LiftError(
                ErrorCode.NOT_ACTIVE, 'The node is not active; activate it, then ask again.'
            )

    def _next(self) -> Job | None:
        with self._condition:
            self._running = None
            while True:
                if self._thread is not threading.current_thread():
                    return None
                if self._queue:
                    self._running = self._queue.popleft()
                elif self._follower is not None:
                    self._running, self._follower = self._follower, None
                elif self._stream is not None:
                    self._running, self._stream = self._stream, None
                if self._running is not None:
                    return self._running
                self._condition.wait()

    def _run(self, lifters: Lifters) -> None:
        while (job := self._next()) is not None:
            start = time.monotonic()
            job.waited = start - job.submitted
            result, failure = None, None
            try:
                result = job.work(job, lifters)
            except Exception as error:
                # Whatever it is, the worker must be alive for the next request.
                failure = as_lift_error(error)
            job.worked = time.monotonic() - start
            job.finish(result, failure)
            try:
                self._on_done(job)
            except Exception:
                # Nobody waits for it, and whoever waits in the queue needs this thread.
                traceback.print_exc()
