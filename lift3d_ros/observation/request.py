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

"""A request to lift an object: its mask, hints on its scale, and source views."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.geometry.frame import SourceView
from lift3d_ros.observation.hints import ScaleHints


@dataclass(frozen=True, eq=False)
class LiftRequest:
    """
    One object to lift; picklable.

    - ``mask``: bool (height, width), the pixels of the object in the frame.
    - ``hints``: sources of the scale in addition to the views, and their order.
    - ``source_views``: other views of the same object, with their poses.
    - ``min_confidence``: a shape with a lower mean confidence is refused with ``LOW_CONFIDENCE``.
    - ``seed``: of all random numbers; the same seed gives the same shape on the same device.
    """

    mask: NDArray[np.bool_]
    hints: ScaleHints = field(default_factory=ScaleHints)
    source_views: tuple[SourceView, ...] = ()
    min_confidence: float = 0.0
    seed: int = 0

    @classmethod
    def of(cls, request: LiftRequest | NDArray[np.bool_]) -> LiftRequest:
        """Return the request, or the request for a mask with default settings."""
        return request if isinstance(request, cls) else cls(np.asarray(request))
