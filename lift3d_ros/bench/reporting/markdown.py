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

"""What the reports of all runs share: their head, their tables and their list of failures."""

from __future__ import annotations

from collections.abc import Sequence
import json
from pathlib import Path
from typing import Any

import numpy as np

from lift3d_ros.bench.results import Row
from lift3d_ros.runtime.files import write_whole

#: How many failures a report names; all of them are in report.json.
_NAMED = 20


def write_report(folder: Path, title: str, report: dict[str, Any], body: str) -> list[Path]:
    """
    Write report.json and report.md, whole or not at all; return their paths.

    ``report`` has the command and the machine of the run, ``body`` is its text in Markdown.
    Raises ``OSError`` where the folder cannot be written.
    """
    machine = report['machine']
    heading = (
        f'# {title}\n\n    {report["command"]}\n\n'
        f'{machine["processor"]}, {machine["cores"]} cores, {machine["memory_gb"]} GB; '
        f'Python {machine["python"]}, '
        f'lift3d_ros {machine["lift3d_ros"]} ({machine["revision"]})\n\n'
    )
    paths = [folder / 'report.json', folder / 'report.md']
    write_whole(paths[0], (json.dumps(report, indent=1) + '\n').encode())
    write_whole(paths[1], (heading + body).encode())
    return paths


def failures(rows: Sequence[Row], counted: str) -> list[str]:
    """Return the heading of what failed, which says how it is counted, and the list; or none."""
    failed = [row for row in rows if not row['ok']]
    if not failed:
        return []
    lines = [
        f'- {row["contender"]} on {row["scene"]} ({row["track"]}): '
        f'{row["error"]["code"]}: {row["error"]["message"]}'
        for row in failed[:_NAMED]
    ]
    if len(failed) > _NAMED:
        lines.append(f'- and {len(failed) - _NAMED} more, in report.json')
    return [f'### Failures: {len(failed)}, {counted}', '\n'.join(lines)]


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
