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

"""Interpretation of depth images: units, invalid readings, plausible values."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.errors import bad_image
from lift3d_ros.errors import bad_request

#: Default metres per count of integer depth images (REP 118).
MILLIMETRE = 0.001

#: Range of the unit of integer depth images, metres per count.
UNIT_RANGE = (1e-6, 1.0)

#: Range of the depth of graspable objects, metres.
_PLAUSIBLE_DEPTH_M = (0.02, 50.0)

#: Some sensors report their maximum for missing readings. A gap below that value distinguishes it
#: from a far wall: at least so many pixels have exactly this value, ten times as many as between
#: the gap share of it and itself, and it is far beyond the median of all other readings.
_MIN_SATURATED_PIXELS = 32
_SATURATION_GAP = 0.7
_SATURATION_EXCESS = 10
_SATURATION_DISTANCE = 1.5

#: Readings needed to decide whether they are whole millimetres, and the median distance from whole
#: millimetres above which they are not; it is 0.25 for arbitrary values.
_MIN_FRACTION_READINGS, _MIN_FRACTION_COUNTS = 100, 0.1

#: Plausible longest side of an object and distance of its nearest point, metres. Beyond the
#: far distance the limit of the side is smaller.
_MAX_SIDE_M = 1.5
_MIN_DISTANCE_M = 0.05
_MAX_FAR_SIDE_M = 0.4
_FAR_DISTANCE_M = 2.0


def check_unit(unit: Any, where: str) -> float:
    """Return a depth unit in metres; raises ``LiftError(BAD_REQUEST)`` for an invalid one."""
    low, high = UNIT_RANGE
    is_number = isinstance(unit, (int, float)) and not isinstance(unit, bool)
    # The bounds also refuse NaN, and integers that do not fit into a float.
    if not is_number or not low <= unit <= high:
        raise bad_request(
            f'{where} is {unit!r}; it must be the metres per count of an integer depth image, '
            f'{low:g} to {high:g}: 0.001 for millimetres.')
    return float(unit)


def metres(raw: NDArray[Any], unit: float, what: str) -> NDArray[np.float32]:
    """
    Return depth in metres, float32 of shape (height, width), 0 or NaN = no reading.

    Floats are metres, and float32 arrays are not copied; integers of 16 and 32 bits count ``unit``
    metres. The largest value of an integer type is not a reading, nor is the value at which a
    sensor saturates (``without_saturation``). Raises ``LiftError(BAD_IMAGE)`` for another type.
    """
    if raw.ndim == 2 and raw.dtype.kind == 'f':
        return without_saturation(raw.astype(np.float32, copy=False))
    if raw.ndim == 2 and raw.dtype.kind in 'iu' and raw.dtype.itemsize > 1:
        if raw.dtype.itemsize == 2:
            depth = raw.astype(np.float32)
            depth *= np.float32(unit)
        else:
            depth = (raw * np.float32(unit)).astype(np.float32, copy=False)
        if raw.dtype.kind == 'i':
            depth[raw <= 0] = 0.0
        top = int(raw.max(initial=0))
        if top == np.iinfo(raw.dtype).max:
            depth[raw == top] = 0.0
        elif raw.dtype == np.uint16:
            far_end = float(np.float32(top) * np.float32(unit)) == 1.0
            if top > 0 and not far_end and _is_saturated(raw, top):
                depth[raw == top] = 0.0
            return depth
        return without_saturation(depth)
    raise bad_image(
        f'{what} has type {raw.dtype} and shape {raw.shape}; it must have one channel: 16-bit '
        'integers in millimetres or in depth_unit (16UC1), or floats in metres (32FC1).')


def without_saturation(depth: NDArray[np.float32]) -> NDArray[np.float32]:
    """
    Return depth with 0 where a sensor reported its largest value instead of a reading.

    Returns the given array itself if there is no such value.
    """
    top = largest_reading(depth)
    # 1 is the far end of a z-buffer and of normalised depth, not of a sensor.
    if top <= 0.0 or top == 1.0 or not _is_saturated(depth, top):
        return depth
    return np.where(depth == np.float32(top), np.float32(0.0), depth)


def _is_saturated(values: NDArray[Any], top: float) -> bool:
    """
    Return whether the largest of some ``values`` is none of the readings, but stands for none.

    ``values`` are float32, or integers, which take a third of the time; ``top`` is the largest
    finite one.
    """
    infinite = 0
    if values.dtype.kind == 'f':
        infinite = int(np.count_nonzero(values > values.dtype.type(top)))

    def count(limit: float, strictly: bool = False) -> int:
        """Return the number of finite values from a limit on, or strictly above it."""
        if values.dtype.kind == 'f':
            bound = np.float32(limit)
            found = values > bound if strictly else values >= bound
        else:
            found = values >= (math.floor(limit) + 1 if strictly else math.ceil(limit))
        return int(np.count_nonzero(found)) - infinite

    saturated = count(top)
    if saturated < _MIN_SATURATED_PIXELS:
        return False
    if _SATURATION_EXCESS * (count(_SATURATION_GAP * top) - saturated) > saturated:
        return False
    # The median of the others, by counting.
    far = count(top / _SATURATION_DISTANCE, strictly=True) - saturated
    near = count(0.0, strictly=True) - saturated - far
    return near > 0 and near >= far


def largest_reading(depth: NDArray[np.float32]) -> float:
    """Return the largest finite depth, 0 without readings."""
    # Ignores NaN, and takes a tenth of the time of a reduction with ``where``.
    top = float(np.fmax.reduce(depth, axis=None, initial=0.0))
    return top if np.isfinite(top) else float(
        depth.max(where=np.isfinite(depth) & (depth > 0.0), initial=0.0))


def check_depth_of_object(depth: NDArray[np.float32], mask: NDArray[np.bool_]) -> None:
    """
    Raise ``LiftError(BAD_IMAGE)`` if the unit of the depth is wrong.

    That is the case if the median depth of the object is implausible. Depth without any reading
    passes; the method handles it.
    """
    values = depth[mask]
    values = values[np.isfinite(values) & (values > 0.0)]
    if not len(values):
        return
    median = float(np.median(values))
    low, high = _PLAUSIBLE_DEPTH_M
    if not low <= median <= high:
        raise bad_image(
            f'The depth of the object is {median:.4g} m, which is outside the range of depth '
            'cameras: the unit is wrong. Floats are in metres and integers in millimetres; for '
            'another unit set depth_unit (a parameter of the node, and an entry of camera.json).')


def normalised_note(depth: NDArray[np.float32]) -> str | None:
    """
    Return a note if depth seems to be normalised by its largest value, or to be a z-buffer.

    Its largest value is then exactly 1. Depth in whole millimetres that was clipped at 1 m gives
    no note.
    """
    if largest_reading(depth) != 1.0:
        return None
    counts = depth[(depth > 0.0) & (depth < 1.0)].astype(np.float64) / MILLIMETRE
    fractions = np.abs(counts - np.rint(counts))
    if len(counts) < _MIN_FRACTION_READINGS or np.median(fractions) < _MIN_FRACTION_COUNTS:
        return None
    return (
        'The largest depth is exactly 1: depth that is normalised to 0 to 1, or the z-buffer of '
        'a renderer, has no metric scale. Give depth in metres, or no depth.'
    )


def size_note(longest_side: float, nearest: float) -> str | None:
    """
    Return a note if the size and distance of an object suggest depth in another unit.

    ``longest_side`` of the object and the distance of its ``nearest`` point along the optical
    axis, by depth, are in metres.
    """
    far_and_long = nearest > _FAR_DISTANCE_M and longest_side > _MAX_FAR_SIDE_M
    if longest_side <= _MAX_SIDE_M and nearest >= _MIN_DISTANCE_M and not far_and_long:
        return None
    return (
        f'According to its depth, the object is {longest_side:.3g} m long and {nearest:.3g} m '
        'away; if it is not, the depth has another unit: set depth_unit (metres per count of an '
        'integer image; a parameter of the node, and an entry of camera.json).'
    )
