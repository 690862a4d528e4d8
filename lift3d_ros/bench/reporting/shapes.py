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

"""The report of a run over shapes: rows -> means and counts -> tables and sheets."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.bench.ablation import REFERENCE
from lift3d_ros.bench.ablation import VARIANTS
from lift3d_ros.bench.reporting import statistics
from lift3d_ros.bench.reporting.report import Column
from lift3d_ros.bench.reporting.report import failures
from lift3d_ros.bench.reporting.report import markdown
from lift3d_ros.bench.reporting.report import Report
from lift3d_ros.bench.reporting.report import Table
from lift3d_ros.bench.reporting.sheet import compose
from lift3d_ros.bench.reporting.sheet import picture_path
from lift3d_ros.bench.reporting.sheet import STRIPS
from lift3d_ros.bench.reporting.sides import compose as compose_sides
from lift3d_ros.bench.results import Row
from lift3d_ros.bench.scenes import TRACKS
from lift3d_ros.bench.score import FAILED
from lift3d_ros.bench.settings import REAL
from lift3d_ros.lifter import METHODS

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
        Column('seconds_total', 's', digits=2),
    ),
    'In place: absolute thresholds, normals, and shares of the diameter D of the true object': (
        Column('f1_5mm', 'F1@5 mm', digits=3, error=True),
        Column('f1_10mm', 'F1@10 mm', digits=3, error=True),
        Column('normal_consistency', 'normal consistency', digits=3, error=True),
        Column('chamfer_per_diameter', 'chamfer/D %', 100.0, error=True),
        Column('f1_002d', 'F1@0.02 D', digits=3, error=True),
    ),
    'After a similarity ICP: scale, rotation and translation fitted to the true object': (
        Column('similarity_chamfer_mm', 'ICP chamfer mm', error=True),
        Column('similarity_f1_5mm', 'ICP F1@5 mm', digits=3, error=True),
        Column('similarity_f1_10mm', 'ICP F1@10 mm', digits=3, error=True),
        Column('similarity_chamfer_per_diameter', 'ICP chamfer/D %', 100.0, error=True),
        Column('similarity_f1_002d', 'ICP F1@0.02 D', digits=3, error=True),
    ),
    'Mesh: closed as written and with its touching vertices merged, pieces, handles, holes': (
        Column('watertight', 'closed %', 100.0, 0),
        Column('closed_merged', 'closed merged %', 100.0, 0),
        Column('nonmanifold_edges', 'edges of 3 faces or more', digits=1),
        Column('pieces', 'pieces', digits=1, error=True),
        Column('genus', 'genus', digits=1, error=True),
        Column('genus_error', 'genus error', digits=1, error=True),
        Column('hole_mm', 'largest hole mm', digits=1, error=True),
    ),
    'Against the frame: volume on rays that miss the object, vertices before the readings': (
        Column('off_mask_share', 'off the mask %', 100.0, error=True),
        Column('spike_share', 'spikes % of vertices', 100.0, error=True),
        Column('spike_mm', 'largest spike mm', digits=1, error=True),
    ),
    'Position and scale: medians, and errors within the predicted standard deviation': (
        Column('centre_mm', 'centre mm', digits=1, median=True),
        Column('distance_error', 'distance error %', 100.0, 1, median=True),
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
    'Colour: mean difference of the channels, each scaled to fit the observed surface': (
        Column('color_seen', 'colour observed %', 100.0, 1),
        Column('color_hidden', 'colour unobserved %', 100.0, 1, interval=True),
    ),
    'Confidence at the vertices': (
        Column('rank_correlation', 'rank correlation', digits=3, interval=True),
        Column('ause', 'AUSE', digits=3, interval=True),
        Column('calibration_error', 'calibration error of a scene', digits=3),
    ),
    'Grasps of an 80 mm jaw that hold on the scan': (
        Column('grasp_top_1', 'grasp top 1 %', 100.0, 0, interval=True),
        Column('grasp_top_10', 'grasp top 10 %', 100.0, 0, interval=True),
        Column('grasps', 'planned', digits=1),
    ),
    'Grasps of that jaw in physics: closed, lifted, shaken': (
        Column('physics_top_1', 'physics top 1 %', 100.0, 0, interval=True),
        Column('physics_top_3', 'physics top 3 %', 100.0, 0, interval=True),
    ),
}

#: Figures of the paired comparison of variants of a method.
PAIRED = (
    Column('iou', 'IoU', digits=4),
    Column('chamfer_mm', 'chamfer mm', digits=3),
    Column('aligned_fs_0.1', 'FS@0.1', digits=4),
    Column('color_seen', 'colour observed %', 100.0),
    Column('color_hidden', 'colour unobserved %', 100.0),
)

#: Characters of an object's name below a picture.
_NAME_LENGTH = 26

#: Least IoU of the best row by which a sheet is sorted by IoU; below it nothing is in place.
_MIN_BEST_IOU = 0.2


def report(
    folder: Path, predictors: Sequence[str], categories: Mapping[str, str], rows: Sequence[Row]
) -> Report:
    """Return the report of rows; ``categories`` are those of objects by their names."""
    rows = [{**row, 'category': categories.get(row['object'], '')} for row in rows]
    result = summarise(rows, predictors)
    return Report('lift3d bench', rows, result, as_text, _sheets(folder, rows, result))


def summarise(rows: Sequence[Row], predictors: Sequence[str] = ()) -> dict[str, Any]:
    """
    Return the result of rows, plain numbers by track and predictor.

    - ``counts``: objects and scenes with a truth, scenes without, and failures by predictor;
      ``means``: by figure.
    - ``categories``: means of one figure by category.
    - ``differences``: of variants of a method to ``REFERENCE``, mean and standard error.
    - ``calibration``: share of correct vertices by confidence; ``sizes``: of real frames.

    Of real frames without a truth only the figures that need none are in the means.
    """
    result: dict[str, Any] = {name: {} for name in (
        'counts', 'means', 'categories', 'differences', 'calibration', 'sizes')}
    for track in [track for track in (*TRACKS, REAL) if any(r['track'] == track for r in rows)]:
        chosen = [row for row in rows if row['track'] == track]
        known = {row['scene'] for row in chosen if track != REAL or 'chamfer_mm' in row}
        scored = [row for row in chosen if row['scene'] in known]
        names = {row['contender'] for row in chosen}
        order = [name for name in dict.fromkeys([*predictors, *sorted(names)]) if name in names]
        groups = {name: [row for row in chosen if row['contender'] == name] for name in order}
        result['counts'][track] = {
            'objects': len({row['object'] for row in scored}), 'scenes': len(known),
            'without_truth': len({row['scene'] for row in chosen} - known),
            'failed': {name: sum(not row['ok'] for row in group)
                       for name, group in groups.items()},
        }
        result['means'][track] = {name: _means(group, known) for name, group in groups.items()}
        result['categories'][track] = _by_category(groups, track)
        result['differences'][track] = _differences(scored, order)
        curves = {name: statistics.calibration_curve(group) for name, group in groups.items()}
        result['calibration'][track] = {
            name: {'shares': [right if n else None for n, _, right in curve],
                   'error': statistics.pooled_error(curve)}
            for name, curve in curves.items() if any(n for n, _, _ in curve)
        }
        if track == REAL:
            result['sizes'] = _sizes(chosen, order)
    return result


def as_text(result: dict[str, Any]) -> str:
    """Return all tables of a result in Markdown."""
    parts = []
    for track, counts in result['counts'].items():
        found = tables(result, track)
        if found:
            more = counts.get('without_truth')
            parts.append(f'### {track}: {counts["objects"]} objects, {counts["scenes"]} scenes'
                         + (f', {more} without truth' if more else ''))
            for heading, body in found:
                parts += [heading, markdown(body)]
        if track == REAL and result['sizes']:
            body = [['', 'frame', 'length x width x height, mm', 'confidence', 's'],
                    *result['sizes']]
            parts += ['### real: sizes of the mesh of each frame', markdown(body)]
    return '\n\n'.join([*parts, *failures(result, 'counted as IoU 0 and F 0')]) + '\n'


def tables(result: dict[str, Any], track: str) -> list[Table]:
    """Return the tables of a track; one is omitted where no predictor has its figures."""
    means, failed = result['means'][track], result['counts'][track]['failed']
    tables = []
    for heading, columns in TABLES.items():
        body = [
            [name, *(column.cell(figures.get(column.figure)) for column in columns),
             str(failed[name])]
            for name, figures in means.items()
            if any(column.figure in figures for column in columns[:3])
        ]
        if body:
            tables.append((heading, [['', *(c.heading for c in columns), 'failed'], *body]))
    differences = result['differences'][track]
    if differences:
        body = [['', *(column.heading for column in PAIRED), 'objects']]
        for name, pairs in differences.items():
            cells = ['-' if column.figure not in pairs else
                     f'{column.format(pairs[column.figure][0], "+")} '
                     f'({column.format(pairs[column.figure][1])})' for column in PAIRED]
            body.append([name, *cells, str(pairs['objects'])])
        tables.append(
            (f'Difference to {REFERENCE}, in pairs: mean (standard error)', body))
    category = result['categories'][track]
    if category:
        heading = {'iou': 'IoU'}.get(category['figure'], 'FS@0.1')
        body = [['', *(f'{name} ({count})' for name, count in category['objects'].items())]]
        body += [[name, *('-' if mean is None else f'{mean:.2f}' for mean in values.values())]
                 for name, values in category['means'].items()]
        tables.append((f'{heading} by category, with the number of objects', body))
    curves = result['calibration'][track]
    if curves:
        steps = [f'{low / 10:.1f} to {(low + 1) / 10:.1f}' for low in range(10)]
        body = [['', *steps, 'calibration error']]
        for name, curve in curves.items():
            shares = ['-' if share is None else f'{share:.2f}' for share in curve['shares']]
            body.append([name, *shares, f'{curve["error"]:.3f}'])
        tables.append(('Share of vertices within 1 % of the diagonal, by confidence', body))
    return tables


def _sheets(
    folder: Path, rows: Sequence[Row], result: dict[str, Any]
) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Yield the sheet of each method and track; the first one is ``sheet.png``."""
    name = 'sheet.png'
    for track, by_name in result['means'].items():
        for method in [method for method in by_name if method in METHODS]:
            page = sheet_of(folder, rows, track, method)
            if page is not None:
                yield name or f'sheet_{track}_{method}.png', page
                name = ''


