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

"""Clean the depth of a masked frame: one object, in a window of bounded size."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry.frame import ObjectView
from lift3d_ros.observation.object_observation import mask_tolerance
from lift3d_ros.observation.object_observation import ObjectObservation
from lift3d_ros.observation.occluders import find_occluders
from lift3d_ros.segmentation.depth_pieces import depth_pieces
from lift3d_ros.segmentation.depth_pieces import DEPTH_STEP

#: Range of the depth of objects that a robot can reach, metres.
DEPTH_RANGE = (0.05, 10.0)

#: Longer side of the object in its window, pixels at most.
WINDOW_SIDE = 400

#: Margin of the window around the object's bounding box, as a share of its longer side. It shows
#: the support plane.
WINDOW_MARGIN = 0.5

#: Distance from a reading up to which depth is continued from it where other views may have
#: measured: pixels, and share of the root of the mask's area; the larger one.
MAX_CONTINUED_PIXELS, MAX_CONTINUED_SHARE = 4.0, 0.05

#: Assumed distance of an occluder without readings, and of surface too near for readings, over the
#: smallest distance that was measured on the object.
UNMEASURED_DISTANCE = 0.8

#: Readings of the object that its surface can be estimated from.
MIN_READINGS = 30


def observe(view: ObjectView) -> ObjectObservation:
    """
    Return the cleaned observation of a view.

    Raises ``LiftError(NO_DEPTH_IN_MASK)`` for a depth image without usable readings of the object.
    """
    cut, camera = view.window(WINDOW_SIDE, _margin(view))
    mask = np.ascontiguousarray(view.mask[cut])
    image = np.ascontiguousarray(view.frame.image[cut])
    tolerance = mask_tolerance(view.frame.camera, cut[0].step)
    if view.frame.depth is None:
        none = np.zeros(mask.shape, bool)
        return ObjectObservation(
            camera=camera,
            image=image,
            mask=mask,
            occluder=none,
            depth=None,
            measured=none,
            surroundings=np.zeros(mask.shape, np.float32),
            outline=outline_distance(mask),
            thickness=np.zeros(mask.shape, np.float32),
            tolerance=tolerance,
        )
    raw = np.nan_to_num(view.frame.depth[cut], posinf=0.0, neginf=0.0)
    _check_readings(raw[mask])
    depth = np.where((raw > DEPTH_RANGE[0]) & (raw < DEPTH_RANGE[1]), raw, np.float32(0.0))
    steady = _drop_flying_pixels(depth)
    measured, past = _object_segments(steady * mask, camera)
    if np.count_nonzero(measured) < MIN_READINGS:
        raise LiftError(
            ErrorCode.NO_DEPTH_IN_MASK,
            f'Only {np.count_nonzero(measured)} depth readings in the mask belong to one surface; '
            f'{MIN_READINGS} are needed. Check that the depth is registered to the image; leave '
            'the depth out if the object is transparent or mirror-like.',
        )
    return assemble(camera, image, mask & ~past, steady, measured, tolerance)


def with_occluder_depth(view: ObjectView, observation: ObjectObservation) -> ObjectView:
    """
    Return a view with depth at occluders that have no readings.

    The depth is in front of the whole object, so that networks do not take the pixels for free
    space. ``observation`` is that of the view.
    """
    hiding = observation.occluder & (observation.surroundings == 0.0)
    if view.frame.depth is None or observation.depth is None or not hiding.any():
        return view
    (rows, columns), _ = view.window(WINDOW_SIDE, _margin(view))
    fine = np.repeat(np.repeat(hiding, rows.step, axis=0), columns.step, axis=1)
    depth = view.frame.depth.copy()
    part = depth[rows.start : rows.stop, columns.start : columns.stop]
    hidden = fine[: part.shape[0], : part.shape[1]] & ~(np.nan_to_num(part) > 0.0)
    part[hidden] = UNMEASURED_DISTANCE * float(observation.depth[observation.measured].min())
    return replace(view, frame=replace(view.frame, depth=depth))


def with_holes_open(observation: ObjectObservation) -> ObjectObservation:
    """
    Return an observation without bounds on the object's depth far from any reading.

    Where the surface is too dark, too bright or too near, depth is continued from the nearest
    reading: a good estimate for a single view, but inconsistent with another view that measured
    there.
    """
    if observation.depth is None:
        return observation
    mask, measured = observation.mask, observation.measured
    distance = cv2.distanceTransform(
        (~measured).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE
    )
    reach = MAX_CONTINUED_SHARE * float(np.sqrt(np.count_nonzero(mask)))
    hole = mask & ~observation.occluder & (distance > max(MAX_CONTINUED_PIXELS, reach))
    near = np.float32(UNMEASURED_DISTANCE) * observation.depth[measured].min()
    return replace(observation, depth=np.where(hole, near, observation.depth))


def _margin(view: ObjectView) -> int:
    """Return the margin of the window around the object, pixels."""
    return int(np.ceil(WINDOW_MARGIN * view.longer_side())) + 4


def assemble(
    camera: Camera,
    image: NDArray[np.uint8],
    mask: NDArray[np.bool_],
    readings: NDArray[np.float32],
    measured: NDArray[np.bool_],
    tolerance: float,
    raised: tuple[NDArray[np.bool_], NDArray[np.bool_]] | None = None,
    unmeasured: NDArray[np.bool_] | None = None,
) -> ObjectObservation:
    """
    Return the observation of readings (height, width) in metres, 0 = none, with a mask.

    ``tolerance`` is that of the mask's outline in pixels. ``raised`` are two images: surface above
    the support plane, and surface high enough to be an occluder; ``unmeasured`` are occluders
    without readings. Both are None if unknown. Raises ``LiftError(NO_DEPTH_IN_MASK)`` if nothing
    is ``measured``.
    """
    if not measured.any():
        raise LiftError(
            ErrorCode.NO_DEPTH_IN_MASK,
            'No depth reading in the mask belongs to the object; check that the mask shows one '
            'object, and that the depth is registered to the image.',
        )
    filled = _fill(_smooth(readings, measured), measured)
    surroundings = np.where(mask, np.float32(0.0), readings)
    occluder = find_occluders(mask, filled, surroundings, raised)
    if unmeasured is not None:
        occluder |= unmeasured
    return ObjectObservation(
        camera=camera,
        image=image,
        mask=mask,
        occluder=occluder,
        # Hidden surface may be as near as the occluder, or as the rest of the object.
        depth=np.where(
            occluder,
            np.where(surroundings > 0.0, surroundings, np.minimum(filled, filled[measured].min())),
            filled,
        ),
        measured=measured,
        surroundings=surroundings,
        outline=outline_distance(mask | occluder),
        thickness=_thickness(mask, filled, camera),
        tolerance=tolerance,
    )


def _check_readings(readings: NDArray[np.float32]) -> None:
    """Raise ``NO_DEPTH_IN_MASK`` for too few readings (n,), and for those not in metres."""
    present = readings[readings > 0.0]
    if len(present) < MIN_READINGS:
        raise LiftError(
            ErrorCode.NO_DEPTH_IN_MASK,
            f'The depth image has {len(present)} readings inside the mask; {MIN_READINGS} are '
            'needed. Check that it is registered to the image, or leave the depth out to lift '
            'from the image alone, without scale.',
        )
    middle = float(np.median(present))
    if not DEPTH_RANGE[0] < middle < DEPTH_RANGE[1]:
        raise LiftError(
            ErrorCode.NO_DEPTH_IN_MASK,
            f'The median depth inside the mask is {middle:g} m, outside {DEPTH_RANGE[0]} m to '
            f'{DEPTH_RANGE[1]} m: the unit seems to be wrong. 32-bit float depth is in metres, '
            '16-bit depth in millimetres; for another unit set depth_unit.',
        )


def _drop_flying_pixels(depth: NDArray[np.float32]) -> NDArray[np.float32]:
    """
    Return depth without readings that few of their neighbours share a surface with.

    Depth cameras blend the two surfaces at an edge into points between them.
    """
    padded = np.pad(depth, 1)
    near = np.zeros(depth.shape, np.uint8)
    for dv in range(3):
        for du in range(3):
            other = padded[dv : dv + depth.shape[0], du : du + depth.shape[1]]
            near += np.abs(other - depth) < 0.6 * DEPTH_STEP * depth
    # The pixel itself is one of the nine; on the straight edge of a surface five more are near.
    return np.where(near >= 5, depth, np.float32(0.0))


def _object_segments(
    depth: NDArray[np.float32], camera: Camera
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """
    Return which readings inside the mask are on the object, and which are on its background.

    ``depth`` is 0 outside the mask. Divides the readings into segments at steps of the depth.
    Those within the size of the object around the largest one are on the object; those behind are
    on the background, where the mask is too wide.
    """
    from scipy import ndimage
    from scipy.spatial import cKDTree

    valid = depth > 0.0
    labels, count = depth_pieces(depth)
    if count == 0:
        return valid, np.zeros_like(valid)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    sizes[0] = 0
    main = int(np.argmax(sizes))
    middle = float(np.median(depth[labels == main]))
    v, u = np.nonzero(valid)
    extent = max(np.ptp(u) / camera.fx, np.ptp(v) / camera.fy) * middle
    near, far = np.percentile(depth[labels == main], (1.0, 99.0))
    means = ndimage.mean(depth, labels, np.arange(count + 1))
    behind = means > far + 0.7 * extent
    keep = (sizes >= max(8, 0.004 * sizes.sum())) & (means > near - extent) & ~behind
    behind[0] = keep[0] = False
    kept = keep[labels] & valid
    # Outliers are far from their neighbours in space. A surface at 80 degrees to the line of
    # sight is six times sparser than one at a right angle.
    v, u = np.nonzero(kept)
    if len(u) > 50:
        points = camera.unproject(u, v, depth[v, u])
        step = max(1, len(points) // 4000)
        distance = cKDTree(points[::step]).query(points, k=8)[0].mean(axis=1)
        loose = distance > 8.0 * np.median(distance)
        kept[v[loose], u[loose]] = False
    return kept, behind[labels] & valid


def _smooth(depth: NDArray[np.float32], measured: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Filter the sensor's noise without blurring the steps (Tomasi and Manduchi, 1998)."""
    filled = _fill(depth, measured)
    middle = float(np.median(depth[measured]))
    return cv2.bilateralFilter(filled, 7, 0.3 * DEPTH_STEP * middle, 2.0)


