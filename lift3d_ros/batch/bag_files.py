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


"""From the lifted objects of a bag to files: the work of ``lift3d bag`` and of a batch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
import re
from typing import Any
from typing import NamedTuple

from lift3d_ros.bags.lifting import Outcome
from lift3d_ros.bags.recording import Instant
from lift3d_ros.bags.transforms import seconds_text
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry.shape import Shape
from lift3d_ros.messages.results import Lifted
from lift3d_ros.robot.export import Export
from lift3d_ros.robot.export import write
from lift3d_ros.robot.report import shape_entries
from lift3d_ros.runtime.failures import as_lift_error
from lift3d_ros.runtime.reports import error_entry
from lift3d_ros.runtime.reports import number
from lift3d_ros.runtime.reports import peak_memory
from lift3d_ros.runtime.reports import write_report


class WrittenObject(NamedTuple):
    """
    An object of a bag: the name of its files, its report, and its shape or error.

    ``unwritten`` is the error of a report that could not be written either.
    """

    name: str
    report: dict[str, Any]
    result: Shape | LiftError
    unwritten: OSError | None = None


@dataclass(frozen=True)
class BagFiles:
    """
    Writes NAME and NAME.json of each object into ``folder``, with NAME = ``STAMP_ID``.

    ``frame`` is that of the meshes; None: the target frame of the poses where there is one, else
    the default of the format. ``method`` is named in the reports of failures.
    """

    folder: Path
    export: Export
    frame: str | None
    method: str

    def write(self, outcome: Outcome, seconds: float) -> list[WrittenObject]:
        """
        Write the objects of an instant and the reports of its failures.

        ``seconds`` is the time so far. An object whose files cannot be written is a failure.
        """
        written = [
            self.write_failure(outcome.instant, id_, error, seconds)
            for id_, error in outcome.failures
        ]
        for lifted in outcome.lifted:
            try:
                written.append(self._write_object(outcome, lifted))
            except Exception as error:
                failure = as_lift_error(error)
                written.append(self.write_failure(outcome.instant, lifted.id, failure, seconds))
        return written

    def write_failure(
        self, instant: Instant, id_: str, error: LiftError, seconds: float
    ) -> WrittenObject:
        """Write the report of an object, or with an empty id of a whole image, without mesh."""
        name = object_name(instant, id_ or 'image')
        report = {
            'ok': False,
            'error': error_entry(error),
            **_origin(instant, id_),
            'method': self.method,
            'seconds': {'total': round(seconds, 4)},
            'peak_memory_mb': peak_memory(),
        }
        for path in self.export.files(self.export.path(self.folder, name)):
            # Results of an earlier run must not be mistaken for those of this run.
            path.unlink(missing_ok=True)
        try:
            write_report(self.folder / f'{name}.json', report)
        except OSError as full:
            return WrittenObject(name, report, error, full)
        return WrittenObject(name, report, error)

    def _write_object(self, outcome: Outcome, lifted: Lifted) -> WrittenObject:
        export, shape = self.export, lifted.shape
        name = object_name(outcome.instant, lifted.id)
        report_path = self.folder / f'{name}.json'
        report_path.unlink(missing_ok=True)
        path = export.path(self.folder, name)
        frame = self._frame(outcome)
        written = write(shape, path, export, frame, outcome.T_target_camera)
        report = {
            'ok': True,
            'error': None,
            **_origin(outcome.instant, lifted.id),
            'class_id': lifted.instance.class_id,
            'score': number(lifted.instance.score),
            'frame_id': outcome.header.frame_id,
            'pose_in_frame_id': lifted.T_frame_object.round(6).tolist(),
            'views': outcome.views[lifted.id],
            **shape_entries(shape, written),
            'seconds': {stage: round(value, 4) for stage, value in shape.seconds.items()},
            'peak_memory_mb': peak_memory(),
        }
        write_report(report_path, report)
        return WrittenObject(name, report, shape)

    def _frame(self, outcome: Outcome) -> str:
        """Return the frame of the meshes of an instant."""
        if self.frame is not None:
            return self.frame
        if self.export.kind == 'glb' or self.export.is_description:
            return 'object'
        return 'camera' if outcome.T_target_camera is None else 'world'


def object_name(instant: Instant, id_: str) -> str:
    """Return the name of the files of an object; stamps of a clock that was set back differ."""
    run = f'run{instant.run}_' if instant.run else ''
    return f'{run}{seconds_text(instant.stamp)}_{re.sub(r"[^A-Za-z0-9_.-]", "_", id_)}'


def _origin(instant: Instant, id_: str) -> dict[str, Any]:
    # Seconds are text, since a JSON number would lose digits.
    return {
        'id': id_,
        'stamp': seconds_text(instant.stamp),
        'received': seconds_text(instant.image.time),
    }
