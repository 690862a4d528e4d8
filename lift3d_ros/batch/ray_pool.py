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


"""Workers as actors of Ray, on this machine or on a cluster."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field
import os
from pathlib import Path
import secrets
import shutil
import socket
import sys
import tempfile
from typing import Any

from lift3d_ros import __version__
from lift3d_ros.batch.items import Item
from lift3d_ros.batch.manifest import run_of
from lift3d_ros.batch.pool import Done
from lift3d_ros.batch.pool import Event
from lift3d_ros.batch.pool import Lost
from lift3d_ros.batch.pool import Ready
from lift3d_ros.batch.pool import Refused
from lift3d_ros.batch.work import ItemWorker
from lift3d_ros.batch.work import WorkSettings
from lift3d_ros.errors import bad_request
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.runtime.failures import as_lift_error

#: Memory of Ray's object store on this machine, bytes. Items and records are small and do not pass
#: through it; this is close to the least that Ray accepts.
_STORE_BYTES = 100_000_000

#: Time in seconds after which a cluster that does not answer is absent.
_CONNECT_S = 10.0

#: Longest path of a folder for Ray's sockets, whose own paths have about 70 characters more of
#: the 107 that the kernel allows.
_MAX_TEMP_PATH = 36


@dataclass(frozen=True)
class ClusterSettings:
    """
    Which Ray, and what each worker reserves.

    - ``address``: HOST:PORT of a cluster, or ``auto`` for one that this machine belongs to; None:
      one of its own on this machine.
    - ``workers``: None: as many as fit.
    - ``threads``, ``gpus``: of each worker; ``gpus`` may be a fraction.
    """

    address: str | None = None
    workers: int | None = None
    threads: int = 1
    gpus: float = 0.0


class RayWorker:
    """An ``ItemWorker`` in a process of Ray."""

    def __init__(self, settings: WorkSettings, out: str, run: str, version: str) -> None:
        """Remember the settings; ``ready`` uses them."""
        self._settings = settings
        self._out = Path(out)
        self._run = run
        self._version = version
        self._worker: ItemWorker | None = None

    def ready(self) -> tuple[str, str] | LiftError:
        """Load the models; return ``host:process`` and the folder of unfinished files."""
        place = f'{socket.gethostname()}:{os.getpid()}'
        try:
            if self._version != __version__:
                raise bad_request(
                    f'{place} has lift3d_ros {__version__}, and the batch is of {self._version}; '
                    'install the same version on all nodes.')
            if run_of(self._out) != self._run:
                raise bad_request(
                    f'{place} does not see the output folder {self._out} of this batch; choose a '
                    'folder of a file system that all nodes share.')
            self._worker = ItemWorker(self._settings, self._out)
            self._worker.load()
        except Exception as error:
            failure = as_lift_error(error)
            return LiftError(failure.code, f'{place}: {failure.message}')
        return place, str(self._worker.partial)

    def work(self, item: Item, picture: bool) -> dict[str, Any]:
        """Lift an item."""
        assert self._worker is not None, 'ready comes first'
        return self._worker.work(item, picture)


@dataclass(eq=False)
class _Actor:
    handle: Any
    partial: str = ''
    #: The calls that are not done, oldest first; the first is that of ``ready``.
    calls: list[Any] = field(default_factory=list)


class RayPool:
    """Workers on Ray; one process may have one pool at a time."""

    def __init__(
        self, cluster: ClusterSettings, settings: WorkSettings, out: Path, run: str
    ) -> None:
        """
        Start Ray on this machine, or connect to the cluster.

        ``out`` is the output folder with the manifest ``run``. Raises ``LiftError(BAD_REQUEST)``
        without Ray, for a cluster that is absent or has another version, and for workers that do
        not fit.
        """
        self._ray = _import_ray(cluster.address is None)
        self._temp: str | None = None
        self._actors: dict[int, _Actor] = {}
        self._started = 0
        try:
            self._connect(cluster)
            self.workers = self._count(cluster)
            actor = self._ray.remote(
                num_cpus=cluster.threads, num_gpus=cluster.gpus, max_restarts=0,
                max_task_retries=0)(RayWorker)
            self._make = lambda: actor.remote(settings, str(out), run, __version__)
        except BaseException:
            self.close()
            raise

    def start(self) -> int:
        """Begin to start an actor."""
        number, self._started = self._started, self._started + 1
        handle = self._make()
        self._actors[number] = _Actor(handle, calls=[handle.ready.remote()])
        return number

    def submit(self, worker: int, item: Item, picture: bool) -> None:
        """Call an actor."""
        actor = self._actors[worker]
        actor.calls.append(actor.handle.work.remote(item, picture))

    def end(self, worker: int) -> None:
        """Kill an actor, and remove its unfinished files."""
        actor = self._actors.pop(worker)
        self._ray.kill(actor.handle, no_restart=True)
        if actor.partial:
            shutil.rmtree(actor.partial, ignore_errors=True)

    def wait(self, timeout: float) -> list[Event]:
        """Return the events of the actors."""
        oldest = {actor.calls[0]: number for number, actor in self._actors.items() if actor.calls}
        if not oldest:
            return []
        waiting = list(oldest)
        done, _ = self._ray.wait(waiting, num_returns=1, timeout=timeout)
        if done and len(waiting) > 1:
            done, _ = self._ray.wait(waiting, num_returns=len(waiting), timeout=0)
        return [self._event(oldest[call], call) for call in done]

    def close(self) -> None:
        """End all actors; end the Ray of this machine, and remove its files."""
        for number in list(self._actors):
            self.end(number)
        self._ray.shutdown()
        if self._temp is not None:
            shutil.rmtree(self._temp, ignore_errors=True)

    def _event(self, number: int, call: Any) -> Event:
        actor = self._actors[number]
        try:
            result = self._ray.get(call)
        except (self._ray.exceptions.RayError, OSError) as error:
            # A task cannot raise anything else: ``work`` returns its errors.
            reason = _reason(error)
            self.end(number)
            return Lost(number, reason)
        actor.calls.pop(0)
        if isinstance(result, LiftError):
            return Refused(number, result)
        if isinstance(result, tuple):
            place, actor.partial = result
            return Ready(number, place)
        return Done(number, result)

    def _connect(self, cluster: ClusterSettings) -> None:
        common = {
            'include_dashboard': False, 'log_to_driver': False, 'logging_level': 'error',
            'configure_logging': False,
        }
        try:
            if cluster.address is None:
                self._temp = _temp_folder()
                cores = (cluster.workers or 1) * cluster.threads
                gpus = {} if not cluster.gpus else {
                    'num_gpus': -int(-(cluster.workers or 1) * cluster.gpus // 1)}
                self._ray.init(
                    'local', num_cpus=max(cores, _cores()), object_store_memory=_STORE_BYTES,
                    _temp_dir=self._temp, **gpus, **common)
            else:
                _check_address(cluster.address)
                common.pop('include_dashboard')
                self._ray.init(cluster.address, **common)
        except LiftError:
            raise
        except Exception as error:
            where = cluster.address or 'this machine'
            raise bad_request(
                f'Ray on {where} cannot be used ({_reason(error)}); check that the cluster runs, '
                f'with Ray {self._ray.__version__} and this version of Python.') from error

    def _count(self, cluster: ClusterSettings) -> int:
        """Return the number of workers; raises ``LiftError`` if none fits."""
        present = self._ray.cluster_resources()
        fitting = int(present.get('CPU', 0.0) / cluster.threads)
        if cluster.gpus:
            fitting = min(fitting, int(present.get('GPU', 0.0) / cluster.gpus + 1e-9))
        if cluster.workers is not None:
            # A cluster that grows on demand has room later.
            return cluster.workers
        if fitting < 1:
            raise bad_request(
                f'No worker of {cluster.threads} threads and {cluster.gpus:g} GPUs fits: Ray has '
                f'{present.get("CPU", 0.0):g} CPUs and {present.get("GPU", 0.0):g} GPUs. Give '
                '--workers for a cluster that grows on demand.')
        return fitting


def _import_ray(is_local: bool) -> Any:
    """Return the package; raises ``LiftError(BAD_REQUEST)`` if it is not installed."""
    # Ray reads these at its import. No statistics are sent anywhere; and a Ray of our own has a
    # token, so that no other user can connect, which Ray would else write into the home folder.
    os.environ.setdefault('RAY_USAGE_STATS_ENABLED', '0')
    if is_local and 'ray' not in sys.modules:
        if 'RAY_AUTH_MODE' not in os.environ:
            os.environ.update(RAY_AUTH_MODE='token', RAY_AUTH_TOKEN=secrets.token_hex(32))
        # Ray's default, 15, starves the workers where anything else runs; `nice` still applies.
        os.environ.setdefault('RAY_worker_niceness', '0')
    try:
        import ray
    except ImportError as error:
        raise bad_request(
            'Workers need Ray, which is not installed: pip install "lift3d_ros[batch]"; or lift '
            'in this process with --workers 0.') from error
    return ray


def _check_address(address: str) -> None:
    """Raise ``LiftError(BAD_REQUEST)`` for an address where nothing answers."""
    if address == 'auto':
        return
    if address.startswith('ray://'):
        raise bad_request(
            'The address of Ray Client (ray://) is not supported; start the batch on a node of '
            'the cluster with --cluster auto, or give HOST:PORT of its GCS, usually port 6379.')
    host, _, port = address.rpartition(':')
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise bad_request(f'{address[:200]} is not an address of Ray; give HOST:PORT or auto.')
    try:
        socket.create_connection((host, int(port)), _CONNECT_S).close()
    except (OSError, UnicodeError) as error:
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            f'There is no Ray cluster at {address} ({error}); check the address and that its head '
            'node runs (ray start --head).') from error


def _temp_folder() -> str:
    """Return a new folder for the files of Ray, with a path that its sockets allow."""
    base = tempfile.gettempdir()
    return tempfile.mkdtemp(
        prefix='lift3d_ray_',
        dir=base if len(base) < _MAX_TEMP_PATH else '/tmp')  # noqa: S108 - a new folder in it


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _reason(error: BaseException) -> str:
    """Return the first sentence of an error of Ray, which has many lines."""
    text = str(error).strip() or type(error).__name__
    return ' '.join(text.splitlines()[0].split())[:200]
