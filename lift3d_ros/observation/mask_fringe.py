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

"""Other objects and mixed readings in the fringe of a mask that is some pixels too wide."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.geometry import Camera
from lift3d_ros.segmentation.depth_pieces import DEPTH_STEP

#: Share of a surface that lies in the mask, with less it is no part of the object; share of the
#: mask that its middle has at least, to tell whether the object is flat; and shares of readings in
#: the support plane, in the middle and in all of a thin mask, from which on it is.
_OWN_SHARE, _CORE_SHARE, _FLAT_CORE, _FLAT_THIN = 0.5, 0.15, 0.2, 0.6


def reaching_in(
    labels: NDArray[np.int32],
    measured: NDArray[np.bool_],
    outline: NDArray[np.float32],
    tolerance: float,
) -> NDArray[np.bool_]:
    """
    Return the pixels of surfaces that only reach into the mask, bool (height, width).

    ``labels`` are pieces of what rises from the support plane, 0 = none. The piece with the most
    readings in the mask is the object's; another one that lies for the most part outside is
    something before or beside it, and the mask is some pixels too wide there. One that reaches
    further into the mask than twice the ``tolerance`` of its outline, in pixels, is a part of the
    object that another thing touches. ``outline`` is as for ``at_edges``.
    """
    from scipy import ndimage

    mask = outline > 0.0
    inside = np.bincount(labels[measured], minlength=int(labels.max()) + 1).astype(np.float64)
    within = np.bincount(labels[mask], minlength=len(inside))
    total = np.bincount(labels.ravel(), minlength=len(inside))
    inside[0] = 0.0
    depth = ndimage.maximum(outline, labels, np.arange(len(inside)))
    reaching = (within < _OWN_SHARE * total) & (depth < 2.0 * tolerance)
    reaching[[0, int(np.argmax(inside))]] = False
    return np.asarray(reaching[labels])


def at_edges(
    outline: NDArray[np.float32],
    measured: NDArray[np.bool_],
    readings: NDArray[np.float32],
    camera: Camera,
    tolerance: float,
) -> NDArray[np.bool_]:
    """
    Return the readings near the outline of a mask that are not on a surface with its inside.

    Depth cameras blend both sides of an edge into points between them, and a mask that is some
    pixels too wide includes these points. A reading within ``tolerance`` pixels of the outline is
    compared with the nearest one further inside; without a near one, it is kept. The ``outline``
    is the distance to that of the mask in pixels, positive inside.
    """
    from scipy import ndimage

    inside = measured & (outline > tolerance + 0.5)
    if not inside.any():
        return np.zeros(measured.shape, bool)
    away, (rows, columns) = ndimage.distance_transform_edt(~inside, return_indices=True)
    step = np.abs(readings - readings[rows, columns])
    band = measured & (outline <= tolerance + 0.5) & (away < 2.0 * tolerance + 1.5)
    # The rim of a ball falls off by so much over the width of the band.
    radius = float(outline.max())
    rim = np.sqrt(2.0 * radius * (tolerance + 1.5)) / camera.fx
    return np.asarray(band & (step > max(DEPTH_STEP, rim) * readings))


def is_flat(
    mask: NDArray[np.bool_],
    outline: NDArray[np.float32],
    height: NDArray[np.float64],
    tolerance: float,
    reach: float,
) -> bool:
    """
    Return whether an object is as flat as the noise of the plane that it lies on.

    Its middle tells, where it has one: all around a thin object a mask that is some pixels too
    wide shows the plane.
    """
    core = mask & (outline >= reach) & np.isfinite(height)
    if np.count_nonzero(core) > _CORE_SHARE * np.count_nonzero(mask):
        return bool((height[core] < tolerance).mean() > _FLAT_CORE)
    known = mask & np.isfinite(height)
    return bool(known.any() and (height[known] < tolerance).mean() > _FLAT_THIN)
