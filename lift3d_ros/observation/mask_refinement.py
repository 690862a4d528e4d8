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

"""Refine the mask of a detector, which is some pixels off or misses a part, by the depth."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.geometry import Camera
from lift3d_ros.observation.cleaning import assemble
from lift3d_ros.observation.cleaning import MIN_READINGS
from lift3d_ros.observation.cleaning import outline_distance
from lift3d_ros.observation.object_observation import ObjectObservation
from lift3d_ros.observation.occluders import find_unmeasured_occluders
from lift3d_ros.observation.support import Support
from lift3d_ros.segmentation.depth_pieces import depth_pieces
from lift3d_ros.segmentation.depth_pieces import DEPTH_STEP

#: Largest error of the outline of a detector's mask, as a share of the root of its area.
MAX_MASK_ERROR = 0.08

#: Width of the band around a mask in which pixels may be added, in tolerances of its outline.
#: Further out the depth is not registered to the image, or another object touches this one.
ADDED_BAND_TOLERANCES = 1.5

#: Height of an occluder above the support plane, in tolerances of the plane.
OCCLUDER_HEIGHT_TOLERANCES = 2.0

#: Smallest share inside the mask of a surface that is part of the object.
MIN_INSIDE_SHARE = 0.5

#: Smallest share of the mask that its core has if the core can tell whether the object is flat.
MIN_CORE_SHARE = 0.15

#: Shares of the readings in the support plane, in the core of a mask and in a thin mask without a
#: core, above which the object is as flat as the plane's noise.
FLAT_CORE_SHARE, FLAT_MASK_SHARE = 0.2, 0.6


def refine_mask(
    observation: ObjectObservation, support: Support, wide: bool = True
) -> ObjectObservation:
    """
    Return an observation whose mask follows the depth in a narrow band around its outline.

    Adds surface that rises from the support plane and continues the object's without a step, and
    removes what lies in the plane. Without a plane, only drops readings at the outline that are on
    no surface of the object. Without depth, returns the observation unchanged.

    All that may hide a part of the object becomes an occluder; unless ``wide``, only what lies
    within the convex hull of the mask, for methods that cannot predict surface beyond it.
    """
    if observation.depth is None:
        return observation
    mask, measured = observation.mask, observation.measured
    camera, image, tolerance = observation.camera, observation.image, observation.tolerance
    readings = np.where(measured, observation.depth, observation.surroundings)
    outline = outline_distance(mask)
    if support.offset is None:
        kept = measured & ~_mixed_readings(outline, measured, readings, camera, tolerance)
        if np.count_nonzero(kept) < MIN_READINGS:
            kept = measured
        return assemble(camera, image, mask, readings, kept, tolerance)
    v, u = np.nonzero(readings)
    height = np.full(mask.shape, np.inf)
    height[v, u] = support.height(camera.unproject(u, v, readings[v, u]))
    plane_tolerance = max(4.0 * support.stddev, 0.005)
    raised = height > plane_tolerance
    labels, _ = depth_pieces(np.where(raised, readings, np.float32(0.0)))
    foreign = mask & _reaching_in(labels, mask & measured, outline, tolerance)
    on_object = np.isin(labels, np.unique(labels[measured & mask & ~foreign])) & (labels > 0)
    added = ~mask & on_object & (outline > -ADDED_BAND_TOLERANCES * tolerance)
    reach = MAX_MASK_ERROR * float(np.sqrt(np.count_nonzero(mask)))
    in_plane = mask & (height < plane_tolerance) & (outline < reach)
    if _is_flat(mask, outline, height, plane_tolerance, reach):
        # For an object as flat as the noise, the mask is more exact than the depth.
        in_plane[:] = False
    refined = (mask | added) & ~in_plane & ~foreign
    valid_readings = (measured | added) & refined
    mixed = _mixed_readings(outline_distance(refined), valid_readings, readings, camera, tolerance)
    if np.count_nonzero(valid_readings & ~mixed) >= MIN_READINGS:
        valid_readings &= ~mixed
        refined &= ~(mixed & added)
    unmeasured = None
    if wide:
        unmeasured = find_unmeasured_occluders(
            observation, refined, readings, support, plane_tolerance
        )
    high = (height > OCCLUDER_HEIGHT_TOLERANCES * plane_tolerance) & np.isfinite(height)
    return assemble(
        camera,
        image,
        refined,
        readings,
        valid_readings,
        tolerance,
        (raised, high) if wide else None,
        unmeasured,
    )


def _reaching_in(
    labels: NDArray[np.int32],
    measured: NDArray[np.bool_],
    outline: NDArray[np.float32],
    tolerance: float,
) -> NDArray[np.bool_]:
    """
    Return the pixels of foreign surfaces that only reach into the mask, bool (height, width).

    ``labels`` are pieces that rise from the support plane, 0 = none. The piece with the most
    readings in the mask is the object's. Another piece that lies mostly outside of the mask is a
    different object, and the mask is some pixels too wide there. A piece that reaches into the
    mask by more than twice the ``tolerance`` of its outline, in pixels, is a part of the object
    that touches a different one. ``outline`` is as in ``ObjectObservation``.
    """
    from scipy import ndimage

    mask = outline > 0.0
    inside = np.bincount(labels[measured], minlength=int(labels.max()) + 1).astype(np.float64)
    within = np.bincount(labels[mask], minlength=len(inside))
    total = np.bincount(labels.ravel(), minlength=len(inside))
    inside[0] = 0.0
    depth = ndimage.maximum(outline, labels, np.arange(len(inside)))
    reaching = (within < MIN_INSIDE_SHARE * total) & (depth < 2.0 * tolerance)
    reaching[[0, int(np.argmax(inside))]] = False
    return np.asarray(reaching[labels])


def _mixed_readings(
    outline: NDArray[np.float32],
    measured: NDArray[np.bool_],
    readings: NDArray[np.float32],
    camera: Camera,
    tolerance: float,
) -> NDArray[np.bool_]:
    """
    Return the readings near the outline of a mask that are not on a surface with its inside.

    Depth cameras blend both sides of an edge into points between them, and a mask that is some
    pixels too wide includes these points. Compares a reading within ``tolerance`` pixels of the
    outline with the nearest one further inside; keeps it if there is none nearby. ``outline`` is
    as in ``ObjectObservation``.
    """
    from scipy import ndimage

    inside = measured & (outline > tolerance + 0.5)
    if not inside.any():
        return np.zeros(measured.shape, bool)
    away, (rows, columns) = ndimage.distance_transform_edt(~inside, return_indices=True)
    step = np.abs(readings - readings[rows, columns])
    band = measured & (outline <= tolerance + 0.5) & (away < 2.0 * tolerance + 1.5)
    # The depth of a sphere changes by this much across the band at its rim.
    radius = float(outline.max())
    rim = np.sqrt(2.0 * radius * (tolerance + 1.5)) / camera.fx
    return np.asarray(band & (step > max(DEPTH_STEP, rim) * readings))


def _is_flat(
    mask: NDArray[np.bool_],
    outline: NDArray[np.float32],
    height: NDArray[np.float64],
    tolerance: float,
    reach: float,
) -> bool:
    """
    Return whether an object is as flat as the noise of the plane that it lies on.

    Decided on the core of the mask if there is one: around a thin object, a mask that is some
    pixels too wide shows the plane.
    """
    core = mask & (outline >= reach) & np.isfinite(height)
    if np.count_nonzero(core) > MIN_CORE_SHARE * np.count_nonzero(mask):
        return bool((height[core] < tolerance).mean() > FLAT_CORE_SHARE)
    measured = mask & np.isfinite(height)
    return bool(measured.any() and (height[measured] < tolerance).mean() > FLAT_MASK_SHARE)
