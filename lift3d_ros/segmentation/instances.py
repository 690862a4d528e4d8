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
Object instances from masks and detections, and the selection of one instance.

A binary mask is split into its connected components, each of which is an object. Objects that
touch in it become one object (``has_neck`` detects this); a label image separates them. With
``split`` false the whole mask is one object, also if a thin occluder divides it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry.frame import MIN_MASK_PIXELS
from lift3d_ros.segmentation.segment import Box
from lift3d_ros.segmentation.segment import segment_box

#: Largest number of objects of a label image; each has a mask of the size of the image.
MAX_INSTANCES = 1000

#: Labels below this are counted with a table, larger labels by sorting.
_TABLE_SIZE = 1 << 20


@dataclass(frozen=True, eq=False)
class Instance:
    """
    The pixels of one object.

    - ``mask``: bool (height, width); ``box``: its bounding box; ``pixels``: its number of pixels.
    - ``label``: its value in a label image, else 0.
    - ``class_id``, ``score``: of the detection, else empty and 1.
    - ``notes``: sentences about doubts in the mask.
    """

    mask: NDArray[np.bool_]
    box: Box
    pixels: int
    label: int = 0
    class_id: str = ''
    score: float = 1.0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Detection:
    """A bounding box from a detector."""

    box: Box
    class_id: str
    score: float


def instances_of_binary(mask: NDArray[Any], split: bool = True) -> list[Instance]:
    """
    Return the objects of a binary mask, not zero = object, the largest first.

    Components of fewer than ``MIN_MASK_PIXELS`` pixels are omitted, unless all are smaller. Raises
    ``LiftError(EMPTY_MASK)``.
    """
    box = _bounding_box(mask)
    if box is None:
        raise _empty()
    if not split:
        return [_instance(mask > 0, box)]
    # Only the box is processed, so the time does not depend on the size of the frame.
    left, top, right, bottom = box
    window = (mask[top:bottom, left:right] > 0).astype(np.uint8)
    count, parts, stats, _ = cv2.connectedComponentsWithStats(window)
    area = stats[1:, cv2.CC_STAT_AREA]
    order = np.argsort(-area, kind='stable')
    kept = [k for k in order if area[k] >= MIN_MASK_PIXELS] or [order[0]]
    instances = []
    for k in kept:
        x, y, width, height = (int(n) for n in stats[k + 1, :4])
        whole = np.zeros(mask.shape, bool)
        whole[top:bottom, left:right] = parts == k + 1
        x, y = x + left, y + top
        instances.append(Instance(whole, (x, y, x + width, y + height), int(area[k])))
    return instances


def instances_of_labels(labels: NDArray[Any], only: int | None = None) -> list[Instance]:
    """
    Return the objects of a label image of integers, the largest first; 0 is background.

    Only the largest ``MAX_INSTANCES`` objects are returned. If the image has the label ``only``,
    only its object is returned. Raises ``LiftError``: ``EMPTY_MASK``, ``BAD_REQUEST`` for the
    label of the background.
    """
    if only == 0:
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            'The label 0 is the background; set the label of the selector to the label of an '
            'object.',
        )
    if only is not None and only <= np.iinfo(labels.dtype).max:
        mask = labels == only
        box = _bounding_box(mask.view(np.uint8))
        if box is not None:
            return [_instance(mask, box, label=only)]
    # A table of all values is fastest, unless labels are as large as packed colours.
    if int(labels.max()) < _TABLE_SIZE:
        table = np.bincount(labels.reshape(-1))
        values = np.flatnonzero(table)
        counts = table[values]
    else:
        values, counts = np.unique(labels, return_counts=True)
    counts, values = counts[values > 0], values[values > 0]
    if not len(values):
        raise _empty()
    order = np.argsort(-counts, kind='stable')[:MAX_INSTANCES]
    boxes = _boxes_of(labels, values)
    instances = []
    for k in order:
        left, top, right, bottom = boxes[k]
        mask = np.zeros(labels.shape, bool)
        mask[top:bottom, left:right] = labels[top:bottom, left:right] == values[k]
        instances.append(Instance(mask, boxes[k], int(counts[k]), int(values[k])))
    return instances


def _boxes_of(labels: NDArray[Any], values: NDArray[Any]) -> list[Box]:
    """Return the boxes of sorted labels, in one pass over the image."""
    if int(values[-1]) < _TABLE_SIZE:
        table = np.zeros(int(values[-1]) + 1, np.int32)
        table[values] = np.arange(1, len(values) + 1)
        dense = table[labels]
    else:
        index = np.minimum(np.searchsorted(values, labels), len(values) - 1)
        dense = np.where(values[index] == labels, index + 1, 0).astype(np.int32)
    return [
        (columns.start, rows.start, columns.stop, rows.stop)
        for rows, columns in ndimage.find_objects(dense)
    ]


