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

"""Several objects at once, in threads that share the cores."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
import os
import sys
from typing import TypeVar

T = TypeVar('T')


def run_in_threads(work: Callable[[int], T], count: int, most: int) -> list[T]:
    """
    Return ``work(index)`` for each of ``count`` indices, of which ``most`` are done at once.

    The threads that torch may use are shared out among them, and the same as before afterwards;
    where they are one, or there is one core, all is done one after another. What ``work`` raises
    is raised when what had begun has ended; the rest is left out.
    """
    threads, torch = thread_count(), sys.modules.get('torch')
    if threads == 1 or min(count, most) < 2:
        return [work(index) for index in range(count)]
    # More of them than cores: whenever one waits for the interpreter, another goes on. With equal
    # rounds the last one is not left to a single object and a single core.
    rounds = -(-count // most)
    workers = -(-count // rounds)

    def begin() -> None:
        if torch is not None:
            torch.set_num_threads(max(1, threads // workers))

    try:
        with ThreadPoolExecutor(workers, 'lift3d-object', begin) as pool:
            return list(pool.map(work, range(count)))
    finally:
        if torch is not None:
            # What is set in one thread is also what later threads begin with.
            torch.set_num_threads(threads)


def thread_count() -> int:
    """Return how many threads torch may use, or the cores where it has not been imported."""
    torch = sys.modules.get('torch')
    return _cores() if torch is None else int(torch.get_num_threads())


def _cores() -> int:
    if hasattr(os, 'sched_getaffinity'):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
