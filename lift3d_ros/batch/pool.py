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


"""The workers of a batch as its scheduler sees them, and the one that is this process."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from typing import Protocol

from lift3d_ros.batch.items import Item
from lift3d_ros.batch.work import ItemWorker
from lift3d_ros.batch.work import WorkSettings
from lift3d_ros.errors import LiftError


@dataclass(frozen=True)
class Ready:
    """A worker has loaded its models; ``place`` is such as ``host:process``."""

    worker: int
    place: str


@dataclass(frozen=True)
class Refused:
    """A worker cannot work at all, and nor would another one."""

    worker: int
    error: LiftError


@dataclass(frozen=True)
class Done:
    """A worker has completed the oldest of its items; ``record`` is of ``ItemWorker.work``."""

    worker: int
    record: dict[str, Any]


@dataclass(frozen=True)
class Lost:
    """A worker is gone, with all its items."""

    worker: int
    reason: str


Event = Ready | Refused | Done | Lost


class Pool(Protocol):
    """Workers that are started one by one; each works on its items in their order."""

    def start(self) -> int:
        """Begin to start a worker; return its number. ``Ready`` or ``Refused`` follows."""

    def submit(self, worker: int, item: Item, picture: bool) -> None:
        """Give a worker an item, also while it works; ``picture`` asks for a thumbnail."""

    def end(self, worker: int) -> None:
        """End a worker at once, with all its items; no event follows."""

    def wait(self, timeout: float) -> list[Event]:
        """Return what happened, after ``timeout`` seconds at the latest."""

    def close(self) -> None:
        """End all workers."""


class LocalPool:
    """One worker in this process, without Ray."""

    def __init__(self, settings: WorkSettings, out: Path) -> None:
        """Configure the worker; raises ``LiftError``."""
        self._worker = ItemWorker(settings, out)
        self._queue: deque[tuple[Item, bool]] = deque()
        self._is_new = False

    def start(self) -> int:
        """Begin to start the worker."""
        self._is_new = True
        return 0

    def submit(self, worker: int, item: Item, picture: bool) -> None:
        """Queue an item."""
        self._queue.append((item, picture))

    def end(self, worker: int) -> None:
        """Drop the queue; an item in this process cannot be ended."""
        self._queue.clear()

    def wait(self, timeout: float) -> list[Event]:
        """Load the models, or lift one item."""
        if self._is_new:
            self._is_new = False
            try:
                self._worker.load()
            except LiftError as error:
                return [Refused(0, error)]
            return [Ready(0, 'this process')]
        if not self._queue:
            return []
        return [Done(0, self._worker.work(*self._queue.popleft()))]

    def close(self) -> None:
        """Remove unfinished files."""
        self._worker.close()
