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

"""Pool the field of a network with the votes of plausible symmetry hypotheses."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.fields.occupancy_grid import OccupancyGrid
from lift3d_ros.fields.symmetry.hypotheses import Hypothesis
from lift3d_ros.fields.symmetry.hypotheses import Plausibility
from lift3d_ros.fields.symmetry.search import weigh
from lift3d_ros.geometry import transform
from lift3d_ros.geometry.canonical import CanonicalFrame
from lift3d_ros.meshing.carving import search_box
from lift3d_ros.observation.observed_object import ObservedObject
from lift3d_ros.progress import Progress

#: Bound of the log odds of a field, and of those that are compared with the votes.
_MAX_LOG_ODDS, _COMPARED_LOG_ODDS = 9.0, 4.0

#: Minimum number of open points for which the agreement with the field is computed.
_MIN_POINTS = 50

#: Margin of log odds: voxels up to this far beyond the largest vote get votes, so that the field
#: stays smooth around its surface.
_BEYOND_VOTES = 1.5

#: Share of the votes below which a hypothesis has none.
_MIN_WEIGHT = 0.01


@dataclass(frozen=True)
class SymmetryPool:
    """
    Settings for adding the votes of symmetry hypotheses to the log odds of a field.

    A vote is in [-1, 1], from empty to occupied.

    - ``hypotheses``: number of the most plausible hypotheses that vote.
    - ``consistency``: a hypothesis weighs exp(``consistency`` a) times its plausibility. Here a is
      the mean product of its votes and the log odds of the field, over the points whose occupancy
      the view leaves open.
    - ``weight``: log odds that a unanimous vote adds at full agreement.
    - ``agreement``: two values of the intersection over union of the solids of votes and field. At
      or below the first, the votes do not count; from the second on, they have their full weight.
    - ``inside``, ``outside``: distances from the surface at which a vote saturates inside and
      outside the hypothetical object, as shares of the longest side of the field's solid.
      ``inside`` is small because the middle of a thin wall is near both of its surfaces.

    The values were chosen on 103 modelled objects in frames that the networks had not seen
    (``weights/training.md``).
    """

    hypotheses: int = 16
    consistency: float = 2.5
    weight: float = 3.0
    agreement: tuple[float, float] = (0.05, 0.35)
    inside: float = 0.005
    outside: float = 0.025


def pool_symmetries(
    field: OccupancyGrid,
    canonical: CanonicalFrame,
    obs: ObservedObject,
    rng: np.random.Generator,
    progress: Progress,
    settings: SymmetryPool | None = None,
) -> OccupancyGrid:
    """
    Return ``field`` with the votes of the most plausible symmetry hypotheses in its log odds.

    This is a logarithmic opinion pool (Genest and Zidek, Combining probability distributions,
    1986) of two predictions of the unobserved side. ``field`` has the values (i, j, k) of
    occupancy probabilities in the frame ``canonical``, which must be metric. The votes use only
    the reference view of ``obs``, which must have depth.

    The field is returned unchanged if it has no surface at 0.5, if its agreement with the votes is
    too low, if the view and the support plane leave too few points open, or if an occluder or the
    image border cuts the outline of the object. A virtual view, which is the reference view moved
    by a symmetry, needs the whole outline.

    Raises ``LiftError``: ``CANCELLED``, ``TIMEOUT``.
    """
    settings = settings or SymmetryPool()
    bounds = field.bounds(0.5)
    if bounds is None or obs.observation.occluder.any() or obs.view.truncated:
        return field
    try:
        box = search_box(obs.observation, obs.support)
    except LiftError as error:
        if error.code != ErrorCode.NO_SURFACE:
            raise
        # Votes are no reason to refuse an object: the field has a surface without them.
        return field
    hypotheses = weigh(
        obs.observation, box.T_camera_up, box.area, box.cells, box.cell_volume, rng,
        Plausibility(), settings.hypotheses)
    length = float((bounds[1] - bounds[0]).max()) * canonical.scale
    # Points that the view or the support plane carves from the mesh get no votes.
    margin = -2.0 * field.voxel * canonical.scale
    odds = _log_odds(field.values)

    def votes(chosen: NDArray[np.bool_], voters: list[Hypothesis]) -> NDArray[np.float32]:
        """Return the votes (hypotheses, n) at the chosen voxels."""
        points = transform(
            canonical.camera_from_canonical, field.origin + field.voxel * np.argwhere(chosen))
        depths = np.empty((len(voters), len(points)), np.float32)
        for row, hypothesis in zip(depths, voters, strict=True):
            progress.check()
            row[:] = hypothesis.occupancy_bound(obs.observation, points)
        depths /= np.where(depths > 0.0, settings.inside * length, settings.outside * length)
        return depths.clip(-1.0, 1.0)

    def open_voxels(chosen: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return which of the chosen voxels the view and the support plane leave open."""
        points = transform(
            canonical.camera_from_canonical, field.origin + field.voxel * np.argwhere(chosen))
        open_ = obs.observation.occupancy_bound(points) > margin
        open_ &= obs.support.height(points) > margin
        result = np.zeros_like(chosen)
        result[chosen] = open_
        return result

    # To save time, the weights are computed from every second voxel along each axis.
    sampled = np.zeros(odds.shape, bool)
    sampled[::2, ::2, ::2] = True
    sampled = open_voxels(sampled)
    if np.count_nonzero(sampled) < _MIN_POINTS:
        return field
    compared = odds[sampled].clip(-_COMPARED_LOG_ODDS, _COMPARED_LOG_ODDS)
    sample = votes(sampled, hypotheses)
    consistency = settings.consistency * (sample @ compared) / len(compared)
    weights = np.array([hypothesis.weight for hypothesis in hypotheses])
    weights = weights * np.exp(consistency - consistency.max())
    weights /= weights.sum()
    low, high = settings.agreement
    agreement = _overlap(compared > 0.0, np.asarray(weights @ sample) > 0.0)
    gain = settings.weight * float(np.clip((agreement - low) / (high - low), 0.0, 1.0))
    if gain == 0.0:
        return field
    # Elsewhere the votes cannot change the sign of the log odds. Leaving those voxels out, and
    # hypotheses of little weight, saves time.
    near = open_voxels(np.abs(odds) < gain + _BEYOND_VOTES)
    counts = weights > _MIN_WEIGHT
    voters = [voter for voter, counted in zip(hypotheses, counts, strict=True) if counted]
    pooled = odds.copy()
    pooled[near] += np.float32(gain / weights[counts].sum()) * np.asarray(
        weights[counts] @ votes(near, voters), np.float32)
    return replace(field, values=(1.0 / (1.0 + np.exp(-pooled))).astype(np.float32))


def _log_odds(probability: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the bounded log odds of probabilities."""
    p = probability.astype(np.float32)
    with np.errstate(divide='ignore'):
        return (np.log(p) - np.log1p(-p)).clip(-_MAX_LOG_ODDS, _MAX_LOG_ODDS)


def _overlap(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return float(np.count_nonzero(a & b) / max(1, np.count_nonzero(a | b)))