def _fill(depth: NDArray[np.float32], measured: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Continue the measured depth to every pixel from the nearest reading."""
    from scipy import ndimage

    rows, columns = ndimage.distance_transform_edt(
        ~measured, return_distances=False, return_indices=True
    )
    return np.ascontiguousarray(depth[rows, columns])


def outline_distance(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the distance to the outline in pixels, positive inside the mask."""
    inside = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    outside = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    # Without an outline the distances are unbounded.
    far = np.float32(np.hypot(mask.shape[0], mask.shape[1]))
    inside, outside = np.minimum(inside, far), np.minimum(outside, far)
    # The outline runs between the pixels, half a pixel from the centres on both sides.
    return np.where(mask, inside - 0.5, 0.5 - outside).astype(np.float32)


def _thickness(
    mask: NDArray[np.bool_], depth: NDArray[np.float32], camera: Camera
) -> NDArray[np.float32]:
    """
    Return the thickness at each pixel of round cross-sections that fill the outline, metres.

    It is the chord of the largest disc inside the outline that covers the pixel. Steps in the
    depth are outlines too, so that a handle in front of a body has the handle's thickness.
    """
    step = cv2.dilate(depth, np.ones((3, 3), np.uint8)) - depth > DEPTH_STEP * depth
    inner = (mask & ~step).astype(np.uint8)
    distance = cv2.distanceTransform(inner, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    # A mask that fills the image has no outline, and the distance is unbounded.
    distance = np.minimum(distance, np.float32(np.hypot(mask.shape[0], mask.shape[1])))
    ridge = (distance > 0.0) & (distance >= cv2.dilate(distance, np.ones((3, 3), np.uint8)))
    rows, columns = np.nonzero(ridge)
    # Larger discs are painted over smaller ones; at most 2,000 are enough.
    order = np.argsort(distance[rows, columns], kind='stable')
    order = order[:: -(-len(order) // 2000)] if len(order) else order
    radius = np.zeros_like(distance)
    for v, u in zip(rows[order].tolist(), columns[order].tolist(), strict=True):
        r = float(distance[v, u])
        cv2.circle(radius, (u, v), int(np.ceil(r)), r, -1)
    radius = np.maximum(radius, distance)
    chord = 2.0 * np.sqrt(np.maximum(radius**2 - (radius - distance) ** 2, 0.0))
    return (chord * depth / np.float32(camera.fx)).astype(np.float32)
