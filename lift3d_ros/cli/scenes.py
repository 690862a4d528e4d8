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

"""Shared code of the commands that process many scenes."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from collections.abc import Iterable
import contextlib
from pathlib import Path
import sys
import time
from typing import Any
from typing import TYPE_CHECKING

from lift3d_ros.cli import values
from lift3d_ros.errors import bad_request
from lift3d_ros.errors import LiftError
from lift3d_ros.io.scene_files import is_picture
from lift3d_ros.runtime.failures import as_lift_error
from lift3d_ros.runtime.files import make_folder
from lift3d_ros.runtime.reports import write_report

if TYPE_CHECKING:
    from lift3d_ros.progress import ProgressCallback

#: The JSON report of a scene, and its line on the terminal.
Result = tuple[dict[str, Any], str]

#: Processes the scene of a name and writes its results; reports its progress, 0 to 1.
Work = Callable[[str, Path, 'ProgressCallback'], Result]


def add_seed(parser: argparse.ArgumentParser, same: str) -> None:
    """Declare ``--seed``; ``same`` names the result that depends on it."""
    parser.add_argument(
        '--seed', type=values.seed, default=0, help=f'same seed, same {same} (default: 0)')


def named(paths: Iterable[Path]) -> dict[str, Path]:
    """
    Return scenes by name: that of the folder, or of the image file without its suffix.

    Raises ``LiftError(BAD_REQUEST)`` for two scenes of one name, and for circular links.
    """
    scenes: dict[str, Path] = {}
    for path in paths:
        try:
            resolved = path.resolve()
        except (OSError, RuntimeError, ValueError) as error:
            # RuntimeError: a circular link, up to Python 3.12.
            raise bad_request(
                f'{str(path)[:200]!r} is not a valid scene path: {error}.') from error
        name = resolved.stem if is_picture(resolved) else resolved.name
        other = scenes.setdefault(name, resolved)
        if other != resolved:
            raise bad_request(
                f'{other} and {resolved} would both be written to {name}.*; rename one or use two '
                'output folders.')
    return scenes


def work_through(
    scenes: dict[str, Path],
    out: Path,
    work: Work,
    failed: Callable[[LiftError], dict[str, Any]],
    results: Callable[[str], Iterable[Path]],
    verb: str,
) -> int:
    """
    Process every scene and write its report to ``NAME.json``; return 0 if all succeeded, else 1.

    The failure of a scene does not stop the others: its report is that of ``failed`` with the
    total time, and its ``results``, all files of a name except the report, are removed. ``verb``
    is the participle of the summary. Raises ``LiftError(BAD_REQUEST)`` if ``out`` cannot be
    created.
    """
    from tqdm import tqdm

    make_folder(out)
    done = 0
    # A bar on a terminal; elsewhere only ``write``, one line for each scene.
    bar_format = '{percentage:3.0f} %|{bar}| {elapsed}<{remaining}{postfix}'
    with tqdm(total=len(scenes), disable=None, leave=False, bar_format=bar_format) as bar:
        for index, (name, path) in enumerate(scenes.items()):

            def show(
                stage: str, fraction: float, name: str = name, index: int = index
            ) -> None:
                bar.set_postfix_str(f'{name}: {stage}', refresh=False)
                bar.update(index + fraction - bar.n)

            report, line = _work_on(name, path, out, work, failed, results, show)
            done += report['ok']
            bar.write(line)
            # Pipes and logs receive each line when its scene is done.
            sys.stdout.flush()
    print(f'{done} of {len(scenes)} scenes {verb}, results in {out}')
    return 0 if done == len(scenes) else 1


def _work_on(
    name: str,
    path: Path,
    out: Path,
    work: Work,
    failed: Callable[[LiftError], dict[str, Any]],
    results: Callable[[str], Iterable[Path]],
    progress: ProgressCallback,
) -> Result:
    report_path = out / f'{name}.json'
    start = time.monotonic()
    try:
        # Results of an earlier run must not be mistaken for those of this run.
        _remove(results(name))
        report_path.unlink(missing_ok=True)
        report, line = work(name, path, progress)
        write_report(report_path, report)
    except Exception as error:
        failure = as_lift_error(error)
        for result in results(name):
            # A folder with the name of a result can be the failure, and stays.
            with contextlib.suppress(OSError):
                result.unlink(missing_ok=True)
        report = failed(failure)
        report['seconds'] = {'total': round(time.monotonic() - start, 4)}
        line = f'{name}: {failure}'
        try:
            write_report(report_path, report)
        except OSError as full:
            line += f' ({report_path} cannot be written either: {full.strerror})'
    except BaseException:
        _remove([*results(name), report_path])
        raise
    return report, line


def _remove(paths: Iterable[Path]) -> None:
    for path in list(paths):
        path.unlink(missing_ok=True)
