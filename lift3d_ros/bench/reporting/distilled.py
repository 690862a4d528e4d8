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

"""Tables of distilled methods beside their controls, and the sheet of their held-out views."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.bench.distilled.measures import FAILED
from lift3d_ros.bench.distilled.predictors import references
from lift3d_ros.bench.reporting import statistics
from lift3d_ros.bench.reporting.report import Column
from lift3d_ros.bench.reporting.report import failures
from lift3d_ros.bench.reporting.report import markdown
from lift3d_ros.bench.reporting.report import Report
from lift3d_ros.bench.reporting.sheet import rings
from lift3d_ros.bench.results import Row

#: The tables, by their headings.
TABLES: dict[str, tuple[Column, ...]] = {
    'Shape and colour of the mesh': (
        Column('iou', 'volume IoU', digits=3, error=True),
        Column('f_2pct', 'F@2%', digits=3, error=True),
        Column('chamfer_mm', 'chamfer mm', error=True),
        Column('color_seen', 'colour observed %', 100.0, 1, error=True),
        Column('color_hidden', 'colour unobserved %', 100.0, 1, error=True),
    ),
    'Held-out views beyond 45 degrees': (
        Column('mask_iou', 'mask IoU', digits=3, error=True),
        Column('psnr', 'PSNR dB', error=True),
        Column('psnr_blurred', 'PSNR dB, blurred', error=True),
        Column('ssim', 'SSIM', digits=3, error=True),
        Column('similarity', 'similarity to the true view', digits=3, error=True),
        Column('similarity_input', 'to the input', digits=3, error=True),
    ),
    'Cost': (
        Column('seconds_total', 's', digits=1, error=True),
        Column('lift_memory_mb', 'peak MB', digits=0, error=True),
    ),
}

#: Figures of the paired comparisons.
PAIRED = (
    Column('iou', 'volume IoU', digits=4),
    Column('mask_iou', 'mask IoU', digits=4),
    Column('psnr', 'PSNR dB', digits=3),
    Column('ssim', 'SSIM', digits=4),
    Column('color_hidden', 'colour unobserved %', 100.0),
    Column('similarity', 'similarity', digits=4),
)


def report(folder: Path, predictors: Sequence[str], rows: Sequence[Row]) -> Report:
    """Return the report of rows."""
    result = summarise(rows, predictors)
    return Report(
        'lift3d bench --distill', rows, result, as_text, _sheets(folder, rows, result))


def summarise(rows: Sequence[Row], predictors: Sequence[str] = ()) -> dict[str, Any]:
    """
    Return the result of rows, plain numbers by track and predictor.

    - ``counts``: objects, scenes with their seeds, failures. - ``means``: by figure, over objects
      of their mean over scenes and seeds, with standard errors. - ``differences``: of each
      predictor to those that it is compared with, in pairs of the same scene and seed.
    """
    result: dict[str, Any] = {'distilled': True, 'counts': {}, 'means': {}, 'differences': {}}
    for track in dict.fromkeys(row['track'] for row in rows):
        chosen = [row for row in rows if row['track'] == track]
        found = {row['contender'] for row in chosen}
        order = [name for name in dict.fromkeys([*predictors, *sorted(found)]) if name in found]
        groups = {name: [row for row in chosen if row['contender'] == name] for name in order}
        result['counts'][track] = {
            'objects': len({row['object'] for row in chosen}),
            'scenes': len({row['scene'] for row in chosen}),
            'seeds': len({row['seed'] for row in chosen}),
            'failed': {name: sum(not row['ok'] for row in group)
                       for name, group in groups.items()},
        }
        result['means'][track] = {name: _means(group) for name, group in groups.items()}
        result['differences'][track] = {
            f'{name} - {other}': pairs
            for name in order for other in references(name)
            if (pairs := _differences(chosen, name, other))
        }
    return result


def as_text(result: dict[str, Any]) -> str:
    """Return all tables of a result in Markdown."""
    parts = []
    for track, counts in result['counts'].items():
        parts.append(
            f'### {track}: {counts["objects"]} objects, {counts["scenes"]} runs of each, '
            f'{counts["seeds"]} seeds; means over objects with their standard errors')
        means, failed = result['means'][track], counts['failed']
        for heading, columns in TABLES.items():
            body = [[name, *(column.cell(figures.get(column.figure)) for column in columns),
                     str(failed[name])] for name, figures in means.items()]
            parts += [heading, markdown(
                [['', *(column.heading for column in columns), 'failed'], *body])]
        differences = result['differences'][track]
        if differences:
            body = [[pair, *(column.pair(values.get(column.figure)) for column in PAIRED),
                     str(values['objects'])] for pair, values in differences.items()]
            parts += [
                'Differences in pairs of the same scene and seed: mean (standard error)',
                markdown([['', *(column.heading for column in PAIRED), 'objects'], *body])]
    return '\n\n'.join([*parts, *failures(result, 'counted as IoU 0 and F 0')]) + '\n'


def _means(rows: Sequence[Row]) -> dict[str, statistics.Mean]:
    """Return the mean of every figure; failures count where the figure is a share of success."""
    figures = [column.figure for columns in TABLES.values() for column in columns]
    return statistics.figure_means(rows, figures, FAILED)


def _differences(rows: Sequence[Row], name: str, other: str) -> dict[str, Any]:
    pairs = {column.figure: pair for column in PAIRED
             if (pair := statistics.paired_difference(rows, name, other, column.figure))}
    if not pairs:
        return {}
    counted = max(pair[2] for pair in pairs.values())
    return {'objects': counted, **{figure: list(pair[:2]) for figure, pair in pairs.items()}}


def _sheets(
    folder: Path, rows: Sequence[Row], result: dict[str, Any]
) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Yield the sheet of each track: input, true views, and those of each predictor below."""
    for track, means in result['means'].items():
        page = rings(folder, rows, list(means), track)
        if page is not None:
            yield f'rings_{track}.jpg', page
