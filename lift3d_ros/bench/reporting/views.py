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

"""The report of a run over synthesised views: rows -> means by azimuth -> tables and sheets."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lift3d_ros.bench.reporting import statistics
from lift3d_ros.bench.reporting.report import failures
from lift3d_ros.bench.reporting.report import markdown
from lift3d_ros.bench.reporting.report import Report
from lift3d_ros.bench.reporting.report import Table
from lift3d_ros.bench.reporting.sheet import rings
from lift3d_ros.bench.results import Row
from lift3d_ros.bench.views import protocol
from lift3d_ros.bench.views.settings import BASELINES
from lift3d_ros.bench.views.settings import COARSE
from lift3d_ros.bench.views.settings import OFFICIAL
from lift3d_ros.bench.views.settings import VIEW_TRACKS

#: Heading and digits of a figure.
HEADINGS = {'psnr': ('PSNR dB', 2), 'ssim': ('SSIM', 3), 'iou': ('mask IoU', 3)}

#: Standard deviation above which an elevation is refused by default, degrees.
REFUSED_STDDEV_DEG = 25.0

#: Sources of the elevation, by their prefix in a row.
_ELEVATION_SOURCES = {'gravity': 'from gravity', 'image': 'from the image alone'}


def report(folder: Path, rows: Sequence[Row]) -> Report:
    """Return the report of rows."""
    result = summarise(rows)
    shown = {track: [name for name in means if name not in BASELINES] or list(means)
             for track, means in result['means'].items()}
    pages = ((f'rings_{track}.jpg', rings(folder, rows, names, track))
             for track, names in shown.items())
    sheets = ((name, page) for name, page in pages if page is not None)
    return Report('lift3d bench --views', rows, result, as_text, sheets)


def summarise(rows: Sequence[Row]) -> dict[str, Any]:
    """
    Return the result of rows, plain numbers by track and predictor.

    - ``counts``: objects and scenes. - ``means``: by group of azimuths and figure, with standard
      errors. - ``differences``: of the last predictor to each other one, object by object, beyond
      45 degrees. - ``seconds``: medians by stage. - ``elevation``: errors in degrees.
    """
    result: dict[str, Any] = {
        name: {} for name in ('counts', 'means', 'differences', 'seconds')}
    for track in (*VIEW_TRACKS, OFFICIAL):
        chosen = [row for row in rows if row['track'] == track and row.get('views')]
        if not chosen:
            continue
        groups = {name: [row for row in chosen if row['contender'] == name]
                  for name in _order({row['contender'] for row in chosen})}
        result['counts'][track] = {
            key: len({row[key[:-1]] for row in chosen}) for key in ('objects', 'scenes')}
        result['means'][track] = {
            name: {
                range_: {figure: mean for figure in protocol.FIGURES
                         if (mean := _mean(_values(group, figure, range_))) is not None}
                for range_ in protocol.RANGES
            }
            for name, group in groups.items()
        }
        *others, last = groups
        result['differences'][track] = {
            f'{last} - {other}': {figure: difference(rows, track, last, other, figure)
                                  for figure in protocol.FIGURES}
            for other in others
        }
        result['seconds'][track] = {name: _seconds(group) for name, group in groups.items()}
    result['elevation'] = _elevation(rows)
    return result


def as_text(result: dict[str, Any]) -> str:
    """Return all tables of a result in Markdown."""
    parts = []
    for track, counts in result['counts'].items():
        parts.append(f'### {track}: {counts["objects"]} objects, {counts["scenes"]} scenes')
        for heading, body in tables(result, track):
            parts += [heading, markdown(body)]
    body = elevation_table(result['elevation'])
    if body:
        parts += ['### Elevation of the input camera, degrees', markdown(body)]
    parts += failures(result, 'whose views count as white images')
    return '\n\n'.join(parts) + '\n'


def tables(result: dict[str, Any], track: str) -> list[Table]:
    """Return the tables of a track."""
    means = result['means'][track]
    first = next(iter(means.values()))
    groups = [group for group in protocol.RANGES if first.get(group)]
    heads = [f'{group} ({first[group]["psnr"]["views"]} views)' for group in groups]
    tables = []
    for figure, (heading, digits) in HEADINGS.items():
        body = [[name, *(cell(by_group[group].get(figure), digits) for group in groups)]
                for name, by_group in means.items()]
        tables.append((f'{heading}, mean and standard error', [['', *heads], *body]))
    differences = result['differences'][track]
    if differences:
        body = [['', *(heading for heading, _ in HEADINGS.values())]]
        body += [[pair, *(cell(values[figure], digits, '+')
                          for figure, (_, digits) in HEADINGS.items())]
                 for pair, values in differences.items()]
        name = next(iter(differences)).partition(' - ')[0]
        tables.append((f'Beyond 45 degrees, difference of {name}, object by object', body))
    seconds = result['seconds'][track]
    stages = list(dict.fromkeys(
        stage for spent in seconds.values() for stage in spent if stage != 'total'))
    body = [[name, *(f'{spent[stage]:.2f}' if stage in spent else '-'
                     for stage in (*stages, 'total'))] for name, spent in seconds.items()]
    tables.append(('Seconds of one scene, median', [['', *stages, 'total'], *body]))
    return tables


def cell(value: statistics.Mean | None, digits: int, sign: str = '') -> str:
    """Return a mean and its standard error as text."""
    if value is None:
        return '-'
    return f'{value["mean"]:{sign}.{digits}f} ± {value["standard_error"]:.{digits}f}'


def elevation_table(elevation: dict[str, float]) -> list[list[str]]:
    """Return the table of the errors of the elevation, empty where it was not measured."""
    body = [
        [heading, *(f'{elevation[f"{name}_{key}"]:.{digits}f}' for key, digits in (
            ('error_deg', 2), ('error_p90_deg', 2), ('scene_error_deg', 2), ('unsure_percent', 0),
            ('scenes', 0)))]
        for name, heading in _ELEVATION_SOURCES.items() if f'{name}_scenes' in elevation
    ]
    head = ['', 'median error', '90 % below', 'to the true middle', 'unsure %', 'scenes']
    return [head, *body] if body else []


def difference(
    rows: Sequence[Row], track: str, name: str, other: str, figure: str,
    group: str = protocol.UNOBSERVED,
) -> statistics.Mean | None:
    """Return the mean difference of a predictor to another on the objects that both have."""
    values: list[dict[str, list[float]]] = [defaultdict(list), defaultdict(list)]
    for by_object, wanted in zip(values, (name, other), strict=True):
        chosen = [row for row in rows if row['track'] == track and row['contender'] == wanted
                  and row.get('views')]
        for key, value in _values(chosen, figure, group):
            by_object[key].append(value)
    ours, theirs = values
    return _mean(
        (key, float(np.mean(ours[key]) - np.mean(theirs[key])))
        for key in ours.keys() & theirs.keys() for _ in ours[key])


def _order(names: set[str]) -> list[str]:
    """Return predictors in the order of the tables: the synthesizer last, the coarse before."""
    first = [name for name in (*BASELINES, COARSE) if name in names]
    return [*first, *sorted(names - set(first))]


def _values(rows: Sequence[Row], figure: str, group: str) -> Iterator[tuple[str, float]]:
    """Yield the object and the value of each view of a group."""
    for row in rows:
        for view in row['views']:
            if protocol.in_range(view['azimuth'], group):
                yield row['object'], view[figure]


def _mean(values: Iterable[tuple[str, float]]) -> statistics.Mean | None:
    """Return the mean over objects, its standard error, and the number of objects and views."""
    means, count = statistics.object_means(values)
    if not count:
        return None
    return {
        'mean': round(float(means.mean()), 5), 'objects': len(means), 'views': count,
        'standard_error': round(statistics.standard_error(means), 5),
    }


def _seconds(rows: Sequence[Row]) -> dict[str, float]:
    """Return the median seconds by stage."""
    stages: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        for stage, seconds in row.get('seconds', {}).items() if row['ok'] else ():
            stages[stage].append(seconds)
    return {stage: float(np.median(values)) for stage, values in stages.items()}


def _elevation(rows: Sequence[Row]) -> dict[str, float]:
    """Return the errors of the elevation: medians, 90th percentile, and the unsure share."""
    errors: dict[str, float] = {}
    for name in _ELEVATION_SOURCES:
        chosen = [row for row in rows if f'{name}_error_deg' in row]
        if not chosen:
            continue
        own, scene, stddev = (
            np.array([row[f'{name}_{key}'] for row in chosen])
            for key in ('error_deg', 'scene_error_deg', 'stddev_deg')
        )
        errors |= {
            f'{name}_error_deg': round(float(np.median(own)), 4),
            f'{name}_scene_error_deg': round(float(np.median(scene)), 4),
            f'{name}_error_p90_deg': round(float(np.percentile(own, 90.0)), 4),
            f'{name}_unsure_percent': 100.0 * float(np.mean(stddev > REFUSED_STDDEV_DEG)),
            f'{name}_scenes': len(chosen),
        }
    return errors
