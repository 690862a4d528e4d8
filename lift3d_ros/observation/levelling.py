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
A camera that is rolled: the frame is turned until up is up in it, and the shape turned back.

A camera at a wrist, or one that hangs upside down, shows objects as the networks have never seen
them. Where gravity is known the roll is, too, and a turn about the optical axis is a turn of the
picture, whatever the depth of what it shows.
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

#: The networks have seen rolls of two degrees (standard deviation).
_SEEN = np.radians(4.0)

#: Where the vertical is this near to the line of sight (sine), up is nowhere in the picture.
_FACING_DOWN = 0.1


@dataclass(frozen=True, eq=False)
class Levelling:
    """
    A turn about the optical axis.

    - ``T_level_camera``: rigid (4, 4), from the camera's optical frame to that of a camera in the
      same place without the roll.
    """

    T_level_camera: Array

    @classmethod
    def of(cls, view: ObjectView) -> Levelling | None:
        """
        Return the turn that a view needs, None where it needs none or gravity is not known.

        With depth it is by right angles, which mix no readings.
        """
        if view.frame.gravity is None:
            return None
        right, down = view.frame.gravity[:2]
        if np.hypot(right, down) < _FACING_DOWN:
            return None
        roll = float(np.arctan2(right, down))
        if view.frame.depth is not None:
            roll = round(roll / (0.5 * np.pi)) * 0.5 * np.pi
        if abs(roll) < _SEEN:
            return None
        c, s = np.cos(roll), np.sin(roll)
        turn = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
        return cls(rigid(turn, np.zeros(3)))

    def view(self, view: ObjectView) -> ObjectView:
        """
        Return the view as the camera without the roll has it.

        Raises ``LiftError(MASK_TOO_SMALL)`` for an object of which too little is left.
        """
        frame = view.frame
        old = frame.camera
        focal = max(old.fx, old.fy)
        linear = focal * self.T_level_camera[:2, :2] @ np.diag([1.0 / old.fx, 1.0 / old.fy])
        corners = np.array([
            [x, y] for x in (0.0, old.width - 1.0) for y in (0.0, old.height - 1.0)
        ]) @ linear.T
        low, high = corners.min(axis=0), corners.max(axis=0)
        # By whole pixels, so that a right angle brings each to a pixel.
        offset = -np.floor(low + 1e-6)
        width, height = (int(n) for n in np.ceil(high + offset - 1e-6) + 1)
        centre = linear @ [old.cx, old.cy] + offset
        camera = Camera(width, height, focal, focal, float(centre[0]), float(centre[1]))
        matrix = np.column_stack([linear, offset])

        def turned(image: NDArray[Any], filter_: int) -> NDArray[Any]:
            return cv2.warpAffine(image, matrix, (width, height), flags=filter_)

        depth, gravity = frame.depth, frame.gravity
        level = Frame(
            np.asarray(turned(frame.image, cv2.INTER_LINEAR), np.uint8),
            camera,
            None if depth is None else np.asarray(turned(depth, cv2.INTER_NEAREST), np.float32),
            None if gravity is None else rotate(self.T_level_camera, gravity),
        )
        mask = turned(view.mask.astype(np.uint8), cv2.INTER_NEAREST) > 0
        return replace(crop_object(level, mask), truncated=view.truncated)

    def further(self, views: Sequence[SourceView]) -> list[SourceView]:
        """Return further views of the object by their places in the frame without the roll."""
        return [
            replace(one, T_ref_src=self.T_level_camera @ one.T_ref_src) for one in views
        ]
