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


"""From rows to tables: means over objects, with their confidence intervals."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lift3d_ros.bench import calibration
from lift3d_ros.bench.results import Row
from lift3d_ros.bench.score import FAILED
from lift3d_ros.bench.settings import REAL
from lift3d_ros.bench.tracks import TRACKS

_RESAMPLES = 2000


@dataclass(frozen=True)
class Mean:
    """
    A mean over objects, its 95 % interval, and of how many objects and scenes it is.

    ``median`` is that of the same numbers.
    """

    mean: float
    low: float
    high: float
    objects: int
    scenes: int
    median: float


@dataclass(frozen=True)
class Column:
    """
    A figure of a table: its name in a row, its heading, and how it is printed.

    It is the mean over objects, or with ``median`` their median.
    """

    figure: str
    heading: str
    factor: float = 1.0
    digits: int = 2
    interval: bool = False
    median: bool = False


#: The tables, by their headings.
TABLES: dict[str, tuple[Column, ...]] = {
    'In place: camera frame, metric, no alignment': (
        Column('iou', 'IoU', digits=3, interval=True),
        Column('f_2pct', 'F@2%', digits=3, interval=True),
        Column('f_5pct', 'F@5%', digits=3),
        Column('chamfer_mm', 'chamfer mm', interval=True),
        Column('chamfer_share', 'chamfer % diag.', 100.0),
        Column('centre_mm', 'centre mm', digits=1),
        Column('scale_error', 'scale error %', 100.0, 1),
        Column('watertight', 'watertight %', 100.0, 0),
        Column('seconds_total', 's', digits=2),
    ),
    'Place and scale: medians, and how often an error is within the deviation told': (
        Column('centre_mm', 'centre mm', digits=1, median=True),
        Column('distance_error', 'distance of the centre %', 100.0, 1, median=True),
        Column('scale_error', 'scale error %', 100.0, 1, median=True),
        Column('centre_as_said', 'centre within %', 100.0, 0),
        Column('scale_as_said', 'scale within %', 100.0, 0),
    ),
    'Shape alone: cube [-1, 1]^3, rotation search, ICP': (
        Column('aligned_cd', 'CD', digits=3, interval=True),
        Column('aligned_f_0.05', 'F@0.05', digits=3),
        Column('aligned_fs_0.1', 'FS@0.1', digits=3, interval=True),
        Column('aligned_fs_0.2', 'FS@0.2', digits=3),
        Column('aligned_fs_0.5', 'FS@0.5', digits=3),
    ),
    'Colour: mean difference of the channels, each scaled to fit what was seen': (
        Column('color_seen', 'seen %', 100.0, 1),
        Column('color_hidden', 'hidden %', 100.0, 1, interval=True),
    ),
    'Confidence at the vertices': (
        Column('rank_correlation', 'rank correlation', digits=3, interval=True),
        Column('ause', 'AUSE', digits=3, interval=True),
        Column('calibration_error', 'calibration error of a scene', digits=3),
    ),
    'Grasps of an 80 mm jaw that hold on the scan': (
        Column('grasp_top_1', 'top 1 %', 100.0, 0, interval=True),
        Column('grasp_top_10', 'top 10 %', 100.0, 0, interval=True),
        Column('grasps', 'planned', digits=1),
    ),
    'Grasps of that jaw in physics: closed, lifted, shaken': (
        Column('physics_top_1', 'top 1 %', 100.0, 0, interval=True),
        Column('physics_top_3', 'top 3 %', 100.0, 0, interval=True),
    ),
}


def summarise(rows: Sequence[Row]) -> dict[str, dict[str, dict[str, Mean]]]:
    """Return the mean of each figure, by track, contender and name of the figure."""
    groups: dict[str, dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        groups[row['track']][row['contender']].append(row)
    order = [*TRACKS, REAL]
    return {
        track: {name: _means(group) for name, group in groups[track].items()}
        for track in sorted(groups, key=order.index)
    }


def tables(
    rows: Sequence[Row], contenders: Sequence[str], track: str
) -> list[tuple[str, list[list[str]]]]:
    """
    Return the tables of a track: heading, and rows of cells of which the first are the columns'.

    A table is left out where no contender has any of its figures.
    """
    means = summarise([row for row in rows if row['track'] == track]).get(track, {})
    failed = {
        name: sum(not row['ok'] for row in rows
                  if row['track'] == track and row['contender'] == name)
        for name in means
    }
    found = []
    for heading, columns in TABLES.items():
        body = []
        for name in contenders:
            figures = means.get(name, {})
            if any(column.figure in figures for column in columns[:3]):
                body.append([name, *(cell(figures.get(c.figure), c) for c in columns),
                             str(failed[name])])
        if body:
            found.append((heading, [['', *(c.heading for c in columns), 'failed'], *body]))
    return found


def cell(value: Mean | None, column: Column) -> str:
    """Return a mean as it is printed, '-' where there is none."""
    if value is None:
        return '-'
    if column.median:
        return f'{column.factor * value.median:.{column.digits}f}'
    numbers = [f'{column.factor * x:.{column.digits}f}'
               for x in (value.mean, value.low, value.high)]
    interval = column.interval and value.objects > 1
    return f'{numbers[0]} [{numbers[1]}, {numbers[2]}]' if interval else numbers[0]


def mean_over_objects(rows: Sequence[Row], figure: str, seed: int = 0) -> Mean | None:
    """
    Return the mean over objects of their mean over scenes, with its 95 % interval.

    Views of one object are alike, so that objects, not scenes, are drawn with replacement: the
    percentile bootstrap (Efron, 1979; 2,000 resamples). A failed scene counts 0 where the figure
    is a share of success (``FAILED``) and is left out of lengths, which it does not have. None
    where no row has the figure.
    """
    values: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        value = row.get(figure)
        if value is not None and np.isfinite(value):
            values[row['object']].append(float(value))
    if not values:
        return None
    means = np.array([np.mean(values[name]) for name in sorted(values)])
    draws = np.random.default_rng(seed).integers(0, len(means), (_RESAMPLES, len(means)))
    low, high = np.percentile(means[draws].mean(axis=1), [2.5, 97.5])
    return Mean(
        float(means.mean()),
        float(low),
        float(high),
        len(means),
        sum(map(len, values.values())),
        float(np.median(means)),
    )


def paired_difference(
    rows: Sequence[Row], contender: str, reference: str, figure: str
) -> tuple[float, float, int] | None:
    """
    Return by how much a contender is above another, scene by scene.

    The mean over objects of their mean over scenes, its standard error, and of how many objects.
    Scenes in which either failed are left out. None for fewer than two objects.
    """
    found: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
    for row in rows:
        if row['ok'] and row.get(figure) is not None:
            found[row['object'], row['scene']][row['contender']] = float(row[figure])
    by_object: dict[str, list[float]] = defaultdict(list)
    for (name, _), values in found.items():
        if contender in values and reference in values:
            by_object[name].append(values[contender] - values[reference])
    if len(by_object) < 2:
        return None
    means = np.array([np.mean(values) for values in by_object.values()])
    return float(means.mean()), float(means.std(ddof=1) / np.sqrt(len(means))), len(means)


def calibration_curve(rows: Sequence[Row]) -> list[list[float]]:
    """Return [vertices, mean confidence, share that is right] of each interval of confidence."""
    bins = [row['calibration_bins'] for row in rows if 'calibration_bins' in row]
    total = np.sum(bins, axis=0) if bins else np.zeros((calibration.BINS, 3))
    count = np.maximum(total[:, 0], 1.0)
    return [
        [float(n), round(float(c), 3), round(float(r), 3)]
        for n, c, r in zip(total[:, 0], total[:, 1] / count, total[:, 2] / count, strict=True)
    ]


def _means(rows: Sequence[Row]) -> dict[str, Mean]:
    """Return the mean of every number in the rows of one contender."""
    flat = [_flat(row) for row in rows]
    succeeded = [row for row, given in zip(flat, rows, strict=True) if given['ok']]
    names = {name for row in succeeded or flat for name in row} - {'object'}
    means = {}
    for name in sorted(names):
        # Some figures a contender never has, such as the IoU of a cloud; no failure gives them.
        mean = mean_over_objects(flat if name in FAILED else succeeded or flat, name)
        if mean is not None:
            means[name] = mean
    return means


def _flat(row: Row) -> dict[str, Any]:
    """Return the object of a row and its numbers, those of ``seconds`` by their stages."""
    flat = {
        name: value for name, value in row.items()
        if name == 'object' or (isinstance(value, float | int) and not isinstance(value, bool))
    }
    for stage, seconds in row.get('seconds', {}).items():
        flat[f'seconds_{stage}'] = seconds
    return flat


def pooled_error(curve: Sequence[Sequence[float]]) -> float:
    """Return the expected calibration error over all vertices of a ``calibration_curve``."""
    return calibration.calibration_error([[n, n * mean, n * right] for n, mean, right in curve])
