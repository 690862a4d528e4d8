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

"""Memory of the process: its limits, its peak, and out-of-memory errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextlib import suppress
import ctypes
import errno
from pathlib import Path
import resource

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError

#: Parameters of mallopt, from malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8

#: Messages of out-of-memory errors that have no type of their own, in torch and CUDA, threading,
#: OpenCV, and the dynamic loader.
_MESSAGES = (
    'not enough memory', "can't allocate memory", 'out of memory', 'alloc_failed', 'bad_alloc',
    "can't start new thread", 'insufficient memory', 'failed to allocate', 'unable to allocate',
    'failed to map segment', 'cannot map zero-fill', 'cannot allocate memory',
    'cannot create shared object descriptor', 'cannot apply additional memory protection',
)


def is_exhausted(error: BaseException | None) -> bool:
    """Return whether an error or one of its causes reports that memory or threads ran out."""
    while error is not None:
        if isinstance(error, MemoryError):
            return True
        if isinstance(error, OSError) and error.errno == errno.ENOMEM:
            return True
        if isinstance(error, LiftError):
            return error.code is ErrorCode.OUT_OF_MEMORY
        # cv2.error derives from Exception; the loader reports an ImportError.
        text = str(error).lower()
        if any(message in text for message in _MESSAGES):
            return True
        error = error.__cause__
    return False


def exhausted(error: BaseException | None = None) -> LiftError:
    """Return the error for an out-of-memory condition that ``error`` reported."""
    reason = f' ({type(error).__name__})' if error is not None else ''
    return LiftError(
        ErrorCode.OUT_OF_MEMORY, f'The process is out of memory{reason}; give it more memory, or '
        'lower the resolution of the images, max_faces or samples.')


@contextmanager
def exhaustion_refused() -> Iterator[None]:
    """Turn any error that reports exhausted memory into ``LiftError(OUT_OF_MEMORY)``."""
    try:
        yield
    except Exception as error:
        if isinstance(error, LiftError) or not is_exhausted(error):
            raise
        raise exhausted(error) from error


def check_limits(address_space_mib: int, data_mib: int) -> None:
    """
    Raise ``LiftError(OUT_OF_MEMORY)`` if the limits of the process are below what it needs.

    Without this check, a library that runs out of memory while it loads can abort the process, or
    report that an existing file is missing. ``address_space_mib`` is compared with ``ulimit -v``,
    and ``data_mib`` with ``ulimit -d``.
    """
    for limit, needed, command in (
        (resource.RLIMIT_AS, address_space_mib, 'ulimit -v'),
        (resource.RLIMIT_DATA, data_mib, 'ulimit -d'),
    ):
        bound = resource.getrlimit(limit)[0]
        if bound != resource.RLIM_INFINITY and bound < needed << 20:
            raise LiftError(
                ErrorCode.OUT_OF_MEMORY, f'The process is limited to {bound >> 20} MiB '
                f'({command}), but needs {needed} MiB; raise the limit.')


def headroom_mib() -> float:
    """
    Return how much more memory the process can allocate, MiB; infinite if unknown.

    It is the minimum over the limits of the process and of its control groups, and the available
    memory of the machine.
    """
    left = []
    status = _values('/proc/self/status')
    for limit, used in ((resource.RLIMIT_AS, 'VmSize'), (resource.RLIMIT_DATA, 'VmData')):
        bound = resource.getrlimit(limit)[0]
        if bound != resource.RLIM_INFINITY and used in status:
            left.append(bound / 2**20 - status[used] / 1024.0)
    available = _values('/proc/meminfo').get('MemAvailable')
    if available is not None:
        left.append(available / 1024.0)
    left += [_group_headroom_mib(group) for group in _control_groups()]
    return min(left, default=float('inf'))


def _control_groups(
    mount: Path = Path('/sys/fs/cgroup'), membership: Path = Path('/proc/self/cgroup')
) -> list[Path]:
    """
    Return the folders of the process's memory control groups, v1 and v2, with their parents.

    The limits of all parents apply, for example ``MemoryMax`` of a systemd slice.
    """
    groups = []
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        # See cgroups(7): hierarchy, controllers, path; cgroup v2 lists no controllers.
        _, controllers, path = line.split(':', 2)
        if controllers and 'memory' not in controllers.split(','):
            continue
        root = mount / 'memory' if controllers else mount
        group = root / path.lstrip('/')
        # In a container the path may be that of the host; the container's group is then root.
        groups += [one for one in (group, *group.parents) if one.is_relative_to(root)]
    return groups


def _group_headroom_mib(group: Path) -> float:
    """Return the memory that a control group has left, MiB; infinite without a limit."""
    for limit, used, cached in (
        ('memory.max', 'memory.current', 'inactive_file'),
        ('memory.limit_in_bytes', 'memory.usage_in_bytes', 'total_inactive_file'),
    ):
        try:
            bound = int((group / limit).read_text())
            # The kernel frees the memory of cached files on demand.
            files = _values(str(group / 'memory.stat')).get(cached, 0)
            return (bound - int((group / used).read_text()) + files) / 2**20
        except (OSError, ValueError):
            continue   # the other version, no such group, or no limit ("max")
    return float('inf')


def _values(path: str) -> dict[str, int]:
    """Return the numbers by name from a kernel file with a name and a number in each line."""
    values = {}
    try:
        for line in Path(path).read_text().splitlines():
            words = line.replace(':', ' ').split()
            if len(words) > 1 and words[1].isdigit():
                values[words[0]] = int(words[1])
    except OSError:
        pass
    return values


def keep() -> None:
    """
    Make malloc keep the memory of an image for the next image.

    By default glibc returns large blocks to the kernel and requests them again. The page faults
    cost 9 ms for an image of 1920 x 1080, more than all the copies together. It also limits malloc
    to one arena; call it before other threads start, because existing arenas remain.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, 'mallopt'):
        libc.mallopt(_M_MMAP_THRESHOLD, 32 << 20)
        libc.mallopt(_M_TRIM_THRESHOLD, 256 << 20)
        # Each arena would keep the memory of the largest lift that one of its threads has run.
        libc.mallopt(_M_ARENA_MAX, 1)


def give_back() -> None:
    """Return unused memory of malloc to the kernel."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, 'malloc_trim'):
        libc.malloc_trim(0)


def reset_peak() -> None:
    """Reset the peak of ``peak_mb`` to the current memory, where the kernel supports it."""
    with suppress(OSError):
        # See proc(5): 5 resets VmHWM.
        Path('/proc/self/clear_refs').write_text('5')


def peak_mb() -> float:
    """Return the peak memory of this process, MiB."""
    try:
        # Unlike the peak of getrusage, this one is not inherited from the parent process.
        for line in Path('/proc/self/status').read_text().splitlines():
            if line.startswith('VmHWM:'):
                return int(line.split()[1]) / 1024.0
    except OSError:
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0
