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
The search for the most plausible hypotheses about the unobserved side of an object.

All hypotheses of a coarse grid are rated by their energy (``Plausibility``), and the best ones are
then aligned with the measured surface.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.fields.symmetry.hypotheses import candidates
from lift3d_ros.fields.symmetry.hypotheses import horizontal_span
from lift3d_ros.fields.symmetry.hypotheses import Hypothesis
from lift3d_ros.fields.symmetry.hypotheses import KINDS
from lift3d_ros.fields.symmetry.hypotheses import Plausibility
from lift3d_ros.fields.symmetry.hypotheses import thickness_left
from lift3d_ros.fields.symmetry.hypotheses import virtual_views
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import invert
from lift3d_ros.geometry import rigid
from lift3d_ros.geometry import transform
from lift3d_ros.observation.object_observation import ObjectObservation

#: Tolerance of a point on measured surface, and depth in free space at which it contradicts a
#: symmetry fully, as shares of the square root of the silhouette's area: in the search, and in the
#: alignment.
SEARCH_TOLERANCE, SEARCH_REACH = 0.02, 0.1
ALIGNED_TOLERANCE, ALIGNED_REACH = 0.005, 0.05

#: First steps of the alignment, as a share of the object's span and in radians, which are about
#: half a step of the search. They are halved in each of the rounds.
ALIGNMENT_SHIFT, ALIGNMENT_TURN, ALIGNMENT_ROUNDS = 0.05, np.radians(7.5), 5


def weigh(
    observation: ObjectObservation,
    T_camera_up: Array,
    area: float,
    cells: Array,
    cell_volume: float,
    rng: np.random.Generator,
    plausibility: Plausibility,
    count: int,
) -> list[Hypothesis]:
    """
    Return the ``count`` most plausible hypotheses, best first, with weights that sum to 1.

    They are found on a coarse grid of axes and planes, and then aligned with the measured surface.
    A wall is thinner than a step of that grid, and votes of misaligned symmetries erode it.

    ``T_camera_up`` is a frame with z up and x towards the camera, its origin among the measured
    points; ``area`` is that of the silhouette in square metres; ``cells`` (n, 3) are the points of
    the optical frame that the view allows to be occupied, of ``cell_volume`` cubic metres each.
    """
    points = observation.points()
    points = points[rng.permutation(len(points))[:300]]
    subset = cells[rng.permutation(len(cells))[:1500]]
    share = cell_volume * len(cells) / len(subset)
    size = float(np.sqrt(area))
    T_up_camera = invert(T_camera_up)
    pool = candidates(transform(T_up_camera, points), size)
    # Candidates with the same motions share one array, and so their virtual views.
    in_camera = {id(motions): T_camera_up @ motions @ T_up_camera for _, motions, _ in pool}
    fits = dict(zip(
        in_camera,
        _fits(observation, list(in_camera.values()), points,
              SEARCH_TOLERANCE * size, SEARCH_REACH * size),
        strict=True))
    features = np.array([
        (KINDS.index(kind), np.isfinite(thickness), *fits[id(motions)], plausibility.log_volume)
        for kind, motions, thickness in pool
    ])
    # The term of the volume can only increase the energy, and takes most of the time. So it is
    # computed in the order of the other terms, until no later candidate can be among the best.
    lower_bound = plausibility.energy(features)
    energy = np.full(len(pool), np.inf)
    last = min(count, len(pool)) - 1
    before_back = {
        thickness: thickness_left(observation, subset, thickness) > 0.0
        for thickness in {thickness for _, _, thickness in pool if np.isfinite(thickness)}
    }
    in_views: dict[int, NDArray[np.bool_]] = {}
    for index in np.argsort(lower_bound, kind='stable'):
        if lower_bound[index] > np.partition(energy, last)[last]:
            break
        _, motions, thickness = pool[index]
        key = id(motions)
        if key not in in_views:
            in_views[key] = virtual_views(observation, in_camera[key], subset) > 0.0
        occupied = in_views[key]
        if thickness in before_back:
            occupied = occupied & before_back[thickness]
        volume = share * np.count_nonzero(occupied)
        features[index, 4] = np.log(max(volume, 1e-12) / area**1.5)
        energy[index] = plausibility.energy(features[index][None])[0]
    best = np.argsort(energy, kind='stable')[:count]
    keys = list(dict.fromkeys(id(pool[index][1]) for index in best))
    moved, gains = _aligned(
        observation, [in_camera[key] for key in keys], T_camera_up, points, size, plausibility)
    aligned = dict(zip(keys, zip(moved, gains, strict=True), strict=True))
    for index in best:
        energy[index] -= aligned[id(pool[index][1])][1]
    best = best[np.argsort(energy[best], kind='stable')]
    weight = np.exp((energy[best[0]] - energy[best]) / plausibility.temperature)
    weight /= weight.sum()
    hypotheses = []
    for index, share_of_votes in zip(best, weight, strict=True):
        kind, motions, thickness = pool[index]
        hypotheses.append(
            Hypothesis(kind, aligned[id(motions)][0], thickness, float(share_of_votes)))
    return hypotheses


