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

"""The picture of a comparison: two distributions side by side."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from lift3d_ros.bench.realism.statistics import FACING
from lift3d_ros.bench.realism.statistics import FrameStatistics
from lift3d_ros.bench.realism.statistics import RESIDUAL_MM

#: Colours of real and rendered frames, RGB.
_REAL, _RENDERED = (30, 90, 180), (220, 120, 20)

#: Size of one chart, pixels.
_WIDTH, _HEIGHT, _MARGIN = 420, 260, 36

#: Quantities whose distribution over frames is drawn, with the title and the upper limit.
_SPREADS = (
    ('spread_mm', 'depth error, mm', 8.0),
    ('correlation_mm', 'correlation length, mm', 30.0),
    ('dropout', 'pixels without reading', 0.4),
    ('off_object', 'readings off the object', 0.3),
    ('mask_error_px', 'mask outline error, px', 8.0),
    ('shift_length_px', 'depth against image, px', 6.0),
)


def draw_chart(
    real: Sequence[FrameStatistics], rendered: Sequence[FrameStatistics]
) -> NDArray[np.uint8]:
    """Return the charts of real (blue) and rendered (orange) frames, uint8 RGB."""
    charts = [_histograms(real, rendered), _slopes(real, rendered), _distances(real, rendered)]
    charts += [_ranks(real, rendered, *spread) for spread in _SPREADS]
    rows = [np.hstack(charts[k : k + 3]) for k in range(0, len(charts), 3)]
    return np.vstack(rows)


def _canvas(title: str, left: str, right: str, top: str) -> NDArray[np.uint8]:
    page = np.full((_HEIGHT, _WIDTH, 3), 255, np.uint8)
    cv2.rectangle(
        page, (_MARGIN, _MARGIN), (_WIDTH - _MARGIN, _HEIGHT - _MARGIN), (190, 190, 190), 1
    )
    for text, place in (
        (f'{title} (blue: real, orange: rendered)', (8, 20)),
        (left, (_MARGIN, _HEIGHT - 12)),
        (right, (_WIDTH - _MARGIN - 40, _HEIGHT - 12)),
        (top, (2, _MARGIN + 10)),
    ):
        cv2.putText(page, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.4, (40, 40, 40), 1, cv2.LINE_AA)
    return page


def _line(
    page: NDArray[np.uint8], x: NDArray[np.float64], y: NDArray[np.float64],
    color: tuple[int, int, int], dots: bool = False
) -> None:
    """Draw values; x and y from 0 to 1."""
    u = _MARGIN + np.clip(x, 0.0, 1.0) * (_WIDTH - 2 * _MARGIN)
    v = _HEIGHT - _MARGIN - np.clip(y, 0.0, 1.0) * (_HEIGHT - 2 * _MARGIN)
    points = np.rint(np.stack([u, v], axis=1)[np.isfinite(x) & np.isfinite(y)]).astype(np.int32)
    if not dots:
        cv2.polylines(page, [points], False, color, 2, cv2.LINE_AA)
    for point in points if dots else ():
        cv2.circle(page, (int(point[0]), int(point[1])), 3, color, -1, cv2.LINE_AA)


def _histograms(
    real: Sequence[FrameStatistics], rendered: Sequence[FrameStatistics]
) -> NDArray[np.uint8]:
    page = _canvas('depth residual', f'{RESIDUAL_MM[0]:g} mm', f'{RESIDUAL_MM[-1]:g}', '0.2')
    for frames, color in ((real, _REAL), (rendered, _RENDERED)):
        mean = np.mean([frame.residuals_mm for frame in frames], axis=0)
        _line(page, (np.arange(len(mean)) + 0.5) / len(mean), mean / 0.2, color)
    return page


def _slopes(
    real: Sequence[FrameStatistics], rendered: Sequence[FrameStatistics]
) -> NDArray[np.uint8]:
    page = _canvas('lost readings by cosine of slope', '0', '1', '1')
    centres = (np.array(FACING[1:]) + np.array(FACING[:-1])) / 2.0
    for frames, color in ((real, _REAL), (rendered, _RENDERED)):
        rows = np.array([frame.dropout_by_slope for frame in frames])
        known = np.isfinite(rows)
        mean = np.where(known, rows, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
        _line(page, centres, mean, color)
    return page


def _distances(
    real: Sequence[FrameStatistics], rendered: Sequence[FrameStatistics]
) -> NDArray[np.uint8]:
    page = _canvas('depth error by distance', '0.3 m', '1.5', '8 mm')
    for frames, color in ((rendered, _RENDERED), (real, _REAL)):
        x = np.array([(frame.distance_m - 0.3) / 1.2 for frame in frames])
        _line(page, x, np.array([frame.spread_mm / 8.0 for frame in frames]), color, dots=True)
    return page


def _ranks(
    real: Sequence[FrameStatistics], rendered: Sequence[FrameStatistics],
    name: str, title: str, limit: float
) -> NDArray[np.uint8]:
    page = _canvas(f'{title}: cumulative', '0', f'{limit:g}', '1')
    for frames, color in ((real, _REAL), (rendered, _RENDERED)):
        values = np.sort([float(getattr(frame, name)) for frame in frames])
        share = (np.arange(len(values)) + 1.0) / len(values)
        _line(page, np.repeat(values, 2)[1:] / limit, np.repeat(share, 2)[:-1], color)
    return page
