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
Take results of finished runs into the documentation, and render its tables from them.

For example::

    python -m lift3d_ros.bench.publish --runs bench_out
    python -m lift3d_ros.bench.publish --show exact

A page names results between ``<!-- results: NAME/TRACK... FIGURE... -->`` and ``<!-- end -->``,
where the table is written. ``NAME`` is the folder of a run, and its result is ``NAME.json``;
``FIGURE`` is the key of a mean, of a mean with its standard error if ``+`` is after it, or of a
median with ``~`` after it. A table of several tracks has
the methods only. Sheets that the page shows, ``images/bench_NAME_TRACK_METHOD.jpg`` and
``images/bench_NAME_rings_TRACK.jpg``, are written where the run has the images.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
import json
from pathlib import Path
import re
import sys
from typing import Any

from lift3d_ros.bench.baselines import BASELINES
from lift3d_ros.bench.baselines import MeanShape
from lift3d_ros.bench.reporting import distilled
from lift3d_ros.bench.reporting import rooms
from lift3d_ros.bench.reporting import shapes
from lift3d_ros.bench.reporting import views
from lift3d_ros.bench.reporting.report import header
from lift3d_ros.bench.reporting.report import LISTED_FAILURES
from lift3d_ros.bench.reporting.report import markdown
from lift3d_ros.bench.reporting.sheet import encode_jpeg
from lift3d_ros.bench.timing import harness
from lift3d_ros.bench.views.protocol import UNOBSERVED

_BLOCK = re.compile(r'<!-- results: (.*?) -->\n.*?<!-- end -->', re.DOTALL)

#: Files of a run with timings, without their suffix.
_TIMINGS = ('five_time', 'views_time')

#: Tables of the runs whose results have a key; all others are of shapes.
_KINDS = {'distilled': distilled, 'rooms': rooms, 'seconds': views}

#: Significant digits of published numbers.
_DIGITS = 8

#: Rows of a published sheet: the best, the worst, and evenly spread ranks between.
_SHEET_ROWS = 11

#: Largest size of an image of the documentation, bytes.
_MAX_BYTES = 1_500_000

#: Means of a row that describe scenes and processes and are no result.
_UNPUBLISHED = (
    'scene_seed', 'azimuth_deg', 'elevation_deg', 'distance_m', 'wall_seconds', 'peak_memory_mb')


