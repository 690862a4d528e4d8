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


"""Whether depth and camera of a view can be those of its image."""

from __future__ import annotations

from lift3d_ros.cameras.depth_alignment import alignment_note
from lift3d_ros.cameras.depth_scale import field_of_view_note
from lift3d_ros.cameras.depth_units import check_depth_of_object
from lift3d_ros.cameras.plausibility import check_fov
from lift3d_ros.geometry.frame import ObjectView


def check_view(view: ObjectView) -> list[str]:
    """Return notes on depth that may not match the image; raises ``LiftError``."""
    check_fov(view.frame.camera)
    if view.frame.depth is None:
        return []
    check_depth_of_object(view.frame.depth, view.mask)
    note = alignment_note(view) or field_of_view_note(view.frame)
    return [note] if note else []
