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

"""Statistics of the node and the statuses on /diagnostics."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
import threading
import time

from diagnostic_msgs.msg import DiagnosticArray
from diagnostic_msgs.msg import DiagnosticStatus
from diagnostic_msgs.msg import KeyValue
import numpy as np
import psutil
from rclpy.node import Node

from lift3d_ros.errors import LiftError
from lift3d_ros.node.inputs.gravity import ImuGravity
from lift3d_ros.node.inputs.synchronizer import Synchronizer
from lift3d_ros.node.worker import Worker
from lift3d_ros.runtime import memory


class LogOnce:
    """Remembers the last logged sentences, to log each of them once."""

    def __init__(self, kept: int = 200) -> None:
        """Remember ``kept`` sentences."""
        self._logged: deque[str] = deque(maxlen=kept)

    def is_new(self, sentence: str) -> bool:
        """Return whether a sentence is not among the last ones, and remember it."""
        if sentence in self._logged:
            return False
        self._logged.append(sentence)
        return True


class Statistics:
    """Counts and times of the lifts so far; safe to use from several threads."""

    def __init__(self) -> None:
        """Start at zero."""
        self.lifted = 0
        self.synthesised = 0
        self.failed = 0
        self.skipped = 0
        self.last_error: LiftError | None = None
        self._last_error_time = 0.0
        self._is_error_reported = False
        self._ends: deque[float] = deque(maxlen=20)
        self._times: deque[dict[str, float]] = deque(maxlen=20)
        self._lock = threading.Lock()

    def add_object(self, seconds: dict[str, float]) -> None:
        """Count an object and keep its stage times."""
        with self._lock:
            self.lifted += 1
            self._ends.append(time.monotonic())
            self._times.append(seconds)

    def add_views(self, count: int) -> None:
        """Count synthesised views."""
        with self._lock:
            self.synthesised += count

    def add_error(self, error: LiftError) -> None:
        """Count a failure."""
        with self._lock:
            self.failed += 1
            self.last_error = error
            self._last_error_time = time.monotonic()
            self._is_error_reported = False

    def rate(self) -> float:
        """Return the lifted objects per second over the last few."""
        with self._lock:
            ends = list(self._ends)
        if len(ends) < 2:
            return 0.0
        return (len(ends) - 1) / max(time.monotonic() - ends[0], 1e-6)

    def medians(self) -> dict[str, float]:
        """Return the median seconds of each stage over the last few objects."""
        with self._lock:
            times = list(self._times)
        names = list(dict.fromkeys(name for seconds in times for name in seconds))
        return {name: float(np.median([t[name] for t in times if name in t])) for name in names}

    def take_recent_error(self, period: float) -> LiftError | None:
        """Return an error of the last ``period`` seconds, or one that was not reported yet."""
        with self._lock:
            fresh = time.monotonic() - self._last_error_time < period
            if self.last_error is None or (self._is_error_reported and not fresh):
                return None
            self._is_error_reported = True
            return self.last_error


def worker_status(
    name: str,
    state: str,
    method: str,
    statistics: Statistics,
    worker: Worker,
    passed_over: int,
    period: float,
) -> DiagnosticStatus:
    """Return the status of the lifting itself; ``passed_over``: frames that never reached it."""
    status = DiagnosticStatus(name=f'{name}: lifting', hardware_id='', message=state)
    recent = statistics.take_recent_error(max(5.0, period))
    if recent is not None:
        status.level, status.message = DiagnosticStatus.ERROR, str(recent)
    last = statistics.last_error
    values = {
        'state': state,
        'method': method,
        'objects lifted': statistics.lifted,
        'views synthesised': statistics.synthesised,
        'failures': statistics.failed,
        'objects per second': f'{statistics.rate():.2f}',
        'idle': worker.is_idle,
        'requests waiting': worker.waiting,
        'requests refused (BUSY)': worker.refused,
        'frames dropped (newer came)': worker.dropped + passed_over,
        'frames skipped (max_rate)': statistics.skipped,
        'last error': '' if last is None else str(last),
        'memory MB': f'{psutil.Process().memory_info().rss / 1e6:.0f}',
        'peak memory MB': f'{memory.peak_mb() * 1.048576:.0f}',
        'memory left MB': f'{memory.headroom_mib() * 1.048576:.0f}',
    }
    for stage, seconds in statistics.medians().items():
        values[f'median seconds: {stage}'] = f'{seconds:.3f}'
    status.values = _pairs(values)
    return status


def input_status(
    name: str,
    synchronizer: Synchronizer | None,
    publishers: dict[str, int],
    warnings: Sequence[str] = (),
) -> DiagnosticStatus:
    """
    Return the status of the subscribed topics.

    ``publishers`` counts those of each topic; ``warnings`` are sentences about received messages.
    Without a synchronizer the node is inactive.
    """
    status = DiagnosticStatus(name=f'{name}: input', hardware_id='', message='not listening')
    if synchronizer is None:
        return status
    reason = synchronizer.unmatched_reason()
    silent = [topic for topic, count in publishers.items() if not count]
    if reason is not None:
        status.level, status.message = DiagnosticStatus.WARN, reason
        if silent:
            status.message += f' (nobody publishes {", ".join(silent)})'
    else:
        status.message = 'receiving'
    if warnings:
        status.level = DiagnosticStatus.WARN
        status.message = '; '.join([status.message, *warnings])
    values: dict[str, object] = {}
    for topic, count in publishers.items():
        values[f'{topic}: received'] = synchronizer.received(topic)
        values[f'{topic}: per second'] = f'{synchronizer.rate(topic):.1f}'
        values[f'{topic}: publishers'] = count
    values['tolerance seconds'] = synchronizer.tolerance
    values['stamps jumped back'] = synchronizer.jumps
    status.values = _pairs(values)
    return status


def imu_status(name: str, imu: ImuGravity, publishers: int) -> DiagnosticStatus:
    """Return the status of gravity by the imu; ``publishers`` counts those of the topic."""
    status = DiagnosticStatus(name=f'{name}: imu', hardware_id='', message='at rest')
    reason, refusal = imu.unavailable_reason(), imu.refusal
    if reason or refusal:
        status.level = DiagnosticStatus.WARN
        status.message = reason or f'the last image was used without gravity: {refusal}'
        if not publishers:
            status.message += ' (nobody publishes imu)'
    values: dict[str, object] = {
        'received': imu.received,
        'publishers': publishers,
        'frame_id': imu.frame_id(),
        'last image without gravity': refusal,
    }
    status.values = _pairs(values)
    return status


def parameter_status(name: str, warnings: list[str]) -> DiagnosticStatus:
    """Return the status of the parameters that were given but do not exist."""
    status = DiagnosticStatus(name=f'{name}: parameters', hardware_id='', message='all known')
    if warnings:
        status.level, status.message = DiagnosticStatus.WARN, '; '.join(warnings)
    return status


class StatusReader:
    """Receives the status of the lifting in another node, for programs beside it."""

    def __init__(self, node: Node, server: str) -> None:
        """Subscribe to the diagnostics of the node ``server``."""
        self._name = f'{node.resolve_service_name(server).lstrip("/")}: lifting'
        self._values: dict[str, str] = {}
        self._received = threading.Event()
        node.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, 10)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name == self._name:
                self._values = {pair.key: pair.value for pair in status.values}
                self._received.set()

    def value(self, key: str, timeout: float = 3.0) -> float:
        """Return a value published from now on, or the last one after ``timeout`` seconds."""
        self._received.clear()
        self._received.wait(timeout)
        return float(self._values.get(key, 'nan'))


def _pairs(values: dict[str, object]) -> list[KeyValue]:
    return [KeyValue(key=key, value=str(value)) for key, value in values.items()]
