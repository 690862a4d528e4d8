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


"""The overlap of two volumes."""

from __future__ import annotations

import numpy as np

from lift3d_ros.geometry import Array
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.meshing.solid import Solid

#: Points of the lattice for volumes, along each side of the box around both meshes. A thin side
#: has as many as a long one, so that a plate is measured as finely as a ball.
LATTICE = 48


def volume_iou(predicted: Mesh | Solid, true: Mesh | Solid, lattice: int = LATTICE) -> float:
    """
    Return intersection over union of the enclosed volumes, 0 to 1.

    Both are probed at ``lattice`` points along each side of the box around both (the volumetric
    IoU of Mescheder et al., Occupancy Networks, 2019). In a scan that is not closed the majority
    of rays decides, see ``Solid.contains``.
    """
    a = predicted if isinstance(predicted, Solid) else Solid(predicted)
    b = true if isinstance(true, Solid) else Solid(true)
    if (a.low > b.high).any() or (b.low > a.high).any():
        return 0.0
    points = lattice_points(np.minimum(a.low, b.low), np.maximum(a.high, b.high), lattice)
    inside, truth = a.contains(points), b.contains(points)
    return float(np.count_nonzero(inside & truth) / max(np.count_nonzero(inside | truth), 1))


def lattice_points(low: Array, high: Array, count: int = LATTICE) -> Array:
    """Return the middles of ``count`` cells along each side of a box, (count, count, count, 3)."""
    middles = (np.arange(count) + 0.5) / count
    axes = [start + middles * side for start, side in zip(low, high - low, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing='ij'), axis=-1)
