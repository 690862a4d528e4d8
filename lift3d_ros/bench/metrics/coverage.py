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

"""Coverage of the true surface by a prediction: the largest hole."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from lift3d_ros.geometry import Array
from lift3d_ros.geometry import Floats
from lift3d_ros.meshing.solid import Solid

#: A true point is covered within this distance of the predicted surface: the larger of a length
#: in metres, three standard deviations of depth at 0.7 m, and a share of the diameter.
COVERED_M, COVERED_SHARE = 0.003, 0.015

#: A true point is only displaced, not in a hole, where its normal meets the predicted surface
#: within this distance to either side: the larger of a length in metres and a share of the
#: diameter.
DISPLACED_M, DISPLACED_SHARE = 0.010, 0.05

#: Rays into the solid start this far below its surface, metres, so that they do not meet it there.
_BELOW_SURFACE_M = 1e-4

#: Points of a region are neighbours within so many mean spacings: 12 neighbours on average, where
#: regions of random points are connected beyond doubt.
_NEIGHBOUR_SPACINGS = 2.0


def thickness(true: Solid, points: Floats, normals: Floats) -> Array:
    """
    Return the thickness of a solid below points of its surface along their normals, metres (n,).

    It is 0 where the ray leaves a surface that is not closed.
    """
    start = np.asarray(points) - _BELOW_SURFACE_M * np.asarray(normals)
    through, _ = true.cast(start, -np.asarray(normals))
    return np.where(np.isfinite(through), through + _BELOW_SURFACE_M, 0.0)


def largest_hole(
    predicted: Solid, points: Floats, normals: Floats, depth: Floats, area: float, diameter: float
) -> float:
    """
    Return the size of the largest hole of a prediction in metres, 0 without a hole.

    A hole is a connected region of the true surface below which the prediction has no material:
    an opening in a wall, a channel through the object, or a part that is missing. Its points are

    - further from the predicted surface than 3 mm and 1.5 % of the true diameter;
    - outside of the predicted solid: what it buries, such as the inside of a cup, is no hole;
    - not merely displaced: the predicted surface is not met along the normal, neither within 10 mm
      or 5 % of the diameter to either side, nor anywhere in the true material below the point, up
      to that distance from its other side.

    The size is the diameter of the disc of the region's area, one side of a wall. ``points``
    (n, 3) are evenly spread over the true surface of ``area`` square metres, ``normals`` (n, 3)
    are unit, ``depth`` (n,) is the ``thickness`` of the true solid there; ``diameter`` is its
    largest extent in metres.
    """
    near = max(COVERED_M, COVERED_SHARE * diameter)
    lost = predicted.distance(points) > near
    places, directions = np.asarray(points)[lost], np.asarray(normals)[lost]
    limit = max(DISPLACED_M, DISPLACED_SHARE * diameter)
    if len(places):
        inward, outward = (predicted.cast(places, s * directions)[0] for s in (-1.0, 1.0))
        material = np.maximum(limit, np.asarray(depth)[lost] - limit)
        kept = (inward > material) & (outward > limit)
        kept[kept] = ~predicted.contains(places[kept])
        places, directions = places[kept], directions[kept]
    if not len(places):
        return 0.0
    share = area / len(points)
    pairs = cKDTree(places).query_pairs(
        _NEIGHBOUR_SPACINGS * float(np.sqrt(share)), output_type='ndarray')
    # Both sides of a thin wall are two regions.
    agree = np.einsum('ij,ij->i', directions[pairs[:, 0]], directions[pairs[:, 1]]) > 0.0
    pairs = pairs[agree]
    return float(np.sqrt(4.0 / np.pi * share * _largest_region(pairs, len(places))))


def _largest_region(pairs: NDArray[np.intp], count: int) -> int:
    """Return the most points that are connected by ``pairs`` (k, 2), of ``count`` points."""
    graph = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), (count, count))
    return int(np.bincount(connected_components(graph, directed=False)[1]).max())
