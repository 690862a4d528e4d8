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
from lift3d_ros.fields.symmetry import Plausibility
from lift3d_ros.fields.symmetry import weigh
from lift3d_ros.geometry import transform
from lift3d_ros.geometry.canonical import CanonicalFrame
from lift3d_ros.meshing.carving import search_box
from lift3d_ros.observation.observed_object import ObservedObject
from lift3d_ros.progress import Progress

#: Bound of the log odds of a field, and of those that are compared with the votes.
_MAX_LOG_ODDS, _COMPARED_LOG_ODDS = 9.0, 4.0

#: Minimum number of open points for which the agreement with the field is computed.
_MIN_POINTS = 50


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
    - ``band``: distance from the surface at which a vote saturates, as a share of the object's
      longest side.

    The values were chosen on 202 modelled objects in frames that the networks had not seen
    (``weights/training.md``).
    """

    hypotheses: int = 12
    consistency: float = 2.0
    weight: float = 2.5
    agreement: tuple[float, float] = (0.2, 0.5)
    band: float = 0.0375


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
    # The votes vary slowly: they are computed at every second voxel.
    values = field.values[::2, ::2, ::2]
    index = np.stack(np.meshgrid(*(np.arange(n) for n in values.shape), indexing='ij'), axis=-1)
    points = transform(
        canonical.camera_from_canonical, field.origin + 2.0 * field.voxel * index.reshape(-1, 3))
    length = float((bounds[1] - bounds[0]).max()) * canonical.scale
    # Points that the view or the support plane carves from the mesh get no votes.
    margin = -2.0 * field.voxel * canonical.scale
    open_ = obs.observation.occupancy_bound(points) > margin
    open_ &= obs.support.height(points) > margin
    if np.count_nonzero(open_) < _MIN_POINTS:
        return field
    odds = _log_odds(values.reshape(-1)[open_]).clip(-_COMPARED_LOG_ODDS, _COMPARED_LOG_ODDS)
    bounds_of = []
    for hypothesis in hypotheses:
        progress.check()
        bounds_of.append(hypothesis.occupancy_bound(obs.observation, points[open_]))
    votes = (np.stack(bounds_of) / np.float32(settings.band * length)).clip(-1.0, 1.0)
    consistency = settings.consistency * (votes @ odds) / len(odds)
    weights = np.array([hypothesis.weight for hypothesis in hypotheses])
    weights = weights * np.exp(consistency - consistency.max())
    vote = np.asarray((weights / weights.sum()) @ votes, np.float32)
    low, high = settings.agreement
    share = (_overlap(odds > 0.0, vote > 0.0) - low) / (high - low)
    gain = settings.weight * float(np.clip(share, 0.0, 1.0))
    if gain == 0.0:
        return field
    coarse = np.zeros(values.size, np.float32)
    coarse[open_] = gain * vote
    pooled = _log_odds(field.values) + _doubled(coarse.reshape(values.shape), field.values.shape)
    return replace(field, values=(1.0 / (1.0 + np.exp(-pooled))).astype(np.float32))


def _log_odds(probability: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the bounded log odds of probabilities."""
    p = probability.astype(np.float32)
    with np.errstate(divide='ignore'):
        return (np.log(p) - np.log1p(-p)).clip(-_MAX_LOG_ODDS, _MAX_LOG_ODDS)


def _overlap(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return float(np.count_nonzero(a & b) / max(1, np.count_nonzero(a | b)))


def _doubled(values: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return values at every second voxel linearly interpolated to a grid of that shape."""
    for axis, size in enumerate(shape):
        at = 0.5 * np.arange(size)
        first = at.astype(int)
        second = np.minimum(first + 1, values.shape[axis] - 1)
        part = (at - first).astype(np.float32)
        part = part.reshape([-1 if k == axis else 1 for k in range(len(shape))])
        values = (1.0 - part) * values.take(first, axis) + part * values.take(second, axis)
    return values
