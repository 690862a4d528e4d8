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


"""What every contender of the benchmark gives: the one protocol of methods and baselines."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field
from typing import Any
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.geometry import Array
from lift3d_ros.geometry.frame import Frame
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.geometry.shape import Shape


@dataclass(frozen=True, eq=False)
class Prediction:
    """
    What a contender makes of one object, in the optical frame, metres.

    - ``mesh``: the closed surface, or None for a contender that gives points alone.
    - ``points``: (n, 3) where there is no mesh.
    - ``confidence``: (n,) at the mesh's vertices, 0 to 1, or None.
    - ``seconds``: by stage, with ``total``; ``notes``: what else a report may show.
    """

    mesh: Mesh | None = None
    points: Array | None = None
    confidence: NDArray[np.float32] | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)


class Contender(Protocol):
    """Anything that can be measured. ``needs_depth``: it takes no part in tracks without depth."""

    needs_depth: bool

    def predict(self, frame: Frame, mask: NDArray[np.bool_], seed: int) -> Prediction:
        """Return the object under ``mask``, bool (height, width), or raise ``LiftError``."""


def prediction_of(shape: Shape, seconds: dict[str, float]) -> Prediction:
    """Return what a method made, with what a report tells of it."""
    return Prediction(
        mesh=shape.mesh_in_camera(),
        confidence=shape.confidence,
        seconds=seconds,
        notes={
            'size_mm': [round(1000.0 * float(side), 1) for side in shape.size],
            'scale_source': shape.scale_source,
            'scale_stddev': shape.scale_stddev,
            'centre_stddev_mm': 1000.0 * float(np.sqrt(np.trace(shape.pose_covariance[:3, :3]))),
            'mask_iou': shape.mask_iou,
            'elevation_deg': shape.elevation,
            'elevation_source': shape.elevation_source,
            'confidence': shape.overall_confidence,
        },
    )
