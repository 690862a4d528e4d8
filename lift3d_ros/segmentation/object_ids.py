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

"""Ids of objects that persist from frame to frame."""

from __future__ import annotations

from collections.abc import Sequence
import itertools

from lift3d_ros.segmentation.instances import Instance
from lift3d_ros.segmentation.segment import Box


class ObjectIds:
    """Assigns ids that persist while objects keep their label or their place in the image."""

    def __init__(self, overlap: float = 0.3) -> None:
        """Identify objects whose boxes have at least ``overlap`` intersection over union."""
        self._overlap = overlap
        self._boxes: dict[str, Box] = {}
        self._numbers = itertools.count()

    def assign(self, instances: Sequence[Instance], all_of_frame: bool) -> list[str]:
        """
        Return an id for each instance.

        With ``all_of_frame`` these are all objects of their frame, and other ids are forgotten.
        """
        free = dict(self._boxes)
        ids: list[str] = []
        for instance in instances:
            if instance.label:
                ids.append(f'label_{instance.label}')
                continue
            prefix = instance.class_id or 'object'
            candidates = {
                name: _overlap(instance.box, box)
                for name, box in free.items()
                if name.rpartition('_')[0] == prefix
            }
            best = max(candidates, key=lambda name: candidates[name], default=None)
            if best is None or candidates[best] < self._overlap:
                best = f'{prefix}_{next(self._numbers)}'
            free.pop(best, None)
            self._boxes[best] = instance.box
            ids.append(best)
        if all_of_frame:
            self._boxes = {name: box for name, box in self._boxes.items() if name in ids}
        return ids

    def keep(self, name: str, instance: Instance) -> None:
        """Assign the id ``name`` to an instance, regardless of its place."""
        if not instance.label:
            self._boxes[name] = instance.box


def _overlap(a: Box, b: Box) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    area = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return both / (area - both)
