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

from lift3d_ros.cameras.depth_noise import depth_stddev
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry.frame import crop_object
from lift3d_ros.geometry.frame import ObjectView
from lift3d_ros.geometry.shape import HELD
from lift3d_ros.observation.labels.evidence import Evidence
from lift3d_ros.observation.labels.pixel_labels import estimate_labels
from lift3d_ros.observation.object_observation import Label
from lift3d_ros.observation.object_observation import mask_tolerance
from lift3d_ros.observation.object_observation import ObjectObservation
from lift3d_ros.observation.object_observation import outline_distance
from lift3d_ros.observation.support import Support
from lift3d_ros.segmentation.depth_pieces import DEPTH_STEP
from lift3d_ros.segmentation.depth_pieces import nearest
from lift3d_ros.segmentation.distance import distance_to_false
from lift3d_ros.segmentation.membrane import membrane

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

# Strength of a reading in the continuation of the depth, against 1 between neighbours.
MEASURED_STRENGTH = 100.0

# Width from which a gap of the depth is continued smoothly.
WIDE_PIXELS = 7


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
            sigma=np.full(mask.shape, np.inf, np.float32),
            tolerance=tolerance,
            label=np.where(mask, Label.OBJECT, Label.UNKNOWN).astype(np.uint8),
            probability=np.ones(mask.shape, np.float32),
            readings=np.zeros(mask.shape, np.float32),
            detection=mask,
        )
    raw = np.nan_to_num(view.frame.depth[cut], posinf=0.0, neginf=0.0)
    _check_readings(raw[mask])
    depth = np.where((raw > DEPTH_RANGE[0]) & (raw < DEPTH_RANGE[1]), raw, np.float32(0.0))
    readings = _drop_flying_pixels(depth)
    evidence = Evidence(camera, image, mask, tolerance, readings)
    return label_pixels(evidence, depth_stddev(readings, image))


def refine_mask(
    observation: ObjectObservation, support: Support, wide: bool = True
) -> ObjectObservation:
    """
    Return an observation with the labels that the support plane allows.

    Without depth, returns the observation unchanged. Unless ``wide``, only occluders within the
    convex hull of the mask count, for methods that cannot predict surface beyond it.
    """
    if observation.depth is None:
        return observation
    evidence = Evidence(
        observation.camera,
        observation.image,
        observation.detection,
        observation.tolerance,
        observation.readings,
        support,
    )
    # What holds an object covers a part of it; it does not hide where the object ends.
    return label_pixels(evidence, observation.sigma, wide and support.state != HELD)


def with_occluder_depth(view: ObjectView, observation: ObjectObservation) -> ObjectView:
    """
    Return a view with depth at occluders that have no readings.

    The depth is in front of the whole object, so that networks do not take the pixels for free
    space. ``observation`` is that of the view.
    """
    hiding = observation.occluder & (observation.surroundings == 0.0)
    if view.frame.depth is None or observation.depth is None or not hiding.any():
        return view
    rows, columns = _window_of(observation, view)
    fine = np.repeat(np.repeat(hiding, rows.step, axis=0), columns.step, axis=1)
    depth = view.frame.depth.copy()
    part = depth[rows.start : rows.stop, columns.start : columns.stop]
    hidden = fine[: part.shape[0], : part.shape[1]] & ~(np.nan_to_num(part) > 0.0)
    part[hidden] = UNMEASURED_DISTANCE * float(observation.depth[observation.measured].min())
    return replace(view, frame=replace(view.frame, depth=depth))


def with_refined_mask(view: ObjectView, observation: ObjectObservation) -> ObjectView:
    """
    Return a view with the mask of its observation, which is unchanged without depth.

    The networks were trained with masks of which most are exact.
    """
    if observation.depth is None:
        return view
    rows, columns = _window_of(observation, view)
    mask = np.zeros_like(view.mask)
    part = mask[rows.start : rows.stop, columns.start : columns.stop]
    # The window has every rows.step-th pixel; between them the outline is straight.
    step = float(rows.step)
    fine = cv2.warpAffine(
        observation.mask.astype(np.float32),
        np.array([[step, 0.0, 0.0], [0.0, step, 0.0]]),
        (part.shape[1], part.shape[0]),
        borderMode=cv2.BORDER_REPLICATE,
    )
    part[:] = fine > 0.5
    try:
        refined = crop_object(view.frame, mask)
    except LiftError:
        # A mask that is too small for the networks' pictures.
        return view
    return replace(refined, truncated=view.truncated)


