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

"""Colour and confidence at the vertices of a completed surface."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.fields.symmetry import Hypothesis
from lift3d_ros.geometry import Floats
from lift3d_ros.geometry import transform
from lift3d_ros.meshing.visibility import in_front
from lift3d_ros.observation.object_observation import Observation
from lift3d_ros.observation.object_observation import sample
from lift3d_ros.observation.support import Support

#: Share of the observed vertices within 1 % of the diagonal of the scan, on 100 scenes of scans
#: of the train split.
OBSERVED = 0.99

#: Bounds of what an image may be brighter by than what is guessed of it, in each channel.
_EXPOSURES = (0.5, 2.0)

#: How bright is what no light falls on but that of the surroundings, beside what there is around
#: it: the best of 0.7, 0.8, 0.9 and 1 on scenes of scans of the train split.
_SHADE = np.float32(0.7)

#: With fewer vertices of both colours nothing is known of that.
_FEWEST_COMPARED = 30

#: Value and slope of the line through the same share of the guessed vertices, over the share of
#: the votes.
GUESSED = (0.27, 0.42)


def paint(
    observation: Observation,
    hypotheses: list[Hypothesis],
    vertices: NDArray[np.float32],
    tolerance: float,
    guess: NDArray[np.uint8] | None = None,
    match_exposure: bool = False,
    shown: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """
    Return colours (n, 3) and observed (n,) of vertices (n, 3).

    The vertices are in the optical frame, metres. A vertex within ``tolerance`` of the measured
    surface is observed and takes the image's colour; one that a symmetry maps to such a place
    takes the colour from there; the others take ``guess`` (n, 3), or without one the colour of
    their nearest neighbours. With ``match_exposure`` the guess is made as bright, in each channel,
    as the image is where both tell a colour. Vertices that are not ``shown`` (n,) by what the
    guess was made from are undersides and hollows: they have the colour of their neighbours, in
    the shade.
    """
    from scipy.spatial import cKDTree

    # Near the outline the colour is mixed with the background's, and masks are some pixels off.
    reach = 2 + int(0.03 * np.sqrt(np.count_nonzero(observation.mask)))
    # The outline counts occluders as inside; their colour is not the object's.
    inner = ((observation.outline > reach) & observation.mask).astype(np.float32)
    if np.count_nonzero(inner) < 0.3 * np.count_nonzero(observation.mask):
        inner = observation.mask.astype(np.float32)

    def looked_up(points: Floats) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        behind = observation.behind(points)
        with np.errstate(invalid='ignore'):
            on_surface = np.abs(behind) < tolerance
        u, v, _ = (np.nan_to_num(a, nan=-9.0) for a in observation.camera.project(points))
        inside = sample(inner, u.astype(np.float32), v.astype(np.float32)) > 0.99
        return on_surface, inside

    colors = np.zeros((len(vertices), 3), np.float32)
    observed, inside = looked_up(vertices)
    painted = observed & inside
    colors[painted] = observation.colors(vertices[painted])
    for hypothesis in hypotheses[:3]:
        for motion in hypothesis.motions:
            moved = transform(motion, vertices)
            on_surface, inside = looked_up(moved)
            fresh = on_surface & inside & ~painted
            colors[fresh] = observation.colors(moved[fresh])
            painted |= fresh
    if observation.depth is None:
        # Nothing measured: what the mask shows is painted, as far as something guesses the rest.
        painted = looked_up(vertices)[1]
        if guess is not None:
            cell = max(1.0, np.sqrt(np.count_nonzero(observation.mask)) / 40.0)
            painted &= in_front(observation.camera, vertices, cell, 3.0 * tolerance)
        colors[painted] = observation.colors(vertices[painted])
    if guess is not None:
        gain = _exposure(colors[painted], guess[painted]) if match_exposure else 1.0
        told = ~painted if shown is None or not (shown | painted).any() else ~painted & shown
        colors[told] = guess[told] * gain
        painted |= told
    if painted.any() and not painted.all():
        distance, index = cKDTree(vertices[painted]).query(vertices[~painted], k=4)
        weight = 1.0 / (distance + 0.5 * tolerance)
        near = colors[painted][np.minimum(index, np.count_nonzero(painted) - 1)]
        colors[~painted] = (near * weight[..., None]).sum(axis=1) / weight.sum(
            axis=1, keepdims=True
        )
        if guess is not None:
            colors[~painted] *= _SHADE
    return np.clip(np.rint(colors), 0, 255).astype(np.uint8), observed


def _exposure(shown: Floats, guess: NDArray[np.uint8]) -> Floats:
    """
    Return by how much the image is brighter than the guess, for each channel, (3,).

    What guesses colours does not know the exposure and the white balance of the image; where both
    tell the colour of a vertex, (n, 3) of ``shown`` and of ``guess``, they can be compared: the
    gains of Brown and Lowe, Automatic Panoramic Image Stitching, 2007, section 6.
    """
    told = np.asarray(guess, np.float64)
    # What is overexposed tells too little.
    clear = (told.max(axis=1, initial=0.0) < 250.0) & (shown.max(axis=1, initial=0.0) < 250.0)
    if np.count_nonzero(clear) < _FEWEST_COMPARED:
        return np.ones(3)
    told, seen = told[clear], np.asarray(shown, np.float64)[clear]
    gain = (told * seen).sum(axis=0) / np.maximum((told**2).sum(axis=0), 1.0)
    return np.asarray(gain.clip(*_EXPOSURES))


def agreement(
    observation: Observation,
    support: Support,
    hypotheses: list[Hypothesis],
    vertices: NDArray[np.float32],
    observed: NDArray[np.bool_],
    tolerance: float,
) -> NDArray[np.float32]:
    """
    Return how probably each vertex lies within 1 % of the diagonal of the true surface, (n,).

    A hypothesis votes for a vertex where its own surface runs within ``tolerance`` metres of it;
    what the camera or the support plane shows, all agree on. ``OBSERVED`` and ``GUESSED`` turn
    the share of the votes into the probability.
    """
    own = observation.solid(vertices)
    floor = support.height(vertices).astype(np.float32)
    bounds = np.minimum(own, floor)
    total = np.zeros(len(vertices), np.float32)
    for hypothesis in hypotheses:
        surface = np.minimum(hypothesis.solid(observation, vertices), bounds)
        total += np.float32(hypothesis.weight) * (np.abs(surface) < tolerance)
    base, slope = GUESSED
    return np.where(observed, np.float32(OBSERVED), np.float32(base) + np.float32(slope) * total)
