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

"""Masks of messages in the pixels of the undistorted image, and checks of their objects."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.geometry import Camera
from lift3d_ros.geometry.frame import Frame
from lift3d_ros.io import masks
from lift3d_ros.io.mask_coverage import check_coverage
from lift3d_ros.messages import conversions
from lift3d_ros.messages.camera_info import undistort_mask
from lift3d_ros.segmentation.instances import has_neck
from lift3d_ros.segmentation.instances import Instance


def read_mask_pixels(
    message: Any,
    info: Any | None,
    camera: Camera,
    by_label: bool,
    rectified: bool,
    warnings: list[str],
) -> NDArray[Any]:
    """
    Return a mask message in the pixels of the undistorted image, (height, width), 0 = background.

    With ``by_label`` it is a label image, else binary. A mask of another size than ``camera`` is
    resized, nearest neighbour; ``info`` is the camera_info of the image, by which the mask is
    undistorted. Appends to ``warnings``. Raises ``LiftError``: ``BAD_IMAGE``, ``SIZE_MISMATCH``.
    """
    width, height = camera.width, camera.height
    raw = conversions.mask_pixels(message)
    if by_label:
        pixels = masks.read_labels(raw)
    else:
        binary, notes = masks.read_binary(raw)
        pixels = binary.view(np.uint8)
        warnings += notes
    if pixels.shape != (height, width):
        warnings.append(
            f'The mask is {pixels.shape[1]} x {pixels.shape[0]}, the image {width} x '
            f'{height}; the mask is resized, nearest neighbour.'
        )
        pixels = conversions.fit_mask(pixels, width, height)
    return pixels if info is None else undistort_mask(pixels, info, rectified)


def check_instance(
    frame: Frame, instance: Instance, name: str, of_mask: bool, warnings: list[str]
) -> None:
    """
    Warn of a mask that may contain two objects; refuse depth in the wrong unit.

    ``of_mask``: the instance is from a mask message and was not segmented here. Raises
    ``LiftError(BAD_IMAGE)``.
    """
    if of_mask:
        if not instance.label and has_neck(instance):
            warnings.append(
                f'The mask of {name} has a narrow neck: it may contain two touching objects, '
                'which are lifted as one; use a label image to separate them.'
            )
        warnings += check_coverage(instance.mask, f'The mask of {name}')
    if frame.depth is not None:
        conversions.check_depth_unit(frame.depth, instance)
