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

"""Scale hints from the parameters of the node: support plane and known sizes."""

from __future__ import annotations

from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry import Array
from lift3d_ros.node.parameters.scale import parse_known_sizes
from lift3d_ros.node.parameters.scale import parse_plane_height
from lift3d_ros.node.parameters.scale import parse_scale_order
from lift3d_ros.node.parameters.settings import Settings
from lift3d_ros.observation.hints import horizontal_plane
from lift3d_ros.observation.hints import ScaleHints


def check_settings(settings: Settings) -> None:
    """Raise ``LiftError(BAD_REQUEST)`` for a support plane without a target_frame."""
    if parse_plane_height(settings.support_plane) is not None and not settings.target_frame:
        raise LiftError(
            ErrorCode.BAD_REQUEST,
            f'support_plane is "{settings.support_plane}" in target_frame, which is empty; set '
            'target_frame to a frame whose z axis points up.',
        )


def hints_for(
    settings: Settings, class_id: str, T_target_camera: Array | None
) -> ScaleHints:
    """
    Return the scale hints for an object of a class.

    ``T_target_camera`` is the pose of the camera in ``target_frame``; None if that is not set.
    Raises ``LiftError(BAD_REQUEST)`` for a camera below the plane.
    """
    height = parse_plane_height(settings.support_plane)
    plane = None
    if height is not None and T_target_camera is not None:
        plane = horizontal_plane(T_target_camera, height)
    return ScaleHints(
        plane=plane,
        known_size=parse_known_sizes(settings.known_sizes).get(class_id),
        order=parse_scale_order(settings.scale_order),
    )


def missing_size_note(settings: Settings, class_id: str) -> str:
    """Return a note that ``known_sizes`` lacks a class which would have a scale by it, or ''."""
    known = parse_known_sizes(settings.known_sizes)
    is_used = 'known_size' in parse_scale_order(settings.scale_order)
    if not known or class_id in known or not is_used:
        return ''
    what = f'The class "{class_id}" has' if class_id else 'An object without a class has'
    return f'{what} no known size; known_sizes has {", ".join(known)}.'
