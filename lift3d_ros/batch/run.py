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


"""A batch from its inputs to its manifest: plan, resume, distribute, record."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
import shutil
import time
from typing import Any

from lift3d_ros.batch.items import BAG
from lift3d_ros.batch.items import find_items
from lift3d_ros.batch.items import Item
from lift3d_ros.batch.manifest import Manifest
from lift3d_ros.batch.manifest import read_records
from lift3d_ros.batch.pool import LocalPool
from lift3d_ros.batch.pool import Pool
from lift3d_ros.batch.ray_pool import ClusterSettings
from lift3d_ros.batch.ray_pool import RayPool
from lift3d_ros.batch.scheduler import Scheduler
from lift3d_ros.batch.statistics import Snapshot
from lift3d_ros.batch.statistics import Statistics
from lift3d_ros.batch.work import error_of
from lift3d_ros.batch.work import PARTIAL
from lift3d_ros.batch.work import WorkSettings
from lift3d_ros.batch.work import write_failure
from lift3d_ros.runtime.files import make_folder
from lift3d_ros.runtime.files import write_error
from lift3d_ros.runtime.files import write_whole

#: List of the inputs that failed, itself an input of a batch.
FAILURES = 'failures.txt'

#: Time that a scene may take beyond its timeout before its worker is ended, seconds.
_GRACE_S = 30.0


@dataclass(frozen=True)
class BatchSettings:
    """
    How a batch runs; none of it changes a result.

    - ``retries``: attempts after the first. ``retry_failed``: try failures of former runs again.
    - ``thumbnails``: so many items get one, spread over all. ``start_timeout``: seconds.
    """

    retries: int = 2
    retry_failed: bool = False
    thumbnails: int = 0
    start_timeout: float = 600.0


@dataclass(frozen=True)
class Summary:
    """
    What a batch did.

    - ``items``, ``skipped``: all, and those done by former runs. ``lifted``, ``failed``: of this
      run. ``objects``, ``objects_failed``: of this run; a part of a bag has several.
    - ``failures``: all items that failed, of former runs too. ``retried``: attempts after the
      first. ``lost``: workers that were lost. ``seconds``: of this run without the start of Ray.
    """

    items: int
    skipped: int
    lifted: int
    failed: int
    objects: int
    objects_failed: int
    failures: int
    retried: int
    lost: int
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether all items of all runs were lifted, and all objects of this one."""
        return not self.failures and not self.objects_failed


def run_batch(
    inputs: Sequence[Path],
    out: Path,
    work: WorkSettings,
    cluster: ClusterSettings | None,
    settings: BatchSettings | None = None,
    *,
    check: Callable[[list[Item]], None] = lambda items: None,
    progress: Callable[[Snapshot], None] = lambda snapshot: None,
    say: Callable[[str], None] = lambda text: None,
) -> Summary:
    """
    Lift all items of ``inputs`` that former runs did not lift; write results below ``out``.

    ``cluster`` None: in this process, without Ray. ``check`` may refuse the items with an error;
    ``progress`` is called at least every half second; ``say`` receives sentences on failures and
    lost workers.

    Raises ``LiftError`` for inputs and folders as ``find_items`` and ``Manifest``, for missing
    weights, for a cluster as ``RayPool``, and for a full disk. All results recorded until then
    stay, and the next run goes on from there.
    """
    settings = settings or BatchSettings()
    # Quick checks come before Ray starts.
    lifter = work.make_lifter()
    lifter.check()
    items = find_items(inputs)
    check(items)
    make_folder(out)
    with Manifest(out, work.described()) as manifest:
        if manifest.unreadable:
            say(f'{manifest.unreadable} lines of the manifest are damaged; their items are '
                'lifted again')
        _remove_partial(out)
        run = _Run(items, out, work, lifter.name, manifest, settings, say)
        if run.queue:
            pool, workers = _start(cluster, work, out, manifest.run)
            begin = time.monotonic()
            try:
                scheduler = Scheduler(
                    pool, workers, run.record,
                    retries=settings.retries,
                    limit=None if work.timeout is None else work.timeout + _GRACE_S,
                    start_timeout=settings.start_timeout,
                    on_event=say,
                    tick=lambda: progress(run.statistics.snapshot()),
                )
                scheduler.run(run.with_thumbnails())
            finally:
                pool.close()
                _remove_partial(out)
            seconds = time.monotonic() - begin
            retried, lost = scheduler.retried, scheduler.lost
        else:
            seconds, retried, lost = 0.0, 0, 0
        failures = _write_failures(out, items, manifest)
    return Summary(
        len(items) + run.parts, run.skipped, run.lifted, run.statistics.failed, run.objects,
        run.objects_failed, failures, retried, lost, seconds)


