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

"""vision_msgs/Detection2DArray as an input."""

from __future__ import annotations

from typing import Any

from lift3d_ros.segmentation.instances import Detection


def read_detections(message: Any) -> list[Detection]:
    """Return the boxes of a vision_msgs/Detection2DArray with the best class of each."""
    found = []
    for detection in message.detections:
        centre = detection.bbox.center
        # vision_msgs 4 (Humble and later) nests the position, 3 (Foxy, Galactic) did not.
        centre = getattr(centre, 'position', centre)
        half_width, half_height = 0.5 * detection.bbox.size_x, 0.5 * detection.bbox.size_y
        best = max(
            (result.hypothesis for result in detection.results),
            key=lambda hypothesis: hypothesis.score,
            default=None,
        )
        found.append(
            Detection(
                (
                    round(centre.x - half_width),
                    round(centre.y - half_height),
                    round(centre.x + half_width),
                    round(centre.y + half_height),
                ),
                best.class_id if best else '',
                best.score if best else 1.0,
            )
        )
    return found
