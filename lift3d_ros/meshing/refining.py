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

"""A field sampled finely where its surface runs, coarsely elsewhere."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.geometry import Array

#: Coarse cells are this many fine ones long.
_FACTOR = 2


def sample_refined(
    evaluate: Callable[[Array], NDArray[np.float32]], low: Array, high: Array, voxel: float
) -> NDArray[np.float32]:
    """
    Return a field at ``low + voxel * index``, (nx, ny, nz), clipped to three voxels.

    ``evaluate`` takes points (n, 3) between the corners ``low`` and ``high`` (3,) and returns how
    deep each lies inside, (n,). It is asked on a grid of twice the voxel, and on the fine one
    where the surface may run; in between the coarse values are interpolated.
    """
    from scipy import ndimage

    step = _FACTOR * voxel
    count = np.ceil((high - low) / step).astype(int) + 1
    axes = [np.arange(n) for n in count]
    lattice = np.stack(np.meshgrid(*axes, indexing='ij'), axis=-1)
    coarse = evaluate(low + step * lattice.reshape(-1, 3)).reshape(tuple(count))
    inside = coarse > 0.0
    near = ndimage.maximum_filter(inside, 3) != ndimage.minimum_filter(inside, 3)
    # A sheet between two coarse samples shows by their distance alone.
    near |= np.abs(coarse) < step
    shape = tuple(_FACTOR * (n - 1) + 1 for n in count)
    fine_axes = [np.arange(n) / _FACTOR for n in shape]
    index = np.stack(np.meshgrid(*fine_axes, indexing='ij')).reshape(3, -1)
    field = ndimage.map_coordinates(
        np.clip(coarse, -3.0 * voxel, 3.0 * voxel), index, order=1, mode='nearest'
    )
    asked = near[tuple(np.rint(index).astype(int))]
    field[asked] = evaluate(low + step * index[:, asked].T)
    return np.clip(field, -3.0 * voxel, 3.0 * voxel).reshape(shape).astype(np.float32)
