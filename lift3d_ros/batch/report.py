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


"""The HTML page of a batch: counts, times, errors and thumbnails, in one file."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
import html
from pathlib import Path
import statistics
from typing import Any

from lift3d_ros.batch.items import BAG
from lift3d_ros.batch.manifest import read_records
from lift3d_ros.batch.statistics import duration
from lift3d_ros.batch.work import thumbnail_path
from lift3d_ros.runtime.files import write_error
from lift3d_ros.runtime.files import write_whole

#: Name of the page in the output folder.
REPORT = 'report.html'

#: Failures and thumbnails that the page shows at most.
MAX_FAILURES = 200
MAX_THUMBNAILS = 200

#: Bars of the histogram of times.
_BARS = 24

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem;
  color: #1b1f24; background: #fff; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
table { border-collapse: collapse; } table + table { margin-top: 1rem; }
td, th { padding: .25rem .8rem .25rem 0; text-align: left;
  vertical-align: top; border-bottom: 1px solid #e3e6ea; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
.tiles { display: flex; flex-wrap: wrap; gap: .8rem; }
.tile { border: 1px solid #d8dde3; border-radius: 6px; padding: .5rem .9rem; }
.tile b { display: block; font-size: 1.3rem; } .bad b { color: #b3261e; }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(20rem, 1fr)); gap: .8rem; }
figure { margin: 0; border: 1px solid #d8dde3; border-radius: 6px; overflow: hidden; }
figure img { width: 100%; display: block; background: #fff; }
figcaption { padding: .3rem .6rem; font-size: 13px; overflow-wrap: anywhere; }
code { overflow-wrap: anywhere; } svg { max-width: 100%; height: auto; }
@media (prefers-color-scheme: dark) { body { background: #14171a; color: #e6e8ea; }
  td, th { border-color: #2b3138; } .tile, figure { border-color: #353c44; }
  .bad b { color: #ff8a80; } }
"""


@dataclass(eq=False)
class _Content:
    """What the page tells, gathered in one pass over the manifest."""

    lifted: int = 0
    failed: int = 0
    objects: int = 0
    objects_failed: int = 0
    retried: int = 0
    seconds: list[float] = field(default_factory=list)
    stages: dict[str, list[float]] = field(default_factory=dict)
    codes: Counter[str] = field(default_factory=Counter)
    workers: dict[str, list[float]] = field(default_factory=dict)
    failures: list[dict[str, Any]] = field(default_factory=list)
    shown: list[dict[str, Any]] = field(default_factory=list)
    begin: float = 0.0
    end: float = 0.0


def write_html(out: Path) -> Path:
    """
    Write the page of the batch in ``out``; return its path.

    Raises ``LiftError(BAD_REQUEST)`` without a manifest, and if it cannot be written.
    """
    page = _page(out, _gather(out))
    try:
        write_whole(out / REPORT, page.encode())
    except OSError as error:
        raise write_error(error) from error
    return out / REPORT


def _gather(out: Path) -> _Content:
    # The last record of a key is its result.
    latest: dict[str, int] = {
        record['key']: index for index, record in enumerate(read_records(out))}
    content = _Content()
    for index, record in enumerate(read_records(out)):
        if latest[record['key']] != index or (record.get('kind') == BAG and record.get('ok')):
            continue
        _count(content, record)
        if not record.get('ok') and len(content.failures) < MAX_FAILURES:
            content.failures.append(record)
        if len(content.shown) < MAX_THUMBNAILS and thumbnail_path(out, record['key']).is_file():
            content.shown.append(record)
    return content


def _count(content: _Content, record: dict[str, Any]) -> None:
    seconds = float(record.get('seconds') or 0.0)
    end = float(record.get('time') or 0.0)
    content.begin = min(content.begin or end, end - seconds)
    content.end = max(content.end, end)
    content.retried += int(record.get('attempts', 1)) - 1
    content.objects += record.get('objects', 0)
    content.objects_failed += record.get('objects_failed', 0)
    content.codes.update(record.get('codes') or {})
    content.workers.setdefault(str(record.get('worker') or '?'), []).append(seconds)
    if record.get('ok'):
        content.lifted += 1
        content.seconds.append(seconds)
        for stage, value in (record.get('stages') or {}).items():
            content.stages.setdefault(stage, []).append(value)
    else:
        content.failed += 1
        content.codes[str((record.get('error') or {}).get('code'))] += 1


def _page(out: Path, content: _Content) -> str:
    total = content.lifted + content.failed
    span = content.end - content.begin
    tiles = [
        _tile(f'{total}', 'items done'),
        _tile(f'{content.lifted}', 'lifted'),
        _tile(f'{content.failed}', 'failed', bad=content.failed > 0),
        _tile(f'{content.objects}', 'objects'),
        _tile(f'{content.objects_failed}', 'objects failed', bad=content.objects_failed > 0),
        _tile(f'{content.retried}', 'attempts after the first'),
        _tile(duration(span), 'from first to last'),
        _tile(f'{total / span:.2f}/s' if span > 0 else '-', 'items a second'),
    ]
    parts = [
        f'<h1>Batch {html.escape(out.resolve().name)}</h1>',
        f'<div class="tiles">{"".join(tiles)}</div>',
        '<h2>Seconds of an item</h2>', _histogram(content.seconds), _stages(content),
        '<h2>Errors</h2>', _codes(content), _failures(content),
        '<h2>Workers</h2>', _workers(content),
        '<h2>Thumbnails</h2>', _thumbnails(out, content),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>Batch {html.escape(out.resolve().name)}</title><style>{_STYLE}</style></head>'
        f'<body>{"".join(parts)}</body></html>\n'
    )


