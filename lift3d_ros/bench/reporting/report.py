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

"""The files of a report: report.json, report.md and the sheets."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
from dataclasses import dataclass
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lift3d_ros.bench.reporting.machine import describe_machine
from lift3d_ros.bench.results import Row
from lift3d_ros.runtime.files import write_whole

#: Failures that a report lists; all of them are in report.json.
LISTED_FAILURES = 20

#: A heading, and rows of cells of which the first are the column headings.
Table = tuple[str, list[list[str]]]


@dataclass(frozen=True, eq=False)
class Report:
    """
    The report of a run.

    - ``title``: the command; ``rows``: of all scenes; ``result``: their means and counts, plain
      numbers, from which all tables are rendered.
    - ``as_text``: renders a result as Markdown; ``sheets``: file names and pages, uint8 RGB.
    """

    title: str
    rows: Sequence[Row]
    result: dict[str, Any]
    as_text: Callable[[dict[str, Any]], str]
    sheets: Iterable[tuple[str, NDArray[np.uint8]]]

    @property
    def failures(self) -> list[Row]:
        """The rows that failed."""
        return [row for row in self.rows if not row['ok']]

    def text(self) -> str:
        """Return all tables in Markdown."""
        return self.as_text({**self.result, 'failures': self.failures})


@dataclass(frozen=True)
class Column:
    """
    A figure of a table: its key in a row, its heading and its format.

    It is the mean over objects, with ``interval`` and its 95 % interval or with ``error`` and its
    standard error; or with ``median`` the median.
    """

    figure: str
    heading: str
    factor: float = 1.0
    digits: int = 2
    interval: bool = False
    median: bool = False
    error: bool = False

    def cell(self, value: dict[str, float] | None) -> str:
        """Return a mean as text, '-' where there is none."""
        statistic = 'median' if self.median else 'mean'
        if value is None or statistic not in value:
            return '-'
        if self.interval and value.get('objects', 2) > 1 and 'low' in value:
            low, high = self.format(value['low']), self.format(value['high'])
            return f'{self.format(value["mean"])} [{low}, {high}]'
        if self.error and value.get('objects', 2) > 1 and 'error' in value:
            return f'{self.format(value["mean"])} ± {self.format(value["error"])}'
        return self.format(value[statistic])

    def pair(self, value: Sequence[float] | None) -> str:
        """Return a paired difference, mean and standard error, as text; '-' for None."""
        if value is None:
            return '-'
        return f'{self.format(value[0], "+")} ({self.format(value[1])})'

    def format(self, value: float, sign: str = '') -> str:
        """Return a value in the unit of the column."""
        return f'{self.factor * value:{sign}.{self.digits}f}'


def write_report(folder: Path, report: Report, record: dict[str, Any]) -> list[Path]:
    """
    Write report.json, report.md and the sheets, each whole or not at all; return their paths.

    ``record`` holds ``command`` and ``run``. Raises ``OSError`` where a file cannot be written.
    """
    content = {
        **record,
        'machine': describe_machine(),
        **report.result,
        'failures': report.failures,
        'rows': list(report.rows),
    }
    text = f'# {report.title}\n\n    {header(content)}\n\n{report.text()}'
    files = [(folder / 'report.json', (json.dumps(content, indent=1) + '\n').encode()),
             (folder / 'report.md', text.encode())]
    for path, data in files:
        write_whole(path, data)
    paths = [path for path, _ in files]
    for name, page in report.sheets:
        path = folder / name
        quality = [cv2.IMWRITE_JPEG_QUALITY, 86] if path.suffix == '.jpg' else []
        _, encoded = cv2.imencode(path.suffix, page[..., ::-1], quality)
        write_whole(path, encoded.tobytes())
        paths.append(path)
    return paths


def header(content: dict[str, Any]) -> str:
    """Return the command of a run, and the machine and the revision that it was measured on."""
    machine = content['machine']
    memory = f', {machine["memory_gb"]} GB' if 'memory_gb' in machine else ''
    python = f'Python {machine["python"]}, ' if 'python' in machine else ''
    return (
        f'{content["command"]}\n\n{machine["processor"]}, {machine["cores"]} cores{memory}; '
        f'{python}lift3d_ros {machine["lift3d_ros"]} ({machine["revision"]})'
    )


def failures(result: dict[str, Any], counted: str) -> list[str]:
    """Return the heading of the failures, which says how they are counted, and the list."""
    failed = result['failures']
    if not failed:
        return []
    total = result.get('failures_total', len(failed))
    lines = [
        f'- {row["contender"]} on {row["scene"]} ({row["track"]}): '
        f'{row["error"]["code"]}: {row["error"]["message"]}'
        for row in failed[:LISTED_FAILURES]
    ]
    if total > len(lines):
        lines.append(f'- and {total - len(lines)} more, in report.json')
    return [f'### Failures: {total}, {counted}', '\n'.join(lines)]


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table whose columns are aligned."""
    widths = np.max([[max(len(text), 3) for text in row] for row in rows], axis=0)
    lines = []
    for row in rows:
        cells = [text.ljust(w) if k == 0 else text.rjust(w)
                 for k, (text, w) in enumerate(zip(row, widths, strict=True))]
        lines.append(f'| {" | ".join(cells)} |')
    rule = ['-' * w if k == 0 else '-' * (w - 1) + ':' for k, w in enumerate(widths)]
    lines.insert(1, f'| {" | ".join(rule)} |')
    return '\n'.join(lines)