def _window_of(observation: ObjectObservation, view: ObjectView) -> tuple[slice, slice]:
    """Return the rows and columns of the frame that an observation of a view shows."""
    camera, frame = observation.camera, view.frame.camera
    stride = round(frame.fx / camera.fx)
    left, top = round(frame.cx - stride * camera.cx), round(frame.cy - stride * camera.cy)
    return (
        slice(top, min(top + stride * camera.height, frame.height), stride),
        slice(left, min(left + stride * camera.width, frame.width), stride),
    )


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
    distance = distance_to_false(~measured)
    reach = MAX_CONTINUED_SHARE * float(np.sqrt(np.count_nonzero(mask)))
    hole = mask & ~observation.occluder & (distance > max(MAX_CONTINUED_PIXELS, reach))
    near = np.float32(UNMEASURED_DISTANCE) * observation.depth[measured].min()
    # Beside a reading it is that reading: a mean of several may be in front of what another view
    # measured.
    _, rows, columns = nearest(measured)
    own = mask & ~observation.occluder
    filled = np.where(own, observation.depth[rows, columns], observation.depth)
    return replace(observation, depth=np.where(hole, near, filled))


def _margin(view: ObjectView) -> int:
    """Return the margin of the window around the object, pixels."""
    return int(np.ceil(WINDOW_MARGIN * view.longer_side())) + 4


def label_pixels(
    evidence: Evidence, sigma: NDArray[np.float32], wide: bool = True
) -> ObjectObservation:
    """
    Return the observation of a window.

    ``sigma`` is the standard deviation of its readings, metres. Unless ``wide``, only occluders
    within the convex hull of the mask count. Raises ``LiftError(NO_DEPTH_IN_MASK)`` if too few
    readings are of the object.
    """
    labels = estimate_labels(evidence, wide)
    measured, mask, readings = labels.measured, labels.mask, evidence.readings
    if np.count_nonzero(measured) < MIN_READINGS:
        raise LiftError(
            ErrorCode.NO_DEPTH_IN_MASK,
            f'Only {np.count_nonzero(measured)} depth readings in the mask belong to one surface; '
            f'{MIN_READINGS} are needed. Check that the mask shows one object, and that the depth '
            'is registered to the image; leave the depth out if the object is transparent or '
            'mirror-like.',
        )
    _, rows, columns = nearest(measured)
    known = _smooth(readings[rows, columns], readings[measured])[rows, columns]
    filled = _continue(known, measured, mask)
    surroundings = np.where(mask, np.float32(0.0), readings)
    occluder = labels.occluder
    return ObjectObservation(
        camera=evidence.camera,
        image=evidence.image,
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
        thickness=_thickness(mask, filled, evidence.camera),
        sigma=sigma,
        tolerance=evidence.tolerance,
        label=labels.label,
        probability=labels.probability,
        readings=readings,
        detection=evidence.mask,
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


def _smooth(filled: NDArray[np.float32], measured: NDArray[np.float32]) -> NDArray[np.float32]:
    """
    Filter the sensor's noise without blurring the steps (Tomasi and Manduchi, 1998).

    ``filled`` is depth at every pixel, ``measured`` (n,) are the readings in it, metres.
    """
    return cv2.bilateralFilter(filled, 7, 0.3 * DEPTH_STEP * float(np.median(measured)), 2.0)


def _continue(
    known: NDArray[np.float32], measured: NDArray[np.bool_], mask: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """
    Continue the measured depth in the mask harmonically in inverse depth.

    Planes are linear there. ``known`` is the depth at every pixel, that of the nearest reading
    where there is none. In narrow gaps it stays: they are at steps of the depth, where one side is
    right and the mean of both is not.
    """
    hole = (mask & ~measured).astype(np.uint8)
    wide = cv2.morphologyEx(hole, cv2.MORPH_OPEN, np.ones((WIDE_PIXELS,) * 2, np.uint8))
    missing = (cv2.dilate(wide, np.ones((WIDE_PIXELS,) * 2, np.uint8)) & hole) > 0
    if not missing.any():
        return known
    rows, columns = np.nonzero(mask)
    part = np.s_[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    # The membrane is cut along the outline.
    inside = mask[part].astype(np.float32)
    right, down = inside.copy(), inside.copy()
    right[:, :-1] *= inside[:, 1:]
    down[:-1] *= inside[1:]
    inverse = membrane(
        np.float32(1.0) / known[part],
        np.float32(MEASURED_STRENGTH) * measured[part].astype(np.float32),
        right,
        down,
    )
    result = known.copy()
    result[part] = np.where(missing[part], np.float32(1.0) / inverse, known[part])
    return result


def _thickness(
    mask: NDArray[np.bool_], depth: NDArray[np.float32], camera: Camera
) -> NDArray[np.float32]:
    """
    Return the thickness at each pixel of round cross-sections that fill the outline, metres.

    It is the chord of the largest disc inside the outline that covers the pixel. Steps in the
    depth are outlines too, so that a handle in front of a body has the handle's thickness.
    """
    step = cv2.dilate(depth, np.ones((3, 3), np.uint8)) - depth > DEPTH_STEP * depth
    distance = distance_to_false(mask & ~step)
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
