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
Remove the roll of a camera by rotating the frame about the optical axis.

A camera on a wrist, or one that hangs upside down, shows objects in orientations that the training
data does not have. Gravity defines the roll. A rotation about the optical axis rotates the image,
independently of depth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lift3d_ros.geometry import Array
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import rigid
from lift3d_ros.geometry import rotate
from lift3d_ros.geometry.frame import crop_object
from lift3d_ros.geometry.frame import Frame
from lift3d_ros.geometry.frame import ObjectView
from lift3d_ros.geometry.frame import SourceView

#: Largest roll that is not removed: the training data has rolls with a standard deviation of two
#: degrees.
_MAX_ROLL_RAD = np.radians(4.0)

#: Smallest sine of the angle between the vertical and the optical axis at which the roll is
#: defined.
_MIN_SINE_TO_VERTICAL = 0.1


@dataclass(frozen=True, eq=False)
class Levelling:
    """
    A rotation about the optical axis.

    - ``T_level_camera``: rigid (4, 4), from the camera's optical frame to that of a camera at the
      same position without roll.
    """

    T_level_camera: Array

    @classmethod
    def of(cls, view: ObjectView) -> Levelling | None:
        """
        Return the rotation for a view, None if it is level or gravity is not known.

        With depth it is a multiple of 90 degrees, which needs no interpolation of readings.
        """
        if view.frame.gravity is None:
            return None
        right, down = view.frame.gravity[:2]
        if np.hypot(right, down) < _MIN_SINE_TO_VERTICAL:
            return None
        roll = float(np.arctan2(right, down))
        if view.frame.depth is not None:
            roll = round(roll / (0.5 * np.pi)) * 0.5 * np.pi
        if abs(roll) < _MAX_ROLL_RAD:
            return None
        c, s = np.cos(roll), np.sin(roll)
        rotation = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
        return cls(rigid(rotation, np.zeros(3)))

    def view(self, view: ObjectView) -> ObjectView:
        """
        Return the view of the camera without roll.

        Raises ``LiftError(MASK_TOO_SMALL)`` if too few pixels of the object remain.
        """
        frame = view.frame
        old = frame.camera
        focal = max(old.fx, old.fy)
        linear = focal * self.T_level_camera[:2, :2] @ np.diag([1.0 / old.fx, 1.0 / old.fy])
        corners = np.array([
            [x, y] for x in (0.0, old.width - 1.0) for y in (0.0, old.height - 1.0)
        ]) @ linear.T
        low, high = corners.min(axis=0), corners.max(axis=0)
        # A whole number of pixels, so that rotations by 90 degrees map pixels to pixels.
        offset = -np.floor(low + 1e-6)
        width, height = (int(n) for n in np.ceil(high + offset - 1e-6) + 1)
        centre = linear @ [old.cx, old.cy] + offset
        camera = Camera(width, height, focal, focal, float(centre[0]), float(centre[1]))
        matrix = np.column_stack([linear, offset])

        def rotated(image: NDArray[Any], filter_: int) -> NDArray[Any]:
            return cv2.warpAffine(image, matrix, (width, height), flags=filter_)

        depth, gravity = frame.depth, frame.gravity
        level = Frame(
            np.asarray(rotated(frame.image, cv2.INTER_LINEAR), np.uint8),
            camera,
            None if depth is None else np.asarray(rotated(depth, cv2.INTER_NEAREST), np.float32),
            None if gravity is None else rotate(self.T_level_camera, gravity),
        )
        mask = rotated(view.mask.astype(np.uint8), cv2.INTER_NEAREST) > 0
        return replace(crop_object(level, mask), truncated=view.truncated)

    def source_views(self, sources: Sequence[SourceView]) -> list[SourceView]:
        """Return source views with their poses in the frame without roll."""
        return [
            replace(source, T_ref_src=self.T_level_camera @ source.T_ref_src)
            for source in sources
        ]
