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


"""The work on one item of a batch, in whatever process: lift, write, and report."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
import os
from pathlib import Path
import secrets
import shutil
import time
import traceback
from typing import Any

from lift3d_ros.bags.bag import Bag
from lift3d_ros.bags.lifting import BagLifter
from lift3d_ros.bags.lifting import BagSettings
from lift3d_ros.bags.recording import Instant
from lift3d_ros.bags.recording import read_recording
from lift3d_ros.bags.recording import select
from lift3d_ros.bags.topics import choose_topics
from lift3d_ros.batch.bag_files import BagFiles
from lift3d_ros.batch.bag_files import WrittenObject
from lift3d_ros.batch.items import BAG
from lift3d_ros.batch.items import Item
from lift3d_ros.batch.items import SCENE
from lift3d_ros.batch.scene_files import failure_report
from lift3d_ros.batch.scene_files import lift_scene
from lift3d_ros.batch.scene_files import SceneSettings
from lift3d_ros.batch.thumbnails import thumbnail
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.lifter import DEFAULT_METHOD
from lift3d_ros.lifter import Lifter
from lift3d_ros.lifter import Method
from lift3d_ros.runtime.failures import as_lift_error
from lift3d_ros.runtime.failures import is_full
from lift3d_ros.runtime.files import make_folder
from lift3d_ros.runtime.files import write_whole
from lift3d_ros.runtime.reports import error_entry
from lift3d_ros.runtime.reports import peak_memory
from lift3d_ros.runtime.reports import write_report

#: Folder of unfinished files in the output folder, with a folder for each worker.
PARTIAL = '.partial'

#: Folder of thumbnails in the output folder.
THUMBNAILS = '.thumbnails'

#: Entry of a record that ends the batch: an error of all items, such as a full disk.
STOP = 'stop'

#: Bags that a worker keeps open.
_OPEN_BAGS = 2

#: Characters of the traceback of an unexpected error in a record.
_MAX_TRACE = 4000


@dataclass(frozen=True)
class BagInputs:
    """
    The topics and images of bags, as in ``choose_topics`` and ``select``; picklable.

    - ``tolerance``: largest difference of stamps, seconds.
    - ``part_images``: images of one item of work at most.
    - ``frame``: of the meshes; None: the target frame where there is one.
    """

    topics: dict[str, Any] = field(default_factory=dict)
    tolerance: float = 0.05
    rate: float | None = None
    every: int | None = None
    part_images: int = 20
    frame: str | None = None


@dataclass(frozen=True)
class WorkSettings:
    """
    What a worker lifts with; picklable.

    - ``method``, ``lifter``: arguments of ``Lifter``; a method with its settings must pickle.
    - ``scene``, ``bag``, ``bag_inputs``: of the two kinds of inputs.
    - ``threads``: of each worker. ``timeout``: of a scene in seconds; None: unlimited.
    """

    method: str | Method = DEFAULT_METHOD
    lifter: dict[str, Any] = field(default_factory=dict)
    scene: SceneSettings = field(default_factory=SceneSettings)
    bag: BagSettings = field(default_factory=BagSettings)
    bag_inputs: BagInputs = field(default_factory=BagInputs)
    threads: int = 1
    timeout: float | None = None

    def make_lifter(self) -> Lifter:
        """Return the lifter, not loaded; raises ``LiftError``."""
        return Lifter(self.method, **self.lifter)

    def described(self) -> dict[str, Any]:
        """Return the settings that results depend on, in types of JSON."""
        scene, bag = _plain(self.scene), _plain(self.bag)
        # Where and how fast it is computed changes no result by more than rounding.
        lifter = {name: value for name, value in self.lifter.items() if name != 'device'}
        return {
            'method': self.method if isinstance(self.method, str) else repr(self.method),
            'lifter': lifter,
            'scene': scene,
            'bag': bag,
            'bag_inputs': _plain(self.bag_inputs),
        }


class ItemWorker:
    """
    Lifts items with models that are loaded once.

    Files are written into a folder of this worker below the output folder and then moved, the
    report last: a report in its place says that all files of the item are there.
    """

    def __init__(self, settings: WorkSettings, out: Path) -> None:
        """Configure the lifter; raises ``LiftError``."""
        self._settings = settings
        self._out = out
        self._lifter = settings.make_lifter()
        self._bags: OrderedDict[str, _OpenBag] = OrderedDict()
        #: Folder of the unfinished files of this worker.
        self.partial = out / PARTIAL / secrets.token_hex(6)

    def load(self) -> None:
        """Load the models, and limit the threads; raises ``LiftError``."""
        _set_threads(self._settings.threads)
        self._lifter.check()
        self._lifter.load()

    def close(self) -> None:
        """Close the bags, and remove unfinished files."""
        while self._bags:
            self._bags.popitem()[1].bag.close()
        shutil.rmtree(self.partial, ignore_errors=True)

    def work(self, item: Item, picture: bool = False) -> dict[str, Any]:
        """
        Lift an item and write its files; with ``picture`` also a thumbnail.

        Returns the record of the manifest. An error of the item is ``error`` in it; one of all
        items is ``STOP``.
        """
        start = time.monotonic()
        record: dict[str, Any] = {'key': item.key, 'kind': item.kind, 'ok': False}
        try:
            with self._moved_together(item) as folder:
                if item.kind == SCENE:
                    record |= self._lift_scene(item, folder, picture)
                elif item.kind == BAG:
                    record |= self._divide(item)
                else:
                    record |= self._lift_part(item, folder)
            record['ok'] = True
        except Exception as error:
            if is_full(error):
                if isinstance(error, OSError) and error.filename is None:
                    # That of a write has no path.
                    error.filename = str(self._out)
                return {**record, STOP: error_entry(as_lift_error(error))}
            failure = as_lift_error(error)
            record['error'] = error_entry(failure)
            if failure.code is ErrorCode.INTERNAL:
                record['trace'] = traceback.format_exc()[-_MAX_TRACE:]
        record['seconds'] = round(time.monotonic() - start, 4)
        record['peak_memory_mb'] = peak_memory()
        return record

    # --- scenes ---------------------------------------------------------------------------------

    def _lift_scene(self, item: Item, folder: Path, picture: bool) -> dict[str, Any]:
        settings = self._settings
        deadline = None
        if settings.timeout is not None:
            deadline = time.monotonic() + settings.timeout
        mesh = settings.scene.export.path(folder, Path(item.key).name)
        lifted = lift_scene(
            self._lifter, settings.scene, Path(item.path), mesh, deadline=deadline)
        write_report(folder / f'{Path(item.key).name}.json', lifted.report)
        if picture:
            path = thumbnail_path(self._out, item.key)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, thumbnail(lifted.inputs.frame, lifted.inputs.mask, lifted.shape))
        report = lifted.report
        return {
            'objects': 1,
            **{name: report[name] for name in (
                'method', 'confidence', 'scale_source', 'files')},
            'stages': report['seconds'],
        }

    # --- bags -----------------------------------------------------------------------------------

    def _divide(self, item: Item) -> dict[str, Any]:
        opened = self._open(item.path)
        return {'images': len(opened.instants), 'lost': opened.lost}

    def _lift_part(self, item: Item, folder: Path) -> dict[str, Any]:
        settings = self._settings
        opened = self._open(item.path)
        files = BagFiles(
            folder, settings.scene.export, settings.bag_inputs.frame, self._lifter.name)
        written: list[WrittenObject] = []
        for instant in opened.instants[item.first:item.first + item.count]:
            start = time.monotonic()
            try:
                outcome = opened.lifter.lift(instant)
            except Exception as error:
                failure = as_lift_error(error)
                written.append(files.write_failure(
                    instant, '', failure, time.monotonic() - start))
                continue
            written += files.write(outcome, time.monotonic() - start)
        codes: dict[str, int] = {}
        for entry in written:
            full = entry.unwritten or entry.result
            if isinstance(full, Exception) and is_full(full):
                raise full
            if isinstance(entry.result, LiftError):
                code = entry.result.code.value
                codes[code] = codes.get(code, 0) + 1
        failed = sum(codes.values())
        return {
            'objects': len(written) - failed, 'objects_failed': failed,
            **({'codes': codes} if codes else {}),
        }

    def _open(self, path: str) -> _OpenBag:
        """Return an open bag; raises ``LiftError``."""
        found = self._bags.get(path)
        if found is None:
            while len(self._bags) >= _OPEN_BAGS:
                self._bags.popitem(last=False)[1].bag.close()
            found = self._bags[path] = self._opened(Path(path))
        self._bags.move_to_end(path)
        return found

    def _opened(self, path: Path) -> _OpenBag:
        settings = self._settings
        bag = Bag(path)
        try:
            inputs = settings.bag_inputs
            topics = choose_topics(bag, **inputs.topics)
            recording = read_recording(bag, topics, inputs.tolerance)
            instants = select(recording.instants, rate=inputs.rate, every=inputs.every)
            lifter = BagLifter(bag, recording, settings.bag, self._lifter)
        except BaseException:
            bag.close()
            raise
        return _OpenBag(bag, instants, lifter, [*bag.lost, *recording.notes])

    # --- files ----------------------------------------------------------------------------------

    @contextmanager
    def _moved_together(self, item: Item) -> Iterator[Path]:
        """Yield an empty folder whose files move to those of the item, reports last."""
        shutil.rmtree(self.partial, ignore_errors=True)
        self.partial.mkdir(parents=True)
        yield self.partial
        made = sorted(self.partial.iterdir(), key=lambda path: path.suffix == '.json')
        if made:
            target = (self._out / item.key).parent
            make_folder(target)
            if item.kind == SCENE:
                name = Path(item.key).name
                export = self._settings.scene.export
                for old in export.files(export.path(target, name)):
                    # Of an earlier attempt, with more files.
                    old.unlink(missing_ok=True)
            for path in made:
                os.replace(path, target / path.name)


@dataclass(eq=False)
class _OpenBag:
    bag: Bag
    instants: list[Instant]
    lifter: BagLifter
    lost: list[str]


def thumbnail_path(out: Path, key: str) -> Path:
    """Return the thumbnail of an item in an output folder."""
    return out / THUMBNAILS / f'{key}.jpg'


def write_failure(out: Path, item: Item, error: LiftError, method: str) -> None:
    """
    Write the report of a scene that failed for good, and remove what it had.

    Bags have a report for each image and object instead. Raises ``OSError``.
    """
    if item.kind != SCENE:
        return
    path = out / f'{item.key}.json'
    path.parent.mkdir(parents=True, exist_ok=True)
    write_report(path, failure_report(error, method))


def error_of(record: dict[str, Any]) -> LiftError:
    """Return the error of a record."""
    entry = record.get('error') or {}
    return LiftError(ErrorCode(entry.get('code', 'INTERNAL')), entry.get('message', ''))


def _set_threads(threads: int) -> None:
    """Limit the threads of the libraries that compute."""
    import cv2
    import torch

    cv2.setNumThreads(threads)
    torch.set_num_threads(threads)


def _plain(settings: Any) -> dict[str, Any]:
    """Return a dataclass as a dictionary of JSON."""
    if getattr(settings, 'hints', None) is not None and settings.hints.plane is not None:
        plane = settings.hints.plane
        entry = asdict(replace(settings, hints=replace(settings.hints, plane=None)))
        entry['hints']['plane'] = [*plane.up.tolist(), plane.offset]
        return entry
    return asdict(settings)
