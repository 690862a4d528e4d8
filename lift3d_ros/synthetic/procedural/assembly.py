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

"""Objects assembled from coloured parts, joined by a smooth union."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.geometry import Array
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.synthetic.procedural.distances import Distance
from lift3d_ros.synthetic.procedural.distances import smooth_union
from lift3d_ros.synthetic.procedural.paint import draw_color
from lift3d_ros.synthetic.procedural.paint import noise
from lift3d_ros.synthetic.procedural.paint import painted
from lift3d_ros.synthetic.procedural.surfaces import bounds
from lift3d_ros.synthetic.procedural.surfaces import level_set


@dataclass(frozen=True)
class Part:
    """A solid and its colour."""

    distance: Distance
    color: Array


def assembled(
    parts: Sequence[Part],
    blend: float,
    rng: np.random.Generator,
    cell: float | None = None,
    grain: float = 3.0,
    spots: float = 0.0,
) -> Mesh:
    """Return the smooth union of parts; a vertex has the colour of the nearest part."""

    def distance(p: NDArray[np.float32]) -> NDArray[np.float32]:
        whole = parts[0].distance(p)
        for part in parts[1:]:
            whole = smooth_union(whole, part.distance(p), blend)
        return whole

    low, high = bounds(distance)
    mesh = level_set(distance, low, high, cell or float((high - low).max()) / 46.0)
    v = mesh.vertices.astype(np.float64)
    nearest = np.argmin([part.distance(mesh.vertices) for part in parts], axis=0)
    colors = np.stack([part.color for part in parts])[nearest]
    if rng.random() < spots:
        marks = noise(v, rng.uniform(0.012, 0.03), rng) > 0.8
        colors = np.where(marks[:, None] & (nearest == 0)[:, None], draw_color(rng), colors)
    return painted(mesh, v, colors + grain * noise(v, 0.004, rng)[:, None])
