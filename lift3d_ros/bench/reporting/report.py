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


"""What a run leaves: a table on the terminal, report.json, report.md and the sheets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2

from lift3d_ros.bench.ablation import REFERENCE
from lift3d_ros.bench.ablation import VARIANTS
from lift3d_ros.bench.reporting.machine import describe_machine
from lift3d_ros.bench.reporting.markdown import failures
from lift3d_ros.bench.reporting.markdown import markdown
from lift3d_ros.bench.reporting.markdown import write_report
from lift3d_ros.bench.reporting.sheet import compose
from lift3d_ros.bench.reporting.summary import calibration_curve
from lift3d_ros.bench.reporting.summary import Column
from lift3d_ros.bench.reporting.summary import mean_over_objects
from lift3d_ros.bench.reporting.summary import paired_difference
from lift3d_ros.bench.reporting.summary import pooled_error
from lift3d_ros.bench.reporting.summary import summarise
from lift3d_ros.bench.reporting.summary import tables
from lift3d_ros.bench.results import Row
from lift3d_ros.bench.settings import REAL
from lift3d_ros.bench.worker import strip_path
from lift3d_ros.lifter import METHODS
from lift3d_ros.runtime.files import write_whole

#: What variants of a method are compared by, object by object.
_PAIRED = (
    Column('iou', 'IoU', digits=4),
    Column('chamfer_mm', 'chamfer mm', digits=3),
    Column('aligned_fs_0.1', 'FS@0.1', digits=4),
    Column('color_seen', 'colour seen %', 100.0),
    Column('color_hidden', 'colour hidden %', 100.0),
)

#: Letters of a name that fit below a picture.
_NAME = 26


def text_tables(rows: Sequence[Row], contenders: Sequence[str]) -> str:
    """Return all tables of all tracks in Markdown, aligned to be read as they are."""
    parts = []
    for track in summarise(rows):
        chosen = [row for row in rows if row['track'] == track]
        # Of real frames only some have a known mesh.
        known = {row['scene'] for row in chosen if 'chamfer_mm' in row}
        scored = [row for row in chosen if track != REAL or row['scene'] in known]
        scenes, objects = ({row[name] for row in scored} for name in ('scene', 'object'))
        if scored:
            parts.append(f'### {track}: {len(objects)} objects, {len(scenes)} scenes')
            for heading, body in tables(scored, contenders, track):
                parts += [f'{heading}', markdown(body)]
            pairs = _pairs(scored, contenders)
            if pairs:
                parts += [f'Difference to {REFERENCE}, in pairs: mean (standard error)', pairs]
        figure, name = ('iou', 'IoU') if track.startswith('rgbd') else ('aligned_fs_0.1', 'FS@0.1')
        by_category = _by_category(chosen, contenders, figure)
        if by_category:
            parts += [f'{name} by category, and how many objects it has', by_category]
        if track == REAL:
            parts += ['### real: sizes of what was made of each frame', _sizes(chosen, contenders)]
        curves = _curves(chosen, contenders)
        if curves:
            parts += ['Share of vertices within 1 % of the diagonal, by confidence', curves]
    parts += failures(rows, 'counted as IoU 0 and F 0')
    return '\n\n'.join(parts) + '\n'


def write_reports(
    folder: Path,
    rows: Sequence[Row],
    contenders: Sequence[str],
    run: dict[str, Any],
    command: str,
) -> list[Path]:
    """
    Write report.json, report.md and a sheet for each method and track; return their paths.

    ``run`` is what the run was asked for. ``sheet.png`` is that of the first method in the first
    track. Raises ``OSError`` where the folder cannot be written.
    """
    report = {
        'command': command,
        'run': run,
        'machine': describe_machine(),
        'means': {
            track: {name: {figure: asdict(mean) for figure, mean in figures.items()}
                    for name, figures in by_name.items()}
            for track, by_name in summarise(rows).items()
        },
        'failures': [row for row in rows if not row['ok']],
        'rows': list(rows),
    }
    paths = write_report(folder, 'lift3d bench', report, text_tables(rows, contenders))
    return paths + _write_sheets(folder, rows, contenders)


def shown_rows(folder: Path, rows: Sequence[Row], track: str, name: str) -> list[Row]:
    """Return the rows of a method in a track of which there are pictures."""
    return [
        row for row in rows
        if row['track'] == track and row['contender'] == name and row['ok']
        and strip_path(folder, track, name, row['scene']).is_file()
    ]


def captions(folder: Path, rows: Sequence[Row]) -> list[tuple[Path, list[str]]]:
    """Return the strip of each row, best first, with what is to be read below its pictures."""
    # Without depth nothing is at its place, and shape alone tells good from bad.
    measure = 'iou' if any(row.get('iou', 0.0) > 0.2 for row in rows) else 'aligned_fs_0.1'
    rows = sorted(rows, key=lambda row: -row.get(measure, 0.0))
    labels = {len(rows) - 1: 'WORST', len(rows) // 2: 'MEDIAN', 0: 'BEST'}
    entries = []
    for index, row in enumerate(rows):
        path = strip_path(folder, row['track'], row['contender'], row['scene'])
        texts = [row['object'][:_NAME]]
        if 'iou' in row:
            texts += [
                f'{labels.get(index, "")}',
                f'IoU {row["iou"]:.2f}',
                f'F@2% {row["f_2pct"]:.2f}',
                f'chamfer {row["chamfer_mm"]:.1f} mm',
                f'FS@0.1 {row["aligned_fs_0.1"]:.2f} aligned',
            ]
        else:
            texts.append(f'{_size(row)} mm')
        entries.append((path, texts))
    return entries


def _write_sheets(folder: Path, rows: Sequence[Row], contenders: Sequence[str]) -> list[Path]:
    paths: list[Path] = []
    for track in summarise(rows):
        for name in [name for name in contenders if name in METHODS]:
            chosen = shown_rows(folder, rows, track, name)
            if not chosen:
                continue
            path = folder / (f'sheet_{track}_{name}.png' if paths else 'sheet.png')
            page = compose(captions(folder, chosen))
            _, data = cv2.imencode('.png', page[..., ::-1])
            write_whole(path, data.tobytes())
            paths.append(path)
    return paths


def _by_category(rows: Sequence[Row], contenders: Sequence[str], figure: str) -> str:
    """Return the means of a figure by category, where there are several."""
    categories = sorted({row.get('category', '') for row in rows} - {''})
    if len(categories) < 2:
        return ''
    body = [['']]
    for category in categories:
        objects = {row['object'] for row in rows if row.get('category') == category}
        body[0].append(f'{category} ({len(objects)})')
    # What never has the figure, such as a cloud a volume, does not get one by failing either.
    able = {row['contender'] for row in rows if row['ok'] and figure in row}
    for contender in [name for name in contenders if name in able]:
        means = [
            mean_over_objects(
                [row for row in rows
                 if row['contender'] == contender and row.get('category') == category], figure)
            for category in categories
        ]
        body.append([contender, *('-' if m is None else f'{m.mean:.2f}' for m in means)])
    return markdown(body)


def _pairs(rows: Sequence[Row], contenders: Sequence[str]) -> str:
    """Return by how much each variant of a method is above the method as it is."""
    body = []
    for name in [name for name in contenders if name in VARIANTS and name != REFERENCE]:
        found = [paired_difference(rows, name, REFERENCE, column.figure) for column in _PAIRED]
        if any(found):
            body.append([name, *(
                '-' if pair is None else
                f'{c.factor * pair[0]:+.{c.digits}f} ({c.factor * pair[1]:.{c.digits}f})'
                for pair, c in zip(found, _PAIRED, strict=True)
            ), str(max(pair[2] for pair in found if pair))])
    return markdown([['', *(c.heading for c in _PAIRED), 'objects'], *body]) if body else ''


def _curves(rows: Sequence[Row], contenders: Sequence[str]) -> str:
    body = []
    for name in contenders:
        curve = calibration_curve([row for row in rows if row['contender'] == name])
        if any(entry[0] for entry in curve):
            shares = [f'{right:.2f}' if n else '-' for n, _, right in curve]
            body.append([name, *shares, f'{pooled_error(curve):.3f}'])
    if not body:
        return ''
    steps = [f'{low / 10:.1f} to {(low + 1) / 10:.1f}' for low in range(10)]
    return markdown([['', *steps, 'calibration error'], *body])


def _sizes(rows: Sequence[Row], contenders: Sequence[str]) -> str:
    body = [['', 'frame', 'length x width x height, mm', 'confidence', 's']]
    for row in sorted(rows, key=lambda row: (row['scene'], contenders.index(row['contender']))):
        if row['contender'] not in METHODS:
            continue
        cells = [row['error']['code'], '-', '-'] if not row['ok'] else [
            _size(row), f'{row["notes"]["confidence"]:.2f}', f'{row["seconds"]["total"]:.2f}']
        body.append([row['contender'], row['scene'], *cells])
    return markdown(body)


def _size(row: Row) -> str:
    return ' x '.join(f'{side:.0f}' for side in row['notes']['size_mm'])