def _tile(number: str, name: str, bad: bool = False) -> str:
    kind = ' bad' if bad else ''
    return f'<div class="tile{kind}"><b>{html.escape(number)}</b>{html.escape(name)}</div>'


def _histogram(seconds: Sequence[float]) -> str:
    """Return the bars of the times, as SVG."""
    if not seconds:
        return '<p>No item was lifted.</p>'
    ordered = sorted(seconds)
    # A few very long ones would leave one bar for all others.
    high = max(ordered[int(0.99 * (len(ordered) - 1))], 1e-3)
    counts = [0] * _BARS
    for value in ordered:
        counts[min(int(value / high * _BARS), _BARS - 1)] += 1
    top, width, height = max(counts), 26, 120
    bars = ''.join(
        f'<rect x="{index * width}" y="{height - count / top * height:.1f}" width="{width - 2}" '
        f'height="{count / top * height:.1f}" fill="#3b7dd8"><title>'
        f'{index * high / _BARS:.3g} to {(index + 1) * high / _BARS:.3g} s: {count}</title></rect>'
        for index, count in enumerate(counts)
    )
    labels = ''.join(
        f'<text x="{x}" y="{height + 16}" font-size="12" fill="currentColor" '
        f'text-anchor="{anchor}">{text}</text>'
        for x, anchor, text in (
            (0, 'start', '0 s'), (_BARS * width, 'end', f'{high:.3g} s and more'))
    )
    return (
        f'<svg viewBox="0 0 {_BARS * width} {height + 22}" width="{_BARS * width}" role="img" '
        f'aria-label="histogram of seconds">{bars}{labels}</svg>'
        f'<p>median {statistics.median(ordered):.3g} s, mean {statistics.fmean(ordered):.3g} s, '
        f'longest {ordered[-1]:.3g} s</p>'
    )


def _stages(content: _Content) -> str:
    rows = [
        (stage, f'{statistics.fmean(values):.4f}', f'{max(values):.4f}')
        for stage, values in content.stages.items()
    ]
    return _table(('stage', 'mean, s', 'longest, s'), rows) if rows else ''


def _codes(content: _Content) -> str:
    if not content.codes:
        return '<p>None.</p>'
    return _table(
        ('code', 'items and objects'),
        [(code, str(count)) for code, count in content.codes.most_common()])


def _failures(content: _Content) -> str:
    if not content.failures:
        return ''
    rows = ''.join(
        '<tr><td><code>{}</code></td><td>{}</td><td>{}</td></tr>'.format(
            html.escape(record['key']),
            html.escape(str((record.get('error') or {}).get('code'))),
            html.escape(str((record.get('error') or {}).get('message'))))
        for record in content.failures
    )
    more = content.failed - len(content.failures)
    rest = f'<p>{more} more are in the manifest.</p>' if more > 0 else ''
    return f'<table><tr><th>item</th><th>code</th><th>what to do</th></tr>{rows}</table>{rest}'


def _workers(content: _Content) -> str:
    rows = [
        (worker, str(len(values)), f'{sum(values):.1f}')
        for worker, values in sorted(content.workers.items(), key=lambda pair: -len(pair[1]))[:50]
    ]
    return _table(('host:process', 'items', 'seconds'), rows)


def _thumbnails(out: Path, content: _Content) -> str:
    figures = []
    for record in content.shown:
        data = base64.b64encode(thumbnail_path(out, record['key']).read_bytes()).decode()
        confidence = record.get('confidence')
        caption = html.escape(record['key'])
        if confidence is not None:
            caption += f', confidence {confidence:.2f}'
        caption += f', {record.get("seconds", 0.0):.2f} s'
        figures.append(
            f'<figure><img alt="{html.escape(record["key"])}" loading="lazy" '
            f'src="data:image/jpeg;base64,{data}"><figcaption>{caption}</figcaption></figure>')
    if not figures:
        return '<p>None were made; give --report when the batch starts.</p>'
    return (
        '<p>The object in its image, its mesh from the side of the camera and from behind.</p>'
        f'<div class="grid">{"".join(figures)}</div>')


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table whose columns but the first are numbers."""
    first = ''.join(
        f'<th{" class=n" if index else ""}>{html.escape(name)}</th>'
        for index, name in enumerate(head))
    body = ''.join(
        '<tr>' + ''.join(
            f'<td{" class=n" if index else ""}>{html.escape(value)}</td>'
            for index, value in enumerate(row)) + '</tr>'
        for row in rows)
    return f'<table><tr>{first}</tr>{body}</table>'
