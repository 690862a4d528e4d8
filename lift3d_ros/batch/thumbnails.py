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


"""Thumbnails of lifts: the object in its image, and its mesh."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from lift3d_ros.geometry.frame import bounding_box
from lift3d_ros.geometry.frame import Frame
from lift3d_ros.geometry.shape import Shape
from lift3d_ros.meshing.render import outline
from lift3d_ros.meshing.render import previews

#: Side of each of the three pictures of a thumbnail, pixels.
SIDE = 128

#: Azimuths from the camera and elevation of the two pictures of the mesh, degrees.
_VIEWS = ((20.0, 25.0), (200.0, 25.0))

#: Share of the longer side of the object's box that the crop of the image shows around it.
_MARGIN = 0.35

_QUALITY = 80


def thumbnail(frame: Frame, mask: NDArray[np.bool_], shape: Shape) -> bytes:
    """Return a JPEG of the object in its image and of its mesh from the front and behind."""
    pictures = [object_picture(frame, mask), *previews(shape.mesh, _VIEWS, SIDE)]
    done, data = cv2.imencode(
        '.jpg', cv2.cvtColor(np.hstack(pictures), cv2.COLOR_RGB2BGR),
        [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    assert done, 'an image of this type can be encoded'
    return data.tobytes()


def object_picture(frame: Frame, mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return the square around an object with its outline, uint8 RGB (SIDE, SIDE, 3)."""
    left, top, right, bottom = bounding_box(mask)
    half = (0.5 + _MARGIN) * max(right - left, bottom - top)
    x, y = (left + right) / 2.0, (top + bottom) / 2.0
    window = np.array(
        [[SIDE / (2.0 * half), 0.0, SIDE / 2.0 - x * SIDE / (2.0 * half)],
         [0.0, SIDE / (2.0 * half), SIDE / 2.0 - y * SIDE / (2.0 * half)]])
    image = cv2.warpAffine(
        frame.image, window, (SIDE, SIDE), borderMode=cv2.BORDER_CONSTANT,
        borderValue=(255, 255, 255))
    inside = cv2.warpAffine(
        mask.astype(np.uint8), window, (SIDE, SIDE), flags=cv2.INTER_NEAREST)
    return outline(np.asarray(image, np.uint8), inside > 0, thickness=1)
