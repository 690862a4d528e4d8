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

"""Which points of a surface a camera sees."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import Floats

#: Sizes of the picture beyond which it is not told apart where a point lies.
_BEYOND = 4.0


def in_front(
    camera: Camera, points: Floats, cell: float, tolerance: float
) -> NDArray[np.bool_]:
    """
    Return which points (n, 3) of the optical frame have no other nearer to the camera, (n,).

    The nearest is looked for in squares of ``cell`` pixels and those beside them, since between
    the points there is surface, too; ``tolerance`` is how much nearer another one may be, in the
    unit of the points, beside what a surface that is seen at a slant falls by over two squares.
    Points behind the camera are not in front; those far beyond its picture share a square.
    """
    from scipy import ndimage

    u, v, z = camera.project(points)
    # Beside the camera a point's place in the plane of the picture is as far off as one likes.
    bound = _BEYOND * max(camera.width, camera.height)
    columns, rows = (
        np.floor(np.nan_to_num(a, nan=0.0).clip(-bound, bound) / cell).astype(np.int64)
        for a in (u, v)
    )
    columns, rows = columns - columns.min() + 1, rows - rows.min() + 1
    nearest = np.full((rows.max() + 2, columns.max() + 2), np.inf)
    np.minimum.at(nearest, (rows, columns), np.where(z > 0.0, z, np.inf))
    nearest = ndimage.minimum_filter(nearest, 3)
    reach = nearest[rows, columns] + tolerance + 2.0 * cell * z / camera.fx
    return np.asarray((z > 0.0) & (z < reach))
