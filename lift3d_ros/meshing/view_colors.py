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

"""
Colours of a surface from synthesised or given views of it.

As One-2-3-45 has it (Liu et al., 2023, after IBRNet, Wang et al., 2021) colours are blended over
the source views that see a place. A grid of colours is coarser than a view: what is printed on an
object is told by the views.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.geometry import Array
from lift3d_ros.geometry import Camera
from lift3d_ros.geometry import Floats
from lift3d_ros.geometry import invert
from lift3d_ros.geometry import rotate
from lift3d_ros.geometry import transform
from lift3d_ros.geometry import ZERO123_FOV
from lift3d_ros.meshing.visibility import in_front
from lift3d_ros.observation.object_observation import sample

#: A surface whose normal is further than this cosine from the sight shows no colour.
_FACING = 0.1

#: How sharply a view that looks straight at the surface wins over one that looks along it.
_SHARPNESS = 3.0

#: Least alpha of the object's own colour: nearer to the outline it is mixed with the white.
_OPAQUE = 0.8

#: What the colour that was known without the views weighs beside one view that looks straight on.
_KNOWN = 0.02

#: The least weight of views that show a vertex: others look along it.
_SHOWN = 0.05

#: Pixels in which the surface nearest to a view is looked for.
_CELL = 2.0


def view_colors(
    vertices: Array,
    normals: Floats,
    pictures: NDArray[np.uint8],
    poses: Array,
    guess: NDArray[np.uint8],
    tolerance: float,
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """
    Return colours (n, 3) of the vertices of a surface, and which of them the views show, (n,).

    A colour is the mean of what the views show of the vertex.

    ``vertices`` and unit ``normals`` (n, 3) are in canonical coordinates, as are ``poses``
    (v, 4, 4) of the views' optical frames; ``pictures`` (sets, v, h, h, 4) are uint8 RGBA through
    the lens of Zero-1-to-3. Views that look straight at a vertex weigh most; where none sees it,
    it has its ``guess`` (n, 3). ``tolerance`` is how far surface may lie before a vertex that is
    seen, canonical units.
    """
    total = _KNOWN * guess.astype(np.float64)
    weights = np.full(len(vertices), _KNOWN)
    size = pictures.shape[-2]
    lens = Camera.from_fov(size, size, ZERO123_FOV)
    for number, pose in enumerate(poses):
        own = invert(pose)
        local = transform(own, vertices)
        facing = -np.einsum('ij,ij->i', rotate(own, normals), local)
        facing /= np.maximum(np.linalg.norm(local, axis=1), 1e-9)
        seen = (facing > _FACING) & in_front(lens, local, _CELL * size / 128.0, tolerance)
        u, v, _ = (a.astype(np.float32) for a in lens.project(local[seen]))
        for picture in pictures[:, number]:
            shown = sample(picture.astype(np.float32), u, v)
            opaque = shown[:, 3] > 255.0 * _OPAQUE
            weight = opaque * facing[seen] ** _SHARPNESS / len(pictures)
            total[seen] += weight[:, None] * shown[:, :3]
            weights[seen] += weight
    colors = np.clip(np.rint(total / weights[:, None]), 0.0, 255.0).astype(np.uint8)
    return colors, weights > _KNOWN + _SHOWN
