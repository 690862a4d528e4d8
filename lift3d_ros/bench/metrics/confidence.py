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
Metrics of the confidence at the vertices.

For n vertices, ``confidence`` (n,) is from 0 to 1, and ``error`` (n,) is the distance to the true
surface in metres.
"""

from __future__ import annotations

import numpy as np
from scipy import stats

from lift3d_ros.geometry import Array
from lift3d_ros.geometry import Floats

#: Intervals of confidence in a calibration curve.
BINS = 10

#: A vertex is correct within this share of the true diagonal.
TOLERANCE_SHARE = 0.01

#: Steps of the sparsification, 5 % of the vertices each.
_SPARSIFICATION_STEPS = 20


def ause(confidence: Floats, error: Floats) -> float:
    """
    Return the area under the sparsification error curve, 0 for the perfect order.

    The least confident vertices are left out, 5 % at a time; the mean error of the rest, over the
    mean error of all, is compared with that where the worst vertices are left out first, and the
    difference is averaged (Ilg et al., Uncertainty Estimates and Multi-Hypotheses Networks for
    Optical Flow, 2018). Uninformative confidence has about the AUSE of a random order.
    """
    mean = float(np.mean(error))
    if mean <= 0.0:
        return 0.0
    # Vertices of equal confidence are put in a random order.
    ties = np.random.default_rng(0).random(len(error))
    exact = np.asarray(error, np.float64)
    by_confidence = exact[np.lexsort((ties, -np.asarray(confidence)))]
    by_error = np.sort(exact)
    return float(np.mean(_sparsified(by_confidence) - _sparsified(by_error)) / mean)


def rank_correlation(confidence: Floats, error: Floats) -> float | None:
    """
    Return Spearman's rank correlation of confidence with the negative error, -1 to 1.

    1 where a higher confidence always means a smaller error; None where either is the same at all
    vertices, which leaves no order.
    """
    if np.ptp(confidence) == 0.0 or np.ptp(error) == 0.0:
        return None
    return float(stats.spearmanr(confidence, -np.asarray(error)).statistic)


def curve(confidence: Floats, error: Floats, tolerance: float) -> list[list[float]]:
    """
    Return for each of ``BINS`` equal intervals of confidence what lies in it.

    Each entry is [vertices, sum of their confidences, vertices whose error is below
    ``tolerance`` metres], so that curves of many shapes can be added up.
    """
    at = np.minimum((np.asarray(confidence) * BINS).astype(int), BINS - 1)
    right = np.asarray(error) < tolerance
    columns = [np.bincount(at, weights, BINS) for weights in (np.ones(len(at)), confidence, right)]
    return [[float(value) for value in row] for row in np.stack(columns, axis=1)]


def calibration_error(bins: Floats | list[list[float]]) -> float:
    """
    Return the expected calibration error of a curve, 0 to 1.

    Mean over vertices of the difference, in each interval, between the mean confidence and the
    share of correct vertices (Guo et al., On Calibration of Modern Neural Networks, 2017).
    """
    count, confidence, right = np.asarray(bins, np.float64).T
    return float(np.abs(confidence - right).sum() / max(count.sum(), 1.0))


def _sparsified(error: Array) -> Array:
    """Return the mean of the first 100 %, 95 %, ... 5 % of the errors."""
    removed = np.arange(_SPARSIFICATION_STEPS) / _SPARSIFICATION_STEPS
    kept = np.ceil(len(error) * (1.0 - removed)).astype(int)
    return np.cumsum(error)[kept - 1] / kept
