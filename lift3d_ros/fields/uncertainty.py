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

"""How uncertain the upright box of an object is."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.fields.field import BoxUncertainty
from lift3d_ros.fields.field import Field
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import invert
from lift3d_ros.geometry import transform
from lift3d_ros.geometry.shape import Mesh

#: Standard deviation of the centre of a box whose unobserved side is a guess, over the depth of
#: what was not observed.
GUESS_STDDEV_SHARE = 0.15

#: Levels of the occupancy between which two standard deviations of a normal distribution lie.
STDDEV_LEVELS = (0.16, 0.84)

#: Error of a box over the one that its field states, and the least error in voxels: measured on 29
#: scenes of the train split, half of them with an occluder, and four sets of views.
STDDEV_FACTOR, MIN_STDDEV_VOXELS = 1.4, 0.5


def uncertainty_of_guess(
    mesh: Mesh, upright: Array, observed: NDArray[np.bool_], voxel: float
) -> BoxUncertainty:
    """
    Return the uncertainty of a box whose unobserved side is a guess.

    ``upright`` (4, 4) has the axes of the box, x towards the camera; ``voxel`` in metres.
    """
    depth = float(np.ptp(transform(invert(upright), mesh.vertices)[:, 0]))
    away = np.hypot(GUESS_STDDEV_SHARE * depth * float(1.0 - observed.mean()), voxel)
    return BoxUncertainty(np.array([away, voxel, voxel]), np.full(3, away))


def uncertainty_of_field(field: Field, scale: float, voxel: float) -> BoxUncertainty:
    """
    Return the uncertainty of the box of a calibrated field.

    A face of the box lies, with the probability p, beyond the place where the occupancy is p, so
    that two standard deviations of it lie between 0.16 and 0.84. ``scale`` is metres of a
    canonical unit, ``voxel`` in metres.
    """
    least, most = STDDEV_LEVELS
    wide, even, narrow = (field.bounds(level) for level in (least, 0.5, most))
    assert wide is not None and even is not None, 'the field has a surface'
    if narrow is None:
        centre = 0.5 * (even[0] + even[1])
        narrow = (centre, centre)
    low, high = (0.5 * scale * np.abs(a - b) for a, b in zip(wide, narrow, strict=True))
    both = STDDEV_FACTOR * np.hypot(low, high)
    floor = MIN_STDDEV_VOXELS * voxel
    return BoxUncertainty(np.hypot(0.5 * both, floor), np.hypot(both, floor))
