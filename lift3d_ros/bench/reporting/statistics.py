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

"""Means over objects of rows of results, with intervals and paired differences."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any

import numpy as np

from lift3d_ros.bench import metrics
from lift3d_ros.bench.results import Row
from lift3d_ros.geometry import Array

#: A mean as ``report.json`` lists it, by name of the statistic.
Mean = dict[str, Any]

#: Resamples of the bootstrap.
_RESAMPLES = 2000


def object_means(values: Iterable[tuple[str, float]]) -> tuple[Array, int]:
    """
    Return the mean of each object's values, (n,) by name, and the number of values.

    Views of one object are alike, so statistics are over objects.
    """
    by_object: dict[str, list[float]] = defaultdict(list)
    for name, value in values:
        by_object[name].append(float(value))
    count = sum(map(len, by_object.values()))
    return np.array([np.mean(by_object[name]) for name in sorted(by_object)]), count


def mean_over_objects(rows: Sequence[Row], figure: str, seed: int = 0) -> Mean | None:
    """
    Return the mean over objects of their mean over scenes, with its 95 % interval.

    ``low`` and ``high`` are of the percentile bootstrap over objects (Efron, 1979; 2,000
    resamples), ``error`` is the standard error of the mean, ``median`` is that of the objects'
    means. None where no row has the figure.
    """
    means, count = object_means(
        (row['object'], row[figure]) for row in rows
        if row.get(figure) is not None and np.isfinite(row[figure]))
    if not count:
        return None
    draws = np.random.default_rng(seed).integers(0, len(means), (_RESAMPLES, len(means)))
    low, high = np.percentile(means[draws].mean(axis=1), [2.5, 97.5])
    return {
        'mean': float(means.mean()), 'error': standard_error(means),
        'low': float(low), 'high': float(high),
        'objects': len(means), 'scenes': count, 'median': float(np.median(means)),
    }


def figure_means(
    rows: Sequence[Row], figures: Iterable[str], failed: Collection[str]
) -> dict[str, Mean]:
    """
    Return the means of figures, also of ``seconds_STAGE``; see ``mean_over_objects``.

    Failures count in the figures of ``failed`` alone, which they have.
    """
    flat = [{**row, **{f'seconds_{stage}': s for stage, s in row.get('seconds', {}).items()}}
            for row in rows]
    succeeded = [row for row in flat if row['ok']]
    means = {}
    for figure in figures:
        mean = mean_over_objects(flat if figure in failed else succeeded, figure)
        if mean is not None:
            means[figure] = mean
    return means


def standard_error(means: Array) -> float:
    """Return the standard error of the mean of values (n,), 0 for a single one."""
    return float(np.std(means, ddof=1) / np.sqrt(len(means))) if len(means) > 1 else 0.0


def paired_difference(
    rows: Sequence[Row], predictor: str, reference: str, figure: str
) -> tuple[float, float, int] | None:
    """
    Return the mean difference of a predictor to another in the same scenes.

    The mean over objects of their mean over scenes, its standard error, and the number of objects.
    Scenes in which either failed are omitted. None for fewer than two objects.
    """
    scenes: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
    for row in rows:
        if row['ok'] and row.get(figure) is not None:
            scenes[row['object'], row['scene']][row['contender']] = float(row[figure])
    means, _ = object_means(
        (name, values[predictor] - values[reference]) for (name, _), values in scenes.items()
        if predictor in values and reference in values)
    if len(means) < 2:
        return None
    return float(means.mean()), standard_error(means), len(means)


def calibration_curve(rows: Sequence[Row]) -> list[list[float]]:
    """Return [vertices, mean confidence, share that is correct] by interval of confidence."""
    bins = [row['calibration_bins'] for row in rows if 'calibration_bins' in row]
    total = np.sum(bins, axis=0) if bins else np.zeros((metrics.BINS, 3))
    count = np.maximum(total[:, 0], 1.0)
    return [
        [float(n), round(float(c), 3), round(float(r), 3)]
        for n, c, r in zip(total[:, 0], total[:, 1] / count, total[:, 2] / count, strict=True)
    ]


def pooled_error(curve: Sequence[Sequence[float]]) -> float:
    """Return the expected calibration error over all vertices of a ``calibration_curve``."""
    return metrics.calibration_error([[n, n * mean, n * right] for n, mean, right in curve])
