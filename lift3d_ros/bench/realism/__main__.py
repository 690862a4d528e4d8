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

"""
Compare rendered ``real-like`` scenes with real frames.

    python -m lift3d_ros.bench.realism --real DIR --data DIR [--methods NAME ...] [--out FILE.png]

prints the errors of depth and masks side by side, with ``--methods`` also those of lifts, and
writes a picture. ``--real`` holds frames with their truth, ``--data`` objects. Two sets are
rendered: one in the conditions of the real frames, one with objects and situations of all kinds.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from collections.abc import Sequence
import json
from pathlib import Path
import sys

import cv2
import numpy as np
from numpy.typing import NDArray

from lift3d_ros.bench.metrics import distances
from lift3d_ros.bench.metrics import sample_surface
from lift3d_ros.bench.realism.chart import draw_chart
from lift3d_ros.bench.realism.samples import matched_samples
from lift3d_ros.bench.realism.samples import real_samples
from lift3d_ros.bench.realism.samples import rendered_samples
from lift3d_ros.bench.realism.samples import Sample
from lift3d_ros.bench.realism.statistics import FACING
from lift3d_ros.bench.realism.statistics import frame_statistics
from lift3d_ros.bench.realism.statistics import FrameStatistics
from lift3d_ros.errors import LiftError
from lift3d_ros.lifter import Lifter
from lift3d_ros.lifter import LiftRequest

#: Quantities of ``FrameStatistics``, with their titles, and the factor of the unit.
_ROWS = (
    ('spread_mm', 'depth error (1.48 MAD), mm', 1.0),
    ('far_share', 'depth errors over 10 mm, %', 100.0),
    ('correlation_mm', 'correlation length of the error, mm', 1.0),
    ('dropout', 'object pixels without reading, %', 100.0),
    ('off_object', 'readings in the mask off the object, %', 100.0),
    ('mask_error_px', 'mask outline error, px', 1.0),
    ('mask_bias_px', 'mask outline bias, px', 1.0),
    ('mask_iou', 'mask IoU, %', 100.0),
    ('shift_length_px', 'depth against image, px', 1.0),
    ('distance_m', 'distance, m', 1.0),
)

#: Frames by the name of their set.
Sets = dict[str, list[Sample]]


def lift_errors(method: str, sets: Sets) -> dict[str, NDArray[np.float64]]:
    """Return the chamfer distances of the lifts of each set, mm; NaN where one failed."""
    lifter = Lifter(method)
    lifter.load()
    return {
        name: np.array([_lift_error(lifter, method, sample) for sample in samples])
        for name, samples in sets.items()
    }


def _lift_error(lifter: Lifter, method: str, sample: Sample) -> float:
    try:
        shape = lifter.lift(sample.frame, LiftRequest(sample.mask, seed=0))
    except LiftError as error:
        print(f'{method} on {sample.name}: {error.code.name}', file=sys.stderr)
        return float('nan')
    found = distances(sample_surface(shape.mesh_in_camera()), sample_surface(sample.mesh))
    return 1000.0 * found.chamfer()


def table(sets: dict[str, list[FrameStatistics]]) -> Iterator[str]:
    """Yield the lines of the comparison: mean and 10th to 90th percentile over frames."""
    yield '| | ' + ' | '.join(sets) + ' |'
    yield '|---' * (1 + len(sets)) + '|'
    for name, title, factor in _ROWS:
        cells = [
            _cell(factor * np.array([getattr(frame, name) for frame in frames]))
            for frames in sets.values()
        ]
        yield f'| {title} | ' + ' | '.join(cells) + ' |'
    for k, (low, high) in enumerate(zip(FACING, FACING[1:], strict=False)):
        cells = [
            _cell(100.0 * np.array([frame.dropout_by_slope[k] for frame in frames]))
            for frames in sets.values()
        ]
        yield (
            f'| without reading at cosine {low:g} to {high:g}, % | ' + ' | '.join(cells) + ' |')


def _cell(values: NDArray[np.float64]) -> str:
    values = values[np.isfinite(values)]
    if not len(values):
        return '-'
    low, high = np.quantile(values, (0.1, 0.9))
    return f'{values.mean():.2f} [{low:.2f}, {high:.2f}]'


def lift_rows(method: str, errors: dict[str, NDArray[np.float64]]) -> Iterator[str]:
    """Yield the lines of a method: errors of each set, and ratios to those of the first."""
    cells, means = [], []
    for values in errors.values():
        known = values[np.isfinite(values)]
        mean = float(known.mean()) if len(known) else float('nan')
        stderr = known.std(ddof=1) / np.sqrt(len(known)) if len(known) > 1 else float('nan')
        means.append((mean, stderr))
        median = float(np.median(known)) if len(known) else float('nan')
        cells.append(
            f'{mean:.2f} (standard error {stderr:.2f}, median {median:.2f}, '
            f'{len(values) - len(known)} of {len(values)} failed)')
    yield f'| `{method}` chamfer, mm | ' + ' | '.join(cells) + ' |'
    ratios = ['1']
    for mean, stderr in means[1:]:
        ratio = mean / means[0][0]
        spread = ratio * float(np.hypot(stderr / mean, means[0][1] / means[0][0]))
        ratios.append(f'{ratio:.2f} (standard error {spread:.2f})')
    yield f'| `{method}` chamfer over that of real frames | ' + ' | '.join(ratios) + ' |'


def _measured(samples: Sequence[Sample]) -> list[FrameStatistics | None]:
    """Return the errors of frames, None where depth and object do not overlap."""
    found: list[FrameStatistics | None] = []
    for sample in samples:
        try:
            found.append(frame_statistics(sample.name, sample.frame, sample.mask, sample.mesh))
        except ValueError as error:
            print(error, file=sys.stderr)
            found.append(None)
    return found


def write_rows(
    path: Path,
    sets: Sets,
    measured: dict[str, list[FrameStatistics | None]],
    errors: dict[str, dict[str, NDArray[np.float64]]],
) -> None:
    """Write a line of JSON for each frame: situation, errors of depth and mask, lift errors."""
    lines = []
    for name, samples in sets.items():
        for k, sample in enumerate(samples):
            frame = measured[name][k]
            row = {'set': name, 'name': sample.name, **sample.record}
            row |= {key: getattr(frame, key) for key, _, _ in _ROWS} if frame else {}
            row |= {method: float(found[name][k]) for method, found in errors.items()}
            lines.append(json.dumps(row))
    path.write_text('\n'.join(lines) + '\n')


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(description='Compare rendered scenes with real frames.')
    parser.add_argument('--real', type=Path, required=True, help='folder of frames with truth')
    parser.add_argument('--data', type=Path, required=True, help='folder of objects')
    parser.add_argument('--split', default='train', help='split of the objects')
    parser.add_argument('--count', type=int, default=44, help='rendered scenes of each set')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--methods', nargs='*', default=[], help='methods to lift all with')
    parser.add_argument('--out', type=Path, help='picture to write')
    parser.add_argument('--rows', type=Path, help='file to write a line of JSON a frame to')
    options = parser.parse_args()
    drawn = (options.data, options.split, options.count, options.seed)
    sets = {
        'real': list(real_samples(options.real, options.data)),
        'same conditions': list(matched_samples(*drawn)),
        'all objects and situations': list(rendered_samples(*drawn)),
    }
    measured = {name: _measured(samples) for name, samples in sets.items()}
    known = {name: [found for found in frames if found] for name, frames in measured.items()}
    print(', '.join(f'{name}: {len(frames)} frames' for name, frames in known.items()))
    print('\n'.join(table(known)), flush=True)
    if options.out:
        real, matched, _ = known.values()
        cv2.imwrite(str(options.out), draw_chart(real, matched)[..., ::-1])
    errors = {}
    for method in options.methods:
        errors[method] = lift_errors(method, sets)
        print('\n'.join(lift_rows(method, errors[method])), flush=True)
    if options.rows:
        write_rows(options.rows, sets, measured, errors)


if __name__ == '__main__':
    main()