def _aligned(
    observation: ObjectObservation,
    symmetries: Sequence[Array],
    T_camera_up: Array,
    points: Array,
    size: float,
    plausibility: Plausibility,
) -> tuple[list[Array], Array]:
    """
    Return symmetries moved to fit the measured surface, and the decrease of their misfit (n,).

    Arguments are as in ``weigh`` and ``_fits``; motions are in the optical frame. The axes and
    planes are shifted horizontally and turned about a vertical: moving them by G turns a motion M
    into G M G^-1. This is a pattern search (Hooke and Jeeves, Direct search solution of numerical
    and statistical problems, 1961) with the tolerance of ``ALIGNED_TOLERANCE``.
    """
    T_up_camera = invert(T_camera_up)
    upright = transform(T_up_camera, points)
    centre, span = upright.mean(axis=0), horizontal_span(upright, size)

    def misfits(motions: Sequence[Array]) -> Array:
        moved = [T_camera_up @ motion @ T_up_camera for motion in motions]
        shares = np.array(list(_fits(
            observation, moved, points, ALIGNED_TOLERANCE * size, ALIGNED_REACH * size)))
        return plausibility.misfit(shares[:, 0], shares[:, 1])

    current = [T_up_camera @ motions @ T_camera_up for motions in symmetries]
    first = misfits(current)
    misfit = first.copy()
    for number in range(ALIGNMENT_ROUNDS):
        steps = _steps(ALIGNMENT_SHIFT * span * 0.5**number, ALIGNMENT_TURN * 0.5**number, centre)
        tried = [
            (index, G @ motions @ invert(G))
            for index, motions in enumerate(current) if len(motions) for G in steps]
        if not tried:
            break
        for (index, motions), value in zip(
            tried, misfits([motions for _, motions in tried]), strict=True
        ):
            if value < misfit[index]:
                misfit[index], current[index] = value, motions
    return [T_camera_up @ motions @ T_up_camera for motions in current], first - misfit


def _steps(shift: float, turn: float, centre: Array) -> list[Array]:
    """Return shifts along x and y and turns about the vertical at ``centre``, both ways."""
    steps = []
    for sign in (-1.0, 1.0):
        steps += [rigid(np.eye(3), sign * shift * axis) for axis in np.eye(3)[:2]]
        c, s = np.cos(turn), sign * np.sin(turn)
        R = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
        steps.append(rigid(R, centre - R @ centre))
    return steps


def _fits(
    observation: ObjectObservation,
    symmetries: Sequence[Array],
    points: Array,
    tolerance: float,
    reach: float,
) -> Iterator[tuple[float, float]]:
    """
    Yield the shares of measured points that each symmetry maps into free space and onto surface.

    The motions (k, 4, 4) of each and ``points`` (n, 3) are in the optical frame. A point within
    ``tolerance`` metres of the surface is on it; one ``reach`` metres further in free space counts
    fully, a nearer one in proportion. Mapping all at once takes a third of the time of
    one after the other.
    """
    moved = np.einsum(
        'kij,nj->kni', np.concatenate(symmetries)[:, :3],
        np.concatenate([points, np.ones((len(points), 1))], axis=1), optimize=True)
    bounds = observation.occupancy_bound(moved.reshape(-1, 3)).reshape(len(moved), len(points))
    first = 0
    for motions in symmetries:
        views = bounds[first:first + len(motions)]
        first += len(motions)
        if not len(motions):
            yield 0.0, 0.0
            continue
        free = -views.min(axis=0) - tolerance
        contradiction = float(np.clip(free / reach, 0.0, 1.0).mean())
        yield contradiction, float((np.abs(views) < tolerance).mean())
