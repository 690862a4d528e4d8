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


"""Counters and histograms of a server in the text format of Prometheus."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
import threading

#: Content type of the text format, version 0.0.4.
CONTENT_TYPE = 'text/plain; version=0.0.4; charset=utf-8'

#: Upper bounds of the buckets of times, seconds.
_SECONDS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)

#: Upper bounds of the buckets of objects in a batch.
_OBJECTS = (1, 2, 4, 8, 16, 32, 64)


class Histogram:
    """Observations in buckets, with their sum."""

    def __init__(self, bounds: Sequence[float]) -> None:
        """Begin without observations."""
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(self._bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count an observation."""
        self._counts[sum(value > bound for bound in self._bounds)] += 1
        self._sum += value

    def lines(self, name: str) -> list[str]:
        """Return the samples."""
        total, lines = 0, []
        for bound, count in zip((*self._bounds, '+Inf'), self._counts, strict=True):
            total += count
            lines.append(f'{name}_bucket{{le="{bound}"}} {total}')
        return [*lines, f'{name}_sum {self._sum:.6f}', f'{name}_count {total}']


class Metrics:
    """What a server counts; for any thread."""

    def __init__(self) -> None:
        """Begin at zero."""
        self._lock = threading.Lock()
        self._requests: Counter[int] = Counter()
        self._objects: Counter[str] = Counter()
        self._lift = Histogram(_SECONDS)
        self._wait = Histogram(_SECONDS)
        self._batch = Histogram(_OBJECTS)

    def request(self, status: int) -> None:
        """Count an answered request."""
        with self._lock:
            self._requests[status] += 1

    def object(self, code: str, seconds: float) -> None:
        """Count an object; ``code`` is ``OK`` or that of its error."""
        with self._lock:
            self._objects[code] += 1
            self._lift.observe(seconds)

    def batch(self, objects: int, waited: Sequence[float]) -> None:
        """Count a batch, and the seconds that its requests waited."""
        with self._lock:
            self._batch.observe(objects)
            for seconds in waited:
                self._wait.observe(seconds)

    def text(self, waiting: int) -> str:
        """Return all samples; ``waiting`` is the number of objects in the queue."""
        with self._lock:
            parts = [
                ('requests_total', 'counter', 'answered requests by HTTP status',
                 [f'lift3d_requests_total{{status="{status}"}} {count}'
                  for status, count in sorted(self._requests.items())]),
                ('objects_total', 'counter', 'lifted objects by error code, OK for none',
                 [f'lift3d_objects_total{{code="{code}"}} {count}'
                  for code, count in sorted(self._objects.items())]),
                ('lift_seconds', 'histogram', 'seconds of the lift of an object',
                 self._lift.lines('lift3d_lift_seconds')),
                ('wait_seconds', 'histogram', 'seconds of a request in the queue',
                 self._wait.lines('lift3d_wait_seconds')),
                ('batch_objects', 'histogram', 'objects lifted together',
                 self._batch.lines('lift3d_batch_objects')),
                ('waiting_objects', 'gauge', 'objects in the queue',
                 [f'lift3d_waiting_objects {waiting}']),
            ]
        lines = []
        for name, kind, what, samples in parts:
            lines += [f'# HELP lift3d_{name} {what}', f'# TYPE lift3d_{name} {kind}', *samples]
        return '\n'.join(lines) + '\n'
