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

"""What the parameters of the node say of the scale of objects beside their pictures."""

from __future__ import annotations

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Array
from lift3d_ros.node.parameters.specifications import order
from lift3d_ros.node.parameters.specifications import plane_height
from lift3d_ros.node.parameters.specifications import Settings
from lift3d_ros.node.parameters.specifications import sizes
from lift3d_ros.observation.hints import horizontal_plane
from lift3d_ros.observation.hints import ScaleHints


def check_settings(settings: Settings) -> None:
    """Raise ``LiftError(BAD_REQUEST)`` for a plane in a frame that is not set."""
    if plane_height(settings.support_plane) is not None and not settings.target_frame:
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            f'support_plane is "{settings.support_plane}" in target_frame, which is empty; set '
            'target_frame to a frame whose z axis points up.',
        )


def hints_for(
    settings: Settings, class_id: str, T_target_camera: Array | None
) -> ScaleHints:
    """
    Return what is known of the scale of an object of a class.

    ``T_target_camera`` is the pose of the camera in ``target_frame``, where that is set. A class
    without a known size has none. Raises ``LiftError(BAD_REQUEST)`` for a camera under the plane.
    """
    height = plane_height(settings.support_plane)
    plane = None
    if height is not None and T_target_camera is not None:
        plane = horizontal_plane(T_target_camera, height)
    return ScaleHints(
        plane=plane,
        known_size=sizes(settings.known_sizes).get(class_id),
        order=order(settings.scale_order),
    )


def complaint(settings: Settings, class_id: str) -> str:
    """Return why an object has no scale where known sizes would have given it one, or ''."""
    known = sizes(settings.known_sizes)
    if not known or class_id in known or 'known_size' not in order(settings.scale_order):
        return ''
    what = f'The class "{class_id}" has' if class_id else 'An object without a class has'
    return f'{what} no known size; known_sizes has {", ".join(known)}.'
