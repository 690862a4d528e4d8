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

"""The objects that a mask or detections show in a frame, and those that a request selects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry.frame import Frame
from lift3d_ros.messages.detections import read_detections
from lift3d_ros.messages.masks import read_mask_pixels
from lift3d_ros.msg import ObjectSelector
from lift3d_ros.node.messages.synced import SyncedMessages
from lift3d_ros.node.parameters.settings import Settings
from lift3d_ros.segmentation import instances as selection
from lift3d_ros.segmentation.instances import Detection
from lift3d_ros.segmentation.instances import Instance


def find_instances(
    messages: SyncedMessages,
    frame: Frame,
    selector: ObjectSelector,
    settings: Settings,
    warnings: list[str],
) -> list[Instance]:
    """
    Return the objects of the mask or of the detections, at least one.

    Raises ``LiftError``: ``EMPTY_MASK``, ``BAD_IMAGE``, ``SIZE_MISMATCH``, ``BAD_REQUEST``,
    ``NO_DEPTH_IN_MASK``.
    """
    if selector.mode == ObjectSelector.DETECTION and messages.detections is None:
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            'There are no detections to select from; set the parameter mask_source to '
            '"detections", or select by another mode.',
        )
    if messages.mask is not None:
        by_label = settings.mask_source == 'label' or selector.mode == ObjectSelector.LABEL
        pixels = read_mask_pixels(
            messages.mask, messages.camera_info, frame.camera, by_label, settings.rectified,
            warnings,
        )
        if by_label:
            only = selector.label if selector.mode == ObjectSelector.LABEL else None
            found = selection.instances_of_labels(pixels, only)
        else:
            found = selection.instances_of_binary(pixels, settings.split_mask)
    elif messages.detections is not None:
        boxes = read_detections(messages.detections)
        found = selection.instances_of_detections(boxes, frame.image, frame.depth)
    elif selector.mode == ObjectSelector.BOX:
        boxes = [Detection(box_of(selector), selector.class_id, 1.0)]
        found = selection.instances_of_detections(boxes, frame.image, frame.depth)
    else:
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            'The request contains an image but no mask; add one, or select by BOX.',
        )
    if selector.class_id and selector.mode != ObjectSelector.DETECTION:
        found = [replace(instance, class_id=selector.class_id) for instance in found]
    return found


def select(instances: Sequence[Instance], selector: ObjectSelector) -> list[Instance]:
    """Return the selected objects; raises ``LiftError``: NO_OBJECT, BAD_REQUEST."""
    mode = selector.mode
    if mode == ObjectSelector.ALL:
        return list(instances)
    if mode == ObjectSelector.LARGEST:
        return [selection.select_largest(instances)]
    if mode == ObjectSelector.LABEL:
        return [selection.select_label(instances, selector.label)]
    if mode == ObjectSelector.PIXEL:
        return [selection.select_pixel(instances, selector.u, selector.v)]
    if mode == ObjectSelector.BOX:
        return [selection.select_box(instances, box_of(selector))]
    if mode == ObjectSelector.DETECTION:
        return [selection.select_class(instances, selector.class_id)]
    raise LiftError(
        ErrorCode.BAD_REQUEST, f'There is no selector mode {mode}; see ObjectSelector.msg.'
    )


def box_of(selector: ObjectSelector) -> selection.Box:
    """Return the box of a selector as left, top, right, bottom."""
    box = selector.box
    return box.x_offset, box.y_offset, box.x_offset + box.width, box.y_offset + box.height


