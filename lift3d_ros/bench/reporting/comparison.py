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


"""The paired comparison of two runs: differences of the same predictor in the same scenes."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lift3d_ros.bench.reporting.report import Column
from lift3d_ros.bench.reporting.report import markdown
from lift3d_ros.bench.reporting.shapes import TABLES
from lift3d_ros.bench.reporting.statistics import object_means
from lift3d_ros.bench.reporting.statistics import standard_error
from lift3d_ros.bench.results import Key
from lift3d_ros.bench.results import key
from lift3d_ros.bench.results import read_rows
from lift3d_ros.bench.results import Row
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError

#: Figures of which a higher value is better; of lengths and errors a lower one is. The others,
#: such as the number of planned grasps, are neither.
_HIGHER_IS_BETTER = (
    'iou', 'f_', 'f1_', 'similarity_f1_', 'normal_consistency', 'aligned_f', 'watertight',
    'closed_merged', 'rank_correlation', 'grasp_top', 'physics_top', 'centre_as_said',
    'scale_as_said',
)
_NEITHER = ('genus', 'pieces', 'grasps')


def compare(first: Path, second: Path) -> str:
    """
    Return the differences of two folders of results in Markdown, one table a track and predictor.

    Pairs are rows of the same scene, track and predictor. Where each folder has one predictor,
    these are compared. The mean difference and its standard error are over objects. A failed lift
    counts 0 in shares of success, and its other figures are left out. Raises
    ``LiftError(BAD_REQUEST)`` for a folder without results, for runs that have no scene in common,
    and for scenes of one name that were rendered from different seeds.
    """
    before, after = (_by_key(read_rows(folder)) for folder in (first, second))
    renamed = _single_predictors(before, after)
    pairs = [
        (row, after[scene, track, renamed.get(name, name)])
        for (scene, track, name), row in before.items()
        if (scene, track, renamed.get(name, name)) in after
    ]
    if not pairs:
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            f'{first} and {second} have no scene in common; compare runs over the same scenes '
            'with the same tracks and predictors.',
        )
    for a, b in pairs:
        if a.get('scene_seed', 0) != b.get('scene_seed', 0):
            raise LiftError(
                ErrorCode.BAD_REQUEST,
                f'{a["scene"]} was rendered from different seeds in {first} and {second}; '
                'measure both with the same --seed.',
            )
    parts = [f'A = {first}, B = {second}']
    for track, name in dict.fromkeys((a['track'], a['contender']) for a, _ in pairs):
        chosen = [pair for pair in pairs
                  if (pair[0]['track'], pair[0]['contender']) == (track, name)]
        objects = len({a['object'] for a, _ in chosen})
        other = renamed.get(name, name)
        title = name if other == name else f'{name} (A), {other} (B)'
        failed = [sum(not row['ok'] for row in side) for side in zip(*chosen, strict=True)]
        parts += [
            f'### {track}, {title}: {objects} objects, {len(chosen)} scenes; '
            f'failed {failed[0]} in A, {failed[1]} in B',
            markdown(_table(chosen)),
        ]
    return '\n\n'.join(parts) + '\n'


def differences(pairs: Iterable[tuple[Row, Row]], figure: str) -> dict[str, Any] | None:
    """
    Return the mean of a figure in both runs and that of its difference, None without a pair.

    ``first``, ``second``, ``difference`` and ``error``, its standard error, are over objects;
    ``higher`` and ``lower`` count the scenes in which the second is.
    """
    both = [(a['object'], float(a[figure]), float(b[figure])) for a, b in pairs
            if all(_is_number(row.get(figure)) for row in (a, b))]
    if not both:
        return None
    change, _ = object_means((name, b - a) for name, a, b in both)
    first, _ = object_means((name, a) for name, a, _ in both)
    second, _ = object_means((name, b) for name, _, b in both)
    return {
        'first': float(first.mean()), 'second': float(second.mean()),
        'difference': float(change.mean()), 'error': standard_error(change),
        'objects': len(change),
        'higher': sum(b > a for _, a, b in both), 'lower': sum(b < a for _, a, b in both),
    }


def _table(pairs: Sequence[tuple[Row, Row]]) -> list[list[str]]:
    body = [['', 'A', 'B', 'B - A', 'standard error', 'better in B', 'worse in B', 'objects']]
    flat = [(_flat(a), _flat(b)) for a, b in pairs]
    columns = {column.figure: column for columns in TABLES.values() for column in columns
               if not column.median}
    for figure, column in columns.items():
        found = differences(flat, figure)
        if found is None:
            continue
        better, worse = ('-', '-') if figure in _NEITHER else (
            str(found['higher' if _is_higher_better(figure) else 'lower']),
            str(found['lower' if _is_higher_better(figure) else 'higher']))
        body.append([
            column.heading, *_cells(column, found), better, worse, str(found['objects'])])
    return body


def _cells(column: Column, found: Mapping[str, Any]) -> list[str]:
    return [column.format(found['first']), column.format(found['second']),
            column.format(found['difference'], '+'), column.format(found['error'])]


def _is_higher_better(figure: str) -> bool:
    return figure.startswith(_HIGHER_IS_BETTER)


def _flat(row: Row) -> Row:
    return row | {'seconds_total': row.get('seconds', {}).get('total')}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and bool(np.isfinite(value))


def _by_key(rows: Iterable[Row]) -> dict[Key, Row]:
    return {key(row): row for row in rows}


def _single_predictors(
    before: Mapping[Key, Row], after: Mapping[Key, Row]
) -> dict[str, str]:
    """Return the second run's only predictor by the first one's, empty where there are several."""
    names = [sorted({name for _, _, name in rows}) for rows in (before, after)]
    return {names[0][0]: names[1][0]} if [len(side) for side in names] == [1, 1] else {}
