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


"""From rows of synthesised views to tables: means by the distance of the azimuth."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lift3d_ros.bench.results import Row
from lift3d_ros.bench.views.protocol import in_range
from lift3d_ros.bench.views.protocol import RANGES
from lift3d_ros.bench.views.protocol import UNSEEN
from lift3d_ros.bench.views.score import FIGURES
from lift3d_ros.bench.views.settings import OFFICIAL
from lift3d_ros.bench.views.settings import VIEW_TRACKS

#: How a figure is headed and printed.
HEADINGS = {'psnr': ('PSNR dB', 2), 'ssim': ('SSIM', 3), 'iou': ('mask IoU', 3)}

#: An estimate that says of itself that it is less sure than this, degrees, is refused by default.
REFUSED_STDDEV = 25.0


@dataclass(frozen=True)
class ViewMean:
    """A mean over objects, its standard error, and of how many objects and views it is."""

    mean: float
    standard_error: float
    objects: int
    views: int


#: Track, contender, group of azimuths, figure.
Summary = dict[str, dict[str, dict[str, dict[str, ViewMean]]]]


def summarise_views(rows: Sequence[Row]) -> Summary:
    """Return the means of all figures for every track, contender and group of azimuths."""
    groups: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        if row.get('views'):
            groups[row['track'], row['contender']].append(row)
    order = [*VIEW_TRACKS, OFFICIAL]
    summary: Summary = {}
    for track, name in sorted(groups, key=lambda key: order.index(key[0])):
        chosen = groups[track, name]
        summary.setdefault(track, {})[name] = {
            group: {figure: mean for figure in FIGURES
                    if (mean := _mean(_by_object(chosen, figure, group))) is not None}
            for group in RANGES
        }
    return summary


def difference(
    rows: Sequence[Row], track: str, name: str, other: str, figure: str, group: str = UNSEEN
) -> ViewMean | None:
    """Return by how much a contender is better than another on the objects that both have."""
    ours, theirs = (
        _by_object([row for row in rows if row['track'] == track and row['contender'] == who
                    and row.get('views')], figure, group)
        for who in (name, other)
    )
    return _mean({
        key: [float(np.mean(ours[key]) - np.mean(theirs[key]))] * len(ours[key])
        for key in ours.keys() & theirs.keys()
    })


def view_tables(
    rows: Sequence[Row], contenders: Sequence[str], track: str
) -> list[tuple[str, list[list[str]]]]:
    """Return the tables of a track: heading, and rows of cells of which the first are columns'."""
    means = summarise_views(rows).get(track, {})
    shown = [name for name in contenders if name in means]
    if not shown:
        return []
    groups = [group for group in RANGES if means[shown[0]][group]]
    heads = [f'{group} ({means[shown[0]][group]["psnr"].views} views)' for group in groups]
    found = []
    for figure, (heading, digits) in HEADINGS.items():
        body = [['', *heads]]
        for name in shown:
            body.append([name, *(_cell(means[name][g].get(figure), digits) for g in groups)])
        found.append((f'{heading}, mean and standard error', body))
    for name, base in _duels(shown):
        body = [['', *(heading for heading, _ in HEADINGS.values())]]
        for other in base:
            body.append([f'{name} - {other}', *(
                _cell(difference(rows, track, name, other, figure), digits, sign=True)
                for figure, (_, digits) in HEADINGS.items())])
        found.append((f'Beyond 45 degrees, what {name} is better by, object by object', body))
    found.append(('Seconds of one scene, median', _seconds(rows, shown, track)))
    return found


def elevation_table(rows: Sequence[Row]) -> list[list[str]]:
    """Return the errors of the elevation, degrees, or nothing where it was not measured."""
    body = [['', 'median error', '90 % below', 'against the true middle', 'unsure %', 'scenes']]
    for row_name, name in (('from gravity', 'gravity'), ('from the image alone', 'image')):
        chosen = [row for row in rows if f'{name}_error_deg' in row]
        if not chosen:
            continue
        errors, others, spread = (
            np.array([row[f'{name}_{what}'] for row in chosen])
            for what in ('error_deg', 'scene_error_deg', 'stddev_deg')
        )
        body.append([
            row_name, f'{np.median(errors):.2f}', f'{np.percentile(errors, 90.0):.2f}',
            f'{np.median(others):.2f}', f'{100.0 * np.mean(spread > REFUSED_STDDEV):.0f}',
            str(len(chosen)),
        ])
    return body if len(body) > 1 else []


def elevation_summary(rows: Sequence[Row]) -> dict[str, float]:
    """Return the medians of all errors of the elevation, degrees."""
    figures = ('gravity_error_deg', 'gravity_scene_error_deg', 'image_error_deg',
               'image_scene_error_deg')
    found = {figure: [row[figure] for row in rows if figure in row] for figure in figures}
    return {
        figure: round(float(np.median(values)), 4) for figure, values in found.items() if values
    }


def _by_object(rows: Sequence[Row], figure: str, group: str) -> dict[str, list[float]]:
    values: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        for view in row['views']:
            if in_range(view['azimuth'], group):
                values[row['object']].append(view[figure])
    return values


def _mean(values: dict[str, list[float]]) -> ViewMean | None:
    """
    Return the mean over objects of the means over their views.

    Views of one object are alike: the standard error is that of the objects' means.
    """
    if not values:
        return None
    means = np.array([np.mean(values[name]) for name in sorted(values)])
    error = float(np.std(means, ddof=1) / np.sqrt(len(means))) if len(means) > 1 else 0.0
    return ViewMean(
        round(float(means.mean()), 5), round(error, 5), len(means), sum(map(len, values.values()))
    )


def _duels(shown: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Return what is compared object by object: the last contender with all before it."""
    return [(shown[-1], list(shown[:-1]))] if len(shown) > 1 else []


def _seconds(rows: Sequence[Row], shown: Sequence[str], track: str) -> list[list[str]]:
    medians: dict[str, dict[str, float]] = {}
    for name in shown:
        spent: dict[str, list[float]] = defaultdict(list)
        for row in rows:
            if row['track'] == track and row['contender'] == name and row['ok']:
                for stage, seconds in row.get('seconds', {}).items():
                    spent[stage].append(seconds)
        medians[name] = {stage: float(np.median(values)) for stage, values in spent.items()}
    stages = list(dict.fromkeys(s for name in shown for s in medians[name] if s != 'total'))
    body = [['', *stages, 'total']]
    for name in shown:
        body.append([name, *(
            f'{medians[name][stage]:.2f}' if stage in medians[name] else '-'
            for stage in (*stages, 'total'))])
    return body


def _cell(value: ViewMean | None, digits: int, sign: bool = False) -> str:
    if value is None:
        return '-'
    return f'{value.mean:{"+" if sign else ""}.{digits}f} ± {value.standard_error:.{digits}f}'


def as_json(summary: Summary) -> dict[str, Any]:
    """Return a summary of plain numbers."""
    return {
        track: {name: {group: {figure: vars(mean) for figure, mean in figures.items()}
                       for group, figures in groups.items()}
                for name, groups in by_name.items()}
        for track, by_name in summary.items()
    }
