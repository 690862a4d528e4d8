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


"""What a run over synthesised views leaves: tables, report.json, report.md, sheets of rings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lift3d_ros.bench.reporting.machine import describe_machine
from lift3d_ros.bench.reporting.markdown import failures
from lift3d_ros.bench.reporting.markdown import markdown
from lift3d_ros.bench.reporting.markdown import write_report
from lift3d_ros.bench.reporting.views_summary import as_json
from lift3d_ros.bench.reporting.views_summary import elevation_summary
from lift3d_ros.bench.reporting.views_summary import elevation_table
from lift3d_ros.bench.reporting.views_summary import summarise_views
from lift3d_ros.bench.reporting.views_summary import view_tables
from lift3d_ros.bench.results import Row
from lift3d_ros.bench.views.protocol import SIZE
from lift3d_ros.bench.views.settings import BASELINES
from lift3d_ros.bench.views.worker import ring_path
from lift3d_ros.bench.views.worker import TRUTH
from lift3d_ros.meshing.render import sheet
from lift3d_ros.runtime.files import write_whole

#: Objects on a sheet.
_OBJECTS = 10

#: Side of a picture on a sheet, pixels.
_TILE = 104

#: Characters of an object's name that fit below its picture.
_NAME = 15


def views_text(rows: Sequence[Row], contenders: Sequence[str]) -> str:
    """Return all tables of all tracks in Markdown, aligned to be read as they are."""
    parts = []
    for track in summarise_views(rows):
        chosen = [row for row in rows if row['track'] == track and row.get('views')]
        scenes, objects = ({row[name] for row in chosen} for name in ('scene', 'object'))
        parts.append(f'### {track}: {len(objects)} objects, {len(scenes)} scenes')
        for heading, body in view_tables(rows, contenders, track):
            parts += [heading, markdown(body)]
    body = elevation_table(rows)
    if body:
        parts += ['### Elevation of the input camera, degrees', markdown(body)]
    parts += failures(rows, 'whose views count as white pictures')
    return '\n\n'.join(parts) + '\n'


def write_views_reports(
    folder: Path,
    rows: Sequence[Row],
    contenders: Sequence[str],
    run: dict[str, Any],
    command: str,
) -> list[Path]:
    """
    Write report.json, report.md and a sheet of rings for each track; return their paths.

    ``run`` is what the run was asked for. Raises ``OSError`` where the folder cannot be written.
    """
    summary = summarise_views(rows)
    report = {
        'command': command,
        'run': run,
        'machine': describe_machine(),
        'means': as_json(summary),
        'elevation': elevation_summary(rows),
        'failures': [row for row in rows if not row['ok']],
        'rows': list(rows),
    }
    paths = write_report(
        folder, 'lift3d bench --views', report, views_text(rows, contenders))
    for track in summary:
        page = rings(folder, rows, contenders, track)
        if page is not None:
            path = folder / f'rings_{track}.jpg'
            _, data = cv2.imencode('.jpg', page[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 86])
            write_whole(path, data.tobytes())
            paths.append(path)
    return paths


def rings(
    folder: Path, rows: Sequence[Row], contenders: Sequence[str], track: str
) -> NDArray[np.uint8] | None:
    """
    Return the sheet of a track: ten objects, best first, or None where nothing was kept.

    Each has the input with the true ring beside it, and below that the ring of each contender
    that is no baseline, of all where there are only baselines. Objects are in the order of the
    last contender's mask IoU beyond 45 degrees and evenly spread from the best to the worst.
    """
    known = {(row['contender'], row['scene']): row for row in rows
             if row['track'] == track and row.get('views')}
    names = [name for name in contenders if any(name == key[0] for key in known)]
    shown = [name for name in names if name not in BASELINES] or names
    if not shown:
        return None
    ranked = sorted(
        (row for (name, scene), row in known.items()
         if name == shown[-1] and ring_path(folder, track, TRUTH, scene).is_file()),
        key=lambda row: -row['iou'],
    )
    labels = {len(ranked) - 1: 'WORST', len(ranked) // 2: 'MEDIAN', 0: 'BEST'}
    tiles: list[list[tuple[NDArray[np.uint8], str]]] = []
    for index in _spread(len(ranked)):
        row = ranked[index]
        own, *true = _cut(ring_path(folder, track, TRUTH, row['scene']))
        views = row['views']
        title = f'{row["object"][:_NAME]}\n{labels.get(index, "")}'
        tiles.append([(own, title), *(
            (picture, f'true {view["azimuth"]:+.0f}\nfrom {view["elevation"]:.0f} up')
            for picture, view in zip(true, views, strict=False))])
        for name in shown:
            path = ring_path(folder, track, name, row['scene'])
            scored = known.get((name, row['scene']))
            if scored is None or not path.is_file():
                continue
            blank = np.full((SIZE, SIZE, 3), 255, np.uint8)
            tiles.append([
                (blank, f'{name}\nIoU {scored["iou"]:.2f}'),
                *((picture, f'{view["psnr"]:.1f} dB\nIoU {view["iou"]:.2f}')
                  for picture, view in zip(_cut(path), scored['views'], strict=False)),
            ])
    return sheet(tiles, _TILE) if tiles else None


def _spread(count: int) -> list[int]:
    """Return up to ten ranks from the first to the last, evenly spread, the middle with them."""
    chosen = np.unique(np.rint(np.linspace(0, count - 1, min(_OBJECTS, count))).astype(int))
    if count > 2:
        chosen[np.abs(chosen - count // 2).argmin()] = count // 2
    return [int(rank) for rank in chosen]


def _cut(path: Path) -> list[NDArray[np.uint8]]:
    """Return the square pictures of a strip, from left to right."""
    strip = cv2.imread(str(path))
    if strip is None:
        return []
    side = strip.shape[0]
    pictures = np.split(strip[..., ::-1], strip.shape[1] // side, axis=1)
    return [np.ascontiguousarray(picture) for picture in pictures]
