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

"""This process: its age, and the threads that lift several objects at once."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
import os
from pathlib import Path
import sys
import time
from typing import TypeVar

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError

T = TypeVar('T')


def age_s() -> float:
    """Return the seconds since the start of the process, including its imports."""
    try:
        # psutil adds a boot time that is rounded to seconds. The process name can have spaces.
        fields = Path('/proc/self/stat').read_text().rpartition(')')[2].split()
        uptime = float(Path('/proc/uptime').read_text().split()[0])
        return uptime - int(fields[19]) / os.sysconf('SC_CLK_TCK')
    except (OSError, ValueError, IndexError):
        import psutil

        return time.time() - psutil.Process().create_time()


def run_in_threads(work: Callable[[int], T], count: int, limit: int) -> list[T]:
    """
    Return ``work(index)`` for each of ``count`` indices, at most ``limit`` of them at a time.

    The threads of torch are divided among them, and restored afterwards. With a single thread or
    core, the calls run one after another. An exception of ``work`` is raised after the running
    calls have ended; the others do not start.
    """
    threads, torch = thread_count(), sys.modules.get('torch')
    if threads == 1 or min(count, limit) < 2:
        return [work(index) for index in range(count)]
    # More threads than cores: one continues while another waits for the interpreter. Rounds of
    # equal size keep the last one from having a single object on a single core.
    rounds = -(-count // limit)
    workers = -(-count // rounds)

    def begin() -> None:
        if torch is not None:
            torch.set_num_threads(max(1, threads // workers))

    try:
        with ThreadPoolExecutor(workers, 'lift3d-object', begin) as pool:
            return list(pool.map(work, range(count)))
    finally:
        if torch is not None:
            # The number that one thread sets is the default of later threads.
            torch.set_num_threads(threads)


def run_within_memory(
    work: Callable[[int], T | LiftError], count: int, limit: int
) -> list[T | LiftError]:
    """
    Return ``work(index)`` as ``run_in_threads``.

    A call that returns ``OUT_OF_MEMORY`` while others run is repeated alone.
    """
    results = run_in_threads(work, count, limit)
    for index, result in enumerate(results):
        exhausted = isinstance(result, LiftError) and result.code is ErrorCode.OUT_OF_MEMORY
        if exhausted and limit > 1:
            results[index] = work(index)
    return results


def thread_count() -> int:
    """Return the number of threads of torch, or of cores if torch is not imported."""
    torch = sys.modules.get('torch')
    return core_count() if torch is None else int(torch.get_num_threads())


def core_count() -> int:
    """Return the number of cores that the process may use."""
    if hasattr(os, 'sched_getaffinity'):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