def sheet_of(
    folder: Path, rows: Sequence[Row], track: str, name: str, count: int | None = None
) -> NDArray[np.uint8] | None:
    """
    Return the sheet of a method in a track, best row first, or None without pictures.

    With ``count`` only so many rows, evenly spread from the best to the worst.
    """
    def path(row: Row) -> Path:
        return picture_path(folder, STRIPS, track, name, row['scene'])

    rows = [row for row in rows if row['track'] == track and row['contender'] == name
            and row['ok'] and path(row).is_file()]
    if not rows:
        return None
    in_place = any(row.get('iou', 0.0) > _MIN_BEST_IOU for row in rows)
    measure = 'iou' if in_place else 'aligned_fs_0.1'
    rows = sorted(rows, key=lambda row: -row.get(measure, 0.0))
    labels = {len(rows) - 1: 'WORST', len(rows) // 2: 'MEDIAN', 0: 'BEST'}
    entries = []
    for index, row in enumerate(rows):
        texts = [row['object'][:_NAME_LENGTH]]
        if 'iou' in row and track == REAL:
            texts += [
                labels.get(index, ''),
                f'IoU {row["iou"]:.2f}',
                f'chamfer {row["chamfer_mm"]:.1f} mm',
                f'F1@10 mm {row["f1_10mm"]:.2f}',
                f'hole {row["hole_mm"]:.0f} mm',
                f'spike {row["spike_mm"]:.0f} mm' if 'spike_mm' in row else '',
            ]
        elif 'iou' in row:
            texts += [
                labels.get(index, ''),
                f'IoU {row["iou"]:.2f}',
                f'F@2% {row["f_2pct"]:.2f}',
                f'chamfer {row["chamfer_mm"]:.1f} mm',
                f'FS@0.1 {row["aligned_fs_0.1"]:.2f} aligned',
            ]
        else:
            texts.append(f'{_size(row)} mm')
        entries.append((path(row), texts))
    if count is not None and count < len(entries):
        # The middle of an odd count is the median.
        entries = [entries[round(k * (len(entries) - 1) / (count - 1))] for k in range(count)]
    return compose_sides(entries) if track == REAL else compose(entries)


def _means(rows: Sequence[Row], known: set[str]) -> dict[str, statistics.Mean]:
    """
    Return the mean of every number in the rows of one predictor.

    A failed scene counts 0 where the figure is a share of success (``FAILED``) and is omitted
    otherwise; so is one whose truth is not ``known``.
    """
    succeeded = [_flat(row) for row in rows if row['ok']]
    everything = [_flat(row) for row in rows if row['scene'] in known]
    names = {name for row in succeeded or everything for name in row} - {'object'}
    means = {}
    for name in sorted(names):
        # Figures that a predictor never has, such as the IoU of a cloud, have no failures either.
        mean = statistics.mean_over_objects(
            everything if name in FAILED else succeeded or everything, name)
        if mean is not None:
            means[name] = mean
    return means


def _flat(row: Row) -> dict[str, Any]:
    """Return the object of a row and its numbers, those of ``seconds`` by their stages."""
    flat = {
        name: value for name, value in row.items()
        if name == 'object' or (isinstance(value, float | int) and not isinstance(value, bool))
    }
    return flat | {f'seconds_{stage}': s for stage, s in row.get('seconds', {}).items()}


def _by_category(groups: Mapping[str, Sequence[Row]], track: str) -> dict[str, Any]:
    """Return the means of a figure by category, where there are several."""
    objects: dict[str, set[str]] = {}
    for row in (row for group in groups.values() for row in group if row.get('category')):
        objects.setdefault(row['category'], set()).add(row['object'])
    if len(objects) < 2:
        return {}
    figure = 'iou' if track.startswith('rgbd') else 'aligned_fs_0.1'
    means: dict[str, dict[str, float | None]] = {}
    for name, group in groups.items():
        if any(row['ok'] and figure in row for row in group):
            means[name] = {}
            for category in sorted(objects):
                mean = statistics.mean_over_objects(
                    [row for row in group if row.get('category') == category], figure)
                means[name][category] = mean['mean'] if mean else None
    counts = {category: len(objects[category]) for category in sorted(objects)}
    return {'figure': figure, 'objects': counts, 'means': means} if means else {}


def _differences(rows: Sequence[Row], names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the difference of each variant of a method to ``REFERENCE``."""
    differences: dict[str, dict[str, Any]] = {}
    for name in [name for name in names if name in VARIANTS and name != REFERENCE]:
        pairs = {column.figure: pair for column in PAIRED
                 if (pair := statistics.paired_difference(rows, name, REFERENCE, column.figure))}
        if pairs:
            differences[name] = {figure: list(pair[:2]) for figure, pair in pairs.items()}
            differences[name]['objects'] = max(pair[2] for pair in pairs.values())
    return differences


def _sizes(rows: Sequence[Row], names: Sequence[str]) -> list[list[str]]:
    """Return method, frame, size, confidence and seconds of each real frame as text."""
    sizes = []
    for row in sorted(rows, key=lambda row: (row['scene'], names.index(row['contender']))):
        if row['contender'] in METHODS:
            cells = [row['error']['code'], '-', '-'] if not row['ok'] else [
                _size(row), f'{row["notes"]["confidence"]:.2f}', f'{row["seconds"]["total"]:.2f}']
            sizes.append([row['contender'], row['scene'], *cells])
    return sizes


def _size(row: Row) -> str:
    return ' x '.join(f'{side:.0f}' for side in row['notes']['size_mm'])