def instances_of_detections(
    detections: Sequence[Detection],
    image: NDArray[np.uint8],
    depth: NDArray[np.float32] | None,
) -> list[Instance]:
    """
    Return the objects in the boxes of a detector, the highest score first.

    ``image`` is uint8 RGB (height, width, 3), ``depth`` float32 metres (height, width) or None.
    Boxes without a distinct object and boxes outside the image are omitted. Raises
    ``LiftError(EMPTY_MASK)`` if no box remains.
    """
    instances = []
    for detection in sorted(detections, key=lambda d: -d.score):
        try:
            mask, notes = segment_box(image, depth, detection.box)
        except LiftError:
            continue
        box = _bounding_box(mask.view(np.uint8))
        assert box is not None, 'a segmented mask has pixels'
        instances.append(
            Instance(
                mask,
                box,
                int(np.count_nonzero(mask)),
                class_id=detection.class_id,
                score=float(detection.score),
                notes=notes,
            )
        )
    if not instances:
        raise LiftError(
            ErrorCode.EMPTY_MASK,
            'Nothing stands out in any of the boxes; check that the boxes belong to this image, '
            'or give a mask.',
        )
    return instances


def select_largest(instances: Sequence[Instance]) -> Instance:
    """Return the object with the most pixels."""
    return max(instances, key=lambda instance: instance.pixels)


def select_label(instances: Sequence[Instance], label: int) -> Instance:
    """Return the object with a label; raises ``LiftError(NO_OBJECT)``."""
    for instance in instances:
        if instance.label == label:
            return instance
    present = ', '.join(str(instance.label) for instance in instances[:20])
    raise LiftError(
        ErrorCode.NO_OBJECT, f'The label {label} is not in the mask; there are: {present}.'
    )


def select_pixel(instances: Sequence[Instance], u: int, v: int) -> Instance:
    """Return the object at column ``u``, row ``v``; raises ``LiftError(NO_OBJECT)``."""
    height, width = instances[0].mask.shape
    if not (u < width and v < height):
        raise LiftError(
            ErrorCode.NO_OBJECT,
            f'The pixel ({u}, {v}) is outside the image of {width} x {height}.',
        )
    for instance in instances:
        if instance.mask[v, u]:
            return instance
    raise LiftError(
        ErrorCode.NO_OBJECT, f'The pixel ({u}, {v}) lies on no object of the mask.'
    )


def select_box(instances: Sequence[Instance], box: Box) -> Instance:
    """Return the object with the most pixels in a box; raises ``LiftError(NO_OBJECT)``."""
    left, top, right, bottom = box
    inside = [np.count_nonzero(i.mask[top:bottom, left:right]) for i in instances]
    if not any(inside):
        raise LiftError(
            ErrorCode.NO_OBJECT,
            f'No object of the mask has pixels in the box ({left}, {top}) to ({right}, {bottom}).',
        )
    return instances[int(np.argmax(inside))]


def select_class(instances: Sequence[Instance], class_id: str) -> Instance:
    """
    Return the detection of a class with the highest score.

    An empty class means any. Raises ``LiftError(NO_OBJECT)``.
    """
    matching = [i for i in instances if not class_id or i.class_id == class_id]
    if not matching:
        present = ', '.join(sorted({f'"{i.class_id}"' for i in instances}))
        raise LiftError(
            ErrorCode.NO_OBJECT, f'No detection has the class "{class_id}"; there are: {present}.'
        )
    return max(matching, key=lambda instance: instance.score)


def has_neck(instance: Instance) -> bool:
    """
    Return whether erosion splits a mask into two large parts.

    This is true for two objects that touch in a binary mask, but also for a dumbbell, so it is
    only a reason for a note.
    """
    left, top, right, bottom = instance.box
    window = np.pad(instance.mask[top:bottom, left:right], 1).astype(np.uint8)
    # Downscaled, so that the time does not depend on the resolution of the camera.
    scale = min(1.0, 128.0 / max(window.shape))
    if scale < 1.0:
        # A long, thin mask keeps a width of at least one pixel.
        rows, columns = (max(1, round(scale * side)) for side in window.shape)
        window = cv2.resize(window, (columns, rows), interpolation=cv2.INTER_NEAREST)
    distance = cv2.distanceTransform(window, cv2.DIST_L2, 3)
    core = (distance > 0.6 * distance.max()).astype(np.uint8)
    count, parts = cv2.connectedComponents(core)
    if count < 3:
        return False
    depth = sorted(float(distance[parts == k].max()) for k in range(1, count))
    return depth[-2] > 0.7 * depth[-1]


def _instance(mask: NDArray[np.bool_], box: Box, label: int = 0) -> Instance:
    return Instance(mask, box, int(np.count_nonzero(mask)), label)


def _bounding_box(mask: NDArray[Any]) -> Box | None:
    """Return the bounding box of the non-zero pixels of an integer image, None without any."""
    if mask.dtype != np.uint8:
        mask = (mask > 0).view(np.uint8)
    left, top, width, height = cv2.boundingRect(mask)
    return (left, top, left + width, top + height) if width else None


def _empty() -> LiftError:
    return LiftError(
        ErrorCode.EMPTY_MASK,
        'The mask has no pixels; check that the object is in the image.',
    )


