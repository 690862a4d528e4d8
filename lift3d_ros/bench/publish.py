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


"""
Put the reports of finished runs into a page of the documentation.

For example::

    python -m lift3d_ros.bench.publish --runs bench_out --page docs/benchmark.md

Between ``<!-- bench: NAME -->`` and ``<!-- end -->`` of the page the report of the run in the
folder NAME is written anew, and a sheet of each of its methods and tracks beside it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
import json
from pathlib import Path
import re
import sys

import cv2

from lift3d_ros.bench.reporting.report import captions
from lift3d_ros.bench.reporting.report import shown_rows
from lift3d_ros.bench.reporting.sheet import compose

_BLOCK = re.compile(r'<!-- bench: (\S+) -->\n.*?<!-- end -->', re.DOTALL)

#: Rows of a published sheet: the best, the worst, and evenly spaced ranks between.
_ROWS = 11

#: Bytes that a picture of the documentation may have.
_MAX_BYTES = 1_500_000


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page; return 1 where a run that it names is missing."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').strip().splitlines()[0])
    parser.add_argument('--runs', type=Path, required=True, metavar='DIR')
    parser.add_argument('--page', type=Path, required=True, metavar='FILE')
    parser.add_argument(
        '--only', nargs='+', metavar='NAME', help='runs to write; the rest of the page stays'
    )
    options = parser.parse_args(arguments)
    text = options.page.read_text()
    names = [
        name for name in _BLOCK.findall(text) if options.only is None or name in options.only
    ]
    unknown = sorted(set(options.only or ()) - set(names))
    if unknown:
        print(f'{options.page} has no place for {", ".join(unknown)}', file=sys.stderr)
        return 1
    missing = [name for name in names if not (options.runs / name / 'report.json').is_file()]
    if missing:
        print(f'no report of {", ".join(missing)} below {options.runs}', file=sys.stderr)
        return 1
    images = options.page.parent / 'images'
    images.mkdir(exist_ok=True)
    blocks = {name: _block(options.runs / name, images) for name in names}
    options.page.write_text(
        _BLOCK.sub(
            lambda match: (
                f'<!-- bench: {match[1]} -->\n{blocks[match[1]]}\n<!-- end -->'
                if match[1] in blocks
                else match[0]
            ),
            text,
        )
    )
    return 0


def _block(run: Path, images: Path) -> str:
    """Return the report of a run, its headings one level down, with its sheets."""
    # The heading of the report is that of a page of its own.
    body = (run / 'report.md').read_text().split('\n', 1)[1].strip()
    rows = json.loads((run / 'report.json').read_text())['rows']
    shown = sorted({(row['track'], row['contender']) for row in rows})
    parts = [body]
    for track, name in shown:
        chosen = shown_rows(run, rows, track, name)
        if chosen:
            path = images / f'bench_{run.name}_{track}_{name}.jpg'
            _write_sheet(path, captions(run, chosen))
            parts.append(f'![{name}, {track}, {run.name}](images/{path.name})')
    for name, heading in (
        ('views_time', 'Time of eight views'),
        ('five_time', 'Time of five objects of one frame'),
    ):
        timing = run / f'{name}.md'
        if timing.is_file():
            parts += [f'### {heading}', timing.read_text().strip('\n')]
    # Rings of synthesised views are a sheet already.
    for ring in sorted(run.glob('rings_*.jpg')):
        path = images / f'bench_{run.name}_{ring.name}'
        path.write_bytes(ring.read_bytes())
        parts.append(f'![{ring.stem.replace("_", ", ")}, {run.name}](images/{path.name})')
    return '\n\n'.join(parts)


def _write_sheet(path: Path, entries: Sequence[tuple[Path, Sequence[str]]]) -> None:
    """Write evenly spaced rows of a sheet as JPEG, as good as ``_MAX_BYTES`` allows."""
    count = min(_ROWS, len(entries))
    last = max(count - 1, 1)
    # The middle of an odd count is the median.
    chosen = [entries[round(k * (len(entries) - 1) / last)] for k in range(count)]
    page = compose(chosen)
    for quality in (88, 80, 70, 60):
        _, data = cv2.imencode('.jpg', page[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
        if len(data) < _MAX_BYTES:
            break
    path.write_bytes(data.tobytes())


if __name__ == '__main__':
    sys.exit(main())
