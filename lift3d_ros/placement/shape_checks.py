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


"""Whether a shape is good enough, and of a plausible size."""

from __future__ import annotations

from lift3d_ros.cameras.depth_units import size_note
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry.shape import Shape


def check_confidence(shape: Shape, minimum: float) -> None:
    """Raise ``LiftError(LOW_CONFIDENCE)`` for a shape with a confidence below ``minimum``."""
    confidence = shape.overall_confidence
    if confidence < minimum:
        raise LiftError(
            ErrorCode.LOW_CONFIDENCE,
            f'The confidence of the shape is {confidence:.2f}, below the requested minimum of '
            f'{minimum:.2f}; add views from other sides, give depth, or lower the minimum.',
        )


def size_notes(shape: Shape) -> list[str]:
    """Return a note if the size of a shape suggests that the depth has another unit."""
    if shape.scale_source != 'depth':
        return []
    nearest = float(shape.mesh_in_camera().vertices[:, 2].min())
    note = size_note(float(shape.size.max()), nearest)
    return [] if note is None else [note]