def main(arguments: Sequence[str] | None = None) -> int:
    """Write results and the page; return 1 where a run or a result is missing."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--runs', type=Path, metavar='DIR', help='finished runs to take in')
    parser.add_argument('--only', nargs='+', metavar='NAME', help='runs (default: all)')
    parser.add_argument('--show', metavar='NAME', help='print all tables of a result, and end')
    parser.add_argument('--results', type=Path, default=Path('docs/results'), metavar='DIR')
    parser.add_argument('--page', type=Path, default=Path('docs/accuracy.md'), metavar='FILE')
    options = parser.parse_args(arguments)
    try:
        if options.show:
            print(as_text(_read(options.results / f'{options.show}.json')))
            return 0
        page = options.page.read_text()
        if options.runs:
            named = sorted({*_names(page), *(p.stem for p in options.results.glob('*.json'))})
            for name in options.only or named:
                if name not in named:
                    raise FileNotFoundError(f'there is no result {name}, nor a table of it')
                _take_in(options.runs / name, options.results / f'{name}.json')
            _write_sheets(page, options.runs, options.page.parent, options.only)
        tables = _BLOCK.sub(lambda match: _fill(match, options.results), page)
    except (OSError, KeyError) as error:
        print(f'{type(error).__name__}: {error}', file=sys.stderr)
        return 1
    options.page.write_text(tables)
    return 0


def compact(report: dict[str, Any]) -> dict[str, Any]:
    """Return a ``report.json`` without its rows and local paths, with rounded numbers."""
    kept = {key: value for key, value in report.items() if key != 'rows'}
    kept['run'] = {key: value for key, value in report.get('run', {}).items()
                   if key not in ('data', 'real', 'official')}
    kept['machine'] = {key: report['machine'][key] for key in (
        'processor', 'cores', 'memory_gb', 'python', 'lift3d_ros', 'revision')}
    kept['failures'] = [
        {key: row[key] for key in ('contender', 'scene', 'track')}
        | {'error': {key: row['error'][key] for key in ('code', 'message')}}
        for row in report['failures'][:LISTED_FAILURES]
    ]
    kept['failures_total'] = len(report['failures'])
    kept['means'] = {
        track: {name: {key: mean for key, mean in means.items() if key not in _UNPUBLISHED}
                for name, means in by_name.items()}
        for track, by_name in report['means'].items()
    }
    return _rounded(kept)


def as_text(result: dict[str, Any]) -> str:
    """Return all tables of a result in Markdown."""
    parts = [header(result), '']
    if 'means' in result:
        kind = next((kind for key, kind in _KINDS.items() if key in result), shapes)
        parts.append(kind.as_text(result))
    for name in _TIMINGS:
        if name in result:
            parts += [header(result[name]), '', _timing(name, result[name])]
    return '\n'.join(parts)


def table(tracks: Sequence[tuple[dict[str, Any], str, str]], figures: Sequence[str]) -> str:
    """
    Return one table of figures by their keys, ``KEY~`` for medians, ``KEY+`` for standard errors.

    ``tracks`` are result, track and label of the rows, which is empty for a single one.
    """
    columns = {column.figure + '~' * column.median: column
               for columns in shapes.TABLES.values() for column in columns}
    columns |= {f'{name}+': replace(column, interval=False, error=True)
                for name, column in columns.items() if not column.median}
    heads, body = [], []
    for result, track, label in tracks:
        is_views = 'seconds' in result
        heads = [views.HEADINGS[figure][0] for figure in figures] if is_views else [
            columns[figure].heading + ', median' * columns[figure].median for figure in figures]
        for name, means in result['means'][track].items():
            if label and name in (*BASELINES, MeanShape.name, *views.BASELINES):
                continue
            cells = [
                views.cell(means[UNOBSERVED].get(figure), views.HEADINGS[figure][1])
                if is_views else columns[figure].cell(means.get(columns[figure].figure))
                for figure in figures
            ]
            if any(cell != '-' for cell in cells):
                failed = result['counts'][track].get('failed', {}).get(name, 0)
                note = f' ({failed} failed)' if failed else ''
                body.append([f'{name}{label}{note}', *cells])
    return markdown([['', *heads], *body])


def _timing(name: str, figures: dict[str, Any]) -> str:
    program = name.removesuffix('_time')
    return markdown([['', figures['column']], *harness.as_rows(program, figures)])


def _fill(match: re.Match[str], results: Path) -> str:
    """Return a block of the page with its table, its commands and their revisions."""
    sources = [word.split('/') for word in match[1].split() if '/' in word]
    tracks, lines = [], dict[str, None]()
    for name, track in sources:
        result = _read(results / f'{name}.json')
        tracks.append((result, track, f', {name} {track}' if len(sources) > 1 else ''))
        lines[f'{result["machine"]["revision"]}: `{result["command"]}`'] = None
    figures = [word for word in match[1].split() if '/' not in word]
    commands = '\\\n'.join(f'Revision {line}' for line in lines)
    # Aligned columns would make the lines of a page too long.
    narrow = re.sub('-{3,}', '---', re.sub(' {2,}', ' ', table(tracks, figures)))
    return f'<!-- results: {match[1]} -->\n{narrow}\n\n{commands}\n<!-- end -->'


def _names(page: str) -> list[str]:
    """Return the runs that a page names, longest name first."""
    names = {word.split('/')[0] for match in _BLOCK.finditer(page)
             for word in match[1].split() if '/' in word}
    return sorted(names, key=lambda name: (-len(name), name))


def _take_in(run: Path, path: Path) -> None:
    """Write the compact result of a run, its timings included."""
    result = compact(_read(run / 'report.json'))
    for name in _TIMINGS:
        if (run / f'{name}.json').is_file():
            result[name] = _rounded(_read(run / f'{name}.json'))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=None, separators=(',', ':')) + '\n')


def _write_sheets(page: str, runs: Path, folder: Path, only: Sequence[str] | None) -> None:
    """Write the sheets that a page shows, as far as the runs have their images."""
    names = '|'.join(_names(page))
    for match in re.finditer(rf'images/bench_({names})_(rings_)?([^_)]+)_?([^)]*)\.jpg', page):
        name, ring, track, method = match.groups()
        path, run = folder / match[0], runs / name
        if only is not None and name not in only:
            continue
        path.parent.mkdir(exist_ok=True)
        if ring:
            path.write_bytes((run / f'rings_{track}.jpg').read_bytes())
            continue
        rows = _read(run / 'report.json')['rows']
        sheet = shapes.sheet_of(run, rows, track, method, _SHEET_ROWS)
        if sheet is not None:
            images = (encode_jpeg(sheet, quality) for quality in (88, 80, 70, 60))
            path.write_bytes(next((i for i in images if len(i) < _MAX_BYTES),
                                  encode_jpeg(sheet, 60)))


def _rounded(value: Any) -> Any:
    """Return a value of JSON with its numbers rounded to ``_DIGITS``."""
    if isinstance(value, float):
        return float(f'{value:.{_DIGITS}g}')
    if isinstance(value, dict):
        return {key: _rounded(entry) for key, entry in value.items()}
    return [_rounded(entry) for entry in value] if isinstance(value, list) else value


def _read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text())
    return content


if __name__ == '__main__':
    sys.exit(main())
