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

"""Doubts about a frame and its scene: darkness, no plane, no vertical, a camera too near."""

from __future__ import annotations

import numpy as np

from lift3d_ros.errors import bad_image
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import invert
from lift3d_ros.geometry.frame import Frame
from lift3d_ros.scene.planes import ScenePlane

#: Brightest channel, 0 to 255, which 99 % of the pixels of a dark frame do not reach.
DARK = 12

#: Median depth, metres, below which the camera stands against something.
MIN_DISTANCE = 0.1

#: Least rise of the normal of a plane that is seen from above: the sine of its angle to the image
#: axis.
MIN_RISE = 0.3

#: Motion of the camera between depth and image that a scene does not show: metres, degrees.
MAX_SHIFT, MAX_TURN = 0.01, 0.5


def check_light(frame: Frame) -> tuple[str, ...]:
    """
    Return a note on a dark frame with depth; raises ``LiftError(BAD_IMAGE)`` for one without.

    Depth of active sensors does not need light.
    """
    if np.percentile(frame.image.max(axis=2), 99.0) >= DARK:
        return ()
    if frame.depth is None:
        raise bad_image(
            'The image is black, and there is no depth; give light, a longer exposure, or depth.')
    return ('The image is black: the shape rests on depth alone, and the colours mean nothing.',)


def scene_notes(frame: Frame, planes: tuple[ScenePlane, ...]) -> tuple[str, ...]:
    """Return notes on what a scene of a frame with depth lacks."""
    notes = []
    if not planes:
        notes.append(
            'No plane was found: what is behind objects is interpolated from around them, and '
            'nothing is known to carry objects.')
    if frame.gravity is None and not any(plane.normal[1] < -MIN_RISE for plane in planes):
        notes.append(
            'The vertical is not known: the map is upright in the image. Give gravity.')
    depth = frame.depth
    if depth is not None and np.median(depth[depth > 0.0]) < MIN_DISTANCE:
        notes.append(
            f'Half of the readings are nearer than {MIN_DISTANCE:g} m: the camera is inside or '
            'against an object, or the depth has another unit.')
    return tuple(notes)


def motion_notes(T_world_image: Array, T_world_depth: Array) -> tuple[str, ...]:
    """Return a note if the camera moved between image and depth, from its poses (4, 4)."""
    motion = invert(T_world_image) @ T_world_depth
    shift = float(np.linalg.norm(motion[:3, 3]))
    cosine = np.clip(0.5 * (np.trace(motion[:3, :3]) - 1.0), -1.0, 1.0)
    turn = float(np.degrees(np.arccos(cosine)))
    if shift < MAX_SHIFT and turn < MAX_TURN:
        return ()
    return (
        f'The camera moved by {shift:.3f} m and {turn:.1f} degrees between depth and image, so '
        'colours and masks are displaced; lift while it is at rest, or synchronise the two.',)
