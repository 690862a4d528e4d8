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

"""The uncertainty of the upright box of an object."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.fields.field import BoxUncertainty
from lift3d_ros.fields.field import Field
from lift3d_ros.geometry import Array
from lift3d_ros.geometry import invert
from lift3d_ros.geometry import transform
from lift3d_ros.geometry.shape import Mesh

#: Standard deviation of the centre of a box whose unobserved side is not calibrated, over the
#: depth of the unobserved part.
GUESS_STDDEV_SHARE = 0.15

#: Occupancy levels that are two standard deviations of a normal distribution apart.
STDDEV_LEVELS = (0.16, 0.84)

#: Ratio of the measured to the predicted error of a box, and the smallest error in voxels;
#: measured on 29 scenes of the train split, half of them with an occluder, with four sets of
#: views.
STDDEV_FACTOR, MIN_STDDEV_VOXELS = 1.4, 0.5


def uncertainty_of_guess(
    mesh: Mesh, upright: Array, observed: NDArray[np.bool_], voxel: float
) -> BoxUncertainty:
    """
    Return the uncertainty of a box whose unobserved side is not calibrated.

    ``upright`` (4, 4) has the axes of the box, x towards the camera; ``voxel`` in metres.
    """
    depth = float(np.ptp(transform(invert(upright), mesh.vertices)[:, 0]))
    away = np.hypot(GUESS_STDDEV_SHARE * depth * float(1.0 - observed.mean()), voxel)
    return BoxUncertainty(np.array([away, voxel, voxel]), np.full(3, away))


def uncertainty_of_field(field: Field, scale: float, voxel: float) -> BoxUncertainty:
    """
    Return the uncertainty of the box of a calibrated field.

    A face of the box lies with the probability p beyond the level set of the occupancy p, so the
    levels 0.16 and 0.84 are two standard deviations apart. ``scale`` is the length of a canonical
    unit in metres, ``voxel`` is in metres.
    """
    low_level, high_level = STDDEV_LEVELS
    outer, median, inner = (field.bounds(level) for level in (low_level, 0.5, high_level))
    assert outer is not None and median is not None, 'the field has a surface'
    if inner is None:
        centre = 0.5 * (median[0] + median[1])
        inner = (centre, centre)
    low, high = (0.5 * scale * np.abs(a - b) for a, b in zip(outer, inner, strict=True))
    both = STDDEV_FACTOR * np.hypot(low, high)
    floor = MIN_STDDEV_VOXELS * voxel
    return BoxUncertainty(np.hypot(0.5 * both, floor), np.hypot(both, floor))
