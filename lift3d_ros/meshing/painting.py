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

"""Colours and measured surface where several cameras saw an object."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.geometry import Array
from lift3d_ros.geometry import invert
from lift3d_ros.geometry import rotate
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.meshing.visibility import in_front
from lift3d_ros.observation.object_observation import Observation
from lift3d_ros.observation.object_observation import sample
from lift3d_ros.observation.sighting import Sighting

#: A surface whose normal is further than this cosine from the sight shows no colour.
_FACING = 0.15

#: How sharply a camera that looks straight at the surface wins over one that looks along it.
_SHARPNESS = 4.0

#: Cells across the root of the mask's area in which the surface nearest to a camera is looked for.
_CELLS = 60.0

#: What a colour at the outline counts beside one well inside it.
_RIM = np.float32(1e-4)

#: Error that a measured vertex may have, over the diagonal: what confidence is about.
_RIGHT = 0.01


def paint_further(
    first: Sighting,
    others: Sequence[Sighting],
    mesh: Mesh,
    observed: NDArray[np.bool_],
    tolerance: float,
) -> tuple[NDArray[np.uint8], NDArray[np.bool_], NDArray[np.float32]]:
    """
    Return colours (n, 3), observed (n,) and certainty (n,) of the vertices of a mesh.

    ``mesh`` is in the first optical frame, with the colours of what the ``first`` camera saw and
    of the guess; ``observed`` (n,) is what that camera measured. A vertex that cameras see is of
    the mean of their colours, in which those that look straight at it, from near, weigh most; one
    within ``tolerance`` metres of what any of them measured is observed. The certainty is 1 where
    the cameras agree within 1 % of the diagonal, and falls with what they are apart.
    """
    if not others:
        return mesh.colors, observed, np.ones(len(observed), np.float32)
    normals = mesh.vertex_normals().astype(np.float64)
    total = np.zeros((len(observed), 3))
    weights = np.zeros(len(observed))
    certainty = observed.astype(np.float32)
    right = _RIGHT * float(np.linalg.norm(np.ptp(mesh.vertices, axis=0)))
    for one in (first, *others):
        local = one.own(mesh.vertices)
        distance = np.linalg.norm(local, axis=1)
        turned = rotate(invert(one.T_first_own), normals)
        facing = -np.einsum('ij,ij->i', turned, local) / np.maximum(distance, 1e-9)
        with np.errstate(invalid='ignore'):
            measured = np.abs(one.seen.behind(local)) < tolerance
        shown = measured if one.seen.depth is not None else _nearest(one.seen, local, tolerance)
        shown = shown & (facing > _FACING)
        weight = np.where(shown, np.maximum(facing, 0.0) ** _SHARPNESS / distance**2, 0.0)
        weight *= _trusted(one.seen, local)
        total += weight[:, None] * one.seen.colors(local)
        weights += weight
        if one is not first:
            observed = observed | measured
            agrees = min(1.0, right / max(one.disagreement, 1e-9))
            np.maximum(certainty, np.where(measured, np.float32(agrees), 0.0), out=certainty)
    seen = weights > 0.0
    colors = mesh.colors.copy()
    mean = total[seen] / weights[seen, None]
    colors[seen] = np.clip(np.rint(mean), 0.0, 255.0).astype(np.uint8)
    return colors, observed, np.where(observed, certainty, np.float32(1.0))


def _trusted(seen: Observation, local: Array) -> NDArray[np.float32]:
    """
    Return how far the colours at points (n, 3) are the object's own, (n,).

    It is 1 well inside the mask, 0 off it, and next to nothing between: at the outline colours
    are mixed, and are taken only where no camera shows better ones.
    """
    reach = 2 + int(0.03 * np.sqrt(np.count_nonzero(seen.mask)))
    inner = ((seen.outline > reach) & seen.mask).astype(np.float32)
    if np.count_nonzero(inner) < 0.3 * np.count_nonzero(seen.mask):
        inner = seen.mask.astype(np.float32)
    u, v, _ = (np.nan_to_num(a, nan=-9.0).astype(np.float32) for a in seen.camera.project(local))
    rim = np.where(sample(seen.outline, u, v) > 1.0, _RIM, np.float32(0.0))
    return np.where(sample(inner, u, v) > 0.99, np.float32(1.0), rim)


def _nearest(seen: Observation, local: Array, tolerance: float) -> NDArray[np.bool_]:
    """Return which points (n, 3) have no other nearer to the camera by some ``tolerance``."""
    cell = max(1.0, np.sqrt(np.count_nonzero(seen.mask)) / _CELLS)
    return in_front(seen.camera, local, cell, 3.0 * tolerance)