def _start(
    cluster: ClusterSettings | None, work: WorkSettings, out: Path, run: str
) -> tuple[Pool, int]:
    """Return the pool and its number of workers; raises ``LiftError``."""
    if cluster is None:
        return LocalPool(work, out), 1
    pool = RayPool(cluster, work, out.resolve(), run)
    return pool, pool.workers


class _Run:
    """The items that are left, and their records."""

    def __init__(
        self,
        items: list[Item],
        out: Path,
        work: WorkSettings,
        method: str,
        manifest: Manifest,
        settings: BatchSettings,
        say: Callable[[str], None],
    ) -> None:
        self._out = out
        self._work = work
        self._method = method
        self._manifest = manifest
        self._settings = settings
        self._say = say
        self.queue: list[Item] = []
        self.parts = self.skipped = self.lifted = self.objects = self.objects_failed = 0
        for item in items:
            images = manifest.bags.get(item.key) if item.kind == BAG else None
            if images is not None:
                # Divided by a former run: its parts are known without opening it.
                parts = item.parts(images, work.bag_inputs.part_images)
                self.parts += len(parts)
                self.skipped += 1
                for part in parts:
                    self._plan(part)
            else:
                self._plan(item)
        self.statistics = Statistics(len(self.queue))

    def with_thumbnails(self) -> list[tuple[Item, bool]]:
        """Return the items, each with whether it gets a thumbnail."""
        wanted = min(self._settings.thumbnails, len(self.queue))
        chosen = {len(self.queue) * index // wanted for index in range(wanted)}
        return [(item, index in chosen) for index, item in enumerate(self.queue)]

    def record(self, item: Item, record: dict[str, Any]) -> Iterable[Item]:
        """Write the final record of an item; return the parts of a bag."""
        ok = bool(record['ok'])
        if not ok:
            error = error_of(record)
            try:
                write_failure(self._out, item, error, self._method)
            except OSError as full:
                raise write_error(full) from full
            self._say(f'{item.key}: {error}')
        self._manifest.add({**record, 'path': item.path, 'time': round(time.time(), 3)})
        self.lifted += ok
        self.objects += record.get('objects', 0)
        self.objects_failed += record.get('objects_failed', 0)
        self.statistics.add(ok)
        if item.kind != BAG or not ok:
            return ()
        for sentence in record.get('lost', ()):
            self._say(f'{item.key}: {sentence}')
        parts = item.parts(record['images'], self._work.bag_inputs.part_images)
        self.parts += len(parts)
        self.statistics.total += len(parts)
        return parts

    def _plan(self, item: Item) -> None:
        ok = self._manifest.done.get(item.key)
        if ok or (ok is not None and not self._settings.retry_failed):
            self.skipped += 1
        else:
            self.queue.append(item)


def _write_failures(out: Path, items: list[Item], manifest: Manifest) -> int:
    """Write the list of inputs that failed; return the number of items that failed."""
    failed = [key for key, ok in manifest.done.items() if not ok]
    paths: dict[str, str] = {}
    if failed:
        codes = {
            record['key']: (record.get('path', ''), (record.get('error') or {}).get('code', ''))
            for record in read_records(out) if not record.get('ok')
        }
        paths = {path: code for key in failed for path, code in [codes.get(key, ('', ''))] if path}
    try:
        if paths:
            text = ''.join(f'# {code}\n{path}\n' for path, code in paths.items())
            write_whole(out / FAILURES, text.encode())
        else:
            (out / FAILURES).unlink(missing_ok=True)
    except OSError as error:
        raise write_error(error) from error
    return len(failed)


def _remove_partial(out: Path) -> None:
    """Remove unfinished files of workers that were lost."""
    shutil.rmtree(out / PARTIAL, ignore_errors=True)
