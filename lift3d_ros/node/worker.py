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

"""The worker thread that lifts, and its bounded queue."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
import threading
import time
import traceback
from typing import Any

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.lifter import DISTILLED
from lift3d_ros.lifter import LEARNED
from lift3d_ros.lifter import Lifter
from lift3d_ros.runtime import memory

#: Period in seconds at which a waiting request checks for cancellation.
_POLL_S = 0.02

#: Seconds after which a cancelled request gets its answer although its work has not ended yet, for
#: example while it loads networks. Most work ends sooner, with what is done.
_CANCEL_S = 0.4


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


@dataclass(frozen=True)
class LifterSettings:
    """
    Settings of lifters that may change while the node is active.

    - ``max_faces``: of every mesh; ``samples``: of methods that draw views.
    - ``preset``, ``steps`` and ``init``: of methods that optimise; 0 steps are the preset's.
    - ``remote``, ``remote_timeout``: address of a server and its time in seconds; empty: none. It
      lifts instead of ``remote_method`` only: its own method is not known here.
    """

    max_faces: int
    samples: int = 1
    preset: str = 'small'
    steps: int = 0
    init: str = 'one2345'
    remote_method: str = ''
    remote: str = ''
    remote_timeout: float = 5.0


class Lifters:
    """The lifters of a worker, one per method, created on demand."""

    def __init__(self, device: str, weights: str | None = None) -> None:
        """Compute on ``device``; only methods with networks use ``weights``."""
        self._device = device
        self._weights = weights
        self._lifters: dict[str, tuple[LifterSettings, Lifter]] = {}

    def make(self, method: str, settings: LifterSettings) -> Lifter:
        """Return a new lifter of a method, not loaded; raises ``LiftError(BAD_REQUEST)``."""
        own: dict[str, Any] = {}
        if method in LEARNED:
            own['weights'] = self._weights
        if method in DISTILLED:
            own |= {
                'preset': settings.preset, 'steps': settings.steps or None, 'init': settings.init}
        elif method in LEARNED:
            own['samples'] = settings.samples
        if settings.remote and method == settings.remote_method:
            own |= {'remote': settings.remote, 'remote_timeout': settings.remote_timeout}
        return Lifter(method, settings.max_faces, self._device, **own)

    def get(self, method: str, settings: LifterSettings) -> Lifter:
        """
        Return the lifter of a method, loaded; raises ``LiftError``.

        Unload a lifter with other settings first, since memory suffices for one set of networks.
        """
        if method in self._lifters and self._lifters[method][0] != settings:
            self._lifters.pop(method)[1].unload()
        if method not in self._lifters:
            lifter = self.make(method, settings)
            lifter.load()
            self._lifters[method] = settings, lifter
        return self._lifters[method][1]

    def unload(self) -> None:
        """Unload all lifters."""
        for _, lifter in self._lifters.values():
            lifter.unload()
        self._lifters.clear()


class Job:
    """
    Work for the worker, and its result.

    ``work`` receives the job and the lifters and returns the result; it checks ``is_cancelled``
    between steps and respects ``deadline``, a value of ``time.monotonic()``. It may raise
    ``LiftError``.
    """

    def __init__(
        self,
        work: Callable[[Job, Lifters], Any],
        *,
        cancelled: Callable[[], bool] | None = None,
        deadline: float | None = None,
    ) -> None:
        """Create a job that ends when ``cancelled`` returns true."""
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
        """Return whether the work must stop."""
        return self._end is not None or (self._cancelled is not None and self._cancelled())

    def end(self, error: LiftError) -> None:
        """Request the end of the work, with this error."""
        self._end = error

    def finish(self, result: Any = None, error: LiftError | None = None) -> None:
        """Set the result or the error, and wake the waiting thread."""
        self.result = result
        self.error = None if error is None else self.reason(error)
        self._done.set()

    def reason(self, error: LiftError) -> LiftError:
        """Return the error of ``end`` for a cancellation, else the error itself."""
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

    Requests have the highest priority, first in, first out. Next comes the follower of a completed
    job, such as views for a subscriber, and last the newest frame of the stream. Follower and
    stream have one place each, in which a newer job replaces the older one.
    """

    def __init__(self, capacity: int, on_done: Callable[[Job], None]) -> None:
        """Queue up to ``capacity`` requests; call ``on_done`` in the thread after each job."""
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
        #: Frames of the stream that newer ones replaced, and requests refused with BUSY.
        self.dropped = 0
        self.refused = 0

    @property
    def waiting(self) -> int:
        """The number of waiting requests."""
        return len(self._queue)

    @property
    def is_running(self) -> bool:
        """Whether a job runs."""
        return self._running is not None

    @property
    def is_idle(self) -> bool:
        """Whether no job runs or waits."""
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
        """End all jobs with ``reason``, wait for the thread and unload the lifters."""
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
        """Stop permanently, even if an activation is still running."""
        self._closed = True
        self.stop(reason)

    def submit(self, job: Job) -> None:
        """Queue a request; raises ``LiftError``: ``NOT_ACTIVE``, or ``BUSY`` for a full queue."""
        with self._condition:
            self._check_active()
            # An idle worker takes one request at once.
            room = self._capacity + (0 if self._running else 1)
            if len(self._queue) >= room:
                self.refused += 1
                raise LiftError(
                    ErrorCode.BUSY,
                    f'{len(self._queue)} requests wait already; retry later, or raise the '
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
        Run a job when no request waits; it replaces an older waiting follower.

        The job must end by itself when ``waiting`` is not zero. No effect while the node is being
        deactivated.
        """
        with self._condition:
            if self._thread is not None:
                self._follower = job
                self._condition.notify_all()

    def wait(self, job: Job) -> Any:
        """
        Wait for a request and return its result.

        Remove it from the queue if it is cancelled or exceeds its deadline there. Do not wait for
        the end of work that was cancelled ``_CANCEL_S`` ago. Raises the ``LiftError`` that ended
        the job.
        """
        cancelled: float | None = None
        while not job.wait(_POLL_S):
            if job.is_cancelled():
                reason = LiftError(ErrorCode.CANCELLED, 'The request was cancelled.')
                self._withdraw(job, reason.code, reason.message)
                cancelled = cancelled or time.monotonic()
                if time.monotonic() > cancelled + _CANCEL_S:
                    raise job.reason(reason)
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
                # The worker must survive any error.
                failure = as_lift_error(error)
            job.worked = time.monotonic() - start
            job.finish(result, failure)
            try:
                self._on_done(job)
            except Exception:
                # No caller receives this error, and the next job needs this thread.
                traceback.print_exc()
