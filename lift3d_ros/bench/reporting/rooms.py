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

"""Tables of whole scenes: disoccluded pixels, hidden surface, a planner's errors, cost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lift3d_ros.bench import metrics
from lift3d_ros.bench.reporting import statistics
from lift3d_ros.bench.reporting.report import Column
from lift3d_ros.bench.reporting.report import failures
from lift3d_ros.bench.reporting.report import markdown
from lift3d_ros.bench.reporting.report import Report
from lift3d_ros.bench.results import Row
from lift3d_ros.bench.rooms.candidates import PLANE
from lift3d_ros.bench.rooms.measures import FAILED
from lift3d_ros.bench.rooms.truth import ANGLES

#: The tables, by their headings.
TABLES: dict[str, tuple[Column, ...]] = {
    **{
        f'Disoccluded pixels, camera turned by {angle} degrees': (
            Column(f'psnr_{angle}', 'PSNR dB', digits=1, error=True),
            Column(f'ssim_{angle}', 'SSIM', digits=3, error=True),
            Column(f'depth_m_{angle}', 'median depth error m', digits=3, error=True),
            Column(f'near_{angle}', 'depth within 2 cm %', 100.0, 1, error=True),
            Column(f'filled_{angle}', 'filled %', 100.0, 1, error=True),
        ) for angle in ANGLES
    },
    'Hidden surface within 2 cm': (
        Column('f_score', 'F %', 100.0, 1, error=True),
        Column('precision', 'precision %', 100.0, 1, error=True),
        Column('recall', 'recall %', 100.0, 1, error=True),
        Column('recall_objects', 'of objects %', 100.0, 1, error=True),
        Column('recall_rest', 'of the rest %', 100.0, 1, error=True),
    ),
    "Volume: errors of the map, and of the depth's own TSDF": (
        Column('false_free', 'false-free %', 100.0, 3, error=True),
        Column('false_occupied', 'false-occupied %', 100.0, 1, error=True),
        Column('known', 'known %', 100.0, 1, error=True),
        Column('tsdf_false_free', 'TSDF: false-free %', 100.0, 3, error=True),
        Column('tsdf_false_occupied', 'false-occupied %', 100.0, 1, error=True),
        Column('tsdf_known', 'known %', 100.0, 1, error=True),
    ),
    'Confidence of predicted vertices, and cost': (
        Column('calibration', 'calibration error', digits=3),
        Column('calibration_objects', 'of objects', digits=3),
        Column('seconds_total', 's', digits=1, error=True),
        Column('scene_memory_mb', 'peak MB', digits=0, error=True),
    ),
}

#: Figures of the paired comparisons with the plane control.
PAIRED = (
    Column('psnr_25', 'PSNR dB, 25 degrees'),
    Column('near_25', 'depth within 2 cm %, 25 degrees', 100.0, 1),
    Column('f_score', 'F %', 100.0, 1),
)


def report(folder: Path, predictors: Sequence[str], rows: Sequence[Row]) -> Report:
    """Return the report of rows."""
    del folder
    return Report('lift3d bench --scenes', rows, summarise(rows, predictors), as_text, ())


def summarise(rows: Sequence[Row], predictors: Sequence[str] = ()) -> dict[str, Any]:
    """
    Return the result of rows, plain numbers by track and candidate.

    - ``counts``: rooms and failures. - ``means``: of every figure, with standard errors.
    - ``differences``: of each candidate to the others before it, in the same rooms.
    """
    result: dict[str, Any] = {'rooms': True, 'counts': {}, 'means': {}, 'differences': {}}
    for track in dict.fromkeys(row['track'] for row in rows):
        chosen = [row for row in rows if row['track'] == track]
        found = {row['contender'] for row in chosen}
        order = [name for name in dict.fromkeys([*predictors, *sorted(found)]) if name in found]
        groups = {name: [row for row in chosen if row['contender'] == name] for name in order}
        result['counts'][track] = {
            'rooms': len({row['scene'] for row in chosen}),
            'failed': {name: sum(not row['ok'] for row in group)
                       for name, group in groups.items()},
        }
        result['means'][track] = {name: _means(group) for name, group in groups.items()}
        references = [name for name in order if name == PLANE or name.startswith('scene')]
        result['differences'][track] = {
            f'{name} - {other}': pairs
            for number, name in enumerate(order) for other in references
            if other in order[:number] and (pairs := _differences(chosen, name, other))
        }
    return result


def as_text(result: dict[str, Any]) -> str:
    """Return all tables of a result in Markdown."""
    parts = []
    for track, counts in result['counts'].items():
        parts.append(
            f'### {track}: {counts["rooms"]} rooms; means with their standard errors')
        means = result['means'][track]
        for heading, columns in TABLES.items():
            body = [[name, *(column.cell(figures.get(column.figure)) for column in columns)]
                    for name, figures in means.items()]
            parts += [heading, markdown([['', *(column.heading for column in columns)], *body])]
        differences = result['differences'][track]
        if differences:
            body = [[pair, *(column.pair(values.get(column.figure)) for column in PAIRED)]
                    for pair, values in differences.items()]
            parts += [
                'Differences in the same rooms: mean (standard error)',
                markdown([['', *(column.heading for column in PAIRED)], *body])]
    return '\n\n'.join([*parts, *failures(result, 'counted as F 0 and no depth right')]) + '\n'


def _means(rows: Sequence[Row]) -> dict[str, statistics.Mean]:
    """Return the mean of every figure; failures count where the figure is a share of success."""
    figures = [column.figure for columns in TABLES.values() for column in columns]
    means = statistics.figure_means(rows, figures, FAILED)
    succeeded = [row for row in rows if row['ok']]
    for name, source in (
        ('calibration', 'confidence_bins'), ('calibration_objects', 'object_bins')
    ):
        bins = [row[source] for row in succeeded]
        if bins and np.sum(bins) > 0.0:
            # Of all vertices of all rooms, not a mean over rooms.
            error = metrics.calibration_error(np.sum(bins, axis=0).tolist())
            means[name] = {'mean': error}
    return means


def _differences(rows: Sequence[Row], name: str, other: str) -> dict[str, Any]:
    pairs = {column.figure: pair for column in PAIRED
             if (pair := statistics.paired_difference(rows, name, other, column.figure))}
    return {figure: list(pair[:2]) for figure, pair in pairs.items()}
