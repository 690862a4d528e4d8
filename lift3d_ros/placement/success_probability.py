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

The map is a logistic curve (Platt, Probabilistic Outputs for Support Vector Machines, 1999)
through what proved right on 100 scenes of scans of the train split, a fifth of them behind another
object and a third with a detector's masks: whether the F-score at 2 % of the diagonal passed
``F_SCORE_THRESHOLD``, over the mean confidence.
"""

from __future__ import annotations

import math

#: F-score at 2 % of the diagonal that a shape must reach to be called good.
F_SCORE_THRESHOLD = 0.75

#: Mean confidence with which every second shape passes, and the slope there times four, by method.
_CURVES = {'geometric': (0.664, 27.8), 'one2345': (0.662, 16.7)}


def pass_probability(method: str, confidence: float, metric: bool) -> float | None:
    """
    Return how probably the F-score at 2 % of a shape passes ``F_SCORE_THRESHOLD``, 0 to 1.

    ``confidence`` is the mean over its surface; 0 where its scale is not ``metric``, since no
    place on it is then known. None for a method that it was not measured for.
    """
    if method not in _CURVES:
        return None
    if not metric:
        return 0.0
    middle, slope = _CURVES[method]
    return 1.0 / (1.0 + math.exp(-slope * (confidence - middle)))
